"""The flow end to end on a small archive, with Prefect and without."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import flows.monitor

CLOCKED = ("cube", "run.json")
"""Parts of the output that hold clocks or random names."""
TASKS = ("search", "build_cube", "screen", "publish")


def products(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.relative_to(output).parts[0] not in CLOCKED
    }


@pytest.fixture(scope="module")
def monitored(
    prefect_api: None, tiny_archive: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run the flow with Prefect; return its output folder."""
    folder = tmp_path_factory.mktemp("with-prefect")
    file = tiny_archive.monitor_file(folder)
    state = flows.monitor.monitor(str(file), return_state=True)
    assert state.is_completed(), state.message
    assert state.result() == str(folder / "out" / "report.html")
    return folder / "out"


def test_the_flow_finds_the_clear_cut(monitored: Path) -> None:
    names = set(products(monitored))
    assert {"report.html", "report.json", "events.parquet", "maps/status.tif"} <= names
    log = json.loads((monitored / "run.json").read_text())
    assert log["outcome"] == "done"
    assert log["completeness"]["share"] == 1.0
    events = pq.read_table(monitored / "events.parquet").to_pylist()
    assert len(events) == 1
    # 20 x 25 pixels of 60 m were felled.
    assert events[0]["area_m2"] == pytest.approx(20 * 25 * 3600, rel=0.15)


def test_the_same_without_prefect(
    monitored: Path, tiny_archive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decorators add retries and a record, and nothing to the result."""
    for name in TASKS:
        monkeypatch.setattr(flows.monitor, name, getattr(flows.monitor, name).fn)
    report = flows.monitor.monitor.fn(str(tiny_archive.monitor_file(tmp_path)))
    assert Path(report).is_file()
    expected, found = products(monitored), products(tmp_path / "out")
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_a_second_run_does_nothing_twice(monitored: Path) -> None:
    before = products(monitored)
    assert flows.monitor.monitor(str(monitored.parent / "monitor.toml"))
    attempts = json.loads((monitored / "run.json").read_text())["attempts"]
    stages = {stage["name"]: stage for stage in attempts[-1]["stages"]}
    for name in ("cube sentinel-2", "screen"):
        assert stages[name]["done"] == 0
        assert stages[name]["skipped"] == stages[name]["planned"] > 0
    assert products(monitored) == before


def test_the_command_prints_plain_lines(
    tiny_archive: Any, tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    """In a log: a line per step of ours, nothing of Prefect's or Dask's, and the report's path."""
    file = tiny_archive.monitor_file(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "terrascope", "monitor", str(file)],
        env=clean_environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, report = done.stdout.splitlines()
    assert re.fullmatch(r"change: 18\d\.\d ha in 1 events; observed: 100\.0% of the ground", found)
    assert report == f"report: {tmp_path}/out/report.html"
    line = re.compile(r"\d\d:\d\d:\d\d (cube sentinel-2|screen): \d+ of \d+")
    lines = done.stderr.splitlines()
    assert lines
    assert [text for text in lines if not line.fullmatch(text)] == []
