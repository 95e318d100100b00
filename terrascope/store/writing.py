"""Writing tiles: the handle that travels to a worker, and the writer of one tile and period."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import zarr
from icechunk import ForkSession, IcechunkError
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from terrascope.errors import StoreError
from terrascope.geo.tiles import Tile
from terrascope.store.layout import parse_group, shard_index
from terrascope.store.shards import ShardEncoder, ShardFormat
from terrascope.store.storage import complaint

__all__ = ["Fork", "SparseTile", "TileWriter", "write_tile"]

SparseTile: TypeAlias = Sequence[tuple[int, int, NDArray[Any]]]
"""Blocks of a tile, ``(y, x, pixels)`` on chunk borders; the rest of the tile is missing."""


class Fork:
    """A worker's handle on an uncommitted batch.

    It is pickled to the worker, written to, and sent back to be merged and
    committed. Threads of one process may share it. Nothing it wrote is visible
    before the commit.

    Parameters
    ----------
    session : icechunk.ForkSession
        The worker's copy of the batch's session.
    """

    def __init__(self, session: ForkSession) -> None:
        self.session = session
        self.written: dict[tuple[str, str, int], str] = {}
        self._formats: dict[str, ShardFormat] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"session": self.session, "written": self.written.copy(), "_formats": {}}

    def format(self, path: str) -> ShardFormat:
        """Return the format of an array's shards.

        Parameters
        ----------
        path : str
            Of the array.

        Returns
        -------
        format : ShardFormat
            Read once per handle.

        Raises
        ------
        StoreError
            If there is no such array.
        """
        if path not in self._formats:
            try:
                array = zarr.open_array(self.session.store, path=path, mode="r")
            except (FileNotFoundError, IcechunkError) as error:
                raise StoreError(f"array {path}: cannot be opened ({complaint(error)})") from error
            self._formats[path] = ShardFormat.of(array)
        return self._formats[path]

    def claim(self, group: str, tile: Tile, time_index: int) -> None:
        """Take a tile and period; each is written once per batch.

        Parameters
        ----------
        group : str
            Path of the group.
        tile : Tile
            The tile.
        time_index : int
            The period, 0 for results.

        Raises
        ------
        StoreError
            If this handle wrote it before.
        """
        place = (group, tile.id, time_index)
        if place in self.written:
            raise StoreError(
                f"{group}, tile {tile}, period {time_index}: written twice in one batch; "
                "a shard has one writer, who writes it whole"
            )
        # told apart from a second write: copies of one handle may come back with the same one
        self.written[place] = uuid.uuid4().hex

    def forget(self, group: str, tile: Tile, time_index: int) -> None:
        """Let a tile and period be written again, after an attempt that failed on the way.

        Parameters
        ----------
        group : str
            Path of the group.
        tile : Tile
            The tile.
        time_index : int
            The period, 0 for results.
        """
        self.written.pop((group, tile.id, time_index), None)

    def store_shard(self, key: str, shard: bytes | None) -> None:
        """Store one shard, or remove it where it is empty.

        Parameters
        ----------
        key : str
            Of the shard.
        shard : bytes or None
            Encoded.

        Raises
        ------
        StoreError
            If the storage refuses.
        """
        store = self.session.store
        try:
            if shard is None:
                sync(store.delete(key))
            else:
                sync(store.set(key, default_buffer_prototype().buffer.from_bytes(shard)))
        except (IcechunkError, OSError) as error:
            raise StoreError(
                f"{key}: cannot be written ({complaint(error)})", transient=True
            ) from error


class TileWriter:
    """Writes the arrays of one tile and period, block by block.

    Only compressed chunks are held. `close` stores the shards; without it
    nothing is written.

    Parameters
    ----------
    fork : Fork
        The worker's handle.
    group : str
        Path of the group.
    tile : Tile
        The tile.
    time_index : int
        The period; 0 for groups without a time axis.
    """

    def __init__(self, fork: Fork, group: str, tile: Tile, time_index: int) -> None:
        parts = parse_group(group)
        if parts.zone != tile.zone:
            raise ValueError(f"tile {tile}: lies in another zone than {group}")
        steps = parts.cadence.length if parts.cadence else 1
        if not 0 <= time_index < steps:
            raise ValueError(f"time index {time_index}: expected 0 to {steps - 1}")
        self._fork, self._group, self._tile, self._time = fork, group, tile, time_index
        self._timed = parts.cadence is not None
        self._encoders: dict[str, ShardEncoder] = {}

    def put(self, name: str, y: int, x: int, block: NDArray[Any]) -> None:
        """Encode one block of one array.

        Parameters
        ----------
        name : str
            Of the array.
        y, x : int
            Offset of the block in the tile, in pixels, on chunk borders.
        block : ndarray, shape ([band,] rows, columns)
            All bands; sides are whole chunks.

        Raises
        ------
        StoreError
            If the group has no such array.
        ValueError
            If the block does not fit, or a part of it was put before.
        """
        self.declare(name)
        self._encoders[name].put(y, x, block)

    def declare(self, name: str) -> None:
        """Write an array even if no block of it is put: all of it is missing.

        Parameters
        ----------
        name : str
            Of the array.
        """
        if name not in self._encoders:
            self._encoders[name] = ShardEncoder(self._fork.format(f"{self._group}/{name}"))

    def close(self) -> None:
        """Store the shards.

        Raises
        ------
        StoreError
            If the tile and period were written before, or the storage refuses.
        """
        self._fork.claim(self._group, self._tile, self._time)
        try:
            self._store_all()
        except BaseException:
            self._fork.written.pop((self._group, self._tile.id, self._time), None)
            raise

    def _store_all(self) -> None:
        """Store every array's shard; a repetition after a failure writes them again."""
        row, column = shard_index(self._tile)
        for name in sorted(self._encoders):
            rank = len(self._fork.format(f"{self._group}/{name}").shape)
            time = (self._time,) if self._timed else ()
            band = (0,) * (rank - 2 - len(time))
            key = "/".join((self._group, name, "c", *map(str, (*time, *band, row, column))))
            self._fork.store_shard(key, self._encoders.pop(name).finish())


def write_tile(
    fork: Fork,
    group: str,
    tile: Tile,
    time_index: int,
    arrays: Mapping[str, NDArray[Any] | SparseTile],
) -> Fork:
    """Write whole shards of one tile and period.

    Parameters
    ----------
    fork : Fork
        The worker's handle.
    group : str
        Path of the group.
    tile : Tile
        The tile.
    time_index : int
        The period; 0 for groups without a time axis.
    arrays : mapping of str to ndarray or SparseTile
        By array name: the whole tile, shape ([band,] y, x), or blocks of it.
        Types must be those of the cube: nothing is converted.

    Returns
    -------
    fork : Fork
        The same handle.

    Raises
    ------
    StoreError
        If the tile and period were written before in this batch, an array is
        unknown, or the storage refuses.
    ValueError
        If shapes, types or places do not fit.
    """
    writer = TileWriter(fork, group, tile, time_index)
    for name, pixels in arrays.items():
        writer.declare(name)
        if not isinstance(pixels, np.ndarray):
            for y, x, block in pixels:
                writer.put(name, y, x, block)
            continue
        expected = fork.format(f"{group}/{name}").shape[-2:]
        if pixels.shape[-2:] != expected:
            raise ValueError(f"{name} of {pixels.shape}: expected a whole tile of {expected}")
        writer.put(name, 0, 0, pixels)
    writer.close()
    return fork
