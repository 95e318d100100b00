"""What the mechanism asks of a backbone: visual tokens, mask features, one step of language.

Injection, selection, measurement, generation and losses exist once and are written against this
protocol; the two sizes of the model implement it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from terrascope.model.cache import History
from terrascope.model.windows import Windows

__all__ = ["OPTICAL", "RADAR", "Backbone", "Encoded", "MaskPrompts", "ranks"]

OPTICAL, RADAR = 0, 1
"""Index of a sensor on the S axis of tensors."""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What the image encoders know of a batch of windows: computed once, asked many times.

    Parameters
    ----------
    tokens : Tensor of float, shape (B, T, S, N, D)
        Visual tokens in the space of the language model. Finite, but without meaning where
        `present` is False.
    present : Tensor of bool, shape (B, T, S)
        Whether the sensor saw anything on that date; False for padded dates.
    content : Tensor of float, shape (B, T, S, N, E)
        Features of the same cells for the alignment of the sensors.
    mask_features : mapping of str to Tensor, shape (B, ...)
        The backbone's own, for `Backbone.decode_masks`.
    """

    tokens: Tensor
    present: Tensor
    content: Tensor
    mask_features: Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class MaskPrompts:
    """Which masks to decode.

    Parameters
    ----------
    states : Tensor of float, shape (M, D)
        Last hidden states at ``[SEG]``.
    window : Tensor of int64, shape (M,)
        Index into B.
    before : Tensor of int64, shape (M,)
        Earlier date of a change mask; -1 for a mask of one date.
    date : Tensor of int64, shape (M,)
        The date, or the later one of a change mask.
    """

    states: Tensor
    window: Tensor
    before: Tensor
    date: Tensor


@runtime_checkable
class Backbone(Protocol):
    """A vision encoder, a causal language model and a mask decoder, seen from the mechanism."""

    @property
    def hidden_size(self) -> int:
        """Size D of visual tokens, token embeddings and hidden states."""

    @property
    def grid(self) -> int:
        """Cells per side, G: an image has N = G * G visual tokens, row by row."""

    def encode(self, windows: Windows) -> Encoded:
        """Run the image encoders.

        Parameters
        ----------
        windows : Windows
            B windows of the same size.

        Returns
        -------
        encoded : Encoded
            Tokens and mask features of every image.
        """

    def embed(self, ids: Tensor) -> Tensor:
        """Embed text tokens.

        Parameters
        ----------
        ids : Tensor of int64, shape (...)
            Token ids.

        Returns
        -------
        embeddings : Tensor of float, shape (..., D)
            In the space of the visual tokens.
        """

    def language(
        self,
        embeddings: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        cache: History | None = None,
    ) -> Tensor:
        """Run the language model over new positions.

        Parameters
        ----------
        embeddings : Tensor of float, shape (R, L, D)
            Text and visual tokens.
        positions : Tensor of int64, shape (R, L)
            In their own sequence, from 0.
        mask : Tensor of bool or None, shape (R, 1, L, K)
            True where a new token may look; None: at its past and itself, which with a
            history is said of one token only.
        cache : History or None
            With a step opened by `RaggedCache.begin`; the caller commits it.

        Returns
        -------
        hidden : Tensor of float, shape (R, L, D)
            After the final normalisation.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """Score the next token.

        Parameters
        ----------
        hidden : Tensor of float, shape (..., D)
            From `language`.

        Returns
        -------
        logits : Tensor of float, shape (..., V)
            Over the vocabulary.
        """

    def decode_masks(self, encoded: Encoded, prompts: MaskPrompts) -> Tensor:
        """Decode masks from the states of ``[SEG]``.

        Parameters
        ----------
        encoded : Encoded
            From `encode`.
        prompts : MaskPrompts
            M masks, of any windows and dates.

        Returns
        -------
        logits : Tensor of float, shape (M, H, W)
            On the pixels of the window, before the temperature.
        """


def ranks(place: Tensor, counts: Tensor) -> Tensor:
    """Give the members of each group numbers.

    Parameters
    ----------
    place : Tensor of int64, shape (M,)
        Group of every member.
    counts : Tensor of int64, shape (G,)
        Members of every group, as `torch.unique` gives them with `place`.

    Returns
    -------
    rank : Tensor of int64, shape (M,)
        From 0 in each group, in the order of the members.
    """
    rank = torch.empty_like(place)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank[place.argsort(stable=True)] = torch.arange(len(place), device=place.device) - first
    return rank
