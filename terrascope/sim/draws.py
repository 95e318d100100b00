"""Random parameters whose values in the test split are never met in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["SPLITS", "Draws"]

SPLITS = ("train", "validation", "test")
"""Names of the splits; their seeds do not mix."""

_BANDS = 10
_TEST_BANDS = (2, 5, 8)
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """A source of random parameters for one sample.

    The range of every parameter is cut into ten bands. Train and validation
    draw from bands 0, 1, 3, 4, 6, 7 and 9; test draws from bands 2, 5 and 8
    only, so that no value of a test parameter occurs in training.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of the sample.
    split : str
        One of `SPLITS`.
    """

    rng: np.random.Generator
    split: str

    def share(self) -> float:
        """Draw a number from the bands of the split.

        Returns
        -------
        share : float
            In [0, 1).
        """
        bands = [k for k in range(_BANDS) if (k in _TEST_BANDS) == (self.split == "test")]
        return float((bands[int(self.rng.integers(len(bands)))] + self.rng.random()) / _BANDS)

    def between(self, low: float, high: float) -> float:
        """Draw a parameter evenly from a range.

        Parameters
        ----------
        low, high : float
            Ends of the range.

        Returns
        -------
        value : float
            From the bands of the split.
        """
        return low + (high - low) * self.share()

    def scaled(self, low: float, high: float) -> float:
        """Draw a parameter evenly on a logarithmic scale.

        Parameters
        ----------
        low, high : float
            Ends of the range, above 0.

        Returns
        -------
        value : float
            From the bands of the split.
        """
        return float(low * (high / low) ** self.share())

    def chance(self, probability: float) -> bool:
        """Toss a coin, alike in all splits.

        Parameters
        ----------
        probability : float
            Of True.

        Returns
        -------
        outcome : bool
            The outcome.
        """
        return bool(self.rng.random() < probability)

    def choice(self, options: Sequence[_T], weights: Sequence[float] | None = None) -> _T:
        """Pick one of some options, alike in all splits.

        Parameters
        ----------
        options : sequence
            Of anything.
        weights : sequence of float or None
            How often, in any unit; None for equally often.

        Returns
        -------
        option : object
            One of `options`.
        """
        if weights is None:
            return options[int(self.rng.integers(len(options)))]
        ends = np.cumsum(np.asarray(weights, np.float64))
        return options[int(np.searchsorted(ends, self.rng.random() * ends[-1], side="right"))]
