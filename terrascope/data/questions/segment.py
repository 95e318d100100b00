"""Referring segmentation: masks are all that is wanted, of what is there and of what is not."""

from __future__ import annotations

import numpy as np

from terrascope.data.facts import Facts, Named
from terrascope.data.finishing import Choice, steps_of
from terrascope.data.samples import Sample, indicator_of
from terrascope.data.scenes import ANY_CHANGE, DESTROYED
from terrascope.data.wording import ask
from terrascope.model.answers import TextAnswer
from terrascope.model.forms import Form
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, LAND_COVER, AnswerKind, QuestionKind

__all__ = ["SHOWN", "all_masks", "make_segmentation", "segmentation_sample"]

SHOWN = "shown"
"""The answer where only masks are wanted."""
_ABSENT_SHARE = 0.25
"""Of the masks of one sample, at most this share is empty, where there are others."""


def all_masks(facts: Facts) -> list[Named]:
    """Return every mask that can be asked for.

    Parameters
    ----------
    facts : Facts
        Of the scene.

    Returns
    -------
    masks : list of Named
        All classes on all dates; all kinds of change, any change and what is destroyed of the
        developed area between all labelled pairs.
    """
    kinds = [name for kind, name in CHANGE_NAMES.items() if kind is not ChangeKind.NONE]
    found: list[Named] = [
        (name, (-1, date)) for date in range(facts.date_count) for name in LAND_COVER
    ]
    pairs = facts.scene.change_pairs()
    return found + [(name, pair) for pair in pairs for name in (ANY_CHANGE, *kinds, DESTROYED)]


def segmentation_sample(
    facts: Facts,
    rng: np.random.Generator,
    most: int,
    absent_share: float = _ABSENT_SHARE,
    *,
    pairs: bool = True,
) -> Sample | None:
    """Ask for many masks in one sample, for the first stage of training.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of choice and order.
    most : int
        Masks.
    absent_share : float
        Empty masks among them, at most, where there are others.
    pairs : bool
        Whether masks of change are asked for.

    Returns
    -------
    sample : Sample or None
        Up to half of the masks are of changes, where there are any, some masks are empty; None
        where no mask is known.
    """
    known = [n for n in all_masks(facts) if (pairs or n[1][0] < 0) and facts.known_m2(n)]
    if not known:
        return None
    order = [known[int(n)] for n in rng.permutation(len(known))]
    there = [named for named in order if facts.pixels(named)]
    absent = [named for named in order if not facts.pixels(named)]
    # Changes are rarer than classes, and harder: up to half of the masks are theirs.
    changes = [named for named in there if named[1][0] >= 0]
    classes = [named for named in there if named[1][0] < 0]
    empty = absent[: max(round(absent_share * most), 1)]
    kept = (changes[: most // 2] + classes)[: most - len(empty)]
    chosen = kept + empty
    steps = tuple(chosen[int(n)] for n in rng.permutation(len(chosen)))
    return _sample(facts, steps, ask("segment all", {}, rng))


def make_segmentation(facts: Facts, rng: np.random.Generator, choice: Choice) -> Sample | None:
    """Ask for one mask.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.
    choice : Choice
        Not used: a mask has neither options nor figures.

    Returns
    -------
    sample : Sample or None
        None where the drawn mask is known nowhere.
    """
    del choice
    masks = all_masks(facts)
    named = masks[int(rng.integers(len(masks)))]
    if not facts.known_m2(named) or (not facts.pixels(named) and rng.random() > _ABSENT_SHARE):
        return None
    name, dates = named
    words = {"a": name, "t": indicator_of(dates)}
    wording = "segment" if dates[0] < 0 else "segment change"
    return _sample(facts, (named,), ask(wording, words, rng))


def _sample(facts: Facts, steps: tuple[Named, ...], question: str) -> Sample:
    return Sample(
        image_id=facts.scene.image_id,
        kind=QuestionKind.SEGMENT,
        task="SEG",
        question=question,
        form=Form(AnswerKind.TEXT),
        options=(),
        steps=steps_of(steps, facts),
        closing="",
        answer=TextAnswer(SHOWN),
        fields=(),
    )
