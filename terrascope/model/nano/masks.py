"""The mask decoder of terrascope-nano: a state of ``[SEG]`` read against pixels.

The state asks the cells of its date (of both dates, for a change) what it needs to know, and
then reads every pixel with a small network whose weights it sets itself. What is expensive is
done once per date; one more mask costs one more reading.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.backbone import MaskPrompts, ranks
from terrascope.model.configuration_terrascope import NanoConfig
from terrascope.model.nano.dates import DateExchange, of_dates
from terrascope.model.nano.layers import CrossAttention, GatedMLP, RMSNorm, even_count, filled
from terrascope.model.nano.vision import ConvBlock

__all__ = ["MaskDecoder", "SensorFusion"]


class SensorFusion(nn.Module):
    """Pixels of both sensors to pixels of the date.

    Parameters
    ----------
    width : int
        Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2))

    def forward(self, pixels: Tensor, present: Tensor) -> Tensor:
        """Weigh the sensors pixel by pixel and channel by channel.

        Parameters
        ----------
        pixels : Tensor of float, shape (B, T, S, P, H, W)
            Features of each sensor, zero where it is absent.
        present : Tensor of bool, shape (B, T, S)
            Which images exist.

        Returns
        -------
        fused : Tensor, shape (B, T, P, H, W)
            The features of the sensor that is there where only one is; zero where none is.
        """
        gates = [gate(pixels[:, :, s].flatten(0, 1)) for s, gate in enumerate(self.gates)]
        stacked = torch.stack(gates, 1).reshape(pixels.shape)
        there = present[..., None, None, None]
        weight = torch.softmax(stacked.masked_fill(~there, torch.finfo(stacked.dtype).min), dim=2)
        return (weight * pixels * there).sum(2)


class MaskDecoder(nn.Module):
    """From the state at ``[SEG]`` to the logits of a mask.

    Parameters
    ----------
    config : NanoConfig
        Sizes.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        width, pixel = config.query_size, config.pixel_size
        self.bridge_in = nn.Linear(config.hidden_size, config.hidden_size)
        self.bridge_out = nn.Linear(config.hidden_size, width)
        self.kinds = nn.Embedding(2, width)
        self.roles = nn.Embedding(4, width)
        self.reads = nn.ModuleList(
            CrossAttention(width, config.query_heads) for _ in range(config.query_layers)
        )
        self.thoughts = nn.ModuleList(
            GatedMLP(width, 2 * width) for _ in range(config.query_layers)
        )
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(2 * config.query_layers + 1))
        self.dropout = nn.Dropout(config.dropout)
        self.readers = nn.Linear(width, 3 * pixel + 1)
        self.dates = DateExchange(pixel)
        self.difference = nn.Conv2d(2 * pixel, pixel, 3, padding=1)
        self.change = ConvBlock(pixel)

    def forward(
        self, pixels: Tensor, cells: Tensor, present: Tensor, prompts: MaskPrompts
    ) -> Tensor:
        """Decode M masks.

        Parameters
        ----------
        pixels : Tensor of float, shape (B, T, P, H, W)
            From `SensorFusion`.
        cells : Tensor of float, shape (B, T, S, N, query size)
            What the query may read.
        present : Tensor of bool, shape (B, T, S)
            Which images exist.
        prompts : MaskPrompts
            States, windows and dates.

        Returns
        -------
        logits : Tensor of float, shape (M, H, W)
            One mask per prompt.
        """
        groups = _Groups.of(prompts)
        query = self._query(cells, present, prompts, groups)
        order = groups.place.argsort(stable=True)
        weights = torch.split(self.readers(query[order]), groups.counts)  # of (masks, 3 P + 1)
        seen = self._pixels(pixels, present, groups).unbind(0)  # of (P, H, W)
        masks = [_read(one, many) for one, many in zip(seen, weights, strict=True)]
        logits = torch.cat(masks) if masks else pixels.new_zeros(0, *pixels.shape[-2:])
        return logits[order.argsort()]

    def _query(
        self, cells: Tensor, present: Tensor, prompts: MaskPrompts, groups: _Groups
    ) -> Tensor:
        """Let the states read the cells of their dates, shape (M, query size)."""
        change = prompts.before >= 0
        state = self.bridge_out(functional.relu(self.bridge_in(prompts.states)))
        state = state + self.kinds(change.long()).to(state.dtype)
        size = (len(groups.date), max(groups.counts, default=0), state.shape[-1])
        query = state.new_zeros(size).index_put((groups.place, groups.rank), state)
        dates = torch.stack([groups.date, groups.before.clamp(min=0)], 1)  # (G, 2)
        memory = cells[groups.window[:, None], dates]  # (G, 2, S, N, width)
        memory = memory + self.roles.weight.view(2, 2, 1, -1).to(memory.dtype)
        there = present[groups.window[:, None], dates]  # (G, 2, S)
        pair = groups.before >= 0
        there = there & torch.stack([torch.ones_like(pair), pair], 1)[:, :, None]
        # A date without any image: read its (empty) cells rather than attend to nothing.
        there = there | ~there.any(-1, keepdim=True).any(1, keepdim=True)
        mask = there[..., None].expand(*there.shape, memory.shape[3]).flatten(1)[:, None, None]
        memory = memory.flatten(1, 3)
        norms = iter(self.norms)
        for read, think in zip(self.reads, self.thoughts, strict=True):
            query = query + self.dropout(read(next(norms)(query), memory, mask))
            query = query + self.dropout(think(next(norms)(query)))
        out: Tensor = next(norms)(query)[groups.place, groups.rank]
        return out

    def _pixels(self, pixels: Tensor, present: Tensor, groups: _Groups) -> Tensor:
        """Return what masks of a group are read from, shape (G, P, H, W)."""
        pair = groups.before >= 0
        single, double = (~pair).nonzero()[:, 0], pair.nonzero()[:, 0]
        seen = of_dates(pixels, groups.window, groups.date)
        if len(single):
            where = groups.window[single], groups.date[single]
            seen = seen.index_put((single,), self.dates(pixels, present.any(-1), *where))
        if not len(double):
            return seen
        count = even_count(len(double), double.device)
        wanted = (groups.window, groups.before, groups.date)
        window, before, date = (filled(numbers[double], count) for numbers in wanted)
        both = torch.cat([of_dates(pixels, window, before), of_dates(pixels, window, date)], 1)
        # Channels of both dates; the same weights of opposite sign are a difference.
        return seen.index_put((double,), self.change(self.difference(both))[: len(double)])


@dataclasses.dataclass(frozen=True)
class _Groups:
    """Masks of one window and the same dates: what they are read from is computed once.

    Parameters
    ----------
    window, before, date : Tensor of int64, shape (G,)
        As of `MaskPrompts`, once per group.
    place, rank : Tensor of int64, shape (M,)
        Group of every mask, and its number in it.
    counts : list of int
        Masks of every group.
    """

    window: Tensor
    before: Tensor
    date: Tensor
    place: Tensor
    rank: Tensor
    counts: list[int]

    @classmethod
    def of(cls, prompts: MaskPrompts) -> _Groups:
        keys = torch.stack([prompts.window, prompts.before, prompts.date], 1)
        groups, place, counts = torch.unique(keys, dim=0, return_inverse=True, return_counts=True)
        rank = ranks(place, counts)
        window, before, date = groups.unbind(1)
        return cls(window, before, date, place, rank, counts.tolist())


def _read(seen: Tensor, weights: Tensor) -> Tensor:
    """Read masks from pixels, (P, H, W) and (masks, 3 P + 1) -> (masks, H, W)."""
    size = seen.shape[0]
    gain, shift, read, bias = torch.split(weights[..., None], [size, size, size, 1], dim=1)
    features = functional.gelu(torch.addcmul(shift, seen.flatten(1), 1 + gain))
    flat = torch.bmm(read.transpose(1, 2), features)[:, 0] / math.sqrt(size) + bias[:, 0]
    logits: Tensor = flat.reshape(-1, *seen.shape[1:])
    return logits
