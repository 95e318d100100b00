"""How long an anomaly has to last before it is a change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.types import FloatArray

__all__ = ["latest_observed", "persistent_anomaly"]


def _needed(count: int) -> int:
    """Periods that have to agree, of `count`: one of one, two of a few, a quarter of many."""
    return min(count, max(2, math.ceil(count / 4)))


def persistent_anomaly(deviation: FloatArray) -> tuple[FloatArray, NDArray[np.int16]]:
    """Find the anomaly that lasts from some period to the end of the series.

    For each possible start, the deviation that at least half of the observed
    periods from there on reach (the lower median): one missed cloud neither
    makes nor hides a change. Agreement of n periods makes it sqrt(2 n / (n + 1))
    times as improbable: their differences share the baseline's error, so they
    correlate by one half. The start with the strongest anomaly wins, among
    those that show half of it themselves and have two observed periods behind
    them where the pixel has two.

    Parameters
    ----------
    deviation : ndarray of float32, shape (time, y, x)
        Standard deviations in the direction of a change; NaN where not observed.

    Returns
    -------
    persistent : ndarray of float32, shape (y, x)
        NaN where never observed.
    start : ndarray of int16, shape (y, x)
        First period of the anomaly, -1 where never observed.
    """
    if len(deviation) == 1:
        return deviation[0], np.where(np.isfinite(deviation[0]), 0, -1).astype(np.int16)
    seen = np.isfinite(deviation)
    count = seen.sum(axis=0)
    best = np.full(deviation.shape[1:], np.nan, dtype=np.float32)
    start = np.full(deviation.shape[1:], -1, dtype=np.int16)
    needed = np.array([_needed(n) for n in range(len(deviation) + 1)])[count]
    n = np.arange(len(deviation) + 1, dtype=np.float32)
    agreement = np.sqrt(2 * n / (n + 1))
    ordered = np.full_like(deviation, np.nan)
    for first in reversed(range(len(deviation))):
        ordered = _insert(ordered, deviation[first])
        behind = seen[first:].sum(axis=0)
        middle = np.maximum(behind - 1, 0) // 2
        lasting = np.take_along_axis(ordered, middle[None], axis=0)[0]
        begins = deviation[first] >= np.minimum(lasting / 2, lasting)
        lasting = lasting * agreement[behind]
        better = begins & (behind >= needed) & ~(lasting <= best)
        best = np.where(better, lasting, best)
        start[better] = first
    # A deviation that fades may show no start at all: then the whole series speaks, which is what
    # the last round looked at.
    silent = np.isnan(best) & (count > 0)
    start[silent] = seen.argmax(axis=0)[silent]
    return np.where(silent, lasting, best), start


def latest_observed(values: Sequence[FloatArray]) -> FloatArray:
    """Take each pixel's last observed value.

    Parameters
    ----------
    values : sequence of ndarray of float32, shape (...)
        In order of time, at least one; NaN where not observed.

    Returns
    -------
    latest : ndarray of float32, shape (...)
        NaN where never observed.
    """
    latest = values[0]
    for value in values[1:]:
        latest = np.where(np.isfinite(value), value, latest)
    return latest


def _insert(ordered: FloatArray, value: FloatArray) -> FloatArray:
    """Insert one period into values that are sorted along the first axis, NaN last."""
    result = ordered.copy()
    carry = value
    for i in range(len(ordered)):
        low = np.fmin(result[i], carry)
        both = np.isfinite(result[i]) & np.isfinite(carry)
        carry = np.where(both, np.maximum(result[i], carry), np.float32(np.nan))
        result[i] = low
        if not np.isfinite(carry).any():
            break
    return result
