"""The screen on spectra whose change is known, and its independence of blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.kernels.change_sar import fit_shift_node
from terrascope.kernels.screen import HALO_M, fuse, screen_optical, screen_sar
from terrascope.types import ChangeKind, Status

BANDS = ("blue", "green", "red", "nir", "nir08", "swir16", "swir22")
SPRUCE = (0.020, 0.032, 0.021, 0.170, 0.180, 0.080, 0.040)
FELLED = (0.048, 0.068, 0.090, 0.200, 0.220, 0.250, 0.160)
BURNT = (0.027, 0.034, 0.042, 0.070, 0.085, 0.130, 0.130)
BEECH = (0.025, 0.045, 0.025, 0.300, 0.320, 0.150, 0.070)
WHEAT = (0.030, 0.060, 0.032, 0.430, 0.450, 0.210, 0.100)
STUBBLE = (0.080, 0.120, 0.160, 0.270, 0.290, 0.330, 0.230)
LAKE = (0.030, 0.032, 0.020, 0.012, 0.010, 0.006, 0.005)
HALL = (0.170, 0.195, 0.210, 0.235, 0.240, 0.250, 0.235)


def _dates(*spectra, shape=(24, 26), seed=1):
    rng = np.random.default_rng(seed)
    stack = np.array(spectra, np.float32)[:, :, None, None] * np.ones(shape, np.float32)
    return (stack * (1 + 0.02 * rng.standard_normal(stack.shape))).astype(np.float32)


def _screen(before, after, **changed):
    options = {
        "bands": BANDS,
        "baseline_months": [9] * len(before),
        "target_months": [9] * len(after),
        "pixel_m": 10.0,
    } | changed
    return fuse([screen_optical(_dates(*before), _dates(*after, seed=2), **options)])


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (SPRUCE, FELLED, ChangeKind.VEGETATION_LOSS),
        (BEECH, FELLED, ChangeKind.VEGETATION_LOSS),
        (SPRUCE, BURNT, ChangeKind.VEGETATION_LOSS),
        (WHEAT, LAKE, ChangeKind.WATER_GAIN),
        (STUBBLE, LAKE, ChangeKind.WATER_GAIN),
        (LAKE, STUBBLE, ChangeKind.WATER_LOSS),
    ],
)
def test_two_dates_tell_a_change_and_its_kind(before, after, kind):
    result = _screen([before], [after])
    assert (result.probability > 0.5).all()
    assert (result.kind == kind).all()
    assert (result.status == Status.PROVISIONAL).all()
    assert (result.detected_index == 0).all()


@pytest.mark.parametrize(
    ("before", "after"),
    [(SPRUCE, SPRUCE), (WHEAT, STUBBLE), (STUBBLE, WHEAT), (LAKE, LAKE), (BEECH, BEECH)],
)
def test_two_dates_of_the_same_ground_or_of_a_harvest_are_no_change(before, after):
    result = _screen([before], [after])
    assert (result.probability < 0.2).all()
    assert (result.kind == ChangeKind.NONE).all()
    assert (result.detected_index == -1).all()


@pytest.mark.parametrize("amount", [0.02, 0.06, 0.15])
def test_a_thin_cloud_is_no_change(amount):
    veil = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.65, 0.5]) * amount
    result = _screen([SPRUCE], [tuple(np.array(SPRUCE) + veil)])
    assert (result.status == Status.NO_CHANGE).mean() > 0.99


def test_a_hall_needs_a_second_date_to_differ_from_a_cloud():
    assert (_screen([WHEAT], [HALL]).status == Status.NO_CHANGE).all()
    result = _screen([WHEAT], [HALL, HALL])
    assert (result.kind == ChangeKind.BUILT_UP_GAIN).all()


def test_one_odd_month_of_three_is_no_change_and_two_are():
    cloud = tuple(0.5 + np.array(SPRUCE))
    once = _screen([SPRUCE] * 3, [SPRUCE, cloud, SPRUCE])
    assert (once.status == Status.NO_CHANGE).all()
    late = _screen([SPRUCE] * 3, [SPRUCE, FELLED, FELLED])
    assert (late.kind == ChangeKind.VEGETATION_LOSS).all()
    assert (late.detected_index == 1).all()
    assert (late.observations == 3).all()


def test_a_year_of_crops_in_rotation_is_no_change():
    year = [STUBBLE] * 4 + [WHEAT] * 3 + [STUBBLE] * 5
    options = {"baseline_months": list(range(1, 13)), "target_months": [5, 6, 7]}
    result = _screen(year, [STUBBLE, STUBBLE, WHEAT], **options)
    assert (result.status == Status.NO_CHANGE).all()


def test_what_was_not_seen_stays_missing():
    before, after = _dates(SPRUCE), _dates(FELLED, seed=2)
    before[0, 3, :5, :] = np.nan
    after[0, :, :, 20:] = np.nan
    evidence = screen_optical(
        before, after, bands=BANDS, baseline_months=[9], target_months=[9], pixel_m=10.0
    )
    result = fuse([evidence])
    seen = np.zeros(result.status.shape, bool)
    seen[5:, :20] = True
    assert (np.isfinite(result.probability) == seen).all()
    assert ((result.status > 0) == seen).all()
    assert (result.observations[~seen] == 0).all()
    empty = screen_optical(
        before * np.nan, after, bands=BANDS, baseline_months=[9], target_months=[9], pixel_m=10.0
    )
    assert not np.isfinite(empty.support).any()


def test_red_and_near_infrared_suffice():
    pair = [BANDS.index("red"), BANDS.index("nir")]
    evidence = screen_optical(
        _dates(SPRUCE)[:, pair],
        _dates(FELLED, seed=2)[:, pair],
        bands=("red", "nir"),
        baseline_months=[9],
        target_months=[9],
        pixel_m=10.0,
    )
    assert (fuse([evidence]).kind == ChangeKind.VEGETATION_LOSS).all()


def test_refuses_what_does_not_fit():
    one = _dates(SPRUCE)
    with pytest.raises(ValueError, match="needs red"):
        screen_optical(
            one[:, :2],
            one[:, :2],
            bands=("blue", "green"),
            baseline_months=[1],
            target_months=[1],
            pixel_m=10.0,
        )
    with pytest.raises(ValueError, match="expected 2 months"):
        _screen([SPRUCE], [SPRUCE], baseline_months=[1, 2])
    with pytest.raises(ValueError, match="nothing to fuse"):
        fuse([])
    with pytest.raises(ValueError, match="with VV and VH"):
        screen_sar(
            np.zeros((1, 1, 4, 4), np.float32), np.zeros((1, 1, 4, 4), np.float32), pixel_m=10
        )


def _speckled(vv, vh, *, looks=5, shape=(60, 60), seed=0):
    rng = np.random.default_rng(seed)
    power = rng.gamma(looks, 1 / looks, (2, *shape))
    level = np.array([vv, vh])[:, None, None]
    return (level + 10 * np.log10(power)).astype(np.float32)[None]


def test_rain_is_no_change_but_a_flood_in_it_is():
    before, after = _speckled(-11, -18), _speckled(-9, -16, seed=1)
    after[0, 0, 20:40, 20:40] -= 9
    after[0, 1, 20:40, 20:40] -= 10
    fit = fit_shift_node(before[0].reshape(2, -1).T, after[0].reshape(2, -1).T)
    assert np.abs(fit.offset + 2).max() < 0.7
    evidence = screen_sar(before, after, pixel_m=10, shift_db=fit.offset[:, None, None])
    result = fuse([evidence])
    flood = np.zeros((60, 60), bool)
    flood[20:40, 20:40] = True
    assert (result.status[24:36, 24:36] == Status.PROVISIONAL).all()
    assert (result.kind[24:36, 24:36] == ChangeKind.WATER_GAIN).all()
    assert (result.status[~flood] == Status.PROVISIONAL).mean() < 0.02


def test_wind_over_water_is_no_change():
    calm, rough = _speckled(-20, -27), _speckled(-10, -25, seed=1)
    for before, after in ((calm, rough), (rough, calm)):
        result = fuse([screen_sar(before, after, pixel_m=10)])
        assert (result.status == Status.PROVISIONAL).mean() < 0.01


def test_a_shift_needs_land_and_stays_within_the_weather():
    sea = _speckled(-20, -27)[0].reshape(2, -1).T
    assert not fit_shift_node(sea, sea + 3).ok
    land = _speckled(-11, -18)[0].reshape(2, -1).T
    assert (fit_shift_node(land, land - 15).offset == 6).all()


def test_two_sensors_add_up():
    shape = (24, 26)
    weak = tuple(0.55 * np.array(SPRUCE) + 0.45 * np.array(FELLED))
    optical = screen_optical(
        _dates(SPRUCE),
        _dates(weak, seed=2),
        bands=BANDS,
        baseline_months=[9],
        target_months=[9],
        pixel_m=10.0,
    )
    radar = screen_sar(
        _speckled(-8, -13, shape=shape, looks=50),
        _speckled(-12, -18, shape=shape, looks=50, seed=1),
        pixel_m=10,
    )
    alone, both = fuse([optical]), fuse([optical, radar])
    assert (both.probability >= alone.probability).all()
    assert both.probability.mean() > alone.probability.mean()
    assert (both.observations == 2).all()


WORLD = np.random.default_rng(11)
COVER = WORLD.integers(0, 7, (80, 90))
TABLE = np.array([SPRUCE, FELLED, WHEAT, STUBBLE, LAKE, BEECH, BURNT], np.float32)


def _world(seed, cover):
    rng = np.random.default_rng(seed)
    dates = np.moveaxis(TABLE[cover], -1, 1)
    dates = dates * (1 + 0.03 * rng.standard_normal(dates.shape))
    dates[np.broadcast_to(rng.random((len(dates), 1, 80, 90)) < 0.1, dates.shape)] = np.nan
    return dates.astype(np.float32)


PAST = _world(1, np.stack([COVER] * 10))
FUTURE = _world(2, np.stack([COVER, np.roll(COVER, 1, 0), np.roll(COVER, 1, 0)]))
ECHO = np.moveaxis(WORLD.normal(-14, 4, (5, 80, 90, 2)), -1, 1).astype(np.float32)


def _both(rows, columns):
    optical = screen_optical(
        PAST[:, :, rows, columns],
        FUTURE[:, :, rows, columns],
        bands=BANDS,
        baseline_months=list(range(1, 11)),
        target_months=[7, 8, 9],
        pixel_m=10.0,
    )
    radar = screen_sar(
        ECHO[:3, :, rows, columns], ECHO[3:, :, rows, columns], pixel_m=10.0, shift_db=0.5
    )
    return fuse([optical, radar])


WHOLE = _both(slice(0, 80), slice(0, 90))


@given(st.integers(0, 60), st.integers(0, 70), st.integers(1, 20), st.integers(1, 20))
@settings(deadline=None, max_examples=25)
def test_the_map_is_the_same_to_the_bit_whatever_the_block(top, left, height, width):
    halo = int(HALO_M // 10)
    rows = slice(max(top - halo, 0), min(top + height + halo, 80))
    columns = slice(max(left - halo, 0), min(left + width + halo, 90))
    part = _both(rows, columns)
    inner = (
        slice(top - rows.start, top - rows.start + height),
        slice(left - columns.start, left - columns.start + width),
    )
    outer = (slice(top, top + height), slice(left, left + width))
    for layer in ("probability", "kind", "status", "observations", "detected_index", "deviation"):
        np.testing.assert_array_equal(
            getattr(part, layer)[inner], getattr(WHOLE, layer)[outer], err_msg=layer
        )
