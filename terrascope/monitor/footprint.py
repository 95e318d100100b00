"""Ground as pixels of one tile: which are asked for, and how large each one is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from terrascope.geo.antimeridian import polygons_of
from terrascope.geo.aoi import Aoi
from terrascope.geo.footprints import tile_outlines
from terrascope.geo.ownership import owned_mask
from terrascope.geo.projection import project_to_zone, zone_to_lonlat
from terrascope.geo.tiles import TILE_M, Tile
from terrascope.kernels.area import pixel_area_m2

__all__ = ["aoi_mask", "ground_identity", "polygon_mask", "tile_pixel_area"]

_NODES = 17
"""Grid on which pixel areas are computed. The scale of an area grows by (x / 6,371 km)² away from
the central meridian: linear between nodes h = 960 m apart errs by (h / 2 / 6,371 km)², 6e-9."""

_rasterizing = threading.Lock()


def aoi_mask(aoi: Aoi, tile: Tile, resolution_m: int) -> NDArray[np.bool_]:
    """Return which pixels of a tile are asked for.

    Parameters
    ----------
    aoi : Aoi
        The area of interest.
    tile : Tile
        The tile.
    resolution_m : int
        Pixel size in metres, a divisor of 15,360.

    Returns
    -------
    mask : ndarray of bool, shape (y, x)
        True where the pixel's centre lies inside the area and the tile owns the
        pixel: over all tiles, each place is asked for once.
    """
    owned = owned_mask(tile, resolution_m)
    outline = tile_outlines([tile])[0]
    ground = _near(aoi.geometry, outline)
    if ground.is_empty or not owned.any():
        return np.zeros_like(owned)
    if ground.contains(outline):
        return owned
    polygons = polygons_of(project_to_zone(ground, tile.zone))
    west, _, _, north = tile.bounds
    transform = Affine(resolution_m, 0.0, west, 0.0, -resolution_m, north)
    return polygon_mask(polygons, (owned.shape[0], owned.shape[1]), transform) & owned


def polygon_mask(
    polygons: Iterable[shapely.Geometry], shape_yx: tuple[int, int], transform: Affine
) -> NDArray[np.bool_]:
    """Return which pixels have their centre inside polygons.

    Parameters
    ----------
    polygons : iterable of shapely geometry
        In the map coordinates of `transform`.
    shape_yx : tuple of int
        Rows and columns.
    transform : affine.Affine
        Pixel to map coordinates.

    Returns
    -------
    mask : ndarray of bool, shape (y, x)
        True inside.
    """
    # One at a time: rasterio silences a warning about its own scratch raster with
    # `warnings.catch_warnings`, which lets it through where two threads do so at once.
    with _rasterizing:
        inside = geometry_mask(polygons, shape_yx, transform, invert=True)
    return np.asarray(inside, dtype=np.bool_)


def ground_identity(aoi: Aoi, tile: Tile) -> str:
    """Return a hash of what an area asks of a tile: equal hashes, equal masks.

    Parameters
    ----------
    aoi : Aoi
        The area of interest.
    tile : Tile
        The tile.

    Returns
    -------
    identity : str
        Changes with the area's outline in and around the tile only.
    """
    outline = tile_outlines([tile])[0]
    ground = _near(aoi.geometry, outline)
    if ground.contains(outline):
        return "all"
    return hashlib.sha256(shapely.to_wkb(shapely.normalize(ground))).hexdigest()[:32]


def tile_pixel_area(
    tile: Tile,
    resolution_m: int,
    *,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> NDArray[np.float64]:
    """Return the geodesic area of each pixel of a tile.

    Parameters
    ----------
    tile : Tile
        The tile.
    resolution_m : int
        Pixel size in metres, a divisor of 15,360.
    rows, columns : slice
        Part of the tile, default all of it.

    Returns
    -------
    area : ndarray of float64, shape (y, x)
        Square metres on the WGS 84 ellipsoid.
    """
    size = tile.geobox(resolution_m).shape.x
    west, _, _, north = tile.bounds
    offset = np.linspace(0.0, float(TILE_M), _NODES)
    x, y = np.meshgrid(west + offset, north - offset)
    lon, lat = zone_to_lonlat(tile.zone, x, y)
    nodes = pixel_area_m2(lat, lon - (tile.zone.lon_range[0] + 3.0), resolution_m)
    centres = (np.arange(size, dtype=np.float64) + 0.5) * resolution_m
    weights = np.maximum(1.0 - np.abs(centres[:, None] - offset) / offset[1], 0.0)
    area: NDArray[np.float64] = weights[rows] @ nodes @ weights[columns].T
    return area


def _near(geometry: BaseGeometry, outline: BaseGeometry) -> BaseGeometry:
    """Return the part of the area around a tile, continuous across the antimeridian."""
    west, south, east, north = outline.bounds
    # a little more than the tile, so that no clipped edge passes through it
    box = shapely.box(west - 0.01, south - 0.01, east + 0.01, north + 0.01)
    turns = [0.0]
    if box.bounds[0] < -180.0:
        turns.append(-360.0)
    if box.bounds[2] > 180.0:
        turns.append(360.0)
    pieces = [shapely.intersection(affinity.translate(geometry, t), box) for t in turns]
    parts = [part for piece in pieces for part in polygons_of(piece)]
    union: BaseGeometry = shapely.union_all(parts)
    return union
