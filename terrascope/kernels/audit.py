"""What a screen gives up, estimated from a stratified random sample of what it left out.

How well that can be known has a floor. Let n windows be looked at among N that were left out, of
which a share p holds a change, and let the recall be R. Where the score says nothing of which
windows these are, no unbiased estimator has an interval narrower than (to first order)::

    half-width = z R (1 - R) sqrt((1 - p) / (n p) * (1 - n / N))

At n = 200 and 90 % that is 0.10 or less where R (1 - R) <= 0.86 sqrt(p / (1 - p)): at R = 0.5 from
p = 7.8 % on; at p = 5 % it is 0.13, whatever the allocation. A score with skill lowers the floor
(`least_half_width`), and the allocation here comes close to it; ``benchmarks/audit_recall.py``
prints which screens reach 0.10. Those that do not need more windows, and an estimate says how
many (`RecallEstimate.wanted`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["RecallEstimate", "Stratum", "allocate", "estimate_recall", "least_half_width"]

_HALF_WIDTH = 0.1
"""Of an interval that says enough."""
_FIRST = 200
"""Windows to begin an audit with."""


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
    wanted : int
        About how many would have to be, for an interval of 0.1 to either side, if what was seen
        is like the rest; `drawn` where it is no wider.
    """

    recall: float
    low: float
    high: float
    missed: float
    drawn: int
    wanted: int = 0


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
        return RecallEstimate(math.nan, 0.0, 1.0, math.nan, 0, min(total, _FIRST))
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
        return RecallEstimate(math.nan, 0.0, 1.0, 0.0, drawn, drawn)
    low, high = recall(most), recall(least)
    # Widths of such intervals go with the root of the sample, and vanish where all is looked at.
    excess = max(((high - low) / 2 / _HALF_WIDTH) ** 2, 1.0)
    wanted = math.ceil(excess * drawn / (1 + (excess - 1) * drawn / total))
    return RecallEstimate(recall(missed), low, high, missed, drawn, max(wanted, drawn))


def least_half_width(
    found: int, changed: Sequence[float], drawn: int, *, confidence: float = 0.9
) -> float:
    """Return the floor below which no audit of a size can bring the interval of a recall.

    Parameters
    ----------
    found : int
        Windows with a change among those that were let through.
    changed : sequence of float
        Probability, of each window that was left out, that it holds a change: all that can be
        known of it beforehand.
    drawn : int
        Windows that are looked at among them, 1 at least.
    confidence : float
        Of the interval, between 0 and 1.

    Returns
    -------
    half_width : float
        Of the recall, to first order: from the least variance, expected over what may have
        happened, that any unbiased estimator and any way to draw have [1]_.

    Raises
    ------
    ValueError
        If nothing is drawn, or no window can hold a change.

    References
    ----------
    .. [1] Godambe and Joshi (1965), Ann. Math. Stat. 36, 1707-1722; Saerndal, Swensson and
       Wretman (1992), Model Assisted Survey Sampling, 12.2.
    """
    p = np.clip(np.asarray(changed, np.float64), 0, 1)
    missed = float(p.sum())
    if drawn < 1 or missed <= 0:
        raise ValueError(f"{drawn} drawn, {missed:g} changes expected: expected more than none")
    spread = p * (1 - p)
    variance = max(float(np.sqrt(spread).sum()) ** 2 / drawn - float(spread.sum()), 0.0)
    recall = found / (found + missed)
    return _quantile(confidence) * recall * (1 - recall) * math.sqrt(variance) / missed


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
