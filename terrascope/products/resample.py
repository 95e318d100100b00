"""Which pixel of which tile a mosaic's pixel shows: nearest, with exact ownership."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray

from terrascope.geo.ownership import owner_zones
from terrascope.geo.projection import lonlat_to_zone, zone_to_lonlat
from terrascope.geo.tiles import Tile, Zone
from terrascope.kernels.evidence import observed_window

__all__ = ["MosaicGrid", "MosaicWindow", "source_pixels"]

_PART = 128
"""Tiles are looked at in parts of so many pixels, so that empty ground is skipped."""

_LATTICE_M, _LEAST_LATTICE = 160, 4
"""Coordinates are exact every so many metres, or pixels where those are large, and linear between:
they err by less than 0.007 of a pixel up to 80 N (`tests/unit/products/test_mosaic.py`)."""


@dataclasses.dataclass(frozen=True)
class MosaicGrid:
    """The pixel grid of a mosaic.

    Parameters
    ----------
    crs : str
        ``"EPSG:..."`` or WKT.
    transform : Affine
        North up.
    shape_yx : tuple of int
        Rows and columns.
    """

    crs: str
    transform: Affine
    shape_yx: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class MosaicWindow:
    """A window of a mosaic and where its values come from.

    Parameters
    ----------
    row, column : int
        Upper left pixel in the mosaic.
    index : ndarray of int64, shape (y, x)
        Flat index into the tile's pixels, -1 where the value is not the tile's.
    """

    row: int
    column: int
    index: NDArray[np.int64]


def source_pixels(
    grid: MosaicGrid, tile: Tile, resolution_m: int, inside: NDArray[np.bool_]
) -> MosaicWindow | None:
    """Return which pixels of a mosaic show a tile.

    Parameters
    ----------
    grid : MosaicGrid
        Of the mosaic.
    tile : Tile
        The tile.
    resolution_m : int
        Of the tile's pixels.
    inside : ndarray of bool, shape (y, x)
        Pixels of the tile that have something to show.

    Returns
    -------
    window : MosaicWindow or None
        None where the tile shows nowhere.

    Notes
    -----
    A mosaic pixel belongs to the zone in which its centre lies, and shows the
    nearest pixel that this zone owns. So zones meet without gap or double line,
    although the grids of two zones are turned against each other.
    """
    if grid.crs == f"EPSG:{tile.zone.epsg}" and grid.transform.a == resolution_m:
        parts = [_aligned(grid, tile, resolution_m, inside)]
    else:
        parts = [
            _warped(grid, tile, resolution_m, inside, bounds)
            for bounds in _occupied(tile, resolution_m, inside)
        ]
    found = [part for part in parts if part is not None]
    if not found:
        return None
    top, left = min(p.row for p in found), min(p.column for p in found)
    bottom = max(p.row + p.index.shape[0] for p in found)
    right = max(p.column + p.index.shape[1] for p in found)
    index = np.full((bottom - top, right - left), -1, np.int64)
    for part in found:
        rows, columns = part.index.shape
        y, x = part.row - top, part.column - left
        np.maximum(
            index[y : y + rows, x : x + columns],
            part.index,
            out=index[y : y + rows, x : x + columns],
        )
    return MosaicWindow(top, left, index)


def _aligned(
    grid: MosaicGrid, tile: Tile, resolution_m: int, inside: NDArray[np.bool_]
) -> MosaicWindow | None:
    """Both grids count from (0, 0) of one CRS: a plain copy (a foreign zone owns nothing here)."""
    west, _, _, north = tile.bounds
    row = round((grid.transform.f - north) / resolution_m)
    column = round((west - grid.transform.c) / resolution_m)
    ys, xs = observed_window(inside)
    top, bottom = max(-row, ys.start), min(ys.stop, grid.shape_yx[0] - row)
    left, right = max(-column, xs.start), min(xs.stop, grid.shape_yx[1] - column)
    if top >= bottom or left >= right:
        return None
    index = np.arange(top, bottom)[:, None] * inside.shape[1] + np.arange(left, right)
    index[~inside[top:bottom, left:right]] = -1
    return MosaicWindow(row + top, column + left, index)


def _occupied(
    tile: Tile, resolution_m: int, inside: NDArray[np.bool_]
) -> Iterator[tuple[float, float, float, float]]:
    """Walk over boxes, in metres of the zone, that hold all pixels with something to show."""
    west, _, _, north = tile.bounds
    for y in range(0, inside.shape[0], _PART):
        for x in range(0, inside.shape[1], _PART):
            rows, columns = np.nonzero(inside[y : y + _PART, x : x + _PART])
            if rows.size:
                yield (
                    west + (x + int(columns.min())) * resolution_m,
                    north - (y + int(rows.max()) + 1) * resolution_m,
                    west + (x + int(columns.max()) + 1) * resolution_m,
                    north - (y + int(rows.min())) * resolution_m,
                )


def _warped(
    grid: MosaicGrid,
    tile: Tile,
    resolution_m: int,
    inside: NDArray[np.bool_],
    bounds: tuple[float, float, float, float],
) -> MosaicWindow | None:
    """Look up the mosaic's pixels around a box of the tile."""
    # one pixel more: a border pixel shows its owned neighbour
    margin = 1.5 * resolution_m
    edge = np.linspace(0.0, 1.0, 9)
    x = bounds[0] - margin + edge * (bounds[2] - bounds[0] + 2 * margin)
    y = bounds[1] - margin + edge * (bounds[3] - bounds[1] + 2 * margin)
    lon, lat = zone_to_lonlat(tile.zone, *np.meshgrid(x, y))
    x, y = _transformer(grid.crs).transform(lon, lat, direction="INVERSE")
    column, row = (
        (x - grid.transform.c) / grid.transform.a,
        (y - grid.transform.f) / grid.transform.e,
    )
    top, left = max(int(np.floor(row.min())) - 1, 0), max(int(np.floor(column.min())) - 1, 0)
    bottom = min(int(np.ceil(row.max())) + 1, grid.shape_yx[0])
    right = min(int(np.ceil(column.max())) + 1, grid.shape_yx[1])
    if bottom <= top or right <= left:
        return None
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    easting, northing, owned = _coordinates(grid, tile.zone, resolution_m, rows, columns)
    size = inside.shape[0]
    x_index = np.floor(easting / resolution_m).astype(np.int64) - tile.column * size
    y_index = (tile.row + 1) * size - 1 - np.floor(northing / resolution_m).astype(np.int64)
    hit = owned & (x_index >= 0) & (x_index < size) & (y_index >= 0) & (y_index < size)
    index = np.where(hit, y_index * size + x_index, -1)
    index[hit & ~inside.ravel()[index]] = -1
    return MosaicWindow(top, left, index)


def _coordinates(
    grid: MosaicGrid,
    zone: Zone,
    resolution_m: int,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return where mosaic pixels lie in a zone, and whether the zone owns them.

    Near the border of the zone coordinates are exact, and moved to the nearest
    pixel whose own centre the zone owns.
    """
    step = max(_LATTICE_M // resolution_m, _LEAST_LATTICE)
    lattice_rows, lattice_columns = _lattice(rows, step), _lattice(columns, step)
    lon, lat = _lonlat(grid, *np.meshgrid(lattice_columns, lattice_rows))
    nodes = np.stack([_offset(zone, lon), lat, *lonlat_to_zone(zone, lon, lat)])
    by_row, by_column = _weights(rows, lattice_rows), _weights(columns, lattice_columns)
    offset, lat, easting, northing = by_row @ nodes @ by_column.T
    owned = (np.abs(offset) <= 3.0) & ((lat < 0.0) == (zone.hemisphere == "S"))
    reach = np.degrees(3.0 * resolution_m / 6.3e6)
    near = (np.abs(np.abs(offset) - 3.0) * np.cos(np.radians(lat)) < reach) | (np.abs(lat) < reach)
    if near.any():
        y, x = np.nonzero(near)
        lon_near, lat_near = _lonlat(grid, columns[x], rows[y])
        owned[near] = _owns(zone, lon_near, lat_near)
        place = lonlat_to_zone(zone, lon_near, lat_near)
        easting[near], northing[near] = _to_owned_pixel(zone, resolution_m, *place)
    return easting, northing, owned


def _to_owned_pixel(
    zone: Zone, resolution_m: int, easting: NDArray[np.float64], northing: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move points at a zone's border into the nearest pixel that the zone owns."""
    x = (np.floor(easting / resolution_m) + 0.5) * resolution_m
    y = (np.floor(northing / resolution_m) + 0.5) * resolution_m
    if zone.hemisphere == "S":
        y = np.where(y >= 10_000_000.0, y - resolution_m, y)
    else:
        y = np.maximum(y, 0.5 * resolution_m)
    lon = _offset(zone, zone_to_lonlat(zone, x, y)[0])
    x = np.where(lon < -3.0, x + resolution_m, np.where(lon >= 3.0, x - resolution_m, x))
    return x, y


def _owns(zone: Zone, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    code = -zone.number if zone.hemisphere == "S" else zone.number
    return np.asarray(owner_zones(lon, lat) == code, np.bool_)


def _offset(zone: Zone, lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees east of the central meridian, -180..180."""
    turned: NDArray[np.float64] = (lon - zone.lon_range[0] - 3.0 + 180.0) % 360.0 - 180.0
    return turned


@lru_cache(maxsize=16)
def _transformer(crs: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


def _lonlat(
    grid: MosaicGrid, column: NDArray[Any], row: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude of the centres of mosaic pixels."""
    affine = grid.transform
    x = affine.c + (np.asarray(column) + 0.5) * affine.a
    y = affine.f + (np.asarray(row) + 0.5) * affine.e
    lon, lat = _transformer(grid.crs).transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def _lattice(indices: NDArray[np.int64], step: int) -> NDArray[np.float64]:
    count = max(-(-len(indices) // step), 1) + 1
    return np.linspace(float(indices[0]), float(max(indices[-1], indices[0] + 1)), count)


def _weights(indices: NDArray[np.int64], lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix that interpolates lattice values linearly."""
    step = lattice[1] - lattice[0]
    weights: NDArray[np.float64] = np.maximum(1.0 - np.abs(indices[:, None] - lattice) / step, 0.0)
    return weights
