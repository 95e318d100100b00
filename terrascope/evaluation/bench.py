"""The whole examination of a model, in one call: benchmark, conditions, baselines, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from terrascope.data.scenes import LabelledScene
from terrascope.evaluation.baselines.boosting import BoostingPredictor, train_boosting
from terrascope.evaluation.baselines.indices import IndexPredictor
from terrascope.evaluation.baselines.protocol import Labels, Predictor, labels_of
from terrascope.evaluation.baselines.text_only import read_across
from terrascope.evaluation.baselines.unet import UNetPredictor, UNetSettings, train_unet
from terrascope.evaluation.conditions import Conditions
from terrascope.evaluation.items import BenchItem
from terrascope.evaluation.making import bench_scenes, items_from, make_items, split_priors
from terrascope.evaluation.outcomes import Outcome, compare, compare_masks, summary
from terrascope.evaluation.pixels import run_predictor
from terrascope.evaluation.report import write_report
from terrascope.evaluation.runner import Examinee, run_bench
from terrascope.model.processing_terrascope import TerrascopeProcessor

__all__ = ["CONDITIONS", "BenchSettings", "examine", "train_baselines"]

Said = Callable[[str, int, int], None]

CONDITIONS: Mapping[str, Conditions] = {
    "optical only": Conditions(sensors="optical"),
    "radar only": Conditions(sensors="radar"),
    "60 % cloud, both": Conditions(cloud=0.6),
    "60 % cloud, optical only": Conditions(cloud=0.6, sensors="optical"),
    "60 % cloud, radar only": Conditions(cloud=0.6, sensors="radar"),
    "trace given": Conditions(forced=True),
    "no figures": Conditions(measured=False),
    "no injection": Conditions(injection="none"),
    "box tokens": Conditions(injection="box"),
    "random tokens": Conditions(injection="random"),
    "no figures, no injection": Conditions(measured=False, injection="none"),
}
"""What is taken away at test time; the same model, not retrained."""


@dataclasses.dataclass(frozen=True)
class BenchSettings:
    """How thorough an examination is.

    Parameters
    ----------
    items : int
        Of the main split, over six tasks.
    published_items : int
        Of the split with published distractors.
    condition_items : int
        Of the main split, for every condition.
    seed : int
        Of the first scene of the test split.
    baselines : bool
        Whether baselines are trained and examined.
    baseline_scenes : int
        Simulated scenes that they learn from, of the training split.
    baseline_seconds : float
        Longest training of the U-Net.
    prior_scenes : int
        Label-only scenes from which wrong options are drawn.
    size : int
        Rows and columns of a scene.
    """

    items: int = 1200
    published_items: int = 300
    condition_items: int = 240
    seed: int = 0
    baselines: bool = True
    baseline_scenes: int = 1200
    baseline_seconds: float = 360.0
    prior_scenes: int = 300
    size: int = 128


def examine(
    examinee: Examinee,
    out: Path,
    settings: BenchSettings | None = None,
    *,
    more: Mapping[str, Any] | None = None,
    progress: Said | None = None,
) -> dict[str, Any]:
    """Examine a model, and write what came of it.

    Parameters
    ----------
    examinee : Examinee
        The model.
    out : Path
        Folder for ``results.json``, ``results.md`` and pictures; made where it does not exist.
    settings : BenchSettings or None
        None for the defaults.
    more : mapping or None
        Results of other runners (real data), for the same report.
    progress : callable or None
        Told a step, and how much of it is done.

    Returns
    -------
    results : dict
        What ``results.json`` holds.
    """
    chosen = settings or BenchSettings()
    clock = _Clock()
    scenes: list[LabelledScene] = []
    items = make_items(
        chosen.items,
        seed=chosen.seed,
        size=chosen.size,
        prior_scenes=chosen.prior_scenes,
        progress=_of(progress, "items"),
        keep=scenes,
    )
    clock.lap("items")
    main = run_bench(examinee, items, progress=_of(progress, "main"))
    clock.lap("main")
    results: dict[str, Any] = {
        "settings": dataclasses.asdict(chosen),
        "main": summary(main),
        "published": _published(examinee, scenes, chosen, progress),
        "conditions": _conditions(examinee, items, main, chosen, progress),
    }
    clock.lap("published and conditions")
    withheld = run_bench(examinee, items, Conditions(sensors="none"))
    results["text only"] = {"images withheld": summary(withheld)}
    results["text only"]["trained reader"] = summary(read_across(items))
    clock.lap("text only")
    if chosen.baselines:
        results["baselines"] = _baselines(items, main, out, chosen, examinee, progress)
        clock.lap("baselines")
    results |= dict(more or {})
    results["seconds"] = clock.laps
    write_report(results, main, out)
    return results


def train_baselines(
    out: Path, settings: BenchSettings, processor: TerrascopeProcessor
) -> dict[str, Predictor]:
    """Train U-Net and boosting on simulated scenes, unless the folder has them already.

    Parameters
    ----------
    out : Path
        Folder of their weights; made where it does not exist.
    settings : BenchSettings
        Scenes and seconds.
    processor : TerrascopeProcessor
        Of the windows.

    Returns
    -------
    baselines : dict of str to Predictor
        By name; boosting only where lightgbm is installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Predictor] = {"indices": IndexPredictor()}
    network = out / "unet.safetensors"
    if not network.exists():
        steps = settings.baseline_scenes // 4
        chosen = UNetSettings(steps=steps, seconds=settings.baseline_seconds)
        train_unet(_labels(settings, processor), chosen).save(network)
    found["U-Net"] = UNetPredictor.load(network)
    try:
        if not (out / "boosting-change.txt").exists():
            few = islice(_labels(settings, processor), max(settings.baseline_scenes // 16, 1))
            train_boosting(few).save(out)
        found["boosting"] = BoostingPredictor.load(out)
    except ModuleNotFoundError:
        pass
    return found


def _labels(settings: BenchSettings, processor: TerrascopeProcessor) -> Iterator[Labels]:
    """Yield batches of four training scenes, without end."""
    scenes = bench_scenes(split="train", seed=10_000_000, size=settings.size)
    while True:
        yield labels_of(list(islice(scenes, 4)), processor)


def _baselines(
    items: Sequence[BenchItem],
    main: Sequence[Outcome],
    out: Path,
    settings: BenchSettings,
    examinee: Examinee,
    progress: Said | None,
) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    predictors = train_baselines(out / "baselines", settings, examinee.processor)
    for number, (name, predictor) in enumerate(predictors.items()):
        if progress is not None:
            progress("baselines", number, len(predictors))
        outcomes = run_predictor(items, predictor, examinee.processor)
        scores[name] = summary(outcomes)
        scores[name]["model gains"] = _gains(main, outcomes)
    return scores


def _published(
    examinee: Examinee,
    scenes: Sequence[LabelledScene],
    settings: BenchSettings,
    progress: Said | None,
) -> dict[str, Any] | None:
    """Examine on distractors of 0.1, 0.5 and 2 times the truth, with and without images."""
    if not settings.published_items:
        return None
    priors = split_priors("test", settings.size, settings.prior_scenes)
    items = items_from(scenes, settings.published_items, scheme="published", priors=priors)
    said = run_bench(examinee, items, progress=_of(progress, "published"))
    withheld = run_bench(examinee, items, Conditions(sensors="none"))
    blind = {"images withheld": withheld, "trained reader": read_across(items)}
    return {
        **summary(said),
        "text only": {name: summary(outcomes) for name, outcomes in blind.items()},
    }


def _conditions(
    examinee: Examinee,
    items: Sequence[BenchItem],
    main: Sequence[Outcome],
    settings: BenchSettings,
    progress: Said | None,
) -> dict[str, Any]:
    """Take things away, on the same items each time, and say what they were worth."""
    chosen = _balanced(items, settings.condition_items)
    names = {item.name for item in chosen}
    whole = [one for one in main if one.item in names]
    found: dict[str, Any] = {"as it is": summary(whole)}
    runs = {"as it is": whole}
    for name, conditions in CONDITIONS.items():
        runs[name] = run_bench(examinee, chosen, conditions, progress=_of(progress, name))
        found[name] = summary(runs[name])
        found[name]["as it is gains"] = _gains(whole, runs[name])
    both, alone = runs["60 % cloud, both"], runs["60 % cloud, optical only"]
    found["60 % cloud, both"]["gains over optical only"] = _gains(both, alone)
    return found


def _balanced(items: Sequence[BenchItem], count: int) -> list[BenchItem]:
    """Take the first items of every task."""
    tasks = sorted({item.task for item in items})
    each = -(-count // max(len(tasks), 1))
    made = dict.fromkeys(tasks, 0)
    chosen = []
    for item in items:
        made[item.task] += 1
        if made[item.task] <= each:
            chosen.append(item)
    return chosen


def _gains(one: Sequence[Outcome], other: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "macro": compare(one, other).as_dict(),
        "mask_iou": compare_masks(one, other).as_dict(),
    }


def _of(progress: Said | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(name, done, total)


class _Clock:
    """Wall time of the steps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 1)
        self._last = now
