"""The wheel, installed away from the repository: complete, and it works."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=300)
    (built,) = out.glob("terrascope-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel where the dependencies are at hand, but not the editable package.

    Paths of a ``.pth`` file follow the environment's own, and no ``.pth`` in them is read.
    """
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, timeout=300)
    site = next((home / "lib").glob("python3*/site-packages"))
    shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(shared)) + "\n")
    return home


def run(home: Path, command: list[str], *, timeout: float = 300) -> str:
    """Run a program of the environment from its own folder; return what it prints."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PREFECT_"))}
    # rustac, of the dependencies, comes as a program.
    env["PATH"] = os.pathsep.join(
        [str(home / "bin"), sysconfig.get_path("scripts"), env.get("PATH", "")]
    )
    env["PREFECT_HOME"] = str(home.parent / "prefect")
    program, *arguments = command
    done = subprocess.run(
        [str(home / "bin" / program), *arguments],
        cwd=home.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_wheel_holds_all_that_is_needed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(path.relative_to(ROOT))
        for room in ("terrascope", "flows")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    profiles = {f"terrascope/catalog/profiles/{path.name}" for path in ROOT.glob("catalogs/*.toml")}
    assert sources | profiles <= names
    assert len(profiles) >= 4
    assert {"terrascope/py.typed", "terrascope/products/templates/report.html.j2"} <= names
    rooms = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert rooms == {"terrascope", "flows"}


def test_the_installed_package_is_the_one_that_runs(installed: Path) -> None:
    code = (
        "import pathlib, sys, terrascope, flows.monitor\n"
        "from terrascope.catalog.profile import list_profiles\n"
        "homes = {pathlib.Path(m.__file__).parents[1] for m in (terrascope, flows.monitor)}\n"
        "assert all(p.is_relative_to(sys.prefix) for p in homes), homes\n"
        "print(*sorted(list_profiles()))"
    )
    assert run(installed, ["python", "-c", code]).split() == sorted(
        path.stem for path in ROOT.glob("catalogs/*.toml")
    )


def test_help_and_plan_away_from_the_repository(
    installed: Path, tiny_archive: Any, tmp_path: Path
) -> None:
    assert "monitor" in run(installed, ["terrascope", "--help"])
    said = run(installed, ["terrascope", "plan", str(tiny_archive.monitor_file(tmp_path))])
    assert "2 scenes -> 2 work items" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_demo_away_from_the_repository(installed: Path, tmp_path: Path) -> None:
    said = run(installed, ["terrascope", "demo", "--output", str(tmp_path / "demo")], timeout=1800)
    report = Path(said.strip().splitlines()[-1].removeprefix("report: "))
    assert report == tmp_path / "demo" / "result" / "report.html"
    assert report.stat().st_size > 10_000
