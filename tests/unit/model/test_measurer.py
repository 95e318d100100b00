"""Figures of a generation: on the right pixels, about the right masks, as tokens."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest
import torch
from torch import Tensor

from terrascope.model.geometry import Geometry
from terrascope.model.measure import measure
from terrascope.model.measurer import MaskMeasurer, valid_pixels
from terrascope.model.processing_terrascope import Stack, TerrascopeProcessor, Window, Windows
from terrascope.model.readings import measurement_text
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.uncertainty import Calibration
from terrascope.vocabulary import Token, Unit

TOKENIZER = NanoTokenizer()
DATES = (dt.date(2021, 5, 1), dt.date(2021, 7, 1))


@dataclasses.dataclass(frozen=True)
class Event:
    """A decoded mask, with what the measurer reads of it."""

    row: int
    window: int
    order: int
    before: int
    date: int
    probability: Tensor


@pytest.fixture
def windows() -> Windows:
    values = np.full((2, 1, 12, 14), -12.0, np.float32)
    values[0, :, :, :3] = np.nan
    values[1, :, :2] = np.nan
    stack = Stack("sentinel-1", values, ("vv",), DATES, "dB")
    one = Window(Geometry.planar((12, 14), (10.0, 20.0)), radar=stack)
    other = Window(Geometry.planar((12, 14), 30.0), radar=stack)
    return TerrascopeProcessor(size_px=16)([one, other])


def event(order: int, date: int, before: int = -1, row: int = 0, window: int = 0) -> Event:
    generator = torch.Generator().manual_seed(order)
    return Event(row, window, order, before, date, torch.rand(16, 16, generator=generator))


def test_valid_pixels_are_observed_on_every_date_of_the_mask(windows: Windows) -> None:
    first, second = valid_pixels(windows, 0, 0), valid_pixels(windows, 0, 1)
    assert first.sum() == 12 * 11
    assert second.sum() == 10 * 14
    both = valid_pixels(windows, 0, 1, before=0)
    assert torch.equal(both, first & second)
    assert both.sum() == 10 * 11


def test_figures_are_those_of_the_mask_its_date_and_its_ground(windows: Windows) -> None:
    calibration = Calibration(correlation_length_m=20.0, samples=19)
    measurer = MaskMeasurer(
        windows, TOKENIZER.ids, calibration, area_units=(Unit.HECTARE, Unit.SQUARE_METRE)
    )
    a, b = event(0, 0), event(0, 1, before=0, row=1, window=1)
    figures = measurer([a, b], [[], []])
    for one, ids, unit in zip((a, b), figures, (Unit.HECTARE, Unit.SQUARE_METRE), strict=True):
        truth = measure(
            one.probability,
            valid_pixels(windows, one.window, one.date, one.before),
            windows.geometry[one.window],
            calibration=calibration,
        )
        assert measurer.measurements[one.row, 0] == truth
        text = TOKENIZER.text(ids)
        assert text == measurement_text(truth, area_unit=unit)
        assert text.startswith(Token.MEASURE)
        assert text.endswith(Token.MEASURE_END)


def test_a_mask_is_related_to_the_latest_by_their_numbers(windows: Windows) -> None:
    masks = [event(k, k % 2) for k in range(4)]
    measurer = MaskMeasurer(windows, TOKENIZER.ids, related=2)
    (ids,) = measurer([masks[3]], [masks[:3]])
    relations = measurer.measurements[0, 3].relations
    assert [one.mask for one in relations] == [2, 3]
    assert " mask 2 touches" in TOKENIZER.text(ids)
    alone = MaskMeasurer(windows, TOKENIZER.ids, related=0)
    alone([masks[3]], [masks[:3]])
    assert alone.measurements[0, 3].relations == ()


def test_an_earlier_mask_counts_where_it_was_observed_only(windows: Windows) -> None:
    """Its date may be another: what was hidden then is no part of it now."""
    now, then = torch.zeros(16, 16), torch.zeros(16, 16)
    now[5:9, 0:2] = 1.0
    then[5:9, 0:2] = then[5:9, 9:11] = 1.0
    (_,) = (measurer := MaskMeasurer(windows, TOKENIZER.ids))(
        [dataclasses.replace(event(1, 1), probability=now)],
        [[dataclasses.replace(event(0, 0), probability=then)]],
    )
    relation = measurer.measurements[0, 1].relations[0]
    assert relation.overlap == 0.0
    assert relation.distance_m == pytest.approx(8 * 20.0)


def test_only_the_fields_asked_for_are_written(windows: Windows) -> None:
    measurer = MaskMeasurer(windows, TOKENIZER.ids, fields=("share",))
    (ids,) = measurer([event(0, 0)], [[]])
    text = TOKENIZER.text(ids)
    assert " share " in text
    assert " area " not in text
