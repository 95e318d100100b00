"""A scheduler and workers of their own, killed at the worst moment: nothing is lost or doubled.

Workers meet the fault where links are signed, which is called on them whenever a scene is opened.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pyarrow.parquet
import pytest

from terrascope.cube.executor import DaskExecutor, Executor, ThreadExecutor
from terrascope.cube.units import ReaderSettings
from terrascope.errors import WorkerError
from terrascope.periods import Cadence
from terrascope.watch import MonitorRun

from .archive import BASELINE_DAYS, TARGET_DAYS, Scene, write_archive, write_monitor
from .test_kill_and_resume import assert_same, commits, records, written

ROOT = Path(__file__).resolve().parents[2]
HOST = "http://archive.test"
FAULTY = f"S2A_34UYR_{BASELINE_DAYS[0].replace('-', '')}_0_L2A"
"""Of the eastern zone; it reaches into the western one."""
JUNE = Cadence.parse("P1M").index(dt.date(2023, 6, 8))
Sign = Callable[[str], str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")

    def spoil(scenes: dict[str, Scene]) -> None:
        for scene in scenes.values():
            for band, asset in scene.item["assets"].items():
                asset["href"] = f"{HOST}{scene.raster(band)}"

    write_archive(folder / "archive", radar=False, spoil=spoil)
    return folder


def plain(address: str) -> str:
    return address.removeprefix("http://archive.test")


def take(
    root: Path, name: str, executor: Executor, sign: Sign = plain, *, publish: bool = True
) -> Path:
    """Take a monitor from its search to its report, or to its maps."""
    file = write_monitor(
        root / name, root / "archive", radar=False, run={"minimum_completeness": 0.5}
    )
    run = MonitorRun.open(file)
    run.reader = ReaderSettings(sign=sign)
    with run.logged():
        run.search()
        for sensor, index in run.pending_cube_batches():
            run.build_cube(sensor, index, executor)
        for index in run.pending_screen_batches():
            run.screen(index, executor)
        if publish:
            run.publish()
    return run.output


def assert_same_store(out: Path, expected: Path) -> None:
    """All that was ever written, pixels and ledgers, is the same; each commit was made once."""
    assert set(commits(out).values()) == {1}
    got, wanted = written(out), written(expected)
    assert {path: list(places) for path, places in got.items()} == {
        path: list(places) for path, places in wanted.items()
    }
    for path, regions in got.items():
        for place, pixels in regions.items():
            np.testing.assert_array_equal(pixels, wanted[path][place], err_msg=f"{path} {place}")


@pytest.fixture(scope="module")
def undisturbed(root: Path) -> Path:
    return take(root, "undisturbed", ThreadExecutor(1))


class Cluster:
    """A scheduler on a port of its own, and two workers that are started anew when they die."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, workers: int = 2) -> None:
        scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--no-dashboard"]
        self._start(*scheduler, "--port", str(self.port))
        command = ["distributed.cli.dask_worker", self.address, "--nworkers", str(workers)]
        more = ["--no-dashboard", "--local-directory", str(self._folder), "--memory-limit", "0"]
        self._start(*command, "--nthreads", "1", *more)

    def _start(self, *command: str) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            # Dask gives a call up with its first dead worker: else each takes four with it
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "critical",
        }
        with (self._folder / "log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-m", *command],
                    cwd=ROOT,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def wait(self) -> None:
        """Wait until the scheduler listens."""
        for _ in range(1200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        pytest.fail((self._folder / "log").read_text(errors="replace")[-2000:])

    def kill(self) -> None:
        """Kill all of it, workers' children included."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
def executor(cluster: Cluster) -> Iterator[DaskExecutor]:
    cluster.wait()
    with distributed.Client(cluster.address, timeout="60s", set_as_default=False) as client:
        client.wait_for_workers(2, timeout=240)
        executor = DaskExecutor(client)
        yield executor
        executor.close()


def log_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    return found


def scenes_of(out: Path, tiles: set[str]) -> list[list[str]]:
    """Scenes planned for each of some tiles."""
    table = pyarrow.parquet.read_table(out / "tiles.parquet").to_pylist()
    return [row["items"] for row in table if row["tile"] in tiles]


def sabotage(scene: str, what: str, flag: Path | None = None) -> Sign:
    """Sign links; at those of one scene die or fail, once if there is a flag, else always."""

    def sign(address: str) -> str:
        import os
        import signal

        def first() -> bool:
            if flag is None:
                return True
            try:
                os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return False
            return True

        if scene in address and first():
            if what == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("a mistake of ours")
        return address.removeprefix("http://archive.test")

    return sign


def test_a_worker_killed_in_the_middle_of_a_batch(
    root: Path, undisturbed: Path, executor: DaskExecutor, tmp_path: Path
) -> None:
    flag = tmp_path / "died"
    out = take(root, "worker", executor, sabotage(FAULTY, "die", flag), publish=False)
    assert flag.exists()
    assert_same_store(out, undisturbed)


@pytest.mark.parametrize("what", ["die", "fail"])
def test_work_that_always_ends_so_is_named_and_the_rest_is_done(
    root: Path, undisturbed: Path, request: pytest.FixtureRequest, what: str
) -> None:
    """Every time its worker dies of it, or it fails: that tile's month alone is left out."""
    executor = request.getfixturevalue("executor") if what == "die" else ThreadExecutor(2)
    out = take(root, f"always-{what}", executor, sabotage(FAULTY, what))
    log, whole = log_of(out), log_of(undisturbed)
    store = MonitorRun.open(out.parent / "monitor.toml").store
    failed = [
        record
        for group in store.groups()
        if group.startswith("sentinel-2/")
        for record in store.records(group).values()
        if not record.done
    ]
    guilty = {record.tile for record in failed}
    assert {record.period for record in failed} == {JUNE}
    assert all(FAULTY in items for items in scenes_of(out, guilty))
    assert {tile[:3] for tile in guilty} >= {"34N"}
    assert {q["item"] for q in log["quarantined"]} == guilty
    said = "its worker ended each time" if what == "die" else "RuntimeError: a mistake of ours"
    for entry in log["quarantined"]:
        assert said in entry["cause"]
        assert "2023-06" in entry["cause"]
    lost = whole["completeness"]["planned"] - log["completeness"]["committed"]
    assert 0 < lost == len(guilty) == len(failed)
    assert records(out) == records(undisturbed)
    assert set(commits(out).values()) == {1}
    for tile in guilty:
        assert tile in (out / "report.html").read_text()
    # when the cause is gone, the next run makes up for it, and nothing else
    take(root, f"always-{what}", ThreadExecutor(1))
    assert_same(out, undisturbed)
    stages = {stage["name"]: stage["done"] for stage in log_of(out)["attempts"][-1]["stages"]}
    assert stages["cube sentinel-2"] == len(guilty)


def waits(started: Path, go: Path) -> Sign:
    """Sign links; those of the target wait until they may go on."""

    def sign(address: str) -> str:
        import time

        if f"34UYR_{TARGET_DAYS[0].replace('-', '')}_" in address and not go.exists():
            started.touch()
            while not go.exists():
                time.sleep(0.05)
        return address.removeprefix("http://archive.test")

    return sign


@pytest.mark.parametrize("comes_back", [True, False])
def test_the_scheduler_is_lost(
    root: Path, undisturbed: Path, tmp_path: Path, comes_back: bool
) -> None:
    """It is killed with its workers: the run waits for another, or ends and goes on later."""
    started, go = tmp_path / "started", tmp_path / "go"
    cluster = Cluster(tmp_path)
    cluster.start(workers=1)
    name = f"scheduler-{comes_back}"

    over = threading.Event()

    def strike() -> None:
        while not started.exists():
            if over.wait(0.05):
                return
        cluster.kill()
        go.touch()
        if comes_back:
            cluster.start(workers=1)

    thread = threading.Thread(target=strike)
    try:
        cluster.wait()
        # so short that it gives up before another scheduler has started
        client = distributed.Client(cluster.address, timeout="10s", set_as_default=False)
        client.wait_for_workers(1, timeout=240)
        executor = DaskExecutor(client, patience_s=300.0 if comes_back else 6.0)
        thread.start()
        if comes_back:
            out = take(root, name, executor, waits(started, go), publish=False)
        else:
            with pytest.raises(WorkerError, match="was lost, and none") as caught:
                take(root, name, executor, waits(started, go), publish=False)
            assert caught.value.transient
            out = root / name / "out"
            assert log_of(out)["outcome"] == "failed"
            before = sum(records(out).values())  # nothing of a batch that was under way
            take(root, name, ThreadExecutor(1), publish=False)
            skipped = [s["skipped"] for s in log_of(out)["attempts"][-1]["stages"]]
            assert sum(skipped) == before
        executor.close()
        client.close(timeout=1)
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()
        cluster.kill()
    assert_same_store(out, undisturbed)
