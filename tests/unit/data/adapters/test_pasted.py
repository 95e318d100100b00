"""Pasted change: exact labels, numbers that stay, spectra that move as they should."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest

from terrascope.data.adapters.blending import block_phase
from terrascope.data.adapters.ground import GROUND
from terrascope.data.adapters.pasted import paste_change
from terrascope.data.scenes import LabelledScene
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import Stack, Window
from terrascope.sensors import S2_BANDS
from terrascope.sim.aftermath import Alter
from terrascope.sim.alterations import ALTERATION_KIND
from terrascope.sim.palette import Palette
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, CLASS_CODES

SHAPE = (54, 66)
FOREST = (0.02, 0.03, 0.05, 0.03, 0.08, 0.22, 0.28, 0.30, 0.31, 0.31, 0.14, 0.06)
DAY = dt.date(2021, 6, 20)


def real(name: str = "tree", *, dates: int = 2, radar: bool = True) -> LabelledScene:
    """Return a scene of one class with a lake in a corner; bands as an archive repeats them."""
    rng = np.random.default_rng(8)
    days = [DAY + dt.timedelta(days=60 * n) for n in range(dates)]
    values = np.empty((dates, 12, *SHAPE), np.float32)
    for number, band in enumerate(S2_BANDS.values()):
        times = band.gsd_m // 10
        size = (dates, SHAPE[0] // times, SHAPE[1] // times)
        coarse = FOREST[number] * rng.uniform(0.9, 1.1, size)
        values[:, number] = coarse.repeat(times, 1).repeat(times, 2)
    values[:, 3, 30, 40] = np.nan
    back = np.stack([rng.normal(-8, 1, (dates, *SHAPE)), rng.normal(-14, 1, (dates, *SHAPE))], 1)
    later = [day + dt.timedelta(days=2) for day in days]
    window = Window(
        Geometry.planar(SHAPE, 10.0),
        Stack("sentinel-2", values, tuple(S2_BANDS), days, "reflectance"),
        Stack("sentinel-1", back.astype(np.float32), ("vv", "vh"), later, "dB") if radar else None,
    )
    cover = np.full((dates, *SHAPE), CLASS_CODES[name], np.uint8)
    cover[:, :9, :12] = CLASS_CODES["water"]
    return LabelledScene("real", window, cover)


def outline() -> np.ndarray:
    share = np.zeros(SHAPE, np.float32)
    share[20:40, 24:50] = 0.97
    share[20:40, 23] = 0.5
    share[20:40, 50] = 0.4
    return share


def values_of(scene: LabelledScene, sensor: str = "optical") -> np.ndarray:
    stack = getattr(scene.window, sensor)
    assert stack is not None
    return np.asarray(stack.values)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def index(values: np.ndarray, one: str, other: str) -> float:
    """Return the mean normalised difference of two bands in the middle of the outline."""
    names = list(S2_BANDS)
    a, b = (values[names.index(band), 26:36, 32:44] for band in (one, other))
    return float(np.nanmean((a - b) / (a + b)))


def test_the_label_is_the_outline_and_the_rest_stays() -> None:
    scene = real()
    found = paste_change(scene, Alter.FELLING, rng_of(1), share=outline(), unchanged=True)
    done = outline() >= 0.5
    loss = CHANGE_NAMES[ChangeKind.VEGETATION_LOSS]
    np.testing.assert_array_equal(found.mask(loss, (0, 1)), done)
    np.testing.assert_array_equal(found.changes[0, 1] == ChangeKind.NONE, ~done)
    np.testing.assert_array_equal(found.cover[0], scene.cover[0])
    np.testing.assert_array_equal(found.cover[1][~done], scene.cover[1][~done])
    assert set(np.unique(found.cover[1][done])) == {CLASS_CODES["bare land"]}
    assert found.dates == scene.dates
    for sensor in ("optical", "radar"):
        old, new = values_of(scene, sensor), values_of(found, sensor)
        assert new[0].tobytes() == old[0].tobytes()
        away = np.ones(SHAPE, bool)
        for number in range(old.shape[1]):
            times = list(S2_BANDS.values())[number].gsd_m // 10 if sensor == "optical" else 1
            away[:] = True
            top, left = (19 // times) * times, (22 // times) * times
            bottom, right = (40 // times + 1) * times, (51 // times + 1) * times
            away[top:bottom, left:right] = False
            assert new[1, number][away].tobytes() == old[1, number][away].tobytes()
            inside = new[1, number, 22:38, 26:48]
            assert (inside != old[1, number, 22:38, 26:48])[np.isfinite(inside)].all()
        np.testing.assert_array_equal(np.isnan(new), np.isnan(old))


@pytest.mark.parametrize(
    ("what", "rises", "falls"),
    [
        (Alter.FELLING, ("swir16", "nir"), ("nir", "red")),
        (Alter.INSECTS, ("swir16", "nir"), ("nir", "red")),
        (Alter.FIRE, ("swir22", "nir"), ("nir", "red")),
        (Alter.FLOOD, ("green", "nir"), ("nir", "green")),
        (Alter.MINING, ("swir22", "nir"), ("nir", "red")),
    ],
)
def test_spectra_move_as_the_change_has_it(
    what: Alter, rises: tuple[str, str], falls: tuple[str, str]
) -> None:
    scene = real()
    found = paste_change(scene, what, rng_of(2), share=outline(), palette=Palette())
    old, new = values_of(scene)[1], values_of(found)[1]
    assert index(new, *rises) > index(old, *rises) + 0.1
    assert index(new, *falls) < index(old, *falls) - 0.1
    if what is Alter.FLOOD:
        sar = values_of(found, "radar")[1, :, 26:36, 32:44].mean((1, 2))
        assert (sar < values_of(scene, "radar")[1, :, 26:36, 32:44].mean((1, 2)) - 2).all()


def test_the_generator_decides_everything() -> None:
    scene = real()
    one, same, other = (paste_change(scene, Alter.FIRE, rng_of(seed)) for seed in (3, 3, 4))
    for sensor in ("optical", "radar"):
        assert values_of(one, sensor).tobytes() == values_of(same, sensor).tobytes()
    np.testing.assert_array_equal(one.changes[0, 1], same.changes[0, 1])
    assert (one.changes[0, 1] != other.changes[0, 1]).any()


def test_one_date_is_seen_again() -> None:
    scene = real(dates=1)
    found = paste_change(scene, Alter.FELLING, rng_of(5))
    assert (found.dates[1] - found.dates[0]).days in range(330, 400)
    changed = found.changes[0, 1] != ChangeKind.NONE
    assert changed.any()
    assert (found.changes[0, 1] != ChangeKind.OUTSIDE).all()
    assert values_of(found)[0].tobytes() == values_of(scene)[0].tobytes()
    assert (scene.cover[0][changed] == CLASS_CODES["tree"]).all()
    assert found.cover.shape == (2, *SHAPE)


def test_a_date_seen_again_may_drift_from_the_first() -> None:
    scene = real(dates=1)
    found = paste_change(scene, Alter.FELLING, rng_of(5), share=outline(), drift=0.05)
    away = np.ones(SHAPE, bool)
    away[18:48, 18:54] = False
    old, new = (values_of(found)[n][:, away] for n in (0, 1))
    assert old.tobytes() == values_of(scene)[0][:, away].tobytes()
    ratio = np.nanmedian(new / old, axis=1)
    assert (np.abs(ratio - 1) > 1e-4).all()
    assert (np.abs(np.log(ratio)) < 5 * 0.05 * 2**0.5).all()
    assert np.ptp(ratio) > 1e-3  # the colour changes, not only the brightness
    coarse = values_of(found)[1, list(S2_BANDS).index("coastal")]
    assert block_phase(coarse, 6) == (0, 0)  # pixels of 60 m are still whole
    assert np.nanstd(coarse / values_of(found)[0, 0]) > 1e-3
    shift = values_of(found, "radar")[1] - values_of(found, "radar")[0]
    assert (np.abs(np.median(shift[:, away], axis=1)) > 1e-3).all()
    with pytest.raises(ValueError, match="drift"):
        paste_change(scene, Alter.FELLING, rng_of(5), drift=3.0)


def test_what_is_not_known_stays_unknown_and_what_is_labelled_stays() -> None:
    scene = real()
    done = outline() >= 0.5
    found = paste_change(scene, Alter.FELLING, rng_of(6), share=outline())
    assert (found.changes[0, 1][~done] == ChangeKind.OUTSIDE).all()
    old = np.full(SHAPE, ChangeKind.NONE, np.uint8)
    old[:, :30] = ChangeKind.REGROWTH
    labelled = dataclasses.replace(scene, changes={(0, 1): old})
    found = paste_change(labelled, Alter.FELLING, rng_of(6), share=outline())
    np.testing.assert_array_equal(found.changes[0, 1][~done], old[~done])
    assert (found.changes[0, 1][done] == ChangeKind.VEGETATION_LOSS).all()
    assert (labelled.changes[0, 1] == old).all()


@pytest.mark.parametrize("what", list(Alter))
def test_everything_finds_its_ground(what: Alter) -> None:
    scene = real(GROUND[what].classes[0], radar=what is Alter.BUILDING)
    found = paste_change(scene, what, rng_of(9), unchanged=True)
    changed = found.changes[0, 1] != ChangeKind.NONE
    assert changed.sum() >= 12
    assert set(np.unique(found.changes[0, 1][changed])) == {ALTERATION_KIND[what]}
    assert np.isin(scene.cover[0][changed], GROUND[what].codes).all()


def test_an_outline_stays_where_it_is_allowed() -> None:
    allowed = np.zeros(SHAPE, bool)
    allowed[30:50, 5:40] = True
    found = paste_change(real("crop"), Alter.FELLING, rng_of(10), allowed=allowed, unchanged=True)
    changed = found.changes[0, 1] != ChangeKind.NONE
    assert changed.any()
    assert not changed[~allowed].any()


def test_scenes_without_room_and_shares_that_are_none_are_refused() -> None:
    nothing = np.zeros(SHAPE, bool)
    with pytest.raises(ValueError, match="0 pixels where drawdown can happen"):
        paste_change(real(), Alter.DRAWDOWN, rng_of(1), allowed=nothing)
    with pytest.raises(ValueError, match="3 dates"):
        paste_change(real(dates=3), Alter.FELLING, rng_of(1))
    for share in (outline()[:9], 2 * outline(), 0.4 * outline(), np.full(SHAPE, np.nan)):
        with pytest.raises(ValueError, match="share of shape"):
            paste_change(real(), Alter.FELLING, rng_of(1), share=share.astype(np.float32))
