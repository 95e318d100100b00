"""What `terrascope train` and the flow call: paths and names in, folders and tables out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrascope.data.scenes import LabelledScene
from terrascope.errors import ConfigError
from terrascope.model.sequences import DatePair
from terrascope.train.building import PACKAGED_MODEL, build_model
from terrascope.train.finetune import FineTuning, Outcome, fine_tune, spatial_folds
from terrascope.train.recipe import read_recipe
from terrascope.train.run import train
from terrascope.train.sources import open_source
from terrascope.vocabulary import CLASS_CODES

__all__ = [
    "PACKAGED_MODEL",
    "data_table",
    "model_folder",
    "outcome_lines",
    "score_table",
    "train_folder",
    "tune_folder",
]

_WINDOW_PX, _CELL_PX = 128, 8
_RARE, _AROUND = 0.02, 0.5
"""Of a class that covers less of the ground, so many windows are drawn around it."""


def model_folder(name: str) -> Path:
    """Find a model.

    Parameters
    ----------
    name : str
        ``"nano"`` for the packaged one, or a folder.

    Returns
    -------
    folder : Path
        With its configuration and weights.

    Raises
    ------
    ConfigError
        If there is none.
    """
    folder = PACKAGED_MODEL if name == "nano" else Path(name)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"--from {name}: {folder} holds no model")
    return folder


def train_folder(recipe: str | Path, out: Path, *, resume: bool = False, cpu: bool = False) -> Path:
    """Train a model by a recipe.

    Parameters
    ----------
    recipe : str or Path
        File, or name of a packaged one.
    out : Path
        Folder of the run.
    resume : bool
        Go on with a run in `out`, if there is one.
    cpu : bool
        Stay on the processor.

    Returns
    -------
    out : Path
        With the model in it.
    """
    return train(read_recipe(recipe), out, resume=resume, cpu=cpu)


def data_table(recipe: str | Path) -> str:
    """Make the first batch of every stage, and say what is in it.

    Parameters
    ----------
    recipe : str or Path
        File, or name of a packaged one.

    Returns
    -------
    table : str
        Markdown: windows, questions, masks and tokens of one batch.
    """
    wanted = dataclasses.replace(read_recipe(recipe), workers=0)
    _, tokenizer, _ = build_model(wanted)
    source = open_source(wanted, tokenizer)
    rows = ["| stage | source | steps | windows | questions | masks | tokens |", "|---" * 7 + "|"]
    for stage in wanted.stages:
        batch = next(source(stage, split="train", start=0, stride=1))
        said = sum(len(query.response) for query in batch.queries)
        counts = (len(batch.windows), len(batch.queries), len(batch.truth), said)
        cells = (stage.name, stage.source, stage.steps, *counts)
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(rows)


def score_table(out: Path) -> str:
    """Write the last validation of every stage as a table.

    Parameters
    ----------
    out : Path
        Folder of a finished run.

    Returns
    -------
    table : str
        Markdown.
    """
    facts = json.loads((out / "training.json").read_text(encoding="utf-8"))
    scores: dict[str, dict[str, float]] = facts["scores"]
    names = list(dict.fromkeys(name for stage in scores.values() for name in stage))
    rows = ["| stage | " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    rows.append("|---" * (len(names) + 1) + "|")
    for stage, values in scores.items():
        cells = [f"{values[name]:.3f}" if name in values else "" for name in names]
        rows.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", f"{facts['steps']} steps in {facts['seconds'] / 60:.1f} min"])


def tune_folder(
    start: str,
    scenes: Sequence[LabelledScene],
    centres_m: NDArray[np.float64],
    out: Path,
    *,
    name: str,
    folds: int,
    block_m: float,
    steps: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> Outcome:
    """Fine-tune a model to a class of a user.

    Parameters
    ----------
    start : str
        ``"nano"`` for the packaged model, or a folder.
    scenes : sequence of LabelledScene
        N of them, with masks of `name`.
    centres_m : ndarray of float64, shape (N, 2)
        Of the scenes.
    out : Path
        Folder for the model.
    name : str
        Of the class or change.
    folds : int
        Of the cross-validation; 0 leaves it out.
    block_m : float
        Side of the blocks that are held out whole, in metres.
    steps : int
        Updates per fold.
    progress : callable or None
        Told the stage, and how many trainings of how many are done.

    Returns
    -------
    outcome : Outcome
        Model, out-of-fold maps and their scores.
    """
    last = min((len(scene.dates) for scene in scenes), default=1) - 1
    smallest = min((min(scene.window.geometry.shape_yx) for scene in scenes), default=_WINDOW_PX)
    side = min(_WINDOW_PX, max(smallest // _CELL_PX, 1) * _CELL_PX)
    dates = (-1, last) if name in CLASS_CODES else (0, last)
    settings = FineTuning(
        start=str(model_folder(start)),
        name=name,
        dates=dates,
        steps=steps,
        folds=folds,
        window_px=side,
        around=_AROUND if _share(scenes, name, dates) < _RARE else 0.0,
    )
    fold = spatial_folds(centres_m, folds, block_m) if folds else np.zeros(len(scenes), np.int64)
    return fine_tune(settings, scenes, fold, out, progress=progress)


def _share(scenes: Sequence[LabelledScene], name: str, dates: DatePair) -> float:
    """Return the share of the known pixels that is of a class."""
    known = sum(int(scene.known(name, dates).sum()) for scene in scenes)
    return sum(int(scene.mask(name, dates).sum()) for scene in scenes) / max(known, 1)


def outcome_lines(outcome: Outcome) -> list[str]:
    """Say in words how fine-tuning went.

    Parameters
    ----------
    outcome : Outcome
        Of `terrascope.train.finetune.fine_tune`.

    Returns
    -------
    lines : list of str
        For the terminal.
    """
    lines = [f"model: {outcome.folder}"]
    if outcome.scores is not None:
        found = outcome.scores
        lines.insert(
            0,
            f"held out by blocks of ground: F1 {found.f1:.3f}, IoU {found.iou:.3f}, "
            f"ECE {found.ece:.3f} ({found.positives:,} of {found.pixels:,} pixels)",
        )
    return lines
