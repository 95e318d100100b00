"""Fusing screen and model: a weighted sum of log-odds, its weights fitted by likelihood."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from terrascope.types import BoolArray, FloatArray

__all__ = ["COMBINATIONS", "EVEN", "LogOddsPool", "combination_of", "fit_pool", "log_odds"]

COMBINATIONS: Mapping[str, tuple[str, ...]] = {
    "optical": ("sentinel-2",),
    "radar": ("sentinel-1",),
    "both": ("sentinel-2", "sentinel-1"),
}
"""Sensors that a run may have: each has weights of its own."""

_BOUND = 10.0
"""Of log-odds: no model of noise holds at 1 in 20,000."""


@dataclasses.dataclass(frozen=True)
class LogOddsPool:
    """A logarithmic opinion pool [1]_ of two probabilities.

    Parameters
    ----------
    bias : float
        Added to the log-odds.
    screen, model : float
        Weights of the two.
    version : str
        Which fit this is; part of the key of every map made with it.

    References
    ----------
    .. [1] Genest and Zidek (1986), Statistical Science 1, 114-135.
    """

    bias: float
    screen: float
    model: float
    version: str

    def __post_init__(self) -> None:
        numbers = (self.bias, self.screen, self.model)
        if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            raise ValueError(f"{self}: expected numbers")
        if min(self.screen, self.model) < 0:
            raise ValueError(f"{self}: expected weights of 0 or more")

    def fuse(self, screen: FloatArray, model: FloatArray) -> FloatArray:
        """Fuse two probabilities.

        Parameters
        ----------
        screen : ndarray of float32
            Probability, NaN where not observed.
        model : ndarray of float32, same shape
            Probability, NaN where the model did not look.

        Returns
        -------
        probability : ndarray of float32, same shape
            That of the screen where the model did not look; NaN where the screen saw nothing.
        """
        total = self.bias + self.screen * log_odds(screen) + self.model * log_odds(model)
        fused = 0.5 + 0.5 * np.tanh(np.asarray(total, np.float32) / 2)
        return np.where(np.isfinite(model), fused, screen).astype(np.float32)


EVEN = LogOddsPool(0.0, 0.5, 0.5, "even-1")
"""Both trusted alike: used where no fit came with a model."""


def combination_of(sensors: Collection[str]) -> str:
    """Name what a run has seen with.

    Parameters
    ----------
    sensors : collection of str
        At least one of ``"sentinel-2"`` and ``"sentinel-1"``.

    Returns
    -------
    name : str
        Key of `COMBINATIONS`.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    for name, one in COMBINATIONS.items():
        if set(one) == set(sensors):
            return name
    raise ValueError(f"sensors {sorted(sensors)}: expected {' or '.join(COMBINATIONS)}")


def log_odds(probability: FloatArray) -> FloatArray:
    """Return log-odds, bounded.

    Parameters
    ----------
    probability : ndarray of float32
        0 to 1, NaN where missing.

    Returns
    -------
    odds : ndarray of float32
        -10 to 10; NaN where missing.
    """
    with np.errstate(divide="ignore"):
        p = probability.astype(np.float64)
        odds = np.log(p) - np.log1p(-p)
    bounded: FloatArray = np.clip(odds, -_BOUND, _BOUND).astype(np.float32)
    return bounded


def fit_pool(
    screen: FloatArray,
    model: FloatArray,
    changed: BoolArray,
    *,
    version: str,
    ridge: float = 1.0,
    weight: NDArray[np.float64] | None = None,
    biased: bool = True,
) -> LogOddsPool:
    """Fit the weights by penalised maximum likelihood: logistic regression on log-odds.

    Parameters
    ----------
    screen, model : ndarray of float32, shape (n,)
        Probabilities of pixels that both saw.
    changed : ndarray of bool, shape (n,)
        The truth.
    version : str
        Name of the fit.
    ridge : float
        Weight of the penalty that draws the two weights towards a half, in pixels of weight 1.
    weight : ndarray of float64, shape (n,), or None
        What each pixel counts, above 0; None for 1.
    biased : bool
        False leaves the bias at 0: how frequent change is among these pixels is not to be learnt.

    Returns
    -------
    pool : LogOddsPool
        With weights of at least 0: evidence is never turned around.

    Raises
    ------
    ValueError
        If there is no pixel of either kind.
    """
    if not changed.any() or changed.all():
        raise ValueError("a fit needs pixels that changed and pixels that did not")
    columns = [np.ones(len(changed)), log_odds(screen), log_odds(model)]
    design = np.stack([np.asarray(c, np.float64) for c in columns], 1)
    counts = np.ones(len(changed)) if weight is None else weight
    kept = [0, 1, 2] if biased else [1, 2]
    while True:
        found = dict(zip(kept, _newton(design[:, kept], changed, counts, ridge, kept), strict=True))
        wrong = [place for place in kept if place > 0 and found[place] < 0]
        if not wrong:
            break
        kept.remove(wrong[0])
    numbers = [float(found.get(place, 0.0)) for place in range(3)]
    return LogOddsPool(numbers[0], numbers[1], numbers[2], version)


def _newton(
    design: NDArray[np.float64],
    changed: BoolArray,
    counts: NDArray[np.float64],
    ridge: float,
    free: list[int],
) -> NDArray[np.float64]:
    """Newton's method for a concave likelihood; the bias is not penalised."""
    centre = np.array([0.0 if i == 0 else 0.5 for i in free])
    penalty = np.diag([1e-9 if i == 0 else ridge for i in free])
    weights = centre.copy()
    for _ in range(100):
        p = 0.5 + 0.5 * np.tanh(design @ weights / 2)
        slope = design.T @ (counts * (changed - p)) - penalty @ (weights - centre)
        curve = (design * (counts * p * (1 - p))[:, None]).T @ design + penalty
        step = np.linalg.solve(curve, slope)
        step *= min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(weights)
