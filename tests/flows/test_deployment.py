"""`deployments/prefect.yaml` on a real Prefect server: the schedule fires by itself."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from .test_train_flow import short_recipe

ROOT = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "prefect", "--no-prompt"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, seconds: float, look: Callable[[], Any]) -> Any:
    """Return what `look` returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if found := look():
                return found
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@contextlib.contextmanager
def running(command: list[str], log: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Keep a process while the block runs; in the end neither it nor a child of it is left."""
    with log.open("wb") as stream:
        process = psutil.Popen(
            command, cwd=log.parent, env=env, stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        yield
    except BaseException as error:
        error.add_note(f"{log.name}: {log.read_text(errors='replace')[-3000:]}")
        raise
    finally:
        family = [process, *process.children(recursive=True)]
        if process.is_running():
            process.send_signal(signal.SIGINT)
        _, left = psutil.wait_procs(family, timeout=30)
        for orphan in left:
            orphan.kill()
        psutil.wait_procs(left, timeout=10)
    assert not left, f"still running after Ctrl-C: {left}"


@pytest.fixture
def server(clean_environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start a server; yield the environment that leads to it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    env = clean_environment | {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    start = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with running(start, tmp_path / "server.log", env):
        wait_for("the server", 180, lambda: requests.get(f"{url}/health", timeout=5).ok)
        yield env | {"PREFECT_API_URL": url}


def test_the_schedule_fires_by_itself(
    server: dict[str, str], tiny_archive: Any, tmp_path: Path
) -> None:
    file = tiny_archive.monitor_file(tmp_path)
    chosen = {"TERRASCOPE_MONITOR_FILE": str(file), "TERRASCOPE_CRON": "* * * * *"}
    for command in (
        ["work-pool", "create", "--type", "process", "terrascope"],
        ["deploy", "--prefect-file", "deployments/prefect.yaml", "--name", "monitor"],
    ):
        subprocess.run([*PREFECT, *command], cwd=ROOT, env=server | chosen, check=True, timeout=120)

    def first_run() -> dict[str, Any] | None:
        # other tests' commands share the database
        query = {
            "deployments": {"name": {"any_": ["monitor"]}},
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": 1,
        }
        answer = requests.post(
            f"{server['PREFECT_API_URL']}/flow_runs/filter", json=query, timeout=10
        )
        runs = answer.json()
        over = runs and runs[0]["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        return runs[0] if over else None

    worker = [*PREFECT, "worker", "start", "--pool", "terrascope"]
    with running(worker, tmp_path / "worker.log", server):
        run = wait_for("a scheduled run", 300, first_run)
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        assert run["auto_scheduled"]
        assert run["parameters"] == {"file": str(file)}

    assert (tmp_path / "out" / "report.html").is_file()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["attempts"]

    deployment = requests.get(
        f"{server['PREFECT_API_URL']}/deployments/name/monitor/monitor", timeout=10
    ).json()
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"


@pytest.mark.slow
def test_every_deployment_runs_once(
    server: dict[str, str], tiny_archive: Any, tmp_path: Path
) -> None:
    out, copy, model = tmp_path / "out", tmp_path / "copy", tmp_path / "model"
    chosen = {
        "TERRASCOPE_MONITOR_FILE": str(tiny_archive.monitor_file(tmp_path)),
        "TERRASCOPE_CRON": "0 0 1 1 *",
        "TERRASCOPE_FROM": "2024-06-01",
        "TERRASCOPE_TO": "2024-06-30",
        "TERRASCOPE_OUTPUT": str(out),
        "TERRASCOPE_EXPORT": str(copy),
        "TERRASCOPE_RECIPE": str(short_recipe(tmp_path)),
        "TERRASCOPE_TRAIN_OUT": str(model),
    }
    for command in (
        ["work-pool", "create", "--type", "process", "terrascope"],
        ["deploy", "--prefect-file", "deployments/prefect.yaml", "--all"],
    ):
        subprocess.run([*PREFECT, *command], cwd=ROOT, env=server | chosen, check=True, timeout=240)
    api = server["PREFECT_API_URL"]

    def run(name: str, **parameters: Any) -> None:
        where = f"{api}/deployments/name/{name}/{name}"
        deployment = requests.get(where, timeout=10).json()
        started = requests.post(
            f"{api}/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": parameters, "state": {"type": "SCHEDULED"}},
            timeout=10,
        ).json()

        def ended() -> dict[str, Any] | None:
            found = requests.get(f"{api}/flow_runs/{started['id']}", timeout=10).json()
            over = found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            return found if over else None

        state = wait_for(f"the {name}", 600, ended)
        assert state["state_type"] == "COMPLETED", (name, state["state"]["message"])

    worker = [*PREFECT, "worker", "start", "--pool", "terrascope"]
    with running(worker, tmp_path / "worker.log", server):
        run("monitor")
        assert (out / "report.html").is_file()
        run("backfill")
        period = out / "periods" / "2024-06-01_2024-06-30"
        assert (period / "report.html").read_bytes() == (out / "report.html").read_bytes()
        run("export")
        assert (copy / "manifest.json").read_bytes() == (out / "manifest.json").read_bytes()
        run("train", items=0)
        assert (model / "model.safetensors").is_file()
