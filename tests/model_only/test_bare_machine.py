"""The model's rooms on a bare machine: torch, transformers, numpy, safetensors, nothing else."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = ("torch", "transformers", "numpy", "safetensors")

USE = """
import importlib, pkgutil
for name in "rasterio xarray scipy dask zarr prefect pyproj shapely pandas pyarrow".split():
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} came through: this machine is not bare")

import numpy as np, torch
import terrascope.model

for found in pkgutil.walk_packages(terrascope.model.__path__, "terrascope.model."):
    importlib.import_module(found.name)

from terrascope.model.forms import Form
from terrascope.model.grammar import Grammar, Words
from terrascope.model.measurer import MaskMeasurer, valid_pixels
from terrascope.model.measure import measure
from terrascope.model.pictures import to_pictures
from terrascope.model.processing_terrascope import Geometry, Stack, TerrascopeProcessor, Window
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.vocabulary import AnswerKind

rng = np.random.default_rng(0)
ground = Geometry.geographic((24, 24), 50.0, (1e-4, 1e-4))
optical = Stack(
    "sentinel-2", rng.uniform(0.02, 0.3, (1, 1, 24, 24)), ["nir"], ["2021-06-01"], "reflectance"
)
radar = Stack("sentinel-1", rng.normal(-12, 2, (1, 1, 24, 24)), ["vv"], ["2021-06-02"], "dB")
windows = TerrascopeProcessor(size_px=32)([Window(ground, optical, radar)])
assert windows.present.all()
assert to_pictures(windows, 48)[0].shape == (1, 1, 2, 3, 48, 48)
found = measure(torch.rand(32, 32), valid_pixels(windows, 0, 0), windows.geometry[0])
assert found.area_m2.low < found.area_m2.expected < found.area_m2.high

tokenizer = NanoTokenizer()
grammar = Grammar(Words(tokenizer), Form(AnswerKind.NUMBER_UNIT), dates=2, max_trace_tokens=20)
state, said = grammar.start, []
while (allowed := grammar.allowed(state)).any():
    token = int(torch.randn(len(tokenizer)).masked_fill(~allowed, -torch.inf).argmax())
    state = grammar.advance(state, token)
    said.append(token)
print("answer:", grammar.parse(said)[1])
"""


def required(name: str, found: dict[str, metadata.Distribution]) -> None:
    """Collect a distribution and what it requires itself: that comes along on any machine."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return
    try:
        found[key] = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return  # a requirement for other machines
    for line in found[key].requires or ():
        named = re.match(r"[A-Za-z0-9._-]+", line)
        if named and "extra ==" not in line:
            required(named[0], found)


def bare_site(folder: Path, more: tuple[str, ...] = ()) -> Path:
    """Make a folder of installed packages that holds the allowed distributions only."""
    found: dict[str, metadata.Distribution] = {}
    for name in (*ALLOWED, *more):
        required(name, found)
    assert set(ALLOWED) <= set(found)
    for one in found.values():
        tops = {file.parts[0] for file in one.files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(one.locate_file(top))))
    (folder / "terrascope").symlink_to(ROOT / "terrascope")
    return folder


def test_everything_imports_and_works_on_a_bare_machine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", USE],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(bare_site(tmp_path))},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "answer: NumberAnswer" in done.stdout
