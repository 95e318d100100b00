"""A measured quantity with its interval, and the sampled masks that intervals come from."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terrascope.model.geometry import Geometry
from terrascope.model.uncertainty import Calibration, mask_thresholds

__all__ = ["Figure", "fields_for"]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured quantity, three ways.

    Parameters
    ----------
    thresholded : float
        Of the mask as drawn: pixels whose probability is above the threshold.
    expected : float
        Of the probabilities: the sum over pixels of probability times size.
    low, high : float
        Interval that holds the truth with the probability `level`.
    level : float
        Of the interval.
    samples : ndarray of float64, shape (n,)
        Values of the sampled masks, behind the interval.
    """

    thresholded: float
    expected: float
    low: float
    high: float
    level: float
    samples: NDArray[np.float64] = dataclasses.field(repr=False, compare=False)

    def scaled(self, factor: float) -> Figure:
        """Return the figure in another unit.

        Parameters
        ----------
        factor : float
            New unit per old one, above zero.

        Returns
        -------
        figure : Figure
            Every value times `factor`.
        """
        return Figure(
            self.thresholded * factor,
            self.expected * factor,
            self.low * factor,
            self.high * factor,
            self.level,
            self.samples * factor,
        )


def fields_for(geometry: Geometry, calibration: Calibration, device: torch.device) -> Tensor:
    """Return the random fields that masks of a window are sampled with.

    Parameters
    ----------
    geometry : Geometry
        Of the window: the correlation length is in metres.
    calibration : Calibration
        Length, samples and seed.
    device : torch.device
        Of the probabilities.

    Returns
    -------
    fields : Tensor of int16, shape (n, H, W)
        As `mask_thresholds`: cached, do not write to it.
    """
    down, across = (calibration.correlation_length_m / m for m in geometry.pixel_size_yx_m)
    return mask_thresholds(
        geometry.shape_yx,
        (down, across),
        samples=calibration.samples,
        seed=calibration.seed,
        device=device,
    )
