"""Footprints of scenes: GeoJSON from anywhere in, clean EPSG:4326 polygons in -180..180 out.

Footprints across the antimeridian come in four dialects: vertices that jump from
179 to -179, longitudes beyond 180, polygons split already, and a bounding box whose
west is greater than its east. Rings are unwrapped first, then cut at the meridian,
which is what RFC 7946, section 3.1.9, asks producers to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import shapely
from shapely import affinity
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

__all__ = ["centre_longitude", "clean_footprint", "footprint_of_bbox"]

_LonLat = tuple[float, float]
_EDGE_DEG = 1e-9


def clean_footprint(geometry: object) -> MultiPolygon | Polygon:
    """Read a GeoJSON geometry as a footprint.

    Parameters
    ----------
    geometry : object
        A GeoJSON Polygon or MultiPolygon as decoded from JSON. Not trusted.

    Returns
    -------
    footprint : shapely Polygon or MultiPolygon
        Valid, 2D, longitudes in -180..180, split at the antimeridian.

    Raises
    ------
    ValueError
        If it is not a polygon, has unreadable coordinates or encircles a pole.
    """
    if not isinstance(geometry, dict):
        raise ValueError(f"found {type(geometry).__name__}, expected a GeoJSON polygon")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Polygon":
        polygons: Sequence[Any] = [coordinates]
    elif kind == "MultiPolygon" and isinstance(coordinates, list):
        polygons = coordinates
    else:
        raise ValueError(f"found {kind!r}, expected Polygon or MultiPolygon")
    parts = [part for rings in polygons for part in _split(_unwrapped_polygon(rings))]
    return _merge(parts)


def footprint_of_bbox(bbox: object) -> MultiPolygon | Polygon:
    """Turn a STAC bounding box into a footprint.

    Parameters
    ----------
    bbox : object
        West, south, east, north (or with heights, six numbers); west may be
        greater than east. Not trusted.

    Returns
    -------
    footprint : shapely Polygon or MultiPolygon
        As `clean_footprint` returns.

    Raises
    ------
    ValueError
        If it is not a bounding box.
    """
    if not isinstance(bbox, list | tuple) or len(bbox) not in (4, 6):
        raise ValueError("expected a list of four or six numbers")
    numbers = [_number(value) for value in bbox]
    half = len(numbers) // 2
    west, south, east, north = numbers[0], numbers[1], numbers[half], numbers[half + 1]
    if west > east:
        east += 360.0
    return _merge(_split(box(west, south, east, north)))


def centre_longitude(footprint: BaseGeometry) -> float:
    """Return the longitude of a footprint's centre, the antimeridian minded.

    Parameters
    ----------
    footprint : shapely geometry
        In -180..180.

    Returns
    -------
    longitude : float
        Degrees in -180..180.
    """
    west, _, east, _ = footprint.bounds
    if west > -180.0 + 1e-6 or east < 180.0 - 1e-6:
        return float(footprint.centroid.x)
    parts = [
        affinity.translate(part, 360.0) if part.bounds[0] < 0.0 else part
        for part in shapely.get_parts(footprint)
    ]
    centre = float(MultiPolygon(parts).centroid.x)
    return centre - 360.0 if centre >= 180.0 else centre


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"found {value!r}, expected a number")
    return float(value)


def _unwrapped_polygon(rings: object) -> Polygon:
    """Build one polygon whose longitudes run on beyond 180 instead of jumping."""
    if not isinstance(rings, list) or not rings:
        raise ValueError("a polygon without rings")
    shell = _unwrap(rings[0])
    west, east = min(x for x, _ in shell), max(x for x, _ in shell)
    if east - west > 360.0:
        raise ValueError("a polygon wider than the globe")
    holes = []
    for ring in rings[1:]:
        hole = _unwrap(ring)
        middle = sum(x for x, _ in hole) / len(hole)
        turns = round(((west + east) / 2.0 - middle) / 360.0)
        holes.append([(x + 360.0 * turns, y) for x, y in hole])
    return Polygon(shell, holes)


def _unwrap(ring: object) -> list[_LonLat]:
    """Remove the jumps of more than half a turn between neighbouring vertices."""
    if not isinstance(ring, list) or len(ring) < 4:
        raise ValueError("a ring of fewer than four positions")
    points: list[_LonLat] = []
    for position in ring:
        if not isinstance(position, list | tuple) or len(position) < 2:
            raise ValueError(f"found {position!r}, expected a position")
        x, y = _number(position[0]), _number(position[1])
        if abs(x) > 540.0 or abs(y) > 90.0 + _EDGE_DEG:
            raise ValueError(f"found {position[:2]!r}, expected longitude and latitude")
        if points:
            x += 360.0 * round((points[-1][0] - x) / 360.0)
        points.append((x, y))
    if abs(points[0][0] - points[-1][0]) > 180.0:
        raise ValueError("a polygon that encircles a pole")
    return points


def _split(polygon: Polygon) -> Iterable[Polygon]:
    """Cut at the antimeridian and bring every part home to -180..180."""
    valid: BaseGeometry = polygon if polygon.is_valid else shapely.make_valid(polygon)
    west, _, east, _ = valid.bounds if not valid.is_empty else (0.0, 0.0, 0.0, 0.0)
    for turn in range(math.floor((west + 180.0) / 360.0), math.ceil((east + 180.0) / 360.0)):
        if west >= -180.0 and east <= 180.0:
            piece = valid
        else:
            frame = box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0)
            piece = affinity.translate(valid.intersection(frame), -360.0 * turn)
        yield from (p for p in _polygons(piece) if p.area > 0.0)


def _polygons(geometry: BaseGeometry) -> Iterable[Polygon]:
    """Leave out the lines and points that validation or cutting may add."""
    for part in shapely.get_parts(geometry):
        if isinstance(part, Polygon):
            yield part
        elif isinstance(part, MultiPolygon):
            yield from part.geoms


def _merge(parts: Iterable[Polygon]) -> MultiPolygon | Polygon:
    found = [shapely.force_2d(part) for part in parts]
    if not found:
        raise ValueError("a polygon without area")
    if len(found) == 1:
        return found[0]
    whole = MultiPolygon(found)
    if not whole.is_valid:
        whole = MultiPolygon(list(_polygons(shapely.union_all(found))))
    return whole.geoms[0] if len(whole.geoms) == 1 else whole
