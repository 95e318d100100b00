"""Gaussian smoothing on the ground that gives each pixel the same bits in every window."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.types import FloatArray

__all__ = ["gaussian_mean", "gaussian_radius"]

_TRUNCATE = 3.0
_NEGLIGIBLE = 0.35
"""Below this many pixels of sigma the centre keeps more than 96 % of the weight per axis."""


def gaussian_radius(sigma_m: float, pixel_m: float) -> int:
    """Return how far the smoothing looks, in pixels.

    Parameters
    ----------
    sigma_m : float
        Standard deviation in metres.
    pixel_m : float
        Pixel size in metres.

    Returns
    -------
    radius : int
        0 where the pixel is so large that nothing is smoothed.
    """
    sigma = sigma_m / pixel_m
    return 0 if sigma < _NEGLIGIBLE else math.ceil(_TRUNCATE * sigma)


def gaussian_mean(values: FloatArray, *, sigma_m: float, pixel_m: float) -> FloatArray:
    """Average observed neighbours with Gaussian weights.

    Every output is a sum of the same products in the same order, wherever the
    window lies: no running sums.

    Parameters
    ----------
    values : ndarray of float32, shape (..., y, x)
        NaN where not observed.
    sigma_m : float
        Standard deviation in metres.
    pixel_m : float
        Pixel size in metres.

    Returns
    -------
    mean : ndarray of float32, shape (..., y, x)
        NaN exactly where `values` is. Beyond the array counts as not observed.
    """
    radius = gaussian_radius(sigma_m, pixel_m)
    if radius == 0:
        return values
    offset = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * np.square(offset * pixel_m / sigma_m))
    weights /= weights.sum()
    seen = np.isfinite(values)
    total = _separable(np.where(seen, values, np.float32(0)), weights)
    share = _separable(seen.astype(np.float32), weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: FloatArray = np.where(seen, total / share, np.float32(np.nan))
    return mean


def _separable(values: FloatArray, weights: NDArray[np.float64]) -> FloatArray:
    along_y = ndimage.correlate1d(values, weights, axis=-2, mode="constant")
    result: FloatArray = ndimage.correlate1d(along_y, weights, axis=-1, mode="constant")
    return result
