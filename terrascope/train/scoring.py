"""Scores of probability maps against masks, all pixels together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from terrascope.types import BoolArray, FloatArray

__all__ = ["PixelScores", "score_pixels"]

_BINS = 15


@dataclasses.dataclass(frozen=True)
class PixelScores:
    """How good maps are.

    Parameters
    ----------
    f1, iou : float
        Of the pixels above 0.5; 1 where nothing is there and nothing was found.
    precision, recall : float
        Their parts; 1 where nothing was found, or nothing is there.
    ece : float
        Expected calibration error of the probabilities, 15 bins of equal width.
    pixels : int
        That were judged.
    positives : int
        That are of the class.
    """

    f1: float
    iou: float
    precision: float
    recall: float
    ece: float
    pixels: int
    positives: int


def score_pixels(
    probabilities: Sequence[FloatArray], truth: Sequence[BoolArray], known: Sequence[BoolArray]
) -> PixelScores:
    """Score maps, pooled over their pixels.

    Parameters
    ----------
    probabilities : sequence of ndarray of float32, shape (H, W)
        Maps.
    truth, known : sequence of ndarray of bool, shape (H, W)
        What is there, and where that is known.

    Returns
    -------
    scores : PixelScores
        Of all known pixels.

    References
    ----------
    .. [1] Guo et al. (2017). On calibration of modern neural networks. ICML.
    """
    said = np.concatenate([p[k] for p, k in zip(probabilities, known, strict=True)])
    real = np.concatenate([t[k] for t, k in zip(truth, known, strict=True)])
    found = said > 0.5
    hits = int((found & real).sum())
    extra, missed = int((found & ~real).sum()), int((~found & real).sum())
    wrong = extra + missed
    place = np.minimum((said * _BINS).astype(np.int64), _BINS - 1)
    gap = np.bincount(place, weights=said - real, minlength=_BINS)
    return PixelScores(
        f1=2 * hits / (2 * hits + wrong) if hits + wrong else 1.0,
        iou=hits / (hits + wrong) if hits + wrong else 1.0,
        precision=hits / (hits + extra) if hits + extra else 1.0,
        recall=hits / (hits + missed) if hits + missed else 1.0,
        ece=float(np.abs(gap).sum() / max(len(said), 1)),
        pixels=len(said),
        positives=int(real.sum()),
    )
