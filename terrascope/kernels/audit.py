"""What a screen gives up, estimated from a stratified random sample of what it left out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["RecallEstimate", "Stratum", "allocate", "estimate_recall"]


@dataclasses.dataclass(frozen=True)
class Stratum:
    """Windows that were left out and are alike.

    Parameters
    ----------
    size : int
        How many there are.
    drawn : int
        How many of them were looked at, at random and without replacement.
    hits : int
        How many of those hold a change.
    """

    size: int
    drawn: int
    hits: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.drawn <= self.size:
            raise ValueError(f"{self}: expected hits <= drawn <= size")


@dataclasses.dataclass(frozen=True)
class RecallEstimate:
    """Which share of the windows with a change the screen let through.

    Parameters
    ----------
    recall : float
        The estimate, 0 to 1; NaN where no window holds a change.
    low, high : float
        Ends of the interval.
    missed : float
        Estimated windows with a change among those left out.
    drawn : int
        Windows looked at for it.
    """

    recall: float
    low: float
    high: float
    missed: float
    drawn: int


def allocate(sizes: Sequence[int], expected: Sequence[float], total: int) -> list[int]:
    """Share out a sample over strata in proportion to size and expected spread [1]_.

    Parameters
    ----------
    sizes : sequence of int
        Windows of each stratum.
    expected : sequence of float
        Share of windows with a change that is expected there, 0 to 1.
    total : int
        Windows that may be looked at.

    Returns
    -------
    drawn : list of int
        Per stratum; two at least where the sample is large enough for that, all at most.

    References
    ----------
    .. [1] Neyman (1934), J. R. Stat. Soc. 97, 558; Cochran (1977), Sampling Techniques, 5.5.
    """
    size = np.asarray(sizes, np.int64)
    share = np.clip(np.asarray(expected, np.float64), 0.01, 0.99)
    left = min(int(total), int(size.sum()))
    drawn = np.zeros_like(size)
    while left > 0:
        open_ = drawn < size
        want = np.where(open_, size * np.sqrt(share * (1 - share)), 0.0)
        least = np.where(open_ & (drawn < 2), 2 - drawn, 0)
        if drawn.sum() == 0 and least.sum() <= left:
            more = np.minimum(least, size - drawn)
        else:
            more = np.minimum(np.floor(want / want.sum() * left).astype(np.int64), size - drawn)
            if not more.any():
                more[int(np.argmax(want))] = 1
        drawn += more
        left -= int(more.sum())
    return [int(n) for n in drawn]


def estimate_recall(
    found: int, strata: Sequence[Stratum], *, confidence: float = 0.9
) -> RecallEstimate:
    """Estimate the recall of a screen.

    Parameters
    ----------
    found : int
        Windows with a change among those that the screen let through; all were looked at.
    strata : sequence of Stratum
        What was left out. A stratum of which nothing was drawn counts like the others together.
    confidence : float
        Of the interval, between 0 and 1.

    Returns
    -------
    estimate : RecallEstimate
        The missed windows are estimated by the stratified estimator [1]_; their interval is
        Wilson's with the effective sample size of the design [2]_ [3]_.

    Raises
    ------
    ValueError
        If `confidence` is none, or `found` is negative.

    References
    ----------
    .. [1] Cochran (1977), Sampling Techniques, 3rd ed., section 5.
    .. [2] Korn and Graubard (1998), Survey Methodology 24, 193-201: the effective size.
    .. [3] Dean and Pagano (2015), J. Surv. Stat. Methodol. 3, 484-503: Wilson's with it.
    """
    if not 0 < confidence < 1 or found < 0:
        raise ValueError(f"confidence {confidence}, found {found}: expected 0 to 1, and 0 or more")
    known = [s for s in strata if s.size and s.drawn]
    total = sum(s.size for s in strata)
    drawn = sum(s.drawn for s in known)
    if not total:
        return RecallEstimate(1.0 if found else math.nan, 1.0, 1.0, 0.0, 0)
    if not drawn:
        return RecallEstimate(math.nan, 0.0, 1.0, math.nan, 0)
    size = np.array([s.size for s in known], np.float64)
    n = np.array([s.drawn for s in known], np.float64)
    hits = np.array([s.hits for s in known], np.float64)
    share, low, high = _wilson(size, n, hits, _quantile(confidence))
    seen = float(hits.sum())

    def recall(missed: float) -> float:
        return found / (found + missed) if found + missed > 0 else math.nan

    most, least = max(total * high, seen), max(total * low, seen)
    missed = total * share
    if found + missed == 0:
        return RecallEstimate(math.nan, 0.0, 1.0, 0.0, drawn)
    return RecallEstimate(recall(missed), recall(most), recall(least), missed, drawn)


def _wilson(
    size: NDArray[np.float64], n: NDArray[np.float64], hits: NDArray[np.float64], z: float
) -> tuple[float, float, float]:
    """Share of hits over all strata, and the ends of its interval."""
    weight = size / size.sum()
    p = hits / n
    share = float(weight @ p)
    # Strata without a hit have a variance too: shares drawn towards the pooled one, by one draw.
    pooled = (hits.sum() + 0.5) / (n.sum() + 1)
    smooth = (hits + pooled) / (n + 1)
    variance = float(weight**2 @ (smooth * (1 - smooth) / n * (1 - n / size)))
    if variance <= 0:
        return share, share, share
    middle = float(weight @ smooth)
    effective = middle * (1 - middle) / variance
    centre = (share + z * z / (2 * effective)) / (1 + z * z / effective)
    half = (
        z
        / (1 + z * z / effective)
        * math.sqrt(share * (1 - share) / effective + (z / (2 * effective)) ** 2)
    )
    return share, min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)


def _quantile(confidence: float) -> float:
    """Return the normal quantile of a two-sided interval."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + confidence / 2))
