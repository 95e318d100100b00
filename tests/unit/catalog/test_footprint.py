"""Footprints: the four dialects of the antimeridian describe the same ground."""

from __future__ import annotations

import json

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon, box

from terrascope.catalog.footprint import centre_longitude, clean_footprint, footprint_of_bbox


def ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def wrap(x: float) -> float:
    return (x + 180.0) % 360.0 - 180.0


@given(
    centre=st.floats(-180.0, 179.999),
    half=st.floats(0.01, 40.0),
    south=st.floats(-80.0, 70.0),
    height=st.floats(0.01, 10.0),
)
def test_dialects_agree(centre: float, half: float, south: float, height: float) -> None:
    west, east, north = centre - half, centre + half, south + height
    beyond = clean_footprint({"type": "Polygon", "coordinates": [ring(west, south, east, north)]})
    jumping = clean_footprint(
        {
            "type": "Polygon",
            "coordinates": [[[wrap(x), y] for x, y in ring(west, south, east, north)]],
        }
    )
    low, _, high, _ = beyond.bounds
    assert -180.0 <= low <= high <= 180.0
    assert beyond.is_valid
    assert beyond.area == pytest.approx(2 * half * height, rel=1e-6)
    assert jumping.symmetric_difference(beyond).area == pytest.approx(0.0, abs=1e-6)
    boxed = footprint_of_bbox([wrap(west), south, wrap(east), north])
    assert boxed.symmetric_difference(beyond).area == pytest.approx(0.0, abs=1e-6)
    # Splitting what is split already changes nothing.
    again = clean_footprint(json.loads(shapely.to_geojson(beyond)))
    assert again.symmetric_difference(beyond).area == pytest.approx(0.0, abs=1e-9)
    difference = abs(centre_longitude(beyond) - wrap(centre))
    assert min(difference, 360.0 - difference) < 1e-3


def test_a_footprint_of_fiji() -> None:
    jumping = [[179.5, -17], [-179.3, -17], [-179.3, -16], [179.5, -16], [179.5, -17]]
    found = clean_footprint({"type": "Polygon", "coordinates": [jumping]})
    assert isinstance(found, MultiPolygon)
    expected = box(179.5, -17, 180, -16).union(box(-180, -17, -179.3, -16))
    assert found.equals(expected)
    assert not found.intersects(box(-100, -20, 100, 20))
    assert centre_longitude(found) == pytest.approx(-179.9)


def test_vertices_on_the_antimeridian_and_the_whole_world() -> None:
    on_it = [[179, 0], [180, 0], [-180, 0], [-179, 0], [-179, 1], [-180, 1], [180, 1], [179, 1]]
    found = clean_footprint({"type": "Polygon", "coordinates": [[*on_it, on_it[0]]]})
    assert found.equals(footprint_of_bbox([179, 0, -179, 1]))
    world = clean_footprint({"type": "Polygon", "coordinates": [ring(-180, -90, 180, 90)]})
    assert world.equals(footprint_of_bbox([-180, -90, 180, 90]))
    assert world.area == 360 * 180


def test_holes_and_heights_and_bow_ties() -> None:
    outer = [[*xy, 12.0] for xy in ring(179.0, 0.0, 181.0, 2.0)]
    inner = ring(-179.8, 0.5, -179.4, 1.0)
    found = clean_footprint({"type": "Polygon", "coordinates": [outer, inner]})
    assert found.area == pytest.approx(4.0 - 0.2)
    assert not found.has_z
    bow_tie = [[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]
    repaired = clean_footprint({"type": "Polygon", "coordinates": [bow_tie]})
    assert repaired.is_valid
    assert repaired.area == pytest.approx(2.0)


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        "POLYGON",
        {},
        {"type": "Point", "coordinates": [0, 0]},
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, "x"], [1, 1], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, None], [1, 1], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [float("nan"), 1], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 91], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[5e5, 5e6], [6e5, 5e6], [6e5, 6e6], [5e5, 5e6]]]},
        {"type": "Polygon", "coordinates": [ring(3, 3, 3, 3)]},
        # Around the pole: more than half the globe's circumference in every direction.
        {"type": "Polygon", "coordinates": [[[0, 85], [120, 85], [-120, 85], [0, 85]]]},
        {"type": "MultiPolygon", "coordinates": 3},
        {"type": "MultiPolygon", "coordinates": [3]},
    ],
)
def test_what_is_no_footprint_is_a_value_error(geometry: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        clean_footprint(geometry)


@pytest.mark.parametrize(
    "bbox",
    [
        None,
        [],
        [1, 2, 3],
        [0, 0, 1, "x"],
        [0, 0, 0, 0],
        "0,0,1,1",
        [0, 0, "low", 1, 1, "high"],
        [-1e300, 0, 1e300, 1],
        [0, 0, 10**400, 1],
    ],
)
def test_what_is_no_bbox_is_a_value_error(bbox: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        footprint_of_bbox(bbox)


def test_a_bbox_with_heights() -> None:
    assert footprint_of_bbox([1, 2, -10, 3, 4, 900]).equals(box(1, 2, 3, 4))
    assert isinstance(footprint_of_bbox([1, 2, 3, 4]), Polygon)
