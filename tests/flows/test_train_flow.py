"""The training flow on the smoke recipe, with Prefect and without."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

import flows.train
from terrascope.train.recipe import read_recipe
from terrascope.train.records import read_records
from terrascope.train.run import write_recipe

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("make_data", "fit", "bench")


def short_recipe(folder: Path) -> Path:
    """Write the smoke recipe with two steps per stage."""
    recipe = read_recipe("smoke")
    stages = tuple(dataclasses.replace(stage, steps=2, warmup=0) for stage in recipe.stages)
    path = folder / "recipe.toml"
    write_recipe(dataclasses.replace(recipe, stages=stages), path)
    return path


def test_the_flow_runs_with_its_decorators_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TASKS:
        monkeypatch.setattr(flows.train, name, getattr(flows.train, name).fn)
    out = flows.train.train.fn(str(short_recipe(tmp_path)), str(tmp_path / "out"), items=0)
    assert len([r for r in read_records(Path(out)) if r["kind"] == "train"]) == 4
    assert (Path(out) / "model.safetensors").is_file()


@pytest.mark.slow
def test_data_training_and_bench_end_with_artifacts(prefect_api: None, tmp_path: Path) -> None:
    state = flows.train.train("smoke", str(tmp_path / "out"), items=12, return_state=True)
    assert state.is_completed(), state.message
    results = json.loads((tmp_path / "out" / "bench" / "results.json").read_text())
    assert results
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        keys = {artifact.key for artifact in client.read_artifacts()}
    assert {"train-data", "train-scores", "train-scores-curves", "train-bench"} <= keys


def test_the_deployment_names_the_flow() -> None:
    deployed = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    entry = next(one for one in deployed if one["name"] == "train")
    assert entry["entrypoint"] == "flows.train.train"
    assert set(entry["parameters"]) <= set(flows.train.train.parameters.properties)
