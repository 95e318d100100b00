"""How much of a region changed, whatever share the probabilities were made for.

A screen states probabilities for an average region. Added up where ten times as much
changed, or a tenth, they are too few or too many. What can be believed of them is the
likelihood ratio; the share of this region is estimated from all its ratios at once.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from terrascope.kernels.evidence import PRIOR_CHANGE
from terrascope.kernels.pooling import log_odds
from terrascope.types import FloatArray

__all__ = ["AS_STATED", "SCREEN", "Prevalence", "Reliability", "fit_prevalence", "posterior"]

_STEPS = 60
"""Halvings of an interval: below 1e-18 of the ground."""


@dataclasses.dataclass(frozen=True)
class Reliability:
    """What a map's probabilities are worth; fitted where the truth is known.

    Parameters
    ----------
    prior : float
        Share of changed ground that the probabilities were made for, 0 to 1.
    knots : tuple of (float, float)
        Logarithms of likelihood ratios, stated and true, both rising; linear between them,
        constant beyond. Empty where the stated ones are true.
    length_m : float
        Distance at which the correlation of two pixels' errors has fallen to exp(-1/2), metres.
    version : str
        Which fit this is.
    """

    prior: float = PRIOR_CHANGE
    knots: tuple[tuple[float, float], ...] = ()
    length_m: float = 60.0
    version: str = "as-stated-1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "knots", tuple((float(x), float(y)) for x, y in self.knots))
        stated, true = ([knot[axis] for knot in self.knots] for axis in (0, 1))
        rising = stated == sorted(set(stated)) and true == sorted(true)
        if not (0 < self.prior < 1 and rising and self.length_m >= 0):
            raise ValueError(f"{self}: expected 0 < prior < 1, rising knots and length_m >= 0")

    def log_ratio(self, probability: FloatArray) -> NDArray[np.float64]:
        """Return the logarithm of the likelihood ratio behind stated probabilities.

        Parameters
        ----------
        probability : ndarray of float
            0 to 1, NaN where not observed.

        Returns
        -------
        ratio : ndarray of float64
            Of change against no change; NaN where not observed.
        """
        base = np.log(self.prior / (1 - self.prior))
        stated: NDArray[np.float64] = log_odds(probability).astype(np.float64) - base
        if not self.knots:
            return stated
        return np.asarray(np.interp(stated, *np.array(self.knots).T), np.float64)


AS_STATED = Reliability()
"""The probabilities taken at their word."""

SCREEN = Reliability(
    knots=(
        *((0.01, -5.52), (0.06, -3.33), (0.2, -1.86), (0.45, -0.58), (0.8, 0.46)),
        *((1.25, 1.35), (1.75, 2.17), (2.5, 2.76), (3.5, 3.73), (4.5, 4.57)),
        *((5.5, 5.28), (7.0, 6.10), (8.95, 6.52), (10.0, 7.23)),
    ),
    version="screen-1",
)
"""Those of the statistical screen, for change that it notices at all, as counted on the simulator
(`benchmarks/screen_reliability.py 300 100`). Where the screen sees nothing it states its prior,
though seeing nothing speaks against change."""


@dataclasses.dataclass(frozen=True)
class Prevalence:
    """The share of ground that changed.

    Parameters
    ----------
    share : float
        Maximum likelihood, 0 to 1.
    sharpness : float
        Part of the variance of change that the observations tell, 0 (nothing) to 1 (all).
        Dividing the variance of a sum of probabilities by it pays for the estimated share where
        pixels are independent; by its square where their errors hang together.
    """

    share: float
    sharpness: float


def fit_prevalence(
    log_ratio: NDArray[np.float64], weight: NDArray[np.float64], *, least: float = 0.0
) -> Prevalence:
    """Estimate the share of changed ground by maximum likelihood [1]_.

    Parameters
    ----------
    log_ratio : ndarray of float64, shape (n,)
        Of pixels, or of bins of pixels.
    weight : ndarray of float64, shape (n,)
        Their ground; zero counts for nothing.
    least : float
        The share is not taken to be less: one smallest patch that was not found.

    Returns
    -------
    prevalence : Prevalence
        A share of `least` where no ground was observed.

    Notes
    -----
    To first order the share moves by the gap between ``mean(p)`` and the true share, divided by
    ``1 - d mean(p) / d share``, and that is the sharpness. So ``sum(p)`` with the estimated share
    misses the truth by what ``sum(p)`` with the true one misses its own expectation, divided by the
    sharpness. The variance of that is sharpness x sum(p (1 - p)) for independent pixels, and may
    come close to that of the doubt as a whole where misses and false alarms come in patches.

    References
    ----------
    .. [1] Saerens, Latinne and Decaestecker, Adjusting the outputs of a classifier to new a
       priori probabilities, Neural Computation 14 (2002).
    """
    use = (weight > 0) & np.isfinite(log_ratio)
    ratio, ground = np.exp(np.clip(log_ratio[use], -50.0, 50.0)) - 1, weight[use]
    if not len(ground):
        return Prevalence(least, 0.0)
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if float(ground @ (ratio / (1 + middle * ratio))) > 0:
            low = middle
        else:
            high = middle
    share = max((low + high) / 2, least)
    p = posterior(log_ratio[use], share)
    spread = share * (1 - share)
    doubt = float(ground @ (p * (1 - p))) / float(ground.sum())
    return Prevalence(share, min(max(1 - doubt / spread, 0.0), 1.0) if spread > 0 else 1.0)


def posterior(log_ratio: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return probabilities for a region in which a known share changed.

    Parameters
    ----------
    log_ratio : ndarray of float64
        From `Reliability.log_ratio`.
    share : float
        0 to 1.

    Returns
    -------
    probability : ndarray of float64
        NaN where not observed.
    """
    if share <= 0 or share >= 1:
        return np.where(np.isfinite(log_ratio), float(share >= 1), np.nan)
    odds = log_ratio + np.log(share / (1 - share))
    return np.asarray(0.5 + 0.5 * np.tanh(odds / 2), np.float64)
