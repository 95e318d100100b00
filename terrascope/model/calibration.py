"""Fit what makes probabilities and intervals believable: temperature and correlation length.

Both are one number each, saved in the model's configuration, and fitted on
masks that the model was not trained on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from terrascope.model.geometry import Geometry
from terrascope.model.uncertainty import Calibration, interval, mask_thresholds, sampled_sums

__all__ = ["Judged", "coverage", "fit_correlation_length", "fit_temperature"]


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """One mask with its truth.

    Parameters
    ----------
    probability : Tensor of float, shape (H, W)
        What the model says, temperature applied.
    truth : Tensor of bool, shape (H, W)
        What is there.
    valid : Tensor of bool, shape (H, W)
        Observed and labelled.
    geometry : Geometry
        Of the window.
    """

    probability: Tensor
    truth: Tensor
    valid: Tensor
    geometry: Geometry


def fit_temperature(logits: Tensor, truth: Tensor, valid: Tensor) -> float:
    """Find the temperature under which the truth is likeliest.

    Parameters
    ----------
    logits : Tensor of float, any shape
        Of the mask decoder.
    truth : Tensor of bool, same shape
        What is there.
    valid : Tensor of bool, same shape
        Pixels that count.

    Returns
    -------
    temperature : float
        Between 0.05 and 20, to 1e-4 of itself.

    Raises
    ------
    ValueError
        If no pixel counts.
    """
    score, real = logits[valid].double(), truth[valid].double()
    if not score.numel():
        raise ValueError("no valid pixel to fit a temperature on")

    def loss(log_t: float) -> float:
        scaled = score * torch.exp(torch.tensor(-log_t, dtype=torch.float64))
        return float(functional.binary_cross_entropy_with_logits(scaled, real))

    # The likelihood is concave in 1 / temperature, so it has one peak: golden section.
    low, high, golden = -3.0, 3.0, (5**0.5 - 1) / 2
    while high - low > 1e-4:
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(torch.exp(torch.tensor((low + high) / 2)))


def coverage(masks: Sequence[Judged], calibration: Calibration) -> float:
    """Return how often the interval of the area holds the true area.

    Parameters
    ----------
    masks : sequence of Judged
        At least one.
    calibration : Calibration
        Of the intervals; its temperature is not applied again.

    Returns
    -------
    share : float
        To be compared with the level of `calibration`.
    """
    held = [_holds(mask, calibration) for mask in masks]
    return sum(held) / len(held)


def fit_correlation_length(
    masks: Sequence[Judged],
    calibration: Calibration,
    candidates_m: Sequence[float] = (0, 10, 20, 40, 60, 90, 120, 180, 240, 360, 480, 720, 960),
) -> Calibration:
    """Find the correlation length under which intervals cover as often as they say.

    Parameters
    ----------
    masks : sequence of Judged
        A few hundred; with fewer the choice is coarse.
    calibration : Calibration
        Temperature, samples, level and seed.
    candidates_m : sequence of float
        Lengths to try, in metres.

    Returns
    -------
    calibration : Calibration
        With the length whose coverage is nearest to the level; the shortest of equals.
    """
    tried = [
        dataclasses.replace(calibration, correlation_length_m=float(length))
        for length in sorted(candidates_m)
    ]
    return min(tried, key=lambda one: round(abs(coverage(masks, one) - one.level), 6))


def _holds(mask: Judged, calibration: Calibration) -> bool:
    area = torch.as_tensor(mask.geometry.area_map_m2.copy()) * mask.valid
    length = [calibration.correlation_length_m / size for size in mask.geometry.pixel_size_yx_m]
    fields = mask_thresholds(
        mask.geometry.shape_yx,
        (length[0], length[1]),
        samples=calibration.samples,
        seed=calibration.seed,
    )
    low, high = interval(sampled_sums(mask.probability, area, fields), calibration.level)
    true = float((area * mask.truth).sum())
    slack = 1e-6 * max(true, 1.0)  # sums of float32 areas
    return low - slack <= true <= high + slack
