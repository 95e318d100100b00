"""Pixels that are asked for, against point-in-polygon tests of every centre."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine

from terrascope.geo.aoi import Aoi
from terrascope.geo.cover import tiles_covering
from terrascope.geo.ownership import owned_mask, pixel_lonlat, tile_at
from terrascope.geo.tiles import Tile
from terrascope.monitor.footprint import aoi_mask, polygon_mask, tile_pixel_area


def slow_mask(aoi, tile, resolution):
    lon, lat = pixel_lonlat(tile, resolution)
    lon = (lon + 180) % 360 - 180
    inside = shapely.contains_xy(aoi.geometry, lon.ravel(), lat.ravel()).reshape(lon.shape)
    return inside & owned_mask(tile, resolution)


@pytest.mark.parametrize(
    "aoi",
    [
        Aoi.from_bbox((17.93, 48.95, 18.08, 49.06)),  # zones 33 and 34
        Aoi.from_bbox((14.97, -0.05, 15.06, 0.03)),  # both hemispheres
        Aoi.from_bbox((179.95, -17.06, -179.97, -16.93)),
        Aoi.from_geometry(shapely.Point(15.1, 65).buffer(0.2) - shapely.box(15, 65, 15.2, 65.03)),
    ],
    ids=["zone-border", "equator", "antimeridian", "hole"],
)
def test_mask_is_the_centre_rule(aoi):
    resolution, wrong, total, area = 60, 0, 0, 0.0
    for tile in tiles_covering(aoi):
        mask = aoi_mask(aoi, tile, resolution)
        wrong += (mask != slow_mask(aoi, tile, resolution)).sum()
        total += mask.sum()
        area += tile_pixel_area(tile, resolution)[mask].sum() / 1e6
    assert wrong <= 2  # a centre within a centimetre of the outline
    assert total > 10_000
    assert area == pytest.approx(aoi.area_km2, rel=1e-2)


def test_tiles_inside_and_outside_are_whole():
    tile = tile_at(15.0, 50.0)
    assert aoi_mask(Aoi.from_bbox((13, 49, 17, 51)), tile, 120).all()
    assert not aoi_mask(Aoi.from_bbox((3, 49, 7, 51)), tile, 120).any()


def test_pixel_areas_are_those_of_the_projection():
    tile = Tile.parse("33N-0046-0341")
    lon, lat = pixel_lonlat(tile, 120)
    factors = pyproj.Proj(32633).get_factors(lon, lat)
    np.testing.assert_allclose(tile_pixel_area(tile, 120), 120**2 / factors.areal_scale, rtol=3e-8)


def test_masks_made_at_once_are_made_in_silence():
    transform = Affine(10, 0, 0, 0, -10, 100)
    squares = [shapely.box(0, 0, side, side) for side in (10, 30, 50, 70)] * 50
    with ThreadPoolExecutor(4) as pool:
        masks = list(pool.map(lambda square: polygon_mask([square], (10, 10), transform), squares))
    assert [int(mask.sum()) for mask in masks] == [1, 9, 25, 49] * 50
