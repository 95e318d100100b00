"""Whether stated probabilities hold: reliability, expected calibration error, risk and coverage."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reliability", "RiskCoverage", "reliability", "risk_coverage"]


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Stated probability against what happened, in bins of equal width.

    Parameters
    ----------
    number : ndarray of float64, shape (bins,)
        Statements in each bin.
    stated : ndarray of float64, shape (bins,)
        Sum of their probabilities.
    happened : ndarray of float64, shape (bins,)
        How many came true.
    """

    number: NDArray[np.float64]
    stated: NDArray[np.float64]
    happened: NDArray[np.float64]

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(
            self.number + other.number,
            self.stated + other.stated,
            self.happened + other.happened,
        )

    @property
    def ece(self) -> float:
        """Expected calibration error: mean gap of the bins, weighted by their statements [1]_.

        References
        ----------
        .. [1] Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning,
           AAAI 2015.
        """
        total = float(self.number.sum())
        return float(np.abs(self.stated - self.happened).sum()) / total if total else float("nan")

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean stated probability and share that came true, of the bins in use.

        Returns
        -------
        stated, happened : ndarray of float64
            For a reliability plot.
        """
        use = self.number > 0
        return self.stated[use] / self.number[use], self.happened[use] / self.number[use]


@dataclasses.dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What is gained by answering only the surest questions.

    Parameters
    ----------
    kept : ndarray of float64, shape (k + 1,)
        Answers kept, from 0, at every distinct confidence from the highest down.
    right : ndarray of float64, shape (k + 1,)
        How many of them are right.
    """

    kept: NDArray[np.float64]
    right: NDArray[np.float64]

    def accuracy_at(self, coverage: float) -> float:
        """Return the accuracy of the surest answers.

        Parameters
        ----------
        coverage : float
            Share of the answers that is kept, above 0 to 1. Where the border falls among equal
            confidences, their mean accuracy is taken.

        Returns
        -------
        accuracy : float
            NaN without answers.
        """
        wanted = coverage * float(self.kept[-1])
        return float(np.interp(wanted, self.kept, self.right)) / wanted if wanted else float("nan")

    def curve(self, points: int = 100) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return risk by coverage, for a plot.

        Parameters
        ----------
        points : int
            Places of the curve.

        Returns
        -------
        coverage, risk : ndarray of float64, shape (points,)
            Share kept, and share wrong among them.
        """
        coverage = np.arange(1, points + 1) / points
        return coverage, np.array([1 - self.accuracy_at(float(c)) for c in coverage])

    @property
    def area(self) -> float:
        """Area under the curve of risk by coverage, 0 to 1; lower is better."""
        return float(self.curve()[1].mean())


def reliability(
    probability: NDArray[Any], happened: NDArray[Any], *, bins: int = 15
) -> Reliability:
    """Collect statements in bins.

    Parameters
    ----------
    probability : ndarray of float
        Stated, 0 to 1; NaN is left out.
    happened : ndarray of bool, same shape
        Whether it came true.
    bins : int
        Of equal width.

    Returns
    -------
    counts : Reliability
        Add those of several batches.

    Raises
    ------
    ValueError
        If a probability lies outside of 0 to 1.
    """
    stated, real = np.ravel(probability).astype(np.float64), np.ravel(happened)
    use = np.isfinite(stated)
    stated, real = stated[use], real[use].astype(np.float64)
    if stated.size and not (stated.min() >= 0 and stated.max() <= 1):
        raise ValueError(f"probabilities from {stated.min()} to {stated.max()}: expected 0 to 1")
    place = np.minimum((stated * bins).astype(np.int64), bins - 1)
    return Reliability(
        np.bincount(place, minlength=bins).astype(np.float64),
        np.bincount(place, weights=stated, minlength=bins).astype(np.float64),
        np.bincount(place, weights=real, minlength=bins).astype(np.float64),
    )


def risk_coverage(confidence: NDArray[Any], right: NDArray[Any]) -> RiskCoverage:
    """Order answers by confidence.

    Parameters
    ----------
    confidence : ndarray of float, shape (n,)
        Higher is surer; NaN is least sure of all.
    right : ndarray of bool, shape (n,)
        Whether the answer is right.

    Returns
    -------
    curve : RiskCoverage
        Equal confidences are kept or left together.

    References
    ----------
    El-Yaniv and Wiener, On the Foundations of Noise-free Selective Classification, JMLR 2010.
    """
    sure = np.where(np.isfinite(confidence), confidence, -np.inf)
    order = np.argsort(-sure, kind="stable")
    ranked, good = sure[order], np.asarray(right, np.float64)[order]
    last = np.append(ranked[1:] != ranked[:-1], True) if ranked.size else np.zeros(0, np.bool_)
    kept = np.flatnonzero(last) + 1.0
    return RiskCoverage(np.append(0.0, kept), np.append(0.0, np.cumsum(good)[last]))
