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

__all__ = ["NamedMasks", "NamedOutput", "TraceIds", "competition", "mask_names"]


@dataclasses.dataclass(frozen=True)
class TraceIds:
    """Token ids by which a trace is read.

    Parameters
    ----------
    indicator : int
        Of the token that follows the name of a mask: the date's indicator.
    whole : tuple of tuple of int
        Names of masks that hold others of the same dates (any change holds its kinds).
    """

    indicator: int
    whole: tuple[tuple[int, ...], ...] = ()


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
    ids : TraceIds
        How names are found in a trace.
    """

    def __init__(self, model: TerrascopeModel, ids: TraceIds) -> None:
        super().__init__()
        self.model = model
        self.ids = ids

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
            Terms and masks; the cross-entropy is that of each mask by itself and, where several
            names of the same dates are asked for, that of the name of each pixel among them.
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
        alone = torch.tensor([tuple(name) not in self.ids.whole for name in names], device=device)
        rivals = torch.stack([window, before, date], 1)[alone]
        entropy = entropy + competition(logits[alone], truth[alone], valid[alone], rivals)
        nothing = logits.sum() * 0
        aligned = nothing
        if config.contrastive_weight:
            aligned = contrastive_loss(
                encoded.content, encoded.present, temperature=config.contrastive_temperature
            )
        terms = LossTerms(nothing, dice, entropy, boundary, aligned)
        return NamedOutput(terms, logits)

    def _names(self, query: Query) -> list[list[int]]:
        return mask_names(query.response, self.model.config.seg_token_id, self.ids.indicator)

    def _states(self, names: Sequence[Sequence[int]], device: torch.device) -> Tensor:
        """Embed names as means of their words, scaled to the norm of a state."""
        states = torch.stack(
            [self.model.backbone.embed(torch.tensor(name, device=device)).mean(0) for name in names]
        )
        return functional.rms_norm(states, states.shape[-1:])


def competition(logits: Tensor, truth: Tensor, valid: Tensor, dates: Tensor) -> Tensor:
    """Let the masks of the same window and dates compete for every pixel.

    Parameters
    ----------
    logits : Tensor of float, shape (K, H, W)
        Of masks that exclude one another where they share a window and dates.
    truth, valid : Tensor of bool, shape (K, H, W)
        What they should be, and where that is known.
    dates : Tensor of int64, shape (K, 3)
        Window, earlier date (-1 for a mask of one date) and date of each.

    Returns
    -------
    loss : Tensor of float32
        Scalar: cross-entropy of the true name, mean over the pixels of a group and then over the
        groups of several masks. Between two dates "none of them" competes too, with a logit of
        0; on one date, pixels that belong to none of the masks do not count.
    """
    losses = [logits.float().sum() * 0]
    for group in torch.unique(dates, dim=0):
        members = (dates == group).all(1)
        scores, there = logits[members].float(), truth[members]
        if len(scores) < 2:
            continue
        known = valid[members].all(0)
        if group[1] < 0:
            known = known & there.any(0)
        else:
            scores = torch.cat([scores, torch.zeros_like(scores[:1])])
            there = torch.cat([there, ~there.any(0, keepdim=True)])
        if known.any():
            wrong = scores.logsumexp(0) - (scores * there).sum(0)
            losses.append((wrong * known).sum() / known.sum())
    return torch.stack(losses).sum() / max(len(losses) - 1, 1)


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
