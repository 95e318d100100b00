"""What a trace says after its masks, filled with the figures of the masks at hand.

The same sentence is taught with the figures of true masks and of wrong ones: whoever reads figures
must say the figures it reads, and answer by them, not by those that would be right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from terrascope.data.options import written
from terrascope.data.samples import Sample
from terrascope.model.answers import (
    Answer,
    NameAnswer,
    NumberAnswer,
    OptionAnswer,
    YesNoAnswer,
    format_answer,
)
from terrascope.model.measure import Measurement
from terrascope.model.readings import is_largest, nearest_letter, read_options
from terrascope.model.relation import Relation
from terrascope.vocabulary import OPTION_LETTERS, Token, Unit

__all__ = ["closing_text", "response_text", "stated_answer"]

_FIELD = re.compile(r"\{([a-z]+)(?::(\d+)(?:/(\d+))?)?\}")
_COMPARE = "{compare}"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NOTHING = "no distance"
"""Written where one of two masks is empty."""

_Value = float | str | bool | None


def closing_text(sample: Sample, figures: Sequence[Measurement], *, measured: bool = True) -> str:
    """Fill the closing of a sample.

    Parameters
    ----------
    sample : Sample
        With the template.
    figures : sequence of Measurement
        Of the mask of every step, each related to the two before it.
    measured : bool
        Whether the figures stand in the trace, with the option that each is nearest to. Without,
        every option is set against the stated figure here, for nobody else does.

    Returns
    -------
    text : str
        Figures as `terrascope.model.answers.figure_text` writes them. With options the answer's
        letter is named.
    """
    template = sample.closing.replace(_COMPARE, "") if measured else sample.closing
    text = _FIELD.sub(lambda found: _field(found, sample, figures), template)
    answer = stated_answer(sample, figures)
    if isinstance(answer, OptionAnswer):
        text += f" so {answer.letter}"
    return text


def response_text(
    sample: Sample, figures: Sequence[Measurement], measured: Sequence[str] | None = None
) -> str:
    """Write a whole response.

    Parameters
    ----------
    sample : Sample
        The question.
    figures : sequence of Measurement
        Of the mask of every step; those of the true masks where `measured` is None.
    measured : sequence of str or None
        What is shown of each mask between ``<measure>`` and ``</measure>``, tags included; None
        shows nothing.

    Returns
    -------
    text : str
        From ``<think>`` to the end of text.
    """
    shown = [""] * len(sample.steps) if measured is None else measured
    trace = "".join(
        f"{step.text}{Token.SEG.value}{said}"
        for step, said in zip(sample.steps, shown, strict=True)
    )
    closing = closing_text(sample, figures, measured=measured is not None)
    answer = format_answer(stated_answer(sample, figures))
    return (
        f"{Token.THINK.value}{trace}{closing}{Token.THINK_END.value}"
        f"{Token.ANSWER.value}{answer}{Token.ANSWER_END.value}{Token.EOS.value}"
    )


def stated_answer(sample: Sample, figures: Sequence[Measurement]) -> Answer:
    """Return the answer that follows from what the trace says.

    Parameters
    ----------
    sample : Sample
        The question.
    figures : sequence of Measurement
        Of the mask of every step.

    Returns
    -------
    answer : Answer
        The figure, name or yes and no that is stated, or the option that says so (of figures the
        nearest). The true answer where none is stated, or a mask is empty that it hangs on.
    """
    found = _FIELD.fullmatch(f"{{{sample.stated}}}") if sample.stated else None
    value, unit = (None, None) if found is None else _value(found, sample, figures)
    if value is None:
        return sample.answer
    if isinstance(sample.answer, OptionAnswer):
        letter = _letter(value, unit, sample.options)
        return sample.answer if letter is None else OptionAnswer(letter)
    if isinstance(value, bool):
        return YesNoAnswer(value)
    if isinstance(value, str):
        known = sample.answer
        return NameAnswer(value, known.kind) if isinstance(known, NameAnswer) else known
    return NumberAnswer(Decimal(written(value, unit).partition(" ")[0]), unit)


def _letter(value: float | str | bool, unit: Unit | None, options: Sequence[str]) -> str | None:
    """Return the option that says what the trace says."""
    if isinstance(value, bool):
        value = _said(value)
    if isinstance(value, str):
        return OPTION_LETTERS[options.index(value)] if value in options else None
    return nearest_letter(value, unit, read_options(options))


def _said(value: bool) -> str:
    return "yes" if value else "no"


def _field(found: re.Match[str], sample: Sample, figures: Sequence[Measurement]) -> str:
    if found[0] == _COMPARE:
        return _compared(sample, figures)
    value, unit = _value(found, sample, figures)
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return _said(value)
    return value if isinstance(value, str) else written(value, unit)


def _compared(sample: Sample, figures: Sequence[Measurement]) -> str:
    """Set every option against the stated figure: it is less, more or equal."""
    found = _FIELD.fullmatch(f"{{{sample.stated}}}")
    if found is None or not sample.options:
        return ""
    value, unit = _value(found, sample, figures)
    if not isinstance(value, float):
        return ""
    stated = _number(written(value, unit))
    said = []
    for letter, option in zip(OPTION_LETTERS, sample.options, strict=False):
        figure = _number(option)
        order = "equal" if figure == stated else ("less" if figure < stated else "more")
        said.append(f" {letter} {option} {order}")
    return "".join(said)


def _number(text: str) -> float:
    found = _NUMBER.search(text)
    return float(found[0]) if found else float("nan")


def _value(
    found: re.Match[str], sample: Sample, figures: Sequence[Measurement]
) -> tuple[_Value, Unit | None]:
    """Look a field up: what it says of which mask."""
    name, first, second = found[1], found[2], found[3]
    if name in ("most", "name"):
        largest = name == "most"
        return _largest(sample, figures) if largest else sample.steps[int(first) - 1].name, None
    figure = figures[int(first) - 1]
    if second is not None:
        return _relative(name, _relation(figure, int(second)))
    match name:
        case "share":
            return figure.share.expected if figure.observed else 0.0, Unit.PERCENT
        case "area":
            return figure.area_m2.expected, sample.area_unit
        case "parts":
            return float(figure.parts), None
        case "position":
            return figure.position or "nothing", None
    raise ValueError(f"{found[0]}: no such figure of one mask")


def _largest(sample: Sample, figures: Sequence[Measurement]) -> str:
    """Return the name of the mask that was the last to be larger than all before it."""
    return [
        step.name
        for n, (step, figure) in enumerate(zip(sample.steps, figures, strict=True))
        if is_largest(figure, figures[:n])
    ][-1]


def _relative(name: str, relation: Relation) -> tuple[_Value, Unit | None]:
    match name:
        case "touches":
            return relation.touches, None
        case "distance":
            return relation.body_distance_m, Unit.METRE
        case "inside":
            return relation.overlap, Unit.PERCENT
    raise ValueError(f"{name!r}: no such figure of two masks")


def _relation(figure: Measurement, mask: int) -> Relation:
    for relation in figure.relations:
        if relation.mask == mask:
            return relation
    raise ValueError(f"the mask was not related to mask {mask}")
