"""The ground under a grid: areas against pyproj, in degrees and in Web Mercator."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from terrascope.data.adapters.lazy import geometry_of

WGS84 = pyproj.Geod(ellps="WGS84")


def test_pixels_in_degrees_have_their_area_on_the_ellipsoid() -> None:
    west, north, step = 14.0, 49.0, 0.0002
    grid = GeoBox((6, 9), from_origin(west, north, step, step), "EPSG:4326")
    found = geometry_of(grid)
    assert found.shape_yx == (6, 9)
    top, left = north - 3 * step, west + 4 * step
    corners = [(left, top), (left + step, top), (left + step, top - step), (left, top - step)]
    area, _ = WGS84.polygon_area_perimeter(*zip(*corners, strict=True))
    assert found.area_map_m2[3, 4] == pytest.approx(abs(area), rel=1e-5)


@pytest.mark.parametrize("latitude", [0.0, 49.8, -61.0])
def test_pixels_of_web_mercator_have_their_true_size(latitude: float) -> None:
    to_metres = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)
    x, y = to_metres.transform(14.0, latitude)
    grid = GeoBox((20, 20), from_origin(x - 100, y + 100, 10.0, 10.0), "EPSG:3857")
    to_degrees = pyproj.Transformer.from_crs(3857, 4326, always_xy=True)
    ends = [to_degrees.transform(x + step, y) for step in (-5.0, 5.0)]
    _, _, across = WGS84.inv(*ends[0], *ends[1])
    found = geometry_of(grid).pixel_size_yx_m
    np.testing.assert_allclose(found, across, rtol=4e-3)  # the sphere against the ellipsoid


def test_pixels_of_a_zone_are_as_large_as_its_metres() -> None:
    grid = GeoBox((3, 4), from_origin(399_960, 5_300_040, 20.0, 10.0), "EPSG:32633")
    assert geometry_of(grid).pixel_size_yx_m == (10.0, 20.0)
