"""Shapes in boolean masks: connected parts, growing and opening, the distance between two.

Numpy only. Exact, and fast enough to run on every mask while text is being
generated: work grows with the runs and rows of a mask, not with its square.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from terrascope.model.geometry import Geometry
from terrascope.types import BoolArray

__all__ = ["count_parts", "distance_m", "grown", "opened"]


def count_parts(mask: BoolArray) -> tuple[int, NDArray[np.int64]]:
    """Label the 8-connected components of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
        What is to be divided.

    Returns
    -------
    count : int
        Number of components.
    labels : ndarray of int64, shape (y, x)
        1 to `count`, by first pixel in reading order; 0 outside the mask.

    Notes
    -----
    Runs of each row are joined with the runs of the next row that they touch,
    corners included, by pointer jumping: each round hooks every root that has a
    smaller neighbour onto it and then flattens all trees, so rounds are few.

    References
    ----------
    Y. Shiloach and U. Vishkin, An O(log n) parallel connectivity algorithm,
    Journal of Algorithms 3 (1982).
    """
    edge = np.zeros((mask.shape[0], 1), np.bool_)
    step = np.diff(np.concatenate([edge, mask, edge], axis=1).astype(np.int8), axis=1)
    row, start = np.nonzero(step == 1)
    _, stop = np.nonzero(step == -1)
    if not row.size:
        return 0, np.zeros(mask.shape, np.int64)
    one, other = _touching_runs(row, start, stop)
    root = _roots(row.size, one, other)
    names, of_run = np.unique(root, return_inverse=True)
    labels = np.zeros(mask.shape, np.int64)
    labels[mask] = np.repeat(of_run + 1, stop - start)
    return int(names.size), labels


def grown(mask: BoolArray) -> BoolArray:
    """Grow a mask by one pixel all round, corners included.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
        Not modified.

    Returns
    -------
    grown : ndarray of bool, shape (y, x)
        Dilated by a 3x3 square.
    """
    wide = np.pad(mask, 1)
    tall: BoolArray = wide[:-2] | wide[1:-1]
    tall |= wide[2:]
    full: BoolArray = tall[:, :-2] | tall[:, 1:-1]
    full |= tall[:, 2:]
    return full


def opened(mask: BoolArray) -> BoolArray:
    """Take specks away that hold no 3x3 square.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
        Not modified; beyond its edge it counts as going on.

    Returns
    -------
    opened : ndarray of bool, shape (y, x)
        Eroded and grown again by a 3x3 square; the mask itself where nothing would
        be left of it.
    """
    eroded = ~grown(~mask)
    return grown(eroded) & mask if eroded.any() else mask


def distance_m(a: BoolArray, b: BoolArray, geometry: Geometry) -> float | None:
    """Return the shortest distance between the pixels of two masks.

    Parameters
    ----------
    a, b : ndarray of bool, shape (H, W)
        The masks.
    geometry : Geometry
        Of their window.

    Returns
    -------
    distance : float or None
        Metres between pixel centres, 0 where the masks share a pixel; None where
        either is empty.

    Notes
    -----
    Exact for any pixel shape and for geographic rows of unequal width: between two
    given rows the distance grows with the number of columns, so for each pair of
    rows only the smallest gap of columns matters, and pairs of rows are tried from
    the nearest on until no farther pair can be better.
    """
    if not (a.any() and b.any()):
        return None
    gap = _column_gap(b)
    holds_a, holds_b = np.asarray(a.any(axis=1)), np.asarray(b.any(axis=1))
    best, rows = np.inf, a.shape[0]
    for apart in range(rows):
        down = np.arange(rows - apart)
        # A farther pair of rows is never nearer than the rows are to each other.
        if float(geometry.distance_m(down, down + apart, 0).min()) >= best:
            break
        for upper, lower in ((0, apart), (apart, 0))[: 1 + (apart > 0)]:
            both = np.logical_and(
                holds_a[upper : upper + rows - apart], holds_b[lower : lower + rows - apart]
            )
            here = np.flatnonzero(both)
            if here.size:
                columns = np.where(a[here + upper], gap[here + lower], np.inf).min(axis=1)
                far = geometry.distance_m(here + upper, here + lower, columns)
                best = min(best, float(far.min()))
    return best


def _column_gap(mask: BoolArray) -> NDArray[np.float64]:
    """Return how many columns away the nearest pixel of the mask is in the same row."""
    place = np.arange(mask.shape[1], dtype=np.float64)
    left = np.maximum.accumulate(np.where(mask, place, -np.inf), axis=1)
    right = np.minimum.accumulate(np.where(mask, place, np.inf)[:, ::-1], axis=1)[:, ::-1]
    return np.minimum(place - left, right - place)


def _touching_runs(
    row: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair every run with the runs of the next row that it meets, corners included."""
    # Within a row starts and stops ascend, so a key of row and column is sorted over all runs.
    width = int(stop.max()) + 3
    ends, begins = row * width + stop, row * width + start
    first = np.searchsorted(ends, (row + 1) * width + start, side="left")
    last = np.searchsorted(begins, (row + 1) * width + stop, side="right")
    count = np.maximum(last - first, 0)
    one = np.repeat(np.arange(row.size), count)
    offset = np.arange(one.size) - np.repeat(np.cumsum(count) - count, count)
    return one, np.repeat(first, count) + offset


def _roots(size: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the smallest index of every node's component."""
    root = np.arange(size)
    while True:
        low, high = np.minimum(root[one], root[other]), np.maximum(root[one], root[other])
        if (low == high).all():
            return root
        np.minimum.at(root, high, low)
        while True:
            further = root[root]
            if (further == root).all():
                break
            root = further
