"""Events and totals: against one label image of the whole ground, and against plain geometry."""

from __future__ import annotations

import json
import re

import geopandas
import geopandas.testing
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from terrascope.geo.aoi import Aoi
from terrascope.geo.cover import tiles_covering
from terrascope.geo.ownership import owned_mask, pixel_lonlat
from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.monitor.footprint import aoi_mask, tile_pixel_area
from terrascope.products.events import find_events, write_events
from terrascope.products.layers import MemoryLayers
from terrascope.products.totals import totals
from terrascope.types import ChangeKind, Status

GEOD = pyproj.Geod(ellps="WGS84")


def ground_area(geometry):
    return sum(
        abs(GEOD.geometry_area_perimeter(part)[0])
        for part in shapely.get_parts(shapely.segmentize(geometry, 0.001))
    )


def one_zone(changed, resolution):
    """Cut a picture of change into tiles of zone 33N (rows north to south)."""
    size = TILE_M // resolution
    rows, columns = changed.shape[0] // size, changed.shape[1] // size
    values = {}
    for i in range(rows):
        for j in range(columns):
            part = changed[i * size : (i + 1) * size, j * size : (j + 1) * size]
            tile = Tile(Zone(33, "N"), 30 + j, 340 - i)
            values[tile] = {
                "status": np.where(part, 2, 1).astype(np.uint8),
                "change_kind": np.where(part, 1, 0).astype(np.uint8),
                "change_probability": np.where(part, 0.75, 0.1).astype(np.float32),
                "detected_on": np.where(part, 18_500 + 10 * i + j, -1).astype(np.int32),
            }
    return MemoryLayers(resolution, values)


def on_the_ground(aoi, resolution, changed):
    """Change where a function of longitude and latitude says so, over all zones."""
    values = {}
    for tile in tiles_covering(aoi):
        mask = aoi_mask(aoi, tile, resolution)
        lon, lat = pixel_lonlat(tile, resolution)
        hit = mask & changed(lon, lat)
        values[tile] = {
            "status": np.where(mask, np.where(hit, 2, 1), 255).astype(np.uint8),
            "change_kind": np.where(mask, np.where(hit, 3, 0), 255).astype(np.uint8),
        }
    return MemoryLayers(resolution, values)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.05, 0.2, 0.35, 0.45]))
def test_events_are_the_components_of_the_whole(seed, share):
    resolution, minimum_pixels = 960, 3
    size = TILE_M // resolution
    rng = np.random.default_rng(seed)
    changed = rng.random((3 * size, 4 * size)) < share
    source = one_zone(changed, resolution)
    area = np.block(
        [
            [tile_pixel_area(Tile(Zone(33, "N"), 30 + j, 340 - i), resolution) for j in range(4)]
            for i in range(3)
        ]
    )
    labels, count = ndimage.label(changed, structure=np.ones((3, 3)))
    areas = ndimage.sum_labels(area, labels, np.arange(1, count + 1))
    minimum_ha = minimum_pixels * resolution**2 / 1e4
    expected = sorted(areas[areas >= minimum_ha * 1e4])
    events = find_events(source, min_area_ha=minimum_ha)
    np.testing.assert_allclose(sorted(events.area_m2), expected, rtol=1e-9)
    assert events.geometry.is_valid.all()
    assert events.event_id.is_unique
    for event in events.itertuples():
        assert ground_area(event.geometry) == pytest.approx(event.area_m2, rel=2e-5)


def test_attributes_come_from_all_parts():
    resolution, size = 120, 128
    changed = np.zeros((2 * size, 2 * size), bool)
    changed[size - 1 : size + 1, size - 4 : size] = True  # over the north-south edge
    changed[size + 1, size] = True  # joined at a corner, over the east-west edge
    changed[5, 5] = True
    source = one_zone(changed, resolution)
    south_west = Tile(Zone(33, "N"), 30, 339)
    source.values[south_west]["change_kind"][0, size - 4 :] = 5
    source.values[south_west]["change_probability"][0, size - 1] = 0.95
    source.values[south_west]["status"][0, size - 1] = 3
    items = {south_west: ["b", "a"], Tile(Zone(33, "N"), 30, 340): ["c", "a"]}
    events = find_events(source, min_area_ha=5.0, items=items)
    assert len(events) == 1
    event = events.iloc[0]
    assert event.event_id == "33N-0030-0339-0000-0124"  # the first in order of tiles, then rows
    assert (event.kind, event.status) == ("vegetation_loss", "confirmed")
    assert event.kind_share == pytest.approx(5 / 9, rel=1e-6)
    assert event.probability_mean == pytest.approx((8 * 0.75 + 0.95) / 9, rel=1e-6)
    assert event.probability_max == pytest.approx(0.95)
    assert np.isnan(event.confidence_mean)
    assert event.detected_on == "2020-08-26"  # day 18500, the earliest of the three tiles
    assert event.tiles == ["33N-0030-0339", "33N-0030-0340", "33N-0031-0339"]
    assert event["items"] == ["a", "b", "c"]
    assert event.area_ha == pytest.approx(9 * 1.44, rel=3e-3)
    assert event.geometry.contains(shapely.Point(event.lon, event.lat))
    west, south, east, north = event.bbox
    assert west < event.lon < east
    assert south < event.lat < north


def test_order_of_tiles_changes_nothing():
    rng = np.random.default_rng(1)
    source = one_zone(rng.random((128, 256)) < 0.3, 120)
    tiles = list(source.values)
    shuffled = {tiles[i]: source.values[tiles[i]] for i in rng.permutation(len(tiles))}
    first = find_events(source, min_area_ha=2)
    second = find_events(MemoryLayers(120, shuffled), min_area_ha=2)
    assert len(first) > 100
    geopandas.testing.assert_geodataframe_equal(first, second)


@pytest.mark.parametrize(
    ("lon", "lat"), [(18.0, 49.0), (18.0, 70.0), (15.0, 0.0), (180.0, -17.0), (12.0, 0.0)]
)
def test_an_event_over_a_border_is_one(lon, lat):
    radius = 0.02
    aoi = Aoi.from_geometry(shapely.box(lon - 0.1, lat - 0.1, lon + 0.1, lat + 0.1))

    def disc(x, y):
        east = ((x - lon + 180) % 360 - 180) * np.cos(np.radians(lat))
        return np.hypot(east, y - lat) < radius

    source = on_the_ground(aoi, 60, disc)
    zones = {tile.zone for tile in source.tiles}
    assert len(zones) >= 2
    events = find_events(source, min_area_ha=50)
    assert len(events) == 1
    event = events.iloc[0]
    assert {tile[:3] for tile in event.tiles} == {zone.id for zone in zones}
    true_area = np.pi * (radius * 111_320) ** 2
    assert event.area_m2 == pytest.approx(true_area, rel=0.02)
    # slivers of less than a pixel may lie between the two grids, or be shared
    assert ground_area(event.geometry) == pytest.approx(event.area_m2, rel=0.02)
    assert event.geometry.is_valid
    west, _, east, _ = event.bbox
    assert (west > east) == (lon == 180.0)
    assert abs((event.lon - lon + 180) % 360 - 180) < radius / np.cos(np.radians(lat))
    found, _ = totals(source, aoi)
    change = found.by_state[Status.PROVISIONAL, ChangeKind.WATER_GAIN]
    assert change == pytest.approx(event.area_m2, rel=1e-6)


def quadrangle_m2(width, south, north):
    """Area between two meridians and two parallels on WGS 84 (Snyder 1987, eq. 3-12)."""
    e = np.sqrt((2 - 1 / 298.257223563) / 298.257223563)
    s = np.sin(np.radians([south, north]))
    q = (1 - e**2) * (s / (1 - (e * s) ** 2) + np.arctanh(e * s) / e)
    return 6_378_137.0**2 / 2 * np.radians(width) * (q[1] - q[0])


@pytest.mark.parametrize(
    ("lon", "lat"), [(18.0, 49.0), (18.0, 70.0), (15.0, 0.0), (180.0, -17.0), (12.0, 0.0)]
)
def test_the_area_of_an_event_over_a_border_is_that_of_a_closed_form(lon, lat):
    width, height = 0.041, 0.033
    aoi = Aoi.from_geometry(shapely.box(lon - 0.1, lat - 0.05, lon + 0.1, lat + 0.05))

    def inside(x, y):
        east = (x - lon + 180) % 360 - 180
        return (east > -0.4 * width) & (east < 0.6 * width) & (np.abs(y - lat) < height / 2)

    source = on_the_ground(aoi, 20, inside)
    assert len({tile.zone for tile in source.tiles}) >= 2
    events = find_events(source, min_area_ha=5)
    assert len(events) == 1
    truth = quadrangle_m2(width, lat - height / 2, lat + height / 2)
    # at the equator meridians run along columns: each edge is off by up to half a pixel
    assert events.area_m2[0] == pytest.approx(truth, rel=0.01)
    assert ground_area(events.geometry[0]) == pytest.approx(truth, rel=0.01)


@pytest.mark.parametrize("gap_pixels", [0, 4])
def test_patches_beside_a_border_join_only_where_they_touch(gap_pixels):
    resolution = 30
    aoi = Aoi.from_bbox((17.95, 48.95, 18.05, 49.05))
    pixel = resolution / (111_320 * np.cos(np.radians(49)))
    half = gap_pixels * pixel / 2

    def stripes(lon, lat):
        west = (lon > 17.98) & (lon < 18.0 - half) & (np.abs(lat - 49.0) < 0.01)
        east = (lon >= 18.0 + half) & (lon < 18.02) & (np.abs(lat - 49.02) < 0.0301)
        return west | east

    events = find_events(on_the_ground(aoi, resolution, stripes), min_area_ha=1)
    assert len(events) == (1 if gap_pixels == 0 else 2)


def test_minimum_area_counts_the_whole_patch():
    size = 128
    changed = np.zeros((size, 2 * size), bool)
    changed[10, size - 2 : size + 2] = True  # 2 + 2 pixels of 1.44 ha
    changed[50, size + 40 : size + 43] = True  # 3 pixels
    source = one_zone(changed, 120)
    assert len(find_events(source, min_area_ha=5)) == 1
    assert len(find_events(source, min_area_ha=4)) == 2
    assert len(find_events(source, min_area_ha=6)) == 0
    with pytest.raises(ValueError, match="-1"):
        find_events(source, min_area_ha=-1)


def test_files_round_trip_and_repeat(tmp_path):
    rng = np.random.default_rng(2)
    changed = ndimage.binary_closing(rng.random((256, 256)) < 0.2, np.ones((3, 3)))
    events = find_events(one_zone(changed, 120), min_area_ha=3)
    assert events.geometry.apply(lambda g: any(p.interiors for p in shapely.get_parts(g))).any()
    parquet, geojson = write_events(events, tmp_path)
    back = geopandas.read_parquet(parquet)
    assert back.crs.to_epsg() == 4326
    geopandas.testing.assert_geoseries_equal(back.geometry, events.geometry)
    assert back.event_id.tolist() == sorted(events.event_id)
    assert [list(t) for t in back.tiles] == events.tiles.tolist()
    collection = json.loads(geojson.read_text())
    assert set(collection) == {"type", "features"}
    for feature, event in zip(collection["features"], events.itertuples(), strict=True):
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        assert shape.equals_exact(event.geometry, 1e-9)
        for part in shapely.get_parts(shape):
            assert part.exterior.is_ccw
            assert not any(ring.is_ccw for ring in part.interiors)
        assert feature["bbox"] == event.bbox
        assert feature["properties"]["confidence_mean"] is None
    coordinates = json.dumps(collection["features"][0]["geometry"]["coordinates"])
    assert max(len(digits) for digits in re.findall(r"\.(\d+)", coordinates)) <= 7
    again = write_events(events, tmp_path / "again")
    assert [p.read_bytes() for p in again] == [parquet.read_bytes(), geojson.read_bytes()]
    assert {p.name for p in tmp_path.iterdir()} == {"events.parquet", "events.geojson", "again"}


def test_no_events_make_valid_files(tmp_path):
    source = one_zone(np.zeros((128, 128), bool), 120)
    events = find_events(source, min_area_ha=1)
    parquet, geojson = write_events(events, tmp_path)
    back = geopandas.read_parquet(parquet)
    assert len(back) == 0
    assert list(back.columns) == list(events.columns)
    full, _ = write_events(
        find_events(one_zone(np.ones((128, 128), bool), 120), min_area_ha=1), tmp_path / "f"
    )
    assert pq.read_schema(parquet).equals(pq.read_schema(full))
    assert json.loads(geojson.read_text()) == {"type": "FeatureCollection", "features": []}
    assert len(geopandas.read_file(geojson)) == 0


def test_totals_count_each_place_once():
    aoi = Aoi.from_bbox((17.9, 49.0, 18.1, 49.1), name="both")
    source = on_the_ground(aoi, 120, lambda lon, lat: lat > 49.06)
    absent = source.tiles[0]
    unseen = source.tiles[-1]
    state = dict(source.values)
    lost = owned_mask(absent, 120) & aoi_mask(aoi, absent, 120)
    state[absent] = None
    state[unseen]["status"][state[unseen]["status"] == 1] = 0
    regions = [
        Aoi.from_bbox((17.9, 49.0, 18.0, 49.1), name="west"),
        Aoi.from_bbox((18.0, 49.0, 18.5, 49.1), name="east"),
        Aoi.from_bbox((3.0, 49.0, 3.5, 49.1), name="elsewhere"),
    ]
    whole, (west, east, elsewhere) = totals(MemoryLayers(120, state), aoi, regions)
    assert whole.asked_m2 / 1e6 == pytest.approx(aoi.area_km2, rel=0.01)
    assert west.asked_m2 + east.asked_m2 == pytest.approx(whole.asked_m2, rel=1e-9)
    assert sum(whole.by_state.values()) == pytest.approx(whole.asked_m2)
    assert (elsewhere.asked_m2, elsewhere.observed_share) == (0.0, 0.0)
    missing = tile_pixel_area(absent, 120)[lost].sum()
    missing += tile_pixel_area(unseen, 120)[state[unseen]["status"] == 0].sum()
    assert whole.observed_share == pytest.approx(1 - missing / whole.asked_m2)
    assert set(whole.by_state) == {
        (Status.NOT_OBSERVED, ChangeKind.NONE),
        (Status.NO_CHANGE, ChangeKind.NONE),
        (Status.PROVISIONAL, ChangeKind.WATER_GAIN),
    }
    assert whole.by_state[Status.NOT_OBSERVED, ChangeKind.NONE] == pytest.approx(missing)
    change = whole.by_state[Status.PROVISIONAL, ChangeKind.WATER_GAIN]
    assert change == pytest.approx(whole.changed_m2)
