"""Masks asked for by their bare names: what the ground looks like, before language is learnt.

In a trace the state at ``[SEG]`` says which mask is meant, and the language model must have
learnt to put it there before a mask can be right. Until then every mask gets the same state, the
gradients of different classes cancel, and nothing is learnt from pixels. Here the state of a mask
is the embedding of its name instead, on the scale on which the language model hands states over:
sight is learnt first, and language finds states that already mean something.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.backbone import MaskPrompts
from terrascope.model.losses import LossTerms, contrastive_loss, mask_losses
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.sequences import Query
from terrascope.model.windows import Windows
from terrascope.train.objective import observed_where

__all__ = ["NamedMasks", "NamedOutput", "mask_names"]


@dataclasses.dataclass(frozen=True)
class NamedOutput:
    """What `NamedMasks` yields; fields as of `TerrascopeOutput`.

    Parameters
    ----------
    terms : LossTerms
        Without language.
    mask_logits : Tensor of float, shape (K, H, W)
        Of every ``[SEG]``.
    """

    terms: LossTerms
    mask_logits: Tensor


class NamedMasks(nn.Module):
    """The model without its language: masks prompted by their names.

    Parameters
    ----------
    model : TerrascopeModel
        Trained in place.
    indicator : int
        Id of the token that follows the name of a mask in a trace: the date's indicator.
    """

    def __init__(self, model: TerrascopeModel, indicator: int) -> None:
        super().__init__()
        self.model = model
        self.indicator = indicator

    def forward(
        self,
        windows: Windows,
        queries: Sequence[Query],
        *,
        truth: Tensor,
        truth_valid: Tensor,
        **_: Any,
    ) -> NamedOutput:
        """Decode the masks of traces, and compare them with the truth.

        Parameters
        ----------
        windows : Windows
            B windows.
        queries : sequence of Query
            Traces of the form ``name Image: t_1[SEG]name Image: ...``.
        truth, truth_valid : Tensor of bool, shape (K, H, W)
            As `TerrascopeModel.forward` takes them.
        **_ : Any
            What that takes besides; not read.

        Returns
        -------
        output : NamedOutput
            Terms and masks.
        """
        config, backbone = self.model.config, self.model.backbone
        encoded = self.model.encode(windows)
        device = encoded.tokens.device
        names = [name for query in queries for name in self._names(query)]
        where = [(query.window, *pair) for query in queries for pair in query.dates]
        window, before, date = torch.tensor(where, device=device).unbind(1)
        logits = backbone.decode_masks(
            encoded, MaskPrompts(self._states(names, device), window, before, date)
        )
        valid = observed_where(windows.observed, window, before, date) & truth_valid
        width = config.boundary_width if config.boundary_weight else None
        dice, entropy, boundary = mask_losses(logits, truth, valid, boundary_width=width)
        nothing = logits.sum() * 0
        aligned = nothing
        if config.contrastive_weight:
            aligned = contrastive_loss(
                encoded.content, encoded.present, temperature=config.contrastive_temperature
            )
        terms = LossTerms(nothing, dice, entropy, boundary, aligned)
        return NamedOutput(terms, logits)

    def _names(self, query: Query) -> list[list[int]]:
        return mask_names(query.response, self.model.config.seg_token_id, self.indicator)

    def _states(self, names: Sequence[Sequence[int]], device: torch.device) -> Tensor:
        """Embed names as means of their words, scaled to the norm of a state."""
        states = torch.stack(
            [self.model.backbone.embed(torch.tensor(name, device=device)).mean(0) for name in names]
        )
        return functional.rms_norm(states, states.shape[-1:])


def mask_names(response: Sequence[int], seg: int, indicator: int) -> list[list[int]]:
    """Find the name of every mask of a trace.

    Parameters
    ----------
    response : sequence of int
        Token ids: each name stands before its date.
    seg, indicator : int
        Ids of ``[SEG]`` and of the first token of a date.

    Returns
    -------
    names : list of list of int
        One per ``[SEG]``: the tokens since the last one (of the first, since the opening tag).

    Raises
    ------
    ValueError
        If a mask has no name.
    """
    names: list[list[int]] = []
    part: list[int] = []
    for number in response[1:]:
        if number != seg:
            part.append(number)
            continue
        if indicator not in part or part[0] == indicator:
            raise ValueError(f"mask {len(names)} of a trace has no name before its date")
        names.append(part[: part.index(indicator)])
        part = []
    return names
