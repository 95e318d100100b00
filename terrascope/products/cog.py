"""Cloud optimized GeoTIFFs, sparse and the same to the byte for the same pixels.

GDAL writes the georeference and the metadata (into a tiny template), this module
lays out the blocks: GDAL walks over all pixels of a raster to make its overviews and
its COG, where a sparse map has data in few of them (`benchmarks/encoders.py` has both).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from terrascope.products.blocks import BLOCK, BlockStore, predictor, shrink
from terrascope.products.layers import LayerSpec

__all__ = ["CogWriter", "write_cog"]

_SHORT, _LONG, _LONG8 = 3, 4, 16
_SIZE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8, 16: 8}
_SHARED_TAGS = (258, 262, 277, 284, 320, 339, 42113)
"""Bits, photometric, samples, planes, colour map, sample format, nodata: in each directory."""
_GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42112)
"""Georeference and GDAL's metadata: in the first directory."""
_CLASSIC_LIMIT = 2**32 - 2**20

_Tags = dict[int, tuple[int, int, bytes]]


class CogWriter:
    """Writes one layer as a COG, window by window; the file appears when all is written.

    Use it as a context manager. After an exception nothing is left behind.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    spec : LayerSpec
        Type, nodata, unit, description, colours, overviews.
    crs : str
        Anything that rasterio takes: ``"EPSG:32633"`` or WKT.
    transform : Affine
        North up.
    shape_yx : tuple of int
        Rows and columns.
    tags : mapping of str to str or None
        More metadata. No clocks and no secrets: the bytes are to be reproducible.
    """

    def __init__(
        self,
        path: Path,
        spec: LayerSpec,
        *,
        crs: str,
        transform: Affine,
        shape_yx: tuple[int, int],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        if min(shape_yx) < 1:
            raise ValueError(f"shape {shape_yx}: expected at least one pixel")
        self.path = path
        self._spec = spec
        self._shape = shape_yx
        self._template = _template(spec, crs, transform, dict(tags or {}))
        path.parent.mkdir(parents=True, exist_ok=True)
        # fixed names: what a killed run leaves behind is replaced by the next one
        self._blocks = BlockStore(path.with_name(f".{path.name}.blocks"), spec)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._blocks.close()

    def write(
        self, row: int, column: int, values: NDArray[Any], where: NDArray[np.bool_] | None = None
    ) -> None:
        """Write a window.

        Parameters
        ----------
        row, column : int
            Upper left pixel; parts beyond the raster are dropped.
        values : ndarray, shape (y, x)
            In the layer's dtype.
        where : ndarray of bool, shape (y, x), or None
            Which pixels to write; None means all.
        """
        rows, columns = values.shape
        top, left = max(row, 0), max(column, 0)
        bottom, right = min(row + rows, self._shape[0]), min(column + columns, self._shape[1])
        if where is None:
            where = np.ones(values.shape, np.bool_)
        for block_row in range(top // BLOCK, -(-bottom // BLOCK)):
            for block_column in range(left // BLOCK, -(-right // BLOCK)):
                y0, x0 = block_row * BLOCK, block_column * BLOCK
                ys = slice(max(top, y0), min(bottom, y0 + BLOCK))
                xs = slice(max(left, x0), min(right, x0 + BLOCK))
                source = np.s_[ys.start - row : ys.stop - row, xs.start - column : xs.stop - column]
                target = np.s_[ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0]
                if not where[source].any():
                    continue
                self._merge(block_row, block_column, target, values[source], where[source])

    def _merge(
        self,
        row: int,
        column: int,
        target: tuple[slice, slice],
        values: NDArray[Any],
        where: NDArray[np.bool_],
    ) -> None:
        block = self._blocks.get(0, row, column)
        if block is None:
            if self._spec.is_nodata(values[where]).all():
                return
            block = self._empty()
        block[target][where] = values[where]
        self._blocks.put(0, row, column, block)

    def _finish(self) -> None:
        shapes = [self._shape]
        while max(shapes[-1]) > BLOCK:
            shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
        occupied = [frozenset(self._blocks.keys(0))]
        for _ in shapes[1:]:
            occupied.append(frozenset((row // 2, column // 2) for row, column in occupied[-1]))
        for row, column in sorted(occupied[-1]):
            self._build(len(shapes) - 1, row, column, occupied)
        scratch = self.path.with_name(f".{self.path.name}.tmp")
        with scratch.open("wb") as file:
            _assemble(file, self._blocks, self._template, self._spec, shapes)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path)

    def _build(
        self, level: int, row: int, column: int, occupied: Sequence[frozenset[tuple[int, int]]]
    ) -> NDArray[Any]:
        """Return a block, after it and all below it have been made and kept."""
        if level == 0:
            block = self._blocks.get(0, row, column)
            return self._empty() if block is None else block
        block, half = self._empty(), BLOCK // 2
        for i in (0, 1):
            for j in (0, 1):
                below = (2 * row + i, 2 * column + j)
                if below in occupied[level - 1]:
                    place = np.s_[i * half : (i + 1) * half, j * half : (j + 1) * half]
                    block[place] = shrink(self._build(level - 1, *below, occupied), self._spec)
        self._blocks.put(level, row, column, block)
        return block

    def _empty(self) -> NDArray[Any]:
        return np.full((BLOCK, BLOCK), self._spec.nodata, self._spec.dtype)


def write_cog(
    path: Path,
    values: NDArray[Any],
    spec: LayerSpec,
    *,
    crs: str,
    transform: Affine,
    tags: Mapping[str, str] | None = None,
) -> Path:
    """Write an array as a COG.

    Parameters
    ----------
    path : Path
        The file; replaced in one step.
    values : ndarray, shape (y, x)
        In the layer's dtype.
    spec : LayerSpec
        Type, nodata, unit, description, colours, overviews.
    crs : str
        Anything that rasterio takes.
    transform : Affine
        North up.
    tags : mapping of str to str or None
        More metadata.

    Returns
    -------
    path : Path
        The same.
    """
    shape = (values.shape[0], values.shape[1])
    writer = CogWriter(path, spec, crs=crs, transform=transform, shape_yx=shape, tags=tags)
    with writer:
        writer.write(0, 0, values)
    return path


def _template(spec: LayerSpec, crs: str, transform: Affine, tags: dict[str, str]) -> _Tags:
    """Let GDAL write the metadata to a tiny file, and take its tags."""
    if spec.classes:
        tags["classes"] = "; ".join(f"{entry.code}={entry.name}" for entry in spec.classes)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": 1,
        "height": 1,
        "count": 1,
        "dtype": spec.dtype,
        "nodata": spec.nodata,
        "crs": crs,
        "transform": transform,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.update_tags(**tags)
            dataset.set_band_description(1, spec.description)
            if spec.unit:
                dataset.units = [spec.unit]
            if spec.classes:
                dataset.write_colormap(1, spec.colours)
        return _read_tags(memory.read())


def _read_tags(data: bytes) -> _Tags:
    """Parse the only directory of a little-endian classic TIFF."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    tags: _Tags = {}
    for i in range(count):
        at = start + 2 + 12 * i
        tag, kind, length = struct.unpack_from("<HHI", data, at)
        size = _SIZE[kind] * length
        offset = at + 8 if size <= 4 else struct.unpack_from("<I", data, at + 8)[0]
        tags[tag] = (kind, length, data[offset : offset + size])
    return tags


def _assemble(
    file: IO[bytes],
    blocks: BlockStore,
    template: _Tags,
    spec: LayerSpec,
    shapes: list[tuple[int, int]],
) -> None:
    """Write header, directories (full resolution first), then blocks (smallest level first)."""
    sizes = [sum(blocks.length(n, key) for key in blocks.keys(n)) for n in range(len(shapes))]
    cells = sum(_grid(shape)[0] * _grid(shape)[1] for shape in shapes)
    big = sum(sizes) + 16 * cells > _CLASSIC_LIMIT
    directories = [_directory(template, spec, shape, n, big=big) for n, shape in enumerate(shapes)]
    head = 16 if big else 8
    starts = [head]
    for tags in directories:
        starts.append(starts[-1] + _directory_size(tags, big=big))
    position = starts[-1]
    for level in reversed(range(len(shapes))):
        position = _place(directories[level], blocks, level, shapes[level], position, big=big)
    file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, head) if big else b"II*\0\x08\0\0\0")
    for n, tags in enumerate(directories):
        following = starts[n + 1] if n + 1 < len(directories) else 0
        file.write(_directory_bytes(tags, starts[n], following, big=big))
    for level in reversed(range(len(shapes))):
        for _, data in blocks.encoded(level):
            file.write(data)


def _grid(shape_yx: tuple[int, int]) -> tuple[int, int]:
    return -(-shape_yx[0] // BLOCK), -(-shape_yx[1] // BLOCK)


def _directory(
    template: _Tags, spec: LayerSpec, shape_yx: tuple[int, int], level: int, *, big: bool
) -> _Tags:
    kept = _SHARED_TAGS if level else _SHARED_TAGS + _GEO_TAGS
    tags = {tag: template[tag] for tag in kept if tag in template}
    numbers = {256: shape_yx[1], 257: shape_yx[0], 322: BLOCK, 323: BLOCK}
    if level:
        numbers[254] = 1  # a smaller version of the first image
    for tag, number in numbers.items():
        tags[tag] = (_LONG, 1, struct.pack("<I", number))
    tags[259] = (_SHORT, 1, struct.pack("<H", 8))  # deflate
    tags[317] = (_SHORT, 1, struct.pack("<H", predictor(spec.dtype)))
    rows, columns = _grid(shape_yx)
    width = 8 if big else 4
    tags[324] = (_LONG8 if big else _LONG, rows * columns, bytes(width * rows * columns))
    tags[325] = (_LONG, rows * columns, bytes(4 * rows * columns))
    return dict(sorted(tags.items()))


def _place(
    tags: _Tags,
    blocks: BlockStore,
    level: int,
    shape_yx: tuple[int, int],
    position: int,
    *,
    big: bool,
) -> int:
    """Fill in where a level's blocks lie from `position` on; absent ones keep 0 and 0."""
    columns = _grid(shape_yx)[1]
    offsets = np.frombuffer(tags[324][2], "<u8" if big else "<u4").copy()
    counts = np.frombuffer(tags[325][2], "<u4").copy()
    for row, column in blocks.keys(level):
        length = blocks.length(level, (row, column))
        offsets[row * columns + column] = position
        counts[row * columns + column] = length
        position += length
    tags[324] = (*tags[324][:2], offsets.tobytes())
    tags[325] = (*tags[325][:2], counts.tobytes())
    return position


def _directory_size(tags: _Tags, *, big: bool) -> int:
    entry, inline, ends = (20, 8, 16) if big else (12, 4, 6)
    outside = sum(-(-len(data) // 8) * 8 for _, _, data in tags.values() if len(data) > inline)
    return -(-(ends + entry * len(tags)) // 8) * 8 + outside


def _directory_bytes(tags: _Tags, start: int, following: int, *, big: bool) -> bytes:
    entry, inline, ends = (20, 8, 16) if big else (12, 4, 6)
    table = struct.pack("<Q" if big else "<H", len(tags))
    values = b""
    values_at = start + -(-(ends + entry * len(tags)) // 8) * 8
    for tag, (kind, count, data) in tags.items():
        table += struct.pack("<HHQ" if big else "<HHI", tag, kind, count)
        if len(data) <= inline:
            table += data.ljust(inline, b"\0")
        else:
            table += struct.pack("<Q" if big else "<I", values_at + len(values))
            values += data.ljust(-(-len(data) // 8) * 8, b"\0")
    table += struct.pack("<Q" if big else "<I", following)
    return table.ljust(values_at - start, b"\0") + values
