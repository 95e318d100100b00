"""Alerts beside a model: it looks where they are open, and changes none of them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest

import terrascope
from terrascope.cube.executor import ThreadExecutor
from terrascope.monitor.alert_plan import AlertPlan, alert_score
from terrascope.monitor.reason.plan import choose_windows
from terrascope.monitor.reason.windows import read_strip
from terrascope.products.layers import ALERT_LAYERS, LAYERS, MODEL_LAYERS
from terrascope.store.layout import tile_slices
from terrascope.store.schema import NO_DATE
from terrascope.types import NODATA_INT16, Status
from terrascope.watch import MonitorRun

from .test_reason_run import steps
from .tiny_nano import SIDE, write_nano

EPOCH = dt.date(1970, 1, 1)
ALERTS = (*LAYERS, *ALERT_LAYERS)


def alert_file(archive: Any, folder: Path, model: str = "") -> Path:
    """Write a monitor file over four months of a clear-cut that grows."""
    file: Path = archive.monitor_file(folder)
    text = file.read_text(encoding="utf-8").replace("[time]\n", '[time]\ncadence = "P1D"\n')
    text = text.replace("2024-06-01/2024-06-30", "2024-04-01/2024-07-31")
    file.write_text(f'{text}[alerts]\nconfirm = "2 of 2"\n{model}', encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def plain(monthly_archive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the same alerts without a model."""
    file = alert_file(monthly_archive, tmp_path_factory.mktemp("plain"))
    run = MonitorRun.open(file)
    steps(run)
    return run.output


@pytest.fixture(scope="module")
def run(monthly_archive: Any, tmp_path_factory: pytest.TempPathFactory) -> MonitorRun:
    folder = tmp_path_factory.mktemp("both")
    write_nano(folder / "tiny")
    file = alert_file(monthly_archive, folder, '[model]\nname = "tiny"\naudit = 0\n')
    run = MonitorRun.open(file)
    assert steps(run) == [0]
    return run


def test_no_alert_is_changed(run: MonitorRun, plain: Path) -> None:
    found, expected = terrascope.open_maps(run.output), terrascope.open_maps(plain)
    assert set(MODEL_LAYERS) <= set(found.data_vars)
    status = expected["status"].to_numpy()
    assert {Status.PROVISIONAL, Status.CONFIRMED} <= set(np.unique(status).tolist())
    for name in expected.data_vars:
        if expected[name].ndim == 2:
            np.testing.assert_array_equal(
                found[name].to_numpy(), expected[name].to_numpy(), err_msg=str(name)
            )
    assert (found["model_probability"] != found["change_probability"]).any()


def test_it_looks_where_alerts_are_open(run: MonitorRun) -> None:
    maps = terrascope.open_maps(run.output)
    looked = np.isfinite(maps["model_probability"].to_numpy())
    status = maps["status"].to_numpy()
    alert = (status == Status.PROVISIONAL) | (status == Status.CONFIRMED)
    assert looked[alert].all()
    rows, columns = np.nonzero(alert)
    near = np.zeros_like(looked)
    for row, column in zip(rows, columns, strict=True):  # a window reaches no further
        near[max(row - SIDE, 0) : row + SIDE, max(column - SIDE, 0) : column + SIDE] = True
    assert not looked[~near].any()
    assert 0 < looked.sum() < near.size / 2
    assert run.reasoning is not None
    chosen = choose_windows(run.screen_plan, run.reasoning, run.store, ThreadExecutor(1))
    tile = run.tiles[0]
    zone_rows, zone_columns = tile_slices(tile, 60)
    stride = run.reasoning.stride_px
    for (i, j), asked in np.ndenumerate(chosen[tile].ask):
        top = (chosen[tile].first[0] + i) * stride - zone_rows.start
        left = (chosen[tile].first[1] + j) * stride - zone_columns.start
        part = alert[max(top, 0) : top + SIDE, max(left, 0) : left + SIDE]
        # a tenth of a hectare is less than a pixel of 60 m
        assert asked == part.any(), (i, j)


def test_the_score_of_a_pixel() -> None:
    probability = np.array([0.9, 0.9, 0.01, 0.01, np.nan, 0.05], np.float32)
    status = np.array([1, 2, 3, 4, 0, 255], np.uint8)
    score = alert_score(probability, status, 0.2)
    assert (score >= np.float32(0.2)).tolist() == [False, True, True, False, False, False]
    assert np.isnan(score).tolist() == [False] * 4 + [True, False]
    assert score[5] == np.float32(0.05)


def test_what_it_is_shown(run: MonitorRun) -> None:
    """Under an open alert the dates since it was raised, elsewhere all of them; pixel by pixel."""
    plan, tile, store = run.screen_plan, run.tiles[0], run.store
    assert isinstance(plan, AlertPlan)
    (group,) = plan.groups["sentinel-2"]
    zone_rows, zone_columns = tile_slices(tile, 60)
    rows = slice(zone_rows.start + 104, zone_rows.start + 136)
    columns = slice(zone_columns.start + 96, zone_columns.start + 128)
    strip = read_strip(plan, tile, store, frozenset(store.groups()), rows, columns)
    window = strip.window((slice(0, 32), slice(0, 32)))
    assert window is not None
    assert window.optical is not None
    shown = window.optical.values[1]
    result = plan.result_group(tile.zone)
    status = store.read_tile(result, "status", tile)
    since = store.read_tile(result, "detected_on", tile)
    days = sorted(period for _, period in store.records(group) if period >= plan.target[0].index)
    dates = [next(p for p in plan.target if p.index == day).start for day in days]
    assert len(days) == 4
    stack = [store.read_tile(group, "reflectance", tile, day) for day in days]
    alerts = 0
    for y, x in np.ndindex(32, 32):
        row, column = y + 104, x + 96
        open_ = status[row, column] in (Status.PROVISIONAL, Status.CONFIRMED)
        alerts += open_
        for band in range(len(plan.bands["sentinel-2"])):
            seen = [
                pixels[band, row, column] * 1e-4
                for pixels, date in zip(stack, dates, strict=True)
                if pixels[band, row, column] != NODATA_INT16
                and not (open_ and (date - EPOCH).days < since[row, column])
            ]
            expected = np.median(seen) if seen else np.nan
            np.testing.assert_allclose(shown[band, y, x], expected, rtol=1e-5)
    assert alerts > 100
    assert len(set(np.unique(since[since != NO_DATE]).tolist())) >= 2


def test_what_is_said_of_it(run: MonitorRun) -> None:
    out = run.output
    assert {path.stem for path in (out / "maps").glob("*.tif")} == {*ALERTS, *MODEL_LAYERS}
    events = geopandas.read_parquet(out / "events.parquet")
    assert len(events) > 0
    maps = terrascope.open_maps(out)
    status, model = maps["status"].to_numpy(), maps["model_probability"].to_numpy()
    alert = (status == Status.PROVISIONAL) | (status == Status.CONFIRMED)
    if len(events) == 1:
        assert events["model_probability_mean"][0] == pytest.approx(
            float(model[alert].astype(float).mean()), rel=1e-6
        )
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    (note,) = [text for text in report["quality"]["catalog"] if "changes none" in text]
    agreed = int((events["model_probability_mean"] >= 0.5).sum())
    assert f"of {len(events)} events it looked at {len(events)}, and in {agreed} of" in note


def test_again_and_without(run: MonitorRun, plain: Path) -> None:
    file = run.output.parent / "monitor.toml"
    assert steps(MonitorRun.open(file)) == []
    text = file.read_text(encoding="utf-8")
    file.write_text(text.partition("[model]")[0], encoding="utf-8")
    assert steps(MonitorRun.open(file)) == []
    mine, theirs = run.output / "events.geojson", plain / "events.geojson"
    assert mine.read_bytes() == theirs.read_bytes()
    file.write_text(text, encoding="utf-8")
