"""Scores of a change map against truth: pixel counts, rates, and the best a threshold can do.

Every score is taken over the pixels that were observed; what was not observed
is neither right nor wrong, and its share is reported apart.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.types import BoolArray

__all__ = ["Confusion", "Rate", "ThresholdFit", "best_threshold", "confusion", "rate"]


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Counts of pixels, prediction against truth.

    Parameters
    ----------
    hits : int
        Predicted and true.
    false_alarms : int
        Predicted, not true.
    misses : int
        True, not predicted.
    rejections : int
        Neither.
    """

    hits: int
    false_alarms: int
    misses: int
    rejections: int

    @property
    def pixels(self) -> int:
        """All pixels that were compared."""
        return self.hits + self.false_alarms + self.misses + self.rejections

    @property
    def precision(self) -> float:
        """Share of the predicted that is true; NaN where nothing was predicted."""
        return _share(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """Share of the true that was predicted; NaN where nothing is true."""
        return _share(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where nothing is true or predicted."""
        return _share(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)

    @property
    def iou(self) -> float:
        """Intersection over union of the predicted and the true; NaN where both are empty."""
        return _share(self.hits, self.hits + self.false_alarms + self.misses)

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            self.hits + other.hits,
            self.false_alarms + other.false_alarms,
            self.misses + other.misses,
            self.rejections + other.rejections,
        )


@dataclasses.dataclass(frozen=True)
class Rate:
    """A share with the counts behind it.

    Parameters
    ----------
    alarms : int
        Pixels flagged as change.
    pixels : int
        Pixels in all.
    """

    alarms: int
    pixels: int

    @property
    def share(self) -> float:
        """Alarms over pixels; NaN without pixels."""
        return _share(self.alarms, self.pixels)

    def __add__(self, other: Rate) -> Rate:
        return Rate(self.alarms + other.alarms, self.pixels + other.pixels)


@dataclasses.dataclass(frozen=True)
class ThresholdFit:
    """The best a single threshold can do, tuned on the truth itself.

    Parameters
    ----------
    threshold : float
        Predicted is where the score is at least this; NaN where nothing could be scored.
    confusion : Confusion
        At that threshold.
    """

    threshold: float
    confusion: Confusion


def confusion(predicted: BoolArray, truth: BoolArray, observed: BoolArray) -> Confusion:
    """Count agreement over the observed pixels.

    Parameters
    ----------
    predicted, truth, observed : ndarray of bool, same shape
        What is not observed is left out.

    Returns
    -------
    counts : Confusion
        Of the observed pixels.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if not predicted.shape == truth.shape == observed.shape:
        raise ValueError(
            f"shapes {predicted.shape}, {truth.shape}, {observed.shape}: expected the same"
        )
    guess, real = predicted[observed], truth[observed]
    hits = int(np.count_nonzero(guess & real))
    false_alarms = int(np.count_nonzero(guess)) - hits
    misses = int(np.count_nonzero(real)) - hits
    return Confusion(hits, false_alarms, misses, guess.size - hits - false_alarms - misses)


def rate(alarm: BoolArray, where: BoolArray) -> Rate:
    """Count alarms within a set of pixels.

    Parameters
    ----------
    alarm : ndarray of bool
        Flagged as change.
    where : ndarray of bool, same shape
        The set.

    Returns
    -------
    counts : Rate
        Alarms and pixels of the set.
    """
    return Rate(int(np.count_nonzero(alarm & where)), int(np.count_nonzero(where)))


def best_threshold(score: NDArray[Any], truth: BoolArray, observed: BoolArray) -> ThresholdFit:
    """Find the threshold with the highest F1, knowing the truth.

    Parameters
    ----------
    score : ndarray of float
        Higher means change; NaN is not observed.
    truth, observed : ndarray of bool, same shape
        What is not observed is left out.

    Returns
    -------
    fit : ThresholdFit
        The lowest of the thresholds with the highest F1; every distinct score is tried.
    """
    use = observed & np.isfinite(score)
    values, real = score[use], truth[use]
    total = int(np.count_nonzero(real))
    if total == 0:
        return ThresholdFit(float("nan"), Confusion(0, 0, 0, int(values.size)))
    order = np.argsort(values, kind="stable")[::-1]
    ranked = values[order]
    hits = np.cumsum(real[order])
    flagged = np.arange(1, values.size + 1)
    # A threshold takes all pixels of equal score, or none of them.
    last = np.append(ranked[1:] != ranked[:-1], True)
    f1 = np.where(last, 2.0 * hits / (flagged + total), -1.0)
    best = f1.size - 1 - int(np.argmax(f1[::-1]))
    taken, found = int(flagged[best]), int(hits[best])
    counts = Confusion(
        found, taken - found, total - found, int(values.size) - taken - total + found
    )
    return ThresholdFit(float(ranked[best]), counts)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
