"""Answers as values, and figures as text that a language model can read and copy.

A figure of one unit always has the same number of digits, so that the digits of
two figures stand under each other and a copy is a copy token by token:
``012.5 %``, ``00204.80 ha``, ``00120.0 m``. What people are shown drops the
leading zeros again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import TypeAlias

from terrascope.model.measure import Figure, Measurement, Relation
from terrascope.vocabulary import AnswerKind, Token, Unit

__all__ = [
    "MEASURED_FIELDS",
    "Answer",
    "DateAnswer",
    "NameAnswer",
    "NumberAnswer",
    "OptionAnswer",
    "TextAnswer",
    "YesNoAnswer",
    "figure_text",
    "format_answer",
    "measurement_text",
    "same_answer",
    "to_base",
]

MEASURED_FIELDS = ("share", "area", "parts", "position", "relations", "observed")
"""What can be written of a measurement, in this order."""

_FORMATS = MappingProxyType(
    {
        None: (4, 0),
        Unit.PERCENT: (5, 1),
        Unit.SQUARE_METRE: (9, 0),
        Unit.HECTARE: (8, 2),
        Unit.SQUARE_KILOMETRE: (8, 3),
        Unit.METRE: (7, 1),
        Unit.KILOMETRE: (7, 3),
    }
)
"""Characters and decimals of a figure, by unit; a longer figure takes more characters."""

_BASE = MappingProxyType(
    {
        None: 1.0,
        Unit.PERCENT: 0.01,
        Unit.SQUARE_METRE: 1.0,
        Unit.HECTARE: 1e4,
        Unit.SQUARE_KILOMETRE: 1e6,
        Unit.METRE: 1.0,
        Unit.KILOMETRE: 1e3,
    }
)
"""Square metres, metres or shares per unit."""

_DIMENSION = MappingProxyType(
    {
        None: "count",
        Unit.PERCENT: "share",
        Unit.SQUARE_METRE: "area",
        Unit.HECTARE: "area",
        Unit.SQUARE_KILOMETRE: "area",
        Unit.METRE: "length",
        Unit.KILOMETRE: "length",
    }
)


@dataclasses.dataclass(frozen=True)
class OptionAnswer:
    """One of the options offered.

    Parameters
    ----------
    letter : str
        A to H.
    """

    letter: str


@dataclasses.dataclass(frozen=True)
class YesNoAnswer:
    """Yes or no.

    Parameters
    ----------
    yes : bool
        The answer.
    """

    yes: bool


@dataclasses.dataclass(frozen=True)
class NumberAnswer:
    """A count, or a figure with its unit.

    Parameters
    ----------
    value : decimal.Decimal
        As written, without leading zeros.
    unit : Unit or None
        None for a count.
    """

    value: Decimal
    unit: Unit | None = None

    def __post_init__(self) -> None:
        """Let 012.50 and 12.5 be the same answer."""
        object.__setattr__(self, "value", Decimal(self.value).normalize())


@dataclasses.dataclass(frozen=True)
class NameAnswer:
    """A name from a closed list: a class, a kind of change, a position.

    Parameters
    ----------
    name : str
        As the list has it.
    kind : AnswerKind
        Which list.
    """

    name: str
    kind: AnswerKind


@dataclasses.dataclass(frozen=True)
class DateAnswer:
    """A day.

    Parameters
    ----------
    date : datetime.date
        The answer.
    """

    date: dt.date


@dataclasses.dataclass(frozen=True)
class TextAnswer:
    """Free words.

    Parameters
    ----------
    text : str
        Without the tags around it.
    """

    text: str


Answer: TypeAlias = OptionAnswer | YesNoAnswer | NumberAnswer | NameAnswer | DateAnswer | TextAnswer


def figure_text(value: float, unit: Unit | None = None) -> str:
    """Write a figure in the one way in which it is written everywhere.

    Parameters
    ----------
    value : float
        In `unit`, not negative.
    unit : Unit or None
        None for a count.

    Returns
    -------
    text : str
        With leading zeros and unit, for instance ``"00204.80 ha"``.

    Raises
    ------
    ValueError
        If the value is negative or not finite.
    """
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value}: expected a finite figure of 0 or more")
    width, decimals = _FORMATS[unit]
    text = f"{value:0{width}.{decimals}f}"
    return text if unit is None else f"{text} {unit.value}"


def format_answer(answer: Answer, *, plain: bool = False) -> str:
    """Write an answer as it stands between ``<answer>`` and ``</answer>``.

    Parameters
    ----------
    answer : Answer
        Any.
    plain : bool
        Without leading zeros, for people.

    Returns
    -------
    text : str
        What `terrascope.model.grammar.parse_answer` reads back as the same answer;
        figures are rounded to the decimals of their unit.
    """
    match answer:
        case OptionAnswer(letter):
            return letter
        case YesNoAnswer(yes):
            return "yes" if yes else "no"
        case NumberAnswer(value, unit):
            text = figure_text(float(value), unit)
            return _without_zeros(text) if plain else text
        case NameAnswer(name, _):
            return name
        case DateAnswer(date):
            return date.isoformat()
        case TextAnswer(text):
            return text


def same_answer(one: Answer, other: Answer) -> bool:
    """Tell whether two answers say the same, whatever their unit.

    Parameters
    ----------
    one, other : Answer
        Of any kinds.

    Returns
    -------
    same : bool
        Figures of one dimension are compared in its base unit, to the rounding of the
        coarser of their two formats; everything else by equality.
    """
    if not (isinstance(one, NumberAnswer) and isinstance(other, NumberAnswer)):
        return one == other
    if _DIMENSION[one.unit] != _DIMENSION[other.unit]:
        return False
    step = max(10.0 ** -_FORMATS[a.unit][1] * _BASE[a.unit] for a in (one, other))
    return abs(to_base(one) - to_base(other)) <= 0.5 * step * (1 + 1e-9)


def to_base(answer: NumberAnswer) -> float:
    """Return a figure in square metres, metres, as a share, or a count as it is.

    Parameters
    ----------
    answer : NumberAnswer
        With any unit.

    Returns
    -------
    value : float
        12.5 % is 0.125.
    """
    return float(answer.value) * _BASE[answer.unit]


def measurement_text(
    measurement: Measurement,
    *,
    area_unit: Unit = Unit.HECTARE,
    fields: Sequence[str] = MEASURED_FIELDS,
    tags: bool = True,
) -> str:
    """Write what was measured on a mask, as it is put before the language model.

    Parameters
    ----------
    measurement : Measurement
        From `terrascope.model.measure.measure`.
    area_unit : Unit
        Of the areas: the one the question asks for.
    fields : sequence of str
        Which of `MEASURED_FIELDS` are written; their order is always the same.
    tags : bool
        Between ``<measure>`` and ``</measure>``.

    Returns
    -------
    text : str
        Drawn, expected and interval of share and area; parts, place, relations to
        earlier masks, observed share. Where nothing was observed it says only that.

    Raises
    ------
    ValueError
        If `area_unit` is no unit of area, or a field is unknown.
    """
    if _DIMENSION[area_unit] != "area":
        raise ValueError(f"{area_unit!r} is no unit of area")
    if not set(fields) <= set(MEASURED_FIELDS):
        raise ValueError(f"fields {list(fields)}: expected some of {MEASURED_FIELDS}")
    if measurement.observed:
        written = _figures(measurement, area_unit)
        said = "".join(written[name] for name in MEASURED_FIELDS if name in fields)
    else:
        said = " nothing observed"
    return f"{Token.MEASURE}{said}{Token.MEASURE_END}" if tags else said


def _figures(measurement: Measurement, area_unit: Unit) -> dict[str, str]:
    """Write each field."""
    place = ""
    if measurement.centroid_yx is not None:
        row, column = measurement.centroid_yx
        place = f" position {measurement.position} row {row:.2f} column {column:.2f}"
    return {
        "share": _four(" share", measurement.share, Unit.PERCENT),
        "area": _four(" area", measurement.area_m2, area_unit),
        "parts": f" parts {figure_text(measurement.parts)}",
        "position": place,
        "relations": "".join(_relation(relation) for relation in measurement.relations),
        "observed": f" observed {figure_text(100 * measurement.observed, Unit.PERCENT)}",
    }


def _four(name: str, figure: Figure, unit: Unit) -> str:
    """Write a figure as drawn and as expected, and the ends of its interval."""
    drawn, expected, low, high = (
        figure_text(value / _BASE[unit], unit)
        for value in (figure.thresholded, figure.expected, figure.low, figure.high)
    )
    return f"{name} {drawn} expected {expected} between {low.partition(' ')[0]} and {high}"


def _relation(relation: Relation) -> str:
    said = f" mask {relation.mask} touches {'yes' if relation.touches else 'no'}"
    if relation.distance_m is not None and relation.body_distance_m is not None:
        said += f" distance {figure_text(relation.distance_m, Unit.METRE)}"
        said += f" without specks {figure_text(relation.body_distance_m, Unit.METRE)}"
    return said + f" inside {figure_text(100 * relation.overlap, Unit.PERCENT)}"


def _without_zeros(text: str) -> str:
    """Drop leading zeros, but the one before a point or the only one."""
    rest = text.lstrip("0")
    return rest if rest[:1].isdigit() else f"0{rest}"
