"""One value per pixel from several observations; missing ones are left out, and counted.

The composites work on int16 steps of the cube with a missing number, planes first,
in strips of rows so that the working set stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from terrascope.types import NODATA_INT16

__all__ = [
    "first_composite",
    "greenest_composite",
    "mean_composite",
    "median_composite",
    "medoid_composite",
    "middle_values",
    "select",
    "sorting_network",
]

Steps = NDArray[np.int16]
Number = TypeVar("Number", np.int16, np.float32)

_STRIP_BYTES = 512 * 1024
_LAST = np.int16(32767)


def sorting_network(size: int) -> tuple[tuple[int, int], ...]:
    """Return the comparisons of Batcher's odd-even merge sort.

    Parameters
    ----------
    size : int
        Number of planes.

    Returns
    -------
    pairs : tuple of (int, int)
        Compared and exchanged in this order, the planes end up sorted.

    References
    ----------
    .. [1] Batcher (1968). Sorting networks and their applications. AFIPS Spring Joint Computer
       Conference 32, 307-314.
    """
    pairs: list[tuple[int, int]] = []
    p = 1
    while p < size:
        k = p
        while k >= 1:
            for j in range(k % p, size - k, 2 * k):
                pairs += [
                    (i + j, i + j + k)
                    for i in range(min(k, size - j - k))
                    if (i + j) // (p * 2) == (i + j + k) // (p * 2)
                ]
            k //= 2
        p *= 2
    return tuple(pairs)


def middle_values(
    planes: NDArray[Number], count: NDArray[np.integer]
) -> tuple[NDArray[Number], NDArray[Number]]:
    """Take the two values between which the median of every pixel lies.

    Parameters
    ----------
    planes : ndarray of int16 or float32, shape (observation, ...)
        At least one plane; missing values are the largest of all. Overwritten.
    count : ndarray of integer, shape (...)
        How many are not missing.

    Returns
    -------
    low, high : ndarray, shape (...)
        The same value twice where `count` is odd, the missing one where it is 0.
    """
    # Planes change places instead of being copied.
    ordered, spare = list(planes), np.empty_like(planes[0])
    for i, j in sorting_network(len(ordered)):
        one, other = ordered[i], ordered[j]
        np.minimum(one, other, out=spare)
        np.maximum(one, other, out=other)
        ordered[i], spare = spare, one
    half = len(ordered) // 2
    low = select(ordered[: half + 1], np.maximum(count - 1, 0) // 2)
    return low, select(ordered[: half + 1], count // 2)


def median_composite(stack: Steps) -> Steps:
    """Take the median of the observations of every pixel.

    Parameters
    ----------
    stack : ndarray of int16, shape (observation, y, x)
        `NODATA_INT16` where missing. Not modified.

    Returns
    -------
    median : ndarray of int16, shape (y, x)
        The mean of the two middle values, rounded half up, where their number is even;
        `NODATA_INT16` where nothing was observed.
    """
    depth = stack.shape[0]
    if depth == 1:
        return np.array(stack[0])
    median = np.empty(stack.shape[1:], np.int16)
    for rows in _strips(stack):
        planes = stack[:, rows].copy()
        missing = planes == NODATA_INT16
        count = depth - missing.sum(axis=0, dtype=np.int16)
        planes[missing] = _LAST
        low, high = middle_values(planes, count)
        middle = low.astype(np.int32)
        middle += high
        middle += 1
        middle >>= 1
        median[rows] = np.where(count > 0, middle, NODATA_INT16)
    return median


def mean_composite(stack: Steps) -> Steps:
    """Take the mean of the observations of every pixel.

    Parameters
    ----------
    stack : ndarray of int16, shape (observation, y, x)
        `NODATA_INT16` where missing. Not modified.

    Returns
    -------
    mean : ndarray of int16, shape (y, x)
        Rounded half up; `NODATA_INT16` where nothing was observed.
    """
    mean = np.empty(stack.shape[1:], np.int16)
    for rows in _strips(stack):
        part = stack[:, rows]
        seen = part != NODATA_INT16
        count = seen.sum(axis=0, dtype=np.int32)
        total = np.where(seen, part, 0).sum(axis=0, dtype=np.int32)
        divisor = np.maximum(count, 1)
        rounded = (2 * total + divisor) // (2 * divisor)
        mean[rows] = np.where(count > 0, rounded, NODATA_INT16)
    return mean


def medoid_composite(stack: Steps) -> NDArray[np.intp]:
    """Choose the observation that is nearest to all others of its pixel, over all bands.

    Parameters
    ----------
    stack : ndarray of int16, shape (observation, band, y, x)
        `NODATA_INT16` where missing; an observation counts where all its bands are there. Not
        modified.

    Returns
    -------
    chosen : ndarray of intp, shape (y, x)
        Index of the observation, the earliest among equals; 0 where none is complete.

    References
    ----------
    .. [1] Flood (2013). Seasonal composite Landsat TM/ETM+ images using the medoid (a
       multi-dimensional median). Remote Sensing 5, 6481-6500.
    """
    depth = stack.shape[0]
    chosen = np.zeros(stack.shape[2:], np.intp)
    if depth == 1:
        return chosen
    for rows in _strips(stack[:, 0], planes=stack.shape[1] * 4):
        part = stack[:, :, rows].astype(np.float32)
        complete = (stack[:, :, rows] != NODATA_INT16).all(axis=1)
        cost = np.zeros((depth, *part.shape[2:]), np.float32)
        for i in range(depth):
            for j in range(i + 1, depth):
                gap = part[i] - part[j]
                distance = np.sqrt(np.einsum("byx,byx->yx", gap, gap))
                cost[i] += np.where(complete[j], distance, 0)
                cost[j] += np.where(complete[i], distance, 0)
        cost[~complete] = np.inf
        chosen[rows] = cost.argmin(axis=0)
    return chosen


def first_composite(stack: Steps) -> NDArray[np.intp]:
    """Choose the first observation of every pixel that has all bands.

    Parameters
    ----------
    stack : ndarray of int16, shape (observation, band, y, x)
        `NODATA_INT16` where missing. Not modified.

    Returns
    -------
    chosen : ndarray of intp, shape (y, x)
        Index of the observation; 0 where none is complete.
    """
    complete = (stack != NODATA_INT16).all(axis=1)
    chosen: NDArray[np.intp] = complete.argmax(axis=0)
    return chosen


def greenest_composite(red: Steps, nir: Steps) -> NDArray[np.intp]:
    """Choose the observation with the highest NDVI of its pixel.

    Parameters
    ----------
    red, nir : ndarray of int16, shape (observation, y, x)
        Reflectance, `NODATA_INT16` where missing. Not modified.

    Returns
    -------
    chosen : ndarray of intp, shape (y, x)
        Index of the observation, the earliest among equals; 0 where nothing was observed.

    References
    ----------
    .. [1] Holben (1986). Characteristics of maximum-value composite images from temporal AVHRR
       data. International Journal of Remote Sensing 7, 1417-1434.
    """
    dark, bright = red.astype(np.float32), nir.astype(np.float32)
    greenness = (bright - dark) / np.maximum(bright + dark, np.float32(1))
    greenness[(red == NODATA_INT16) | (nir == NODATA_INT16)] = -np.inf
    chosen: NDArray[np.intp] = greenness.argmax(axis=0)
    return chosen


def select(
    planes: NDArray[Number] | Sequence[NDArray[Number]], index: NDArray[np.integer]
) -> NDArray[Number]:
    """Take one plane's value per pixel.

    Parameters
    ----------
    planes : ndarray of int16 or float32, shape (observation, ..., y, x)
        Values.
    index : ndarray of integer, shape (y, x)
        Observation to take.

    Returns
    -------
    values : ndarray, shape (..., y, x)
        Of the chosen observations.
    """
    values = np.array(planes[0])
    for i in range(1, len(planes)):
        np.copyto(values, planes[i], where=index == i)
    return values


def _strips(stack: NDArray[np.int16], planes: int = 1) -> Iterator[slice]:
    depth, height, width = stack.shape
    rows = max(1, _STRIP_BYTES // max(1, 2 * depth * width * planes))
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))
