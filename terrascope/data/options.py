"""Options that do not give the answer away: drawn like truths, well apart, in any order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from terrascope.model.answers import figure_text
from terrascope.vocabulary import OPTION_LETTERS, Unit

__all__ = ["SCHEMES", "SEPARATION", "are_apart", "offer_figures", "offer_names", "written"]

SCHEMES = ("main", "published")
"""Wrong options drawn like truths; or 0.1, 0.5 and 2 times the truth, as often published."""
SEPARATION = 0.15
"""Least difference of two options, as a share of the larger one."""

_BASE = {Unit.PERCENT: 0.01, Unit.HECTARE: 1e4, Unit.SQUARE_KILOMETRE: 1e6, Unit.KILOMETRE: 1e3}
_FACTORS = (0.1, 0.5, 2.0, 0.25)


def written(value: float, unit: Unit | None) -> str:
    """Write a figure.

    Parameters
    ----------
    value : float
        A share (0 to 1), square metres, metres or a count.
    unit : Unit or None
        In which it is written; None for a count.

    Returns
    -------
    text : str
        As `terrascope.model.answers.figure_text`.
    """
    return figure_text(value / (1.0 if unit is None else _BASE.get(unit, 1.0)), unit)


def are_apart(figures: Sequence[float], gap: float) -> bool:
    """Tell whether options can be told apart.

    Parameters
    ----------
    figures : sequence of float
        In one unit.
    gap : float
        Least difference in that unit.

    Returns
    -------
    apart : bool
        Whether every two differ by `gap` and by `SEPARATION` of the larger one.
    """
    return all(
        abs(a - b) >= max(gap, SEPARATION * max(a, b))
        for a, b in itertools.combinations(figures, 2)
    )


def offer_figures(
    truth: float,
    unit: Unit | None,
    draw: Callable[[int], Sequence[float]],
    rng: np.random.Generator,
    *,
    gap: float,
    scheme: str = "main",
) -> tuple[tuple[str, ...], str] | None:
    """Offer four figures, one of them true.

    Parameters
    ----------
    truth : float
        A share (0 to 1), square metres, metres or a count.
    unit : Unit or None
        In which they are written.
    draw : callable
        Number of wrong options to figures like the truth, from the truths of other scenes.
    rng : numpy.random.Generator
        Of the order.
    gap : float
        Least difference of two options, in the unit of `truth`.
    scheme : str
        One of `SCHEMES`.

    Returns
    -------
    options, letter : tuple
        Texts in the order of their letters, and the letter of the truth. None where the drawn
        figures are too close: the question is then not asked, rather than drawn again, for
        drawing until it fits would place the truth at the rim of crowded figures.

    Notes
    -----
    Truth and wrong options are four draws of one distribution, kept or thrown away together: no
    order of them is likelier than another, so the rank of the truth is uniform.
    """
    if scheme == "published":
        most = 1.0 if unit is Unit.PERCENT else np.inf
        wrong = [truth * factor for factor in _FACTORS if truth * factor <= most][:3]
        wrong = [max(round(w), 0) if unit is None else w for w in wrong]
    else:
        wrong = [float(value) for value in draw(3)]
    figures = [truth, *wrong]
    texts = [written(value, unit) for value in figures]
    apart = scheme == "published" or are_apart(figures, gap)
    if len(figures) < 4 or not apart or len(set(texts)) < len(texts):
        return None
    order = [int(n) for n in rng.permutation(len(texts))]
    return tuple(texts[n] for n in order), OPTION_LETTERS[order.index(0)]


def offer_names(
    truth: str, others: Sequence[str], rng: np.random.Generator
) -> tuple[tuple[str, ...], str]:
    """Offer names in any order.

    Parameters
    ----------
    truth : str
        The right one.
    others : sequence of str
        The wrong ones.
    rng : numpy.random.Generator
        Of the order.

    Returns
    -------
    options, letter : tuple
        Names in the order of their letters, and the letter of the truth.
    """
    names = [truth, *others]
    order = [int(n) for n in rng.permutation(len(names))]
    return tuple(names[n] for n in order), OPTION_LETTERS[order.index(0)]
