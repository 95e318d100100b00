"""What came of one item, and the scores of many."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.evaluation.bootstrap import (
    Interval,
    bootstrap,
    grouped,
    macro_accuracy,
    mean_of_ratio,
)
from terrascope.evaluation.items import BenchItem
from terrascope.evaluation.overlap import boundary_iou, mask_iou, sample_iou
from terrascope.evaluation.reliability import Reliability, reliability, risk_coverage
from terrascope.types import BoolArray

__all__ = ["Outcome", "chance", "compare", "compare_masks", "outcome_of", "summary"]


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """One answer, scored.

    Parameters
    ----------
    item, image, task : str
        Of the item.
    options : int
        Letters offered.
    truth : str
        The right letter.
    said : str or None
        The letter that was said; None for none, which is wrong.
    letter_probability : float
        Of that letter among those offered, as the language model gave it; NaN without one.
    support : float
        Of that letter by the masks that were drawn (`terrascope.evaluation.ruler.support`); NaN
        where they say nothing.
    supported : str or None
        The letter that the masks support most; None where they say nothing.
    confidence : float
        That the letter is right, from both; NaN without one.
    ious, boundary_ious : tuple of float or None
        Of every reference mask; None where the answer drew no such mask.
    pixels : Reliability or None
        Probabilities of the pixels of these masks against the reference.
    text : str
        The response.
    """

    item: str
    image: str
    task: str
    options: int
    truth: str
    said: str | None
    letter_probability: float = math.nan
    support: float = math.nan
    supported: str | None = None
    confidence: float = math.nan
    ious: tuple[float | None, ...] = ()
    boundary_ious: tuple[float | None, ...] = ()
    pixels: Reliability | None = None
    text: str = ""

    @property
    def right(self) -> bool:
        """Whether the letter is the right one."""
        return self.said == self.truth

    @property
    def iou(self) -> float:
        """Mean IoU of the reference masks, a missing mask counting 0; NaN without references."""
        return sample_iou(self.ious)

    @property
    def boundary(self) -> float:
        """The same of the boundary IoU."""
        return sample_iou(self.boundary_ious)


def outcome_of(
    item: BenchItem,
    said: str | None,
    masks: Sequence[tuple[NDArray[np.float32], BoolArray] | None],
    *,
    letter_probability: float = math.nan,
    support: float = math.nan,
    supported: str | None = None,
    confidence: float = math.nan,
    text: str = "",
) -> Outcome:
    """Score one answer.

    Parameters
    ----------
    item : BenchItem
        What was asked.
    said : str or None
        The letter.
    masks : sequence
        For every reference of the item the probability and the binary mask, both of shape
        (H, W) or padded beyond it, or None where it was not drawn.
    letter_probability, support : float
        As in `Outcome`.
    supported : str or None
        As in `Outcome`.
    confidence : float
        As in `Outcome`.
    text : str
        The response.

    Returns
    -------
    outcome : Outcome
        Masks are scored where the reference is valid.
    """
    ious: list[float | None] = []
    rims: list[float | None] = []
    pixels: Reliability | None = None
    for reference, found in zip(item.references, masks, strict=True):
        if found is None:
            ious.append(None)
            rims.append(None)
            continue
        rows, columns = reference.mask.shape
        probability, mask = found[0][:rows, :columns], found[1][:rows, :columns]
        ious.append(mask_iou(mask, reference.mask, reference.valid))
        rims.append(boundary_iou(mask, reference.mask, reference.valid))
        counts = reliability(probability[reference.valid], reference.mask[reference.valid])
        pixels = counts if pixels is None else pixels + counts
    return Outcome(
        item=item.name,
        image=item.image,
        task=item.task,
        options=len(item.options),
        truth=item.letter,
        said=said,
        letter_probability=letter_probability,
        support=support,
        supported=supported,
        confidence=confidence,
        ious=tuple(ious),
        boundary_ious=tuple(rims),
        pixels=pixels,
        text=text,
    )


def summary(outcomes: Sequence[Outcome], *, draws: int = 2000) -> dict[str, Any]:
    """Score a run.

    Parameters
    ----------
    outcomes : sequence of Outcome
        At least one.
    draws : int
        Resamples of the intervals, image by image.

    Returns
    -------
    scores : dict
        ``macro`` (mean of the tasks' accuracies), ``micro`` (of all items), ``macro_of_masks``
        (``macro``, had the masks that were drawn chosen the letters), ``mask_iou`` and
        ``boundary_iou`` (means over the items of `Outcome.iou`), each with interval; ``tasks``
        with accuracy, items and mask IoU; ``mask_iou_right`` and ``mask_iou_wrong``;
        ``pixel_ece``; ``answer_ece`` and ``accuracy_at`` (of the surest 80 % and of all), both
        of answers with a confidence; ``chance``.
    """
    images = [one.image for one in outcomes]
    tasks = [one.task for one in outcomes]
    right = np.array([one.right for one in outcomes], np.float64)
    iou = np.array([one.iou for one in outcomes])
    rim = np.array([one.boundary for one in outcomes])
    hits = grouped(images, tasks, right)
    drawn = grouped(
        images, tasks, np.array([one.supported == one.truth for one in outcomes], np.float64)
    )
    pixels = [one.pixels for one in outcomes if one.pixels is not None]
    return {
        "items": len(outcomes),
        "images": len(set(images)),
        "macro": bootstrap(hits, macro_accuracy, draws=draws).as_dict(),
        "micro": bootstrap(hits, mean_of_ratio, draws=draws).as_dict(),
        "macro_of_masks": bootstrap(drawn, macro_accuracy, draws=draws).as_dict(),
        "mask_iou": _mean(images, tasks, iou, draws),
        "boundary_iou": _mean(images, tasks, rim, draws),
        "mask_iou_right": _nanmean(iou[right == 1]),
        "mask_iou_wrong": _nanmean(iou[right == 0]),
        "chance": chance(outcomes),
        "pixel_ece": sum(pixels[1:], pixels[0]).ece if pixels else None,
        **_trust(outcomes),
        "tasks": {task: _task(outcomes, task, draws) for task in sorted(set(tasks))},
    }


def chance(outcomes: Sequence[Outcome]) -> float:
    """Return what guessing scores: the mean over tasks of the mean of one in so many options.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Of all tasks.

    Returns
    -------
    chance : float
        0 to 1.
    """
    tasks = sorted({one.task for one in outcomes})
    means = [np.mean([1 / one.options for one in outcomes if one.task == t]) for t in tasks]
    return float(np.mean(means))


def compare(one: Sequence[Outcome], other: Sequence[Outcome], *, draws: int = 2000) -> Interval:
    """Return by how much one run is better than another in macro accuracy, paired by item.

    Parameters
    ----------
    one, other : sequence of Outcome
        Of the same items, in any order.
    draws : int
        Resamples.

    Returns
    -------
    gain : Interval
        Macro accuracy of `one` minus that of `other`.

    Raises
    ------
    ValueError
        If the items differ.
    """
    return _difference(one, other, [float(o.right) for o in one], _by_item(other, "right"), draws)


def compare_masks(
    one: Sequence[Outcome], other: Sequence[Outcome], *, draws: int = 2000
) -> Interval:
    """Return by how much the masks of one run are better than those of another.

    Parameters
    ----------
    one, other : sequence of Outcome
        Of the same items, in any order.
    draws : int
        Resamples.

    Returns
    -------
    gain : Interval
        Mean over items of the mask IoU of `one` minus that of `other`.

    Raises
    ------
    ValueError
        If the items differ.
    """
    return _difference(
        one, other, [o.iou for o in one], _by_item(other, "iou"), draws, by_task=False
    )


def _difference(
    one: Sequence[Outcome],
    other: Sequence[Outcome],
    mine: Sequence[float],
    theirs: dict[str, float],
    draws: int,
    *,
    by_task: bool = True,
) -> Interval:
    if {o.item for o in one} != set(theirs) or len(one) != len(other):
        raise ValueError("two runs over different items cannot be compared item by item")
    values = np.stack([np.asarray(mine, float), [theirs[o.item] for o in one]], 1)
    tables = grouped([o.image for o in one], [o.task for o in one], values)
    score = macro_accuracy if by_task else mean_of_ratio

    def gain(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        found = score(sums)  # (n, 2)
        return np.asarray(found[:, 0] - found[:, 1])

    return bootstrap(tables, gain, draws=draws)


def _by_item(outcomes: Sequence[Outcome], name: str) -> dict[str, float]:
    return {one.item: float(getattr(one, name)) for one in outcomes}


def _trust(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Score the confidence of answers."""
    stated = np.array([one.confidence for one in outcomes])
    right = np.array([one.right for one in outcomes])
    if not np.isfinite(stated).any():
        return {"answer_ece": None, "accuracy_at": None}
    curve = risk_coverage(stated, right)
    return {
        "answer_ece": reliability(stated, right, bins=10).ece,
        "accuracy_at": {"0.8": curve.accuracy_at(0.8), "1.0": curve.accuracy_at(1.0)},
        "risk_area": curve.area,
    }


def _task(outcomes: Sequence[Outcome], task: str, draws: int) -> dict[str, Any]:
    chosen = [one for one in outcomes if one.task == task]
    images = [one.image for one in chosen]
    right = np.array([one.right for one in chosen], np.float64)
    return {
        "items": len(chosen),
        "accuracy": _mean(images, [task] * len(chosen), right, draws),
        "mask_iou": _nanmean(np.array([one.iou for one in chosen])),
        "chance": float(np.mean([1 / one.options for one in chosen])),
    }


def _mean(
    images: list[str], tasks: list[str], values: NDArray[np.float64], draws: int
) -> dict[str, float] | None:
    if not np.isfinite(values).any():
        return None
    return bootstrap(grouped(images, tasks, values), mean_of_ratio, draws=draws).as_dict()


def _nanmean(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None
