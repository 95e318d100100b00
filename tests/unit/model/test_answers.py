"""Answers and figures: written in one way, read back as the same."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from terrascope.model.answers import (
    Answer,
    DateAnswer,
    NameAnswer,
    NumberAnswer,
    OptionAnswer,
    TextAnswer,
    YesNoAnswer,
    figure_text,
    format_answer,
    same_answer,
    to_base,
)
from terrascope.model.forms import Form, parse_answer
from terrascope.model.geometry import Geometry
from terrascope.model.measure import Measurement, measure
from terrascope.model.readings import MEASURED_FIELDS, measurement_text
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.vocabulary import AnswerKind, Unit

UNITS = st.sampled_from([None, *Unit])
TOKENIZER = NanoTokenizer()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.5, Unit.PERCENT, "012.5 %"),
        (100, Unit.PERCENT, "100.0 %"),
        (204.8, Unit.HECTARE, "00204.80 ha"),
        (123456.789, Unit.HECTARE, "123456.79 ha"),
        (2048000, Unit.SQUARE_METRE, "002048000 m2"),
        (2.048, Unit.SQUARE_KILOMETRE, "0002.048 km2"),
        (14.142, Unit.METRE, "00014.1 m"),
        (0, Unit.KILOMETRE, "000.000 km"),
        (7, None, "0007"),
    ],
)
def test_a_figure_has_one_way_to_be_written(value: float, unit: Unit | None, text: str) -> None:
    assert figure_text(value, unit) == text


@given(a=st.floats(0, 99), b=st.floats(0, 99), unit=UNITS)
def test_figures_of_a_unit_stand_under_each_other(a: float, b: float, unit: Unit | None) -> None:
    one, other = figure_text(a, unit), figure_text(b, unit)
    assert len(one) == len(other)
    assert len(TOKENIZER.ids(f" {one}")) == len(TOKENIZER.ids(f" {other}"))
    # Order of texts is order of values: digits can be compared from the left.
    assert (one <= other) == (round_like(a, one) <= round_like(b, other))


def round_like(value: float, text: str) -> Decimal:
    return Decimal(text.partition(" ")[0])


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_no_figure_without_a_number(value: float) -> None:
    with pytest.raises(ValueError, match="finite figure"):
        figure_text(value)


ANSWERS: list[tuple[Answer, Form, str]] = [
    (OptionAnswer("C"), Form(AnswerKind.OPTION), "C"),
    (YesNoAnswer(yes=True), Form(AnswerKind.YES_NO), "yes"),
    (NumberAnswer(Decimal(12)), Form(AnswerKind.NUMBER), "12"),
    (NumberAnswer(Decimal(0)), Form(AnswerKind.NUMBER), "0"),
    (NumberAnswer(Decimal("0.5"), Unit.PERCENT), Form(AnswerKind.NUMBER_UNIT), "0.5 %"),
    (NumberAnswer(Decimal("204.8"), Unit.HECTARE), Form(AnswerKind.NUMBER_UNIT), "204.80 ha"),
    (NameAnswer("bare land", AnswerKind.CLASS), Form(AnswerKind.CLASS), "bare land"),
    (NameAnswer("top", AnswerKind.POSITION), Form(AnswerKind.POSITION), "top"),
    (NameAnswer("water gain", AnswerKind.CHANGE), Form(AnswerKind.CHANGE), "water gain"),
    (DateAnswer(dt.date(2021, 6, 30)), Form(AnswerKind.DATE), "2021-06-30"),
    (TextAnswer("Two ponds, one road."), Form(AnswerKind.TEXT), "Two ponds, one road."),
]


@pytest.mark.parametrize(("answer", "form", "plain"), ANSWERS, ids=lambda v: str(v)[:30])
def test_every_kind_is_read_back(answer: Answer, form: Form, plain: str) -> None:
    assert parse_answer(format_answer(answer), form) == answer
    assert format_answer(answer, plain=True) == plain
    assert parse_answer(plain, form) == answer
    assert same_answer(answer, answer)


def test_units_do_not_matter_but_dimensions_do() -> None:
    hectares = NumberAnswer(Decimal("2.05"), Unit.HECTARE)
    assert same_answer(hectares, NumberAnswer(Decimal(20_480), Unit.SQUARE_METRE))
    assert not same_answer(hectares, NumberAnswer(Decimal(20_600), Unit.SQUARE_METRE))
    assert not same_answer(hectares, NumberAnswer(Decimal("2.05"), Unit.METRE))
    assert not same_answer(NumberAnswer(Decimal(3)), NumberAnswer(Decimal(3), Unit.PERCENT))
    assert not same_answer(hectares, OptionAnswer("A"))
    assert to_base(NumberAnswer(Decimal("12.5"), Unit.PERCENT)) == pytest.approx(0.125)


def measured() -> Measurement:
    p, q = torch.zeros(40, 60), torch.zeros(40, 60)
    p[5:15, 3:11] = 1.0
    q[30:36, 3:11] = 1.0
    valid = torch.ones(40, 60, dtype=torch.bool)
    valid[:, 45:] = False
    return measure(p, valid, Geometry.planar((40, 60), 10.0), earlier=[q])


def test_a_measurement_is_written_in_full() -> None:
    assert measurement_text(measured()) == (
        "<measure> share 004.4 % expected 004.4 % between 004.4 and 004.4 %"
        " area 00000.80 ha expected 00000.80 ha between 00000.80 and 00000.80 ha"
        " parts 0001 position top left row 0.25 column 0.12"
        " mask 1 touches no distance 00160.0 m without specks 00160.0 m inside 000.0 %"
        " observed 075.0 %</measure>"
    )


def test_a_measurement_is_written_in_part_and_in_another_unit() -> None:
    text = measurement_text(
        measured(), area_unit=Unit.SQUARE_METRE, fields=("parts", "area"), tags=False
    )
    assert text == (
        " area 000008000 m2 expected 000008000 m2 between 000008000 and 000008000 m2 parts 0001"
    )
    with pytest.raises(ValueError, match="no unit of area"):
        measurement_text(measured(), area_unit=Unit.METRE)
    with pytest.raises(ValueError, match="fields"):
        measurement_text(measured(), fields=("colour",))


def test_nothing_observed_is_said_and_not_measured() -> None:
    nothing = measure(
        torch.ones(8, 8), torch.zeros(8, 8, dtype=torch.bool), Geometry.planar((8, 8), 10.0)
    )
    assert measurement_text(nothing) == "<measure> nothing observed</measure>"


def test_an_empty_mask_has_no_place() -> None:
    empty = measure(
        torch.zeros(8, 8), torch.ones(8, 8, dtype=torch.bool), Geometry.planar((8, 8), 10.0)
    )
    text = measurement_text(empty)
    assert "position" not in text
    assert " parts 0000" in text


def test_the_measurement_is_words_and_single_digits() -> None:
    pieces = TOKENIZER.tokenize(measurement_text(measured()))
    digits = [piece for piece in pieces if any(c.isdigit() for c in piece)]
    assert all(len(piece) == 1 for piece in digits)
    spelled = [p for p in pieces if len(p) == 1 and p.isalpha()]
    assert spelled == []
    assert set(MEASURED_FIELDS) == {
        "share", "area", "parts", "position", "relations", "observed",
    }  # fmt: skip
    assert len(pieces) < 160
    assert np.isfinite(measured().area_m2.samples).all()
