"""Confidence intervals by drawing again what was drawn together: images, or blocks of a raster.

Questions about one image share its luck, and so do neighbouring pixels: neither is drawn alone.
A score is a function of sums over such units, so that one resample is one weighted sum, and two
systems that were scored on the same units are compared on the same resamples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "bootstrap", "grouped", "macro_accuracy", "mean_of_ratio"]

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Sums of shape (n, ...) to n scores."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A score with its confidence interval.

    Parameters
    ----------
    value : float
        Of all units.
    low, high : float
        Percentiles of the resamples; equal to `value` where there is a single unit.
    level : float
        Probability of the interval.
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def as_dict(self) -> dict[str, float]:
        """Return it for JSON.

        Returns
        -------
        found : dict
            Value and both ends.
        """
        return {"value": self.value, "low": self.low, "high": self.high}

    def percent(self) -> str:
        """Return it as text.

        Returns
        -------
        text : str
            In percent, the ends in brackets.
        """
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def bootstrap(
    tables: NDArray[Any],
    statistic: Statistic,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimate how far a score could be off by the choice of units.

    Parameters
    ----------
    tables : ndarray of float, shape (units, ...)
        What each unit adds to the sums that the score is made of.
    statistic : callable
        Sums of shape (n, ...) to n scores.
    draws : int
        Resamples.
    level : float
        Of the interval.
    seed : int
        Same seed and number of units, same resamples: differences are paired by putting two
        systems into one table.

    Returns
    -------
    interval : Interval
        Percentile interval; resamples in which the score is not finite are left out.

    Raises
    ------
    ValueError
        If there is no unit.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    counts = np.asarray(tables, np.float64)
    units = len(counts)
    if not units:
        raise ValueError("no unit to draw from")
    value = float(statistic(counts.sum(0)[None])[0])
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(units, np.full(units, 1 / units), size=draws)
    sums = (weights.astype(np.float64) @ counts.reshape(units, -1)).reshape(
        draws, *counts.shape[1:]
    )
    drawn = statistic(sums)
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return Interval(value, value, value, level)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)


def grouped(
    groups: Sequence[Hashable], columns: Sequence[Hashable], values: NDArray[Any]
) -> NDArray[np.float64]:
    """Sum values by unit and column, with their number beside them.

    Parameters
    ----------
    groups : sequence
        The unit of each value: its image, its block.
    columns : sequence
        For instance its task.
    values : ndarray of float, shape (n,) or (n, systems)
        NaN counts nowhere.

    Returns
    -------
    tables : ndarray of float64, shape (units, columns, 2) or (units, systems, columns, 2)
        Sum and number; columns sorted.
    """
    given = np.asarray(values, np.float64)
    wide = given if given.ndim == 2 else given[:, None]
    unit = _codes(groups, sort=False)
    column = _codes(columns, sort=True)
    tables = np.zeros((unit.max(initial=-1) + 1, wide.shape[1], column.max(initial=-1) + 1, 2))
    finite = np.isfinite(wide)
    for system in range(wide.shape[1]):
        use = finite[:, system]
        place = (unit[use], column[use])
        np.add.at(tables[:, system, :, 0], place, wide[use, system])
        np.add.at(tables[:, system, :, 1], place, 1.0)
    return tables if given.ndim == 2 else tables[:, 0]


def macro_accuracy(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over columns of their means.

    Parameters
    ----------
    sums : ndarray of float64, shape (..., columns, 2)
        Sum and number, as `grouped` gives them.

    Returns
    -------
    score : ndarray of float64, shape (...)
        Columns without a value are left out; NaN where all are.
    """
    total, number = sums[..., 0], sums[..., 1]
    there = number > 0
    means = np.divide(total, number, out=np.zeros_like(total), where=there)
    columns = there.sum(-1)
    return np.where(columns > 0, means.sum(-1) / np.maximum(columns, 1), np.nan)


def mean_of_ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over all values, whatever their column.

    Parameters
    ----------
    sums : ndarray of float64, shape (..., columns, 2)
        Sum and number, as `grouped` gives them.

    Returns
    -------
    score : ndarray of float64, shape (...)
        NaN without a value.
    """
    total, number = sums[..., 0].sum(-1), sums[..., 1].sum(-1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _codes(names: Sequence[Hashable], *, sort: bool) -> NDArray[np.int64]:
    distinct: list[Any] = list(dict.fromkeys(names))
    if sort:
        distinct.sort()
    place = {name: number for number, name in enumerate(distinct)}
    return np.array([place[name] for name in names], np.int64)
