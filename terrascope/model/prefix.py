"""Questions of one window share its images: their keys and values are computed once.

Training asks several questions of a window. What stands before the question, a thousand visual
tokens, is the same for all of them; each question then is a short sequence that looks back at it.
The numbers are those of whole sequences, the work is a fraction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from terrascope.model.sequences import Query, expand

__all__ = ["Prefix", "PrefixCache", "Tails", "cut_prefixes"]


@dataclasses.dataclass(frozen=True)
class Prefix:
    """The beginnings that prompts share, as tensors padded on the right.

    Parameters
    ----------
    ids, source : Tensor of int64, shape (G, P)
        As in `terrascope.model.sequences.Layout`.
    lengths : Tensor of int64, shape (G,)
        Real positions.
    """

    ids: Tensor
    source: Tensor
    lengths: Tensor


@dataclasses.dataclass(frozen=True)
class Tails:
    """What follows the shared beginnings.

    Parameters
    ----------
    queries : list of Query
        Without the beginnings of their prompts.
    group : Tensor of int64, shape (R,)
        Beginning of each.
    prefix : Prefix
        The beginnings; P is 0 where no prompt has an image.
    """

    queries: list[Query]
    group: Tensor
    prefix: Prefix


def cut_prefixes(
    queries: Sequence[Query],
    images: Sequence[Sequence[int]],
    *,
    tokens: int,
    image: int,
    pad: int,
    device: torch.device,
) -> Tails:
    """Cut prompts behind their last image, and collect what is the same.

    Parameters
    ----------
    queries : sequence of Query
        R of them.
    images : sequence of sequence of int
        First visual token of every existing image, by window.
    tokens : int
        Visual tokens per image.
    image, pad : int
        Ids.
    device : torch.device
        Of the tensors.

    Returns
    -------
    tails : Tails
        In the order of the queries.
    """
    groups: dict[tuple[int, tuple[int, ...]], int] = {}
    group: list[int] = []
    rest: list[Query] = []
    for query in queries:
        prompt = list(query.prompt)
        end = max((n + 1 for n, number in enumerate(prompt) if number == image), default=0)
        key = (query.window, tuple(prompt[:end]))
        group.append(groups.setdefault(key, len(groups)))
        start, stop = query.question
        moved = (max(start - end, 0), max(stop - end, 0))
        rest.append(dataclasses.replace(query, prompt=prompt[end:], question=moved))
    rows = [
        expand(beginning, image, pad, images[window] if beginning else (), tokens)
        for window, beginning in groups
    ]
    longest = max(len(ids) for ids, _ in rows)
    ids = [ids + [pad] * (longest - len(ids)) for ids, _ in rows]
    source = [source + [-1] * (longest - len(source)) for _, source in rows]
    prefix = Prefix(
        ids=torch.tensor(ids, dtype=torch.int64, device=device),
        source=torch.tensor(source, dtype=torch.int64, device=device),
        lengths=torch.tensor([len(ids) for ids, _ in rows], device=device),
    )
    return Tails(rest, torch.tensor(group, device=device), prefix)


class PrefixCache:
    """Keys and values of shared beginnings, with their gradients.

    The first pass of the language model fills it; after `open` each further position looks at
    the beginning of its own sequence and at itself. It has the part of the interface of
    ``transformers.Cache`` that language models use.
    """

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.group: Tensor | None = None

    def open(self, tails: Tails, rows: Tensor, width: int) -> tuple[Tensor, Tensor | None]:
        """Turn from the beginnings to what follows, or from some of it to more.

        Parameters
        ----------
        tails : Tails
            What follows.
        rows : Tensor of int64, shape (R,)
            Which of its queries come next.
        width : int
            Positions per row, W, padding included.

        Returns
        -------
        positions : Tensor of int64, shape (R, W)
            In the whole sequence.
        mask : Tensor of bool or None, shape (R, 1, W, P + W)
            True where a position may look; None without a beginning, where each looks at its
            past and itself.
        """
        self.group = tails.group[rows]
        ahead = torch.arange(width, device=rows.device)
        held = tails.prefix.ids.shape[1]
        if not held:
            return ahead.expand(len(rows), -1), None
        lengths = tails.prefix.lengths[self.group]  # (R,)
        positions = lengths[:, None] + ahead
        past = torch.arange(held, device=rows.device) < lengths[:, None]  # (R, P)
        past = past[:, None].expand(-1, width, -1)
        own = (ahead[None] <= ahead[:, None]).expand(len(lengths), -1, -1)
        return positions, torch.cat([past, own], -1)[:, None]

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of a layer, or put what is kept before new ones.

        Parameters
        ----------
        keys, values : Tensor, shape (R, heads, W, head size)
            Of this pass.
        layer : int
            Layers are visited in order.
        *_, **__ : object
            What else transformers passes; not used.

        Returns
        -------
        keys, values : Tensor, shape (R, heads, W or P + W, head size)
            What may be looked at.
        """
        if self.group is None:
            self.keys.append(keys)
            self.values.append(values)
            return keys, values
        if not self.keys:
            return keys, values
        before = self.keys[layer].index_select(0, self.group)
        said = self.values[layer].index_select(0, self.group)
        return torch.cat([before, keys], 2), torch.cat([said, values], 2)

    def get_seq_length(self, layer: int = 0) -> int:
        """Return how many positions are kept; part of the interface of ``transformers.Cache``.

        Parameters
        ----------
        layer : int
            Which.

        Returns
        -------
        length : int
            Positions.
        """
        return self.keys[layer].shape[2] if layer < len(self.keys) else 0
