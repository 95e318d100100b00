"""Captions: region by region, each followed by its mask, then put into sentences."""

from __future__ import annotations

import numpy as np

from terrascope.data.facts import Facts, Named
from terrascope.data.finishing import Choice, shown_fields, steps_of
from terrascope.data.questions.change import KINDS
from terrascope.data.questions.land import a_date
from terrascope.data.samples import Sample, indicator_of
from terrascope.data.wording import ask
from terrascope.model.answers import TextAnswer
from terrascope.model.forms import Form
from terrascope.vocabulary import AnswerKind, QuestionKind

__all__ = ["make_caption"]

_LEAST_SHARE, _LEAST_CHANGE = 0.05, 0.005
_MOST_CLASSES, _MOST_CHANGES = 4, 2


def make_caption(facts: Facts, rng: np.random.Generator, choice: Choice) -> Sample | None:
    """Describe one date of a scene, or what changed since an earlier one too.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the choice.
    choice : Choice
        How.

    Returns
    -------
    sample : Sample or None
        None where no class covers enough.
    """
    date = a_date(facts, rng)
    classes = facts.largest(facts.classes(date, _LEAST_SHARE), date)[:_MOST_CLASSES]
    if not classes:
        return None
    steps: list[Named] = [(name, (-1, date)) for name in classes]
    earlier = [pair for pair in facts.scene.change_pairs() if pair[1] == date]
    wording, words = "caption", {"t": indicator_of((-1, date))}
    changes: list[Named] = []
    if earlier and rng.random() < 0.5:
        pair = earlier[int(rng.integers(len(earlier)))]
        wording, words = "caption change", words | {"s": indicator_of(pair)}
        found = [(name, pair) for name in KINDS if facts.share((name, pair)) >= _LEAST_CHANGE]
        changes = sorted(found, key=lambda named: -facts.area_m2(named))[:_MOST_CHANGES]
    return Sample(
        image_id=facts.scene.image_id,
        kind=QuestionKind.CAPTION,
        task="CAP",
        question=ask(wording, words, rng),
        form=Form(AnswerKind.TEXT),
        options=(),
        steps=steps_of((*steps, *changes), facts),
        closing="",
        answer=TextAnswer(_sentences(facts, steps, changes, told=wording == "caption change")),
        fields=shown_fields(QuestionKind.CAPTION, rng, choice),
    )


def _sentences(facts: Facts, classes: list[Named], changes: list[Named], *, told: bool) -> str:
    """Say what covers most, where the rest lies, and what changed."""
    first, *others = classes
    said = [f"The ground is mostly {first[0]}."]
    said += [f"There is {named[0]} in the {facts.position(named)}." for named in others]
    if told:
        said += [f"There was {named[0]} in the {facts.position(named)}." for named in changes]
        if not changes:
            said.append("Nothing has changed.")
    return " ".join(said)
