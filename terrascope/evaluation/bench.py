"""The whole examination of a model, in one call: benchmark, conditions, baselines, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from terrascope.data.scenes import LabelledScene
from terrascope.evaluation.baselines.text_only import read_across
from terrascope.evaluation.conditions import Conditions
from terrascope.evaluation.crew import Crew, crew_of
from terrascope.evaluation.items import BenchItem, first_of_each
from terrascope.evaluation.making import items_from, make_items
from terrascope.evaluation.outcomes import Outcome, compare, compare_masks, summary
from terrascope.evaluation.pixels import run_predictor
from terrascope.evaluation.report import write_report
from terrascope.evaluation.rivals import train_baselines
from terrascope.evaluation.runner import Examinee
from terrascope.evaluation.settings import BenchSettings

__all__ = ["MECHANISM", "SENSORS", "BenchSettings", "examine"]

Said = Callable[[str, int, int], None]

_CREWED = 60
"""Items from which on it is worth while to start further processes."""

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
    with crew_of(examinee, chosen.workers if len(items) >= _CREWED else 1) as crew:
        main = crew.run(items, progress=_of(progress, "main"))
        clock.lap("main")
        results: dict[str, Any] = {
            **(more or {}),
            "settings": dataclasses.asdict(chosen),
            "main": summary(main),
            "seconds": clock.laps,
        }
        parts: dict[str, Callable[[], Any]] = {
            "text only": lambda: _blind(crew, items, chosen.blind_items, progress, "text only"),
            "modalities": lambda: _modalities(crew, items, main, chosen, progress),
            "baselines": lambda: _baselines(items, main, out, chosen, examinee, progress),
            **(runners or {}),
            "mechanism": lambda: _mechanism(crew, items, main, chosen, progress),
            "published": lambda: _published(crew, scenes, chosen, progress),
        }
        if not chosen.baselines:
            del parts["baselines"]
        write_report(results, main, out)
        for name, part in parts.items():
            results[name] = part()
            clock.lap(name)
            write_report(results, main, out)
    return results


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
    crew: Crew,
    items: Sequence[BenchItem],
    count: int,
    progress: Said | None,
    name: str,
) -> dict[str, Any]:
    """Examine without images: the model, and a reader that has learnt what answers look like."""
    chosen = first_of_each(items, count)
    withheld = crew.run(chosen, Conditions(sensors="none"), _of(progress, name))
    return {
        "images withheld": summary(withheld),
        "trained reader": summary(read_across(items)),
    }


def _published(
    crew: Crew,
    scenes: Sequence[LabelledScene],
    settings: BenchSettings,
    progress: Said | None,
) -> dict[str, Any] | None:
    """Examine on distractors of 0.1, 0.5 and 2 times the truth, with and without images."""
    if not settings.published_items:
        return None
    items = items_from(scenes, settings.published_items, scheme="published")
    said = crew.run(items, progress=_of(progress, "published"))
    blind = _blind(crew, items, len(items), progress, "published, text only")
    return {**summary(said), "text only": blind}


def _modalities(
    crew: Crew,
    items: Sequence[BenchItem],
    main: Sequence[Outcome],
    settings: BenchSettings,
    progress: Said | None,
) -> dict[str, Any]:
    """Hide a sensor, or most of the optical images, on the same items each time."""
    chosen, whole = _paired(items, main, settings.condition_items)
    runs = crew.run_conditions(chosen, SENSORS, _of(progress, "modalities"))
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
    crew: Crew,
    items: Sequence[BenchItem],
    main: Sequence[Outcome],
    settings: BenchSettings,
    progress: Said | None,
) -> dict[str, Any]:
    """Take parts of the mechanism away, on the same items each time."""
    chosen, whole = _paired(items, main, settings.mechanism_items)
    runs = crew.run_conditions(chosen, MECHANISM, _of(progress, "mechanism"))
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
