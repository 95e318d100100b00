"""Questions about what changed between two dates: is there any, how much, of what kind, when."""

from __future__ import annotations

import numpy as np

from terrascope.data.facts import Facts, Named
from terrascope.data.filters import (
    coverage_is_asked,
    destroyed_count_is_asked,
    destroyed_share_is_asked,
)
from terrascope.data.proposals import Proposal
from terrascope.data.questions.land import AREA_UNITS
from terrascope.data.samples import indicator_of
from terrascope.data.scenes import ANY_CHANGE, DESTROYED
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, LAND_COVER, AnswerKind, QuestionKind, Unit

__all__ = [
    "KINDS",
    "propose_became",
    "propose_change_area",
    "propose_change_date",
    "propose_change_existence",
    "propose_change_kind",
    "propose_change_share",
    "propose_destroyed_count",
    "propose_destroyed_share",
    "propose_more",
]

KINDS = tuple(name for kind, name in CHANGE_NAMES.items() if kind is not ChangeKind.NONE)
"""Names of the kinds of change, without none."""
_LEAST_CHANGE = 0.002
"""From this share of the observed ground on, a change counts as there."""
_LEAST_AREA = 0.01
_MOST_COUNT = 20
_CLEARLY = 0.7
"""Share of the changed ground that has become one class, or is of one kind, where it is asked."""
_BOTH_SEEN = 0.9
"""Of the ground that is known on one date, this share is known on the other one too."""


def propose_change_existence(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask whether there is a change of some kind, or of any.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None without two dates, or where there is next to nothing of it.
    """
    pair = _pair(facts, rng)
    if pair is None:
        return None
    name = ANY_CHANGE if rng.random() < 0.3 else KINDS[int(rng.integers(len(KINDS)))]
    share = facts.share((name, pair))
    if 0 < share < _LEAST_CHANGE:
        return None
    return Proposal(
        kind=QuestionKind.CHANGE_EXISTENCE,
        task="L2",
        wording="change existence",
        words={"a": name, "t": indicator_of(pair)},
        key=f"changed {name}",
        truth=share > 0,
        answer=AnswerKind.YES_NO,
        steps=((name, pair),),
        closing="share {share:1}",
    )


def propose_change_area(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask for the area of a change.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where nothing changed that is large enough.
    """
    pair = _pair(facts, rng, ANY_CHANGE)
    if pair is None:
        return None
    there = [name for name in (ANY_CHANGE, *KINDS) if facts.share((name, pair)) >= _LEAST_AREA]
    if not there:
        return None
    name = there[int(rng.integers(len(there)))]
    unit = AREA_UNITS[int(rng.integers(2))]
    area = facts.area_m2((name, pair))
    return Proposal(
        kind=QuestionKind.CHANGE_AREA,
        task="L2",
        wording="change area",
        words={"a": name, "t": indicator_of(pair), "unit": unit.value},
        key=f"changed area {name}",
        truth=area,
        prior=area / facts.window_m2,
        answer=AnswerKind.NUMBER_UNIT,
        steps=((name, pair),),
        closing="area {area:1}{compare}",
        stated="area:1",
        unit=unit,
    )


def propose_change_kind(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask of what kind the change is.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where there are several kinds, or next to no change.
    """
    pair = _pair(facts, rng)
    if pair is None or 0 < facts.share((ANY_CHANGE, pair)) < _LEAST_CHANGE:
        return None
    changed: Named = (ANY_CHANGE, pair)
    truth, steps = CHANGE_NAMES[ChangeKind.NONE], [changed]
    if facts.pixels(changed):
        truth = max(KINDS, key=lambda name: facts.area_m2((name, pair)))
        if facts.area_m2((truth, pair)) < _CLEARLY * facts.area_m2(changed):
            return None
        steps.append((truth, pair))
    return Proposal(
        kind=QuestionKind.CHANGE_KIND,
        task="L2",
        wording="change kind",
        words={"t": indicator_of(pair)},
        key="kind of change",
        truth=truth,
        answer=AnswerKind.CHANGE,
        steps=tuple(steps),
        closing=f"share {{share:1}} {truth}",
    )


def propose_change_share(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask which share of a class has changed.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where the class is small, or hardly changed.
    """
    pair = _pair(facts, rng, ANY_CHANGE)
    if pair is None:
        return None
    name = LAND_COVER[int(rng.integers(len(LAND_COVER)))]
    before: Named = (name, (-1, pair[0]))
    if not coverage_is_asked(facts.share(before)):
        return None
    share = facts.inside(before, (ANY_CHANGE, pair))
    if not coverage_is_asked(share):
        return None
    return Proposal(
        kind=QuestionKind.CHANGE_SHARE,
        task="L2",
        wording="change share",
        words={"a": name, "t": indicator_of(pair), "s": indicator_of(before[1])},
        key=f"changed share {name}",
        truth=share,
        answer=AnswerKind.NUMBER_UNIT,
        steps=((ANY_CHANGE, pair), before),
        closing="inside {inside:2/1}{compare}",
        stated="inside:2/1",
        unit=Unit.PERCENT,
    )


def propose_destroyed_share(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask which share of the developed ground is destroyed.

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
    pair = _pair(facts, rng, DESTROYED)
    if pair is None:
        return None
    before: Named = ("developed area", (-1, pair[0]))
    share = facts.inside(before, (DESTROYED, pair))
    if not destroyed_share_is_asked(facts.share(before), share):
        return None
    return Proposal(
        kind=QuestionKind.CHANGE_SHARE,
        task="BCE",
        wording="destroyed share",
        words={"t": indicator_of(pair), "s": indicator_of(before[1])},
        key="destroyed share",
        truth=share,
        answer=AnswerKind.NUMBER_UNIT,
        steps=((DESTROYED, pair), before),
        closing="inside {inside:2/1}{compare}",
        stated="inside:2/1",
        unit=Unit.PERCENT,
    )


def propose_destroyed_count(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask how many developed places are destroyed.

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
    pair = _pair(facts, rng, DESTROYED)
    if pair is None:
        return None
    places: Named = (DESTROYED, pair)
    count = facts.parts(places)
    groups = facts.parts(("developed area", (-1, pair[0])))
    if count > _MOST_COUNT or not destroyed_count_is_asked(groups, count):
        return None
    return Proposal(
        kind=QuestionKind.CHANGE_COUNT,
        task="BCE",
        wording="destroyed count",
        words={"t": indicator_of(pair)},
        key="destroyed count",
        truth=float(count),
        answer=AnswerKind.NUMBER,
        steps=(places,),
        closing="parts {parts:1}{compare}",
        stated="parts:1",
    )


def propose_became(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask what changed ground has become, or what it was before.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where hardly anything changed, or it has become several classes.
    """
    pair = _pair(facts, rng, ANY_CHANGE)
    changed: Named = (ANY_CHANGE, pair or (0, 1))
    if pair is None or facts.share(changed) < _LEAST_AREA:
        return None
    afterwards = bool(rng.integers(2))
    date = pair[1] if afterwards else pair[0]
    inside = {name: facts.inside(changed, (name, (-1, date))) for name in LAND_COVER}
    truth = max(inside, key=lambda name: inside[name])
    others = [name for name in facts.classes(date) if name != truth]
    if inside[truth] < _CLEARLY or not others:
        return None
    names = [truth, others[int(rng.integers(len(others)))]]
    if rng.random() < 0.5:
        names.reverse()
    return Proposal(
        kind=QuestionKind.CHANGE_CLASS,
        task="L2",
        wording="became" if afterwards else "was",
        words={"a": names[0], "b": names[1], "t": indicator_of(pair)},
        key=("became " if afterwards else "was ") + " or ".join(sorted(names)),
        truth=truth,
        answer=AnswerKind.CLASS,
        steps=((names[0], (-1, date)), (names[1], (-1, date)), changed),
        closing="{name:1} {inside:3/1} {name:2} {inside:3/2}",
        names=(names[0], names[1]),
    )


def propose_more(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask whether there is more of a class than before.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None where the class hardly changed.
    """
    pair = _pair(facts, rng)
    if pair is None:
        return None
    name = LAND_COVER[int(rng.integers(len(LAND_COVER)))]
    masks: list[Named] = [(name, (-1, date)) for date in pair]
    before, after = (facts.share(mask) for mask in masks)
    if max(before, after) < 0.02 or abs(before - after) < max(0.005, 0.1 * max(before, after)):
        return None
    less = bool(rng.integers(2))
    return Proposal(
        kind=QuestionKind.COMPARE,
        task="L2",
        wording="less" if less else "more",
        words={"a": name, "t": indicator_of((-1, pair[1])), "s": indicator_of((-1, pair[0]))},
        key=f"{'less' if less else 'more'} {name}",
        truth=(after < before) if less else (after > before),
        answer=AnswerKind.YES_NO,
        steps=tuple(masks),
        closing="share {share:1} then {share:2}",
    )


def propose_change_date(facts: Facts, rng: np.random.Generator) -> Proposal | None:
    """Ask on which date a change is first seen.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.

    Returns
    -------
    proposal : Proposal or None
        None with fewer than three dates, or without a clear first one.
    """
    dates = facts.scene.dates
    pairs = [(0, date) for date in range(1, len(dates))]
    if len(pairs) < 2 or not all(_is_seen(facts, pair) for pair in pairs):
        return None
    name = ANY_CHANGE if rng.random() < 0.5 else KINDS[int(rng.integers(len(KINDS)))]
    shares = [facts.share((name, pair)) for pair in pairs]
    first = next((n for n, share in enumerate(shares) if share > 0), None)
    if first is None or shares[first] < _LEAST_CHANGE:
        return None
    said = ", ".join(f"t_{n} {date.isoformat()}" for n, date in enumerate(dates, start=1))
    figures = " ".join(f"t_{n + 1} {{share:{n}}}" for n in range(1, len(dates)))
    return Proposal(
        kind=QuestionKind.CHANGE_DATE,
        task="L2",
        wording="change date",
        words={"a": name, "dates": said},
        key=f"date of {len(dates)}",
        truth=dates[first + 1].isoformat(),
        outcome=str(first + 1),
        answer=AnswerKind.DATE,
        steps=tuple((name, pair) for pair in pairs),
        closing=f"{figures} first t_{first + 2}",
        names=tuple(date.isoformat() for date in dates[1:]),
    )


def _pair(facts: Facts, rng: np.random.Generator, name: str = "") -> tuple[int, int] | None:
    """Draw two dates that see about the same ground, between which something changed."""
    pairs = [pair for pair in facts.scene.change_pairs() if _is_seen(facts, pair)]
    if name:
        pairs = [pair for pair in pairs if facts.pixels((name, pair))]
    return pairs[int(rng.integers(len(pairs)))] if pairs else None


def _is_seen(facts: Facts, pair: tuple[int, int]) -> bool:
    if pair not in facts.scene.changes:
        return False
    both = facts.known_m2((ANY_CHANGE, pair))
    alone = max(facts.known_m2((LAND_COVER[0], (-1, date))) for date in pair)
    return both > 0 and both >= _BOTH_SEEN * alone
