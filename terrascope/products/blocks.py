"""Blocks of a raster on disk: encoded as a TIFF holds them, sparse, and shrunk by two."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.products.layers import LayerSpec

__all__ = ["BLOCK", "BlockStore", "predictor", "shrink"]

BLOCK = 256
"""Side of a block in pixels: small, for maps whose results lie in small patches."""

_LEVEL = 3
"""Of deflate: more takes much longer on probabilities, for little (`benchmarks/encoders.py`)."""


def predictor(dtype: str) -> int:
    """Return the TIFF predictor that suits a type.

    Parameters
    ----------
    dtype : str
        Numpy name.

    Returns
    -------
    predictor : int
        1 none (codes), 2 horizontal differences, 3 floating point.
    """
    return {"uint8": 1, "float32": 3}.get(dtype, 2)


class BlockStore:
    """The blocks of a raster and its overviews, compressed in one scratch file.

    Blocks without a value are not kept. A block that is written again leaves its
    former bytes in the scratch file, so write in large pieces.

    Parameters
    ----------
    path : Path
        Scratch file; an old one is replaced.
    spec : LayerSpec
        Type and nodata.
    """

    def __init__(self, path: Path, spec: LayerSpec) -> None:
        self.path = path
        self._spec = spec
        self._index: dict[int, dict[tuple[int, int], tuple[int, int]]] = {}
        self._file = path.open("w+b")

    def close(self) -> None:
        """Remove the scratch file."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def keys(self, level: int) -> list[tuple[int, int]]:
        """Return the blocks that have values.

        Parameters
        ----------
        level : int
            0 for full resolution, 1 for half...

        Returns
        -------
        keys : list of tuple of int
            Block row and column, sorted.
        """
        return sorted(self._index.get(level, {}))

    def get(self, level: int, row: int, column: int) -> NDArray[Any] | None:
        """Return a block.

        Parameters
        ----------
        level, row, column : int
            Which one.

        Returns
        -------
        values : ndarray, shape (256, 256), or None
            None where the block has no value.
        """
        place = self._index.get(level, {}).get((row, column))
        return None if place is None else _decode(self._read(*place), self._spec.dtype)

    def put(self, level: int, row: int, column: int, values: NDArray[Any]) -> None:
        """Keep a block, unless it is all nodata.

        Parameters
        ----------
        level, row, column : int
            Which one.
        values : ndarray, shape (256, 256)
            In the layer's dtype.
        """
        if self._spec.is_nodata(values).all():
            self._index.get(level, {}).pop((row, column), None)
            return
        data = _encode(values)
        self._index.setdefault(level, {})[row, column] = (self._file.seek(0, 2), len(data))
        self._file.write(data)

    def encoded(self, level: int) -> Iterator[tuple[tuple[int, int], bytes]]:
        """Walk over the blocks as a TIFF stores them.

        Parameters
        ----------
        level : int
            Which level.

        Yields
        ------
        key : tuple of int
            Block row and column, in order.
        data : bytes
            Predicted and deflated.
        """
        for key in self.keys(level):
            yield key, self._read(*self._index[level][key])

    def length(self, level: int, key: tuple[int, int]) -> int:
        """Return the size of an encoded block.

        Parameters
        ----------
        level : int
            Which level.
        key : tuple of int
            One of `keys`.

        Returns
        -------
        length : int
            Bytes.
        """
        return self._index[level][key][1]

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)


def shrink(values: NDArray[Any], spec: LayerSpec) -> NDArray[Any]:
    """Halve a raster.

    Parameters
    ----------
    values : ndarray, shape (2 y, 2 x)
        In the layer's dtype.
    spec : LayerSpec
        Says how, and what is missing.

    Returns
    -------
    halved : ndarray, shape (y, x)
        Of each 2 x 2 pixels, those without a value left aside: the most frequent
        code (the higher of equals), the mean, or the first.
    """
    four: NDArray[Any] = np.stack([values[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    halved: NDArray[Any] = four[0].copy()
    uneven = ~(spec.is_nodata(four).all(axis=0) | (four == four[0]).all(axis=0))
    halved[uneven] = _chosen(four[:, uneven], spec)
    return halved


def _chosen(four: NDArray[Any], spec: LayerSpec) -> NDArray[Any]:
    """Pick one value of each four that differ, shape (4, n); at least one of each is valid."""
    valid = ~spec.is_nodata(four)
    if spec.overview == "average":
        total = np.where(valid, four, 0).sum(axis=0)
        mean: NDArray[Any] = (total / valid.sum(axis=0)).astype(four.dtype)
        return mean
    rank = np.where(valid, 4 - np.arange(4)[:, None], -1)
    if spec.overview == "mode":
        votes = (four[:, None] == four[None]).sum(axis=1)
        rank = np.where(valid, votes * 65536 + four, -1)
    chosen: NDArray[Any] = np.take_along_axis(four, rank.argmax(axis=0)[None], axis=0)[0]
    return chosen


def _encode(values: NDArray[Any]) -> bytes:
    kind = predictor(values.dtype.name)
    if kind == 2:
        difference = values.copy()
        difference[:, 1:] -= values[:, :-1]
        values = difference
    elif kind == 3:
        # bytes of one row by significance, then differences (Adobe TIFF Technical Note 3)
        planes = values.astype(">f4").view(np.uint8).reshape(*values.shape, 4)
        row = planes.transpose(0, 2, 1).reshape(len(values), -1)
        values = row.copy()
        values[:, 1:] -= row[:, :-1]
    return zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), _LEVEL)


def _decode(data: bytes, dtype: str) -> NDArray[Any]:
    kind = predictor(dtype)
    raw = zlib.decompress(data)
    if kind == 3:
        row = np.frombuffer(raw, np.uint8).reshape(BLOCK, 4 * BLOCK)
        planes = np.cumsum(row, axis=1, dtype=np.uint8).reshape(BLOCK, 4, BLOCK)
        stored = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(">f4")
        return stored.reshape(BLOCK, BLOCK).astype(dtype)
    values = np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(BLOCK, BLOCK)
    return np.cumsum(values, axis=1, dtype=dtype) if kind == 2 else values.astype(dtype)
