"""Spectral indices and the noise they inherit from surface reflectance.

Every index is a normalised difference or the plain value of named bands, so
its uncertainty follows from that of the bands by first-order propagation. The
noise of surface reflectance has three parts, whose sum is of the size of the usual
specification of 0.005 + 5 % [1]_:

* aerosol: additive, shared by all bands and falling with wavelength;
* illumination, view angle and slope: a factor shared by all bands, which
  cancels in a ratio [2]_;
* the instrument: independent from band to band [3]_.

A normalised difference of a dark target (a spruce stand, water) is therefore
noisy where its plain reflectance is not: both kinds are needed.

Only element-wise arithmetic in a fixed order is used here: the value of a
pixel does not depend, to the last bit, on the array that surrounds it.

References
----------
.. [1] Vermote & Kotchenova (2008), Atmospheric correction for the monitoring
   of land surfaces, doi:10.1029/2007JD009662.
.. [2] Roy et al. (2017), Examination of Sentinel-2A multi-spectral instrument
   reflectance anisotropy, doi:10.1016/j.rse.2017.06.019.
.. [3] Gascon et al. (2017), Copernicus Sentinel-2A calibration and products
   validation status, doi:10.3390/rs9060584.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from terrascope.sensors import S2_BANDS
from terrascope.types import FloatArray

__all__ = ["INDICES", "Index", "available_indices", "index_value", "index_variance"]

_FLOOR: Final = 1e-3
"""Least reflectance of a ratio: atmospheric correction leaves noise around zero over water."""

_AEROSOL: Final = 0.005
"""Additive error at 0.49 um, 1 sigma [1]."""

_ANGSTROM: Final = 1.3
"""Exponent of the aerosol's fall with wavelength, usual since Angstrom (1929)."""

_FACTOR: Final = 0.05
"""Relative error shared by all bands, 1 sigma: the 5 % of [1], mostly anisotropy [2]."""

_INSTRUMENT: Final = (0.001, 0.02)
"""Additive and relative error of one band alone, 1 sigma; figures of ours, below the 3 % to 5 % of
the absolute calibration [3], most of which bands and dates share."""


@dataclasses.dataclass(frozen=True)
class Index:
    """One index.

    Parameters
    ----------
    name : str
        Common name.
    code : int
        Of the evidence layer; never reused.
    plus, minus : tuple of str
        Bands by preference; the first that is there is taken. The index is
        (plus - minus) / (plus + minus), or plain `plus` where `minus` is empty.
    source : str
        Where it was published, or what it shows.
    """

    name: str
    code: int
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    source: str

    def bands(self, available: Sequence[str]) -> tuple[str, ...] | None:
        """Choose this index' bands among those that are there.

        Parameters
        ----------
        available : sequence of str
            Canonical band names.

        Returns
        -------
        bands : tuple of str or None
            One or two names, None where the index cannot be computed.
        """
        plus = next((band for band in self.plus if band in available), None)
        if plus is None or not self.minus:
            return None if plus is None else (plus,)
        minus = next((band for band in self.minus if band in available), None)
        return None if minus is None else (plus, minus)


_NIR = ("nir", "nir08")
_NIR_20M = ("nir08", "nir")
_VISIBLE = ("green", "blue", "coastal")

INDICES: Final[Mapping[str, Index]] = MappingProxyType(
    {
        index.name: index
        for index in (
            Index("ndvi", 1, _NIR, ("red",), "Rouse et al. (1974), NASA SP-351"),
            Index("grvi", 2, ("green",), ("red",), "Tucker (1979), 10.1016/0034-4257(79)90013-0"),
            Index("nbr", 3, _NIR_20M, ("swir22",), "Key & Benson (2006), RMRS-GTR-164"),
            Index("ndmi", 4, _NIR_20M, ("swir16",), "Gao (1996); -NDBI of Zha et al. (2003)"),
            Index("red", 5, ("red",), (), "chlorophyll absorption"),
            Index("swir", 6, ("swir16", "swir22"), (), "leaf water absorption"),
            Index("ndwi", 7, _VISIBLE, _NIR, "McFeeters (1996)"),
            Index("mndwi", 8, _VISIBLE, ("swir16", "swir22"), "Xu (2006)"),
            Index("nir", 9, _NIR, (), "leaf structure"),
            Index("blue", 10, ("blue", "coastal", "green"), (), "brightness of mineral cover"),
        )
    }
)
"""All indices by name."""


def available_indices(bands: Sequence[str]) -> tuple[Index, ...]:
    """List the indices that these bands allow.

    Parameters
    ----------
    bands : sequence of str
        Canonical band names.

    Returns
    -------
    indices : tuple of Index
        In order of their code.
    """
    return tuple(index for index in INDICES.values() if index.bands(bands) is not None)


def _floor(value: FloatArray) -> FloatArray:
    return np.maximum(value, np.float32(_FLOOR))


def index_value(index: Index, reflectance: Mapping[str, FloatArray]) -> FloatArray:
    """Compute an index.

    Parameters
    ----------
    index : Index
        Which one.
    reflectance : mapping of str to ndarray of float32
        Surface reflectance by band, NaN where not observed.

    Returns
    -------
    value : ndarray of float32
        NaN where a band of the index is NaN. Reflectance below 0.001 counts as 0.001.

    Raises
    ------
    ValueError
        If a band of the index is missing.
    """
    _, plus, minus = _operands(index, reflectance)
    if minus is None:
        return plus
    return (plus - minus) / (plus + minus)


def index_variance(index: Index, reflectance: Mapping[str, FloatArray]) -> FloatArray:
    """Propagate the noise of surface reflectance to an index of one date.

    Parameters
    ----------
    index : Index
        Which one.
    reflectance : mapping of str to ndarray of float32
        Surface reflectance by band, NaN where not observed.

    Returns
    -------
    variance : ndarray of float32
        One sigma squared, in units of the index squared; NaN like the value.

    Raises
    ------
    ValueError
        If a band of the index is missing.
    """
    names, plus, minus = _operands(index, reflectance)
    if minus is None:
        factor = np.float32(_FACTOR) * plus
        return _instrument(plus) + np.float32(_aerosol(names[0]) ** 2) + factor * factor
    square = plus + minus
    square *= square
    slope_plus, slope_minus = 2 * minus / square, -2 * plus / square
    aerosol = slope_plus * np.float32(_aerosol(names[0]))
    aerosol += slope_minus * np.float32(_aerosol(names[1]))
    return (
        slope_plus * slope_plus * _instrument(plus)
        + slope_minus * slope_minus * _instrument(minus)
        + aerosol * aerosol
    )


def _operands(
    index: Index, reflectance: Mapping[str, FloatArray]
) -> tuple[tuple[str, ...], FloatArray, FloatArray | None]:
    names = index.bands(tuple(reflectance))
    if names is None:
        raise ValueError(
            f"index {index.name}: needs one of {index.plus} and one of {index.minus or '-'}, "
            f"found {tuple(reflectance)}"
        )
    plus = _floor(reflectance[names[0]])
    return names, plus, _floor(reflectance[names[1]]) if len(names) > 1 else None


def _aerosol(band: str) -> float:
    return _AEROSOL * float((S2_BANDS[band].wavelength_um / 0.49) ** -_ANGSTROM)


def _instrument(value: FloatArray) -> FloatArray:
    deviation = np.float32(_INSTRUMENT[0]) + np.float32(_INSTRUMENT[1]) * value
    return deviation * deviation
