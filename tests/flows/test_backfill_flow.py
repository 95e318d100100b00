"""A backfill leaves what live runs of the same dates leave, whatever its order and its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import zarr

import flows.backfill
import flows.monitor
from terrascope.backfill import Backfill
from terrascope.cube.executor import ThreadExecutor
from terrascope.errors import ConfigError
from terrascope.watch import MonitorRun

TASKS = ("search", "build_cube", "screen", "publish")


def products(folder: Path) -> dict[str, bytes]:
    """Every product, and the frozen search; neither clocks nor what belongs to other periods."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.relative_to(folder).parts[0] not in ("cube", "periods", "run.json", "tracks")
    }


def tracks(output: Path) -> dict[str, bytes]:
    """What each run noted of its patches, from which events take lasting names."""
    return {path.name: path.read_bytes() for path in sorted((output / "tracks").iterdir())}


def arrays(output: Path) -> dict[str, np.ndarray]:
    """Decode what was written, the ledgers included: all shards of all arrays by place."""
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(output / "cube")))
    session = repository.readonly_session("main")
    group = zarr.open_group(session.store, mode="r")
    found = {}
    for path, node in group.members(max_depth=None):
        if isinstance(node, zarr.Array):
            for place in zarr.core.sync.sync(_places(session, f"/{path}")):
                sides = node.shards or node.chunks
                where = tuple(
                    slice(i * side, (i + 1) * side) for i, side in zip(place, sides, strict=True)
                )
                found[f"{path} {place}"] = np.asarray(node[where])
    return found


async def _places(session: icechunk.Session, path: str) -> list[tuple[int, ...]]:
    return [tuple(place) async for place in session.chunk_coordinates(path)]


def run_once(file: Path, target: str) -> MonitorRun:
    run = MonitorRun.open(file, target=target)
    executor = ThreadExecutor()
    with run.logged():
        run.search()
        for sensor, index in run.pending_cube_batches():
            run.build_cube(sensor, index, executor)
        for index in run.pending_screen_batches():
            run.screen(index, executor)
        run.publish()
    return run


def run_live(folder: Path, archive: Any, last: str) -> dict[str, dict[str, bytes]]:
    """Run the monitor for one month after the other; return what each left."""
    file = archive.monitor_file(folder)
    left = {}
    for target in Backfill.open(file, "2024-04-01", last).targets:
        run = run_once(file, target)
        left[run.settings.run_id] = products(folder / "out")
    return left


def assert_same(output: Path, live: Path, left: dict[str, dict[str, bytes]]) -> None:
    assert {path.name for path in (output / "periods").iterdir()} == set(left)
    for name, expected in left.items():
        found = products(output / "periods" / name)
        assert found.keys() == expected.keys()
        assert [path for path in expected if found[path] != expected[path]] == []
    assert products(output) == products(live)
    assert tracks(output) == tracks(live)
    assert len(tracks(live)) == len(left)
    assert_arrays_same(output, live)


def assert_arrays_same(output: Path, live: Path) -> None:
    got, wanted = arrays(output), arrays(live)
    assert len(wanted) > 10
    assert got.keys() == wanted.keys()
    for place, values in wanted.items():
        np.testing.assert_array_equal(got[place], values, err_msg=place)


@pytest.fixture(autouse=True)
def without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the source's commit out of reports: another may be made while this runs."""
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TASKS:
        monkeypatch.setattr(flows.monitor, name, getattr(flows.monitor, name).fn)


def test_another_order_is_the_same_as_live(
    monthly_archive: Any, tmp_path: Path, without_prefect: None
) -> None:
    left = run_live(tmp_path / "live", monthly_archive, "2024-06-30")
    file = monthly_archive.monitor_file(tmp_path / "back")
    job = Backfill.open(file, "2024-04-15", "2024-06-01")
    assert len(job.targets) == len(left) == 3
    assert set(job.ordered("shuffled")) == set(job.targets)
    report = flows.backfill.backfill.fn(str(file), "2024-04-15", "2024-06-01", "newest")
    output = tmp_path / "back" / "out"
    assert report == str(output / "report.html")
    assert_same(output, tmp_path / "live" / "out", left)
    areas = [
        json.loads((output / "periods" / name / "report.json").read_text())["events"]["area_m2"]
        for name in sorted(left)
    ]
    assert areas == sorted(areas)
    assert areas[0] < areas[-1]
    seen = [
        json.loads((output / "periods" / name / "events.geojson").read_text())["features"]
        for name in sorted(left)
    ]
    facts = [[(one["id"], one["properties"]["first_seen"]) for one in found] for found in seen]
    assert len(facts[0]) == 1
    assert facts[0][0][1] == "2024-04-30"
    assert facts == [facts[0]] * 3  # the same event, known since April, in the newest run too
    assert job.misnamed() == ()
    attempts = [
        len(json.loads((output / "periods" / name / "run.json").read_text())["attempts"])
        for name in sorted(left)
    ]
    assert attempts == [1, 2, 2]  # those published before April was known, once more


def test_alerts_are_folded_once_over_all_dates(
    monthly_archive: Any, tmp_path: Path, without_prefect: None
) -> None:
    files = [monthly_archive.monitor_file(tmp_path / name) for name in ("live", "back")]
    for file in files:
        text = file.read_text().replace("[time]\n", '[time]\ncadence = "P1D"\n')
        file.write_text(f'{text}[alerts]\nconfirm = "2 of 2"\n')
    run_once(files[0], "2024-04-01/2024-06-30")
    job = Backfill.open(files[1], "2024-04-01", "2024-06-30")
    assert job.targets == tuple(
        f"2024-{month}-01/2024-{month}-{days}"
        for month, days in (("04", 30), ("05", 31), ("06", 30))
    )
    flows.backfill.backfill.fn(str(files[1]), "2024-04-01", "2024-06-30", "newest")
    live, output = tmp_path / "live" / "out", tmp_path / "back" / "out"
    assert products(output) == products(live)
    assert_arrays_same(output, live)
    assert not list(output.glob("periods/*/report.html"))


STRIPPED = """
import sys
import flows.backfill, flows.monitor
for name in ("search", "build_cube", "screen", "publish"):
    setattr(flows.monitor, name, getattr(flows.monitor, name).fn)
flows.backfill.backfill.fn(*sys.argv[1:])
"""


@pytest.mark.slow
def test_killed_twice_over_six_periods(monthly_archive: Any, tmp_path: Path) -> None:
    left = run_live(tmp_path / "live", monthly_archive, "2024-09-30")
    file = monthly_archive.monitor_file(tmp_path / "back")
    output = tmp_path / "back" / "out"
    days = ("2024-04-01", "2024-09-30", "shuffled")
    command = [sys.executable, "-c", STRIPPED, str(file), *days]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    for begun in (2, 4):
        process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        try:
            while len(list(output.glob("periods/*/run.json"))) < begun:
                assert process.poll() is None, "it ended before it was killed"
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
        assert not (output / "report.html").exists()
    subprocess.run(command, env=env, check=True)
    assert_same(output, tmp_path / "live" / "out", left)
    attempts = [
        {stage["name"]: stage["done"] for stage in attempt["stages"]}
        for log in output.glob("periods/*/run.json")
        for attempt in json.loads(log.read_text())["attempts"]
        if attempt["outcome"] == "done"
    ]
    assert len(attempts) > 6  # periods that were done before a kill are looked at again,
    assert sum(stages["screen"] for stages in attempts) <= 6  # and nothing is done for them
    assert sum(stages["cube sentinel-2"] for stages in attempts) <= 6 + 1  # with the baseline


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2024-04-31", "2024-05-01", "--from, --to: .*expected the first and the last day"),
        ("2024-05-01", "2024-04-01", "--from, --to: .*the end lies before the start"),
        ("2023-05-01", "2023-07-01", "share the period 2023-06"),
    ],
)
def test_wrong_ranges(
    monthly_archive: Any, tmp_path: Path, first: str, last: str, message: str
) -> None:
    file = monthly_archive.monitor_file(tmp_path)
    with pytest.raises(ConfigError, match=message):
        Backfill.open(file, first, last)
    with pytest.raises(ConfigError, match="order: found 'sideways'"):
        Backfill.open(file, "2024-04-01", "2024-04-30").ordered("sideways")
    assert not (tmp_path / "out").exists()
