"""Masks as run lengths, in the layout of COCO: column by column, zeros first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.types import BoolArray

__all__ = ["Rle", "decode_mask", "encode_mask"]

_OFFSET = 48
"""A byte of the compressed text is five bits and a flag above this character."""
_GROUPS = 6
"""Bytes of a length, at most: 29 bits and the sign, for masks of up to 23,000 pixels a side."""


@dataclasses.dataclass(frozen=True)
class Rle:
    """A mask as run lengths.

    Parameters
    ----------
    shape_yx : tuple of int
        Rows and columns.
    counts : str
        Lengths of the runs down the columns, of zeros and ones in turn, beginning with zeros;
        written as in the COCO API: differences to the run before the last, five bits a byte.

    References
    ----------
    T.-Y. Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; `rleToString` of
    its API.
    """

    shape_yx: tuple[int, int]
    counts: str

    def to_coco(self) -> dict[str, Any]:
        """Return the mask as COCO writes it.

        Returns
        -------
        mask : dict
            ``size`` (rows, columns) and ``counts``.
        """
        return {"size": list(self.shape_yx), "counts": self.counts}

    @classmethod
    def from_coco(cls, mask: Mapping[str, Any]) -> Rle:
        """Read what `to_coco` gives.

        Parameters
        ----------
        mask : mapping
            With ``size`` and ``counts``; counts may be bytes or a list of lengths.

        Returns
        -------
        rle : Rle
            The same mask.
        """
        rows, columns = mask["size"]
        counts = mask["counts"]
        if isinstance(counts, bytes):
            counts = counts.decode("ascii")
        elif not isinstance(counts, str):
            counts = _to_text(np.asarray(counts, np.int64))
        return cls((int(rows), int(columns)), counts)


def encode_mask(mask: BoolArray) -> Rle:
    """Write a mask as run lengths.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
        Not modified.

    Returns
    -------
    rle : Rle
        `decode_mask` gives the mask back.
    """
    down = np.asarray(mask, np.bool_).ravel(order="F")
    edges = np.flatnonzero(down[1:] != down[:-1]) + 1
    starts = np.concatenate([[0], edges, [down.size]])
    lengths = np.diff(starts)
    if down.size and down[0]:
        lengths = np.concatenate([[0], lengths])
    return Rle((mask.shape[0], mask.shape[1]), _to_text(lengths))


def decode_mask(rle: Rle) -> BoolArray:
    """Read run lengths.

    Parameters
    ----------
    rle : Rle
        Of a mask.

    Returns
    -------
    mask : ndarray of bool, shape (y, x)
        New.

    Raises
    ------
    ValueError
        If the runs do not fill the mask.
    """
    lengths = _from_text(rle.counts)
    rows, columns = rle.shape_yx
    if int(lengths.sum()) != rows * columns:
        raise ValueError(f"runs of {int(lengths.sum())} pixels for a mask of {rle.shape_yx}")
    flat = np.repeat(np.arange(lengths.size) % 2 == 1, lengths)
    return np.ascontiguousarray(flat.reshape(columns, rows).T)


def _to_text(lengths: NDArray[np.int64]) -> str:
    """Write lengths in five-bit groups, lowest first; from the fourth on as differences."""
    rest = lengths.astype(np.int64)
    rest[3:] = lengths[3:] - lengths[1:-2]
    written = np.zeros((rest.size, _GROUPS), np.uint8)
    used = np.zeros((rest.size, _GROUPS), np.bool_)
    goes_on = np.ones(rest.size, np.bool_)
    for place in range(_GROUPS):
        bits = rest & 0x1F
        rest = rest >> 5
        more = rest != np.where(bits & 0x10, -1, 0)
        written[:, place] = np.where(more, bits | 0x20, bits) + _OFFSET
        used[:, place] = goes_on
        goes_on = goes_on & more
    return written[used].tobytes().decode("ascii")


def _from_text(text: str) -> NDArray[np.int64]:
    """Read what `_to_text` wrote."""
    if not text:
        return np.zeros(0, np.int64)
    groups = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _OFFSET
    ends = np.flatnonzero(groups & 0x20 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    count = ends - starts + 1
    place = np.arange(groups.size) - np.repeat(starts, count)
    values = np.add.reduceat((groups & 0x1F) << (5 * place), starts)
    values -= np.where(groups[ends] & 0x10, 1 << (5 * count), 0)
    # From the fourth on each is a difference to the one before the last.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
