"""The objective over several batches and processes: every token and every mask counts alike.

A loss of the model is a mean over the tokens or masks of one batch. The gradient of a step that
is shared out among batches and processes is that of one large batch only if each mean enters by
its share of what was counted in all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from terrascope.model.configuration_terrascope import TerrascopeConfig
from terrascope.model.losses import LossTerms, boundary_band, total_loss
from terrascope.model.sequences import Query, taught_tokens
from terrascope.model.windows import Windows

__all__ = [
    "TERMS",
    "Placed",
    "TrainingBatch",
    "count_terms",
    "observed_pixels",
    "observed_where",
    "shared_loss",
]

TERMS = tuple(field.name for field in dataclasses.fields(LossTerms))
"""Names of the parts of the objective."""


class TrainingBatch(Protocol):
    """What a step learns from; `terrascope.data.batches.Batch` is one."""

    @property
    def windows(self) -> Windows:
        """B windows."""

    @property
    def queries(self) -> Sequence[Query]:
        """R questions with responses."""

    @property
    def truth(self) -> Tensor:
        """True mask of every ``[SEG]``, bool, shape (K, H, W)."""

    @property
    def truth_valid(self) -> Tensor:
        """Pixels whose label is known, bool, shape (K, H, W)."""

    @property
    def injected(self) -> Tensor:
        """Masks whose tokens are injected, bool, shape (K, H, W); empty ones for none."""


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """A batch on a device; fields as of `TrainingBatch`.

    Parameters
    ----------
    windows : Windows
        B windows.
    queries : sequence of Query
        R questions with responses.
    truth, truth_valid, injected : Tensor of bool, shape (K, H, W)
        Of the masks.
    """

    windows: Windows
    queries: Sequence[Query]
    truth: Tensor
    truth_valid: Tensor
    injected: Tensor

    @classmethod
    def of(cls, batch: TrainingBatch, device: torch.device) -> Placed:
        """Bring a batch onto a device.

        Parameters
        ----------
        batch : TrainingBatch
            Anywhere.
        device : torch.device
            Where it is wanted.

        Returns
        -------
        placed : Placed
            There; what was there before is not copied.
        """
        return cls(
            batch.windows.to(device, non_blocking=True),
            batch.queries,
            batch.truth.to(device, non_blocking=True),
            batch.truth_valid.to(device, non_blocking=True),
            batch.injected.to(device, non_blocking=True),
        )

    def run(self, module: nn.Module) -> Any:
        """Give the batch to a model, or to what runs a part of it.

        Parameters
        ----------
        module : Module
            Of this device; takes what `TerrascopeModel.forward` does.

        Returns
        -------
        output : Any
            Its output, with `terms`; what questions of a window share was computed once.
        """
        return module(
            self.windows,
            self.queries,
            truth=self.truth,
            truth_valid=self.truth_valid,
            injected=self.injected,
            shared=True,
        )


def observed_pixels(batch: TrainingBatch) -> Tensor:
    """Find the pixels on which masks are judged.

    Parameters
    ----------
    batch : TrainingBatch
        K masks.

    Returns
    -------
    valid : Tensor of bool, shape (K, H, W)
        Labelled, and observed on the date of the mask, of a change on both dates.
    """
    where = [(query.window, *pair) for query in batch.queries for pair in query.dates]
    device = batch.truth_valid.device
    window, before, date = torch.tensor(where, device=device).reshape(-1, 3).unbind(1)
    return observed_where(batch.windows.observed, window, before, date) & batch.truth_valid


def observed_where(observed: Tensor, window: Tensor, before: Tensor, date: Tensor) -> Tensor:
    """Find the pixels that were observed on the dates of masks.

    Parameters
    ----------
    observed : Tensor of bool, shape (B, T, H, W)
        Of the windows.
    window, before, date : Tensor of int64, shape (K,)
        Of each mask; `before` is -1 where it is of one date.

    Returns
    -------
    seen : Tensor of bool, shape (K, H, W)
        On the date, of a change on both dates.
    """
    first = observed[window, before.clamp(min=0)] | (before < 0)[:, None, None]
    return observed[window, date] & first


def count_terms(batch: TrainingBatch, config: TerrascopeConfig) -> Tensor:
    """Count what each part of the objective is a mean over.

    Parameters
    ----------
    batch : TrainingBatch
        Before it is run.
    config : TerrascopeConfig
        Says which parts are on.

    Returns
    -------
    counts : Tensor of float64, shape (5,)
        In the order of `TERMS`: taught tokens, judged masks that are not empty, judged masks,
        masks with a judged pixel near their boundary, dates with both sensors.
    """
    opening, closing = config.measure_token_id, config.measure_end_token_id
    measure = None if opening is None or closing is None else (opening, closing)
    tokens = sum(taught_tokens(query, measure).count(True) for query in batch.queries)
    valid = observed_pixels(batch)
    masks = int(valid.flatten(1).any(1).sum()) if len(valid) else 0
    there = int((valid & batch.truth).flatten(1).any(1).sum()) if len(valid) else 0
    near = 0
    if config.boundary_weight and len(valid):
        band = boundary_band(batch.truth, config.boundary_width) & valid
        near = int(band.flatten(1).any(1).sum())
    pairs = int(batch.windows.present.all(-1).sum()) if config.contrastive_weight else 0
    return torch.tensor([tokens, there, masks, near, pairs], dtype=torch.float64)


def shared_loss(
    terms: LossTerms, config: TerrascopeConfig, counts: Tensor, total: Tensor
) -> Tensor:
    """Weigh the parts of one batch by its share of the step.

    Parameters
    ----------
    terms : LossTerms
        Of this batch.
    config : TerrascopeConfig
        Weights of the parts.
    counts : Tensor of float64, shape (5,)
        Of this batch, from `count_terms`.
    total : Tensor of float64, shape (5,)
        Sum of the counts of all batches of the step, in all processes.

    Returns
    -------
    loss : Tensor
        Scalar; the sum over the batches of a step is the objective of the one large batch.
    """
    shares = (counts / total.clamp(min=1)).tolist()
    weighed = {
        name: getattr(terms, name) * share for name, share in zip(TERMS, shares, strict=True)
    }
    return total_loss(LossTerms(**weighed), config)
