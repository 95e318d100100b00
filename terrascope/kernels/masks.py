"""Which pixels show the ground: the provider's scene classification, or tests on the spectrum.

The spectral tests are for scenes without a classification. They are meant to
miss thin cloud rather than to lose ground: haze that cannot be told from bright
soil stays in.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from terrascope.types import BoolArray, FloatArray, Quality

__all__ = [
    "OPENING_M",
    "SPECTRAL_BANDS",
    "dilate",
    "disk_reach",
    "mask_scl",
    "mask_spectrum",
]

SPECTRAL_BANDS = ("coastal", "blue", "green", "red", "nir", "nir08", "swir16")
"""Bands that `mask_spectrum` can use, as far as a scene has them."""

OPENING_M = 30
"""Bright objects narrower than twice this (roofs, quarries, roads) are not taken for clouds."""

_SCL_BITS = np.zeros(256, np.uint8)
_SCL_BITS[0] = Quality.NODATA
_SCL_BITS[1] = Quality.NODATA
_SCL_BITS[3] = Quality.SHADOW
_SCL_BITS[8:11] = Quality.CLOUD
_SCL_BITS[11] = Quality.SNOW
_SCL_BITS[12:] = Quality.NODATA


def mask_scl(scl: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Translate Sen2Cor's scene classification into quality bits.

    Parameters
    ----------
    scl : ndarray of uint8, shape (y, x)
        Classes 0 to 11 (`terrascope.sensors.SCL_CLASSES`).

    Returns
    -------
    bits : ndarray of uint8, shape (y, x)
        `terrascope.types.Quality` bits CLOUD (8, 9, 10), SHADOW (3), SNOW (11) and NODATA
        (0, 1 saturated or defective, unknown codes); 0 where the ground is seen.
    """
    bits: NDArray[np.uint8] = _SCL_BITS[scl]
    return bits


def mask_spectrum(reflectance: Mapping[str, FloatArray], *, pixel_m: float) -> NDArray[np.uint8]:
    """Find cloud, snow and deep shadow from the bands that are there.

    Cloud is bright in blue beyond what bright soil explains (haze optimised
    transform), white, not vegetated, and not dark in the short-wave infrared as
    snow is. Without a blue or coastal band no cloud is found; without
    short-wave infrared, snow cannot be told from cloud and both are masked.
    Objects narrower than 60 m are dropped. Shadow is what is nearly black in the
    near infrared and is not water.

    Parameters
    ----------
    reflectance : mapping of str to ndarray of float32, shape (y, x)
        By canonical band, of `SPECTRAL_BANDS`; NaN where missing.
    pixel_m : float
        Pixel size in metres.

    Returns
    -------
    bits : ndarray of uint8, shape (y, x)
        `terrascope.types.Quality` bits CLOUD, SHADOW, SNOW, NODATA (any band missing).

    Raises
    ------
    ValueError
        If there is no band at all.

    References
    ----------
    .. [1] Zhang, Guindon, Cihlar (2002). An image transform to characterize and compensate
       for spatial variations in thin cloud contamination of Landsat images. Remote Sensing of
       Environment 82, 173-187 (haze optimised transform).
    .. [2] Zhu, Woodcock (2012). Object-based cloud and cloud shadow detection in Landsat
       imagery. Remote Sensing of Environment 118, 83-94 (whiteness, HOT, NDSI, B4/B5 tests).
    .. [3] Hollstein et al. (2016). Ready-to-use methods for the detection of clouds, cirrus,
       snow, shadow, water and clear sky pixels in Sentinel-2 MSI images. Remote Sensing 8, 666.
    """
    if not reflectance:
        raise ValueError("no band to test")
    missing = np.logical_or.reduce([np.isnan(band) for band in reflectance.values()])
    bits = np.where(missing, np.uint8(Quality.NODATA), np.uint8(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        cloud, snow = _cloud_and_snow(reflectance)
        shadow = _shadow(reflectance)
    cloud &= ~missing
    if cloud.any():
        cloud &= dilate(~dilate(~cloud, OPENING_M, pixel_m), OPENING_M, pixel_m)
    bits[cloud] |= np.uint8(Quality.CLOUD)
    bits[snow & ~missing & ~cloud] |= np.uint8(Quality.SNOW)
    bits[shadow & ~missing & ~cloud] |= np.uint8(Quality.SHADOW)
    return bits


def _cloud_and_snow(reflectance: Mapping[str, FloatArray]) -> tuple[BoolArray, BoolArray]:
    shape = next(iter(reflectance.values())).shape
    blue = reflectance.get("blue", reflectance.get("coastal"))
    red = reflectance.get("red")
    if blue is None or red is None:
        return np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    green, nir, swir = reflectance.get("green"), _nir(reflectance), reflectance.get("swir16")
    visible = [blue, red] if green is None else [blue, green, red]
    mean = np.add.reduce(visible) / np.float32(len(visible))
    whiteness = np.add.reduce([np.abs(band - mean) for band in visible]) / mean
    haze = blue - np.float32(0.5) * red - np.float32(0.08)
    cloud = (haze > 0.03) & (whiteness < 0.35) & (mean > 0.18)
    if nir is not None:
        cloud &= (nir - red < 0.55 * (nir + red)) & (nir > 0.18)
    snow = np.zeros(shape, np.bool_)
    if swir is not None:
        short = green if green is not None else blue
        index = (short - swir) / (short + swir)
        snow = (index > 0.4) & (short > 0.12)
        if nir is not None:
            snow &= nir > 0.11
            cloud &= nir > 0.75 * swir
        # What is as dark in the short-wave infrared as snow is called snow: only clouds of ice are.
        cloud &= ~snow
        snow &= mean > 0.18
    return cloud, snow


def _shadow(reflectance: Mapping[str, FloatArray]) -> BoolArray:
    nir, swir = _nir(reflectance), reflectance.get("swir16")
    green = reflectance.get("green", reflectance.get("blue", reflectance.get("coastal")))
    shape = next(iter(reflectance.values())).shape
    if nir is None or green is None:
        return np.zeros(shape, np.bool_)
    shadow = (nir < 0.07) & (nir > green)
    if swir is not None:
        shadow &= swir < 0.05
    found: BoolArray = shadow
    return found


def _nir(reflectance: Mapping[str, FloatArray]) -> FloatArray | None:
    return reflectance.get("nir", reflectance.get("nir08"))


def disk_reach(radius_m: float, pixel_m: float) -> int:
    """Return how many pixels a disk reaches from its centre.

    Parameters
    ----------
    radius_m : float
        Radius on the ground.
    pixel_m : float
        Pixel size.

    Returns
    -------
    reach : int
        Whole pixels; the halo that `dilate` needs.
    """
    return int(radius_m / pixel_m + 1e-9)


def dilate(mask: BoolArray, radius_m: float, pixel_m: float) -> BoolArray:
    """Grow a mask by a disk.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
        Not modified. Nothing is assumed beyond its edge.
    radius_m : float
        Distance between pixel centres up to which a pixel is taken in.
    pixel_m : float
        Pixel size in metres.

    Returns
    -------
    grown : ndarray of bool, shape (y, x)
        Exact (Euclidean) disk.
    """
    reach = disk_reach(radius_m, pixel_m)
    if reach == 0 or not mask.any():
        return mask.copy()
    radius = radius_m / pixel_m + 1e-9
    grown = mask.copy()
    line = mask.copy()
    width = 0
    # From the top of the disk inwards: each row of the disk is a run, each run holds the last.
    for dy in range(reach, -1, -1):
        for dx in range(width + 1, int((radius * radius - dy * dy) ** 0.5) + 1):
            line[:, dx:] |= mask[:, :-dx]
            line[:, :-dx] |= mask[:, dx:]
            width = dx
        if dy:
            grown[dy:] |= line[:-dy]
            grown[:-dy] |= line[dy:]
        else:
            grown |= line
    return grown
