"""Intervals of regional totals: errors that hang together, and ground that nobody saw."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

__all__ = ["Blocks", "Interval", "correlated_variance", "total_interval", "unseen_variance"]

_ORDERS = 8
"""Terms of the series: the next would add below 1 % of the variance for pixels in doubt."""
_LEAST_BLOCKS = 12
"""Squares from which a spread between squares is believed."""
_LEVELS = (1, 2, 4, 8)
"""Sides of the squares that are compared, in blocks."""


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """A region in squares of ground.

    Parameters
    ----------
    row, column : ndarray of int64, shape (n,)
        Place of each square on a grid.
    found : ndarray of float64, shape (n,)
        Expected change on its observed ground, square metres.
    seen, unseen : ndarray of float64, shape (n,)
        Ground observed, and asked for but not observed, square metres.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    found: NDArray[np.float64]
    seen: NDArray[np.float64]
    unseen: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[Blocks]) -> Blocks:
        """Put the squares of tiles together.

        Parameters
        ----------
        parts : sequence of Blocks
            On one grid; zones are kept apart by their columns.

        Returns
        -------
        blocks : Blocks
            All of them.
        """
        places = [np.zeros((0, 2), np.int64)]
        places += [np.stack([part.row, part.column], 1) for part in parts]
        sums = [np.zeros((0, 3))]
        sums += [np.stack([part.found, part.seen, part.unseen], 1) for part in parts]
        place, ground = np.concatenate(places), np.concatenate(sums)
        return cls(place[:, 0], place[:, 1], ground[:, 0], ground[:, 1], ground[:, 2])

    def coarser(self, factor: int) -> Blocks:
        """Join squares to larger ones.

        Parameters
        ----------
        factor : int
            Side of the larger ones, in squares.

        Returns
        -------
        blocks : Blocks
            Sorted by place.
        """
        place = np.stack([self.row // factor, self.column // factor], 1)
        cells, of = np.unique(place, axis=0, return_inverse=True)
        found, seen, unseen = (
            np.bincount(of.ravel(), ground, len(cells)).astype(np.float64)
            for ground in (self.found, self.seen, self.unseen)
        )
        return Blocks(cells[:, 0], cells[:, 1], found, seen, unseen)


@dataclasses.dataclass(frozen=True)
class Interval:
    """A total and what it may be.

    Parameters
    ----------
    value : float
        The estimate.
    low, high : float
        Ends of the interval.
    """

    value: float
    low: float
    high: float


def correlated_variance(
    probability: NDArray[np.float64], weight: NDArray[np.float64], length_px: float
) -> float:
    """Return the variance of a weighted number of changed pixels whose errors are correlated.

    Parameters
    ----------
    probability : ndarray of float64, shape (y, x)
        Of change, 0 to 1.
    weight : ndarray of float64, shape (y, x)
        Ground of each pixel; 0 where it does not count.
    length_px : float
        Distance at which the correlation has fallen to exp(-1/2), in pixels; 0 for none.

    Returns
    -------
    variance : float
        In squared units of the weight.

    Notes
    -----
    The model is that of `terrascope.model.uncertainty`, a Gaussian copula, without sampling:
    the covariance of two thresholded normals is a series in their correlation [1]_, and the
    powers of exp(-d^2 / (2 length^2)) are narrower Gaussians of the same form.

    References
    ----------
    .. [1] Kibble, An extension of a theorem of Mehler's on Hermite polynomials, Mathematical
       Proceedings of the Cambridge Philosophical Society 41 (1945).
    """
    doubt = (weight > 0) & (probability > 1e-6) & (probability < 1 - 1e-6)
    rows, columns = np.flatnonzero(doubt.any(1)), np.flatnonzero(doubt.any(0))
    if not len(rows):
        return 0.0
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    p = np.where(doubt, probability, 0.5)[window]
    w = np.where(doubt, weight, 0.0)[window]
    own = float(np.sum(w * w * p * (1 - p)))
    if length_px <= 0:
        return own
    cut = special.ndtri(p)
    before, term = np.zeros_like(cut), w * np.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    alone = total = 0.0
    for order in range(1, _ORDERS + 1):
        total += float(np.sum(term * _smoothed(term, length_px / math.sqrt(order))))
        alone += float(np.sum(term * term))
        # the next Hermite polynomial, divided by the root of its factorial
        after = cut * term / math.sqrt(order + 1)
        after -= (order - 1) / math.sqrt(order * (order + 1)) * before
        before, term = term, after
    return total + max(own - alone, 0.0)


def unseen_variance(blocks: Blocks) -> float:
    """Return the variance of what is reckoned for the ground that was not observed.

    Parameters
    ----------
    blocks : Blocks
        The region; its change per observed ground is carried over to the rest.

    Returns
    -------
    variance : float
        Of (change per ground) x (ground not observed) against the truth there, in m4; infinite
        where less than four squares were observed.

    Notes
    -----
    The prediction variance of a ratio under change that is spread in proportion to ground [1]_.
    Patches of change are larger than pixels and may be larger than squares, so the spread is
    taken between squares of several sizes, and the largest one counts.

    References
    ----------
    .. [1] Royall, On finite population sampling theory under certain linear regression models,
       Biometrika 57 (1970).
    """
    seen, unseen = float(blocks.seen.sum()), float(blocks.unseen.sum())
    if unseen <= 0:
        return 0.0
    if seen <= 0:
        return math.inf
    rate = float(blocks.found.sum()) / seen
    spread = -math.inf
    for factor in _LEVELS:
        level = blocks.coarser(factor)
        use = level.seen > 0
        count = int(use.sum())
        if count < 4 or (count < _LEAST_BLOCKS and spread >= 0):
            break
        gap = level.found[use] - rate * level.seen[use]
        # count - 3 in the place of count - 1: the variance of Student's t, as the spread is
        # itself an estimate
        spread = max(spread, float(np.sum(gap * gap / level.seen[use])) / (count - 3))
    return spread * unseen * (1 + unseen / seen) if spread >= 0 else math.inf


def total_interval(
    value: float, variance: float, *, level: float = 0.9, most: float = math.inf
) -> Interval:
    """Return the interval of a total that cannot be negative: that of a gamma distribution.

    Parameters
    ----------
    value, variance : float
        Of the estimate.
    level : float
        Probability that the interval holds the truth, between 0 and 1.
    most : float
        What the truth cannot exceed.

    Returns
    -------
    interval : Interval
        Close to a normal one where the value is many standard deviations above 0.
    """
    if variance <= 0:
        return Interval(value, value, min(value, most))
    if not math.isfinite(variance):
        return Interval(value, 0.0, most)
    deviation = math.sqrt(variance)
    if value < 0.1 * deviation:
        reach = float(special.ndtri((1 + level) / 2)) * deviation
        return Interval(value, 0.0, min(value + reach, most))
    shape = value * value / variance
    low, high = (
        float(special.gammaincinv(shape, q)) * variance / value
        for q in ((1 - level) / 2, (1 + level) / 2)
    )
    return Interval(value, min(low, value), min(max(high, value), most))


def _smoothed(values: NDArray[np.float64], length_px: float) -> NDArray[np.float64]:
    """Correlate with exp(-d^2 / (2 length^2)), nothing beyond the edges."""
    reach = math.ceil(4 * length_px)
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * length_px**2))
    down = ndimage.convolve1d(values, kernel, axis=0, mode="constant")
    smoothed: NDArray[np.float64] = ndimage.convolve1d(down, kernel, axis=1, mode="constant")
    return smoothed
