"""Shrinking a map of any size to a picture, block by block, without losing small changes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.types import ChangeKind, FloatArray, Status

__all__ = ["Cells", "Overview", "OverviewMaps"]

_KINDS = tuple(kind for kind in ChangeKind if kind not in (ChangeKind.NONE, ChangeKind.OUTSIDE))


@dataclasses.dataclass(frozen=True)
class OverviewMaps:
    """The map layers at reduced size.

    Parameters
    ----------
    status, kind : ndarray of uint8, shape (y, x)
        Codes; a cell with any change shows its most frequent kind, a cell without
        is "no change" where at least half of its ground inside the AOI was observed.
    probability : ndarray of float32, shape (y, x)
        Largest change probability in the cell, NaN where none.
    observations : ndarray of uint16, shape (y, x)
        Mean count over the observed pixels, rounded up.
    factor : int
        Map pixels per cell, along either axis.
    """

    status: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    probability: FloatArray
    observations: NDArray[np.uint16]
    factor: int


class Overview:
    """Shrinks a map of any size, block by block, so that no small change is lost from sight.

    Parameters
    ----------
    shape_yx : tuple of int
        Size of the full map in pixels.
    max_px : int
        Longest side of the result.
    """

    def __init__(self, shape_yx: tuple[int, int], *, max_px: int = 1100) -> None:
        self.factor = max(1, math.ceil(max(shape_yx) / max_px))
        self.shape_yx = tuple(math.ceil(side / self.factor) for side in shape_yx)
        self._inside = np.zeros(self.shape_yx, np.int64)
        self._seen = np.zeros(self.shape_yx, np.int64)
        self._status = np.zeros(self.shape_yx, np.uint8)
        self._counts = np.zeros((len(_KINDS), *self.shape_yx), np.int32)
        self._probability = np.full(self.shape_yx, np.nan, np.float32)
        self._observations = np.zeros(self.shape_yx, np.int64)

    def add(
        self,
        row: int,
        column: int,
        status: NDArray[np.uint8],
        kind: NDArray[np.uint8],
        *,
        probability: FloatArray | None = None,
        observations: NDArray[np.integer] | None = None,
    ) -> None:
        """Add one block of the map; blocks come in any order and do not overlap.

        Parameters
        ----------
        row, column : int
            Upper left pixel of the block in the full map.
        status, kind : ndarray of uint8, shape (y, x)
            Codes of the map layers.
        probability : ndarray of float32, shape (y, x), optional
            Of change, NaN where not observed.
        observations : ndarray of integer, shape (y, x), optional
            Counts of periods with a clear view, summed over the cubes.
        """
        cells = Cells.of(row, column, status.shape, self.factor)
        inside = status != Status.OUTSIDE
        seen = inside & (status != Status.NOT_OBSERVED)
        changed = seen & (status >= Status.PROVISIONAL)
        self._inside[cells.window] += cells.reduce(np.add, inside.astype(np.int64))
        self._seen[cells.window] += cells.reduce(np.add, seen.astype(np.int64))
        highest = cells.reduce(np.maximum, np.where(changed, status, 0).astype(np.uint8))
        np.maximum(self._status[cells.window], highest, out=self._status[cells.window])
        for index, code in enumerate(_KINDS):
            same = changed & (kind == code)
            if code is ChangeKind.OTHER:
                same |= changed & ~np.isin(kind, _KINDS)
            if same.any():
                self._counts[(index, *cells.window)] += cells.reduce(np.add, same.astype(np.int32))
        if probability is not None:
            part = self._probability[cells.window]
            np.fmax(part, cells.reduce(np.fmax, probability), out=part)
        if observations is not None:
            counts = np.where(seen, observations, 0).astype(np.int64)
            self._observations[cells.window] += cells.reduce(np.add, counts)

    def maps(self) -> OverviewMaps:
        """Return the reduced layers.

        Returns
        -------
        maps : OverviewMaps
            What was never added is outside the AOI.
        """
        observed = (2 * self._seen >= self._inside) & (self._seen > 0)
        status = np.where(observed, Status.NO_CHANGE, Status.NOT_OBSERVED).astype(np.uint8)
        status = np.where(self._status > 0, self._status, status)
        status[self._inside == 0] = Status.OUTSIDE
        kinds = np.array(_KINDS, np.uint8)[self._counts.argmax(axis=0)]
        kind = np.where(self._status > 0, kinds, ChangeKind.NONE).astype(np.uint8)
        kind[self._inside == 0] = ChangeKind.OUTSIDE
        mean = np.ceil(self._observations / np.maximum(self._seen, 1))
        counts = np.minimum(mean, np.iinfo(np.uint16).max).astype(np.uint16)
        return OverviewMaps(status, kind, self._probability.copy(), counts, self.factor)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Which cells of the overview a block falls into.

    Parameters
    ----------
    window : tuple of slice
        Rows and columns of the overview.
    rows, columns : ndarray of integer
        Where each cell begins inside the block.
    """

    window: tuple[slice, slice]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    @classmethod
    def of(cls, row: int, column: int, shape_yx: tuple[int, ...], factor: int) -> Cells:
        """Lay cells of `factor` pixels, anchored on the full map, over a block.

        Parameters
        ----------
        row, column : int
            Upper left pixel of the block in the full map.
        shape_yx : tuple of int
            Of the block.
        factor : int
            Pixels per cell, along either axis.

        Returns
        -------
        cells : Cells
            Those that the block touches.
        """
        starts, window = [], []
        for first, size in ((row, shape_yx[0]), (column, shape_yx[1])):
            low, high = first // factor, (first + size - 1) // factor + 1
            starts.append(np.maximum(np.arange(low, high) * factor - first, 0))
            window.append(slice(low, high))
        return cls((window[0], window[1]), starts[0], starts[1])

    def reduce(self, function: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """Fold the pixels of each cell.

        Parameters
        ----------
        function : numpy.ufunc
            Of two arguments, for instance `numpy.add`.
        values : ndarray, shape (y, x)
            The block.

        Returns
        -------
        folded : ndarray, shape (rows, columns)
            One value per touched cell.
        """
        by_row = function.reduceat(values, self.rows, axis=0)
        folded: NDArray[Any] = function.reduceat(by_row, self.columns, axis=1)
        return folded
