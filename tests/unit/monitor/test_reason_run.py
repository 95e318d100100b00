"""A monitor file with a model, from the search to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import terrascope
from terrascope.cube.executor import ThreadExecutor
from terrascope.errors import ModelError
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.products.layers import LAYERS, MODEL_LAYERS
from terrascope.train.building import save_model
from terrascope.watch import MonitorRun

from ..model.tiny8b import tiny_8b  # noqa: TID252
from .tiny_nano import write_nano


def steps(run: MonitorRun) -> list[int]:
    """Take a run to its report; returns the batches that were left to reason about."""
    executor = ThreadExecutor(1)
    with run.logged():
        run.search()
        for sensor, index in run.pending_cube_batches():
            run.build_cube(sensor, index, executor)
        for index in run.pending_screen_batches():
            run.screen(index, executor)
        left = run.pending_reason_batches(executor)
        for index in left:
            run.reason(index, executor)
        run.publish()
    return left


def test_a_monitor_with_a_model(tiny_archive: Any, tmp_path: Path) -> None:
    write_nano(tmp_path / "tiny")
    file = tiny_archive.monitor_file(tmp_path)
    text = file.read_text(encoding="utf-8")
    file.write_text(text + '\n[model]\nname = "absent"\n', encoding="utf-8")
    with pytest.raises(ModelError, match="no model lies in"):
        MonitorRun.open(file)
    file.write_text(text + '\n[model]\nname = "tiny"\naudit = 5\n', encoding="utf-8")
    run = MonitorRun.open(file)
    assert steps(run) == [0]
    out = tmp_path / "out"
    assert {path.stem for path in (out / "maps").glob("*.tif")} == {*LAYERS, *MODEL_LAYERS}
    maps = terrascope.open_maps(out)
    looked = np.isfinite(maps["model_probability"].to_numpy())
    status = maps["status"].to_numpy()
    assert looked.any()
    assert (status[looked] != 255).all()
    fused, screen = (maps[f"{kind}_probability"].to_numpy() for kind in ("change", "screen"))
    np.testing.assert_array_equal(fused[~looked], screen[~looked])
    assert (fused[looked] != screen[looked]).any()
    with rasterio.open(out / "maps" / "class_to.tif") as raster:
        assert set(np.unique(raster.read(1))) <= {*range(9), 255}
    log = json.loads((out / "run.json").read_text(encoding="utf-8"))
    (reason,) = [s for s in log["attempts"][-1]["stages"] if s["name"] == "reason"]
    assert (reason["planned"], reason["done"], reason["skipped"]) == (1, 1, 0)
    report = (out / "report.json").read_text(encoding="utf-8")
    assert "the model looked at" in report
    assert str(tmp_path) not in report
    again = MonitorRun.open(file)
    assert steps(again) == []
    # the screen's own map is still there, and without the table it is what is published
    file.write_text(text, encoding="utf-8")
    plain = MonitorRun.open(file)
    assert steps(plain) == []
    assert {path.stem for path in (out / "maps").glob("*.tif")} == set(LAYERS)
    assert "the model looked at" not in (out / "report.json").read_text(encoding="utf-8")


def test_the_8b_goes_the_same_way(tiny_archive: Any, tmp_path: Path) -> None:
    """A tiny checkpoint of the larger size: other classes, other files, the same stage."""
    tokenizer = NanoTokenizer()
    save_model(tmp_path / "8b", tiny_8b(tokenizer), tokenizer, TerrascopeProcessor(size_px=64))
    file = tiny_archive.monitor_file(tmp_path)
    with file.open("a", encoding="utf-8") as out:
        out.write('\n[model]\nname = "8b"\naudit = 0\nbudget = 0.1\n')
    run = MonitorRun.open(file)
    assert run.reasoning is not None
    assert run.reasoning.window_px == 64
    assert steps(run) == [0]
    maps = terrascope.open_maps(tmp_path / "out")
    assert np.isfinite(maps["model_probability"].to_numpy()).any()
    records = run.store.records(run.map_plan.result_group(run.tiles[0].zone)).values()
    assert [record.done for record in records] == [True]
