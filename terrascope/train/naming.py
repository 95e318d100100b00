"""Masks asked for by their bare names: what the ground looks like, before language is learnt.

In a trace the state at ``[SEG]`` says which mask is meant, and the language model must have
learnt to put it there before a mask can be right. Until then every mask gets the same state, the
gradients of different classes cancel, and nothing is learnt from pixels. Here the state of a mask
is the embedding of its name instead, on the scale on which the language model hands states over:
sight is learnt first. Language learns from text alone to put those very states at ``[SEG]``; so
when both meet, the masks that are asked for are already the right ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.backbone import MaskPrompts, ranks
from terrascope.model.losses import LossTerms, contrastive_loss, language_loss, mask_losses
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.sequences import Layout, Query, by_length, lay_out
from terrascope.model.windows import Windows
from terrascope.train.objective import observed_where

__all__ = [
    "NamedMasks",
    "NamedOutput",
    "TextAlone",
    "TextOutput",
    "TraceIds",
    "competition",
    "mask_names",
    "name_states",
]

_CHANGE_WEIGHT = 4.0
"""Of what happened between two dates, against what there is on one."""
_STATE_WEIGHT = 2.0
"""Of a state that is wrong, against a token that is."""


@dataclasses.dataclass(frozen=True)
class TraceIds:
    """Token ids by which a trace is read.

    Parameters
    ----------
    indicator : int
        Of the token that follows the name of a mask: the date's indicator.
    measured : int or None
        Of the token that ends measured figures: a name stands behind them.
    whole : tuple of tuple of int
        Names of masks that hold others of the same dates (any change holds its kinds).
    words : frozenset of int
        All tokens that names are made of.
    """

    indicator: int
    measured: int | None = None
    whole: tuple[tuple[int, ...], ...] = ()
    words: frozenset[int] = frozenset()


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
        names = [
            name
            for query in queries
            for name in mask_names(query.response, config.seg_token_id, self.ids)
        ]
        where = [(query.window, *pair) for query in queries for pair in query.dates]
        window, before, date = torch.tensor(where, device=device).unbind(1)
        logits = backbone.decode_masks(
            encoded, MaskPrompts(name_states(self.model, names), window, before, date)
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


@dataclasses.dataclass(frozen=True)
class TextOutput:
    """What `TextAlone` yields; fields as of `TerrascopeOutput`.

    Parameters
    ----------
    terms : LossTerms
        Language alone.
    hidden : Tensor of float, shape (R, L, D)
        States; zero in the padding.
    layout : Layout
        What stands where.
    mask_logits : Tensor of float, shape (0, 1, 1)
        No mask is decoded.
    """

    terms: LossTerms
    hidden: Tensor
    layout: Layout
    mask_logits: Tensor


class TextAlone(nn.Module):
    """The language of the model without an image, and without any mask.

    Parameters
    ----------
    model : TerrascopeModel
        Trained in place. The embeddings of the names of masks are held: sight reads them.
    ids : TraceIds
        How names are found in a trace.
    """

    def __init__(self, model: TerrascopeModel, ids: TraceIds) -> None:
        super().__init__()
        self.model = model
        self.ids = ids

    def forward(self, windows: Windows, queries: Sequence[Query], **_: Any) -> TextOutput:
        """Read texts, and compare their next tokens and the states at ``[SEG]``.

        Parameters
        ----------
        windows : Windows
            Not read.
        queries : sequence of Query
            R texts without ``<image>``, whose masks have names.
        **_ : Any
            What `TerrascopeModel.forward` takes besides; not read.

        Returns
        -------
        output : TextOutput
            The loss is the sum of the cross-entropies of the taught tokens and of the mean
            square distances of states to the embeddings of their names, over the number of
            taught tokens.
        """
        del windows
        model = self.model
        layout = self._lay_out(queries)
        hidden = self._run(layout)
        logits, targets = model.taught_logits(layout, hidden)
        loss = language_loss(logits, targets)
        names = [
            name
            for query in queries
            for name in mask_names(query.response, model.config.seg_token_id, self.ids)
        ]
        if names and len(targets):
            wanted = name_states(model, names).detach().float()
            found = hidden[layout.seg_row, layout.seg_position].float()
            far = (found - wanted).square().mean(-1).sum()
            loss = loss + _STATE_WEIGHT * far / len(targets)
        nothing = loss.detach() * 0
        terms = LossTerms(loss, nothing, nothing, nothing, nothing)
        return TextOutput(terms, hidden, layout, hidden.new_zeros(0, 1, 1))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the embeddings of the words of names while the block runs.

        Yields
        ------
        None
            In the meantime their gradients are zero.
        """
        rows = self.model.config.token_rows
        tables = [
            module.weight
            for module in self.model.modules()
            if isinstance(module, nn.Embedding) and module.num_embeddings == rows
        ]
        words = torch.tensor(sorted(self.ids.words), device=self.model.device)
        handles = [
            table.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: gradient.index_fill(0, words, 0)
            )
            for table in tables
            if table.requires_grad
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _lay_out(self, queries: Sequence[Query]) -> Layout:
        config = self.model.config
        opening, closing = config.measure_token_id, config.measure_end_token_id
        return lay_out(
            queries,
            [[]] * (1 + max(query.window for query in queries)),
            [[] for query in queries for _ in query.dates],
            tokens=0,
            seg=config.seg_token_id,
            image=config.image_token_id,
            pad=config.pad_token_id,
            measure=None if opening is None or closing is None else (opening, closing),
            device=self.model.device,
        )

    def _run(self, layout: Layout) -> Tensor:
        """Return the states of texts, shape (R, L, D)."""
        backbone = self.model.backbone

        def run(rows: Tensor, width: int) -> Tensor:
            places = torch.arange(width, device=rows.device).expand(len(rows), -1)
            return backbone.language(backbone.embed(layout.ids[rows, :width]), places)

        return by_length(run, layout.lengths)


def name_states(model: TerrascopeModel, names: Sequence[Sequence[int]]) -> Tensor:
    """Return the states that stand for names.

    Parameters
    ----------
    model : TerrascopeModel
        Gives the embeddings.
    names : sequence of sequence of int
        Tokens of each, M of them.

    Returns
    -------
    states : Tensor of float, shape (M, D)
        Means of the words' embeddings, scaled to the norm of a state.
    """
    device = model.device
    numbers: dict[tuple[int, ...], int] = {}
    which = [numbers.setdefault(tuple(name), len(numbers)) for name in names]
    each = [model.backbone.embed(torch.tensor(name, device=device)).mean(0) for name in numbers]
    states = torch.stack(each)[torch.tensor(which, device=device)]
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
        groups of several masks; of changes, most of whose pixels are easy, times 4. Between two
        dates "none of them" competes too, with a logit of 0; on one date, pixels that belong to
        none of the masks do not count.
    """
    groups, place, counts = torch.unique(dates, dim=0, return_inverse=True, return_counts=True)
    pair = groups[:, 1] >= 0
    rank = ranks(place, counts)
    shape = (len(groups), int(counts.max()) + 1 if len(groups) else 1, *logits.shape[-2:])
    score = logits.new_full(shape, -torch.inf, dtype=torch.float32)
    score[:, -1] = torch.where(pair, 0.0, -torch.inf)[:, None, None]
    score = score.index_put((place, rank), logits.float())
    named = truth.new_zeros(shape).index_put((place, rank), truth)
    judged = valid.new_ones(shape).index_put((place, rank), valid)
    any_name = named.any(1)
    named[:, -1] = pair[:, None, None] & ~any_name
    known = judged.all(1) & (any_name | pair[:, None, None]) & (counts > 1)[:, None, None]
    wrong = score.logsumexp(1) - torch.where(named, score, 0.0).sum(1)
    pixels = known.flatten(1).sum(1)
    means = torch.where(known, wrong, 0.0).flatten(1).sum(1) / pixels.clamp(min=1)
    weight = torch.where(pair, _CHANGE_WEIGHT, 1.0)
    loss: Tensor = (weight * means).sum() / (pixels > 0).sum().clamp(min=1)
    return loss


def mask_names(response: Sequence[int], seg: int, ids: TraceIds) -> list[list[int]]:
    """Find the name of every mask of a trace.

    Parameters
    ----------
    response : sequence of int
        Token ids: each name stands before its date.
    seg : int
        Id of ``[SEG]``.
    ids : TraceIds
        How a trace is read.

    Returns
    -------
    names : list of list of int
        One per ``[SEG]``: the tokens since the last one (of the first, since the opening tag)
        and its figures.

    Raises
    ------
    ValueError
        If a mask has no name.
    """
    names: list[list[int]] = []
    part: list[int] = []
    for number in response[1:]:
        if number == ids.measured:
            part = []
        elif number != seg:
            part.append(number)
        else:
            if ids.indicator not in part or part[0] == ids.indicator:
                raise ValueError(f"mask {len(names)} of a trace has no name before its date")
            names.append(part[: part.index(ids.indicator)])
            part = []
    return names
