"""Who owns a pixel: the zone and hemisphere in which its centre lies, and nobody else."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from terrascope.geo.projection import lonlat_to_zone, zone_to_lonlat
from terrascope.geo.tiles import TILE_M, Tile, Zone

__all__ = ["owned_mask", "owner_zones", "pixel_centres", "pixel_lonlat", "tile_at"]

_EQUATOR_SOUTH_M = 10_000_000.0
"""Northing of the equator in the southern zones; 0 in the northern ones."""


def owner_zones(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int16]:
    """Return the zone that owns each point.

    Parameters
    ----------
    lon, lat : array_like of float
        Degrees; any longitude, 180 is taken as -180.

    Returns
    -------
    zones : ndarray of int16
        Zone number 1..60, negative in the southern hemisphere. Western meridians
        and the equator belong to the zone east and north of them.
    """
    number = (np.floor_divide(np.asarray(lon, np.float64), 6.0) + 30.0) % 60.0 + 1.0
    return np.where(np.asarray(lat) < 0.0, -number, number).astype(np.int16)


def tile_at(lon: float, lat: float) -> Tile:
    """Return the tile that owns a point.

    Parameters
    ----------
    lon, lat : float
        Degrees, 80 S to 84 N.

    Returns
    -------
    tile : Tile
        The only one.

    Raises
    ------
    ValueError
        If the point lies beyond the grid.
    """
    if not -80.0 <= lat <= 84.0:
        raise ValueError(f"latitude {lat}: the UTM grid ends at 80 S and 84 N")
    code = int(owner_zones(lon, lat))
    zone = Zone(abs(code), "S" if code < 0 else "N")
    easting, northing = lonlat_to_zone(zone, lon, lat)
    # the equator comes out as -1e-10
    row = int(max(float(northing), 0.0) // TILE_M)
    return Tile(zone, int(float(easting) // TILE_M), row)


def pixel_centres(tile: Tile, resolution_m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of a tile's pixel centres along both axes.

    Parameters
    ----------
    tile : Tile
        The tile.
    resolution_m : int
        Pixel size in metres, a divisor of 15,360.

    Returns
    -------
    easting : ndarray of float64, shape (x,)
        Metres, ascending.
    northing : ndarray of float64, shape (y,)
        Metres, descending: row 0 is the northernmost.
    """
    west, _, _, north = tile.bounds
    count = tile.geobox(resolution_m).shape.x
    steps = (np.arange(count, dtype=np.float64) + 0.5) * resolution_m
    return west + steps, north - steps


def pixel_lonlat(tile: Tile, resolution_m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude of all pixel centres of a tile.

    Parameters
    ----------
    tile : Tile
        The tile.
    resolution_m : int
        Pixel size in metres, a divisor of 15,360.

    Returns
    -------
    lon, lat : ndarray of float64, shape (y, x)
        Degrees; longitudes are continuous around the zone's central meridian.
    """
    easting, northing = pixel_centres(tile, resolution_m)
    x, y = np.meshgrid(easting, northing)
    return zone_to_lonlat(tile.zone, x, y)


def owned_mask(tile: Tile, resolution_m: int) -> NDArray[np.bool_]:
    """Return which pixels of a tile are its own.

    Parameters
    ----------
    tile : Tile
        The tile.
    resolution_m : int
        Pixel size in metres, a divisor of 15,360.

    Returns
    -------
    owned : ndarray of bool, shape (y, x)
        True where the pixel's centre lies between the zone's meridians (western
        one included) and in its hemisphere (the equator is northern).

    Notes
    -----
    On one row of pixels longitude grows with easting, so the two meridians are
    found by bisection with the exact projection; no full grid is projected.
    """
    easting, northing = pixel_centres(tile, resolution_m)
    west, east = tile.zone.lon_range
    first = _columns_west_of(tile.zone, west, easting, northing)
    last = _columns_west_of(tile.zone, east, easting, northing)
    column = np.arange(len(easting))
    owned = (column >= first[:, None]) & (column < last[:, None])
    if tile.zone.hemisphere == "S":
        owned &= (northing < _EQUATOR_SOUTH_M)[:, None]
    return owned


def _columns_west_of(
    zone: Zone, meridian: float, easting: NDArray[np.float64], northing: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Count, for each row, the pixels whose centre lies west of a meridian."""
    ends = zone_to_lonlat(zone, *np.meshgrid(easting[[0, -1]], northing[[0, -1]]))[0]
    # the strip between two meridians is convex in the projection, but its outside is not
    if (ends >= meridian).all() and meridian == zone.lon_range[0]:
        return np.zeros(len(northing), np.int64)
    if (ends < meridian).all() and meridian == zone.lon_range[1]:
        return np.full(len(northing), len(easting), np.int64)
    low = np.zeros(len(northing), np.int64)
    high = np.full(len(northing), len(easting), np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        probe = np.minimum(middle, len(easting) - 1)
        is_west = zone_to_lonlat(zone, easting[probe], northing)[0] < meridian
        open_ = low < high
        low = np.where(open_ & is_west, middle + 1, low)
        high = np.where(open_ & ~is_west, middle, high)
    return low
