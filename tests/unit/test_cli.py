"""The command line as a process: exit codes, one clear line, nothing written on a wrong file."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from terrascope import __version__

COMMAND = [sys.executable, "-m", "terrascope"]


def run(*arguments: str, code: int, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, **options
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_version_and_help() -> None:
    assert run("--version", code=0).stdout.strip() == f"terrascope {__version__}"
    page = run("--help", code=0).stdout
    assert all(name in page for name in ("monitor", "plan", "demo", "serve-catalog"))


def test_usage_errors_are_code_2() -> None:
    for arguments in (("watch",), ("monitor",), ("plan", "a.toml", "--fast")):
        assert run(*arguments, code=2).stderr


@pytest.mark.parametrize("command", ["monitor", "plan"])
def test_a_wrong_file_is_code_2_and_one_line(
    command: str, tiny_archive: Any, tmp_path: Path
) -> None:
    file = tiny_archive.monitor_file(tmp_path)
    text = file.read_text(encoding="utf-8").replace("resolution_m = 60", "resolution_m = 55")
    file.write_text(text, encoding="utf-8")
    message = run(command, str(file), code=2).stderr.strip()
    assert message.startswith(f"terrascope: {file}: area.resolution_m: found 55; expected")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == [file]


def test_a_plan_is_printed_and_nothing_written(tiny_archive: Any, tmp_path: Path) -> None:
    file = tiny_archive.monitor_file(tmp_path)
    lines = run("plan", str(file), code=0).stdout.splitlines()
    assert lines[0].startswith("tiny: ")
    assert any(line.startswith("sentinel-2: 1 tiles x 2 periods, 2 scenes") for line in lines)
    assert list(tmp_path.iterdir()) == [file]


def test_an_absent_catalog_is_code_1(tiny_archive: Any, tmp_path: Path) -> None:
    file = tiny_archive.monitor_file(tmp_path)
    text = file.read_text(encoding="utf-8").replace(str(tiny_archive.directory), "/nowhere/stac")
    file.write_text(text, encoding="utf-8")
    message = run("plan", str(file), code=1).stderr.strip()
    assert message.startswith("terrascope: ")
    assert "/nowhere/stac" in message


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        ("errors.IncompleteError('4 of 9', completeness=0.4)", 3, "terrascope: 4 of 9"),
        ("errors.StoreError('the disk is full')", 1, "terrascope: the disk is full"),
        ("KeyboardInterrupt()", 130, "terrascope: interrupted; what was committed is kept"),
    ],
)
def test_ends_of_a_run(
    tiny_archive: Any, tmp_path: Path, raised: str, code: int, says: str
) -> None:
    script = (
        "from terrascope import cli, errors\n"
        "def end(file, dask):\n"
        f"    raise {raised}\n"
        "cli._run_flow = end\n"
        "cli.main()\n"
    )
    file = tiny_archive.monitor_file(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", script, "monitor", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.strip().splitlines()[-1].startswith(says)
    assert "Traceback" not in done.stderr


def test_a_server_stops_when_it_is_asked_to(tiny_archive: Any) -> None:
    command = [*COMMAND, "serve-catalog", str(tiny_archive.directory), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("serving 2 items")
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=60)
    assert server.returncode in (0, 130)
    assert "Traceback" not in errors
