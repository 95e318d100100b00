"""Seamless maps from windows: where windows lie, how much each pixel of one counts, and the sum.

Windows begin on multiples of a stride of the zone's grid, whatever tile, batch or area asks for
them. Neighbours overlap; what they say of a shared pixel is averaged by weights that fade towards
the edge of a window, where context lacks, so that no border of a window shows in the map.
"""

from __future__ import annotations

import numpy as np

from terrascope.types import BoolArray, FloatArray

__all__ = ["Mosaic", "first_and_last", "reasoned", "taper", "total_weight"]

_LEAST = 1e-3
"""Weight of the outermost pixel: above 0, so that every pixel of a window counts."""


def taper(size: int, overlap: int) -> FloatArray:
    """Weigh the pixels of a window: full in the middle, little at the edge, where context lacks.

    Parameters
    ----------
    size : int
        Rows and columns.
    overlap : int
        Pixels over which the weight rises.

    Returns
    -------
    weight : ndarray of float32, shape (size, size)
        Above 0; raised cosine.
    """
    line = _line(size, overlap)
    return line[:, None] * line


def _line(size: int, overlap: int) -> FloatArray:
    edge = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(edge / max(overlap, 1), 0, 1))
    return np.maximum(rise, _LEAST).astype(np.float32)


def first_and_last(start: int, stop: int, size: int, stride: int) -> tuple[int, int]:
    """Return the windows that touch a span of pixels.

    Parameters
    ----------
    start, stop : int
        The span, end excluded, in pixels of the zone's grid.
    size : int
        Of a window.
    stride : int
        From one window to the next; window i begins at ``i * stride``.

    Returns
    -------
    first, last : int
        Numbers of the first and the last one; may be negative at the edge of the grid.

    Raises
    ------
    ValueError
        If windows would leave gaps.
    """
    if not 0 < stride <= size:
        raise ValueError(f"stride {stride} of windows of {size} px: expected 1 to {size}")
    return -((size - 1 - start) // stride), (stop - 1) // stride


def total_weight(start: int, length: int, size: int, stride: int) -> FloatArray:
    """Return the weight that all windows together give to each pixel of a line.

    Parameters
    ----------
    start : int
        First pixel, of the zone's grid.
    length : int
        Pixels.
    size, stride : int
        As in `first_and_last`.

    Returns
    -------
    weight : ndarray of float32, shape (length,)
        The weight of a pixel in two dimensions is the product of its row's and its column's.
    """
    line = _line(size, size - stride)
    total = np.zeros(length, np.float32)
    first, last = first_and_last(start, start + length, size, stride)
    for number in range(first, last + 1):
        begin = number * stride - start
        here = slice(max(begin, 0), min(begin + size, length))
        total[here] += line[here.start - begin : here.stop - begin]
    return total


class Mosaic:
    """Weighted sum of windows over rows that move down a region, so that memory stays small.

    Parameters
    ----------
    rows : int
        Of the region.
    columns : int
        Of the region.
    channels : int
        Maps per window.
    size, stride : int
        Of the windows, as in `first_and_last`.

    Notes
    -----
    Windows have to come from north to south. `take` hands over the rows that no later window
    can touch.
    """

    def __init__(self, rows: int, columns: int, channels: int, *, size: int, stride: int) -> None:
        self._shape = rows, columns
        self._size, self._stride = size, stride
        self._weight = taper(size, size - stride)
        self._sum = np.zeros((channels, size, columns), np.float32)
        self._share = np.zeros((size, columns), np.float32)
        self._top = 0

    @property
    def top(self) -> int:
        """First row that was not taken yet."""
        return self._top

    def add(self, row: int, column: int, maps: FloatArray) -> None:
        """Add a window.

        Parameters
        ----------
        row, column : int
            Of its first pixel in the region; may be negative.
        maps : ndarray of float32, shape (channels, size, size)
            What it says.

        Raises
        ------
        ValueError
            If rows of it were taken before.
        """
        if row + self._size > self._top + len(self._share) or max(row, 0) < self._top:
            raise ValueError(f"window at row {row}: rows up to {self._top} were taken")
        north, west = max(row, 0), max(column, 0)
        south = min(row + self._size, self._shape[0])
        east = min(column + self._size, self._shape[1])
        inner = slice(north - row, south - row), slice(west - column, east - column)
        place = slice(north - self._top, south - self._top), slice(west, east)
        weight = self._weight[inner]
        self._sum[:, *place] += maps[:, *inner] * weight
        self._share[place] += weight

    def take(self, rows: int) -> tuple[FloatArray, FloatArray]:
        """Hand over the next rows.

        Parameters
        ----------
        rows : int
            How many, at most the size of a window.

        Returns
        -------
        maps : ndarray of float32, shape (channels, rows, columns)
            Weighted mean of the windows; NaN where there is none.
        weight : ndarray of float32, shape (rows, columns)
            Sum of the weights, 0 where there is none.
        """
        weight = self._share[:rows].copy()
        with np.errstate(invalid="ignore", divide="ignore"):
            maps = np.where(weight > 0, self._sum[:, :rows] / weight, np.float32(np.nan))
        for plane in (self._sum, self._share):
            kept = plane[..., rows:, :].copy()
            plane[...] = 0
            plane[..., : kept.shape[-2], :] = kept
        self._top += rows
        return maps.astype(np.float32), weight


def reasoned(weight: FloatArray, complete: FloatArray) -> BoolArray:
    """Return the pixels about which windows say enough.

    Parameters
    ----------
    weight : ndarray of float32, shape (y, x)
        Of the windows that were looked at.
    complete : ndarray of float32, shape (y, x)
        Of all windows.

    Returns
    -------
    enough : ndarray of bool, shape (y, x)
        At least half of the weight: beside windows that were left out, the line lies in the
        middle of the overlap.
    """
    return weight >= np.float32(0.5) * complete - np.float32(1e-6)
