"""How far an answer can be trusted, and when it is better not to give one.

Confidence comes from the sampled masks behind a measurement, set against the
options or against the other class: a model that copies a measured figure always
agrees with it, so agreement says nothing. Stated against measured is a check for
faults only.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from terrascope.model.answers import NumberAnswer, same_answer, to_base
from terrascope.model.measure import Figure, Measurement
from terrascope.vocabulary import QuestionKind, Unit

__all__ = [
    "Abstention",
    "Fault",
    "Verdict",
    "count_confidence",
    "distance_confidence",
    "find_fault",
    "judge",
    "larger_confidence",
    "option_confidence",
    "presence_confidence",
]


_RUNG_WIDTH = 0.1
"""Of the logarithm of a distance: how far a measured one and an option are apart, where right."""


class Abstention(enum.StrEnum):
    """Why no answer is given."""

    NOT_OBSERVED = "not observed"
    """Less of the window was observed than is asked for."""
    OPTIONS_TOO_CLOSE = "the options lie within the uncertainty of the measurement"
    CLASSES_TOO_CLOSE = "the difference lies within the uncertainty of the measurement"
    UNCERTAIN = "the masks are too uncertain"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether an answer stands.

    Parameters
    ----------
    confidence : float
        Probability that it is right, as far as the masks tell; 0 to 1.
    abstained : Abstention or None
        Why it is not given; None where it stands.
    """

    confidence: float
    abstained: Abstention | None


@dataclasses.dataclass(frozen=True)
class Fault:
    """A figure that was stated is not the one that was measured.

    Parameters
    ----------
    stated : float
        In square metres, metres, as a share, or a count.
    measured : tuple of float
        What it could have been: as drawn, and as expected.
    """

    stated: float
    measured: tuple[float, ...]


def option_confidence(figure: Figure, options: Sequence[float]) -> tuple[float, ...]:
    """Return how likely each option is the nearest to the truth.

    Parameters
    ----------
    figure : Figure
        Measured, with its samples.
    options : sequence of float
        In the unit of the figure; at least one.

    Returns
    -------
    confidence : tuple of float
        Shares of the samples that lie nearest to each option (the earlier of
        equals), with one sample more spread over all options; they sum to 1.

    Raises
    ------
    ValueError
        If there is no option.
    """
    if not options:
        raise ValueError("no option to compare with")
    apart = np.abs(figure.samples[:, None] - np.asarray(options, np.float64))  # (n, options)
    counts = np.bincount(apart.argmin(axis=1), minlength=len(options))
    return tuple(((counts + 1 / len(options)) / (figure.samples.size + 1)).tolist())


def distance_confidence(ladder_m: Sequence[float], options_m: Sequence[float]) -> tuple[float, ...]:
    """Return how well each option agrees with a distance measured at many thresholds.

    Parameters
    ----------
    ladder_m : sequence of float
        From `terrascope.model.relation.Relation`; at least one, in metres.
    options_m : sequence of float
        In metres; at least one.

    Returns
    -------
    confidence : tuple of float
        They sum to 1.

    Raises
    ------
    ValueError
        If there is no option or no distance.

    Notes
    -----
    A rung speaks for the options of about its length: by the density of Student's t with three
    degrees of freedom, of the logarithm of their ratio, a tenth wide. So rungs far from every
    option, where a wrong body lies between the masks, say next to nothing, while the rung that is
    nearest to one would have been given to the smallest.
    """
    if not (options_m and ladder_m):
        raise ValueError(f"{len(ladder_m)} distances and {len(options_m)} options: none to compare")
    rungs, options = (np.maximum(np.asarray(m, np.float64), 1.0) for m in (ladder_m, options_m))
    apart = np.log(rungs[:, None] / options) / _RUNG_WIDTH  # (rungs, options)
    votes = ((1 + apart**2 / 3) ** -2).sum(0)
    return tuple((votes / votes.sum()).tolist())


def larger_confidence(one: Figure, other: Figure) -> float:
    """Return how likely one quantity is larger than another.

    Parameters
    ----------
    one, other : Figure
        In the same unit; their errors are taken as independent.

    Returns
    -------
    confidence : float
        Share of all pairs of samples in which `one` is larger; ties count half.
    """
    step = one.samples[:, None] - other.samples
    won = float(np.count_nonzero(step > 0)) + 0.5 * float(np.count_nonzero(step == 0))
    return (won + 0.5) / (step.size + 1)


def presence_confidence(measurement: Measurement, minimum_share: float = 0.005) -> float:
    """Return how likely something is there.

    Parameters
    ----------
    measurement : Measurement
        Of its mask.
    minimum_share : float
        Of the observed ground, from which it counts as there.

    Returns
    -------
    confidence : float
        Share of the sampled masks that reach it.
    """
    samples = measurement.share.samples
    return float((np.count_nonzero(samples >= minimum_share) + 0.5) / (samples.size + 1))


def count_confidence(measurement: Measurement, count: int) -> float:
    """Return how likely a number of parts is right.

    Parameters
    ----------
    measurement : Measurement
        Of the mask.
    count : int
        Parts that are said to be there.

    Returns
    -------
    confidence : float
        Probability that this many of the drawn parts are real, each with the mean
        probability of its pixels and independently of the others (Poisson
        binomial); parts that were not drawn are not thought of.
    """
    chances = np.ones(1)
    for p in measurement.part_probabilities:
        chances = np.convolve(chances, [1 - p, p])
    return float(chances[count]) if 0 <= count < chances.size else 0.0


def judge(
    confidence: float,
    kind: QuestionKind,
    *,
    observed: float,
    options: bool = False,
    minimum_confidence: float = 0.5,
    minimum_observed: float = 0.5,
) -> Verdict:
    """Decide whether an answer is given.

    Parameters
    ----------
    confidence : float
        That it is right.
    kind : QuestionKind
        What was asked.
    observed : float
        Smallest observed share among the masks it rests on.
    options : bool
        Whether options were offered.
    minimum_confidence, minimum_observed : float
        Below either there is no answer.

    Returns
    -------
    verdict : Verdict
        Confidence 0 where too little was observed.
    """
    if observed < minimum_observed or not np.isfinite(confidence):
        return Verdict(0.0, Abstention.NOT_OBSERVED)
    if confidence >= minimum_confidence:
        return Verdict(confidence, None)
    if kind is QuestionKind.COMPARE:
        return Verdict(confidence, Abstention.CLASSES_TOO_CLOSE)
    return Verdict(confidence, Abstention.OPTIONS_TOO_CLOSE if options else Abstention.UNCERTAIN)


def find_fault(stated: NumberAnswer, measurement: Measurement, kind: QuestionKind) -> Fault | None:
    """Compare a stated figure with what was measured.

    Parameters
    ----------
    stated : NumberAnswer
        What the language model wrote.
    measurement : Measurement
        Of the mask it speaks of; of the last one, for a distance.
    kind : QuestionKind
        What was asked.

    Returns
    -------
    fault : Fault or None
        None where it agrees with the mask as drawn or as expected, to the rounding
        of the text; also where nothing of this kind was measured.
    """
    measured = _measured(measurement, kind)
    if not measured or any(same_answer(stated, _written(one, kind)) for one in measured):
        return None
    return Fault(to_base(stated), measured)


def _measured(measurement: Measurement, kind: QuestionKind) -> tuple[float, ...]:
    """Return what a question of this kind asks about, in base units; nothing if it does not."""
    if kind in (QuestionKind.AREA, QuestionKind.CHANGE_AREA):
        return measurement.area_m2.thresholded, measurement.area_m2.expected
    if kind in (QuestionKind.COVERAGE, QuestionKind.CHANGE_SHARE):
        return measurement.share.thresholded, measurement.share.expected
    if kind in (QuestionKind.COUNT, QuestionKind.CHANGE_COUNT):
        return (float(measurement.parts),)
    if kind is QuestionKind.DISTANCE and measurement.relations:
        last = measurement.relations[-1]
        return tuple(d for d in (last.distance_m, last.body_distance_m) if d is not None)
    return ()


_BASE_UNIT = {
    QuestionKind.AREA: Unit.SQUARE_METRE,
    QuestionKind.CHANGE_AREA: Unit.SQUARE_METRE,
    QuestionKind.COVERAGE: Unit.PERCENT,
    QuestionKind.CHANGE_SHARE: Unit.PERCENT,
    QuestionKind.DISTANCE: Unit.METRE,
}


def _written(measured: float, kind: QuestionKind) -> NumberAnswer:
    """Return a measured figure as an answer, unrounded."""
    unit = _BASE_UNIT.get(kind)
    scale = 100.0 if unit is Unit.PERCENT else 1.0
    return NumberAnswer(Decimal(repr(measured * scale)), unit)
