"""A user's change class: train on labelled scenes, and say honestly how well that works.

Neighbouring scenes are alike, so scenes are held out by blocks of ground: each fold learns from
the others and maps its own blocks, and the score is that of all maps together. The temperature
of a map is fitted on the maps of the other folds. The model that is kept has seen all scenes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from terrascope.data.scenes import LabelledScene
from terrascope.errors import ConfigError
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.sequences import DatePair
from terrascope.model.stacks import Window
from terrascope.train.building import answer_ids, build_model, save_model, trace_ids
from terrascope.train.folds import cross_calibrated, spatial_folds
from terrascope.train.labelled import LabelledSource
from terrascope.train.loop import Trainer
from terrascope.train.mapping import map_logits
from terrascope.train.recipe import Recipe, recipe_of
from terrascope.train.scoring import PixelScores, score_pixels
from terrascope.types import FloatArray

__all__ = [
    "FineTuning",
    "Outcome",
    "fine_tune",
    "map_held_out",
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
    rate : float or None
        Highest learning rate; None for 5e-3, or 4e-4 with the adapters of an 8b.
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
    boundary, dice : float
        Weights of these losses, beside the cross-entropy of the pixels.
    around : float
        Share of the windows that are drawn around the class. More of them teach a rare class
        sooner, and make the model expect more of it than there is.
    asked : float
        Share of the steps in which masks are asked for through language, as they will be; in
        those before, the nano's are asked for by the embeddings of their names, without language
        in between. The 8b has learnt no such names: it is always asked.
    """

    start: str
    name: str = "vegetation loss"
    dates: DatePair = (0, 1)
    steps: int = 1200
    rate: float | None = None
    batch: int = 8
    window_px: int = 128
    folds: int = 5
    seed: int = 0
    frozen: tuple[str, ...] = ("language",)
    boundary: float = 0.0
    dice: float = 0.0
    around: float = 0.0
    asked: float = 0.1

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
        asked = round(self.steps * (self.asked if _has_names(self.start) else 1.0))
        named = self.steps - asked
        highest = self.rate or (5e-3 if _has_names(self.start) else 4e-4)
        stages = []
        if named:
            more = {"named": True, "images": False, "final_rate": 0.1 if asked else 0.02}
            stages.append(self._stage("named", named, min(20, named // 5), highest, more))
        if asked:
            rate = highest * (0.1 if named else 1.0)
            warmup = 0 if named else min(20, asked // 5)
            stages.append(self._stage("masks", asked, warmup, rate, {}))
        return recipe_of(
            {
                "name": part,
                "seed": self.seed,
                "start": self.start,
                "window_px": self.window_px,
                "workers": 0,
                "mechanism": {"measured": False, "perturbed": 0.0, "modality_dropout": 0.0},
                "losses": {
                    "language": 0.0,
                    "contrastive": 0.0,
                    "boundary": self.boundary,
                    "dice": self.dice,
                },
                "optimizer": {"mean_decay": min(0.99, 1 - 5 / max(self.steps, 6))},
                "validation": {"every": 0, "batches": 1},
                "checkpoints": {"every": self.steps, "keep": 1},
                "stages": stages,
            }
        )

    def _stage(
        self, name: str, steps: int, warmup: int, rate: float, more: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "name": name,
            "source": "segmentation",
            "steps": steps,
            "rate": rate,
            "batch": self.batch,
            "window_px": self.window_px,
            "samples": 1,
            "warmup": warmup,
            "frozen": list(self.frozen),
            **more,
        }


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
        windows = [scenes[n].window for n in held]
        maps = map_held_out(settings, taught, windows, out / f"fold-{number}", cpu=cpu)
        for n, found in zip(held, maps, strict=True):
            logits[n] = found
    if progress is not None:
        progress("folds", len(parts), len(parts) + 1)
    temperatures: dict[int, float] = {}
    probabilities: list[FloatArray] | None = None
    if parts:
        whole = [np.asarray(one) for one in logits]
        temperatures, probabilities = cross_calibrated(fold, whole, truth, known)
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


def map_held_out(
    settings: FineTuning,
    scenes: Sequence[LabelledScene],
    windows: Sequence[Window],
    folder: Path,
    *,
    cpu: bool = False,
) -> list[FloatArray]:
    """Tune a model to some scenes, and map others with it.

    Parameters
    ----------
    settings : FineTuning
        How.
    scenes : sequence of LabelledScene
        To learn from.
    windows : sequence of Window
        To map.
    folder : Path
        For checkpoints; what a killed run had done is not done again.
    cpu : bool
        Stay on the processor.

    Returns
    -------
    logits : list of ndarray of float32, shape (H, W)
        Of each window, not calibrated.
    """
    model, tokenizer, processor = _train(settings, scenes, folder, cpu=cpu)
    name, dates = settings.name, settings.dates
    return map_logits(model, tokenizer, processor, windows, name, dates, size_px=settings.window_px)


def _has_names(start: str) -> bool:
    """Tell whether a model's masks can be asked for by the embeddings of their names."""
    file = Path(start) / "config.json"
    if not file.is_file():  # said where the model is built
        return True
    said = json.loads(file.read_text(encoding="utf-8"))
    return str(said.get("backbone", "nano")) == "nano"


def _train(
    settings: FineTuning, scenes: Sequence[LabelledScene], folder: Path, *, cpu: bool
) -> tuple[TerrascopeModel, PreTrainedTokenizerBase, TerrascopeProcessor]:
    """Train one model on some scenes; what a killed run had done is not done again."""
    recipe = settings.recipe(folder.name)
    model, tokenizer, processor = build_model(recipe)
    model.config.mask_temperature = 1.0
    source = LabelledSource(
        scenes, tokenizer, settings.name, settings.dates, settings.seed, settings.around
    )
    folder.mkdir(parents=True, exist_ok=True)
    Trainer(
        recipe, model, source, answer_ids(tokenizer), trace_ids(tokenizer), folder, cpu=cpu
    ).run()
    if model.config.backbone == "nano":  # from here on it takes windows of this side
        model.config.nano.window_size = settings.window_px
    return model, tokenizer, processor


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
