"""Questions about one class or two on one date: how much, which is larger, is there any, where."""

from __future__ import annotations

import numpy as np

from terrascope.data.facts import Facts
from terrascope.data.filters import compare_is_asked, coverage_is_asked
from terrascope.data.proposals import Proposal
from terrascope.data.samples import indicator_of
from terrascope.vocabulary import LAND_COVER, AnswerKind, QuestionKind, Unit

__all__ = [
    "propose_area",
    "propose_classify",
    "propose_compare",
    "propose_count",
    "propose_coverage",
    "propose_existence",
    "propose_largest_share",
    "propose_location",
]

LEAST_SHARE = 0.005
"""From this share of the observed ground on, a class counts as there."""
_MOST_PARTS = 12
_MARGIN = 1.15
"""The largest class is asked for where it is this many times the next one."""
_LEAST_LARGEST = 0.2
AREA_UNITS = (Unit.HECTARE, Unit.SQUARE_METRE)


def a_date(facts: Facts, rng: np.random.Generator) -> int:
    """Draw a date of the window.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the draw.

    Returns
    -------
    date : int
        From 0.
    """
    return int(rng.integers(facts.date_count))


def a_class(facts: Facts, rng: np.random.Generator, date: int, at_least: float) -> str | None:
    """Draw a class that is there.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the draw.
    date : int
        From 0.
    at_least : float
        Share of the observed ground.

    Returns
    -------
    name : str or None
        None where there is none.
    """
    names = facts.classes(date, at_least)
    return str(rng.choice(names)) if names else None


def propose_coverage(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask for the share of the ground that a class covers.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where the scene has no such question.
    """
    date = a_date(facts, rng)
    name = a_class(facts, rng, date, 0.05)
    if name is None or not coverage_is_asked(facts.share((name, (-1, date)))):
        return None
    return Proposal(
        kind=QuestionKind.COVERAGE,
        task="CA",
        wording="coverage",
        words={"a": name, "t": indicator_of((-1, date))},
        key=f"share {name}",
        truth=facts.share((name, (-1, date))),
        answer=AnswerKind.NUMBER_UNIT,
        steps=((name, (-1, date)),),
        closing="share {share:1}{compare}",
        stated="share:1",
        unit=Unit.PERCENT,
    )


def propose_area(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask for the area that a class covers.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where the scene has no such question.
    """
    date = a_date(facts, rng)
    name = a_class(facts, rng, date, 0.05)
    if name is None or not coverage_is_asked(facts.share((name, (-1, date)))):
        return None
    unit = AREA_UNITS[int(rng.integers(2))]
    area = facts.area_m2((name, (-1, date)))
    return Proposal(
        kind=QuestionKind.AREA,
        task="AQ",
        wording="area",
        words={"a": name, "t": indicator_of((-1, date)), "unit": unit.value},
        key=f"area {name}",
        truth=area,
        prior=area / facts.window_m2,
        answer=AnswerKind.NUMBER_UNIT,
        steps=((name, (-1, date)),),
        closing="area {area:1}{compare}",
        stated="area:1",
        unit=unit,
    )


def propose_compare(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask which of two classes is larger.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where the scene has no such question.
    """
    date = a_date(facts, rng)
    there = facts.classes(date, 0.05)
    if len(there) < 2:
        return None
    one, other = (str(name) for name in rng.choice(there, 2, replace=False))
    shares = [facts.share((name, (-1, date))) for name in (one, other)]
    if not compare_is_asked(*shares):
        return None
    return Proposal(
        kind=QuestionKind.COMPARE,
        task="CR",
        wording="compare",
        words={"a": one, "b": other, "t": indicator_of((-1, date))},
        key="larger " + " or ".join(sorted((one, other))),
        truth=one if shares[0] > shares[1] else other,
        answer=AnswerKind.CLASS,
        steps=((one, (-1, date)), (other, (-1, date))),
        closing="{name:1} {share:1} {name:2} {share:2} most {most}",
        stated="most",
        names=(one, other),
    )


def propose_existence(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask whether a class is there.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where the class covers something, but next to nothing.
    """
    date = a_date(facts, rng)
    name = str(rng.choice(LAND_COVER))
    share = facts.share((name, (-1, date)))
    if 0 < share < LEAST_SHARE or not facts.known_m2((name, (-1, date))):
        return None
    return Proposal(
        kind=QuestionKind.EXISTENCE,
        task="L1",
        wording="existence",
        words={"a": name, "t": indicator_of((-1, date))},
        key=f"exists {name}",
        truth=share > 0,
        answer=AnswerKind.YES_NO,
        steps=((name, (-1, date)),),
        closing="share {share:1}",
    )


def propose_count(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask of how many parts a class is.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where there are more than can be told apart.
    """
    date = a_date(facts, rng)
    name = a_class(facts, rng, date, LEAST_SHARE)
    if name is None or facts.parts((name, (-1, date))) > _MOST_PARTS:
        return None
    return Proposal(
        kind=QuestionKind.COUNT,
        task="L1",
        wording="count",
        words={"a": name, "t": indicator_of((-1, date))},
        key=f"parts {name}",
        truth=float(facts.parts((name, (-1, date)))),
        answer=AnswerKind.NUMBER,
        steps=((name, (-1, date)),),
        closing="parts {parts:1}{compare}",
        stated="parts:1",
    )


def propose_location(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask where a class lies.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where it lies all over the place.
    """
    date = a_date(facts, rng)
    name = a_class(facts, rng, date, LEAST_SHARE)
    if name is None:
        return None
    place = facts.position((name, (-1, date)))
    if place is None or facts.spread((name, (-1, date))) > 0.25:
        return None
    return Proposal(
        kind=QuestionKind.LOCATION,
        task="L1",
        wording="location",
        words={"a": name, "t": indicator_of((-1, date))},
        key="position",
        truth=place,
        answer=AnswerKind.POSITION,
        steps=((name, (-1, date)),),
        closing="position {position:1}",
    )


def propose_classify(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask which class covers most.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where two classes are about as large.
    """
    date = a_date(facts, rng)
    ranked = facts.largest(facts.classes(date, 0.03), date)[:4]
    if not _stands_out(facts, ranked, date):
        return None
    said = " ".join(f"{name} {{share:{n}}}" for n, name in enumerate(sorted(ranked), start=1))
    return Proposal(
        kind=QuestionKind.CLASSIFY,
        task="L2",
        wording="classify",
        words={"t": indicator_of((-1, date))},
        key="largest class",
        truth=ranked[0],
        answer=AnswerKind.CLASS,
        steps=tuple((name, (-1, date)) for name in sorted(ranked)),
        closing=f"{said} most {{most}}",
        stated="most",
    )


def propose_largest_share(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask which share the largest class covers, without naming it.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where two classes are about as large.
    """
    date = a_date(facts, rng)
    ranked = facts.largest(facts.classes(date, 0.03), date)[:4]
    if not _stands_out(facts, ranked, date):
        return None
    names = sorted(ranked)
    said = " ".join(f"{name} {{share:{n}}}" for n, name in enumerate(names, start=1))
    best = names.index(ranked[0]) + 1
    return Proposal(
        kind=QuestionKind.COVERAGE,
        task="L2",
        wording="largest share",
        words={"t": indicator_of((-1, date))},
        key="largest share",
        truth=facts.share((ranked[0], (-1, date))),
        answer=AnswerKind.NUMBER_UNIT,
        steps=tuple((name, (-1, date)) for name in names),
        closing=f"{said} most {{share:{best}}}{{compare}}",
        stated=f"share:{best}",
        unit=Unit.PERCENT,
    )


def _stands_out(facts: Facts, ranked: list[str], date: int) -> bool:
    """Tell whether the first of the ranked classes is large, and larger than the next."""
    if not ranked:
        return False
    shares = [facts.share((name, (-1, date))) for name in ranked[:2]] + [0.0]
    return shares[0] >= _LEAST_LARGEST and shares[0] >= _MARGIN * shares[1]
