"""Coordinates between longitude/latitude and the UTM zones of the grid, as arrays."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj
import shapely
from numpy.typing import ArrayLike, NDArray

from terrascope.geo.tiles import Zone

__all__ = [
    "lonlat_to_zone",
    "project_to_zone",
    "transformer",
    "unproject_from_zone",
    "zone_to_lonlat",
]


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """Return the transformation between two reference systems, made once.

    Parameters
    ----------
    source, target : str
        As `pyproj.CRS` takes them: ``"EPSG:4326"``, WKT.

    Returns
    -------
    transformer : pyproj.Transformer
        Easting or longitude first. pyproj keeps one PROJ object per thread inside it.
    """
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def lonlat_to_zone(
    zone: Zone, lon: ArrayLike, lat: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project longitudes and latitudes to a zone.

    Parameters
    ----------
    zone : Zone
        The UTM zone.
    lon, lat : array_like of float
        Degrees, of one shape.

    Returns
    -------
    easting, northing : ndarray of float64
        Metres, of the same shape; `inf` where the point cannot be projected.
    """
    east, north = transformer("EPSG:4326", f"EPSG:{zone.epsg}").transform(
        np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    )
    return np.asarray(east), np.asarray(north)


def zone_to_lonlat(
    zone: Zone, easting: ArrayLike, northing: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitudes and latitudes of points of a zone.

    Parameters
    ----------
    zone : Zone
        The UTM zone.
    easting, northing : array_like of float
        Metres, of one shape.

    Returns
    -------
    lon, lat : ndarray of float64
        Degrees. Longitudes are continuous around the zone's central meridian, so
        they leave -180..180 where a tile of zone 1 or 60 crosses the antimeridian.
    """
    lon, lat = transformer(f"EPSG:{zone.epsg}", "EPSG:4326").transform(
        np.asarray(easting, np.float64), np.asarray(northing, np.float64)
    )
    centre = zone.lon_range[0] + 3.0
    lon = np.asarray(lon)
    return lon - 360.0 * np.round((lon - centre) / 360.0), np.asarray(lat)


def project_to_zone(
    geometry: shapely.Geometry, zone: Zone, *, step_deg: float = 0.01
) -> shapely.Geometry:
    """Project a geometry in degrees to a zone, its straight edges becoming curves.

    Parameters
    ----------
    geometry : shapely.Geometry
        EPSG:4326, edges straight in longitude and latitude (as in GeoJSON).
    zone : Zone
        The UTM zone.
    step_deg : float
        Longest edge after densifying; 0.01 degree keeps within 0.05 m at 65 N.

    Returns
    -------
    geometry : shapely.Geometry
        Metres of the zone's CRS. Validity is that of the input, up to rounding.
    """
    return shapely.transform(
        shapely.segmentize(geometry, step_deg),
        lambda points: np.column_stack(lonlat_to_zone(zone, points[:, 0], points[:, 1])),
    )


def unproject_from_zone(
    geometry: shapely.Geometry, zone: Zone, *, step_m: float = 1000.0
) -> shapely.Geometry:
    """Bring a geometry of a zone to degrees, its straight edges becoming curves.

    Parameters
    ----------
    geometry : shapely.Geometry
        Metres of the zone's CRS.
    zone : Zone
        The UTM zone.
    step_m : float
        Longest edge after densifying.

    Returns
    -------
    geometry : shapely.Geometry
        Degrees, longitudes continuous around the zone's central meridian.
    """
    return shapely.transform(
        shapely.segmentize(geometry, step_m),
        lambda points: np.column_stack(zone_to_lonlat(zone, points[:, 0], points[:, 1])),
    )
