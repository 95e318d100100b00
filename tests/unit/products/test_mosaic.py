"""Maps per zone and regional mosaics, against a pixel-by-pixel look-up."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from rio_cogeo.cogeo import cog_validate

from terrascope.geo.aoi import Aoi
from terrascope.geo.cover import tiles_covering
from terrascope.geo.ownership import owned_mask, owner_zones, pixel_lonlat
from terrascope.geo.tiles import TILE_M, Zone
from terrascope.monitor.footprint import aoi_mask
from terrascope.products import resample
from terrascope.products.layers import MemoryLayers
from terrascope.products.mosaic import mosaic_crs, write_maps
from terrascope.products.resample import MosaicGrid


def smooth_number(lon, lat):
    """A number of a place that changes by less than one per pixel, so a wrong look-up shows."""
    return (1000 + 20_000 * (lon % 1.0) + 3_000 * (lat % 1.0)).astype(np.uint16)


def layers_of(aoi, resolution, *, absent=()):
    values = {}
    for tile in tiles_covering(aoi):
        if tile.id in absent:
            values[tile] = None
            continue
        mask = aoi_mask(aoi, tile, resolution)
        lon, lat = pixel_lonlat(tile, resolution)
        codes = (np.abs(tile.column * 7 + np.arange(mask.size).reshape(mask.shape)) % 4).astype(
            "u1"
        )
        values[tile] = {
            "status": np.where(mask, codes, 255).astype(np.uint8),
            "observations": np.where(mask, smooth_number(lon % 360, lat), 0).astype(np.uint16),
        }
    return MemoryLayers(resolution, values)


def test_one_zone_is_a_plain_copy(tmp_path):
    aoi = Aoi.from_bbox((15.10, 50.00, 15.38, 50.16))
    source = layers_of(aoi, 60)
    files = write_maps(source, tmp_path, aoi=aoi, tags={"run": "test"})
    assert list(files.zones) == ["33N"]
    with (
        rasterio.open(files.mosaic["status"]) as mosaic,
        rasterio.open(files.zones["33N"]["status"]) as zone,
    ):
        assert mosaic.crs == zone.crs == rasterio.crs.CRS.from_epsg(32633)
        assert mosaic.tags()["run"] == "test"
        for tile in source.tiles:
            window = rasterio.windows.from_bounds(*tile.bounds, zone.transform)
            np.testing.assert_array_equal(zone.read(1, window=window), source.read(tile, "status"))
        whole = zone.read(1, window=zone.window(*mosaic.bounds))
        np.testing.assert_array_equal(mosaic.read(1), whole)
        assert (mosaic.read(1) != 255).sum() == (zone.read(1) != 255).sum()
        assert mosaic.width * 60 == pytest.approx(20_000, rel=0.03)
    assert {p.name for p in tmp_path.rglob("*")} == {"33N", "status.tif", "observations.tif"}


@pytest.mark.parametrize(
    ("bbox", "crs"),
    [
        ((17.9, 49.0, 18.1, 49.1), None),
        ((17.9, 49.0, 18.1, 49.1), "EPSG:32633"),
        ((17.9, 64.0, 18.1, 64.06), "EPSG:3035"),
        ((14.95, -0.06, 15.05, 0.04), None),
        ((179.93, -16.95, -179.94, -16.88), None),
        ((17.98, -33.05, 18.03, -33.0), "EPSG:4326"),
    ],
    ids=["border", "border-utm", "north", "equator", "antimeridian", "degrees"],
)
def test_zones_meet_without_gap_or_double_line(tmp_path, bbox, crs):
    aoi, resolution = Aoi.from_bbox(bbox), 30
    source = layers_of(aoi, resolution)
    files = write_maps(source, tmp_path, aoi=aoi, crs=crs)
    assert len(files.zones) == 2
    with rasterio.open(files.mosaic["observations"]) as raster:
        assert cog_validate(files.mosaic["observations"], strict=True)[0]
        found = raster.read(1)
        rows, columns = np.indices(found.shape)
        x, y = raster.xy(rows.ravel(), columns.ravel())
        to_lonlat = pyproj.Transformer.from_crs(raster.crs.to_wkt(), 4326, always_xy=True)
        lon, lat = (np.asarray(v).reshape(found.shape) for v in to_lonlat.transform(x, y))
    # truth, with nothing shared: the zone by the centre's meridian, its nearest owned pixel
    truth = np.full(found.shape, 65535, np.uint16)
    unsure = np.zeros(found.shape, bool)
    for tile in source.tiles:
        sign = -1 if tile.zone.hemisphere == "S" else 1
        mine = owner_zones(lon, lat) == sign * tile.zone.number
        forward = pyproj.Transformer.from_crs(4326, tile.zone.epsg, always_xy=True)
        px, py = forward.transform(lon, lat)
        column = px / resolution - tile.column * (TILE_M // resolution)
        row = (tile.row + 1) * (TILE_M // resolution) - py / resolution
        size = TILE_M // resolution
        values = source.read(tile, "observations")
        hit = mine & (column >= 0) & (column < size) & (row >= 0) & (row < size)
        i, j = np.floor(row[hit]).astype(int), np.floor(column[hit]).astype(int)
        owned = owned_mask(tile, resolution)[i, j]
        truth[hit] = np.where(
            owned & (source.read(tile, "status")[i, j] != 255), values[i, j], 65535
        )
        for part in (column, row):
            unsure |= mine & (np.abs(part - np.round(part)) < 0.003)
        # the neighbour across the border is checked by the value of the place below
        border = np.zeros(found.shape, bool)
        border[hit] = ~owned
        unsure |= border
    wrong = (found != truth) & ~unsure
    assert not wrong.any()
    # no gap: every pixel well inside the area has a value, also along the border ...
    west, south, east, north = bbox
    turned = (lon - west) % 360
    margin = 0.002
    inner = (turned > margin) & (turned < (east - west) % 360 - margin)
    inner &= (lat > south + margin) & (lat < north - margin)
    assert (found[inner] != 65535).all()
    # ... and it is the value of the place itself, to within one and a half pixels
    expected = smooth_number(lon % 360, lat)[inner].astype(int)
    step = (resolution * 1.5) / 111_000 * (20_000 / np.cos(np.radians(north)) + 3_000)
    difference = np.abs(found[inner].astype(int) - expected)
    assert np.minimum(difference, np.abs(20_000 - difference)).max() <= max(step, 2) + 2


@pytest.mark.parametrize("resolution", [10, 20, 30, 60, 120])
def test_coordinates_between_the_nodes_of_the_lattice(resolution):
    """Far north, where parallels bend most, and well inside the zone."""
    zone, crs = Zone(33, "N"), "EPSG:6933"
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(13.0, 80.0)
    grid = MosaicGrid(crs, Affine(resolution, 0, x, 0, -resolution, y), (300, 300))
    rows, columns = np.arange(7, 290), np.arange(3, 261)
    easting, northing, owned = resample._coordinates(grid, zone, resolution, rows, columns)
    j, i = np.meshgrid(columns, rows)
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(
        x + (j + 0.5) * resolution, y - (i + 0.5) * resolution
    )
    px, py = pyproj.Transformer.from_crs(4326, zone.epsg, always_xy=True).transform(lon, lat)
    assert owned.all()
    errors = np.hypot(easting - px, northing - py) / resolution
    assert errors.max() < 0.007


def test_bytes_repeat_and_absent_tiles_stay_empty(tmp_path):
    aoi = Aoi.from_bbox((17.9, 49.0, 18.1, 49.1))
    absent = tiles_covering(aoi)[0].id
    source = layers_of(aoi, 120, absent=(absent,))
    first = write_maps(source, tmp_path / "a", aoi=aoi)
    second = write_maps(source, tmp_path / "b", aoi=aoi)
    for name, path in first.mosaic.items():
        assert path.read_bytes() == second.mosaic[name].read_bytes()
    for zone, layers in first.zones.items():
        for name, path in layers.items():
            assert path.read_bytes() == second.zones[zone][name].read_bytes()
    full = write_maps(layers_of(aoi, 120), tmp_path / "c", aoi=aoi)
    with (
        rasterio.open(first.mosaic["status"]) as some,
        rasterio.open(full.mosaic["status"]) as all_,
    ):
        assert some.shape == all_.shape
        assert (some.read(1) == 255).sum() > (all_.read(1) == 255).sum()


def test_the_crs_follows_the_zones():
    one = Aoi.from_bbox((15.1, 50.0, 15.2, 50.1))
    assert mosaic_crs(tiles_covering(one), one) == "EPSG:32633"
    two = Aoi.from_bbox((17.9, 50.0, 18.1, 50.1))
    assert mosaic_crs(tiles_covering(two), two) == "EPSG:6933"
    turned = Aoi.from_bbox((179.9, -17.0, -179.9, -16.9))
    crs = mosaic_crs(tiles_covering(turned), turned)
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform([180, -179], [10, 10])
    same = pyproj.Transformer.from_crs(4326, 6933, always_xy=True).transform([0, 1], [10, 10])
    np.testing.assert_allclose([x, y], same, atol=1e-6)
