"""The causal language model of terrascope-nano."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from terrascope.model.cache import History
from terrascope.model.configuration_terrascope import NanoConfig
from terrascope.model.nano.layers import Block, RMSNorm, mask_bias, rotary

__all__ = ["NanoLanguageModel"]


class NanoLanguageModel(nn.Module):
    """A small decoder-only transformer over embeddings, with tied input and output words.

    Parameters
    ----------
    config : NanoConfig
        Sizes.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.token_rows, config.hidden_size)
        self.blocks = nn.ModuleList(
            Block(config.hidden_size, config.heads, config.mlp_size, config.dropout)
            for _ in range(config.layers)
        )
        self.norm = RMSNorm(config.hidden_size)
        self.head_size = config.hidden_size // config.heads
        self.theta = config.rope_theta

    def embed(self, ids: Tensor) -> Tensor:
        """Embed tokens.

        Parameters
        ----------
        ids : Tensor of int64, shape (...)
            Token ids.

        Returns
        -------
        embeddings : Tensor of float, shape (..., D)
            Scaled by sqrt(D): the output side of the tied matrix wants small rows, the input
            side rows as large as visual tokens.
        """
        embeddings: Tensor = self.words(ids)
        return embeddings * math.sqrt(embeddings.shape[-1])

    def forward(
        self,
        embeddings: Tensor,
        positions: Tensor,
        mask: Tensor | None,
        cache: History | None = None,
    ) -> Tensor:
        """Run over new positions; see `terrascope.model.backbone.Backbone.language`.

        Parameters
        ----------
        embeddings : Tensor of float, shape (R, L, D)
            Text and visual tokens.
        positions : Tensor of int64, shape (R, L)
            In their own sequence.
        mask : Tensor of bool or None, shape (R, 1, L, K)
            True where a token may look; None: at its past and itself.
        cache : History or None
            History.

        Returns
        -------
        hidden : Tensor of float, shape (R, L, D)
            After the final normalisation.
        """
        turn = rotary(positions, self.head_size, self.theta)
        # One token may look at all there is; several without a mask have no history.
        causal = mask is None and embeddings.shape[1] > 1
        if mask is not None and torch.is_grad_enabled() and embeddings.device.type == "cpu":
            mask = mask_bias(mask, embeddings)  # once, not in every layer
        x = embeddings
        for layer, block in enumerate(self.blocks):
            x = block(x, turn, mask, cache, layer, causal=causal)
        hidden: Tensor = self.norm(x)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Score the next token.

        Parameters
        ----------
        hidden : Tensor of float, shape (..., D)
            From `forward`.

        Returns
        -------
        logits : Tensor of float, shape (..., V)
            Over the vocabulary.
        """
        return hidden @ self.words.weight.T
