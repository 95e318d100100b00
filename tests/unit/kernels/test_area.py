"""Pixel areas against polygons on the ellipsoid (pyproj.Geod)."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from terrascope.kernels.area import pixel_area_m2, scale_factor

GEOD = pyproj.Geod(ellps="WGS84")


def ground_area(crs, x, y, resolution):
    # 10 km squares: polygon areas of single pixels lose their digits in Geod
    ring = shapely.segmentize(shapely.box(x, y, x + resolution, y + resolution), resolution / 200)
    back = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    lonlat = shapely.transform(ring, lambda p: np.column_stack(back.transform(p[:, 0], p[:, 1])))
    return abs(GEOD.geometry_area_perimeter(lonlat)[0])


@given(lat=st.floats(-80, 84), offset=st.floats(-3.5, 3.5))
def test_scale_factor_is_that_of_proj(lat, offset):
    truth = pyproj.Proj(32633).get_factors(15 + offset, lat).areal_scale
    assert scale_factor(lat, offset) ** 2 == pytest.approx(truth, rel=2e-8)


@pytest.mark.parametrize(("x", "y"), [(500_000, 5_500_000), (240_000, 1_000), (700_000, 8_000_000)])
def test_utm_pixels_sum_to_the_polygon(x, y):
    side, resolution = 9_600, 120
    back = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    steps = (np.arange(side // resolution) + 0.5) * resolution
    lon, lat = back.transform(*np.meshgrid(x + steps, y + steps))
    total = pixel_area_m2(lat, lon - 15, resolution).sum()
    assert total == pytest.approx(ground_area(32633, x, y, side), rel=1e-7)


@pytest.mark.parametrize(("x", "y"), [(1_500_000, 5_500_000), (-17_000_000, -6_900_000), (0, 0)])
def test_equal_area_pixels_are_their_side_squared(x, y):
    area = pixel_area_m2(np.zeros((2, 1)), np.zeros(3), 9_600, projection="equal-area")
    assert area.shape == (2, 3)
    np.testing.assert_allclose(area, ground_area(6933, x, y, 9_600), rtol=1e-6)


def test_other_projections_are_refused():
    with pytest.raises(ValueError, match="'mercator'"):
        pixel_area_m2(0, 0, 10, projection="mercator")
