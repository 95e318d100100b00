"""Tiles of an area, owners of pixels, pairs with footprints: against point-by-point truth."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely import affinity

from terrascope.geo.aoi import Aoi
from terrascope.geo.cover import tiles_covering
from terrascope.geo.footprints import intersect_pairs, tile_outlines
from terrascope.geo.ownership import owned_mask, owner_zones, pixel_lonlat, tile_at
from terrascope.geo.projection import project_to_zone
from terrascope.geo.tiles import TILE_M, Tile, Zone

LON = st.floats(-180, 180, exclude_max=True)
LAT = st.floats(-79.9, 83.9)


def utm(zone, lon, lat):
    """Project with a transformer of its own, so that the test has its own truth."""
    return pyproj.Transformer.from_crs(4326, zone.epsg, always_xy=True).transform(lon, lat)


def small_box(lon, lat, half):
    east = lon + half
    return Aoi.from_bbox(
        (
            lon - half if lon - half >= -180 else lon - half + 360,
            max(lat - half, -80),
            east if east <= 180 else east - 360,
            min(lat + half, 84),
        )
    )


@settings(deadline=None)
@given(lon=LON, lat=LAT)
def test_every_point_has_exactly_one_tile(lon, lat):
    tile = tile_at(lon, lat)
    west, east = tile.zone.lon_range
    assert west <= lon < east
    assert (tile.zone.hemisphere == "N") == (lat >= 0)
    x, y = utm(tile.zone, lon, lat)
    assert 0 <= x - tile.column * TILE_M < TILE_M
    assert -1e-6 <= y - tile.row * TILE_M < TILE_M
    # and the cover of a small square around it holds that tile, once
    tiles = tiles_covering(small_box(lon, lat, 1e-5))
    assert tiles.count(tile) == 1
    assert tiles == sorted(set(tiles))


@settings(max_examples=40, deadline=None)
@given(lon=st.one_of(LON, st.integers(-30, 29).map(lambda k: 6.0 * k + 1e-4)), lat=LAT)
def test_owned_pixels_partition_the_ground(lon, lat):
    """Owned pixels of all tiles around a place add up to its area: no gap, no overlap."""
    resolution = 120
    aoi = small_box(lon, lat, 0.2)
    assume(aoi.bounds[3] < 84)
    total = 0.0
    for tile in tiles_covering(aoi):
        owned = owned_mask(tile, resolution)
        plon, plat = pixel_lonlat(tile, resolution)
        sign = -1 if tile.zone.hemisphere == "S" else 1
        np.testing.assert_array_equal(owned, owner_zones(plon, plat) == sign * tile.zone.number)
        wrapped = (plon + 180) % 360 - 180
        inside = owned & shapely.contains_xy(aoi.geometry, wrapped, plat)
        if not inside.any():
            continue
        k = pyproj.Proj(tile.zone.epsg).get_factors(plon[inside], plat[inside])
        total += (resolution**2 / np.asarray(k.areal_scale)).sum() / 1e6
    # a pixel on the outline is in or out as a whole: sqrt(perimeter pixels) of noise
    assert total == pytest.approx(aoi.area_km2, rel=6e-3)


def test_both_hemispheres_meet_at_the_equator_on_odd_pixels():
    # 10,000,000 m is no multiple of 60 m: the pixel across the equator has its centre in the south
    south = owned_mask(Tile(Zone(33, "S"), 32, 651), 60)
    rows = np.flatnonzero(south.all(axis=1))
    centres = 652 * TILE_M - (rows + 0.5) * 60
    assert centres.max() < 10_000_000 <= centres.max() + 60
    assert owned_mask(Tile(Zone(33, "N"), 32, 0), 60).all()
    tiles = tiles_covering(Aoi.from_bbox((15.0, -0.004, 15.1, 0.004)))
    assert {t.zone.id for t in tiles} == {"33N", "33S"}
    assert {t.row for t in tiles} == {0, 651}


def test_cover_equals_a_scan_of_all_tiles():
    """Against a slow scan: every grid square of three zones, clipped and intersected."""
    rng = np.random.default_rng(4)
    blobs = [
        shapely.Point(x, y).buffer(r, 8)
        for x, y, r in zip(
            rng.uniform(11, 19, 160),
            rng.uniform(-2, 3, 160),
            rng.uniform(0.002, 0.2, 160),
            strict=True,
        )
    ]
    hole = shapely.box(14, 0.4, 16.5, 2.1)
    aoi = Aoi.from_geometry(
        shapely.union_all([*blobs, shapely.box(13, 0.1, 17, 2.6)]).difference(hole)
    )
    expected = set()
    for number in (31, 32, 33, 34):
        for hemisphere, band in (("N", (0, 84)), ("S", (-80, 0))):
            zone = Zone(number, hemisphere)
            west, east = zone.lon_range
            owned = aoi.geometry & shapely.box(west, band[0], east, band[1])
            if owned.is_empty:
                continue
            back = pyproj.Transformer.from_crs(zone.epsg, 4326, always_xy=True)
            first = 0 if hemisphere == "N" else 620
            for column in range(8, 57):
                for row in range(first, first + 40):
                    ring = shapely.segmentize(shapely.box(*Tile(zone, column, row).bounds), 500)
                    square = shapely.transform(
                        ring, lambda p, b=back: np.column_stack(b.transform(p[:, 0], p[:, 1]))
                    )
                    if (square & owned).area > 1e-9:  # 12 m2
                        expected.add(Tile(zone, column, row))
    assert set(tiles_covering(aoi)) == expected


def test_antimeridian_cover_takes_both_sides():
    tiles = tiles_covering(Aoi.from_bbox((179.9, -17.0, -179.9, -16.9)))
    assert {t.zone.id for t in tiles} == {"60S", "01S"}


@settings(max_examples=30, deadline=None)
@given(lon=LON, lat=st.floats(-79, 83), size=st.floats(0.001, 1.5), shift=st.floats(-1.5, 1.5))
def test_pairs_are_never_missed(lon, lat, size, shift):
    tile = tile_at(lon, lat)
    neighbours = [
        Tile(tile.zone, tile.column + i, max(tile.row + j, 0))
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    centre = (lon + shift + 180) % 360 - 180
    footprint = small_box(centre, lat, size).geometry
    found = set(zip(*(a.tolist() for a in intersect_pairs(neighbours, [footprint])), strict=True))
    for index, each in enumerate(neighbours):
        plon, plat = pixel_lonlat(each, 1920)
        touches = shapely.contains_xy(footprint, (plon + 180) % 360 - 180, plat).any()
        if touches:
            assert (index, 0) in found
        elif (index, 0) in found:  # then they are near each other
            outline = tile_outlines([each])[0]
            turned = [affinity.translate(outline, turn) for turn in (-360, 0, 360)]
            assert shapely.distance(turned, footprint).min() < 1e-9


def test_pairs_ignore_missing_footprints_and_keep_order():
    tile = tile_at(15.0, 50.0)
    whole = shapely.box(14, 49, 16, 51)
    tiles = [tile, tile_at(100.0, 10.0), tile_at(15.3, 50.0)]
    pairs = intersect_pairs(tiles, [whole, None, shapely.Polygon(), shapely.box(0, 0, 1, 1), whole])
    assert [p.tolist() for p in pairs] == [[0, 0, 2, 2], [0, 4, 0, 4]]
    assert [len(p) for p in intersect_pairs([], [whole])] == [0, 0]
    assert [len(p) for p in intersect_pairs(tiles, [])] == [0, 0]


def test_margin_reaches_the_halo():
    tile = tile_at(15.0, 50.0)
    west = shapely.bounds(tile_outlines([tile]))[0][0]
    beside = shapely.box(west - 0.02, 49.9, west - 0.002, 50.1)  # 140 m away
    assert len(intersect_pairs([tile], [beside])[0]) == 0
    assert len(intersect_pairs([tile], [beside], margin_m=240)[0]) == 1


@pytest.mark.parametrize("lat", [-79.9, 0.1, 45.0, 83.9])
@pytest.mark.parametrize("lon", [12.05, 15.0, 17.95])
def test_outlines_hold_the_curved_sides(lon, lat):
    tile = tile_at(lon, lat)
    ring = shapely.segmentize(shapely.box(*tile.bounds), 50.0).exterior
    back = pyproj.Transformer.from_crs(tile.zone.epsg, 4326, always_xy=True)
    assert shapely.contains_xy(tile_outlines([tile])[0], *back.transform(*ring.xy)).all()


def test_straight_edges_are_projected_as_the_curves_they_are():
    parallel = shapely.LineString([(12.0, 65.0), (18.0, 65.0)])
    lon = np.linspace(12.0, 18.0, 60_001)
    points = shapely.points(*utm(Zone(33, "N"), lon, np.full(lon.shape, 65.0)))
    line = project_to_zone(parallel, Zone(33, "N"))
    shapely.prepare(line)
    assert shapely.distance(line, points).max() < 0.05


def test_points_beyond_the_grid_are_refused():
    with pytest.raises(ValueError, match="84 N"):
        tile_at(0.0, 84.5)
