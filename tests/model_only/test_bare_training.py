"""Simulator, data, training and evaluation on a bare GPU machine: no geospatial package at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .test_bare_machine import bare_site

MORE = ("scipy", "pyarrow", "accelerate", "matplotlib")
BLOCKED = "rasterio xarray dask zarr icechunk prefect odc geopandas pandas shapely pyproj pystac"

USE = f"""
import dataclasses, importlib, pkgutil, sys
from pathlib import Path
for name in {BLOCKED!r}.split():
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{{name}} came through: this machine is not bare")

import terrascope.data, terrascope.evaluation, terrascope.sim, terrascope.train
for room in (terrascope.sim, terrascope.data, terrascope.train, terrascope.evaluation):
    for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        real = ".adapters" in found.name or ".real_" in found.name or "boosting" in found.name
        if not real and not found.name.endswith((".lora", ".bench", ".command")):
            importlib.import_module(found.name)

from terrascope.train.recipe import read_recipe
from terrascope.train.records import read_records
from terrascope.train.run import train
recipe = read_recipe("smoke")
stages = tuple(dataclasses.replace(s, steps=1, warmup=0, batch=1) for s in recipe.stages)
out = train(dataclasses.replace(recipe, stages=stages), Path("out"), cpu=True)
print("steps:", sum(record["kind"] == "train" for record in read_records(out)))
"""


def test_sim_data_train_and_evaluation_work_on_a_bare_machine(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    done = subprocess.run(
        [sys.executable, "-S", "-c", USE],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(bare_site(site, MORE))},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "steps: 2" in done.stdout
