"""Polygons that cross the 180th meridian: unwrap, split, and their bounding boxes.

A crossing comes in four dialects: vertices that jump from 179 to -179, longitudes beyond
180, polygons split already, and a bounding box whose west is greater than its east. Rings
are unwrapped first, then cut at the meridian, as RFC 7946, section 3.1.9, asks producers to.
"""

from __future__ import annotations

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import MultiPolygon, Polygon

__all__ = ["lonlat_bounds", "polygons_of", "split_at_antimeridian", "split_bbox"]

_EDGE = 180.0


def split_at_antimeridian(geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """Bring polygons into -180..180, cut at the antimeridian.

    Parameters
    ----------
    geometry : shapely Polygon or MultiPolygon
        Degrees. A crossing may be written with longitudes beyond 180, or with an
        edge that jumps by more than half a turn (179 to -179). An edge from exactly
        -180 to exactly 180 is taken as it stands where the ring runs along the
        meridian before and after it: the rim of a map of the whole world.

    Returns
    -------
    geometry : shapely Polygon or MultiPolygon
        Valid, overlapping parts merged, holes kept; empty where nothing has area.

    Raises
    ------
    ValueError
        If a ring winds around a pole.
    """
    pieces: list[Polygon] = []
    for polygon in polygons_of(geometry):
        whole: shapely.Geometry = _unwrapped(polygon)
        if not shapely.is_valid(whole):
            whole = shapely.make_valid(whole)
        for part in polygons_of(whole):
            pieces.extend(_cut(part))
    return _joined(polygons_of(shapely.union_all(pieces)) if len(pieces) > 1 else pieces)


def split_bbox(west: float, south: float, east: float, north: float) -> Polygon | MultiPolygon:
    """Turn a bounding box into polygons in -180..180.

    Parameters
    ----------
    west, south, east, north : float
        Degrees; west > east crosses the antimeridian, and so do longitudes beyond 180.

    Returns
    -------
    geometry : shapely Polygon or MultiPolygon
        Two parts where the box crosses, the eastern hemisphere's first.
    """
    beyond = east + 360.0 if west > east else east
    return _joined(_cut(shapely.box(west, south, beyond, north)))


def polygons_of(geometry: shapely.Geometry) -> list[Polygon]:
    """Return the polygons of a geometry, lines and points dropped.

    Parameters
    ----------
    geometry : shapely.Geometry
        Of any type.

    Returns
    -------
    polygons : list of shapely Polygon
        Non-empty, in the order of the geometry.
    """
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return [part for part in parts if isinstance(part, Polygon) and not part.is_empty]


def lonlat_bounds(geometry: shapely.Geometry) -> tuple[float, float, float, float]:
    """Return the bounding box in the manner of RFC 7946.

    Parameters
    ----------
    geometry : shapely.Geometry
        Degrees, split at the antimeridian.

    Returns
    -------
    west, south, east, north : tuple of float
        Degrees; west > east where the box crosses the antimeridian.
    """
    west, south, east, north = (float(v) for v in shapely.bounds(geometry))
    if west > -_EDGE or east < _EDGE:
        return west, south, east, north
    spans = sorted((b[0], b[2]) for b in shapely.bounds(shapely.get_parts(geometry)).tolist())
    reach, gap, gap_west, gap_east = spans[0][1], 0.0, west, east
    for start, end in spans[1:]:
        if start - reach > gap:
            gap, gap_east, gap_west = start - reach, reach, start
        reach = max(reach, end)
    return gap_west, south, gap_east, north


def _unwrapped(polygon: Polygon) -> Polygon:
    """Make the longitudes of each ring continuous, and the holes lie in their shell."""
    shell = _continuous(np.asarray(polygon.exterior.coords)[:, :2])
    holes = [_continuous(np.asarray(ring.coords)[:, :2]) for ring in polygon.interiors]
    centre = (shell[:, 0].min() + shell[:, 0].max()) / 2
    for hole in holes:
        middle = (hole[:, 0].min() + hole[:, 0].max()) / 2
        hole[:, 0] += 360.0 * np.round((centre - middle) / 360.0)
    return Polygon(shell, holes)


def _continuous(ring: np.ndarray) -> np.ndarray:
    """Remove the jumps of more than half a turn between neighbouring vertices."""
    lon = ring[:, 0]
    turns = np.round(np.diff(lon) / 360.0)
    edge = np.abs(np.abs(lon[:-1]) - _EDGE) < 1e-9
    turns[edge & np.roll(edge, -1) & np.roll(edge, 1) & np.roll(edge, -2)] = 0.0
    if turns.sum() != 0.0:
        raise ValueError("a ring of the polygon winds around a pole; expected a ring beside it")
    # Whole turns only: adding them to a longitude near 180 rounds nothing.
    return np.column_stack([lon - 360.0 * np.cumsum([0.0, *turns]), ring[:, 1]])


def _cut(polygon: Polygon) -> list[Polygon]:
    west, south, east, north = polygon.bounds
    first = int(np.floor((west + _EDGE) / 360.0))
    last = int(np.ceil((east - _EDGE) / 360.0))
    if first == last == 0:
        return [polygon]
    pieces: list[Polygon] = []
    for turn in range(first, last + 1):
        world = shapely.box(360.0 * turn - _EDGE, south - 1, 360.0 * turn + _EDGE, north + 1)
        part = shapely.intersection(polygon, world)
        pieces.extend(polygons_of(affinity.translate(part, xoff=-360.0 * turn)))
    return pieces


def _joined(parts: list[Polygon]) -> Polygon | MultiPolygon:
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)
