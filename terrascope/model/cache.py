"""A key-value cache in which every sequence has its own length.

Rows that emit one token and rows that take in a hundred live side by side: each row writes at
its own end, nothing is padded into the history, and a subset of the rows can be run alone.
Positions beyond a row's end hold what an earlier, padded step left there; the mask hides them,
and the next step of that row overwrites them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["RaggedCache"]

_GROWTH = 256


class RaggedCache:
    """Keys and values of all layers for a batch of sequences of different lengths.

    Parameters
    ----------
    rows : int
        Sequences.
    capacity : int
        Positions to reserve; grows when it is exceeded.

    Notes
    -----
    One step is ``begin`` (which rows, how many positions), one ``update`` per layer, ``commit``
    (how many of these positions were real). `update` and `get_seq_length` have the signatures
    of ``transformers.Cache``, so that the library's language models take this object as it is.
    """

    def __init__(self, rows: int, capacity: int = 0) -> None:
        self.lengths = [0] * rows
        self.capacity = capacity
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._rows: list[int] = list(range(rows))
        self._width = 0
        self._total = 0
        self._slots = torch.zeros(rows, 0, dtype=torch.int64)
        self._index: Tensor | None = None

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
            plainly causal: the first step of all rows, or one token at equally long histories.
        """
        everyone = len(self.lengths)
        self._rows = list(range(everyone)) if rows is None else list(rows)
        if len(set(self._rows)) != len(self._rows):
            raise ValueError("a row takes part in a step once")
        ends = [self.lengths[row] for row in self._rows]
        self._width = width
        self._total = max(ends) + width
        whole = self._rows == list(range(everyone))
        self._index = None if whole else torch.tensor(self._rows, device=device)
        positions = torch.tensor(ends, device=device)[:, None] + torch.arange(width, device=device)
        self._slots = positions
        if max(ends) == min(ends) and (width == 1 or max(ends) == 0):
            return positions, None
        mask = torch.arange(self._total, device=device) <= positions[:, :, None]
        return positions, mask[:, None]

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
            shape = (len(self.lengths), keys.shape[1], max(self.capacity, self._total))
            self.keys.append(keys.new_zeros(*shape, keys.shape[3]))
            self.values.append(values.new_zeros(*shape, values.shape[3]))
        return self._write(self.keys, keys, layer), self._write(self.values, values, layer)

    def _write(self, store: list[Tensor], new: Tensor, layer: int) -> Tensor:
        """Scatter `new` to the rows' own ends."""
        buffer = store[layer]
        if buffer.shape[2] < self._total:
            grown = buffer.new_zeros(*buffer.shape[:2], self._total + _GROWTH, buffer.shape[3])
            grown[:, :, : buffer.shape[2]] = buffer
            store[layer] = buffer = grown
        if self._index is None and len(set(self.lengths)) == 1:
            buffer[:, :, self._total - self._width : self._total] = new
            return buffer[:, :, : self._total]
        rows = self._index if self._index is not None else _arange(new.shape[0], new.device)
        buffer[rows[:, None], :, self._slots] = new.transpose(1, 2)
        if self._index is None:
            return buffer[:, :, : self._total]
        return buffer[:, :, : self._total].index_select(0, self._index)

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


def _arange(size: int, device: torch.device) -> Tensor:
    return torch.arange(size, device=device)
