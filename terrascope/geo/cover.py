"""Which tiles an area of interest needs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon

from terrascope.geo.antimeridian import polygons_of
from terrascope.geo.aoi import NORTH_LIMIT, SOUTH_LIMIT, Aoi
from terrascope.geo.projection import project_to_zone
from terrascope.geo.tiles import TILE_M, Tile, Zone

__all__ = ["tiles_covering"]

_NO_GROUND_M2 = 0.01
"""Below this an overlap is rounding (1e-7 m along a tile's side), not ground."""


def tiles_covering(aoi: Aoi) -> list[Tile]:
    """Return the tiles that own ground of an area.

    A tile owns the part of its square that lies between the meridians of its zone
    and in its hemisphere, so every point of the world belongs to exactly one tile.

    Parameters
    ----------
    aoi : Aoi
        The area of interest.

    Returns
    -------
    tiles : list of Tile
        Sorted, without repetition.
    """
    tiles: list[Tile] = []
    for zone, ground in _ground_by_zone(aoi):
        columns, rows = _squares(ground)
        tiles += [Tile(zone, c, r) for c, r in zip(columns.tolist(), rows.tolist(), strict=True)]
    return sorted(tiles)


def _ground_by_zone(aoi: Aoi) -> Iterator[tuple[Zone, shapely.Geometry]]:
    """Cut the area at the zones' meridians and the equator, and project each piece."""
    shapely.prepare(aoi.geometry)
    for number in range(1, 61):
        for hemisphere, south, north in (("N", 0.0, NORTH_LIMIT), ("S", SOUTH_LIMIT, 0.0)):
            zone = Zone(number, hemisphere)
            west, east = zone.lon_range
            strip = shapely.box(west, south, east, north)
            if not aoi.geometry.intersects(strip):
                continue
            piece = MultiPolygon(polygons_of(shapely.intersection(aoi.geometry, strip)))
            if not piece.is_empty:
                yield zone, shapely.make_valid(project_to_zone(piece, zone, step_deg=0.02))


def _squares(ground: shapely.Geometry) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return columns and rows of the grid squares that share area with a geometry.

    Blocks of squares are halved until they are full, empty or single, all blocks
    of one size at once: the cost follows the outline, not the area.
    """
    low, high = np.split(shapely.bounds(ground) / TILE_M, 2)
    blocks = np.concatenate([np.floor(low), np.ceil(high)]).astype(np.int64)[None]
    pieces = np.array([ground], dtype=object)
    found: list[NDArray[np.int64]] = []
    while len(blocks):
        area = shapely.area(pieces)
        extent = blocks[:, 2:] - blocks[:, :2]
        count = extent.prod(axis=1)
        touched = area > _NO_GROUND_M2
        done = touched & ((count == 1) | (count * float(TILE_M**2) - area < _NO_GROUND_M2))
        found += [_members(block) for block in blocks[done]]
        pending = touched & ~done
        blocks, parents = _halves(blocks[pending], extent[pending])
        boxes = shapely.box(*(blocks.T * float(TILE_M)))
        pieces = _polygonal(shapely.intersection(pieces[pending][parents], boxes))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    members = np.concatenate(found)
    return members[:, 0], members[:, 1]


def _members(block: NDArray[np.int64]) -> NDArray[np.int64]:
    columns, rows = np.meshgrid(np.arange(block[0], block[2]), np.arange(block[1], block[3]))
    return np.column_stack([columns.ravel(), rows.ravel()])


def _halves(
    blocks: NDArray[np.int64], extent: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Halve blocks across their longer side; return them and the index of their parents."""
    index = np.arange(len(blocks))
    axis = extent.argmax(axis=1) if len(blocks) else index
    middle = blocks[index, axis] + extent[index, axis] // 2
    low, high = blocks.copy(), blocks.copy()
    low[index, axis + 2] = middle
    high[index, axis] = middle
    return np.concatenate([low, high]), np.concatenate([index, index])


def _polygonal(pieces: NDArray[np.object_]) -> NDArray[np.object_]:
    """Drop the lines and points which an intersection leaves where outlines touch."""
    mixed = shapely.get_type_id(pieces) == shapely.GeometryType.GEOMETRYCOLLECTION
    for i in np.flatnonzero(mixed):
        pieces[i] = MultiPolygon(polygons_of(pieces[i]))
    return pieces
