"""Reading any rectangle of a zone's arrays, beyond their edges too.

Shards are decoded here rather than by zarr, for the reason they are encoded
here: no event loop per chunk. Absent shards and chunks cost nothing but their
fill value, and a request fetches neighbouring chunks together.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import zarr
from icechunk import IcechunkError
from numpy.typing import NDArray
from zarr.abc.store import RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from terrascope.errors import StoreError
from terrascope.store.shards import ABSENT, ShardFormat
from terrascope.store.storage import complaint
from terrascope.store.template import find_array

__all__ = ["read_window"]

_SHARDS_AT_ONCE = 4
"""Hides the latency of an object store; encoded shards held in memory at a time."""

_GAP = 1 << 18
"""Bytes read for nothing rather than sending another request."""


_Encoded: TypeAlias = tuple[tuple[int, int, int], memoryview]
"""(Position of the band, y, x) of a chunk, and its bytes."""


class _Part(NamedTuple):
    """What one shard contributes to a window."""

    key: str
    step: int
    """Position on the window's time axis."""
    rows: slice
    columns: slice
    """In pixels of the shard."""
    top: int
    left: int
    """Where they go in the window."""


def read_window(
    root: zarr.Group,
    path: str,
    rows: slice,
    columns: slice,
    *,
    times: Sequence[int] | None = None,
    bands: Sequence[int] | None = None,
) -> NDArray[Any]:
    """Read stored numbers of a rectangle that may cross tiles and leave the arrays.

    Parameters
    ----------
    root : zarr.Group
        Of the repository, from `Store.root`.
    path : str
        Of the array: group and name.
    rows, columns : slice
        In pixels of the zone's arrays; may begin below 0 and end beyond the array.
    times : sequence of int or None
        Time indices, in the order wanted; None for arrays without a time axis.
    bands : sequence of int or None
        Positions on the band axis, in the order wanted; None for all, and for
        arrays without bands.

    Returns
    -------
    pixels : ndarray, shape ([time,] [band,] y, x)
        Stored type; the fill value where nothing was written and outside.

    Raises
    ------
    StoreError
        If there is no such array, a shard is damaged, or the storage does not answer.
    ValueError
        If a time index lies outside the time axis.
    """
    array = find_array(root, path)
    fmt = ShardFormat.of(array)
    timed = times is not None
    steps: Sequence[int | None] = (None,) if times is None else times
    if times is not None and not set(times) <= set(range(array.shape[0])):
        raise ValueError(f"time indices {list(times)}: expected 0 to {array.shape[0] - 1}")
    banded = array.ndim == 3 + timed
    places = list(bands) if bands is not None else list(range(fmt.shape[-3] if banded else 1))
    size = rows.stop - rows.start, columns.stop - columns.start
    pixels = np.full((len(steps), len(places), *size), fmt.fill, dtype=fmt.dtype)
    parts = _parts(array, fmt, rows, columns, steps, banded=banded)
    while some := tuple(itertools.islice(parts, _SHARDS_AT_ONCE)):
        try:
            fetched = sync(_fetch_all(root.store, fmt, some, places))
        except (IcechunkError, OSError) as error:
            raise StoreError(
                f"{path}: cannot be read ({complaint(error)})", transient=True
            ) from error
        for part, chunks in zip(some, fetched, strict=True):
            for (position, y, x), encoded in chunks:
                _paste(pixels[part.step, position], part, y, x, _decode(fmt, part, encoded))
    lead = (slice(None) if timed else 0, slice(None) if banded else 0)
    return pixels[lead]


def _parts(
    array: zarr.Array[Any],
    fmt: ShardFormat,
    rows: slice,
    columns: slice,
    steps: Sequence[int | None],
    *,
    banded: bool,
) -> Iterator[_Part]:
    """List the shards that touch the window, one period after the other."""
    height, width = fmt.shape[-2:]
    band = ("0",) if banded else ()
    for step, time in enumerate(steps):
        lead = () if time is None else (str(time),)
        for down, own_rows in _touched(rows, height, array.shape[-2]):
            for right, own_columns in _touched(columns, width, array.shape[-1]):
                key = "/".join((array.path, "c", *lead, *band, str(down), str(right)))
                top = down * height + own_rows.start - rows.start
                left = right * width + own_columns.start - columns.start
                yield _Part(key, step, own_rows, own_columns, top, left)


def _touched(asked: slice, side: int, length: int) -> Iterator[tuple[int, slice]]:
    """Cut a range at the borders of shards: index of the shard, range within."""
    start, stop = max(asked.start, 0), min(asked.stop, length)
    for index in range(start // side, -(-stop // side)):
        origin = index * side
        yield index, slice(max(start - origin, 0), min(stop - origin, side))


async def _fetch_all(
    store: Store, fmt: ShardFormat, parts: Sequence[_Part], bands: Sequence[int]
) -> list[list[_Encoded]]:
    """Fetch the encoded chunks of some shards at the same time."""
    return list(await asyncio.gather(*(_fetch(store, fmt, part, bands) for part in parts)))


async def _fetch(
    store: Store, fmt: ShardFormat, part: _Part, bands: Sequence[int]
) -> list[_Encoded]:
    """Fetch the encoded chunks of one shard."""
    prototype = default_buffer_prototype()
    tail = await store.get(part.key, prototype, SuffixByteRequest(fmt.index_bytes))
    if tail is None:
        return []
    try:
        index = fmt.read_index(tail.to_bytes())
    except StoreError as error:
        raise StoreError(f"{part.key}: {error}") from error
    index = index.reshape(-1, *fmt.grid[-2:], 2)
    side_y, side_x = fmt.chunks[-2:]
    wanted = [
        (int(index[band, y, x, 0]), int(index[band, y, x, 1]), (position, y, x))
        for position, band in enumerate(bands)
        for y in range(part.rows.start // side_y, -(-part.rows.stop // side_y))
        for x in range(part.columns.start // side_x, -(-part.columns.stop // side_x))
        if index[band, y, x, 0] != ABSENT
    ]
    runs = _join(sorted(wanted))
    requests = (
        store.get(part.key, prototype, RangeByteRequest(run[0][0], run[-1][0] + run[-1][1]))
        for run in runs
    )
    found: list[_Encoded] = []
    for run, buffer in zip(runs, await asyncio.gather(*requests), strict=True):
        if buffer is None:
            raise StoreError(f"{part.key}: vanished while it was read", transient=True)
        raw, origin = memoryview(buffer.to_bytes()), run[0][0]
        found += [(place, raw[at - origin : at - origin + size]) for at, size, place in run]
    return found


def _join(
    wanted: Sequence[tuple[int, int, tuple[int, int, int]]],
) -> list[list[tuple[int, int, tuple[int, int, int]]]]:
    """Group chunks, sorted by offset, that lie close enough for one request."""
    runs: list[list[tuple[int, int, tuple[int, int, int]]]] = []
    for chunk in wanted:
        if runs and chunk[0] - sum(runs[-1][-1][:2]) <= _GAP:
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return runs


def _decode(fmt: ShardFormat, part: _Part, encoded: memoryview) -> NDArray[Any]:
    """Decode one chunk, and say which shard it was where that fails."""
    try:
        return fmt.decode(encoded)
    except (RuntimeError, ValueError) as error:
        raise StoreError(f"{part.key}: a chunk is damaged ({error})") from error


def _paste(plane: NDArray[Any], part: _Part, y: int, x: int, chunk: NDArray[Any]) -> None:
    """Copy the part of a chunk that lies in the window."""
    height, width = chunk.shape
    top, bottom = max(part.rows.start, y * height), min(part.rows.stop, (y + 1) * height)
    left, right = max(part.columns.start, x * width), min(part.columns.stop, (x + 1) * width)
    down, across = part.top - part.rows.start, part.left - part.columns.start
    plane[down + top : down + bottom, across + left : across + right] = chunk[
        top - y * height : bottom - y * height, left - x * width : right - x * width
    ]
