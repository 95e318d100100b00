"""Footprints of scenes: GeoJSON from anywhere in, clean EPSG:4326 polygons in -180..180 out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import shapely
from shapely import affinity
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from terrascope.catalog.raster import is_number
from terrascope.geo.antimeridian import split_at_antimeridian, split_bbox

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
    whole = MultiPolygon([_polygon(rings) for rings in polygons])
    return _with_area(split_at_antimeridian(whole))


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
    if (
        not isinstance(bbox, list | tuple)
        or len(bbox) not in (4, 6)
        or not all(map(is_number, bbox))
    ):
        raise ValueError("expected a list of four or six numbers")
    half = len(bbox) // 2
    return _with_area(split_bbox(*_position(bbox[:half]), *_position(bbox[half:])))


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


def _polygon(rings: object) -> Polygon:
    if not isinstance(rings, list) or not rings:
        raise ValueError("a polygon without rings")
    shell, *holes = [_ring(ring) for ring in rings]
    longitudes = [x for x, _ in shell]
    if max(longitudes) - min(longitudes) > 360.0:
        raise ValueError("a polygon wider than the globe")
    return Polygon(shell, holes)


def _ring(ring: object) -> list[_LonLat]:
    if not isinstance(ring, list) or len(ring) < 4:
        raise ValueError("a ring of fewer than four positions")
    return [_position(position) for position in ring]


def _position(position: object) -> _LonLat:
    """Read longitude and latitude; a height is left out."""
    if not isinstance(position, list | tuple) or len(position) < 2:
        raise ValueError(f"found {position!r}, expected a position")
    x, y = position[:2]
    if not is_number(x) or not is_number(y) or abs(x) > 540.0 or abs(y) > 90.0 + _EDGE_DEG:
        raise ValueError(f"found {position[:2]!r}, expected longitude and latitude")
    return float(x), float(y)


def _with_area(footprint: MultiPolygon | Polygon) -> MultiPolygon | Polygon:
    if footprint.area == 0.0:
        raise ValueError("a polygon without area")
    return footprint
