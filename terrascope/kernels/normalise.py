"""Relative radiometric normalisation on pseudo-invariant pixels of fixed blocks.

Nodes sit on the corners of the tile grid; a node's block is the 2 x 2 tiles
around it (30.72 km). Each node is fitted once, from pixels at a fixed global
stride, and the coefficients are interpolated bilinearly, so the result at a
pixel does not depend on tiles, batches or the AOI's order of work.

The fit is the one of IR-MAD [1]_ without its canonical rotation: pixels are
weighted by the probability that they did not change, judged over all bands
together, and the regression is repeated until the weights settle. Two guards
keep a real, widespread change from being normalised away: the correction of a
band never exceeds what the atmosphere and the sensor can do (twice 0.005 +
5 % [2]_), and without enough stable pixels nothing is corrected.

References
----------
.. [1] Nielsen (2007), The regularized iteratively reweighted MAD method for
   change detection in multi- and hyperspectral data, doi:10.1109/TIP.2006.888195;
   Canty & Nielsen (2008), doi:10.1016/j.rse.2007.07.013.
.. [2] Vermote & Kotchenova (2008), doi:10.1029/2007JD009662.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from terrascope.types import FloatArray

__all__ = [
    "MAX_SAMPLES",
    "MIN_SAMPLES",
    "NodeFit",
    "apply_normalisation",
    "fit_node",
    "identity_fit",
    "interpolate_nodes",
]

MIN_SAMPLES: Final = 200
"""Fewer observed samples than this: no correction. 200 make a gain certain to about 1 % where
the residuals are 5 % of a reflectance that varies by a third."""

MAX_SAMPLES: Final = 60_000
"""More samples than this are thinned at a regular step: they no longer change the fit."""

_MIN_STABLE: Final = 0.25
"""Least share of stable pixels: IR-MAD needs a no-change background to lock on to [1]."""

_SPECIFICATION: Final = (0.005, 0.05)
"""Uncertainty of surface reflectance, additive and relative, 1 sigma [2]."""

_ITERATIONS: Final = 30
_MAD_TO_SIGMA: Final = 1.4826


@dataclasses.dataclass(frozen=True, eq=False)
class NodeFit:
    """Coefficients of one node: corrected target = `gain` x target + `offset`.

    Parameters
    ----------
    gain, offset : ndarray of float64, shape (band,)
        Unitless and reflectance; 1 and 0 where `ok` is False.
    n : int
        Samples observed on both dates.
    stable_share : float
        Mean no-change weight of the samples, 0 to 1.
    ok : bool
        False where nothing is corrected; `interpolate_nodes` then leans on the other nodes.
    """

    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    n: int
    stable_share: float
    ok: bool


def identity_fit(n_bands: int, *, n: int = 0, stable_share: float = 0.0) -> NodeFit:
    """Build the fit that corrects nothing.

    Parameters
    ----------
    n_bands : int
        Number of bands.
    n : int
        Samples that were observed.
    stable_share : float
        Mean no-change weight of the samples.

    Returns
    -------
    fit : NodeFit
        With `ok` False.
    """
    return NodeFit(np.ones(n_bands), np.zeros(n_bands), n, stable_share, ok=False)


def fit_node(baseline: FloatArray, target: FloatArray) -> NodeFit:
    """Fit the gain and offset that bring the target to the baseline's radiometry.

    Parameters
    ----------
    baseline, target : ndarray of float32, shape (sample, band)
        Reflectance of the same pixels, NaN where not observed. Sort the samples
        by their place on the ground: with more than `MAX_SAMPLES` every k-th is used.

    Returns
    -------
    fit : NodeFit
        The identity where there are too few samples or too few stable ones.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if baseline.shape != target.shape or baseline.ndim != 2:
        raise ValueError(
            f"samples of shape {baseline.shape} and {target.shape}: expected (sample, band) twice"
        )
    n_bands = baseline.shape[1]
    seen = np.isfinite(baseline).all(axis=1) & np.isfinite(target).all(axis=1)
    n = int(np.count_nonzero(seen))
    if n < MIN_SAMPLES:
        return identity_fit(n_bands, n=n)
    step = -(-n // MAX_SAMPLES)
    old = baseline[seen][::step].astype(np.float64)
    new = target[seen][::step].astype(np.float64)
    gain, offset = np.ones(n_bands), _first_offset(old, new)
    weight = np.ones(len(old))
    for _ in range(_ITERATIONS):
        before = weight
        weight = _no_change_probability(gain * new + offset - old, old)
        if weight.mean() < _MIN_STABLE:
            return identity_fit(n_bands, n=n, stable_share=float(weight.mean()))
        gain, offset = _regress(new, old, weight)
        if np.abs(weight - before).max() < 1e-3:
            break
    return NodeFit(gain, offset, n, float(weight.mean()), ok=True)


def _specification(reflectance: NDArray[np.float64]) -> NDArray[np.float64]:
    return _SPECIFICATION[0] + _SPECIFICATION[1] * np.maximum(reflectance, 0.0)


def _first_offset(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Start at the median difference, as far as the atmosphere could have made it."""
    limit = 2 * _specification(np.median(old, axis=0))
    shift: NDArray[np.float64] = np.clip(np.median(old - new, axis=0), -limit, limit)
    return shift


def _no_change_probability(
    residual: NDArray[np.float64], old: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Judge the residuals of all bands together, as IR-MAD does: P(chi-square exceeds this)."""
    spread = _MAD_TO_SIGMA * np.median(np.abs(residual), axis=0)
    # Within half to twice the specification: wider would call change stable.
    level = _specification(np.median(old, axis=0))
    spread = np.clip(spread, 0.5 * level, 2 * level)
    distance = np.square(residual / spread).sum(axis=1)
    probability: NDArray[np.float64] = stats.chi2.sf(distance, df=residual.shape[1])
    return probability


def _regress(
    new: NDArray[np.float64], old: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted reduced major axis per band: both dates are noisy, so neither predicts the other."""
    total = weight.sum()
    weight = weight[:, None]
    mean_new, mean_old = (weight * new).sum(axis=0) / total, (weight * old).sum(axis=0) / total
    spread_new = (weight * np.square(new - mean_new)).sum(axis=0) / total
    spread_old = (weight * np.square(old - mean_old)).sum(axis=0) / total
    # A block of one cover says little about the gain: contrast below the noise draws it to 1.
    noise = np.square(_specification(mean_old))
    gain = np.sqrt((spread_old + noise) / (spread_new + noise))
    gain = np.clip(gain, 1 - 2 * _SPECIFICATION[1], 1 + 2 * _SPECIFICATION[1])
    limit = 2 * _specification(mean_old)
    # The correction at the mean is what is bounded; the offset only carries it there.
    shift = np.clip(mean_old - mean_new, -limit, limit)
    return gain, mean_new + shift - gain * mean_new


def interpolate_nodes(
    fits: Sequence[Sequence[NodeFit]],
    rows: NDArray[np.floating[Any]],
    columns: NDArray[np.floating[Any]],
) -> tuple[FloatArray, FloatArray]:
    """Interpolate coefficients bilinearly between the nodes around each pixel.

    Parameters
    ----------
    fits : sequence of sequence of NodeFit, shape (node row, node column)
        A rectangle of neighbouring nodes, 2 x 2 for the pixels of one tile, 4 x 4
        for a tile with a halo.
    rows, columns : ndarray of float, shape (y,) and (x,)
        Pixel centres in tiles, counted from the node at [0][0] in the direction
        of the sequence: compute them from the pixel's place on the global grid,
        not from the block's corner, so that every block rounds alike.

    Returns
    -------
    gain, offset : ndarray of float32, shape (band, y, x)
        Nodes that are not ok give their weight to the others; 1 and 0 where none is.

    Raises
    ------
    ValueError
        If a pixel lies outside the rectangle of nodes.
    """
    n_rows, n_columns = len(fits), len(fits[0])
    n_bands = len(fits[0][0].gain)
    weights_y = _hat(np.asarray(rows, dtype=np.float64), n_rows)
    weights_x = _hat(np.asarray(columns, dtype=np.float64), n_columns)
    shape = (len(rows), len(columns))
    total = np.zeros(shape)
    gain, offset = np.zeros((n_bands, *shape)), np.zeros((n_bands, *shape))
    for i in range(n_rows):
        for j in range(n_columns):
            fit = fits[i][j]
            if not fit.ok:
                continue
            weight = weights_y[i][:, None] * weights_x[j][None, :]
            total += weight
            gain += fit.gain[:, None, None] * weight
            offset += fit.offset[:, None, None] * weight
    some = total > 0
    divisor = np.where(some, total, 1.0)
    gain = np.where(some, gain / divisor, 1.0)
    return gain.astype(np.float32), (offset / divisor).astype(np.float32)


def _hat(position: NDArray[np.float64], count: int) -> list[NDArray[np.float64]]:
    """Weights of each node along one axis."""
    if position.size and (position.min() < 0 or position.max() > count - 1):
        raise ValueError(
            f"pixels at {position.min()}..{position.max()} tiles: outside of {count} nodes"
        )
    return [np.maximum(0.0, 1.0 - np.abs(position - node)) for node in range(count)]


def apply_normalisation(target: FloatArray, gain: FloatArray, offset: FloatArray) -> FloatArray:
    """Correct a target's reflectance.

    Parameters
    ----------
    target : ndarray of float32, shape (..., band, y, x)
        Reflectance, NaN where not observed.
    gain, offset : ndarray of float32, shape (band, y, x)
        From `interpolate_nodes`.

    Returns
    -------
    corrected : ndarray of float32, shape (..., band, y, x)
        `gain` x target + `offset`.
    """
    corrected: FloatArray = (target * gain + offset).astype(np.float32, copy=False)
    return corrected
