"""The objective: language, masks, boundaries, alignment of the sensors; each a setting."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from terrascope.model.configuration_terrascope import TerrascopeConfig

__all__ = [
    "LossTerms",
    "boundary_band",
    "contrastive_loss",
    "language_loss",
    "mask_losses",
    "total_loss",
]


@dataclasses.dataclass(frozen=True)
class LossTerms:
    """The parts of the objective, each before its weight.

    Parameters
    ----------
    language : Tensor
        Scalar; zero where nothing is taught.
    dice, cross_entropy, boundary : Tensor
        Scalars; zero where there is no mask, `boundary` also where it is switched off.
    contrastive : Tensor
        Scalar; zero where no date has both sensors, or it is switched off.
    """

    language: Tensor
    dice: Tensor
    cross_entropy: Tensor
    boundary: Tensor
    contrastive: Tensor


def total_loss(terms: LossTerms, config: TerrascopeConfig) -> Tensor:
    """Weigh and add the terms.

    Parameters
    ----------
    terms : LossTerms
        Of one batch.
    config : TerrascopeConfig
        Weights.

    Returns
    -------
    loss : Tensor
        Scalar: ``language + 0.5 (dice + cross_entropy)`` with the defaults [1]_. A term of
        weight 0 is left out altogether, so that it cannot carry a NaN in.

    References
    ----------
    .. [1] Shu et al. (2026). TerraScope. arXiv:2603.19039, section 3.
    """
    mask = config.mask_weight
    weighted = (
        (config.language_weight, terms.language),
        (mask * config.dice_weight, terms.dice),
        (mask * config.cross_entropy_weight, terms.cross_entropy),
        (mask * config.boundary_weight, terms.boundary),
        (config.contrastive_weight, terms.contrastive),
    )
    total = torch.zeros_like(terms.language)
    for weight, term in weighted:
        if weight:
            total = total + weight * term
    return total


def language_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the next token, mean over the taught tokens of the batch.

    Parameters
    ----------
    logits : Tensor of float, shape (K, V)
        At the positions before the taught tokens.
    targets : Tensor of int64, shape (K,)
        The taught tokens.

    Returns
    -------
    loss : Tensor of float32
        Scalar; zero, with a gradient of zero, where nothing is taught.
    """
    if not len(targets):
        return logits.float().sum()
    return functional.cross_entropy(logits.float(), targets)


def boundary_band(truth: Tensor, width: int) -> Tensor:
    """Find the pixels near the boundary of a mask, on both sides.

    Parameters
    ----------
    truth : Tensor of bool, shape (M, H, W)
        Masks. The edge of the window is no boundary.
    width : int
        Reach in pixels (chessboard distance).

    Returns
    -------
    band : Tensor of bool, shape (M, H, W)
        Pixels with a pixel of the other kind within `width`.
    """
    return _grown(truth, width) & _grown(~truth, width)


def _grown(mask: Tensor, width: int) -> Tensor:
    """Dilate masks by a square, one axis after the other."""
    for axis in (1, 2):
        reached = mask.clone()
        length = mask.shape[axis]
        for step in range(1, min(width, length - 1) + 1):
            ahead = mask.narrow(axis, 0, length - step)
            behind = mask.narrow(axis, step, length - step)
            reached.narrow(axis, step, length - step).logical_or_(ahead)
            reached.narrow(axis, 0, length - step).logical_or_(behind)
        mask = reached
    return mask


def mask_losses(
    logits: Tensor, truth: Tensor, valid: Tensor, *, boundary_width: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compare masks with the truth where it was observed.

    Parameters
    ----------
    logits : Tensor of float, shape (M, H, W)
        Decoded masks.
    truth : Tensor of bool, shape (M, H, W)
        What they should be.
    valid : Tensor of bool, shape (M, H, W)
        Pixels that count: observed and labelled.
    boundary_width : int or None
        Reach of the boundary term; None leaves it out.

    Returns
    -------
    dice, cross_entropy, boundary : Tensor of float32
        Scalars. Each is a mean over masks, so that a small object counts as much as a large one:
        for `cross_entropy` over those that have a valid pixel, for `boundary` one near the
        boundary, for `dice` one inside: an empty mask has nothing to overlap with, and the
        other terms say what is wrong with it.
    """
    scores = logits.float()
    target = truth.float()
    counts = valid.float()
    if not len(scores):
        nothing = scores.sum()
        return nothing, nothing, nothing
    pixels = counts.sum((1, 2))
    judged = (pixels > 0).float()
    inside = torch.sigmoid(scores) * counts
    size = (target * counts).sum((1, 2))
    there = (size > 0).float()
    dice = 1 - (2 * (inside * target).sum((1, 2)) + 1) / (inside.sum((1, 2)) + size + 1)
    each = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    entropy = (each * counts).sum((1, 2)) / pixels.clamp(min=1)
    boundary = torch.zeros_like(entropy)
    near = torch.zeros_like(judged)
    if boundary_width is not None:
        band = boundary_band(truth, boundary_width).float() * counts
        rim = band.sum((1, 2))
        near = (rim > 0).float()
        boundary = (each * band).sum((1, 2)) / rim.clamp(min=1)
    return (
        (dice * there).sum() / there.sum().clamp(min=1),
        (entropy * judged).sum() / judged.sum().clamp(min=1),
        (boundary * near).sum() / near.sum().clamp(min=1),
    )


def contrastive_loss(content: Tensor, present: Tensor, *, temperature: float) -> Tensor:
    """Align what the two sensors say of the same cell on the same date.

    Parameters
    ----------
    content : Tensor of float, shape (B, T, S, N, E)
        Features of the cells.
    present : Tensor of bool, shape (B, T, S)
        Which images exist.
    temperature : float
        Of the similarities.

    Returns
    -------
    loss : Tensor of float32
        Scalar: symmetric cross-entropy of finding a cell's other sensor among the cells of the
        same image [1]_; zero where no date has both.

    References
    ----------
    .. [1] van den Oord et al. (2018). Representation learning with contrastive predictive
       coding. arXiv:1807.03748.
    """
    both = present.all(-1)
    pairs = functional.normalize(content[both].float(), dim=-1)  # (P, S, N, E)
    if not len(pairs):
        return content.float().sum() * 0
    similarity = pairs[:, 0] @ pairs[:, 1].transpose(1, 2) / temperature  # (P, N, N)
    target = torch.arange(similarity.shape[1], device=similarity.device)
    target = target.expand(similarity.shape[0], -1)
    there = functional.cross_entropy(similarity.transpose(1, 2), target)
    back = functional.cross_entropy(similarity, target)
    return (there + back) / 2
