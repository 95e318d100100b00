"""Areas of interest from files, text and boxes: what is kept, and what is refused."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from terrascope.errors import ConfigError
from terrascope.geo.aoi import Aoi, read_regions

SQUARE = shapely.box(15.0, 49.0, 15.2, 49.1)


def write_geojson(path, *geometries, crs=None, **columns):
    geopandas.GeoDataFrame(columns, geometry=list(geometries), crs=crs or 4326).to_file(path)
    return path


def test_area_is_geodesic_and_holes_are_kept():
    hole = shapely.box(15.05, 49.02, 15.1, 49.05)
    geometry = SQUARE.difference(hole)
    aoi = Aoi.from_geometry(geometry)
    geod = pyproj.Geod(ellps="WGS84")
    # parallels are no geodesics: the truth is taken over many small cells
    lon, lat = np.meshgrid(np.arange(20) * 0.01 + 15, np.arange(10) * 0.01 + 49)
    cells = shapely.box(lon, lat, lon + 0.01, lat + 0.01).ravel()
    area = np.array([abs(geod.geometry_area_perimeter(c)[0]) for c in cells])
    keep = ~shapely.contains(hole, shapely.centroid(cells))
    assert aoi.area_km2 == pytest.approx(area[keep].sum() / 1e6, rel=1e-6)
    assert len(aoi.geometry.interiors) == 1


def test_file_in_another_crs_equals_the_same_ground(tmp_path):
    frame = geopandas.GeoDataFrame(geometry=[SQUARE], crs=4326)
    dense = geopandas.GeoDataFrame(geometry=[shapely.segmentize(SQUARE, 0.001)], crs=4326)
    for name, driver in (("a.gpkg", "GPKG"), ("a.geojson", "GeoJSON")):
        crs = 5514 if driver == "GPKG" else 4326  # Czech S-JTSK
        (dense if crs == 5514 else frame).to_crs(crs).to_file(tmp_path / name, driver=driver)
        aoi = Aoi.from_file(tmp_path / name)
        assert aoi.geometry.symmetric_difference(SQUARE).area < 1e-7
        assert (aoi.name, aoi.source) == ("a", str(tmp_path / name))


def test_overlapping_and_bow_tie_polygons_become_valid():
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    aoi = Aoi.from_geometry(shapely.MultiPolygon([bow, shapely.box(0, 0, 1, 1)]))
    assert aoi.geometry.is_valid
    assert aoi.geometry.area == pytest.approx(2.5)


@pytest.mark.parametrize(
    "geometry",
    [
        shapely.box(178.0, -18.0, 182.0, -16.0),
        shapely.box(-182.0, -18.0, -178.0, -16.0),
        shapely.Polygon([(178, -18), (-178, -18), (-178, -16), (178, -16)]),
        shapely.MultiPolygon([shapely.box(178, -18, 180, -16), shapely.box(-180, -18, -178, -16)]),
        shapely.Polygon(
            [
                *((178, -18), (180, -18), (-180, -18), (-178, -18)),
                *((-178, -16), (-180, -16), (180, -16), (178, -16)),
            ]
        ),
    ],
    ids=["beyond-180", "below-180", "jump", "split", "vertices-on-it"],
)
def test_antimeridian_in_every_spelling(geometry):
    aoi = Aoi.from_geometry(geometry)
    assert aoi.geometry.equals(Aoi.from_bbox((178, -18, -178, -16)).geometry)
    assert aoi.bounds == (178, -18, -178, -16)
    assert aoi.area_km2 == pytest.approx(Aoi.from_bbox((8, -18, 12, -16)).area_km2)


def test_antimeridian_hole_and_projected_file(tmp_path):
    ring = shapely.box(176, -18, 184, -14).difference(shapely.box(179, -17, 181, -15))
    aoi = Aoi.from_geometry(ring)
    assert aoi.geometry.area == pytest.approx(28)
    fiji = shapely.box(1_900_000, 3_900_000, 2_200_000, 4_100_000)  # EPSG:3460 straddles 180
    frame = geopandas.GeoDataFrame(geometry=[fiji], crs=3460)
    frame.to_file(tmp_path / "fiji.gpkg")
    west, _, east, _ = Aoi.from_file(tmp_path / "fiji.gpkg").bounds
    assert 177 < west < 180
    assert -180 < east < -178


def test_the_whole_world_is_not_a_crossing():
    aoi = Aoi.from_bbox((-180, -60, 180, 80))
    assert aoi.bounds == (-180, -60, 180, 80)
    assert Aoi.from_geometry(aoi.geometry).geometry.equals(aoi.geometry)
    holed = aoi.geometry.difference(shapely.box(10, 40, 20, 50))
    assert Aoi.from_geometry(holed).geometry.equals(holed)


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ((15, 50, 16, 49), "south 50.0 is not below north 49.0"),
        ((15, 49, 15, 50), "empty"),
        ((15, 49, 16), "4 finite numbers"),
        ((190, 49, 195, 50), "outside the world"),
        ((1670000, 6270000, 1680000, 6280000), "outside the world"),
        ((15, 83, 16, 85), "84 N"),
        ((15, -81, 16, -70), "80 S"),
        ((float("nan"), 0, 1, 1), "finite"),
    ],
)
def test_bad_boxes_are_explained(bbox, message):
    with pytest.raises(ConfigError, match=message):
        Aoi.from_bbox(bbox)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("POLYGON ((0 0, 1 1", "no WKT"),
        ("POLYGON EMPTY", "empty"),
        ("LINESTRING (0 0, 1 1)", "found LineString; expected Polygon"),
        ("POINT (0 0)", "found Point"),
        ("POLYGON ((0 0, 1 0, 2 0, 0 0))", "no area"),
        ("POLYGON ((49 95, 50 95, 50 96, 49 95))", "axes swapped"),
        ("POLYGON ((0 80, 120 80, -120 80, 0 80))", "pole"),
    ],
)
def test_bad_wkt_is_explained(text, message):
    with pytest.raises(ConfigError, match=message):
        Aoi.from_wkt(text)


def test_bad_files_name_the_file(tmp_path):
    text = tmp_path / "text.geojson"
    text.write_text("hello")
    empty = tmp_path / "empty.geojson"
    empty.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    points = write_geojson(tmp_path / "points.geojson", SQUARE, shapely.Point(15, 49))
    metres = tmp_path / "metres.geojson"
    metres.write_text(json.dumps(shapely.geometry.mapping(shapely.box(1.6e6, 6e6, 1.7e6, 6.1e6))))
    for path, message in (
        (text, "cannot be read"),
        (empty, "no features"),
        (points, "found Point"),
        (metres, "CRS not declared"),
        (tmp_path / "absent.gpkg", "no such file"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            Aoi.from_file(path)
        assert caught.value.file == str(path)


def test_several_layers_must_be_chosen(tmp_path):
    path = tmp_path / "two.gpkg"
    for layer, geometry in (("north", SQUARE), ("south", shapely.box(1, -3, 2, -2))):
        geopandas.GeoDataFrame(geometry=[geometry], crs=4326).to_file(path, layer=layer)
    with pytest.raises(ConfigError, match=r"layers \['north', 'south'\]"):
        Aoi.from_file(path)
    assert Aoi.from_file(path, layer="south").bounds == (1, -3, 2, -2)
    with pytest.raises(ConfigError, match="cannot be read"):
        Aoi.from_file(path, layer="west")


def test_regions_are_named(tmp_path):
    other = shapely.box(15.2, 49.0, 15.4, 49.1)
    path = write_geojson(tmp_path / "r.geojson", SQUARE, other, Name=["Okres A", "Okres B"])
    assert [r.name for r in read_regions(path)] == ["Okres A", "Okres B"]
    with pytest.raises(ConfigError, match="no column 'code'"):
        read_regions(path, name_field="code")
    plain = write_geojson(tmp_path / "plain.gpkg", SQUARE, other)
    assert [r.name for r in read_regions(plain)] == ["region 1", "region 2"]


@given(
    west=st.floats(-180, 179.9),
    south=st.floats(-80, 83),
    width=st.floats(0.01, 170),
    height=st.floats(0.01, 1),
)
def test_any_box_survives_the_trip_through_a_geometry(west, south, width, height):
    east = west + width
    aoi = Aoi.from_bbox((west, south, east if east <= 180 else east - 360, south + height))
    again = Aoi.from_geometry(shapely.box(west, south, east, south + height))
    assert aoi.geometry.symmetric_difference(again.geometry).area < 1e-9
    assert aoi.geometry.area == pytest.approx(width * height, rel=1e-6)
    assert -180 <= aoi.geometry.bounds[0] <= aoi.geometry.bounds[2] <= 180
