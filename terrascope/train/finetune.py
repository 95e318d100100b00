"""A user's change class: train on labelled scenes, and say honestly how well that works.

Neighbouring scenes are alike, so scenes are held out by blocks of ground: each fold learns from
the others and maps its own blocks, and the score is that of all maps together. The temperature
of a map is fitted on the maps of the other folds. The model that is kept has seen all scenes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from terrascope.data.scenes import LabelledScene
from terrascope.errors import ConfigError
from terrascope.model.calibration import fit_temperature
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.sequences import DatePair
from terrascope.train.building import answer_ids, build_model, save_model, trace_ids
from terrascope.train.labelled import LabelledSource
from terrascope.train.loop import Trainer
from terrascope.train.mapping import map_logits
from terrascope.train.recipe import Recipe, recipe_of
from terrascope.train.scoring import PixelScores, score_pixels
from terrascope.types import BoolArray, FloatArray

__all__ = [
    "FineTuning",
    "Outcome",
    "fine_tune",
    "spatial_folds",
]


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """How a model is tuned to a user's class.

    Parameters
    ----------
    start : str
        Folder of the model.
    name : str
        Of the class or change, one that the model knows, as `LabelledScene.mask` takes it:
        ``"vegetation loss"``, ``"water"``.
    dates : DatePair
        Earlier date or -1, and date, from 0.
    steps : int
        Updates per fold.
    rate : float
        Highest learning rate.
    batch : int
        Windows per step.
    window_px : int
        Side of the windows.
    folds : int
        Parts that are held out in turn; 0 trains the final model only.
    seed : int
        Of everything.
    frozen : tuple of str
        Parts that do not learn.
    boundary : float
        Weight of the boundary loss.
    """

    start: str
    name: str = "vegetation loss"
    dates: DatePair = (0, 1)
    steps: int = 200
    rate: float = 4e-4
    batch: int = 8
    window_px: int = 128
    folds: int = 5
    seed: int = 0
    frozen: tuple[str, ...] = ("language",)
    boundary: float = 0.5

    def recipe(self, part: str) -> Recipe:
        """Write the recipe of one training.

        Parameters
        ----------
        part : str
            Name of the fold.

        Returns
        -------
        recipe : Recipe
            Of one stage.
        """
        return recipe_of(
            {
                "name": part,
                "seed": self.seed,
                "start": self.start,
                "window_px": self.window_px,
                "workers": 0,
                "mechanism": {"measured": False, "perturbed": 0.0, "modality_dropout": 0.0},
                "losses": {"language": 0.0, "contrastive": 0.0, "boundary": self.boundary},
                "optimizer": {"mean_decay": 0.99},
                "validation": {"every": 0, "batches": 1},
                "checkpoints": {"every": self.steps, "keep": 1},
                "stages": [
                    {
                        "name": "masks",
                        "source": "segmentation",
                        "steps": self.steps,
                        "rate": self.rate,
                        "batch": self.batch,
                        "window_px": self.window_px,
                        "samples": 1,
                        "warmup": min(20, self.steps // 5),
                        "frozen": list(self.frozen),
                    }
                ],
            }
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What fine-tuning yields.

    Parameters
    ----------
    folder : Path
        Of the final model.
    probabilities : list of ndarray of float32, shape (H, W), or None
        Of each scene, by the model that has not seen its block; None without folds.
    scores : PixelScores or None
        Of all these maps together, temperatures of the other folds applied.
    by_fold : dict of int to PixelScores
        Of the blocks of each fold.
    """

    folder: Path
    probabilities: list[FloatArray] | None
    scores: PixelScores | None
    by_fold: dict[int, PixelScores]


def spatial_folds(
    centres_m: NDArray[np.float64], folds: int, block_m: float, seed: int = 0
) -> NDArray[np.int64]:
    """Hold scenes out by blocks of ground.

    Parameters
    ----------
    centres_m : ndarray of float64, shape (N, 2)
        Of the scenes, y and x in metres.
    folds : int
        Parts.
    block_m : float
        Side of a block; wider than what makes neighbours alike.
    seed : int
        Of the order in which equally large blocks are dealt out.

    Returns
    -------
    fold : ndarray of int64, shape (N,)
        Scenes of one block share one; folds are as even as whole blocks allow.

    Raises
    ------
    ConfigError
        If there are fewer blocks than folds.
    """
    blocks = np.floor(centres_m / block_m).astype(np.int64)
    _, which = np.unique(blocks, axis=0, return_inverse=True)
    sizes = np.bincount(which.ravel())
    if len(sizes) < folds:
        raise ConfigError(
            f"{len(sizes)} blocks of {block_m:.0f} m for {folds} folds: take smaller blocks or "
            "fewer folds"
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    load = np.zeros(folds, np.int64)
    fold_of = np.zeros(len(sizes), np.int64)
    for block in order:
        fold_of[block] = int(load.argmin())
        load[fold_of[block]] += sizes[block]
    return fold_of[which.ravel()]


def fine_tune(
    settings: FineTuning,
    scenes: Sequence[LabelledScene],
    fold: NDArray[np.int64],
    out: Path,
    *,
    progress: Callable[[str, int, int], None] | None = None,
    cpu: bool = False,
) -> Outcome:
    """Cross-validate on labelled scenes, then train on all of them.

    Parameters
    ----------
    settings : FineTuning
        How.
    scenes : sequence of LabelledScene
        N of them.
    fold : ndarray of int64, shape (N,)
        In which fold each is held out, from `spatial_folds`.
    out : Path
        For the final model, ``finetune.json`` and a folder per fold.
    progress : callable or None
        Told the stage, and how many trainings of how many are done.
    cpu : bool
        Stay on the processor.

    Returns
    -------
    outcome : Outcome
        Model, out-of-fold maps and their scores.

    Raises
    ------
    ConfigError
        If a scene does not have the dates, or a fold leaves nothing to learn from.
    """
    _check(settings, scenes)
    truth = [scene.mask(settings.name, settings.dates) for scene in scenes]
    known = [scene.known(settings.name, settings.dates) for scene in scenes]
    logits: list[FloatArray | None] = [None] * len(scenes)
    parts = list(range(settings.folds))
    for number in parts:
        if progress is not None:
            progress("folds", number, len(parts) + 1)
        held = [n for n in range(len(scenes)) if fold[n] == number]
        taught = [scene for n, scene in enumerate(scenes) if fold[n] != number]
        if not held or not taught:
            raise ConfigError(f"fold {number} holds {len(held)} of {len(scenes)} scenes")
        folder = out / f"fold-{number}"
        model, tokenizer, processor = _train(settings, taught, folder, cpu=cpu)
        maps = map_logits(
            model,
            tokenizer,
            processor,
            [scenes[n].window for n in held],
            settings.name,
            settings.dates,
            size_px=settings.window_px,
        )
        for n, found in zip(held, maps, strict=True):
            logits[n] = found
    if progress is not None:
        progress("folds", len(parts), len(parts) + 1)
    temperatures, probabilities = _calibrated(settings.folds, fold, logits, truth, known)
    model, tokenizer, processor = _train(settings, scenes, out, cpu=cpu)
    if temperatures:
        model.config.mask_temperature = float(np.median(list(temperatures.values())))
    processor = dataclasses.replace(processor, size_px=settings.window_px)
    save_model(out, model, tokenizer, processor)
    scores, by_fold = None, {}
    if probabilities is not None:
        scores = score_pixels(probabilities, truth, known)
        for number in parts:
            own = [n for n in range(len(scenes)) if fold[n] == number]
            by_fold[number] = score_pixels(
                [probabilities[n] for n in own], [truth[n] for n in own], [known[n] for n in own]
            )
    _write(out, settings, temperatures, scores, by_fold)
    return Outcome(out, probabilities, scores, by_fold)


def _train(
    settings: FineTuning, scenes: Sequence[LabelledScene], folder: Path, *, cpu: bool
) -> tuple[TerrascopeModel, PreTrainedTokenizerBase, TerrascopeProcessor]:
    """Train one model on some scenes; what a killed run had done is not done again."""
    recipe = settings.recipe(folder.name)
    model, tokenizer, processor = build_model(recipe)
    model.config.mask_temperature = 1.0
    source = LabelledSource(scenes, tokenizer, settings.name, settings.dates, settings.seed)
    folder.mkdir(parents=True, exist_ok=True)
    Trainer(
        recipe, model, source, answer_ids(tokenizer), trace_ids(tokenizer), folder, cpu=cpu
    ).run()
    return model, tokenizer, processor


def _calibrated(
    folds: int,
    fold: NDArray[np.int64],
    logits: Sequence[FloatArray | None],
    truth: Sequence[BoolArray],
    known: Sequence[BoolArray],
) -> tuple[dict[int, float], list[FloatArray] | None]:
    """Fit the temperature of every fold on the others, and apply it."""
    if not folds:
        return {}, None
    found: dict[int, float] = {}
    for number in range(folds):
        others = [n for n in range(len(logits)) if fold[n] != number or folds == 1]
        score = np.concatenate([np.asarray(logits[n])[known[n]] for n in others])
        real = np.concatenate([truth[n][known[n]] for n in others])
        valid = torch.ones(len(score), dtype=torch.bool)
        found[number] = fit_temperature(torch.from_numpy(score), torch.from_numpy(real), valid)
    probabilities = []
    for n, values in enumerate(logits):
        scaled = torch.from_numpy(np.asarray(values)) / found[int(fold[n])]
        probabilities.append(torch.sigmoid(scaled).numpy())
    return found, probabilities


def _check(settings: FineTuning, scenes: Sequence[LabelledScene]) -> None:
    if not scenes:
        raise ConfigError("no labelled scene to learn from")
    for scene in scenes:
        if settings.dates[1] >= len(scene.dates):
            raise ConfigError(
                f"{scene.image_id}: {len(scene.dates)} dates; a mask of {settings.dates} is asked "
                "for"
            )
        sides = scene.window.geometry.shape_yx
        if min(sides) < settings.window_px < max(sides):
            raise ConfigError(
                f"{scene.image_id}: {sides} px do not hold windows of {settings.window_px}"
            )
    if not any(scene.mask(settings.name, settings.dates).any() for scene in scenes):
        raise ConfigError(f"no scene has a pixel of {settings.name!r}")


def _write(
    out: Path,
    settings: FineTuning,
    temperatures: dict[int, float],
    scores: PixelScores | None,
    by_fold: dict[int, PixelScores],
) -> None:
    facts: dict[str, Any] = {"settings": dataclasses.asdict(settings)}
    facts["temperatures"] = {str(k): round(v, 4) for k, v in temperatures.items()}
    facts["out_of_fold"] = None if scores is None else dataclasses.asdict(scores)
    facts["by_fold"] = {str(k): dataclasses.asdict(v) for k, v in by_fold.items()}
    (out / "finetune.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
