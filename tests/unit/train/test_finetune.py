"""Fine-tuning: blocks are held out whole, a class is learnt, folders of masks are read."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from terrascope.data.adapters.labelled import scenes_of
from terrascope.data.scenes import LabelledScene
from terrascope.data.views import cut
from terrascope.errors import ConfigError, ReadError
from terrascope.model.geometry import Geometry
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.stacks import Stack, Window
from terrascope.readers.labelled import read_labelled
from terrascope.sensors import S2_BANDS
from terrascope.train.building import build_model, save_model
from terrascope.train.finetune import FineTuning, fine_tune, map_held_out, spatial_folds
from terrascope.train.labelled import LabelledSource
from terrascope.train.scoring import score_pixels
from terrascope.types import ChangeKind

from .fields import tiny_recipe

DATES = (dt.date(2019, 9, 1), dt.date(2020, 9, 3))
LOSS = "vegetation loss"


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=12, max_size=60),
    st.integers(2, 4),
)
@settings(max_examples=50, deadline=None)
def test_a_block_is_in_one_fold_and_folds_are_even(
    places: list[tuple[int, int]], folds: int
) -> None:
    centres = np.array(places, np.float64) * 100
    blocks = [tuple(place) for place in np.floor(centres / 2000).astype(int).tolist()]
    sizes = {block: blocks.count(block) for block in blocks}
    if len(sizes) < folds:
        with pytest.raises(ConfigError, match="blocks"):
            spatial_folds(centres, folds, 2000.0)
        return
    found = spatial_folds(centres, folds, 2000.0)
    for block in sizes:
        assert len({int(f) for f, b in zip(found, blocks, strict=True) if b == block}) == 1
    loads = np.bincount(found, minlength=folds)
    assert loads.min() > 0
    assert loads.max() - loads.min() <= max(sizes.values())


def test_pooled_scores_are_those_of_a_slow_count() -> None:
    rng = np.random.default_rng(2)
    maps = [rng.random((7, 9)).astype(np.float32) for _ in range(3)]
    truth = [rng.random((7, 9)) < p for p in maps]
    known = [rng.random((7, 9)) < 0.8 for _ in range(3)]
    pairs = [
        (float(p), bool(t))
        for m, r, k in zip(maps, truth, known, strict=True)
        for p, t, use in zip(m.flat, r.flat, k.flat, strict=True)
        if use
    ]
    hit = sum(p > 0.5 and t for p, t in pairs)
    either = sum(p > 0.5 or t for p, t in pairs)
    gaps = []
    for n in range(15):
        own = [(p, t) for p, t in pairs if n / 15 <= p < (n + 1) / 15]
        gaps.append(abs(sum(p for p, _ in own) - sum(t for _, t in own)))
    found = score_pixels(maps, truth, known)
    assert found.iou == pytest.approx(hit / either)
    assert found.f1 == pytest.approx(2 * hit / (hit + either))
    assert found.ece == pytest.approx(sum(gaps) / len(pairs), abs=1e-6)
    assert (found.pixels, found.positives) == (len(pairs), sum(t for _, t in pairs))


def scenes(count: int, side: int = 24) -> list[LabelledScene]:
    """Draw forest, of which a part turns bright between two dates."""
    rng = np.random.default_rng(0)
    made = []
    for n in range(count):
        gone = np.zeros((side, side), np.bool_)
        top, left = rng.integers(0, side - 10, 2)
        gone[top : top + 8 + n % 3, left : left + 9] = True
        image = np.full((2, 12, side, side), 0.05, np.float32)
        image[1][:, gone] = 0.4
        image += 0.01 * rng.standard_normal(image.shape).astype(np.float32)
        window = Window(
            Geometry.planar((side, side), 10.0),
            Stack("sentinel-2", image, list(S2_BANDS), DATES, "reflectance"),
        )
        change = np.where(gone, 1, 0).astype(np.uint8)
        change[0] = 255
        cover = np.zeros((2, side, side), np.uint8)
        made.append(LabelledScene(f"scene-{n}", window, cover, {(0, 1): change}))
    return made


def test_a_class_is_learnt_and_scored_out_of_fold(tmp_path: Path) -> None:
    model, tokenizer, processor = build_model(tiny_recipe(window_px=16))
    save_model(tmp_path / "start", model, tokenizer, processor)
    labelled = scenes(6)
    # The language of this start has never learnt what names look like: it has to be asked.
    tuning = FineTuning(
        start=str(tmp_path / "start"),
        steps=60,
        rate=5e-3,
        batch=4,
        window_px=16,
        folds=2,
        asked=1.0,
    )
    fold = np.array([0, 1, 0, 1, 0, 1])
    outcome = fine_tune(tuning, labelled, fold, tmp_path / "out", cpu=True)
    assert outcome.scores is not None
    assert outcome.probabilities is not None
    assert outcome.scores.pixels == 6 * 23 * 24  # the first row of each scene is not known
    assert outcome.scores.f1 > 0.8
    assert [one.shape for one in outcome.probabilities] == [(24, 24)] * 6
    facts = json.loads((tmp_path / "out" / "finetune.json").read_text())
    assert facts["out_of_fold"]["f1"] == outcome.scores.f1
    assert set(facts["by_fold"]) == {"0", "1"}
    tuned = TerrascopeModel.from_pretrained(tmp_path / "out")
    expected = np.median(list(facts["temperatures"].values()))
    assert tuned.config.mask_temperature == pytest.approx(expected, rel=1e-3)


def test_names_come_first_where_the_model_knows_them(tmp_path: Path) -> None:
    tuning = FineTuning(start=str(tmp_path), steps=50, asked=0.2)
    named, asked = tuning.recipe("fold").stages
    assert (named.steps, asked.steps) == (40, 10)
    assert (named.named, named.images) == (True, False)
    assert (asked.named, asked.images) == (False, True)
    assert named.frozen == asked.frozen == ("language",)
    only = dataclasses.replace(tuning, asked=1.0).recipe("fold").stages
    assert [(one.steps, one.named) for one in only] == [(50, False)]
    (tmp_path / "config.json").write_text(json.dumps({"backbone": "internvl"}), encoding="utf-8")
    assert [(one.steps, one.named) for one in tuning.recipe("fold").stages] == [(50, False)]


def test_small_and_long_scenes_are_cut_square_and_turned() -> None:
    """Every turn of a square appears; what is mapped afterwards has a window of another side."""
    whole = scenes(1)[0]
    part = cut(whole, 0, 0, 20)
    source = LabelledSource([part], build_model(tiny_recipe(window_px=32))[1], LOSS, (0, 1), 0)
    stage = FineTuning("nano", window_px=32, batch=16, steps=1, asked=1.0).recipe("x").stages[0]
    batch = next(source(stage, split="train", start=0, stride=1))
    masks = {one.numpy()[:20, :20].tobytes() for one in batch.truth}
    truth = part.mask(LOSS, (0, 1))
    turns = [np.rot90(m, k) for m in (truth, truth[:, ::-1]) for k in range(4)]
    assert masks <= {np.ascontiguousarray(one).tobytes() for one in turns}
    assert len(masks) > 4


@pytest.mark.parametrize("around", [0.0, 1.0])
def test_a_rare_class_is_in_the_windows_that_are_drawn_around_it(around: float) -> None:
    scene = scenes(1)[0]
    kinds = np.zeros_like(scene.changes[0, 1])
    kinds[5, 7] = int(ChangeKind.VEGETATION_LOSS)
    rare = dataclasses.replace(scene, changes={(0, 1): kinds})
    source = LabelledSource(
        [rare], build_model(tiny_recipe(window_px=8))[1], LOSS, (0, 1), 0, around
    )
    stage = FineTuning("nano", window_px=8, batch=40, steps=1, asked=1.0).recipe("x").stages[0]
    batch = next(source(stage, split="train", start=0, stride=1))
    share = float(batch.truth.flatten(1).any(1).float().mean())
    assert share == 1.0 if around else share < 0.5


def test_a_model_is_tuned_to_smaller_windows(tmp_path: Path) -> None:
    model, tokenizer, processor = build_model(tiny_recipe(window_px=32))
    save_model(tmp_path / "start", model, tokenizer, processor)
    tuning = FineTuning(
        start=str(tmp_path / "start"), steps=2, batch=2, window_px=16, folds=0, asked=0.5
    )
    fine_tune(tuning, scenes(2), np.zeros(2, np.int64), tmp_path / "out", cpu=True)
    tuned = TerrascopeModel.from_pretrained(tmp_path / "out")
    assert tuned.config.nano.window_size == 16
    held = [one.window for one in scenes(3)]
    maps = map_held_out(tuning, scenes(2), held, tmp_path / "fold", cpu=True)
    assert [one.shape for one in maps] == [(24, 24)] * 3
    assert all(np.isfinite(one).all() for one in maps)


def test_scenes_that_cannot_be_learnt_from_are_refused(tmp_path: Path) -> None:
    fold = np.zeros(2, np.int64)
    tuning = FineTuning("nano", name="water gain", window_px=16)
    with pytest.raises(ConfigError, match="no scene has a pixel of 'water gain'"):
        fine_tune(tuning, scenes(2), fold, tmp_path)
    with pytest.raises(ConfigError, match="2 dates"):
        fine_tune(FineTuning("nano", dates=(0, 2), window_px=16), scenes(2), fold, tmp_path)
    with pytest.raises(ConfigError, match="no labelled scene"):
        fine_tune(FineTuning("nano"), [], fold, tmp_path)


def write_folder(root: Path, scene: LabelledScene, east: float) -> None:
    folder = root / scene.image_id
    folder.mkdir(parents=True)
    side = scene.cover.shape[1]
    profile = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "crs": "EPSG:32633",
        "transform": from_origin(east, 5_500_000.0, 10.0, 10.0),
    }
    mask = scene.changes[0, 1]
    with rasterio.open(folder / "mask.tif", "w", count=1, dtype="uint8", **profile) as file:
        file.write(mask, 1)
    assert scene.window.optical is not None
    for date, values in zip(DATES, scene.window.optical.values, strict=True):
        name = folder / f"sentinel-2_{date}.tif"
        with rasterio.open(name, "w", count=3, dtype="int16", nodata=-9999, **profile) as file:
            file.write(np.rint(values[[3, 2, 1]] * 10_000).astype(np.int16))
            file.descriptions = ("B04", "B03", "blue")
            file.scales = (1e-4,) * 3


def test_folders_of_masks_become_scenes(tmp_path: Path) -> None:
    made = scenes(2)
    for n, scene in enumerate(made):
        write_folder(tmp_path, scene, 400_000.0 + 7000 * n)
    found, centres = scenes_of(read_labelled(tmp_path), LOSS)
    assert [scene.image_id for scene in found] == ["scene-0", "scene-1"]
    assert (centres[1] - centres[0]).tolist() == [0.0, 7000.0]
    for scene, expected in zip(found, made, strict=True):
        assert np.array_equal(scene.mask(LOSS, (0, 1)), expected.mask(LOSS, (0, 1)))
        assert np.array_equal(scene.known(LOSS, (0, 1)), expected.known(LOSS, (0, 1)))
        assert scene.window.optical is not None
        assert expected.window.optical is not None
        values = scene.window.optical.observed_values()
        reds = values[:, list(scene.window.optical.bands).index("red")]
        assert np.allclose(
            reds, expected.window.optical.values[:, list(S2_BANDS).index("red")], atol=1e-4
        )
    water, _ = scenes_of(read_labelled(tmp_path), "water")
    assert np.array_equal(water[0].mask("water", (-1, 1)), made[0].mask(LOSS, (0, 1)))
    with pytest.raises(ConfigError, match="expected one of vegetation loss"):
        scenes_of(read_labelled(tmp_path), "beetles")


def test_a_folder_without_scenes_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"NAME/mask\.tif"):
        read_labelled(tmp_path)
