"""Labelled windows: contract, determinism, labels that the spectra bear out, changes, balance."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.sim.alterations import ALTERATION_KIND, Alter, Alteration, states
from terrascope.sim.classes import CLASS_OF, REVERSE
from terrascope.sim.draws import SPLITS, Draws
from terrascope.sim.land import Land, make_land
from terrascope.sim.layout import Layout
from terrascope.sim.palette import draw_palette
from terrascope.sim.samples import SceneSample, sample_scene
from terrascope.sim.shots import _averaging, _spreading, draw_dates
from terrascope.sim.spectra import REFLECTANCE, Surface
from terrascope.types import ChangeKind
from terrascope.vocabulary import CLASS_CODES, LAND_COVER

RED, NIR, SWIR22 = 3, 7, 11
RICH = Layout(
    forest=0.3,
    wild=0.5,
    shrub=0.4,
    wetland=0.3,
    bare=0.3,
    pivots=0.2,
    lake=0.1,
    sea=0.2,
    tide=1.0,
    town=0.3,
    highways=3.0,
)


def digest(sample: SceneSample) -> str:
    arrays = (sample.optical, sample.radar, sample.cloudy, sample.cover, sample.damage)
    facts = repr((sample.optical_dates, sample.radar_dates, sample.pixel_m)).encode()
    return hashlib.sha256(b"".join([*(a.tobytes() for a in arrays), facts])).hexdigest()


@pytest.fixture(scope="module")
def scenes() -> list[SceneSample]:
    return [sample_scene(seed, size=96, dates=2) for seed in range(24)]


@pytest.fixture(scope="module")
def land() -> Land:
    x, y = np.meshgrid((np.arange(90) + 0.5) * 20.0, (80.0 - np.arange(80)) * 20.0)
    return make_land(x, y, seed=3, layout=RICH)


@pytest.mark.parametrize("split", SPLITS)
def test_a_sample_keeps_its_contract(split: str) -> None:
    sample = sample_scene(4, split=split, size=60, dates=3)
    assert sample.optical.shape == (3, 12, 60, 60)
    assert sample.radar.shape == (3, 2, 60, 60)
    assert sample.optical.dtype == sample.radar.dtype == sample.damage.dtype == np.float32
    shape = (3, 60, 60)
    assert sample.cloudy.shape == sample.cover.shape == sample.damage.shape == shape
    assert sample.cover.dtype == sample.disturbance.dtype == np.uint8
    assert sample.cover.max() <= len(LAND_COVER)
    assert 6.0 < sample.pixel_m <= 10.0
    days = [day.toordinal() for day in sample.optical_dates]
    assert len(sample.radar_dates) == 3
    assert np.diff(days).min() >= 5
    lags = [b.toordinal() - a for a, b in zip(days, sample.radar_dates, strict=True)]
    assert np.abs(lags).max() <= 5


def test_numbers_stay_in_their_ranges(scenes: list[SceneSample]) -> None:
    optical = np.concatenate([scene.optical.ravel() for scene in scenes])
    radar = np.concatenate([scene.radar.ravel() for scene in scenes])
    assert -0.1 < np.nanmin(optical) < np.nanmax(optical) < 1.6
    assert -45.0 < np.nanmin(radar) < np.nanmax(radar) < 25.0
    assert 0.0 < np.isnan(optical).mean() < 0.15
    for scene in scenes:
        missing = np.isnan(scene.optical)
        assert (missing.any(axis=1) == missing.all(axis=1)).all()
        assert not (np.isnan(scene.radar).all(axis=(1, 2, 3)) & missing.all(axis=(1, 2, 3))).any()


def test_the_same_seed_gives_the_same_sample_in_another_process() -> None:
    code = (
        "from tests.unit.sim.test_sim_samples import digest, sample_scene;"
        "print(digest(sample_scene(11, split='validation', size=48)))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = sample_scene(11, split="validation", size=48)
    assert there.stdout.strip() == digest(here)
    others = [sample_scene(11, size=48), sample_scene(12, split="validation", size=48)]
    assert digest(here) not in {digest(other) for other in others}


def test_labels_do_not_need_images() -> None:
    whole, bare = (sample_scene(7, size=64, dates=3, render=render) for render in (True, False))
    for name in ("cover", "disturbance", "damage"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(bare, name))
    assert np.isnan(bare.optical).all()
    assert np.isfinite(whole.optical).any()


@pytest.mark.parametrize(
    "bad", [{"split": "dev"}, {"size": 8}, {"dates": 0}], ids=["split", "size", "dates"]
)
def test_impossible_samples_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        sample_scene(1, **bad)


def pooled(scenes: list[SceneSample], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return clear spectra (12, n) and backscatter (2, n) of one class."""
    optical, radar = [], []
    for scene in scenes:
        for t in range(2):
            clear = (scene.cover[t] == CLASS_CODES[name]) & ~scene.cloudy[t]
            clear &= np.isfinite(scene.optical[t]).all(axis=0)
            clear &= np.isfinite(scene.radar[t]).all(axis=0)
            optical.append(scene.optical[t][:, clear][:, ::7])
            radar.append(scene.radar[t][:, clear][:, ::7])
    return np.concatenate(optical, axis=1), np.concatenate(radar, axis=1)


def test_spectra_bear_the_labels_out(scenes: list[SceneSample]) -> None:
    classes = {name: pooled(scenes, name) for name in LAND_COVER}
    assert min(optical.shape[1] for optical, _ in classes.values()) > 300
    nir = {name: np.median(optical[NIR]) for name, (optical, _) in classes.items()}
    ndvi = {
        name: np.median((o[NIR] - o[RED]) / (o[NIR] + o[RED])) for name, (o, _) in classes.items()
    }
    assert nir["water"] < 0.09 < 0.15 < min(v for k, v in nir.items() if k != "water")
    assert ndvi["tree"] > 0.55 > 0.3 > ndvi["bare land"]
    assert ndvi["tree"] > ndvi["shrub"] > ndvi["bare land"]
    vh = {name: np.median(radar[1]) for name, (_, radar) in classes.items()}
    assert vh["water"] < -21.0 < -15.0 < vh["tree"]


def fake(cover: list[list[int]], kind: list[list[int]]) -> SceneSample:
    """Return a sample of 1 x n pixels on two dates."""
    codes = np.array(cover, np.uint8)[:, None, :]
    days = (dt.date(2020, 5, 1), dt.date(2021, 5, 1))
    blank = np.zeros(codes.shape, np.float32)
    return SceneSample(
        seed=0,
        split="train",
        pixel_m=10.0,
        optical=np.zeros((2, 12, *codes.shape[1:]), np.float32),
        radar=np.zeros((2, 2, *codes.shape[1:]), np.float32),
        optical_dates=days,
        radar_dates=days,
        cloudy=blank > 0,
        cover=codes,
        disturbance=np.array(kind, np.uint8)[:, None, :],
        damage=blank,
    )


def test_what_changed_between_two_dates() -> None:
    water, bare, grass, tree = 1, 3, 4, 6
    loss, regrowth, gain, dry, built, dug = 1, 2, 3, 4, 5, 6
    cases = [  # cover before, after; state before, after; expected
        (tree, tree, 0, 0, 0),
        (tree, bare, 0, loss, loss),
        (tree, tree, 0, loss, loss),  # dead trees that stand
        (tree, bare, loss, loss, loss),  # and are felled later
        (bare, bare, loss, loss, 0),  # an old felling
        (bare, grass, loss, loss, regrowth),  # that becomes green
        (bare, grass, loss, regrowth, regrowth),
        (grass, water, 0, gain, gain),
        (water, grass, gain, 0, dry),  # a flood that falls
        (water, bare, 0, dry, dry),
        (bare, water, dry, 0, gain),
        (bare, 2, dug, built, built),
        (bare, grass, dug, 0, regrowth),
    ]
    before, after, old, new, expected = map(list, zip(*cases, strict=True))
    sample = fake([before, after], [old, new])
    np.testing.assert_array_equal(sample.change(0, 1)[0], expected)
    with pytest.raises(ValueError, match="in order"):
        sample.change(1, 0)
    assert REVERSE[ChangeKind.NONE] == ChangeKind.NONE


def test_changes_follow_from_the_states(scenes: list[SceneSample]) -> None:
    kinds = set()
    for scene in scenes:
        change = scene.change(0, 1)
        still = (scene.disturbance[0] == scene.disturbance[1]) & (scene.cover[0] == scene.cover[1])
        assert not change[still].any()
        appeared = (scene.disturbance[0] == 0) & (scene.disturbance[1] > 0)
        np.testing.assert_array_equal(change[appeared], scene.disturbance[1][appeared])
        assert (scene.damage[1][appeared] >= 0.5).all()
        untouched = (scene.damage == 0).all(axis=0)
        assert (scene.cover[0] == scene.cover[1])[untouched].all()
        kinds |= set(np.unique(change))
    assert len(kinds) >= 4


@pytest.mark.parametrize(
    "what", [Alter.FELLING, Alter.FLOOD, Alter.BUILDING, Alter.DRAWDOWN, Alter.DEMOLITION]
)
def test_a_wish_for_a_change_is_granted(what: Alter) -> None:
    found = 0
    for seed in range(12):
        sample = sample_scene(seed, size=64, dates=2, happening=what, render=False)
        found += bool((sample.disturbance == ALTERATION_KIND[what]).any())
    assert found >= 3


def test_lost_forest_shows_in_the_infrared() -> None:
    drops = []
    for seed in range(30):
        bare = sample_scene(seed, size=64, dates=2, happening=Alter.FELLING, render=False)
        lost = (bare.change(0, 1) == ChangeKind.VEGETATION_LOSS) & (bare.cover[0] == 6)
        if lost.sum() < 60 or len(drops) >= 6:
            continue
        scene = sample_scene(seed, size=64, dates=2, happening=Alter.FELLING)
        clear = ~scene.cloudy.any(axis=0) & np.isfinite(scene.optical).all(axis=(0, 1))
        nir, swir = scene.optical[:, NIR], scene.optical[:, SWIR22]
        drop = -np.diff((nir - swir) / (nir + swir), axis=0)[0]
        same = clear & (scene.cover == 6).all(axis=0) & (scene.change(0, 1) == 0)
        if (clear & lost).sum() < 60 or same.sum() < 60:
            continue
        drops.append(np.median(drop[lost & clear]) - np.median(drop[same]))
    assert len(drops) >= 3
    assert np.median(drops) > 0.15


def alteration(land: Land, what: Alter, **facts: object) -> Alteration:
    share = np.linspace(0.0, 1.0, land.cover.size, dtype=np.float32).reshape(land.shape)
    settled = {"start": dt.date(2020, 6, 1), "days": 10.0, "end": None, "key": 5} | facts
    return Alteration(what, share, **settled)


@pytest.mark.parametrize("what", list(Alter))
def test_every_aftermath_is_a_mixture(land: Land, what: Alter) -> None:
    one = alteration(land, what)
    where = land.cover > 0
    for days in (5, 200, 1500):
        shares = one.mixture(land, where, one.start + dt.timedelta(days=days))
        assert shares.min() >= 0.0
        np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-4)


def test_a_felling_becomes_grass_and_then_shrub(land: Land) -> None:
    one = alteration(land, Alter.FELLING)
    codes = [one.class_code(one.start + dt.timedelta(days=d)) for d in (20, 800, 2500)]
    assert codes == [CLASS_CODES[name] for name in ("bare land", "grass", "shrub")]
    assert alteration(land, Alter.INSECTS).class_code(dt.date(2021, 1, 1)) == 0


def test_states_count_from_half_a_pixel(land: Land) -> None:
    one = alteration(land, Alter.FLOOD, end=dt.date(2020, 9, 1))
    before, during, after = (
        states(land, [one], day)
        for day in (dt.date(2020, 5, 1), dt.date(2020, 8, 1), dt.date(2020, 9, 1))
    )
    half = one.share >= 0.5
    np.testing.assert_array_equal(during.kind, np.where(half, ChangeKind.WATER_GAIN, 0))
    assert (during.cover[half] == CLASS_CODES["water"]).all()
    np.testing.assert_array_equal(during.cover[~half], before.cover[~half])
    np.testing.assert_array_equal(before.cover, after.cover)
    assert not after.damage.any()
    with pytest.raises(ValueError, match="drawn for"):
        one.severity(land.window(slice(0, 5), slice(0, 5)))


@settings(max_examples=5, deadline=None)
@given(row=st.integers(0, 40), column=st.integers(0, 40), seed=st.integers(0, 30))
def test_wild_land_is_the_same_in_any_window(row: int, column: int, seed: int) -> None:
    x, y = np.meshgrid((np.arange(100) + 0.5) * 10.0, 7000.0 - (np.arange(90) + 0.5) * 10.0)
    part = (slice(row, row + 40), slice(column, column + 50))
    big = make_land(x, y, seed=seed, layout=RICH)
    small = make_land(x[part], y[part], seed=seed, layout=RICH)
    np.testing.assert_array_equal(small.cover, big.cover[part])
    np.testing.assert_array_equal(small.units.key[small.unit], big.units.key[big.unit[part]])


def test_rich_land_holds_all_classes(land: Land) -> None:
    assert set(np.unique(CLASS_OF[land.cover])) >= set(CLASS_CODES.values())


@given(seed=st.integers(0, 10_000), low=st.floats(-5, 5), width=st.floats(0.1, 9))
def test_test_parameters_are_never_met_in_training(seed: int, low: float, width: float) -> None:
    def band(split: str) -> int:
        draws = Draws(np.random.default_rng(seed), split)
        return int(np.clip((draws.between(low, low + width) - low) / width * 10 + 1e-9, 0, 9))

    assert band("test") in {2, 5, 8}
    assert band("train") not in {2, 5, 8}
    assert band("validation") not in {2, 5, 8}


def test_palettes_differ_but_stay_spectra() -> None:
    first, second = (
        draw_palette(Draws(np.random.default_rng(seed), "train")).reflectance for seed in (1, 2)
    )
    assert np.abs(np.log(first / second)).mean() > 0.05
    assert np.abs(np.log(first / REFLECTANCE)).max() < 1.6
    assert first[Surface.SNOW, 2] > 0.6


@given(count=st.integers(1, 4), seed=st.integers(0, 500))
def test_dates_are_in_order_and_apart(count: int, seed: int) -> None:
    days = draw_dates(Draws(np.random.default_rng(seed), "train"), count)
    assert len(days) == count
    assert all((b - a).days >= 5 for a, b in itertools.pairwise(days))
    assert days[-1] <= dt.date(2026, 12, 31)


def test_a_coarse_band_is_the_mean_of_its_pixels() -> None:
    signal = np.random.default_rng(3).random(24).astype(np.float32)
    down = _averaging(24, 6, 0.0, 0.0) @ signal
    np.testing.assert_allclose(down, [signal[k : k + 6].mean() for k in range(0, 24, 6)], rtol=1e-5)
    blurred = _averaging(24, 1, 0.1, 0.04) @ signal
    inner = 0.08 * signal[:-2] + 0.8 * signal[1:-1] + 0.12 * signal[2:]
    np.testing.assert_allclose(blurred[1:-1], inner, rtol=1e-5)
    place = np.arange(2.0, 20.0)
    repeated = _spreading(place, 6, 4, smooth=False) @ down
    np.testing.assert_array_equal(repeated, down[(place // 6).astype(int)])
    linear = _spreading(place, 6, 4, smooth=True) @ down
    expected = np.interp(place, (np.arange(4) + 0.5) * 6 - 0.5, down)
    np.testing.assert_allclose(linear, expected, rtol=1e-5)


def shares_of(count: int) -> np.ndarray:
    """Return the share of every class in the last label of some samples, shape (count, 9)."""
    return np.stack(
        [
            np.bincount(sample_scene(seed, render=False).cover[-1].ravel(), minlength=9) / 128**2
            for seed in range(count)
        ]
    )


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_class_is_common_and_none_rules(count: int) -> None:
    shares = shares_of(count)
    slack = 0.05 if count < 1000 else 0.0
    assert (shares[:, 1:] >= 0.05).mean(axis=0).min() >= 0.20 - slack
    assert shares.mean(axis=0).max() <= 0.45
    assert shares[:, 0].mean() < 0.02


@pytest.mark.slow
def test_most_samples_hold_a_change() -> None:
    changed = []
    for seed in range(300):
        sample = sample_scene(seed, dates=2, render=False)
        changed.append(int((sample.change(0, 1) > 0).sum()) >= 5)
    assert 0.5 < np.mean(changed) < 0.7


def test_samples_are_frozen() -> None:
    sample = fake([[1], [1]], [[0], [0]])
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.seed = 3
