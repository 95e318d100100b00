"""Scaling, packing and the guard against a wrong offset."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from terrascope.kernels.radiometry import (
    OffsetVerdict,
    check_offset,
    from_db,
    pack_int16,
    rescale_int16,
    to_db,
    to_reflectance,
    unpack_int16,
)
from terrascope.types import NODATA_INT16

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")
)


def test_reflectance_is_scaled_and_shifted() -> None:
    stored = np.array([0, 1000, 1500, 65535], np.uint16)
    values = to_reflectance(stored, scale=1e-4, offset=-0.1, nodata=0)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [np.nan, 0.0, 0.05, 6.4535], atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, -0.1, 0.1])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32])
def test_rescaling_integers_equals_the_slow_way(dtype: type, offset: float) -> None:
    numbers = np.array([0, 1, 999, 1000, 1001, 20000, 32767], dtype)
    if dtype in (np.uint16, np.int32):
        numbers = np.append(numbers, np.array([40000, 65535], dtype))
    packed = rescale_int16(numbers, scale=1e-4, offset=offset, nodata=0, step=1e-4)
    truth = [
        NODATA_INT16 if n == 0 else max(-32767, min(32767, round(int(n) + offset * 1e4)))
        for n in numbers
    ]
    assert packed.dtype == np.int16
    np.testing.assert_array_equal(packed, truth)


def test_other_scales_go_through_floating_point() -> None:
    stored = np.array([0, 100, 250], np.uint8)
    packed = rescale_int16(stored, scale=0.004, offset=0.0, nodata=0, step=1e-4)
    np.testing.assert_array_equal(packed, [NODATA_INT16, 4000, 10000])


def test_packing_counts_what_it_clips() -> None:
    values = np.array([np.nan, -4.0, 0.12345, 3.3], np.float32)
    packed, clipped = pack_int16(values, step=1e-4)
    np.testing.assert_array_equal(packed, [NODATA_INT16, -32767, 1234, 32767])
    assert clipped == 2
    np.testing.assert_allclose(unpack_int16(packed, step=1e-4)[2], 0.1234, atol=1e-7)
    assert np.isnan(unpack_int16(packed, step=1e-4)[0])


def test_decibel() -> None:
    power = np.array([1.0, 0.1, 0.0, -0.2, np.nan], np.float32)
    level = to_db(power)
    np.testing.assert_allclose(level, [0.0, -10.0, np.nan, np.nan, np.nan], atol=1e-5)
    np.testing.assert_allclose(from_db(level)[:2], power[:2], rtol=1e-6)


def land(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return red and nir of fields, forest, soil and some water."""
    red = np.concatenate(
        [rng.normal(m, 0.008, 2000) for m in (0.03, 0.02, 0.05, 0.18, 0.01)]
    ).astype(np.float32)
    nir = np.concatenate([rng.normal(m, 0.03, 2000) for m in (0.35, 0.3, 0.28, 0.25, 0.01)]).astype(
        np.float32
    )
    return red, nir


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        (0.0, OffsetVerdict.CONSISTENT),
        (-0.1, OffsetVerdict.TWICE),
        (0.1, OffsetVerdict.NOT_SUBTRACTED),
    ],
)
def test_offset_is_held_against_vegetation(
    rng: np.random.Generator, shift: float, verdict: OffsetVerdict
) -> None:
    red, nir = land(rng)
    assert check_offset(red + np.float32(shift), nir + np.float32(shift)) is verdict


def test_haze_is_no_forgotten_offset(rng: np.random.Generator) -> None:
    red, nir = land(rng)
    swir = nir * np.float32(0.4)
    hazy = check_offset(red + np.float32(0.1), nir + np.float32(0.04), [swir])
    assert hazy is OffsetVerdict.UNDECIDED


def test_offset_is_undecided_without_vegetation_or_pixels(rng: np.random.Generator) -> None:
    red, nir = land(rng)
    desert = rng.normal(0.3, 0.03, 5000).astype(np.float32)
    assert check_offset(desert, desert + np.float32(0.1)) is OffsetVerdict.UNDECIDED
    assert check_offset(red[:500], nir[:500]) is OffsetVerdict.UNDECIDED
    sea = rng.normal(-0.09, 0.005, 5000).astype(np.float32)
    assert check_offset(sea, sea) is OffsetVerdict.TWICE


@pytest.mark.skipif(not SHARED.exists(), reason=f"no shared data at {SHARED}")
def test_real_scenes_are_judged_right() -> None:
    """All five 33TWL dates and a sample of the bark-beetle tiles state the truth."""
    folders = sorted((SHARED / "stac" / "sentinel-2-l2a").iterdir())
    wanted = [f for f in folders if "33TWL" in f.name]
    wanted += [f for f in folders if "bark-beetle" in f.name][::16]
    verdicts: dict[float, list[OffsetVerdict]] = {0.0: [], -0.1: [], 0.1: []}
    for folder in wanted:
        item = json.loads(next(folder.glob("*.json")).read_text())
        assert item["assets"]["red"]["raster:bands"][0].get("offset", 0) == 0
        bands = []
        for band in ("red", "nir"):
            with rasterio.open(folder / f"{band}.tif") as file:
                bands.append(to_reflectance(file.read(1), scale=1e-4, offset=0.0, nodata=0))
        if (folder / "scl.tif").exists():
            with rasterio.open(folder / "scl.tif") as file:
                bands[0][np.isin(file.read(1), (8, 9, 10))] = np.nan
        for shift, found in verdicts.items():
            found.append(check_offset(*(band + np.float32(shift) for band in bands)))
    clear = {OffsetVerdict.CONSISTENT, OffsetVerdict.UNDECIDED}
    assert len(wanted) > 20
    assert set(verdicts[0.0]) <= clear
    assert verdicts[-0.1].count(OffsetVerdict.TWICE) > 0.6 * len(wanted)
    assert set(verdicts[-0.1]) <= {OffsetVerdict.TWICE, OffsetVerdict.UNDECIDED}
    assert verdicts[0.1].count(OffsetVerdict.NOT_SUBTRACTED) > 0.4 * len(wanted)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)
