"""Clouds, shadows and the scene classification."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest

from terrascope.sim.cover import Cover
from terrascope.sim.land import make_land
from terrascope.sim.optical import render_optical
from terrascope.sim.scenery import Scenery
from terrascope.sim.sky import block_mean, make_clouds
from terrascope.sim.weather import OpticalPass, Sky, Swath, optical_passes, radar_passes, wetness


@pytest.fixture(scope="module")
def scenery() -> Scenery:
    x = (np.arange(240) - 119.5) * 10.0
    y = (89.5 - np.arange(180)) * 10.0
    return Scenery(make_land(*np.meshgrid(x, y), seed=7))


def a_pass(**sky: float) -> OpticalPass:
    facts = {"cover": 0.0, "veil": 0.0, "haze": 0.0, "height_m": 1000.0}
    facts |= {"sun_zenith": 0.7, "sun_azimuth": 2.7} | sky
    return OpticalPass(
        time=dt.datetime(2023, 7, 4, 9, 50, tzinfo=dt.UTC),
        platform="sentinel-2a",
        orbit=79,
        sky=Sky(**facts),
        swath=None,
        wetness=0.1,
        snow=0.0,
        seed=11,
    )


def test_a_shadow_lies_away_from_the_sun_by_height_and_zenith(scenery: Scenery) -> None:
    # 45 degrees and 600 m: 600 m; sun due south: shadows 60 pixels to the north (rows up).
    one = a_pass(cover=0.45, height_m=600.0, sun_zenith=np.pi / 4, sun_azimuth=np.pi)
    clouds = make_clouds(scenery.land, one)
    above_open_sky = clouds.opacity[:-60] < 1e-3
    np.testing.assert_allclose(
        clouds.shadow[:-60][above_open_sky], clouds.opacity[60:][above_open_sky], atol=1e-3
    )
    assert clouds.shaded.any()


def test_the_sky_is_the_same_in_every_window(scenery: Scenery) -> None:
    one = a_pass(cover=0.5, veil=0.6, haze=0.2)
    part = scenery.land.window(slice(30, 90), slice(60, 200))
    whole, small = make_clouds(scenery.land, one), make_clouds(part, one)
    for name in ("opacity", "shadow", "haze"):
        np.testing.assert_allclose(
            getattr(small, name), getattr(whole, name)[30:90, 60:200], atol=1e-5
        )


def test_the_classification_fails_as_the_real_one_does(scenery: Scenery) -> None:
    passes = list(optical_passes(dt.date(2023, 3, 1), dt.date(2023, 11, 1), seed=3))
    counts = dict.fromkeys(("cloud", "no cloud", "shadow", "no shadow", "false", "clear"), 0)
    for one in passes:
        scene = render_optical(scenery, dataclasses.replace(one, swath=None))
        scl = scene.dense_scl()
        flagged = np.isin(scl, (3, 8, 9, 10))
        cloudy, shaded = scene.clouds.cloudy, scene.clouds.shaded
        counts["cloud"] += cloudy.sum()
        counts["no cloud"] += (cloudy & ~flagged).sum()
        counts["shadow"] += shaded.sum()
        counts["no shadow"] += (shaded & ~flagged).sum()
        clear = (scene.clouds.opacity < 0.02) & (scene.clouds.shadow < 0.02)
        bright = clear & scenery.land.is_cover(Cover.QUARRY, Cover.HALLS, Cover.HOUSES, Cover.CROP)
        counts["false"] += (bright & np.isin(scl, (8, 9))).sum()
        counts["clear"] += clear.sum()
    assert 0.10 <= counts["no cloud"] / counts["cloud"] <= 0.35
    assert 0.10 <= counts["no shadow"] / counts["shadow"] <= 0.50
    assert 0.0 < counts["false"] / counts["clear"] < 0.03


def test_thick_cloud_is_white_and_shadow_is_dark(scenery: Scenery) -> None:
    clear, cloudy = (render_optical(scenery, a_pass(cover=c)) for c in (0.0, 0.5))
    thick = cloudy.clouds.opacity > 0.9
    dark = (cloudy.clouds.shadow > 0.8) & (cloudy.clouds.opacity < 0.02)
    assert thick.any()
    assert dark.any()
    assert cloudy.bands["blue"][thick].mean() > 0.5
    ratio = cloudy.bands["nir"][dark].mean() / clear.bands["nir"][dark].mean()
    assert 0.3 < ratio < 0.6


def test_bands_have_their_own_pixels_and_the_swath_an_edge(scenery: Scenery) -> None:
    edge = Swath(float(np.cos(0.2)), float(np.sin(0.2)), 100.0)
    scene = render_optical(scenery, dataclasses.replace(a_pass(), swath=edge))
    assert scene.bands["red"].shape == (180, 240)
    assert scene.bands["swir16"].shape == (90, 120)
    assert scene.bands["nir09"].shape == (30, 40)
    outside = ~scene.imaged
    assert 0.2 < outside.mean() < 0.8
    np.testing.assert_array_equal(np.isnan(scene.bands["red"]), outside)
    assert (np.isnan(scene.bands["swir16"]) == (scene.scl == 0)).all()
    assert scene.dense().shape == (12, 180, 240)
    again = render_optical(scenery, dataclasses.replace(a_pass(), swath=edge))
    np.testing.assert_array_equal(scene.dense(), again.dense())


def test_coarse_bands_are_the_mean_of_the_ground(scenery: Scenery) -> None:
    scene = render_optical(scenery, a_pass())
    # Red edge 3 and near infrared 2 are nearly the same signal at 20 m.
    fine = block_mean(scene.bands["nir"], 2)
    assert np.corrcoef(fine.ravel(), scene.bands["nir08"].ravel())[0, 1] > 0.995


def test_windows_that_break_60_m_pixels_are_refused(scenery: Scenery) -> None:
    part = Scenery(scenery.land.window(slice(0, 61), slice(0, 60)))
    with pytest.raises(ValueError, match="multiples of 6"):
        render_optical(part, a_pass())


def test_passes_follow_their_calendar() -> None:
    start, end = dt.date(2023, 1, 1), dt.date(2024, 12, 31)
    optical = optical_passes(start, end, seed=7, overcast=1.0)
    days = np.diff([p.time.toordinal() for p in optical])
    assert set(days) == {5}
    cover = np.array([p.sky.cover for p in optical])
    assert 0.25 < ((cover > 0.25) & (cover < 0.65)).mean() < 0.6
    june = next(p for p in optical if p.time.month == 6 and 15 < p.time.day < 27)
    assert np.rad2deg(june.sky.sun_zenith) == pytest.approx(28, abs=3)
    radar = radar_passes(start, end, seed=7)
    for orbit in (51, 175):
        steps = np.diff([p.time.toordinal() for p in radar if p.orbit == orbit])
        assert set(steps) == {12}
    level = [wetness(start + dt.timedelta(days=d), 7) for d in range(700)]
    assert np.max(np.diff(level)) > 0.5
    assert min(level) >= 0.0
    assert max(level) <= 1.0
