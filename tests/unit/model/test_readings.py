"""What stands beside a figure: the option it is nearest to, and which mask is the largest."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from terrascope.model.answers import NumberAnswer, figure_text
from terrascope.model.geometry import Geometry
from terrascope.model.measure import Measurement, measure
from terrascope.model.readings import nearest_letter, read_options, reading_texts
from terrascope.model.uncertainty import Calibration
from terrascope.vocabulary import Unit

SIDE = 20
GROUND = Geometry.planar((SIDE, SIDE), 10.0)
FEW = Calibration(samples=39)
_UNITS = {Unit.PERCENT: 0.01, Unit.HECTARE: 1e4, Unit.METRE: 1.0, None: 1.0}


def measured(pixels: int, earlier: tuple[torch.Tensor, ...] = ()) -> Measurement:
    """Measure a mask of so many pixels, all of them sure."""
    valid = torch.ones(SIDE, SIDE, dtype=torch.bool)
    return measure(drawn(pixels), valid, GROUND, calibration=FEW, earlier=list(earlier))


def drawn(pixels: int) -> torch.Tensor:
    """Draw the first pixels of a window."""
    return (torch.arange(SIDE * SIDE) < pixels).float().reshape(SIDE, SIDE)


@given(
    unit=st.sampled_from(list(_UNITS)),
    options=st.lists(st.integers(0, 999), min_size=2, max_size=6),
    value=st.integers(0, 999),
)
def test_the_nearest_option_is_that_of_a_plain_search(
    unit: Unit | None, options: list[int], value: int
) -> None:
    read = read_options([figure_text(option, unit) for option in options])
    assert [float(one.value) for one in read] == options
    letter = nearest_letter(value * _UNITS[unit], unit, read)
    assert letter is not None
    apart = [abs(option - value) for option in options]
    assert apart["ABCDEF".index(letter)] == min(apart)


@pytest.mark.parametrize(
    "options",
    [("tree", "crop"), ("yes", "no"), ("012.0 %", "0012"), ("012.0 %", "00012.00 ha"), ()],
)
def test_what_is_no_figure_has_no_nearest(options: tuple[str, ...]) -> None:
    assert read_options(options) == ()
    assert nearest_letter(0.12, Unit.PERCENT, read_options(options)) is None


def test_the_letter_stands_beside_figures_of_its_dimension_alone() -> None:
    # 100 of 400 pixels: 25 %, 1 ha; a hectare is 10,000 square metres.
    for options, field, letter in (
        (["040.0 %", "024.0 %"], "share", "B"),
        (["00001.10 ha", "00002.00 ha"], "area", "A"),
        (["000020000 m2", "000009000 m2"], "area", "B"),
        (["0009", "0003", "0001"], "parts", "C"),
    ):
        text = reading_texts(
            [measured(100)],
            area_unit=Unit.HECTARE,
            fields=("share", "area", "parts", "observed"),
            options=options,
        )[0]
        found = re.findall(r"nearest ([A-H])", text)
        assert found == [letter]
        before = text[: text.index(" nearest")]
        assert max(("share", "area", "parts", "observed"), key=before.rfind) == field


def test_the_largest_so_far_is_marked() -> None:
    sizes = [50, 20, 80, 80, 200]
    texts = reading_texts(
        [measured(size) for size in sizes], area_unit=Unit.HECTARE, fields=("share",)
    )
    marks = [re.findall(r"largest (yes|no)", text) for text in texts]
    best = [size > max(sizes[:n], default=-1) for n, size in enumerate(sizes)]
    assert marks == [[]] + [["yes" if one else "no"] for one in best[1:]]


def test_a_distance_without_specks_is_what_is_compared() -> None:
    one, other = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
    one[0:4, 0:4], other[0:4, 14:18] = 1, 1  # bodies: 11 pixels apart
    other[0, 6] = 1  # a speck: 3 pixels from the first
    valid = torch.ones(SIDE, SIDE, dtype=torch.bool)
    figure = measure(other, valid, GROUND, calibration=FEW, earlier=[one])
    options = ["00030.0 m", "00115.0 m"]
    text = reading_texts([figure], area_unit=Unit.HECTARE, fields=("relations",), options=options)[
        0
    ]
    assert "distance 00030.0 m without specks 00110.0 m nearest B" in text


def test_a_body_in_doubt_does_not_decide_which_distance_is_meant() -> None:
    one, other = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
    one[0:4, 0:4], other[0:4, 14:18] = 1, 0.95  # bodies: 11 pixels apart
    other[0:3, 6:9] = 0.6  # a body in doubt: 3 pixels from the first
    valid = torch.ones(SIDE, SIDE, dtype=torch.bool)
    options = ["00060.0 m", "00115.0 m"]
    marks = []
    for ladder in (False, True):
        figure = measure(
            other, valid, GROUND, calibration=FEW, earlier=[one], ladder=ladder, touching=False
        )
        texts = reading_texts(
            [figure], area_unit=Unit.HECTARE, fields=("relations",), options=options
        )
        assert "without specks 00030.0 m" in texts[0]
        marks += re.findall(r"without specks 00030.0 m nearest ([A-H])", texts[0])
    assert marks == ["A", "B"]


def test_nothing_observed_is_no_rival() -> None:
    blind = measure(drawn(300), torch.zeros(SIDE, SIDE, dtype=torch.bool), GROUND, calibration=FEW)
    assert np.isnan(blind.share.expected)
    texts = reading_texts([blind, measured(5)], area_unit=Unit.HECTARE, fields=("share",))
    assert texts[0] == "<measure> nothing observed</measure>"
    assert "largest yes" in texts[1]
    assert nearest_letter(float("nan"), Unit.PERCENT, [NumberAnswer(1, Unit.PERCENT)]) is None
