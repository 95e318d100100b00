"""Tables of real scenes: the same numbers and labels come back, and a stream learns from them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from terrascope.data.adapters.tables import RealImages, one_date, scene_sample
from terrascope.data.build import build_tables
from terrascope.data.scenes import LabelledScene
from terrascope.data.stream import StreamSettings, batch_at
from terrascope.data.tables import read_tables, scene_of
from terrascope.errors import ConfigError
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import Stack, Window
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.types import ChangeKind
from terrascope.vocabulary import CLASS_CODES

DAYS = (dt.date(2020, 6, 1), dt.date(2021, 6, 4))
BANDS = ("red", "nir", "swir16", "blue")


def real(
    seed: int, shape: tuple[int, int], *, dates: int = 1, known: bool = False
) -> LabelledScene:
    """Return a scene of four bands and VV, of forest and crop, with a corner that is missing."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.05, 0.3, (dates, len(BANDS), *shape)).astype(np.float32)
    values[:, :, :3, :4] = np.nan
    back = rng.normal(-12, 1, (dates, 1, *shape)).astype(np.float32)
    back[:, :, :3, :4] = np.nan
    cover = np.full((dates, *shape), CLASS_CODES["tree"], np.uint8)
    cover[:, :, shape[1] // 2 :] = CLASS_CODES["crop"]
    cover[:, -2:] = 0
    later = [day + dt.timedelta(days=3) for day in DAYS[:dates]]
    window = Window(
        Geometry.planar(shape, 10.0),
        Stack("sentinel-2", values, BANDS, DAYS[:dates], "reflectance"),
        Stack("sentinel-1", back, ("vv",), later, "dB"),
    )
    changes = {}
    if known:
        change = np.zeros(shape, np.uint8)
        change[10:20, 5:15] = ChangeKind.VEGETATION_LOSS
        cover[1][change > 0] = CLASS_CODES["bare land"]
        changes[0, 1] = change
    return LabelledScene(f"real-{seed}", window, cover, changes)


def test_a_scene_comes_back_from_the_tables(tmp_path: Path) -> None:
    scenes = [real(1, (48, 48), dates=2, known=True), real(2, (48, 48))]
    plan = RealImages(scenes, "mine", size=48, samples=4, pasted=0.0, per_shard=1)
    built = build_tables(tmp_path, plan)
    assert built.images == 2
    assert built.samples >= 4
    for scene, (row, samples) in zip(scenes, read_tables(tmp_path), strict=True):
        found = scene_of(row)
        assert found.dates == scene.dates
        np.testing.assert_array_equal(found.cover, scene.cover)
        assert set(found.changes) == set(scene.changes)
        for pair, change in scene.changes.items():
            np.testing.assert_array_equal(found.changes[pair], change)
        for old, new, unit in (
            (scene.window.optical, found.window.optical, 1e-4),
            (scene.window.radar, found.window.radar, 0.01),
        ):
            assert old is not None
            assert new is not None
            assert new.dates == old.dates
            kept = [list(new.bands).index(band) for band in old.bands]
            gap = np.abs(new.observed_values()[:, kept] - old.observed_values())
            assert np.nanmax(gap) <= unit * 0.51
            np.testing.assert_array_equal(np.isnan(gap), np.isnan(old.values))
            rest = np.delete(new.observed_values(), kept, axis=1)
            assert np.isnan(rest).all()
        assert {sample.image_id for sample in samples} == {row.image_id}


def test_plans_are_kept_and_go_on(tmp_path: Path) -> None:
    plan = RealImages([real(3, (50, 70))], "mine", size=32, rounds=3, samples=4, per_shard=2)
    build_tables(tmp_path / "a", plan)
    build_tables(tmp_path / "b", plan)
    names = sorted(path.name for path in (tmp_path / "a").glob("*.parquet"))
    assert len(names) == 4
    (tmp_path / "b" / names[-1]).unlink()
    build_tables(tmp_path / "b", plan)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    windows = [row.sample().optical for row, _ in read_tables(tmp_path / "a")]
    assert all(one.shape[2:] == (32, 32) for one in windows)
    assert not np.array_equal(windows[0], windows[1], equal_nan=True)
    other = RealImages([real(3, (50, 70))], "mine", size=48, rounds=3, samples=4, per_shard=2)
    with pytest.raises(ConfigError, match="other settings"):
        build_tables(tmp_path / "a", other)


def test_change_is_pasted_and_a_stream_reads_it(tmp_path: Path) -> None:
    scenes = [real(4, (64, 64)), real(5, (64, 64))]
    plan = RealImages(scenes, "mine", size=64, pasted=1.0, samples=6)
    build_tables(tmp_path, plan)
    for row, samples in read_tables(tmp_path):
        found = scene_of(row)
        assert len(found.dates) == 2
        changed = found.changes[0, 1] > 0
        assert changed.sum() >= 12
        assert not (found.changes[0, 1] == ChangeKind.OUTSIDE).any()
        assert samples
    settings = StreamSettings(
        windows=2, samples=2, window_px=64, render_px=64, tables=tmp_path, small=0.0
    )
    batch = batch_at(settings, NanoTokenizer(), seed=1, number=0)
    assert len(batch.windows.present) == 2


def test_of_dates_between_which_change_is_unknown_one_is_kept(tmp_path: Path) -> None:
    scene = real(6, (40, 40), dates=2)
    plan = RealImages([scene], "mine", size=40, rounds=6, pasted=0.0, samples=4)
    build_tables(tmp_path, plan)
    dates = {scene_of(row).dates for row, _ in read_tables(tmp_path)}
    assert dates <= {(day,) for day in DAYS}
    later, radar = one_date(scene, 1), scene.window.radar
    assert later.dates == (DAYS[1],)
    assert radar is not None
    assert later.window.radar is not None
    np.testing.assert_array_equal(later.window.radar.values[0], radar.values[1])


def test_scenes_that_tables_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="square window"):
        scene_sample(real(7, (40, 44)), seed=0)
    with pytest.raises(ValueError, match="two with all change"):
        scene_sample(real(7, (40, 40), dates=2), seed=0)
    with pytest.raises(ValueError, match="expected at least one of each"):
        RealImages([], "mine")
    with pytest.raises(ValueError, match="4 samples"):
        RealImages([real(7, (40, 40))], "mine", samples=2)
