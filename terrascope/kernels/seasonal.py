"""What a pixel should look like in a month, from its own past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from terrascope.kernels.composite import middle_values
from terrascope.types import FloatArray

__all__ = ["month_distance", "nan_median", "seasonal_reference"]

_REACH: Final = (1, 2, 6)
"""Months around the target's that are searched, the nearest that has an observation."""


def month_distance(month: int, other: int) -> int:
    """Count the months between two months of the year, around the turn of the year.

    Parameters
    ----------
    month, other : int
        1 to 12.

    Returns
    -------
    distance : int
        0 to 6.
    """
    gap = abs(month - other) % 12
    return min(gap, 12 - gap)


def nan_median(stack: FloatArray) -> FloatArray:
    """Return the median of the observed values along the first axis.

    Parameters
    ----------
    stack : ndarray of float32, shape (n, ...)
        NaN where not observed.

    Returns
    -------
    median : ndarray of float32, shape (...)
        NaN where nothing was observed.
    """
    if stack.shape[0] == 1:
        only: FloatArray = stack[0]
        return only
    seen = np.isfinite(stack)
    count = seen.sum(axis=0, dtype=np.int16)
    low, high = middle_values(np.where(seen, stack, np.float32(np.inf)), count)
    return np.where(count > 0, (low + high) / 2, np.float32(np.nan))


def seasonal_reference(
    baseline: FloatArray, baseline_months: Sequence[int], target_month: int
) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Predict a month from the same months of the past.

    The median over the baseline periods within one month of the target's; where
    a pixel was not observed in those, within two, then any.

    Parameters
    ----------
    baseline : ndarray of float32, shape (time, ...)
        NaN where not observed.
    baseline_months : sequence of int
        Calendar month of each period, 1 to 12.
    target_month : int
        1 to 12.

    Returns
    -------
    reference : ndarray of float32, shape (...)
        NaN where the pixel was never observed.
    reach : ndarray of uint8, shape (...)
        Months that had to be searched: the greatest distance of the periods
        used, at least 0.
    """
    distance = np.array([month_distance(month, target_month) for month in baseline_months])
    reference = np.full(baseline.shape[1:], np.nan, dtype=np.float32)
    reach = np.zeros(baseline.shape[1:], dtype=np.uint8)
    inner = -1
    for limit in _REACH:
        near = distance <= limit
        if not near.any() or (distance[near] <= inner).all():
            continue
        missing = np.isnan(reference)
        if not missing.any():
            break
        found = nan_median(baseline[near])
        use = missing & np.isfinite(found)
        reference = np.where(use, found, reference)
        reach[use] = int(distance[near].min()) if inner < 0 else int(distance[near].max())
        inner = limit
    return reference, reach
