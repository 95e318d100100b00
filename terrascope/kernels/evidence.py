"""What one sensor (and orbit) says about change, before it is fused with the others."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from terrascope.types import BoolArray, FloatArray

__all__ = [
    "MAX_SUPPORT",
    "PRIOR_CHANGE",
    "PRIOR_LOG_ODDS",
    "STRONGEST_DEVIATION",
    "Evidence",
    "log_likelihood_ratio",
    "observed_window",
]

PRIOR_CHANGE: Final = 0.01
"""Share of ground that changes within a year: 0.79 % of the canopy of Europe's temperate forests
does, Senf et al. (2018), doi:10.1038/s41467-018-07539-6."""

PRIOR_LOG_ODDS: Final = float(np.log(PRIOR_CHANGE / (1 - PRIOR_CHANGE)))

MAX_SUPPORT: Final = 10.0
"""Bound of one sensor's log-likelihood ratio: no model of noise holds at 1 in 20,000."""

STRONGEST_DEVIATION: Final = 2 * (-2 * PRIOR_LOG_ODDS) ** 0.5
"""Deviations are cut at twice the one that is as likely as not before they are smoothed: the
border of a change then stays where half of the weight lies, however strong the change is."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """One sensor's statement on every pixel.

    Parameters
    ----------
    support : ndarray of float32, shape (y, x)
        Log-likelihood ratio of change against no change, NaN where the sensor
        did not see the pixel both before and after.
    kind : ndarray of uint8, shape (y, x)
        `ChangeKind` of the most likely change, 0 where not observed.
    observations : ndarray of uint16, shape (y, x)
        Clear target periods.
    detected_index : ndarray of int16, shape (y, x)
        First target period of the anomaly that lasts to the end; -1 where not observed.
    strongest : ndarray of uint8, shape (y, x)
        Code of the index or polarisation that deviates most, 0 where not observed.
    deviation : ndarray of float32, shape (y, x)
        Its signed deviation in standard deviations, NaN where not observed.
    """

    support: FloatArray
    kind: NDArray[np.uint8]
    observations: NDArray[np.uint16]
    detected_index: NDArray[np.int16]
    strongest: NDArray[np.uint8]
    deviation: FloatArray

    def placed(self, window: tuple[slice, slice], shape: tuple[int, ...]) -> Evidence:
        """Put the evidence of a window into a larger block where nothing else was seen.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns of the block that this evidence covers.
        shape : tuple of int
            Rows and columns of the block.

        Returns
        -------
        evidence : Evidence
            Of the block.
        """
        fill = {"support": np.nan, "deviation": np.nan, "detected_index": -1}
        layers = {}
        for field in dataclasses.fields(self):
            layer = getattr(self, field.name)
            layers[field.name] = np.full(shape, fill.get(field.name, 0), dtype=layer.dtype)
            layers[field.name][window] = layer
        return Evidence(**layers)


def observed_window(seen: BoolArray) -> tuple[slice, slice]:
    """Return the smallest window that holds all observed pixels.

    Parameters
    ----------
    seen : ndarray of bool, shape (y, x)
        True where observed.

    Returns
    -------
    window : tuple of slice
        Rows and columns; empty where nothing was observed.
    """
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def log_likelihood_ratio(z: FloatArray) -> FloatArray:
    """Turn a deviation into evidence: the generalised likelihood ratio of a Gaussian shift.

    Parameters
    ----------
    z : ndarray of float32
        Standard deviations in the direction of a change; negative values
        speak for no change as much as zero.

    Returns
    -------
    support : ndarray of float32
        z squared / 2, at most 10. With a prior of 1 % a change is as likely as not at z = 3.03.
    """
    positive = np.maximum(z, np.float32(0))
    support: FloatArray = np.minimum(positive * positive / 2, np.float32(MAX_SUPPORT))
    return support
