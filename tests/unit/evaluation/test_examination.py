"""Calibration, the report, and the whole examination of an untrained model, end to end."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from terrascope.errors import ConfigError
from terrascope.evaluation.bench import MECHANISM, SENSORS, BenchSettings, examine
from terrascope.evaluation.command import bench_model
from terrascope.evaluation.conditions import Conditions, apply_conditions, cloud_field
from terrascope.evaluation.fitting import fit_calibration
from terrascope.evaluation.items import BenchItem
from terrascope.evaluation.making import items_from
from terrascope.evaluation.runner import Examinee
from terrascope.model.processing_terrascope import TerrascopeProcessor

from .land import SIDE, scene, scenes
from .tiny import tiny_examinee


@pytest.fixture
def examinee() -> Examinee:
    return tiny_examinee()


@pytest.fixture(scope="module")
def items() -> list[BenchItem]:
    return items_from(itertools.islice(scenes(2000), 20), 12)


def test_clouds_cover_what_was_asked_for_and_all_runs_alike() -> None:
    field = cloud_field((64, 80), 0.6, np.random.default_rng(0), 4)
    assert field.mean() == pytest.approx(0.6, abs=1e-3)
    inside = field[1:, :] == field[:-1, :]
    assert inside.mean() > 0.9  # clouds hang together
    windows = TerrascopeProcessor()([scene(0).window, scene(1).window])
    cloudy = Conditions(cloud=0.6)
    first = apply_conditions(windows, ["a", "b"], cloudy)
    again = apply_conditions(windows.select([1]), ["b"], cloudy)
    assert (first.optical_valid[1] == again.optical_valid[0]).all()
    share = first.optical_valid.float().mean((2, 3, 4))
    assert share.numpy() == pytest.approx(np.full((2, 2), 0.4), abs=1e-3)
    assert (first.radar_valid == windows.radar_valid).all()
    assert (first.optical[~first.optical_valid] == 0).all()
    alone = apply_conditions(windows, ["a", "b"], Conditions(cloud=0.6, sensors="optical"))
    assert not alone.radar_valid.any()
    with pytest.raises(ValueError, match="from 0 to 1"):
        Conditions(cloud=60)


def test_calibration_helps_and_is_saved(
    examinee: Examinee, items: list[BenchItem], tmp_path: Path
) -> None:
    fitted = fit_calibration(examinee, items, tmp_path)
    config = examinee.model.config
    assert fitted["mask_temperature"] == config.mask_temperature
    assert config.mask_temperature != 1.0
    assert fitted["pixel_ece"]["after"] < fitted["pixel_ece"]["before"]
    assert fitted["validation"]["answer_ece"] < 0.25
    assert 0 <= fitted["interval_coverage"] <= 1
    saved = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert saved["mask_temperature"] == config.mask_temperature
    assert saved["answer_confidence"] == config.answer_confidence


@pytest.mark.slow
def test_the_whole_examination_writes_its_report(examinee: Examinee, tmp_path: Path) -> None:
    settings = BenchSettings(
        items=12,
        blind_items=6,
        published_items=6,
        condition_items=6,
        mechanism_items=6,
        baseline_items=6,
        baseline_scenes=16,
        baseline_seconds=20.0,
        size=SIDE,
    )
    cover = {"mean_iou": {"value": 0.5, "low": 0.4, "high": 0.6}, "iou": {"tree": 0.5}}
    runners = {"land cover": lambda: {"places": ["somewhere"], "TerraScope": cover}}
    results = examine(examinee, tmp_path, settings, runners=runners)
    saved = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert saved["main"]["macro"] == results["main"]["macro"]
    assert set(SENSORS) | {"both"} == set(saved["modalities"])
    assert set(MECHANISM) | {"as it is"} == set(saved["mechanism"])
    assert set(saved["modalities"]["60 % cloud, both"]["gain over optical only"]["macro"])
    assert {"U-Net", "indices"} <= set(saved["baselines"])
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| TerraScope |" in text
    assert "text only, images withheld" in text
    assert "60 % cloud, both, gain over optical only: macro" in text
    for name in ("trust.png", "tasks.png", "cover.png"):
        assert (tmp_path / name).stat().st_size > 5000
    lines = (tmp_path / "items.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == results["main"]["items"]


def test_no_model_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model in"):
        bench_model(tmp_path, tmp_path / "out", BenchSettings())
    assert not (tmp_path / "out").exists()
