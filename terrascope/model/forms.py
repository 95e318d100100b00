"""The form of an answer: what it may look like, and how its text is read.

The same form gives the parts of the grammar and the reader, so that whatever
the grammar lets through is read back.
"""

from __future__ import annotations

import calendar
import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Iterable
from decimal import Decimal

from terrascope.model.answers import (
    Answer,
    DateAnswer,
    NameAnswer,
    NumberAnswer,
    OptionAnswer,
    TextAnswer,
    YesNoAnswer,
)
from terrascope.model.automaton import Chain, Either, Literal, Part, Repeat
from terrascope.vocabulary import (
    CHANGE_NAMES,
    LAND_COVER,
    OPTION_LETTERS,
    POSITIONS,
    AnswerKind,
    Token,
    Unit,
)

__all__ = ["AnswerError", "Encode", "Form", "answer_part", "parse_answer", "parse_response"]

Encode = Callable[[str], list[int]]
"""Text to token ids, nothing added."""

_NAMES = {
    AnswerKind.CLASS: LAND_COVER,
    AnswerKind.CHANGE: tuple(CHANGE_NAMES.values()),
    AnswerKind.POSITION: POSITIONS,
}
_NUMBER = re.compile(r"(\d{1,12}(?:\.\d{1,3})?)\s*([^\s\d.]\S*)?")
_INTEGER_DIGITS, _COUNT_DIGITS, _DECIMALS = 12, 6, 3


class AnswerError(ValueError):
    """A text is no answer of the form that was asked for.

    Parameters
    ----------
    message : str
        What was expected.
    text : str
        What was found.
    """

    def __init__(self, message: str, text: str) -> None:
        super().__init__(f"{text[:80]!r}: {message}")
        self.text = text


@dataclasses.dataclass(frozen=True)
class Form:
    """What an answer may be.

    Parameters
    ----------
    kind : AnswerKind
        Of the answer.
    options : int
        Letters offered, for `AnswerKind.OPTION`.
    names : tuple of str
        Allowed names, for a class, a change or a position; empty for all that
        `terrascope.vocabulary` knows.
    units : tuple of Unit
        Allowed units, for `AnswerKind.NUMBER_UNIT`.
    dates : tuple of datetime.date
        Allowed dates, for `AnswerKind.DATE`; empty for any day of `years`.
    years : tuple of int
        First and last year.

    Raises
    ------
    ValueError
        If nothing could be answered.
    """

    kind: AnswerKind
    options: int = 4
    names: tuple[str, ...] = ()
    units: tuple[Unit, ...] = tuple(Unit)
    dates: tuple[dt.date, ...] = ()
    years: tuple[int, int] = (2014, 2049)

    def __post_init__(self) -> None:
        if not 2 <= self.options <= len(OPTION_LETTERS):
            raise ValueError(f"{self.options} options: expected 2 to {len(OPTION_LETTERS)}")
        if not self.units or self.years[0] > self.years[1]:
            raise ValueError(f"units {self.units}, years {self.years}: expected at least one")
        if not self.names and self.kind in _NAMES:
            object.__setattr__(self, "names", _NAMES[self.kind])

    @property
    def letters(self) -> str:
        """The letters offered."""
        return OPTION_LETTERS[: self.options]


def answer_part(form: Form, encode: Encode) -> Part:
    """Return the grammar of an answer, free text apart.

    Parameters
    ----------
    form : Form
        Not of kind `AnswerKind.TEXT`.
    encode : callable
        Of the tokenizer.

    Returns
    -------
    part : Part
        Over its token ids, without the tags around the answer.

    Raises
    ------
    ValueError
        If the form is free text.
    """
    if form.kind is AnswerKind.TEXT:
        raise ValueError("free text has no grammar of its own")
    if form.kind is AnswerKind.NUMBER:
        return _digits(1, _COUNT_DIGITS, encode)
    if form.kind is AnswerKind.NUMBER_UNIT:
        point = Chain((_spell(".", encode), _digits(1, _DECIMALS, encode)))
        unit = _any_of([f" {unit.value}" for unit in form.units], encode)
        return Chain((_digits(1, _INTEGER_DIGITS, encode), Repeat(point, 0, 1), unit))
    if form.kind is AnswerKind.DATE:
        named = tuple(_one_by_one(date.isoformat(), encode) for date in form.dates)
        return Either(named) if named else _any_day(form.years, encode)
    listed = {AnswerKind.OPTION: tuple(form.letters), AnswerKind.YES_NO: ("yes", "no")}
    return _any_of(listed.get(form.kind, form.names), encode)


def parse_answer(text: str, form: Form) -> Answer:
    """Read what stands between ``<answer>`` and ``</answer>``.

    Parameters
    ----------
    text : str
        Space at the ends, a full stop after a letter or a word, brackets around a letter
        and capitals are forgiven: references and other models write so.
    form : Form
        What was asked for.

    Returns
    -------
    answer : Answer
        Of the form's kind.

    Raises
    ------
    AnswerError
        If the text is no such answer.
    """
    plain = text.strip()
    word = plain.rstrip(".").strip("()").lower()
    match form.kind:
        case AnswerKind.TEXT:
            return TextAnswer(text)
        case AnswerKind.OPTION:
            if len(word) == 1 and word.upper() in form.letters:
                return OptionAnswer(word.upper())
            raise AnswerError(f"expected one of the letters {form.letters}", text)
        case AnswerKind.YES_NO:
            if word in ("yes", "no"):
                return YesNoAnswer(word == "yes")
            raise AnswerError("expected yes or no", text)
        case AnswerKind.NUMBER | AnswerKind.NUMBER_UNIT:
            return _number(plain, form)
        case AnswerKind.CLASS | AnswerKind.CHANGE | AnswerKind.POSITION:
            for name in form.names:
                if word == name.lower():
                    return NameAnswer(name, form.kind)
            raise AnswerError(f"expected one of {list(form.names)}", text)
        case AnswerKind.DATE:
            return _date(plain, form)


def parse_response(text: str, form: Form) -> tuple[str, Answer]:
    """Read a whole response.

    Parameters
    ----------
    text : str
        With ``<answer>`` and ``</answer>``; a trace before them, if there is one.
    form : Form
        What was asked for.

    Returns
    -------
    trace : str
        What was thought, without its tags.
    answer : Answer
        What the last pair of tags holds.

    Raises
    ------
    AnswerError
        If there is no answer, or it is not of the form.
    """
    before, closing, _ = text.rpartition(Token.ANSWER_END)
    thought, opening, said = before.rpartition(Token.ANSWER)
    if not (closing and opening):
        raise AnswerError(f"expected {Token.ANSWER} and {Token.ANSWER_END}", text)
    trace = thought.strip().removeprefix(Token.THINK).removesuffix(Token.THINK_END)
    return trace, parse_answer(said, form)


def _number(text: str, form: Form) -> NumberAnswer:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise AnswerError("expected a figure", text)
    value, unit = Decimal(found[1]), found[2]
    if form.kind is AnswerKind.NUMBER:
        if unit or value != value.to_integral_value():
            raise AnswerError("expected a count", text)
        return NumberAnswer(value)
    if unit not in [one.value for one in form.units]:
        raise AnswerError(f"expected a unit of {[one.value for one in form.units]}", text)
    return NumberAnswer(value, Unit(unit))


def _date(text: str, form: Form) -> DateAnswer:
    try:
        date = dt.date.fromisoformat(text)
    except ValueError as cause:
        raise AnswerError("expected a date as 2021-06-30", text) from cause
    if form.dates and date not in form.dates:
        raise AnswerError("expected one of the dates of the window", text)
    return DateAnswer(date)


def _spell(text: str, encode: Encode) -> Literal:
    return Literal(tuple(encode(text)))


def _any_of(texts: Iterable[str], encode: Encode) -> Either:
    return Either(tuple(_spell(text, encode) for text in texts))


def _digits(least: int, most: int, encode: Encode) -> Repeat:
    """Spell digits one by one, also where the tokenizer has tokens for several."""
    return Repeat(_any_of("0123456789", encode), least, most)


def _one_by_one(text: str, encode: Encode) -> Part:
    """Spell a text with digits in it, character by character, like every other figure."""
    return Chain(tuple(_spell(character, encode) for character in text))


def _any_day(years: tuple[int, int], encode: Encode) -> Part:
    """Return every day that the calendar has in some years, digit by digit."""
    kinds = []
    for leap in (True, False):
        named = [f"{y:04d}" for y in range(years[0], years[1] + 1) if calendar.isleap(y) == leap]
        days = [
            f"-{month:02d}-{day:02d}"
            for month in range(1, 13)
            for day in range(1, calendar.monthrange(2000 if leap else 2001, month)[1] + 1)
        ]
        if named:
            year = Either(tuple(_one_by_one(text, encode) for text in named))
            day = Either(tuple(_one_by_one(text, encode) for text in days))
            kinds.append(Chain((year, day)))
    return Either(tuple(kinds))
