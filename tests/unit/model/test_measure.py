"""Measured figures against scipy on random masks, with non-square and geographic pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from terrascope.model.geometry import Geometry
from terrascope.model.measure import Measurement, measure, position_words
from terrascope.model.uncertainty import Calibration
from terrascope.vocabulary import POSITIONS

SQUARE = np.ones((3, 3), bool)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=19)
QUICK = Calibration(samples=39, correlation_length_m=30.0)


@st.composite
def geometries(draw: st.DrawFn, shape: tuple[int, int]) -> Geometry:
    if draw(st.booleans()):
        size = (draw(st.floats(0.5, 120.0)), draw(st.floats(0.5, 120.0)))
        if draw(st.booleans()):
            stretch = draw(st.integers(0, 2**16))
            area = np.random.default_rng(stretch).uniform(0.9, 1.1, shape) * size[0] * size[1]
            return Geometry.planar(shape, size, area)
        return Geometry.planar(shape, size)
    step = (draw(st.floats(1e-4, 1e-2)), draw(st.floats(1e-4, 1e-2)))
    return Geometry.geographic(shape, draw(st.floats(-80, 85)), step)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, Geometry]:
    """Two masks' probabilities, the valid pixels and the ground; NaN where not observed."""
    shape = draw(SHAPES)
    chance = hnp.arrays(
        np.float32,
        shape,
        elements=st.sampled_from([0.0, 0.1, 0.5, 0.625, 1.0]),
        fill=st.sampled_from([0.0, 1.0]),
    )
    valid = draw(hnp.arrays(np.bool_, shape, elements=st.sampled_from([True, True, False])))
    first, second = draw(chance), draw(chance)
    first[~valid], second[~valid] = np.nan, np.nan
    return first, second, valid, draw(geometries(shape))


@given(scene=scenes())
@settings(max_examples=250, deadline=None)
def test_figures_are_those_of_scipy(
    scene: tuple[np.ndarray, np.ndarray, np.ndarray, Geometry],
) -> None:
    p, q, valid, geometry = scene
    found = measure(
        torch.from_numpy(p),
        torch.from_numpy(valid),
        geometry,
        calibration=QUICK,
        earlier=[torch.from_numpy(q)],
    )
    area = geometry.area_map_m2
    mask = valid & (np.nan_to_num(p) > 0.5)
    other = np.nan_to_num(q) > 0.5
    observed = float(ndimage.sum_labels(area, valid, 1)) if valid.any() else 0.0

    assert found.pixels == mask.sum()
    assert found.observed_m2 == pytest.approx(observed)
    assert found.observed == pytest.approx(observed / area.sum())
    assert found.area_m2.thresholded == pytest.approx(area[mask].sum())
    assert found.area_m2.expected == pytest.approx((area * p)[valid].sum())
    if observed:
        assert found.share.thresholded == pytest.approx(area[mask].sum() / observed)
        assert found.share.expected == pytest.approx((area * p)[valid].sum() / observed)
    else:
        assert np.isnan(found.share.thresholded)
    assert found.parts == ndimage.label(mask, SQUARE)[1] == len(found.part_probabilities)
    check_place(found, mask)
    (relation,) = found.relations
    bodies = without_specks(mask), without_specks(other)
    assert relation.touches == bool((ndimage.binary_dilation(bodies[0], SQUARE) & bodies[1]).any())
    share = area[mask & other].sum() / area[mask].sum() if mask.any() else 0.0
    assert relation.overlap == pytest.approx(share)
    if mask.any() and other.any() and geometry.north_deg is None:
        transform = ndimage.distance_transform_edt(~other, sampling=geometry.pixel_size_yx_m)
        assert relation.distance_m == pytest.approx(transform[mask].min(), abs=1e-9)
    elif not (mask.any() and other.any()):
        assert relation.distance_m is None


def without_specks(mask: np.ndarray) -> np.ndarray:
    eroded = ndimage.binary_erosion(mask, SQUARE, border_value=1)
    return ndimage.binary_dilation(eroded, SQUARE) & mask if eroded.any() else mask


def test_a_wrong_pixel_between_two_masks_does_not_join_them() -> None:
    one, other = np.zeros((2, 20, 20), np.float32)
    one[2:18, 2:8], other[2:18, 12:18] = 0.99, 0.99
    one[9, 8:12] = 0.9
    sizes = torch.ones((20, 20), dtype=torch.bool)
    ground = Geometry.planar((20, 20), 10.0)
    earlier = [torch.from_numpy(one)]
    (relation,) = measure(
        torch.from_numpy(other), sizes, ground, calibration=QUICK, earlier=earlier
    ).relations
    assert not relation.touches
    assert relation.touch_probability < 0.1
    one[8:11, 8:12] = 0.9
    (relation,) = measure(
        torch.from_numpy(other), sizes, ground, calibration=QUICK, earlier=earlier
    ).relations
    assert relation.touches
    assert relation.touch_probability > 0.5


def check_place(found: Measurement, mask: np.ndarray) -> None:
    if not mask.any():
        assert found.centroid_yx is None
        assert found.position is None
        return
    y, x = ndimage.center_of_mass(mask)
    height, width = mask.shape
    assert found.centroid_yx == pytest.approx(((y + 0.5) / height, (x + 0.5) / width))
    third = [min(int(3 * value), 2) for value in found.centroid_yx or ()]
    assert found.position == np.reshape(POSITIONS, (3, 3))[third[0], third[1]]


@given(scene=scenes(), filler=st.sampled_from([0.0, 1.0, np.nan]))
@settings(max_examples=50, deadline=None)
def test_what_was_not_observed_never_enters(
    scene: tuple[np.ndarray, np.ndarray, np.ndarray, Geometry], filler: float
) -> None:
    p, q, valid, geometry = scene
    changed, other = np.where(valid, p, filler), np.nan_to_num(q)
    results = [
        measure(
            torch.from_numpy(one.astype(np.float32)),
            torch.from_numpy(valid),
            geometry,
            calibration=QUICK,
            earlier=[torch.from_numpy(two.astype(np.float32))],
        )
        for one, two in ((p, q), (changed, other))
    ]
    assert repr(results[0]) == repr(results[1])
    np.testing.assert_array_equal(results[0].area_m2.samples, results[1].area_m2.samples)


def test_hectares_by_hand() -> None:
    p = torch.zeros(40, 30)
    p[4:14, 3:11] = 0.9
    p[30, 20:24] = 0.4
    valid = torch.ones(40, 30, dtype=torch.bool)
    valid[:, 29] = False
    found = measure(p, valid, Geometry.planar((40, 30), (10.0, 20.0)))
    assert found.area_m2.scaled(1e-4).thresholded == pytest.approx(1.6)
    assert found.area_m2.expected == pytest.approx(200 * (80 * 0.9 + 4 * 0.4))
    assert found.share.thresholded == pytest.approx(80 / (40 * 29))
    assert found.observed == pytest.approx(29 / 30)
    assert (found.parts, found.position) == (1, "top left")
    assert found.part_probabilities == pytest.approx((0.9,))
    assert found.area_m2.low <= found.area_m2.expected <= found.area_m2.high


def test_without_doubt_the_interval_is_a_point() -> None:
    p = torch.zeros(20, 20)
    p[3:9, 4:15] = 1.0
    found = measure(p, torch.ones(20, 20, dtype=torch.bool), Geometry.planar((20, 20), 10.0))
    assert found.area_m2.low == found.area_m2.high == found.area_m2.expected == 6600.0


def test_padding_changes_no_figure() -> None:
    rng = np.random.default_rng(3)
    p = torch.from_numpy(rng.uniform(0, 1, (21, 33)).astype(np.float32))
    valid = torch.from_numpy(rng.uniform(0, 1, (21, 33)) > 0.2)
    geometry = Geometry.planar((21, 33), (10.0, 12.0), rng.uniform(99, 101, (21, 33)))
    wide = torch.nn.functional.pad
    plain = measure(p, valid, geometry)
    padded = measure(
        wide(p, (0, 7, 0, 3), value=0.9), wide(valid, (0, 7, 0, 3)), geometry.padded((24, 40))
    )
    for name in ("observed", "observed_m2", "pixels", "parts", "centroid_yx", "position"):
        assert getattr(plain, name) == pytest.approx(getattr(padded, name)), name
    assert plain.area_m2.expected == pytest.approx(padded.area_m2.expected)


def test_specks_are_left_out_of_the_distance_of_bodies() -> None:
    p, q = torch.zeros(30, 30), torch.zeros(30, 30)
    p[2:8, 2:8] = q[20:26, 2:8] = 1.0
    p[18, 4] = 1.0
    found = measure(
        p, torch.ones(30, 30, dtype=torch.bool), Geometry.planar((30, 30), 10.0), earlier=[q]
    )
    assert found.relations[0].distance_m == pytest.approx(20.0)
    assert found.relations[0].body_distance_m == pytest.approx(130.0)
    assert found.relations[0].touch_probability == 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_ladder_is_the_distance_at_every_threshold(seed: int) -> None:
    """Against scipy's distance transform of what its own opening leaves."""
    rng = np.random.default_rng(seed)
    size = (7.0, 11.0)
    p, q = (ndimage.gaussian_filter(rng.random((24, 30)), 2.0) for _ in range(2))
    p, q = ((v - v.min()) / np.ptp(v) for v in (p, q))
    q[:, :16], p[:, 14:] = 0.0, 0.0
    expected = []
    for tenth in range(1, 10):
        bodies = []
        for v in (p, q):
            drawn = v.astype(np.float32) > np.float32(tenth / 10)
            core = ndimage.binary_erosion(drawn, SQUARE, border_value=1)
            bodies.append(ndimage.binary_dilation(core, SQUARE) & drawn if core.any() else drawn)
        if bodies[0].any() and bodies[1].any():
            away = ndimage.distance_transform_edt(~bodies[1], sampling=size)
            expected.append(float(away[bodies[0]].min()))
    one, other = (torch.from_numpy(v).float() for v in (p, q))
    everywhere = torch.ones(24, 30, dtype=torch.bool)
    ground = Geometry.planar((24, 30), size)
    found = measure(one, everywhere, ground, calibration=QUICK, earlier=[other], ladder=True)
    assert found.relations[0].ladder_m == pytest.approx(expected)
    plain = measure(one, everywhere, ground, calibration=QUICK, earlier=[other])
    assert plain.relations[0].ladder_m == ()
    nothing = torch.zeros_like(other)
    empty = measure(one, everywhere, ground, calibration=QUICK, earlier=[nothing], ladder=True)
    assert empty.relations[0].ladder_m == ()


@pytest.mark.parametrize("down", [0.0, 0.34, 0.7, 1.0])
@pytest.mark.parametrize("across", [0.1, 0.5, 0.99])
def test_places_have_names(down: float, across: float) -> None:
    words = position_words(down, across)
    assert ("top" in words) == (down < 1 / 3)
    assert ("bottom" in words) == (down > 2 / 3)
    assert ("left" in words) == (across < 1 / 3)
    assert ("right" in words) == (across > 2 / 3)


def test_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="bring the mask"):
        measure(
            torch.zeros(8, 8), torch.ones(8, 8, dtype=torch.bool), Geometry.planar((16, 16), 10.0)
        )
