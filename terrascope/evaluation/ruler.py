"""What masks say about the options of a question: measured, without a word of language.

The same ruler reads three kinds of masks: those a model drew on its way to an answer (how far they
support it), those of a segmentation baseline (its answer), and reference masks (which must give
the right letter, or the benchmark is wrong).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from terrascope.data.scenes import DESTROYED
from terrascope.evaluation.items import BenchItem
from terrascope.model.answers import NumberAnswer, to_base
from terrascope.model.figure import fields_for
from terrascope.model.forms import AnswerError, Form, parse_answer
from terrascope.model.geometry import Geometry
from terrascope.model.judgement import (
    count_confidence,
    distance_confidence,
    larger_confidence,
    option_confidence,
)
from terrascope.model.measure import Figure, Measurement, measure
from terrascope.model.relation import distance_ladder, relate
from terrascope.model.sequences import DatePair
from terrascope.model.uncertainty import Calibration
from terrascope.vocabulary import AnswerKind, QuestionKind

__all__ = ["Drawn", "support"]

Drawn = Mapping[tuple[str, DatePair], tuple[Tensor, Tensor]]
"""Probability and valid pixels, both of shape (H, W), by name and dates of a mask."""

_FIGURES = (QuestionKind.COVERAGE, QuestionKind.AREA, QuestionKind.CHANGE_SHARE)


def support(
    item: BenchItem, drawn: Drawn, calibration: Calibration | None = None
) -> tuple[float, ...] | None:
    """Return how likely each option is, as far as masks tell.

    Parameters
    ----------
    item : BenchItem
        With references: they name the masks that the question is about.
    drawn : Drawn
        Masks to measure, on the pixels of the item's window.
    calibration : Calibration or None
        Of sampled masks; None for the defaults. Its temperature is not applied again.

    Returns
    -------
    support : tuple of float or None
        Per option, summing to 1; None where a mask that is needed was not drawn, or the options
        are not of the form that this kind of question has.
    """
    wanted = [(one.name, one.dates) for one in item.references]
    if not wanted or any(name not in drawn for name in wanted):
        return None
    shape = tuple(drawn[wanted[0]][0].shape)
    ground = item.window.geometry.padded((shape[0], shape[1]))
    settings = calibration or Calibration()
    if item.kind is QuestionKind.COMPARE:
        return _compare(item, drawn, ground, settings)
    if item.kind is QuestionKind.BOUNDARY:
        return _boundary(item, [drawn[name] for name in wanted], ground, settings)
    values = _values(item)
    return None if values is None else _numbers(item, drawn, wanted, values, ground, settings)


def _numbers(
    item: BenchItem,
    drawn: Drawn,
    names: list[tuple[str, DatePair]],
    values: list[float],
    ground: Geometry,
    calibration: Calibration,
) -> tuple[float, ...] | None:
    """Compare a figure with options that are numbers."""
    if item.kind is QuestionKind.CHANGE_COUNT:
        found = _measured(drawn[_destroyed(names)], ground, calibration)
        return _votes(_counts(found), values)
    masks = [drawn[name] for name in names]
    if item.kind is QuestionKind.DISTANCE:
        return _distance(masks, values, ground)
    figure = _figure(item, masks, names, ground, calibration)
    return None if figure is None else option_confidence(figure, values)


def _figure(
    item: BenchItem,
    masks: list[tuple[Tensor, Tensor]],
    names: list[tuple[str, DatePair]],
    ground: Geometry,
    calibration: Calibration,
) -> Figure | None:
    """Measure what a question with figures as options asks for."""
    if item.kind not in _FIGURES:
        return None
    if item.kind is QuestionKind.CHANGE_SHARE and len(masks) > 1:
        gone = names.index(_destroyed(names))
        lost = _measured(masks[gone], ground, calibration).area_m2
        there = _measured(masks[1 - gone], ground, calibration).area_m2
        size = there.thresholded or there.expected
        return lost.scaled(1 / size) if size else None
    found = _measured(masks[0], ground, calibration)
    return found.area_m2 if item.kind is QuestionKind.AREA else found.share


def _distance(
    masks: list[tuple[Tensor, Tensor]], values: list[float], ground: Geometry
) -> tuple[float, ...] | None:
    if len(masks) < 2:
        return None
    ladder = distance_ladder(*_observed(masks), ground)
    return distance_confidence(ladder, values) if ladder else None


def _compare(
    item: BenchItem, drawn: Drawn, ground: Geometry, calibration: Calibration
) -> tuple[float, ...] | None:
    by_name = {name: mask for (name, _), mask in drawn.items()}
    if len(item.options) != 2 or any(option not in by_name for option in item.options):
        return None
    one, other = (
        _measured(by_name[option], ground, calibration).area_m2 for option in item.options
    )
    first = larger_confidence(one, other)
    return first, 1 - first


def _boundary(
    item: BenchItem,
    masks: list[tuple[Tensor, Tensor]],
    ground: Geometry,
    calibration: Calibration,
) -> tuple[float, ...] | None:
    """Tell from the masks as drawn, with the share of touching samples as the doubt in it."""
    said = [option.strip().lower().partition(" ")[0].rstrip(".,") for option in item.options]
    if sorted(said) != ["no", "yes"] or len(masks) < 2:
        return None
    one, other = _observed(masks)
    found = relate(one, other, ground, fields=fields_for(ground, calibration, one.device))
    doubted = 0.5 * (found.touch_probability + float(found.touches))
    yes = min(max(doubted, 0.01), 0.99)
    return tuple(yes if word == "yes" else 1 - yes for word in said)


def _observed(masks: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    one, other = (torch.where(valid, p.float(), 0.0) for p, valid in masks[:2])
    return one, other


def _measured(
    mask: tuple[Tensor, Tensor], ground: Geometry, calibration: Calibration
) -> Measurement:
    probability, valid = mask
    return measure(probability, valid, ground, calibration=calibration)


def _destroyed(names: list[tuple[str, DatePair]]) -> tuple[str, DatePair]:
    """Find the mask of what is gone: a question about loss may show what was there, too."""
    return next((name for name in names if name[0] == DESTROYED), names[-1])


def _counts(found: Measurement) -> list[tuple[int, float]]:
    return [(n, count_confidence(found, n)) for n in range(found.parts + 1)]


def _votes(counts: list[tuple[int, float]], values: list[float]) -> tuple[float, ...]:
    """Let every possible count speak for the nearest option."""
    votes = np.full(len(values), 1e-3)
    for count, chance in counts:
        votes[int(np.abs(np.asarray(values) - count).argmin())] += chance
    return tuple((votes / votes.sum()).tolist())


def _values(item: BenchItem) -> list[float] | None:
    """Read the options in base units."""
    count = item.kind is QuestionKind.CHANGE_COUNT
    form = Form(AnswerKind.NUMBER if count else AnswerKind.NUMBER_UNIT)
    try:
        read = [parse_answer(option, form) for option in item.options]
    except AnswerError:
        return None
    return [to_base(answer) for answer in read if isinstance(answer, NumberAnswer)]
