"""The statistical screen: evidence of all sensors and orbits, fused per pixel.

The prior is counted once and the likelihood ratios of the sensors are added:
they look at different physics. A probability of 0.5 is as likely as not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.kernels.change_optical import OPTICAL_BANDS, OPTICAL_HALO_M, screen_optical
from terrascope.kernels.change_sar import SAR_HALO_M, fit_shift_node, screen_sar
from terrascope.kernels.evidence import PRIOR_LOG_ODDS, Evidence
from terrascope.types import ChangeKind, FloatArray, Status

__all__ = [
    "HALO_M",
    "OPTICAL_BANDS",
    "Evidence",
    "ScreenResult",
    "fit_shift_node",
    "fuse",
    "screen_optical",
    "screen_sar",
]

HALO_M = max(OPTICAL_HALO_M, SAR_HALO_M)
"""Metres of ground beyond a block that its screen needs."""


@dataclasses.dataclass(frozen=True, eq=False)
class ScreenResult:
    """The screen's map layers.

    Parameters
    ----------
    probability : ndarray of float32, shape (y, x)
        Of change, NaN where no sensor saw the pixel before and after.
    kind : ndarray of uint8, shape (y, x)
        `ChangeKind`; 0 where the probability is below the threshold.
    status : ndarray of uint8, shape (y, x)
        `Status`: 0 not observed, 1 no change, 2 provisional.
    observations : ndarray of uint16, shape (y, x)
        Clear target periods, summed over sensors and orbits.
    detected_index : ndarray of int16, shape (y, x)
        First target period of the anomaly, -1 where there is no change.
    confidence : ndarray of float32, shape (y, x)
        0 (a coin's toss) to 1, one look half of that at most; NaN where not observed.
    strongest : ndarray of uint8, shape (y, x)
        Code of the index or polarisation that deviates most, 0 where not observed.
    deviation : ndarray of float32, shape (y, x)
        Its signed deviation in standard deviations, NaN where not observed.
    """

    probability: FloatArray
    kind: NDArray[np.uint8]
    status: NDArray[np.uint8]
    observations: NDArray[np.uint16]
    detected_index: NDArray[np.int16]
    confidence: FloatArray
    strongest: NDArray[np.uint8]
    deviation: FloatArray


def fuse(evidences: Sequence[Evidence], *, threshold: float = 0.5) -> ScreenResult:
    """Fuse the evidence of sensors and orbits.

    Parameters
    ----------
    evidences : sequence of Evidence
        One per sensor and orbit, over the same pixels; at least one. The order
        decides ties: put the optical sensor first.
    threshold : float
        Probability from which a pixel counts as changed.

    Returns
    -------
    result : ScreenResult
        The map layers.

    Raises
    ------
    ValueError
        If there is no evidence, or the threshold is not a probability.
    """
    if not evidences:
        raise ValueError("nothing to fuse: expected the evidence of one sensor at least")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold {threshold}: expected a probability between 0 and 1")
    shape = evidences[0].support.shape
    total = np.zeros(shape, dtype=np.float32)
    observations = np.zeros(shape, dtype=np.uint16)
    seen = np.zeros(shape, dtype=np.bool_)
    best = np.full(shape, -np.inf, dtype=np.float32)
    kind = np.zeros(shape, dtype=np.uint8)
    detected = np.full(shape, -1, dtype=np.int16)
    strongest = np.zeros(shape, dtype=np.uint8)
    deviation = np.full(shape, np.nan, dtype=np.float32)
    for evidence in evidences:
        here = np.isfinite(evidence.support)
        support = np.where(here, evidence.support, np.float32(0))
        total += support
        observations += evidence.observations
        leads = here & (support > best)
        best[leads] = support[leads]
        kind[leads] = evidence.kind[leads]
        detected[leads] = evidence.detected_index[leads]
        strongest[leads] = evidence.strongest[leads]
        deviation[leads] = evidence.deviation[leads]
        seen |= here
    log_odds = total + np.float32(PRIOR_LOG_ODDS)
    probability = np.float32(0.5) + np.float32(0.5) * np.tanh(log_odds / 2)
    changed = seen & (probability >= np.float32(threshold))
    # One look leaves a doubt of a half, two of a third, three of a quarter.
    looks = np.maximum(observations, 1).astype(np.float32)
    sure = np.abs(2 * probability - 1) * (1 - 1 / (1 + looks))
    status = np.where(seen, Status.NO_CHANGE, Status.NOT_OBSERVED)
    nothing = np.float32(np.nan)
    return ScreenResult(
        probability=np.where(seen, probability, nothing),
        kind=np.where(changed, kind, ChangeKind.NONE).astype(np.uint8),
        status=np.where(changed, Status.PROVISIONAL, status).astype(np.uint8),
        observations=observations,
        detected_index=np.where(changed, detected, -1).astype(np.int16),
        confidence=np.where(seen, sure, nothing).astype(np.float32),
        strongest=strongest,
        deviation=deviation,
    )
