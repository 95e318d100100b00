"""The rooms of the package and which way they may look: the table of ARCHITECTURE.md, enforced."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "terrascope"

EVERYONE = {"errors", "types", "sensors", "periods", "redact", "vocabulary"}
ALLOWED: dict[str, set[str]] = {
    "kernels": set(),
    "sim": {"kernels"},
    "geo": set(),
    "catalog": {"geo"},
    "readers": {"geo", "kernels"},
    "store": {"geo", "kernels"},
    "cube": {"kernels", "geo", "catalog", "readers", "store"},
    "model": set(),
    "data": {"kernels", "sim", "model"},
    "train": {"model", "data"},
    "evaluation": {"kernels", "sim", "model", "data"},
    "registry": {"model"},
    "monitor": {"kernels", "geo", "store", "cube", "model", "registry"},
    "products": {"kernels", "geo", "store", "monitor"},
}
"""What each room may import, besides itself and the vocabulary everyone shares."""

TOP_LEVEL = {
    "__init__",
    "__main__",
    "access",
    "backfill",
    "config",
    "cli",
    "demo",
    "progress",
    "summarise",
    "watch",
}
"""Modules that join rooms; `cli` alone may import the flows."""

FORBIDDEN_EVERYWHERE = {"prefect", "pickle", "flows"}
THIRD_PARTY = {
    **{room: {"numpy"} for room in EVERYONE},
    "kernels": {"numpy", "scipy"},
    "sim": {"numpy", "scipy"},
    "data": {"numpy", "scipy", "pyarrow", "torch", "transformers"},
    "evaluation": {
        *("numpy", "scipy", "pyarrow", "torch", "transformers", "safetensors", "matplotlib"),
        *("PIL", "lightgbm"),
    },
    "model": {"torch", "transformers", "numpy", "safetensors"},
}
"""What rooms that have to work without the geospatial stack may import of others."""
GEOSPATIAL = ["rasterio", "xarray", "dask", "zarr", "icechunk", "prefect", "odc", "geopandas"]
GEOSPATIAL += ["pandas", "shapely", "pyproj", "pystac", "stackstac"]
REAL_DATA = {"geo", "readers", "store", "cube"}
"""What `evaluation/real_*.py` and `data/adapters` may import besides: real rasters."""
OPENS_RASTERS = {"readers", "products", "demo"}
WRITES_ZARR = {"store"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def is_real_data(path: Path) -> bool:
    """Tell whether a module brings in real rasters: the rest of its room works without them."""
    adapts = room_of(path) == "data" and "adapters" in path.parts
    return adapts or (room_of(path) == "evaluation" and path.name.startswith("real_"))


def imports_of(path: Path) -> set[str]:
    """Every imported module, those inside functions and TYPE_CHECKING blocks included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            assert node.module is not None
            found.add(node.module)
            if node.module == "terrascope":
                found |= {f"terrascope.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    room = room_of(path)
    real = REAL_DATA if is_real_data(path) else set()
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] in FORBIDDEN_EVERYWHERE:
            assert room == "cli", f"{path.name} imports {name}"
            assert parts[0] != "pickle", f"{path.name} imports {name}"
        if parts[0] != "terrascope" or len(parts) == 1 or room in TOP_LEVEL:
            continue
        other = parts[1]
        if other.startswith("__") or other in EVERYONE or other == room:
            continue
        assert room not in EVERYONE, f"{room} is everyone's vocabulary, but imports {name}"
        assert room in ALLOWED, f"{room} is not in the table"
        assert other in ALLOWED[room] | real, f"{room} may not import {name} ({path.name})"


def test_every_room_is_in_the_table() -> None:
    rooms = {room_of(path) for path in modules()} - {"__init__"} - EVERYONE - TOP_LEVEL
    assert rooms <= set(ALLOWED), rooms - set(ALLOWED)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_readers_and_products_touch_raster_files(path: Path) -> None:
    if room_of(path) in OPENS_RASTERS:
        return
    source = path.read_text(encoding="utf-8")
    assert "rasterio.open" not in source, f"{path} opens rasters"
    if room_of(path) not in WRITES_ZARR:
        assert not {n for n in imports_of(path) if n.split(".")[0] in ("zarr", "icechunk")}, path


@pytest.mark.parametrize("room", sorted(THIRD_PARTY))
def test_the_core_imports_little(room: str) -> None:
    for path in modules():
        if room_of(path) == room and not is_real_data(path):
            third_party = {n.split(".")[0] for n in imports_of(path)} - set(sys.stdlib_module_names)
            assert third_party - {"terrascope"} <= THIRD_PARTY[room], path


def test_the_core_works_without_the_geospatial_stack() -> None:
    """Simulation and scoring, and whatever they import, in a process where it is blocked."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if room_of(path) in THIRD_PARTY and not is_real_data(path)
    ]
    assert {"terrascope.sim.optical", "terrascope.evaluation.metrics"} <= set(names)
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({GEOSPATIAL!r}))\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_rooms_without_a_name_that_says_what_is_inside() -> None:
    stems = {path.stem for path in modules()} | {p.name for p in PACKAGE.rglob("*") if p.is_dir()}
    assert not stems & {"utils", "helpers", "common", "misc", "manager"}


def test_importing_the_package_and_asking_for_help_stay_light() -> None:
    heavy = ["torch", "transformers", "prefect", "dask", "xarray", "rasterio", "zarr", "geopandas"]
    heavy += ["pandas", "scipy"]
    code = (
        "import sys, terrascope, terrascope.cli\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_flows_hold_no_logic_of_their_own() -> None:
    """A flow may import terrascope and prefect; nothing of the library may import a flow."""
    for path in sorted((ROOT / "flows").glob("*.py")):
        third_party = {n.split(".")[0] for n in imports_of(path)} - set(sys.stdlib_module_names)
        assert third_party <= {"terrascope", "prefect", "flows"}, f"{path}: {third_party}"
