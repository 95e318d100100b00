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
from decimal import Decimal
from types import MappingProxyType
from typing import TypeAlias

from terrascope.vocabulary import AnswerKind, Unit

__all__ = [
    "BASE",
    "DIMENSION",
    "Answer",
    "DateAnswer",
    "NameAnswer",
    "NumberAnswer",
    "OptionAnswer",
    "TextAnswer",
    "YesNoAnswer",
    "figure_text",
    "format_answer",
    "same_answer",
    "to_base",
]

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

BASE = MappingProxyType(
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

DIMENSION = MappingProxyType(
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
    if DIMENSION[one.unit] != DIMENSION[other.unit]:
        return False
    step = max(10.0 ** -_FORMATS[a.unit][1] * BASE[a.unit] for a in (one, other))
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
    return float(answer.value) * BASE[answer.unit]


def _without_zeros(text: str) -> str:
    """Drop leading zeros, but the one before a point or the only one."""
    rest = text.lstrip("0")
    return rest if rest[:1].isdigit() else f"0{rest}"
