"""Parts, growing, opening and distance of masks against scipy and shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from terrascope.model.geometry import Geometry
from terrascope.model.shapes import count_parts, distance_m, grown, opened

SQUARE = np.ones((3, 3), bool)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=23)
MASKS = hnp.arrays(np.bool_, SHAPES)
SIZES = st.floats(0.3, 300.0)


def blobs(seed: int, shape: tuple[int, int], level: float) -> np.ndarray:
    """Smooth random regions, as predicted masks have them."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, 2.0)
    return np.asarray(smooth > level * smooth.std())


@given(mask=MASKS)
@settings(max_examples=300, deadline=None)
def test_parts_are_those_of_scipy(mask: np.ndarray) -> None:
    count, labels = count_parts(mask)
    truth, expected = ndimage.label(mask, SQUARE)
    assert count == expected
    # The same partition, and the same numbering: by first pixel in reading order.
    first = [np.flatnonzero(truth.ravel() == k)[0] for k in range(1, expected + 1)]
    order = np.argsort(first) + 1
    for new, old in enumerate(order, start=1):
        np.testing.assert_array_equal(labels == new, truth == old)


def test_a_spiral_and_a_comb_are_one_part() -> None:
    spiral = np.zeros((41, 41), bool)
    y = x = 20
    for turn, length in enumerate(np.repeat(np.arange(2, 40, 2), 2)):
        dy, dx = ((0, 1), (1, 0), (0, -1), (-1, 0))[turn % 4]
        for _ in range(length):
            if 0 <= y < 41 and 0 <= x < 41:
                spiral[y, x] = True
            y, x = y + dy, x + dx
    comb = np.zeros((40, 41), bool)
    comb[:, ::2] = True
    comb[-1] = True
    for mask in (spiral, comb, spiral.T, comb[::-1]):
        assert count_parts(mask)[0] == ndimage.label(mask, SQUARE)[1] == 1


@given(mask=MASKS)
@settings(max_examples=200, deadline=None)
def test_growing_and_opening_are_those_of_scipy(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(grown(mask), ndimage.binary_dilation(mask, SQUARE))
    eroded = ndimage.binary_erosion(mask, SQUARE, border_value=1)
    truth = ndimage.binary_dilation(eroded, SQUARE) if eroded.any() else mask
    np.testing.assert_array_equal(opened(mask), truth)


@given(data=st.data(), shape=SHAPES, height=SIZES, width=SIZES)
@settings(max_examples=300, deadline=None)
def test_distance_is_the_minimum_of_the_distance_transform(
    data: st.DataObject, shape: tuple[int, int], height: float, width: float
) -> None:
    sparse = hnp.arrays(np.bool_, shape, elements=st.booleans(), fill=st.just(False))
    a, b = data.draw(sparse), data.draw(sparse)
    found = distance_m(a, b, Geometry.planar(shape, (height, width)))
    if not (a.any() and b.any()):
        assert found is None
        return
    transform = ndimage.distance_transform_edt(~b, sampling=(height, width))
    assert found == pytest.approx(transform[a].min(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_distance_of_regions_is_that_of_shapely(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.uniform(2, 40, 2)
    a, b = blobs(seed, (61, 47), 1.6), blobs(seed + 100, (61, 47), 1.6)
    points = [shapely.multipoints(np.argwhere(m) * (height, width)) for m in (a, b)]
    found = distance_m(a, b, Geometry.planar((61, 47), (height, width)))
    assert found == pytest.approx(shapely.distance(*points), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_distance_on_a_geographic_grid_is_the_geodesic(seed: int) -> None:
    pyproj = pytest.importorskip("pyproj")
    rng = np.random.default_rng(seed)
    shape, north = (31, 27), float(rng.uniform(-60, 75))
    step = (float(rng.uniform(0.001, 0.02)), float(rng.uniform(0.001, 0.02)))
    geometry = Geometry.geographic(shape, north, step)
    a, b = np.zeros(shape, bool), np.zeros(shape, bool)
    a[rng.integers(0, 31, 6), rng.integers(0, 10, 6)] = True
    b[rng.integers(0, 31, 6), rng.integers(14, 27, 6)] = True
    lon, lat = [], []
    for (ya, xa), (yb, xb) in ((p, q) for p in np.argwhere(a) for q in np.argwhere(b)):
        lon.append(((xa + 0.5) * step[1], (xb + 0.5) * step[1]))
        lat.append((north - (ya + 0.5) * step[0], north - (yb + 0.5) * step[0]))
    lon1, lon2 = np.array(lon).T
    lat1, lat2 = np.array(lat).T
    truth = pyproj.Geod(ellps="WGS84").inv(lon1, lat1, lon2, lat2)[2].min()
    assert distance_m(a, b, geometry) == pytest.approx(truth, rel=1e-6)


def test_masks_that_share_a_pixel_are_at_no_distance() -> None:
    a = blobs(1, (30, 40), 0.5)
    assert distance_m(a, a, Geometry.planar((30, 40), 10.0)) == 0.0
