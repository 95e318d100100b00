"""Speckle of radar images, in linear power; a fixed neighbourhood, the same sum for every pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from terrascope.types import FloatArray

__all__ = ["LEE_REACH", "LOOKS", "box_sum", "lee_filter"]

LEE_REACH = 2
"""Pixels that `lee_filter` looks around itself: a window of 5 x 5."""

LOOKS = 4.4
"""Equivalent number of looks of one Sentinel-1 IW GRD observation (Sentinel-1 Product Definition,
S1-RS-MDA-52-7440); terrain-corrected products are made from those or similar."""


def lee_filter(power: FloatArray, looks: FloatArray | float) -> FloatArray:
    """Smooth speckle where the ground is even, and leave edges and bright targets.

    Parameters
    ----------
    power : ndarray of float32, shape (y, x)
        Linear power, NaN where missing. Not modified. The outer `LEE_REACH` pixels of the
        result miss part of their neighbourhood: read a halo.
    looks : ndarray of float32, shape (y, x), or float
        Equivalent number of looks of each pixel: `LOOKS` times the number of dates averaged.

    Returns
    -------
    filtered : ndarray of float32, shape (y, x)
        Linear power, NaN where `power` is.

    References
    ----------
    .. [1] Lee (1980). Digital image enhancement and noise filtering by use of local statistics.
       IEEE Transactions on Pattern Analysis and Machine Intelligence 2, 165-168.
    """
    seen = ~np.isnan(power)
    value = np.where(seen, power, np.float32(0))
    count = box_sum(seen.astype(np.float32))
    np.maximum(count, np.float32(1), out=count)
    mean = box_sum(value) / count
    variance = np.maximum(box_sum(value * value) / count - mean * mean, np.float32(0))
    noise = np.float32(1) / np.asarray(looks, np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        signal = np.maximum(variance - mean * mean * noise, np.float32(0)) / (1 + noise)
        weight = np.where(variance > 0, signal / variance, np.float32(0))
    filtered: FloatArray = np.where(seen, mean + weight * (value - mean), np.float32(np.nan))
    return filtered.astype(np.float32, copy=False)


def box_sum(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add up the 5 x 5 neighbourhood of every pixel.

    A running sum (`scipy.ndimage.uniform_filter`) carries rounding from the edge
    of the window; this one adds the same numbers in the same order everywhere.

    Parameters
    ----------
    values : ndarray of float32, shape (y, x)
        Without NaN.

    Returns
    -------
    sums : ndarray of float32, shape (y, x)
        Beyond the edge counts 0.
    """
    padded = np.pad(values, LEE_REACH)
    height, width = values.shape
    span = 2 * LEE_REACH + 1
    lines = padded[:, :width].copy()
    for k in range(1, span):
        lines += padded[:, k : k + width]
    sums = lines[:height].copy()
    for k in range(1, span):
        sums += lines[k : k + height]
    return sums
