"""What a trace says after its masks, filled with the figures of the masks at hand.

The same sentence is taught with the figures of true masks and of wrong ones: whoever reads figures
must say the figures it reads, not those that would be right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from terrascope.data.options import written
from terrascope.data.samples import Sample
from terrascope.model.answers import NumberAnswer, OptionAnswer, format_answer
from terrascope.model.measure import Measurement
from terrascope.model.relation import Relation
from terrascope.vocabulary import OPTION_LETTERS, Token, Unit

__all__ = ["closing_text", "response_text", "stated_answer", "stated_figure"]

_FIELD = re.compile(r"\{([a-z]+)(?::(\d+)(?:/(\d+))?)?\}")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NOTHING = "no distance"
"""Written where one of two masks is empty."""

_Value = float | str | bool | None


def closing_text(sample: Sample, figures: Sequence[Measurement]) -> str:
    """Fill the closing of a sample.

    Parameters
    ----------
    sample : Sample
        With the template.
    figures : sequence of Measurement
        Of the mask of every step, each related to the two before it.

    Returns
    -------
    text : str
        Figures as `terrascope.model.answers.figure_text` writes them. With options every one is
        set against the stated figure, and the answer's letter is named.
    """
    text = _FIELD.sub(lambda found: _field(found, sample, figures), sample.closing)
    if isinstance(sample.answer, OptionAnswer):
        text += f" so {sample.answer.letter}"
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
    closing = closing_text(sample, figures)
    answer = stated_answer(sample, figures)
    return (
        f"{Token.THINK.value}{trace}{closing}{Token.THINK_END.value}"
        f"{Token.ANSWER.value}{answer}{Token.ANSWER_END.value}{Token.EOS.value}"
    )


def stated_answer(sample: Sample, figures: Sequence[Measurement]) -> str:
    """Write the answer: a figure as it stands in the trace, anything else as it is true.

    Parameters
    ----------
    sample : Sample
        The question.
    figures : sequence of Measurement
        Of the mask of every step.

    Returns
    -------
    text : str
        As `terrascope.model.answers.format_answer` writes answers.
    """
    if isinstance(sample.answer, NumberAnswer) and sample.stated:
        value = stated_figure(sample, figures)
        if value is not None:
            return written(value, sample.answer.unit)
    return format_answer(sample.answer)


def stated_figure(sample: Sample, figures: Sequence[Measurement]) -> float | None:
    """Return the figure of the trace that the answer hangs on.

    Parameters
    ----------
    sample : Sample
        The question.
    figures : sequence of Measurement
        Of the mask of every step.

    Returns
    -------
    value : float or None
        In base units; None where there is none: no figure is stated, or a mask is empty.
    """
    found = _FIELD.fullmatch(f"{{{sample.stated}}}") if sample.stated else None
    if found is None:
        return None
    value, _ = _value(found, sample, figures)
    return float(value) if isinstance(value, float) else None


def _field(found: re.Match[str], sample: Sample, figures: Sequence[Measurement]) -> str:
    if found[1] == "compare":
        return _compared(sample, figures)
    value, unit = _value(found, sample, figures)
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else written(value, unit)


def _compared(sample: Sample, figures: Sequence[Measurement]) -> str:
    """Set every option against the stated figure: it is less, more or equal."""
    if not sample.options:
        return ""
    value = stated_figure(sample, figures)
    if value is None:
        return ""
    found = _FIELD.fullmatch(f"{{{sample.stated}}}")
    unit = None if found is None else _value(found, sample, figures)[1]
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
