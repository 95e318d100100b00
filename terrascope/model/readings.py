"""What was measured on masks, as the text that is put before the language model.

A ruler has marks: beside a figure stands the letter of the option that it is nearest to, where
options of its dimension are offered, and whether a mask is the largest so far. Comparing digits is
arithmetic, not sight or language, and is done exactly here; which mask a question is about, and
which reading answers it, the language model has to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from terrascope.model.answers import BASE, DIMENSION, NumberAnswer, figure_text, to_base
from terrascope.model.forms import AnswerError, Form, parse_answer
from terrascope.model.judgement import distance_confidence
from terrascope.model.measure import Figure, Measurement, Relation
from terrascope.vocabulary import OPTION_LETTERS, AnswerKind, Token, Unit

__all__ = [
    "MEASURED_FIELDS",
    "is_largest",
    "measurement_text",
    "nearest_letter",
    "read_options",
    "reading_texts",
]

MEASURED_FIELDS = ("share", "area", "parts", "position", "relations", "observed")
"""What can be written of a measurement, in this order."""

_FIGURE = Form(AnswerKind.NUMBER_UNIT)
_COUNT = Form(AnswerKind.NUMBER)


def read_options(options: Sequence[str]) -> tuple[NumberAnswer, ...]:
    """Read options that are figures.

    Parameters
    ----------
    options : sequence of str
        In the order of their letters.

    Returns
    -------
    figures : tuple of NumberAnswer
        Empty where any of them is something else, or their dimensions differ.
    """
    figures = []
    for option in options:
        form = _COUNT if option.strip().isdigit() else _FIGURE
        try:
            figure = parse_answer(option, form)
        except AnswerError:
            return ()
        if isinstance(figure, NumberAnswer):
            figures.append(figure)
    return tuple(figures) if len({DIMENSION[one.unit] for one in figures}) == 1 else ()


def nearest_letter(value: float, unit: Unit | None, options: Sequence[NumberAnswer]) -> str | None:
    """Return the option that a figure is nearest to.

    Parameters
    ----------
    value : float
        In base units: a share (0 to 1), square metres, metres, or a count.
    unit : Unit or None
        Any unit of its dimension; None for a count.
    options : sequence of NumberAnswer
        In the order of their letters.

    Returns
    -------
    letter : str or None
        Of two equally near ones the first; None where there is no option of this dimension.
    """
    if not options or DIMENSION[options[0].unit] != DIMENSION[unit] or not math.isfinite(value):
        return None
    apart = [abs(to_base(option) - value) for option in options]
    return OPTION_LETTERS[apart.index(min(apart))]


def is_largest(figure: Measurement, earlier: Sequence[Measurement]) -> bool:
    """Tell whether a mask covers more than each one before it.

    Parameters
    ----------
    figure : Measurement
        Of the mask.
    earlier : sequence of Measurement
        Of the same answer; those of unobserved ground count nothing.

    Returns
    -------
    largest : bool
        By the expected share of the observed ground.
    """
    own = figure.share.expected if figure.observed else 0.0
    return all(own > one.share.expected for one in earlier if one.observed)


def measurement_text(
    measurement: Measurement,
    *,
    area_unit: Unit = Unit.HECTARE,
    fields: Sequence[str] = MEASURED_FIELDS,
    options: Sequence[NumberAnswer] = (),
    earlier: Sequence[Measurement] = (),
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
    options : sequence of NumberAnswer
        Offered, in the order of their letters: beside a figure of their dimension stands the
        letter of the nearest one. As expected from the probabilities, of distances without specks,
        by their ladder where there is one.
    earlier : sequence of Measurement
        Of the masks before it: beside the share stands whether this mask is the largest so far;
        nothing beside that of a first mask.
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
    if DIMENSION[area_unit] != "area":
        raise ValueError(f"{area_unit!r} is no unit of area")
    if not set(fields) <= set(MEASURED_FIELDS):
        raise ValueError(f"fields {list(fields)}: expected some of {MEASURED_FIELDS}")
    if measurement.observed:
        written = _figures(measurement, area_unit, options, earlier)
        said = "".join(written[name] for name in MEASURED_FIELDS if name in fields)
    else:
        said = " nothing observed"
    return f"{Token.MEASURE}{said}{Token.MEASURE_END}" if tags else said


def reading_texts(
    figures: Sequence[Measurement],
    *,
    area_unit: Unit,
    fields: Sequence[str],
    options: Sequence[str] = (),
) -> list[str]:
    """Write what was measured on all masks of an answer.

    Parameters
    ----------
    figures : sequence of Measurement
        In the order of the masks.
    area_unit : Unit
        Of the areas.
    fields : sequence of str
        Which of `MEASURED_FIELDS`.
    options : sequence of str
        Offered, in the order of their letters.

    Returns
    -------
    texts : list of str
        As `measurement_text` writes each.
    """
    offered = read_options(options)
    return [
        measurement_text(
            figure, area_unit=area_unit, fields=fields, options=offered, earlier=figures[:number]
        )
        for number, figure in enumerate(figures)
    ]


def _figures(
    measurement: Measurement,
    area_unit: Unit,
    options: Sequence[NumberAnswer],
    earlier: Sequence[Measurement],
) -> dict[str, str]:
    """Write each field."""
    place = ""
    if measurement.centroid_yx is not None:
        row, column = measurement.centroid_yx
        place = f" position {measurement.position} row {row:.2f} column {column:.2f}"
    largest = ""
    if earlier:
        largest = f" largest {'yes' if is_largest(measurement, earlier) else 'no'}"
    parts = _nearest(float(measurement.parts), None, options)
    relations = (_relation(relation, options) for relation in measurement.relations)
    return {
        "share": _four(" share", measurement.share, Unit.PERCENT, options) + largest,
        "area": _four(" area", measurement.area_m2, area_unit, options),
        "parts": f" parts {figure_text(measurement.parts)}{parts}",
        "position": place,
        "relations": "".join(relations),
        "observed": f" observed {figure_text(100 * measurement.observed, Unit.PERCENT)}",
    }


def _four(name: str, figure: Figure, unit: Unit, options: Sequence[NumberAnswer]) -> str:
    """Write a figure as drawn and as expected, and the ends of its interval."""
    drawn, expected, low, high = (
        figure_text(value / BASE[unit], unit)
        for value in (figure.thresholded, figure.expected, figure.low, figure.high)
    )
    bounds = f"between {low.partition(' ')[0]} and {high}"
    return f"{name} {drawn} expected {expected} {bounds}{_nearest(figure.expected, unit, options)}"


def _relation(relation: Relation, options: Sequence[NumberAnswer]) -> str:
    said = f" mask {relation.mask} touches {'yes' if relation.touches else 'no'}"
    if relation.distance_m is not None and relation.body_distance_m is not None:
        said += f" distance {figure_text(relation.distance_m, Unit.METRE)}"
        said += f" without specks {figure_text(relation.body_distance_m, Unit.METRE)}"
        said += _marked(_distance_letter(relation, relation.body_distance_m, options))
    inside = figure_text(100 * relation.overlap, Unit.PERCENT)
    return f"{said} inside {inside}{_nearest(relation.overlap, Unit.PERCENT, options)}"


def _distance_letter(
    relation: Relation, drawn_m: float, options: Sequence[NumberAnswer]
) -> str | None:
    """Find the option that a ladder of distances comes nearest to; without, the distance drawn."""
    letter = nearest_letter(drawn_m, Unit.METRE, options)
    if letter is None or not relation.ladder_m:
        return letter
    agreed = distance_confidence(relation.ladder_m, [to_base(option) for option in options])
    return OPTION_LETTERS[agreed.index(max(agreed))]


def _nearest(value: float, unit: Unit | None, options: Sequence[NumberAnswer]) -> str:
    return _marked(nearest_letter(value, unit, options))


def _marked(letter: str | None) -> str:
    return "" if letter is None else f" nearest {letter}"
