"""Runs that are killed with SIGKILL in every stage, and started again, end in the same bytes."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import psutil
import pytest
import zarr
from zarr.core.sync import sync

from terrascope.errors import StoreError
from terrascope.products.publish import check_published
from terrascope.store import Store

from .archive import Runner, write_archive, write_monitor

BATCHES = 6
SCREENS = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    write_archive(folder / "archive")
    return folder


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def undisturbed(root: Path, runner: Runner) -> tuple[Path, list[tuple[str, float]]]:
    """The output of a run that nobody disturbs, and how long each of its steps takes."""
    file = monitor(root, "undisturbed")
    steps = runner.attempt(file)
    assert steps[-1][0] == "done"
    return file.parent / "out", steps


def monitor(root: Path, name: str) -> Path:
    return write_monitor(root / name, "../archive/catalog.json")


def sessions(out: Path) -> tuple[icechunk.Repository, icechunk.Session]:
    storage = icechunk.local_filesystem_storage(str(out / "cube"))
    repository = icechunk.Repository.open(storage)
    return repository, repository.readonly_session("main")


def commits(out: Path) -> Counter[str]:
    """Messages of all commits: one for each batch, one for each declared group."""
    repository, _ = sessions(out)
    return Counter(info.message for info in repository.ancestry(branch="main"))


def written(out: Path) -> dict[str, dict[tuple[int, ...], np.ndarray]]:
    """Decode everything that was ever written to any array, the ledgers included."""
    _, session = sessions(out)
    group = zarr.open_group(session.store, mode="r")
    found = {}
    for path, node in group.members(max_depth=None):
        if isinstance(node, zarr.Array):
            places = sync(_collect(session, f"/{path}"))
            found[path] = {place: region(node, place) for place in sorted(places)}
    return found


async def _collect(session: icechunk.Session, path: str) -> list[tuple[int, ...]]:
    return [tuple(place) async for place in session.chunk_coordinates(path)]


def region(array: zarr.Array[Any], place: tuple[int, ...]) -> np.ndarray:
    sides = array.shards or array.chunks
    return np.asarray(
        array[tuple(slice(i * side, (i + 1) * side) for i, side in zip(place, sides, strict=True))]
    )


def products(out: Path) -> dict[str, bytes]:
    """Every file of the output but the store and the log of attempts."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and "cube" not in path.relative_to(out).parts and path.name != "run.json"
    }


def assert_same(out: Path, expected: Path) -> None:
    mine, theirs = products(out), products(expected)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []
    assert not check_published(out)
    got, wanted = written(out), written(expected)
    assert {p: list(v) for p, v in got.items()} == {p: list(v) for p, v in wanted.items()}
    for path, regions in got.items():
        for place, pixels in regions.items():
            np.testing.assert_array_equal(pixels, wanted[path][place], err_msg=f"{path} {place}")


def stages(out: Path) -> dict[str, dict[str, Any]]:
    """Counts of the last attempt."""
    attempt = json.loads((out / "run.json").read_text())["attempts"][-1]
    return {stage["name"]: stage for stage in attempt["stages"]}


def records(out: Path) -> Counter[str]:
    """Committed work items, by the stage that made them."""
    counts = Counter[str]()
    try:
        store = Store.open(str(out / "cube"), create=False)
    except StoreError:  # killed before there was one
        return counts
    for group in store.groups():
        counts[group.split("/")[0]] += len(store.records(group))
    return counts


def assert_nothing_done_twice(out: Path, before: Counter[str]) -> None:
    """What was committed `before` the last attempt was skipped by it; each batch has one commit."""
    last = stages(out)
    for group, name in (("sentinel-2", "cube sentinel-2"), ("sentinel-1", "cube sentinel-1")):
        assert last[name]["skipped"] == before[group]
        assert last[name]["done"] == last[name]["planned"] - before[group]
    assert last["screen"]["skipped"] == before["result"]
    made = commits(out)
    batches = {message: n for message, n in made.items() if "batch" in message}
    assert len(batches) == BATCHES + SCREENS
    assert set(made.values()) == {1}


def kill_once(steps: dict[str, float], share: float) -> Any:
    """Kill in the first of `steps` that begins, after a share of the time that it took before."""

    def kill(step: str) -> float | None:
        return share * steps.pop(step) if step in steps else None

    return kill


def test_killed_once_in_every_step(
    root: Path, runner: Runner, undisturbed: tuple[Path, list[tuple[str, float]]]
) -> None:
    expected, steps = undisturbed
    assert len([step for step, _ in steps if step.startswith("cube")]) == BATCHES
    rng = random.Random(2)
    file = monitor(root, "everywhere")
    out = file.parent / "out"
    left = {step: seconds for step, seconds in steps if step != "done"}
    kills = 0
    before = Counter[str]()
    last: list[tuple[str, float]] = []
    while not last or last[-1][0] != "done":
        before = records(out)
        last = runner.attempt(file, kill=kill_once(left, rng.uniform(0.05, 0.95)))
        kills += last[-1][0] != "done"
        assert len(json.loads((out / "run.json").read_text())["attempts"]) <= kills + 1
    assert kills >= 8
    assert_nothing_done_twice(out, before)
    assert_same(out, expected)


@pytest.mark.parametrize("seed", [1])
def test_killed_while_publishing(
    root: Path, runner: Runner, undisturbed: tuple[Path, list[tuple[str, float]]], seed: int
) -> None:
    """The report is whole at any moment, and a second run publishes the same bytes."""
    expected, steps = undisturbed
    rng = random.Random(seed)
    file = monitor(root, f"publishing-{seed}")
    out = file.parent / "out"
    shutil.copytree(expected / "cube", out / "cube")
    whole = dict(steps)["products"]
    for round_ in range(4):
        last = runner.attempt(
            file, kill=lambda step: rng.uniform(0, whole) if step == "products" else None
        )
        if (out / "report.html").exists():
            assert (out / "report.html").read_bytes() == (expected / "report.html").read_bytes()
        if last[-1][0] == "done":
            break
        assert round_ < 4
    assert runner.attempt(file)[-1][0] == "done"
    assert_same(out, expected)
    assert stages(out)["screen"]["done"] == 0


def test_a_finished_run_does_nothing(
    runner: Runner, undisturbed: tuple[Path, list[tuple[str, float]]]
) -> None:
    out, _ = undisturbed
    before = commits(out), {p: (out / p).stat().st_mtime_ns for p in products(out)}
    assert [step for step, _ in runner.attempt(out.parent / "monitor.toml")] == [
        "search",
        "products",
        "done",
    ]
    after = commits(out), {p: (out / p).stat().st_mtime_ns for p in products(out)}
    before[1].pop("items.parquet")
    after[1].pop("items.parquet")
    assert after == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_killed_again_and_again(
    root: Path, runner: Runner, undisturbed: tuple[Path, list[tuple[str, float]]], seed: int
) -> None:
    """Any moment of the whole run, as often as it takes."""
    expected, steps = undisturbed
    rng = random.Random(seed)
    file = monitor(root, f"soak-{seed}")
    out = file.parent / "out"
    total = sum(seconds for _, seconds in steps)
    last: list[tuple[str, float]] = []
    before = Counter[str]()
    while not last or last[-1][0] != "done":
        before = records(out)
        delay = rng.uniform(0.0, 0.6 * total)
        last = runner.attempt(file, kill=lambda _, delay=delay: delay)
    assert_nothing_done_twice(out, before)
    assert_same(out, expected)
    shutil.rmtree(file.parent)


def start_command(file: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "terrascope", "monitor", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment | {"OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"},
    )


def await_commits(out: Path, process: subprocess.Popen[str], count: int) -> None:
    """Wait until so many batches are committed."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if sum(records(out).values()) >= count:
            return
        time.sleep(0.2)  # each look opens the store: the command needs the processor more
    pytest.fail(f"ended with {process.poll()}: {process.communicate()}")


def test_command_interrupted_then_killed(
    root: Path,
    runner: Runner,
    undisturbed: tuple[Path, list[tuple[str, float]]],
    clean_environment: dict[str, str],
) -> None:
    """The command itself: Ctrl-C, then SIGKILL, then on to the end."""
    expected, _ = undisturbed
    file = monitor(root, "command")
    out = file.parent / "out"
    process = start_command(file, clean_environment)
    await_commits(out, process, 1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    printed, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert printed == ""
    lines = [line for line in complaint.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]
    assert lines == [
        "terrascope: interrupted; what was committed is kept, run the same command to go on"
    ]
    assert not members(process.pid)
    assert json.loads((out / "run.json").read_text())["outcome"] == "interrupted"
    assert not (out / "report.html").exists()
    kept = sum(records(out).values())
    process = start_command(file, clean_environment)
    await_commits(out, process, kept + 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = records(out)
    assert sum(before.values()) > kept
    assert runner.attempt(file)[-1][0] == "done"
    outcomes = [a["outcome"] for a in json.loads((out / "run.json").read_text())["attempts"]]
    assert outcomes == ["interrupted", "running", "done"]
    assert_nothing_done_twice(out, before)
    assert_same(out, expected)


def members(session: int) -> list[psutil.Process]:
    """Living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and os.getsid(process.pid) == session:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.parametrize(
    ("table", "values", "expected"),
    [
        ("time", {"target": "2024-07-31/2024-07-01"}, "time.target: found"),
        ("screen", {"treshold": 0.4}, "screen.treshold: unknown key"),
        ("area", {"bbox": [17.9, 85.0, 18.0, 86.0]}, "84"),
    ],
)
def test_wrong_monitor_file(
    tmp_path: Path,
    clean_environment: dict[str, str],
    table: str,
    values: dict[str, Any],
    expected: str,
) -> None:
    file = write_monitor(tmp_path, "archive/catalog.json", **{table: values})
    before = sorted(tmp_path.rglob("*"))
    process = start_command(file, clean_environment)
    printed, complaint = process.communicate(timeout=100)
    assert process.returncode == 2, complaint
    assert len(complaint.splitlines()) == 1
    assert expected in complaint
    assert printed == ""
    assert sorted(tmp_path.rglob("*")) == before
