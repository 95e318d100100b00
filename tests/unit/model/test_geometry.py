"""Pixel areas and distances against the ellipsoid of pyproj."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.model.geometry import Geometry

pyproj = pytest.importorskip("pyproj")
GEOD = pyproj.Geod(ellps="WGS84")


@given(
    north=st.floats(-89.0, 89.9),
    step=st.tuples(st.floats(1e-4, 0.02), st.floats(1e-4, 0.02)),
)
@settings(max_examples=100, deadline=None)
def test_geographic_areas_are_those_of_an_equal_area_projection(
    north: float, step: tuple[float, float]
) -> None:
    geometry = Geometry.geographic((7, 5), north, step)
    to_equal_area = pyproj.Transformer.from_crs(4326, 6933, always_xy=True)
    edges = north - np.arange(8) * step[0]
    x, y = to_equal_area.transform(np.full(8, step[1]), edges)
    truth = -np.diff(y) * x[0]
    np.testing.assert_allclose(geometry.area_m2[:, 0], truth, rtol=3e-6)
    assert geometry.area_map_m2.shape == (7, 5)


@given(
    north=st.floats(-80.0, 85.0),
    rows=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    columns=st.integers(0, 99),
    step=st.floats(1e-4, 0.01),
)
@settings(max_examples=200, deadline=None)
def test_geographic_distances_are_geodesics(
    north: float, rows: tuple[int, int], columns: int, step: float
) -> None:
    geometry = Geometry.geographic((100, 100), north, (step, 2 * step))
    latitude = [north - (row + 0.5) * step for row in rows]
    truth = GEOD.inv(0.0, latitude[0], columns * 2 * step, latitude[1])[2]
    found = float(geometry.distance_m(rows[0], rows[1], columns))
    assert found == pytest.approx(truth, rel=1e-6, abs=1e-4)


def test_nominal_pixel_size_is_that_of_the_centre() -> None:
    geometry = Geometry.geographic((2001, 10), 60.0, (0.001, 0.002))
    _, _, down = GEOD.inv(0, 59.0, 0, 58.999)
    _, _, across = GEOD.inv(0, 58.9995, 0.002, 58.9995)
    assert geometry.pixel_size_yx_m == pytest.approx((down, across), rel=1e-5)


def test_planar_areas_may_be_given() -> None:
    plain = Geometry.planar((3, 4), (10.0, 20.0))
    assert plain.area_map_m2.tolist() == [[200.0] * 4] * 3
    given_m2 = np.arange(1.0, 13.0).reshape(3, 4)
    mapped = Geometry.planar((3, 4), 10.0, given_m2)
    np.testing.assert_array_equal(mapped.area_map_m2, given_m2)
    padded = mapped.padded((5, 6))
    assert padded.area_map_m2.shape == (5, 6)
    np.testing.assert_array_equal(padded.area_map_m2[padded.inside], given_m2)
    assert padded.padded((8, 8)).inside == (slice(0, 3), slice(0, 4))


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), (10.0, 0.0)])
def test_pixels_without_a_size_are_refused(size: float | tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="pixel size"):
        Geometry.planar((3, 3), size)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="degrees"):
        Geometry.planar((2, 2), 8.983e-5)
    with pytest.raises(ValueError, match="above zero"):
        Geometry.planar((2, 2), 10.0, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="latitudes"):
        Geometry.geographic((100, 2), 10.0, (1.5, 1.0))
    with pytest.raises(ValueError, match="at least"):
        Geometry.planar((5, 5), 1.0).padded((4, 6))
