"""Geodesic area of a pixel, without a projection library."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["pixel_area_m2", "scale_factor"]

_K0 = 0.9996
_E2 = 0.0066943799901413165
"""First eccentricity squared of the WGS 84 ellipsoid."""
_EP2 = _E2 / (1.0 - _E2)


def scale_factor(latitude_deg: ArrayLike, longitude_offset_deg: ArrayLike) -> NDArray[np.float64]:
    """Return the point scale factor of UTM: map metres per metre on the ground.

    Parameters
    ----------
    latitude_deg : array_like of float
        Geodetic latitude in degrees.
    longitude_offset_deg : array_like of float
        Longitude minus that of the zone's central meridian, in degrees; broadcast
        against `latitude_deg`.

    Returns
    -------
    scale : ndarray of float64
        Equal in all directions, 0.9996 on the central meridian; better than 1e-8
        within 3.5 degrees of it.

    References
    ----------
    J. P. Snyder, Map Projections: A Working Manual, USGS Professional Paper 1395
    (1987), equation 8-11.
    """
    phi = np.radians(np.asarray(latitude_deg, np.float64))
    cosine = np.cos(phi)
    a2 = (np.radians(np.asarray(longitude_offset_deg, np.float64)) * cosine) ** 2
    t = np.tan(phi) ** 2
    c = _EP2 * cosine**2
    second = (1 + c) / 2
    fourth = (5 - 4 * t + 42 * c + 13 * c**2 - 28 * _EP2) / 24
    sixth = (61 - 148 * t + 16 * t**2) / 720
    scale: NDArray[np.float64] = _K0 * (1 + a2 * (second + a2 * (fourth + a2 * sixth)))
    return scale


def pixel_area_m2(
    latitude_deg: ArrayLike,
    longitude_offset_deg: ArrayLike,
    resolution_m: float,
    *,
    projection: str = "utm",
) -> NDArray[np.float64]:
    """Return the area on the WGS 84 ellipsoid of square map pixels.

    Parameters
    ----------
    latitude_deg : array_like of float
        Of the pixels' centres, in degrees.
    longitude_offset_deg : array_like of float
        Longitude minus that of the zone's central meridian, in degrees; broadcast
        against `latitude_deg`. Not used by the equal-area projection.
    resolution_m : float
        Side of a pixel in map metres.
    projection : {"utm", "equal-area"}
        A UTM zone, or the cylindrical equal-area grid EPSG:6933.

    Returns
    -------
    area : ndarray of float64
        Square metres on the ground.

    Raises
    ------
    ValueError
        If `projection` is anything else.

    Notes
    -----
    UTM is conformal, so an infinitesimal square of side r covers r^2 / k^2; over a
    pixel the centre's k stands for the whole, the rest being of the order of the
    squared ratio of the pixel to the radius of the Earth.
    EPSG:6933 keeps areas on the ellipsoid itself: every pixel covers r^2.
    """
    if projection == "utm":
        return resolution_m**2 / scale_factor(latitude_deg, longitude_offset_deg) ** 2
    if projection == "equal-area":
        shape = np.broadcast_shapes(np.shape(latitude_deg), np.shape(longitude_offset_deg))
        return np.full(shape, float(resolution_m) ** 2)
    raise ValueError(f"projection {projection!r}: expected 'utm' or 'equal-area'")
