"""Questions about how classes lie to each other: do they touch, how far, which is nearer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from terrascope.data.facts import Facts, Named
from terrascope.data.filters import boundary_is_asked, distance_is_asked
from terrascope.data.proposals import Proposal
from terrascope.data.questions.land import a_date
from terrascope.data.samples import indicator_of
from terrascope.vocabulary import AnswerKind, QuestionKind, Unit

__all__ = [
    "propose_boundary",
    "propose_distance",
    "propose_nearer",
    "propose_touch",
    "propose_touching",
]

_LEAST_SHARE = 0.01
"""Of the observed ground, for a class whose distance is asked for."""
_CLEARLY_PX, _CLEARLY_RATIO = 3.0, 1.3
"""One of two ways is the shorter one where it is so by this much, and by this factor."""


def propose_boundary(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask whether two classes of few parts touch.

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

    def is_asked(one: Named, other: Named) -> bool:
        return boundary_is_asked(
            facts.share(one), facts.share(other), facts.parts(one), facts.parts(other)
        )

    return _touch(facts, rng, "BRD", 0.03, is_asked)


def propose_touch(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask whether two classes touch, whatever their number of parts.

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
    return _touch(facts, rng, "L1", _LEAST_SHARE, lambda one, other: True)


def _touch(
    facts: Facts,
    rng: np.random.Generator,
    task: str,
    at_least: float,
    is_asked: Callable[[Named, Named], bool],
) -> Proposal | None:
    """Draw the answer, then a pair of classes with it: most pairs touch."""
    date = a_date(facts, rng)
    there: list[Named] = [(name, (-1, date)) for name in facts.classes(date, at_least)]
    wanted = bool(rng.integers(2))
    pairs = list(itertools.combinations(there, 2))
    for number in rng.permutation(len(pairs)):
        one, other = pairs[number]
        if not is_asked(one, other) or facts.touches(one, other) != wanted:
            continue
        if facts.bodies_touch(one, other) != wanted:  # a speck decides: no answer hangs on that
            continue
        if rng.random() < 0.5:
            one, other = other, one
        return Proposal(
            kind=QuestionKind.BOUNDARY,
            task=task,
            wording="boundary",
            words=_words(date, one[0], other[0]),
            key=f"touch {task} " + " and ".join(sorted((one[0], other[0]))),
            truth=wanted,
            answer=AnswerKind.YES_NO,
            steps=(one, other),
            closing="touches {touches:2/1} distance {distance:2/1}",
            stated="touches:2/1",
        )
    return None


def propose_distance(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask how far two classes are from each other.

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
    drawn = _draw(facts, rng, 2, _LEAST_SHARE)
    if drawn is None:
        return None
    date, (one, other) = drawn
    masks = [(name, (-1, date)) for name in (one, other)]
    metres = facts.distance_m(*masks)
    pixels = None if metres is None else metres / _pixel_m(facts)
    if metres is None or not distance_is_asked(pixels):
        return None
    return Proposal(
        kind=QuestionKind.DISTANCE,
        task="DM",
        wording="distance",
        words=_words(date, one, other),
        key="distance",
        truth=metres,
        prior=pixels,
        answer=AnswerKind.NUMBER_UNIT,
        steps=tuple(masks),
        closing="distance {distance:2/1}{compare}",
        stated="distance:2/1",
        unit=Unit.METRE,
    )


def propose_nearer(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask which of two classes is nearer to a third.

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
    drawn = _draw(facts, rng, 3, _LEAST_SHARE)
    if drawn is None:
        return None
    date, (one, other, third) = drawn
    middle = (third, (-1, date))
    ways = [facts.distance_m((name, (-1, date)), middle) for name in (one, other)]
    if ways[0] is None or ways[1] is None:
        return None
    near, far = sorted((ways[0], ways[1]))
    if far < _CLEARLY_RATIO * near or far - near < _CLEARLY_PX * _pixel_m(facts):
        return None
    return Proposal(
        kind=QuestionKind.DISTANCE,
        task="L2",
        wording="nearer",
        words=_words(date, one, other, third),
        key="nearer " + " or ".join(sorted((one, other))),
        truth=one if ways[0] == near else other,
        answer=AnswerKind.CLASS,
        steps=tuple((name, (-1, date)) for name in (one, other, third)),
        closing="{name:1} {distance:3/1} {name:2} {distance:3/2}",
        names=(one, other),
    )


def propose_touching(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask which of two classes touches a third.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where both do, or neither.
    """
    drawn = _draw(facts, rng, 3, _LEAST_SHARE)
    if drawn is None:
        return None
    date, (one, other, third) = drawn
    middle = (third, (-1, date))
    touch = [facts.touches((name, (-1, date)), middle) for name in (one, other)]
    if touch[0] == touch[1]:
        return None
    return Proposal(
        kind=QuestionKind.BOUNDARY,
        task="L2",
        wording="touching",
        words=_words(date, one, other, third),
        key="touching " + " or ".join(sorted((one, other))),
        truth=one if touch[0] else other,
        answer=AnswerKind.CLASS,
        steps=tuple((name, (-1, date)) for name in (one, other, third)),
        closing="{name:1} {touches:3/1} {name:2} {touches:3/2}",
        names=(one, other),
    )


def _draw(
    facts: Facts, rng: np.random.Generator, count: int, at_least: float
) -> tuple[int, tuple[str, ...]] | None:
    """Draw a date and different classes that are there."""
    date = a_date(facts, rng)
    there = facts.classes(date, at_least)
    if len(there) < count:
        return None
    return date, tuple(str(name) for name in rng.choice(there, count, replace=False))


def _words(date: int, *names: str) -> Mapping[str, str]:
    return {"t": indicator_of((-1, date))} | dict(zip("abc", names, strict=False))


def _pixel_m(facts: Facts) -> float:
    return float(np.mean(facts.scene.window.geometry.pixel_size_yx_m))
