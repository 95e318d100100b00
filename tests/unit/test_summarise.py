"""From a run to what it says: completeness, quarantine, panels and figures of a small archive."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest

from terrascope.cube.executor import ThreadExecutor
from terrascope.products.layers import LAYERS
from terrascope.products.panels import draw_panels
from terrascope.store import Record
from terrascope.summarise import StoreLayers, completeness, cube_records, quarantined, source_commit
from terrascope.types import Quarantine, Status
from terrascope.watch import MonitorRun


@pytest.fixture(scope="module")
def run(tiny_archive: Any, tmp_path_factory: pytest.TempPathFactory) -> MonitorRun:
    """One run without Prefect and Dask."""
    run = MonitorRun.open(tiny_archive.monitor_file(tmp_path_factory.mktemp("run")))
    executor = ThreadExecutor(1)
    with run.logged():
        run.search()
        for sensor, index in run.pending_cube_batches():
            run.build_cube(sensor, index, executor)
        for index in run.pending_screen_batches():
            run.screen(index, executor)
        run.publish()
    return run


def test_the_layers_of_a_run(run: MonitorRun) -> None:
    source = StoreLayers(run)
    assert set(source.layers) == set(LAYERS)
    assert source.resolution_m == 60
    (tile,) = source.tiles
    status = source.read(tile, "status")
    assert status is not None
    assert status.shape == (256, 256)
    assert (status == Status.PROVISIONAL).sum() == pytest.approx(20 * 25, rel=0.15)
    assert source.observed_tiles == {tile}


def test_what_the_report_says(run: MonitorRun) -> None:
    report = json.loads((run.output / "report.json").read_text(encoding="utf-8"))
    assert report["completeness"] == {"committed": 3, "planned": 3, "share": 1.0}
    assert report["quality"]["masks"] in ({}, {"scl": 1.0})
    text = json.dumps(report)
    assert str(run.output.parent) not in text
    log = json.loads((run.output / "run.json").read_text(encoding="utf-8"))
    assert log["outcome"] == "done"


def test_panels_show_the_events(run: MonitorRun) -> None:
    events = geopandas.read_parquet(run.output / "events.parquet")
    (name,) = events["event_id"]
    (figure,) = draw_panels(run.screen_plan, run.store, events, [name])
    assert figure.event_id == name
    assert (figure.before_label, figure.after_label) == ("2023-06", "2024-06")
    assert figure.outline.startswith("M")
    pictures = (figure.before, figure.after, figure.change)
    assert len({picture.png for picture in pictures}) == 3
    assert draw_panels(run.screen_plan, run.store, events, []) == ()


def test_failed_work_is_not_complete_and_is_listed(run: MonitorRun) -> None:
    group = "sentinel-2/33N/r60/P1M"
    before = run.store.records(group)
    place, record = min(before.items(), key=lambda entry: entry[0])
    cause = Quarantine(record.tile, "nir", "answered 404", "https://x.org/a.tif")
    failed = Record(
        record.key, record.tile, record.period, state="failed", items=1, quarantines=(cause,)
    )
    with run.store.begin() as write:
        write.commit([], {group: [failed]})
    try:
        assert place in run.store.records(group)
        records = cube_records(run)
        share = completeness(run, records)
        assert (share.committed, share.planned) == (2, 3)
        assert quarantined(run, records) == (cause,)
    finally:
        with run.store.begin() as write:
            write.commit([], {group: [record]})
    assert completeness(run, cube_records(run)).share == 1.0
    assert np.all([r.done for r in run.store.records(group).values()])
    assert Path(run.output / "report.html").is_file()


def test_the_commit_is_that_of_a_checkout(tmp_path: Path) -> None:
    assert source_commit(tmp_path) is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert source_commit(tmp_path) is None, "nothing committed"
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", "-C", str(tmp_path), *who, "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(command, check=True)
    assert re.fullmatch("[0-9a-f]{40,64}", source_commit(tmp_path) or "")
    (tmp_path / "inside").mkdir()
    assert source_commit(tmp_path / "inside") is None, "another project's checkout"
