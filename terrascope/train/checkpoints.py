"""What a killed run goes on from: tensors in safetensors, all else in JSON, nothing half written.

A checkpoint is written beside its place and renamed into it. Where a run is in its data and in
its randomness follows from the number of the step alone (`terrascope.train.loop`), so a
checkpoint holds weights, their mean, and the moments of the optimizer.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from terrascope.errors import ModelError
from terrascope.train.optimization import WeightMean

__all__ = ["Progress", "latest_checkpoint", "load_checkpoint", "save_checkpoint"]

_WEIGHTS, _MEAN, _MOMENTS, _STATE = (
    "weights.safetensors",
    "mean.safetensors",
    "moments.safetensors",
    "state.json",
)


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run is.

    Parameters
    ----------
    stage : int
        Index of the stage.
    step : int
        Steps of this stage that are done.
    total : int
        Steps that are done in all stages.
    seconds : float
        Spent on them, over all attempts.
    recipe : str
        Digest of the recipe up to this stage (`terrascope.train.recipe.Recipe.digest_of`).
    """

    stage: int
    step: int
    total: int
    seconds: float
    recipe: str


def save_checkpoint(
    folder: Path,
    progress: Progress,
    model: nn.Module,
    mean: WeightMean,
    optimizer: torch.optim.Optimizer | None,
    *,
    keep: int,
) -> Path:
    """Write a checkpoint, and remove old ones.

    Parameters
    ----------
    folder : Path
        Of the checkpoints.
    progress : Progress
        Where the run is.
    model : Module
        Not wrapped; what adapters hold still is not saved.
    mean : WeightMean
        Of its weights.
    optimizer : Optimizer or None
        Of the stage; None between stages.
    keep : int
        Checkpoints that are kept, this one included.

    Returns
    -------
    path : Path
        Of this checkpoint.
    """
    place = folder / f"step-{progress.total:07d}"
    fresh = folder / f".writing-{progress.total:07d}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    own = dict(model.named_parameters())
    _write_tensors(fresh / _WEIGHTS, {name: own[name] for name in mean.weights})
    _write_tensors(fresh / _MEAN, mean.weights)
    moments = {} if optimizer is None else _moments(model, optimizer)
    _write_tensors(fresh / _MOMENTS, moments)
    state = dataclasses.asdict(progress) | {"mean_steps": mean.steps}
    (fresh / _STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    for file in fresh.iterdir():
        _sync(file)
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)
    _sync(folder)
    for old in _complete(folder)[:-keep]:
        shutil.rmtree(old)
    return place


def latest_checkpoint(folder: Path) -> Path | None:
    """Find the last complete checkpoint.

    Parameters
    ----------
    folder : Path
        Of the checkpoints; what was left half written in it is removed.

    Returns
    -------
    path : Path or None
        None where there is none.
    """
    for half in folder.glob(".writing-*"):
        shutil.rmtree(half, ignore_errors=True)
    found = _complete(folder)
    return found[-1] if found else None


def read_progress(path: Path) -> Progress:
    """Read where a checkpoint stands.

    Parameters
    ----------
    path : Path
        Of the checkpoint.

    Returns
    -------
    progress : Progress
        As it was saved.
    """
    state = json.loads((path / _STATE).read_text(encoding="utf-8"))
    state.pop("mean_steps")
    return Progress(**state)


@torch.no_grad()
def load_checkpoint(
    path: Path, model: nn.Module, mean: WeightMean, optimizer: torch.optim.Optimizer | None = None
) -> Progress:
    """Read a checkpoint into a run.

    Parameters
    ----------
    path : Path
        Of the checkpoint.
    model : Module
        Changed.
    mean : WeightMean
        Changed.
    optimizer : Optimizer or None
        Changed; None leaves the moments alone.

    Returns
    -------
    progress : Progress
        Where the run was.

    Raises
    ------
    ModelError
        If the checkpoint is of another model.
    """
    state = json.loads((path / _STATE).read_text(encoding="utf-8"))
    weights, means = load_file(path / _WEIGHTS), load_file(path / _MEAN)
    own = dict(model.named_parameters())
    for name in mean.weights:
        parameter, found = own[name], weights.get(name)
        if found is None or found.shape != parameter.shape or len(weights) != len(means):
            raise ModelError(f"{path}: holds another model ({name}); start the run in a new folder")
        parameter.copy_(found)
        mean.weights[name].copy_(means[name])
    mean.steps = int(state.pop("mean_steps"))
    if optimizer is not None:
        _restore_moments(model, optimizer, load_file(path / _MOMENTS))
    return Progress(**state)


def _complete(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if (path / _STATE).is_file())


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name the optimizer's tensors after their parameters."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_moments(
    model: nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]
) -> None:
    own = dict(model.named_parameters())
    states: dict[str, dict[str, Any]] = {}
    for key, value in moments.items():
        name, _, moment = key.rpartition("/")
        states.setdefault(name, {})[moment] = value
    for name, state in states.items():
        parameter = own[name]
        # In the memory layout of the parameter: the fused optimizer goes through both in order.
        optimizer.state[parameter] = {
            key: value.clone() if key == "step" else torch.empty_like(parameter).copy_(value)
            for key, value in state.items()
        }


def _write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    save_file({k: v.detach().contiguous().cpu().clone() for k, v in tensors.items()}, path)


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
