"""Coarse land cover from reflectance: enough to know which differences are normal there.

Probabilities are logistic in reflectance, about a class boundary in the way of
the literature, with a width of the order of the noise of surface reflectance;
they are features of the statistic, not a map.

References
----------
.. [1] Huang et al. (2010), Vegetation Change Tracker, doi:10.1016/j.rse.2009.08.017:
   forest is vegetation that is dark in the red and the short-wave infrared.
.. [2] Xu (2006), doi:10.1080/01431160600589179: water has MNDWI > 0.
.. [3] Baldridge et al. (2009), ASTER spectral library 2.0,
   doi:10.1016/j.rse.2008.11.007; Kokaly et al. (2017), USGS spectral library 7.
.. [4] Carlson & Ripley (1997), doi:10.1016/S0034-4257(97)00104-1: NDVI of bare soil.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from terrascope.kernels.indices import INDICES, Index, index_value
from terrascope.types import FloatArray

__all__ = ["crop_cycle_range", "logistic", "tree_probability", "water_probability"]

# Closed canopies of trees shade themselves: they are darker in the red and at 1.6 um than closed
# crops and grass [1]; the boundaries are ours. Without a short-wave band the near infrared stands
# in: only crops exceed it.
_TREE_RED: Final = (0.05, 0.005)
_TREE_SWIR: Final = (0.165, 0.012)
_TREE_NIR: Final = (0.40, 0.03)
_TREE_NDVI: Final = (0.25, 0.04)
"""Leafless trees stay above it, water and burnt ground do not."""

_WATER: Final = (0.0, 0.05)

_CYCLE: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        # closed crop, grass, stubble, dark wet soil, bright dry soil; typical values, compare [3]
        "coastal": (0.020, 0.022, 0.060, 0.040, 0.090),
        "blue": (0.025, 0.030, 0.080, 0.050, 0.110),
        "green": (0.055, 0.065, 0.120, 0.070, 0.150),
        "red": (0.026, 0.040, 0.165, 0.090, 0.195),
        "nir": (0.460, 0.385, 0.270, 0.145, 0.270),
        "nir08": (0.475, 0.400, 0.290, 0.155, 0.285),
        "swir16": (0.205, 0.230, 0.340, 0.205, 0.365),
        "swir22": (0.090, 0.120, 0.240, 0.175, 0.325),
    }
)
"""States that a field or a meadow passes through within a year or from one year to the next."""


def logistic(value: FloatArray, centre: float, width: float) -> FloatArray:
    """Return the logistic function, written so that it cannot overflow.

    Parameters
    ----------
    value : ndarray of float32
        NaN passes.
    centre, width : float
        Where it is 0.5, and over what distance it rises (negative: falls).

    Returns
    -------
    probability : ndarray of float32
        0 to 1.
    """
    half = np.float32(0.5)
    scaled = (value - np.float32(centre)) * np.float32(0.5 / width)
    result: FloatArray = half + half * np.tanh(scaled)
    return result


def tree_probability(reflectance: Mapping[str, FloatArray]) -> FloatArray:
    """Judge how much a spectrum looks like a closed canopy of trees.

    Parameters
    ----------
    reflectance : mapping of str to ndarray of float32
        By band, NaN where not observed; red and one near infrared band at least.

    Returns
    -------
    probability : ndarray of float32
        0 to 1, NaN where not observed.
    """
    green = logistic(index_value(INDICES["ndvi"], reflectance), *_TREE_NDVI)
    dark = logistic(reflectance["red"], _TREE_RED[0], -_TREE_RED[1])
    if "swir16" in reflectance:
        shaded = logistic(reflectance["swir16"], _TREE_SWIR[0], -_TREE_SWIR[1])
    else:
        nir = reflectance["nir" if "nir" in reflectance else "nir08"]
        shaded = logistic(nir, _TREE_NIR[0], -_TREE_NIR[1])
    # The conditions hang together, so their conjunction is the least of them, not the product.
    return np.minimum(np.minimum(green, dark), shaded)


def water_probability(reflectance: Mapping[str, FloatArray]) -> FloatArray:
    """Judge how much a spectrum looks like open water.

    Parameters
    ----------
    reflectance : mapping of str to ndarray of float32
        By band, NaN where not observed; red and one near infrared band at least.

    Returns
    -------
    probability : ndarray of float32
        0 to 1, NaN where not observed.
    """
    for name in ("mndwi", "ndwi"):
        if INDICES[name].bands(tuple(reflectance)) is not None:
            return logistic(index_value(INDICES[name], reflectance), *_WATER)
    return logistic(index_value(INDICES["ndvi"], reflectance), _WATER[0], -_WATER[1])


def crop_cycle_range(index: Index, bands: Sequence[str]) -> tuple[float, float]:
    """Return the values that an index takes over cultivated land in a year.

    Parameters
    ----------
    index : Index
        Which one.
    bands : sequence of str
        Canonical names of the bands that are there.

    Returns
    -------
    low, high : float
        Over a closed crop, grass, stubble and bare soil, dark to bright.
    """
    spectra = {
        band: np.asarray(values, dtype=np.float32)
        for band, values in _CYCLE.items()
        if band in bands
    }
    values = index_value(index, spectra)
    return float(values.min()), float(values.max())
