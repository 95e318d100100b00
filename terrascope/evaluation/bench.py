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
from terrascope.evaluation.items import BenchItem, first_of_each
from terrascope.evaluation.making import items_from, make_items
from terrascope.evaluation.outcomes import Outcome, compare, compare_masks, summary
from terrascope.evaluation.pixels import run_predictor
from terrascope.evaluation.report import write_report
from terrascope.evaluation.runner import Examinee, run_bench, run_conditions
from terrascope.evaluation.simulated import bench_scenes
from terrascope.model.processing_terrascope import TerrascopeProcessor

__all__ = ["MECHANISM", "SENSORS", "BenchSettings", "examine", "train_baselines"]

Said = Callable[[str, int, int], None]

_BOOSTED_PX = 250
"""Pixels of each image that boosting learns from: 300 scenes give it two hundred thousand."""

SENSORS: Mapping[str, Conditions] = {
    "optical only": Conditions(sensors="optical"),
    "radar only": Conditions(sensors="radar"),
    "60 % cloud, both": Conditions(cloud=0.6),
    "60 % cloud, optical only": Conditions(cloud=0.6, sensors="optical"),
}
"""What is hidden; cloud does not hide anything from radar, so radar only is the same under it."""

MECHANISM: Mapping[str, Conditions] = {
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
    blind_items : int
        Of these, asked without their images.
    published_items : int
        Of the split with published distractors.
    condition_items : int
        Of the main split, for each of `SENSORS`; the same each time, so that all differences
        are paired.
    mechanism_items : int
        The same for each of `MECHANISM`.
    seed : int
        Of the first scene of the test split.
    baselines : bool
        Whether baselines are trained and examined.
    baseline_items : int
        Of the main split, for each baseline.
    baseline_scenes : int
        Simulated scenes that the U-Net learns from, of the training split; boosting, which is
        slow to read maps from and gains little from more, takes a quarter.
    baseline_seconds : float
        Longest training of the U-Net.
    size : int
        Rows and columns of a scene.
    workers : int
        Processes that simulate ahead; 0 for none.
    """

    items: int = 1200
    blind_items: int = 480
    published_items: int = 120
    condition_items: int = 144
    mechanism_items: int = 48
    seed: int = 0
    baselines: bool = True
    baseline_items: int = 144
    baseline_scenes: int = 1200
    baseline_seconds: float = 210.0
    size: int = 128
    workers: int = 2

    @classmethod
    def of(cls, items: int, *, baselines: bool = True) -> BenchSettings:
        """Scale an examination to another number of items, all runs alike.

        Parameters
        ----------
        items : int
            Of the main split.
        baselines : bool
            Whether baselines are trained and examined.

        Returns
        -------
        settings : BenchSettings
            At least six items in every run.
        """
        share = items / cls.items
        return cls(
            items=items,
            blind_items=max(round(share * cls.blind_items), 6),
            published_items=max(round(share * cls.published_items), 6),
            condition_items=max(round(share * cls.condition_items), 6),
            mechanism_items=max(round(share * cls.mechanism_items), 6),
            baseline_items=max(round(share * cls.baseline_items), 6),
            baselines=baselines,
        )


def examine(
    examinee: Examinee,
    out: Path,
    settings: BenchSettings | None = None,
    *,
    more: Mapping[str, Any] | None = None,
    runners: Mapping[str, Callable[[], Any]] | None = None,
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
        Results that are there, for the same report.
    runners : mapping of str to callable or None
        What is to be run besides (real data), by the name of its results.
    progress : callable or None
        Told a step, and how much of it is done.

    Returns
    -------
    results : dict
        What ``results.json`` holds. The report is written after every part: what fails late
        does not take the rest with it.
    """
    chosen = settings or BenchSettings()
    clock = _Clock()
    scenes: list[LabelledScene] = []
    items = make_items(
        chosen.items,
        seed=chosen.seed,
        size=chosen.size,
        workers=chosen.workers,
        progress=_of(progress, "items"),
        keep=scenes,
    )
    clock.lap("items")
    main = run_bench(examinee, items, progress=_of(progress, "main"))
    clock.lap("main")
    results: dict[str, Any] = {
        **(more or {}),
        "settings": dataclasses.asdict(chosen),
        "main": summary(main),
        "seconds": clock.laps,
    }
    parts: dict[str, Callable[[], Any]] = {
        "text only": lambda: _blind(examinee, items, chosen.blind_items, progress, "text only"),
        "modalities": lambda: _modalities(examinee, items, main, chosen, progress),
        "baselines": lambda: _baselines(items, main, out, chosen, examinee, progress),
        **(runners or {}),
        "mechanism": lambda: _mechanism(examinee, items, main, chosen, progress),
        "published": lambda: _published(examinee, scenes, chosen, progress),
    }
    if not chosen.baselines:
        del parts["baselines"]
    write_report(results, main, out)
    for name, part in parts.items():
        results[name] = part()
        clock.lap(name)
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
            train_boosting(few, pixels_per_image=_BOOSTED_PX).save(out)
        found["boosting"] = BoostingPredictor.load(out)
    except ModuleNotFoundError:
        pass
    return found


def _labels(settings: BenchSettings, processor: TerrascopeProcessor) -> Iterator[Labels]:
    """Yield batches of four training scenes, without end."""
    scenes = bench_scenes(
        split="train", seed=10_000_000, size=settings.size, workers=settings.workers
    )
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
    chosen, whole = _paired(items, main, settings.baseline_items)
    if progress is not None:
        progress("baselines", 0, 1)
    predictors = train_baselines(out / "baselines", settings, examinee.processor)
    for number, (name, predictor) in enumerate(predictors.items(), start=1):
        outcomes = run_predictor(chosen, predictor, examinee.processor)
        scores[name] = summary(outcomes)
        scores[name]["model gains"] = _gains(whole, outcomes)
        if progress is not None:
            progress("baselines", number, len(predictors))
    return scores


def _blind(
    examinee: Examinee,
    items: Sequence[BenchItem],
    count: int,
    progress: Said | None,
    name: str,
) -> dict[str, Any]:
    """Examine without images: the model, and a reader that has learnt what answers look like."""
    chosen = first_of_each(items, count)
    withheld = run_bench(examinee, chosen, Conditions(sensors="none"), progress=_of(progress, name))
    return {
        "images withheld": summary(withheld),
        "trained reader": summary(read_across(items)),
    }


def _published(
    examinee: Examinee,
    scenes: Sequence[LabelledScene],
    settings: BenchSettings,
    progress: Said | None,
) -> dict[str, Any] | None:
    """Examine on distractors of 0.1, 0.5 and 2 times the truth, with and without images."""
    if not settings.published_items:
        return None
    items = items_from(scenes, settings.published_items, scheme="published")
    said = run_bench(examinee, items, progress=_of(progress, "published"))
    blind = _blind(examinee, items, len(items), progress, "published, text only")
    return {**summary(said), "text only": blind}


def _modalities(
    examinee: Examinee,
    items: Sequence[BenchItem],
    main: Sequence[Outcome],
    settings: BenchSettings,
    progress: Said | None,
) -> dict[str, Any]:
    """Hide a sensor, or most of the optical images, on the same items each time."""
    chosen, whole = _paired(items, main, settings.condition_items)
    runs = run_conditions(examinee, chosen, SENSORS, progress=_of(progress, "modalities"))
    found: dict[str, Any] = {"both": summary(whole)}
    for name, outcomes in runs.items():
        found[name] = summary(outcomes)
    for name in ("optical only", "radar only"):
        found[name]["both gain"] = _gains(whole, runs[name])
    for name, alone in (("optical only", "60 % cloud, optical only"), ("radar only", "radar only")):
        found["60 % cloud, both"][f"gain over {name}"] = _gains(
            runs["60 % cloud, both"], runs[alone]
        )
    return found


def _mechanism(
    examinee: Examinee,
    items: Sequence[BenchItem],
    main: Sequence[Outcome],
    settings: BenchSettings,
    progress: Said | None,
) -> dict[str, Any]:
    """Take parts of the mechanism away, on the same items each time."""
    chosen, whole = _paired(items, main, settings.mechanism_items)
    runs = run_conditions(examinee, chosen, MECHANISM, progress=_of(progress, "mechanism"))
    found: dict[str, Any] = {"as it is": summary(whole)}
    for name, outcomes in runs.items():
        found[name] = summary(outcomes) | {"as it is gains": _gains(whole, outcomes)}
    return found


def _paired(
    items: Sequence[BenchItem], main: Sequence[Outcome], count: int
) -> tuple[list[BenchItem], list[Outcome]]:
    """Take some items, and what came of them in the main run."""
    chosen = first_of_each(items, count)
    names = {item.name for item in chosen}
    return chosen, [one for one in main if one.item in names]


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
