"""How good a model is while it learns, on samples that no step sees, the trace given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from terrascope.model.modeling_terrascope import TerrascopeModel, TerrascopeOutput
from terrascope.train.naming import NamedOutput, TextOutput
from terrascope.train.objective import TERMS, Placed, TrainingBatch, count_terms, observed_pixels

__all__ = ["Tally", "answer_positions", "mask_ious", "validate"]


class Tally:
    """Sums and counts by name, that processes can add up.

    Parameters
    ----------
    names : sequence of str
        What is counted, in a fixed order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.sums = torch.zeros(len(self.names), 2, dtype=torch.float64)

    def add(self, name: str, total: float, count: float) -> None:
        """Add to one of them.

        Parameters
        ----------
        name : str
            Which.
        total, count : float
            Sum of values and how many they were.
        """
        self.sums[self.names.index(name)] += torch.tensor([total, count], dtype=torch.float64)

    def means(self) -> dict[str, float]:
        """Return the means of all that was counted.

        Returns
        -------
        means : dict of str to float
            Without those of which nothing was counted.
        """
        values = self.sums.tolist()
        return {
            name: total / count
            for name, (total, count) in zip(self.names, values, strict=True)
            if count
        }


SCORES = ("mask_iou", "mask_iou_present", "token_accuracy", "answer_accuracy")


def mask_ious(found: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Compare masks with the truth.

    Parameters
    ----------
    found, truth, valid : Tensor of bool, shape (K, H, W)
        Decoded, true, and where it is judged.

    Returns
    -------
    iou : Tensor of float64, shape (K,)
        Intersection over union of the judged pixels; 1 where both are empty there.
    """
    both = (found & truth & valid).flatten(1).sum(1).double()
    either = ((found | truth) & valid).flatten(1).sum(1).double()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))


def answer_positions(ids: Tensor, opening: int, closing: int) -> Tensor:
    """Find the tokens of the answers.

    Parameters
    ----------
    ids : Tensor of int64, shape (R, L)
        Sequences.
    opening, closing : int
        Ids of ``<answer>`` and ``</answer>``.

    Returns
    -------
    inside : Tensor of bool, shape (R, L)
        Behind the last opening up to the closing one, which is included.
    """
    opened = ids == opening
    begun = opened.flip(1).cumsum(1).flip(1)  # openings from here on
    after = (begun == 0) & opened.any(1, keepdim=True)
    ended = ((ids == closing) & after).cumsum(1)
    return after & ((ended == 0) | ((ids == closing) & (ended == 1)))


@contextlib.contextmanager
def evaluating(model: TerrascopeModel) -> Iterator[None]:
    """Switch dropout off while the block runs.

    Parameters
    ----------
    model : TerrascopeModel
        Back in training afterwards, if it was before.

    Yields
    ------
    None
        In the meantime nothing is recorded for gradients.
    """
    training = model.training
    model.train(mode=False)
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def validate(
    model: TerrascopeModel,
    batches: Sequence[TrainingBatch],
    answer: tuple[int, int],
    runs: nn.Module | None = None,
) -> Tally:
    """Score a model on samples with their traces given.

    Parameters
    ----------
    model : TerrascopeModel
        Of the weights that are judged.
    batches : sequence of TrainingBatch
        The same at every look.
    answer : tuple of int
        Ids of ``<answer>`` and ``</answer>``.
    runs : Module or None
        What is run in place of the model: `terrascope.train.naming.NamedMasks` or
        `TextAlone` around it.

    Returns
    -------
    tally : Tally
        Parts of the objective; IoU of masks, also of those that are not empty; share of taught
        tokens that are the likeliest; share of answers of which all tokens are.
    """
    tally = Tally((*TERMS, *SCORES))
    with evaluating(model):
        for made in batches:
            batch = Placed.of(made, model.device)
            output = batch.run(model if runs is None else runs)
            counts = count_terms(batch, model.config).tolist()
            for name, count in zip(TERMS, counts, strict=True):
                tally.add(name, float(getattr(output.terms, name)) * count, count)
            _add_masks(tally, model, output, batch)
            if not isinstance(output, NamedOutput):
                _add_tokens(tally, model, output, answer)
    return tally


def _add_masks(
    tally: Tally,
    model: TerrascopeModel,
    output: TerrascopeOutput | NamedOutput | TextOutput,
    batch: TrainingBatch,
) -> None:
    if not len(output.mask_logits):
        return
    valid = observed_pixels(batch)
    judged = valid.flatten(1).any(1)
    iou = mask_ious(model.binary_mask(output.mask_logits), batch.truth, valid)[judged]
    there = (batch.truth & valid).flatten(1).any(1)[judged]
    tally.add("mask_iou", float(iou.sum()), len(iou))
    tally.add("mask_iou_present", float(iou[there].sum()), int(there.sum()))


def _add_tokens(
    tally: Tally,
    model: TerrascopeModel,
    output: TerrascopeOutput | TextOutput,
    answer: tuple[int, int],
) -> None:
    logits, targets = model.taught_logits(output.layout, output.hidden)
    if not len(targets):
        return
    right = logits.argmax(-1) == targets
    tally.add("token_accuracy", float(right.sum()), len(right))
    taught = output.layout.taught[:, 1:]
    inside = answer_positions(output.layout.ids, *answer)[:, 1:] & taught
    wrong = torch.zeros_like(taught)
    wrong[taught] = ~right
    asked = inside.any(1)
    missed = (wrong & inside).any(1)
    tally.add("answer_accuracy", float((asked & ~missed).sum()), int(asked.sum()))
