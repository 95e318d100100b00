"""A key-value cache in which every sequence has its own length.

Rows that emit one token and rows that take in a hundred live side by side: each row writes at
its own end, nothing is padded into the history, and a subset of the rows can be run alone.
Positions beyond a row's end hold what an earlier, padded step left there; the mask hides them,
and the next step of that row overwrites them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["History", "RaggedCache"]

_GROWTH = 256


class History(Protocol):
    """Keys and values of what came before, as language models use it.

    The part of ``transformers.Cache`` that they need: `RaggedCache` for generation,
    `terrascope.model.prefix.PrefixCache` for training.
    """

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Take in the keys and values of a pass, and return all that may be looked at.

        Parameters
        ----------
        keys, values : Tensor, shape (R, heads, W, head size)
            Of the new positions.
        layer : int
            Which.
        *_, **__ : object
            What else transformers passes.

        Returns
        -------
        keys, values : Tensor, shape (R, heads, total, head size)
            With the history.
        """

    def get_seq_length(self, layer: int = 0) -> int:
        """Return the length of the history.

        Parameters
        ----------
        layer : int
            Which.

        Returns
        -------
        length : int
            Positions.
        """


class RaggedCache:
    """Keys and values of all layers for a batch of sequences of different lengths.

    Parameters
    ----------
    rows : int
        Sequences.
    capacity : int
        Positions to reserve; grows when it is exceeded.
    block : int
        Histories are handed out in multiples of so many positions. With more than 1, the steps
        of a compiled language model meet few shapes instead of a longer one every time, and
        always a mask; see `terrascope.model.speed`.

    Notes
    -----
    One step is ``begin`` (which rows, how many positions), one ``update`` per layer, ``commit``
    (how many of these positions were real). `update` and `get_seq_length` have the signatures
    of ``transformers.Cache``, so that the library's language models take this object as it is.
    """

    def __init__(self, rows: int, capacity: int = 0, block: int = 1) -> None:
        self.lengths = [0] * rows
        self.block = block
        self.capacity = _whole_blocks(capacity, block)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._rows: list[int] = list(range(rows))
        self._width = 0
        self._total = 0
        self._everyone = self._together = True
        self._index = torch.zeros(rows, dtype=torch.int64)
        self._slots = torch.zeros(rows, 0, dtype=torch.int64)

    def begin(
        self, width: int, device: torch.device, rows: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Open a step.

        Parameters
        ----------
        width : int
            Positions per row in this step, the padding of the shorter ones included.
        device : torch.device
            Of the embeddings that follow.
        rows : sequence of int or None
            Rows that take part, each once; None for all.

        Returns
        -------
        positions : Tensor of int64, shape (R, width)
            Of the new tokens in their own sequence, from 0.
        mask : Tensor of bool or None, shape (R, 1, width, total)
            True where a new token may look: at its own past and itself. None where that is
            plainly causal: a first step, or (without blocks) one token at equally long
            histories.
        """
        self._rows = list(range(len(self.lengths))) if rows is None else list(rows)
        if len(set(self._rows)) != len(self._rows):
            raise ValueError("a row takes part in a step once")
        ends = [self.lengths[row] for row in self._rows]
        longest = max(ends)
        even = longest == min(ends)
        plain = even and (longest == 0 or (width == 1 and self.block == 1))
        self._width = width
        self._total = longest + width if plain else _whole_blocks(longest + width, self.block)
        self._everyone = self._rows == list(range(len(self.lengths)))
        self._together = self._everyone and even and (plain or self.block == 1)
        self._reserve(self._total)
        ahead = torch.arange(width, device=device)
        positions = torch.tensor(ends, device=device)[:, None] + ahead
        if not self._together:
            self._index = torch.tensor(self._rows, device=device)
            self._slots = positions
        if plain:
            return positions, None
        mask = torch.arange(self._total, device=device) <= positions[:, :, None]
        return positions, mask[:, None]

    def _reserve(self, total: int) -> None:
        """Make room for histories of `total` positions."""
        if total <= self.capacity:
            return
        held = self.capacity
        grown = total + _GROWTH if self.keys else total
        self.capacity = _whole_blocks(grown, self.block)
        for store in (self.keys, self.values):
            for layer, old in enumerate(store):
                store[layer] = self._buffer(old)
                store[layer][:, :, :held] = old

    def _buffer(self, like: Tensor) -> Tensor:
        """Allocate one layer: heads, size, precision and device of (R, heads, L, size)."""
        shape = (len(self.lengths), like.shape[1], self.capacity, like.shape[3])
        buffer = like.new_zeros(shape)
        if self.block > 1 and not torch.compiler.is_compiling():
            # A recorded graph writes to the very memory that it saw.
            torch._dynamo.mark_static_address(buffer)  # noqa: SLF001 -- as transformers does
        return buffer

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Store the new keys and values of one layer and return the whole history.

        Parameters
        ----------
        keys, values : Tensor, shape (R, heads, width, head size)
            Of the step opened by `begin`.
        layer : int
            Layers are visited in order at their first step.
        *_, **__ : object
            What else transformers passes; not used.

        Returns
        -------
        keys, values : Tensor, shape (R, heads, total, head size)
            What lies beyond a row's own end is to be masked.
        """
        if layer == len(self.keys):
            self.keys.append(self._buffer(keys))
            self.values.append(self._buffer(values))
        return self._write(self.keys[layer], keys), self._write(self.values[layer], values)

    def _write(self, buffer: Tensor, new: Tensor) -> Tensor:
        """Put `new` at the rows' own ends, and return what they have."""
        if self._together:
            buffer[:, :, self._total - self._width : self._total] = new
            return buffer[:, :, : self._total]
        buffer[self._index[:, None], :, self._slots] = new.transpose(1, 2)
        history = buffer[:, :, : self._total]
        return history if self._everyone else history.index_select(0, self._index)

    def commit(self, counts: Sequence[int] | None = None) -> None:
        """Close a step.

        Parameters
        ----------
        counts : sequence of int or None
            Real positions of each row that took part, at most the width; None for all of them.
        """
        for place, row in enumerate(self._rows):
            self.lengths[row] += self._width if counts is None else counts[place]

    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Give rows the history of others: many questions on one image share its beginning.

        Parameters
        ----------
        source, target : sequence of int
            Pairs of rows.
        """
        if not source:
            return
        length = max(self.lengths[row] for row in source)
        for store in (self.keys, self.values):
            for buffer in store:
                old = torch.tensor(source, device=buffer.device)
                new = torch.tensor(target, device=buffer.device)
                buffer[new, :, :length] = buffer[old, :, :length]
        for old_row, new_row in zip(source, target, strict=True):
            self.lengths[new_row] = self.lengths[old_row]

    def get_seq_length(self, layer: int = 0) -> int:
        """Return the longest history; part of the interface of ``transformers.Cache``.

        Parameters
        ----------
        layer : int
            Not used: all layers are equally long.

        Returns
        -------
        length : int
            Positions.
        """
        del layer
        return max(self.lengths, default=0)

    @property
    def nbytes(self) -> int:
        """Memory held by keys and values."""
        return sum(part.numel() * part.element_size() for part in (*self.keys, *self.values))


def _whole_blocks(positions: int, block: int) -> int:
    return -(-positions // block) * block
