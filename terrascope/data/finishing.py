"""From a proposal to a sample: is it asked, in which words, with which options."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from terrascope.data.facts import Facts, Named
from terrascope.data.options import offer_figures, offer_names, written
from terrascope.data.priors import Priors, shipped_priors
from terrascope.data.proposals import Proposal
from terrascope.data.samples import Sample, Step, indicator_of
from terrascope.data.wording import ask
from terrascope.model.answers import (
    Answer,
    DateAnswer,
    NameAnswer,
    NumberAnswer,
    OptionAnswer,
    YesNoAnswer,
)
from terrascope.model.forms import Form
from terrascope.model.measurer import MEASURED_FOR
from terrascope.model.readings import MEASURED_FIELDS
from terrascope.vocabulary import AnswerKind, QuestionKind, Unit

__all__ = ["Choice", "finish", "shown_fields", "steps_of"]

_GAP_SHARE = 0.01
"""Least difference of two shares that are offered."""
_FEWEST_NAMES = 4
"""Options of a question that has names to choose from."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """How questions are chosen and written.

    Parameters
    ----------
    weights : mapping of str to float or None
        Of the makers, by name; None for the defaults of the registry. What is left out is not
        asked.
    options_share : float
        Of the questions that come with options, where both are possible.
    all_fields_share : float
        Of the samples that show all measured fields, not only those that matter.
    scheme : str
        Of the wrong options; one of `terrascope.data.options.SCHEMES`.
    priors : Priors or None
        Of other scenes; None for those in the package.
    """

    weights: Mapping[str, float] | None = None
    options_share: float = 0.6
    all_fields_share: float = 0.2
    scheme: str = "main"
    priors: Priors | None = None

    @property
    def table(self) -> Priors:
        """The priors that are used."""
        return shipped_priors() if self.priors is None else self.priors


def finish(
    proposal: Proposal, facts: Facts, rng: np.random.Generator, choice: Choice
) -> Sample | None:
    """Turn a proposal into a sample.

    Parameters
    ----------
    proposal : Proposal
        Of the scene.
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of words, options and their order.
    choice : Choice
        How.

    Returns
    -------
    sample : Sample or None
        None where the question is not asked this time: its answer is likelier than others, or
        the options that were drawn are too close to each other.
    """
    is_few = isinstance(proposal.truth, bool) or bool(proposal.names)
    if is_few and not choice.table.accepts(proposal.key + facts.stratum, proposal.said, rng):
        return None
    options: tuple[str, ...] = ()
    form, answer = _open(proposal, facts)
    if rng.random() < choice.options_share:
        offered = _offer(proposal, facts, rng, choice)
        if offered is None:
            return None
        options, letter = offered
        form, answer = Form(AnswerKind.OPTION, options=len(options)), OptionAnswer(letter)
    area = proposal.unit if proposal.unit in (Unit.SQUARE_METRE, Unit.HECTARE) else None
    return Sample(
        image_id=facts.scene.image_id,
        kind=proposal.kind,
        task=proposal.task,
        question=ask(proposal.wording, proposal.words, rng),
        form=form,
        options=options,
        steps=steps_of(_in_order(proposal, options), facts),
        closing=proposal.closing,
        answer=answer,
        fields=shown_fields(proposal.kind, rng, choice),
        area_unit=area or Unit.HECTARE,
        stated=proposal.stated,
    )


def steps_of(steps: tuple[Named, ...], facts: Facts) -> tuple[Step, ...]:
    """Write the steps of a trace.

    Parameters
    ----------
    steps : tuple of Named
        Masks in order.
    facts : Facts
        Of the scene.

    Returns
    -------
    steps : tuple of Step
        With their true masks.
    """
    return tuple(
        Step(f"{name} {indicator_of(dates)}", name, dates, facts.rle((name, dates)))
        for name, dates in steps
    )


def shown_fields(kind: QuestionKind, rng: np.random.Generator, choice: Choice) -> tuple[str, ...]:
    """Choose what is shown of measured masks.

    Parameters
    ----------
    kind : QuestionKind
        What is asked.
    rng : numpy.random.Generator
        Of the draw.
    choice : Choice
        How often all of it.

    Returns
    -------
    fields : tuple of str
        What `terrascope.model.measurer.MEASURED_FOR` says, or now and then all.
    """
    some = MEASURED_FOR[kind]
    return MEASURED_FIELDS if some and rng.random() < choice.all_fields_share else some


def _open(proposal: Proposal, facts: Facts) -> tuple[Form, Answer]:
    """Return form and answer of the question without options."""
    truth, kind = proposal.truth, proposal.answer
    if isinstance(truth, bool):
        return Form(AnswerKind.YES_NO), YesNoAnswer(truth)
    if kind is AnswerKind.DATE:
        dates = facts.scene.dates
        return Form(kind, dates=dates), DateAnswer(dt.date.fromisoformat(str(truth)))
    if isinstance(truth, str):
        return Form(kind, names=proposal.names), NameAnswer(truth, kind)
    text = written(truth, proposal.unit).partition(" ")[0]
    if proposal.unit is None:
        return Form(kind), NumberAnswer(Decimal(text))
    return Form(kind, units=(proposal.unit,)), NumberAnswer(Decimal(text), proposal.unit)


def _in_order(proposal: Proposal, options: tuple[str, ...]) -> tuple[Named, ...]:
    """Look at the masks that are options in the order of their letters, then at the others."""
    named = {name for name, _ in proposal.steps}
    if not options or not named.issuperset(proposal.names):
        return proposal.steps
    return tuple(sorted(proposal.steps, key=lambda one: (*options, one[0]).index(one[0])))


def _offer(
    proposal: Proposal, facts: Facts, rng: np.random.Generator, choice: Choice
) -> tuple[tuple[str, ...], str] | None:
    """Draw options of the kind that the truth is of."""
    truth, key = proposal.truth, proposal.key + facts.stratum
    if isinstance(truth, bool):
        return offer_names(proposal.said, ["no" if truth else "yes"], rng)
    if isinstance(truth, str):
        others = [name for name in proposal.names if name != truth]
        if not proposal.names:
            others = choice.table.draw_names(key, rng, _FEWEST_NAMES - 1)
            if len({truth, *others}) < _FEWEST_NAMES:
                return None
        return offer_names(truth, others, rng)
    geometry = facts.scene.window.geometry
    pixel_m = float(np.mean(geometry.pixel_size_yx_m))
    scale, gap = 1.0, 1.0
    if proposal.unit is Unit.PERCENT:
        gap = _GAP_SHARE
    elif proposal.unit is Unit.METRE:
        scale, gap = pixel_m, pixel_m
    elif proposal.unit is not None:
        scale, gap = facts.window_m2, _GAP_SHARE * facts.window_m2

    def draw(count: int) -> list[float]:
        figures = choice.table.draw_figures(key, rng, count) * scale
        if proposal.unit in (Unit.SQUARE_METRE, Unit.HECTARE):
            # A truth is a whole number of pixels: what is not would give itself away.
            pixel_m2 = facts.window_m2 / geometry.area_map_m2.size
            figures = np.round(figures / pixel_m2) * pixel_m2
        return [float(value) for value in figures]

    return offer_figures(truth, proposal.unit, draw, rng, gap=gap, scheme=choice.scheme)
