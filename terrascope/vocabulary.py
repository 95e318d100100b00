"""The words of the task: classes, changes, questions, answers, units, special tokens.

Everyone may import this module: the data that trains a model, the model, and
the monitor that asks it must mean the same by the same word. Order is part of
the meaning (a class code is a position), so entries are appended, never moved.
"""

from __future__ import annotations

import enum
import re
from types import MappingProxyType

from terrascope.types import ChangeKind

__all__ = [
    "ANSWER_OF",
    "BUILDING_CLASSES",
    "CHANGE_NAMES",
    "CLASS_CODES",
    "LAND_COVER",
    "OPTION_LETTERS",
    "POSITIONS",
    "SPECIAL_TOKENS",
    "UNKNOWN_CLASS",
    "AnswerKind",
    "QuestionKind",
    "Token",
    "Unit",
    "image_indicator",
    "image_indicators",
    "last_indicator",
]

LAND_COVER = (
    "water",
    "developed area",
    "bare land",
    "grass",
    "crop",
    "tree",
    "shrub",
    "wetland",
)
"""The eight classes of Terra-CoT; the code of a class is its position here plus one."""

UNKNOWN_CLASS = 0
"""Code of a pixel without a label. 255 is outside the area, as in every map layer."""

CLASS_CODES = MappingProxyType({name: code for code, name in enumerate(LAND_COVER, start=1)})

BUILDING_CLASSES = ("building", "destroyed building")
"""What building change is asked about: standing, and standing before but not after."""

CHANGE_NAMES = MappingProxyType(
    {kind: kind.name.lower().replace("_", " ") for kind in ChangeKind if kind.name != "OUTSIDE"}
)
"""Words for the codes of the `change_kind` layer: ``"vegetation loss"``, ``"built up gain"``..."""

POSITIONS = (
    "top left",
    "top",
    "top right",
    "left",
    "center",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
"""Thirds of a window, row by row; top is the first row of the array."""

OPTION_LETTERS = "ABCDEFGH"


class Unit(enum.StrEnum):
    """Units of figures, as they are written."""

    PERCENT = "%"
    SQUARE_METRE = "m2"
    HECTARE = "ha"
    SQUARE_KILOMETRE = "km2"
    METRE = "m"
    KILOMETRE = "km"


class AnswerKind(enum.StrEnum):
    """What an answer looks like; each kind has a grammar."""

    OPTION = "option"
    """One letter of the options offered."""
    YES_NO = "yes_no"
    NUMBER = "number"
    """A count."""
    NUMBER_UNIT = "number_unit"
    CLASS = "class"
    """A land-cover class, or another name from a closed list."""
    CHANGE = "change"
    """A change kind by name."""
    POSITION = "position"
    DATE = "date"
    TEXT = "text"
    """Free words."""


class QuestionKind(enum.StrEnum):
    """What is asked. The last two letters of the benchmark's tasks stand beside theirs."""

    EXISTENCE = "existence"
    COUNT = "count"
    LOCATION = "location"
    COVERAGE = "coverage"
    """Share of the observed ground, benchmark task CA."""
    AREA = "area"
    """Absolute area, AQ."""
    COMPARE = "compare"
    """Which of two classes is larger, CR."""
    BOUNDARY = "boundary"
    """Does A touch B, BRD."""
    DISTANCE = "distance"
    """Shortest way between A and B, DM."""
    CHANGE_COUNT = "change_count"
    """How many objects changed, BCE."""
    CHANGE_SHARE = "change_share"
    """Which share of the objects or of the ground changed, BCE."""
    CHANGE_EXISTENCE = "change_existence"
    CHANGE_AREA = "change_area"
    CHANGE_CLASS = "change_class"
    """What a changed place has become."""
    CHANGE_KIND = "change_kind"
    CHANGE_DATE = "change_date"
    """First date on which the change is seen."""
    CLASSIFY = "classify"
    """Which class covers most."""
    SEGMENT = "segment"
    """A mask is all that is wanted."""
    CAPTION = "caption"


ANSWER_OF = MappingProxyType(
    {
        QuestionKind.EXISTENCE: AnswerKind.YES_NO,
        QuestionKind.COUNT: AnswerKind.NUMBER,
        QuestionKind.LOCATION: AnswerKind.POSITION,
        QuestionKind.COVERAGE: AnswerKind.NUMBER_UNIT,
        QuestionKind.AREA: AnswerKind.NUMBER_UNIT,
        QuestionKind.COMPARE: AnswerKind.CLASS,
        QuestionKind.BOUNDARY: AnswerKind.YES_NO,
        QuestionKind.DISTANCE: AnswerKind.NUMBER_UNIT,
        QuestionKind.CHANGE_COUNT: AnswerKind.NUMBER,
        QuestionKind.CHANGE_SHARE: AnswerKind.NUMBER_UNIT,
        QuestionKind.CHANGE_EXISTENCE: AnswerKind.YES_NO,
        QuestionKind.CHANGE_AREA: AnswerKind.NUMBER_UNIT,
        QuestionKind.CHANGE_CLASS: AnswerKind.CLASS,
        QuestionKind.CHANGE_KIND: AnswerKind.CHANGE,
        QuestionKind.CHANGE_DATE: AnswerKind.DATE,
        QuestionKind.CLASSIFY: AnswerKind.CLASS,
        QuestionKind.SEGMENT: AnswerKind.TEXT,
        QuestionKind.CAPTION: AnswerKind.TEXT,
    }
)
"""The kind of answer where no options are offered; with options it is always a letter."""


class Token(enum.StrEnum):
    """Special tokens: one id each in every tokenizer, never written by a user."""

    PAD = "<pad>"
    BOS = "<bos>"
    EOS = "<eos>"
    SEG = "[SEG]"
    """A mask is decoded from the state at this token."""
    IMAGE = "<image>"
    """Stands in the prompt where the visual tokens of one image go."""
    THINK = "<think>"
    THINK_END = "</think>"
    ANSWER = "<answer>"
    ANSWER_END = "</answer>"
    MEASURE = "<measure>"
    """Opens figures that the system measured; the language model never emits it."""
    MEASURE_END = "</measure>"


SPECIAL_TOKENS = tuple(token.value for token in Token)
"""All of them, in id order of the nano tokenizer."""

_INDICATOR = re.compile(r"Image: t_(\d+)(?: to t_(\d+))?")


def image_indicator(first: int, last: int | None = None) -> str:
    """Return what a trace says right before ``[SEG]`` to name the date that is looked at.

    Parameters
    ----------
    first : int
        Number of the date, counted from 1.
    last : int or None
        The later date, where a change between two dates is meant.

    Returns
    -------
    text : str
        ``"Image: t_2"`` or ``"Image: t_1 to t_3"``.

    Raises
    ------
    ValueError
        If a number is below 1, or `last` is not after `first`.
    """
    if first < 1 or (last is not None and last <= first):
        raise ValueError(f"dates {first} and {last}: expected numbers from 1 on, in order")
    return f"Image: t_{first}" + ("" if last is None else f" to t_{last}")


def image_indicators(text: str) -> list[tuple[int, int | None]]:
    """Return every date that a text names, in the order written.

    Parameters
    ----------
    text : str
        A trace or a part of one.

    Returns
    -------
    dates : list of tuple
        First and, for a change, last date, counted from 1.
    """
    return [
        (int(found[1]), int(found[2]) if found[2] else None) for found in _INDICATOR.finditer(text)
    ]


def last_indicator(text: str) -> tuple[int, int | None] | None:
    """Return the date that a text named last.

    Parameters
    ----------
    text : str
        What was written since the previous ``[SEG]``.

    Returns
    -------
    dates : tuple or None
        First and, for a change, last date, counted from 1; None where no date is named.
    """
    found = image_indicators(text)
    return found[-1] if found else None
