"""Which scenes may have data for which tiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray

from terrascope.geo.projection import zone_to_lonlat
from terrascope.geo.tiles import TILE_M, Tile, Zone

__all__ = ["intersect_pairs", "tile_outlines"]

_PIECES = 4
"""Chords per side of an outline."""

_SAGITTA_M = 5.0
"""More than a chord of a quarter tile leaves its arc, up to 84 N."""

_FOOTPRINTS_AT_ONCE = 2048


def tile_outlines(tiles: Sequence[Tile], *, margin_m: float = 0.0) -> NDArray[np.object_]:
    """Return polygons in degrees that hold the tiles' squares.

    Parameters
    ----------
    tiles : sequence of Tile
        Any tiles.
    margin_m : float
        Ground added on each side.

    Returns
    -------
    outlines : ndarray of object, shape (tiles,)
        Shapely polygons, a few metres wider than the squares so that none of the
        ground is outside. Longitudes are continuous: those of a tile on the
        antimeridian leave -180..180.
    """
    squares = np.empty((len(tiles), 2))
    by_zone: dict[Zone, list[int]] = {}
    for i, tile in enumerate(tiles):
        squares[i] = tile.column, tile.row
        by_zone.setdefault(tile.zone, []).append(i)
    along = np.linspace(0.0, 1.0, _PIECES + 1)[:-1]
    zero, one = np.zeros(_PIECES), np.ones(_PIECES)
    ring_x = np.concatenate([along, one, 1 - along, zero])
    ring_y = np.concatenate([zero, along, one, 1 - along])
    margin = margin_m + _SAGITTA_M
    side = TILE_M + 2 * margin
    outlines = np.empty(len(tiles), dtype=object)
    for zone, members in by_zone.items():
        corner = squares[members] * TILE_M - margin
        x = corner[:, :1] + ring_x * side
        y = corner[:, 1:] + ring_y * side
        outlines[members] = shapely.polygons(np.stack(zone_to_lonlat(zone, x, y), axis=-1))
    return outlines


def intersect_pairs(
    tiles: Sequence[Tile], footprints: Sequence[shapely.Geometry], *, margin_m: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of a tile and a footprint that share ground.

    Parameters
    ----------
    tiles : sequence of Tile
        Any tiles.
    footprints : sequence of shapely.Geometry
        EPSG:4326, split at the antimeridian; None and empty ones match nothing.
    margin_m : float
        Ground around each tile that counts as part of it: the halo that is read.

    Returns
    -------
    tile_index, footprint_index : ndarray of int64, shape (pairs,)
        Sorted by tile, then footprint. Never misses a pair; may hold one whose
        outlines are up to about 5 m apart.
    """
    outlines = tile_outlines(tiles, margin_m=margin_m)
    owner = np.arange(len(outlines))
    bounds = shapely.bounds(outlines)
    wrapped = [owner]
    copies = [outlines]
    for turn, beyond in ((-360.0, bounds[:, 2] > 180.0), (360.0, bounds[:, 0] < -180.0)):
        copies.append(shapely.transform(outlines[beyond], partial(_turned, turn_deg=turn)))
        wrapped.append(owner[beyond])
    tree, owner = shapely.STRtree(np.concatenate(copies)), np.concatenate(wrapped)
    geometries = np.asarray(footprints, dtype=object)
    keys = []
    for start in range(0, len(geometries), _FOOTPRINTS_AT_ONCE):
        batch = geometries[start : start + _FOOTPRINTS_AT_ONCE]
        shapely.prepare(batch)
        scene, tile = tree.query(batch, predicate="intersects")
        keys.append(np.unique(owner[tile] * len(geometries) + scene + start))
        shapely.destroy_prepared(batch)
    key = np.sort(np.concatenate(keys)) if keys else np.empty(0, np.int64)
    return np.divmod(key.astype(np.int64), max(len(geometries), 1))


def _turned(points: NDArray[np.float64], *, turn_deg: float) -> NDArray[np.float64]:
    return np.column_stack([points[:, 0] + turn_deg, points[:, 1]])
