"""One shard: the chunks of one tile and period as a single object.

The bytes are those of Zarr's `sharding_indexed` codec and are read by any Zarr
v3 reader. They are assembled here because a tile can then be encoded chunk by
chunk as it is computed: only compressed chunks are held, empty chunks cost
nothing, and coding runs in the caller's thread without an event loop.

References
----------
Zarr v3 specification, `sharding-indexed` codec, version 1.0.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.blosc import Blosc  # type: ignore[import-untyped]
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec
from zarr.codecs.sharding import ShardingCodecIndexLocation

from terrascope.errors import StoreError

__all__ = ["ABSENT", "ShardEncoder", "ShardFormat"]

ABSENT = np.uint64(2**64 - 1)
"""Offset of a chunk that is not in its shard."""

_SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


@dataclasses.dataclass(frozen=True)
class ShardFormat:
    """How the shards of one array are encoded; small and picklable.

    Parameters
    ----------
    shape : tuple of int
        Of a shard, in pixels: ``(time, [band,] y, x)`` or ``(y, x)``.
    chunks : tuple of int
        Of the chunks inside.
    dtype : numpy.dtype
        Stored type, little endian.
    fill : int or float
        Of missing chunks.
    codec : numcodecs.blosc.Blosc
        The compressor.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: int | float
    codec: Blosc

    @classmethod
    def of(cls, array: zarr.Array[Any]) -> ShardFormat:
        """Read the format from an array's metadata.

        Parameters
        ----------
        array : zarr.Array
            A sharded array.

        Returns
        -------
        format : ShardFormat
            Its format.

        Raises
        ------
        StoreError
            If the array was not made by this room (other codecs).
        """
        codecs: tuple[Any, ...] = getattr(array.metadata, "codecs", ())
        sharding = codecs[0] if len(codecs) == 1 else None
        if (
            not isinstance(sharding, ShardingCodec)
            or not isinstance(blosc := sharding.codecs[-1], BloscCodec)
            or [type(codec) for codec in sharding.codecs[:-1]] != [BytesCodec]
            or [type(codec) for codec in sharding.index_codecs] != [BytesCodec, Crc32cCodec]
            or sharding.index_location is not ShardingCodecIndexLocation.end
        ):
            raise StoreError(
                f"array {array.path}: found codecs {codecs}, expected shards of blosc chunks; "
                "the cube was written by another program, use another output"
            )
        return cls(
            shape=tuple(array.shards or ()),
            chunks=tuple(array.chunks),
            dtype=np.dtype(array.dtype).newbyteorder("<"),
            fill=np.asarray(array.fill_value).item(),
            codec=Blosc(blosc.cname.value, blosc.clevel, _SHUFFLES[blosc.shuffle.value]),
        )

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis of a shard."""
        return tuple(size // chunk for size, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def index_bytes(self) -> int:
        """Size of the index and its checksum at the end of a shard."""
        return 16 * math.prod(self.grid) + 4

    def read_index(self, tail: bytes) -> NDArray[np.uint64]:
        """Read the index of a shard.

        Parameters
        ----------
        tail : bytes
            The last `index_bytes` of the shard.

        Returns
        -------
        index : ndarray of uint64, shape (*grid, 2)
            Offset and size of every chunk; `ABSENT` where it is missing.

        Raises
        ------
        StoreError
            If the checksum is wrong: the object is damaged.
        """
        body, checksum = tail[:-4], tail[-4:]
        if len(tail) != self.index_bytes or _checksum(body) != checksum:
            raise StoreError("a shard is damaged: its index does not match its checksum")
        return np.frombuffer(body, dtype="<u8").reshape(*self.grid, 2)

    def decode(self, encoded: bytes | memoryview) -> NDArray[Any]:
        """Decode one chunk.

        Parameters
        ----------
        encoded : bytes or memoryview
            As in the shard.

        Returns
        -------
        plane : ndarray, shape (y, x)
            Read only.
        """
        plane: NDArray[Any] = np.frombuffer(self.codec.decode(encoded), dtype=self.dtype)
        return plane.reshape(self.chunks[-2:])


class ShardEncoder:
    """Collects the encoded chunks of one shard.

    Parameters
    ----------
    format : ShardFormat
        Of the array.
    """

    def __init__(self, format: ShardFormat) -> None:  # noqa: A002
        self._format = format
        self._parts: list[bytes] = []
        self._size = 0
        self._index = np.full((*format.grid, 2), ABSENT, dtype="<u8")

    def put(self, y: int, x: int, block: NDArray[Any]) -> None:
        """Encode one block of pixels.

        Parameters
        ----------
        y, x : int
            Pixel offset of the block's first row and column in the tile, on chunk borders.
        block : ndarray, shape (..., rows, columns)
            All bands of the block; its sides are whole chunks. Not kept. Chunks
            that hold the fill value only are left out.

        Raises
        ------
        ValueError
            If type, shape or place do not fit, or the place was filled before.
        """
        fmt = self._format
        rows, columns = block.shape[-2:]
        side_y, side_x = fmt.chunks[-2:]
        lead = fmt.shape[:-2]
        if block.dtype != fmt.dtype:
            raise ValueError(f"block of {block.dtype}: expected {fmt.dtype}")
        if any(
            value % side
            for value, side in ((y, side_y), (rows, side_y), (x, side_x), (columns, side_x))
        ):
            raise ValueError(
                f"block of {rows} x {columns} at ({y}, {x}): "
                f"expected whole chunks of {side_y} x {side_x}"
            )
        if y < 0 or x < 0 or y + rows > fmt.shape[-2] or x + columns > fmt.shape[-1]:
            raise ValueError(
                f"block of {rows} x {columns} at ({y}, {x}): outside the tile of {fmt.shape[-2:]}"
            )
        planes = block.reshape(*lead, rows, columns)
        for chunk in np.ndindex(*lead, rows // side_y, columns // side_x):
            row, column = chunk[-2:]
            place = (*chunk[:-2], y // side_y + row, x // side_x + column)
            part = (
                slice(row * side_y, (row + 1) * side_y),
                slice(column * side_x, (column + 1) * side_x),
            )
            self._put_chunk(place, planes[(*chunk[:-2], *part)])

    def _put_chunk(self, place: tuple[int, ...], values: NDArray[Any]) -> None:
        """Encode one plane of one chunk unless it is empty."""
        if self._index[place][0] != ABSENT:
            raise ValueError(f"chunk {place}: written twice")
        if _is_fill(values, self._format.fill):
            return
        encoded = self._format.codec.encode(np.ascontiguousarray(values))
        self._index[place] = self._size, len(encoded)
        self._parts.append(encoded)
        self._size += len(encoded)

    def finish(self) -> bytes | None:
        """Return the shard.

        Returns
        -------
        shard : bytes or None
            The object to store; None where every chunk is empty.
        """
        if not self._parts:
            return None
        index = self._index.tobytes()
        return b"".join((*self._parts, index, _checksum(index)))


def _checksum(index: bytes) -> bytes:
    return int(google_crc32c.value(index)).to_bytes(4, "little")


def _is_fill(values: NDArray[Any], fill: float) -> bool:
    """Whether a chunk holds nothing but the fill value; looks at one pixel first."""
    first = values[0, 0]
    if np.isnan(fill):
        return bool(np.isnan(first)) and bool(np.isnan(values).all())
    return bool(first == fill) and bool((values == fill).all())
