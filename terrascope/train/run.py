"""A training run from recipe to model folder."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from terrascope import __version__
from terrascope.errors import ModelError
from terrascope.train.building import answer_ids, build_model, save_model, trace_ids
from terrascope.train.loop import Source, Trainer
from terrascope.train.recipe import Recipe
from terrascope.train.records import draw_curves, read_records

__all__ = ["train", "write_recipe"]

_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "scipy", "safetensors")


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    source: Source | None = None,
    command: Sequence[str] = (),
    cpu: bool = False,
) -> Path:
    """Train a model.

    Parameters
    ----------
    recipe : Recipe
        What is done.
    out : Path
        Folder for the model, checkpoints and metrics.
    resume : bool
        Go on where a run in `out` was stopped; without it such a run is an error.
    source : Source or None
        Of the batches; None for that of the recipe's stages.
    command : sequence of str
        That is written into ``training.json``; by default that of this process.
    cpu : bool
        Stay on the processor.

    Returns
    -------
    out : Path
        ``model.safetensors``, ``config.json``, the files of the tokenizer and the processor,
        ``recipe.toml``, ``training.json``, ``metrics.jsonl``, ``curves.png``.

    Raises
    ------
    ModelError
        If `out` holds a run and `resume` is not asked for, or a run of another recipe.
    """
    if not resume and any((out / "checkpoints").glob("step-*")):
        raise ModelError(f"{out} holds a run: go on with it (--resume) or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    model, tokenizer, processor = build_model(recipe)
    if source is None:
        from terrascope.train.sources import open_source

        source = open_source(recipe, tokenizer)
    trainer = Trainer(
        recipe, model, source, answer_ids(tokenizer), trace_ids(tokenizer), out, cpu=cpu
    )
    trainer.run(resume=resume)
    if trainer.is_main:
        save_model(out, model, tokenizer, dataclasses.replace(processor, size_px=recipe.window_px))
        write_recipe(recipe, out / "recipe.toml")
        facts = _facts(recipe, trainer.progress.seconds, command or sys.argv)
        facts |= {"scores": _last_scores(out), "processes": trainer.accelerator.num_processes}
        (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        draw_curves(out, recipe)
    trainer.accelerator.wait_for_everyone()
    return out


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as TOML, defaults included; `read_recipe` gives the same value.

    Parameters
    ----------
    recipe : Recipe
        What is written.
    path : Path
        The file.
    """
    plain: list[str] = []
    tables: list[str] = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if field.name == "stages":
            for stage in value:
                tables += ["", "[[stages]]", *_lines(dataclasses.asdict(stage))]
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            tables += ["", f"[{field.name}]", *_lines(dataclasses.asdict(value))]
        elif isinstance(value, dict):
            tables += ["", f"[{field.name}]", *_lines(value)]
        else:
            plain += _lines({field.name: value})
    path.write_text("\n".join([*plain, *tables]) + "\n", encoding="utf-8")


def _lines(table: dict[str, Any]) -> list[str]:
    """Write plain values; JSON writes keys, strings, numbers and lists as TOML does."""
    said = {key: value for key, value in table.items() if value is not None}
    return [
        f"{key if key.isidentifier() else json.dumps(key)} = {_written(value)}"
        for key, value in said.items()
    ]


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(_lines(dict(value))) + "}"
    return json.dumps(value)


def _facts(recipe: Recipe, seconds: float, command: Sequence[str]) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "recipe": recipe.digest,
        "steps": recipe.steps,
        "seconds": round(seconds, 1),
        "command": list(command),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "terrascope": __version__,
        "commit": _commit(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
    }


def _commit() -> str | None:
    """Return the commit of the source tree this runs from; None where it is no source tree."""
    root = Path(__file__).resolve().parents[2]
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError:
        return None
    tracked = (root / ".git").exists() and done.returncode == 0
    return done.stdout.strip() or None if tracked else None


def _last_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Return the last validation of every stage."""
    looks = [record for record in read_records(folder) if record["kind"] == "validation"]
    kept = ("kind", "step", "stage")
    return {look["stage"]: {k: v for k, v in look.items() if k not in kept} for look in looks}
