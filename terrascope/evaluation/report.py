"""Results as files: JSON for machines, Markdown for readers, pictures for both."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from terrascope.evaluation.items import BENCH_TASKS
from terrascope.evaluation.outcomes import Outcome
from terrascope.evaluation.reliability import Reliability, reliability, risk_coverage

__all__ = ["draw_trust", "to_markdown", "write_report"]

_DEFINITIONS = """\
Macro is the mean of the tasks' accuracies, micro the accuracy of all items; exact match on the
letter. Mask IoU: per item the mean over its reference masks, a missing mask counting 0 and an
empty one against an empty reference 1; then the mean over items, on observed and labelled pixels.
Boundary IoU: the same of inner rims of 2 pixels. Intervals are 95 %, bootstrap over images.
Buildings are not resolved at 10 m: BCE is built here as the destroyed share of developed area and
the number of destroyed developed groups."""


def write_report(results: Mapping[str, Any], outcomes: Sequence[Outcome], out: Path) -> None:
    """Write results.

    Parameters
    ----------
    results : mapping
        As `terrascope.evaluation.bench.examine` gives them.
    outcomes : sequence of Outcome
        Of the main split.
    out : Path
        Made where it does not exist; ``results.json``, ``results.md``, ``items.jsonl``,
        ``trust.png``, ``tasks.png`` and, with real land cover, ``cover.png`` are overwritten.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(results), indent=1, allow_nan=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
    (out / "results.md").write_text(to_markdown(results), encoding="utf-8")
    with (out / "items.jsonl").open("w", encoding="utf-8") as lines:
        for one in outcomes:
            lines.write(json.dumps(_plain(_row(one)), allow_nan=False) + "\n")
    draw_trust(outcomes, out / "trust.png")
    _draw_tasks(results, out / "tasks.png")
    if "land cover" in results:
        _draw_cover(results["land cover"], out / "cover.png")


def to_markdown(results: Mapping[str, Any]) -> str:
    """Write results as tables.

    Parameters
    ----------
    results : mapping
        As `terrascope.evaluation.bench.examine` gives them.

    Returns
    -------
    text : str
        Markdown.
    """
    main = results["main"]
    lines = ["# TerraScope-Bench", "", _DEFINITIONS, ""]
    lines += [f"{main['items']} items of {main['images']} images, chance {_share(main['chance'])}."]
    lines += ["", *_table(_systems(results)), ""]
    if results.get("text only"):
        lines += [*_blind(results["text only"]), ""]
    if results.get("baselines"):
        lines += ["Baselines: trained on the same simulator; paired with the same items.", ""]
        lines += [*_gains(results["baselines"]), ""]
    lines += ["## Trust", "", *_trust(results), ""]
    for name, title in (("modalities", "Modalities"), ("mechanism", "Mechanism, at test time")):
        if results.get(name):
            rows = results[name]
            lines += [f"## {title}", "", f"{next(iter(rows.values()))['items']} items, paired.", ""]
            lines += [*_table(rows), "", *_gains(rows), ""]
    published = results.get("published")
    if published:
        rows = {
            "model": published,
            **{f"text only, {k}": v for k, v in published["text only"].items()},
        }
        lines += ["## Published distractors (0.1, 0.5 and 2 times the truth)", ""]
        lines += [*_table(rows), ""]
    for name in ("land cover", "bark beetle"):
        if name in results:
            lines += [f"## Real data: {name}", "", *_nested(results[name]), ""]
    if "seconds" in results:
        spent = ", ".join(f"{name} {value:.0f}" for name, value in results["seconds"].items())
        lines += [f"Seconds: {spent}.", ""]
    return "\n".join(lines)


def draw_trust(outcomes: Sequence[Outcome], file: Path) -> None:
    """Draw reliability of pixels and answers, and risk by coverage.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Of one run.
    file : Path
        PNG.
    """
    from matplotlib.figure import Figure

    pixels = [one.pixels for one in outcomes if one.pixels is not None]
    stated = np.array([one.confidence for one in outcomes])
    right = np.array([one.right for one in outcomes])
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    parts: list[tuple[str, Reliability | None]] = [
        ("pixels", sum(pixels[1:], pixels[0]) if pixels else None),
        ("answers", reliability(stated, right, bins=10) if np.isfinite(stated).any() else None),
    ]
    for axis, (name, counts) in zip(axes, parts, strict=False):
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=name)
        if counts is not None:
            axis.plot(*counts.curve(), "o-", color="#1b6ca8", markersize=4)
            axis.set_title(f"{name}: ECE {counts.ece:.3f}")
        axis.set(xlabel="stated probability", ylabel="share that came true")
    coverage, risk = risk_coverage(stated, right).curve()
    axes[2].plot(coverage, risk, color="#b5482a")
    axes[2].set(xlim=(0, 1), ylim=(0, None), xlabel="answers kept", ylabel="share wrong")
    axes[2].set_title("risk by coverage")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def _draw_tasks(results: Mapping[str, Any], file: Path) -> None:
    """Draw accuracy by task of every system, chance as a line."""
    from matplotlib.figure import Figure

    systems = _systems(results)
    tasks = [task for task in BENCH_TASKS if task in results["main"]["tasks"]]
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(systems)
    place = np.arange(len(tasks))
    for number, (name, scores) in enumerate(systems.items()):
        heights = [100 * scores["tasks"][task]["accuracy"]["value"] for task in tasks]
        shift = (number - (len(systems) - 1) / 2) * width
        color = f"C{number}"
        axis.bar(place + shift, heights, width * 0.92, label=name, color=color)
    for at, task in zip(place, tasks, strict=True):
        level = 100 * results["main"]["tasks"][task]["chance"]
        axis.plot([at - 0.42, at + 0.42], [level, level], color="0.2", linestyle=":", linewidth=1)
    axis.set(xticks=place, xticklabels=tasks, ylim=(0, 100), ylabel="accuracy, %")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, ncols=3, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(file, dpi=150)


def _draw_cover(scores: Mapping[str, Any], file: Path) -> None:
    """Draw the IoU of every class of real land cover, by system."""
    from matplotlib.figure import Figure

    systems = {name: one for name, one in scores.items() if "iou" in one}
    classes = list(next(iter(systems.values()))["iou"])
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axis = figure.subplots()
    width, place = 0.8 / len(systems), np.arange(len(classes))
    for number, (name, one) in enumerate(systems.items()):
        shift = (number - (len(systems) - 1) / 2) * width
        heights = [one["iou"][c] for c in classes]
        label = f"{name}: mean {one['mean_iou']['value']:.3f}"
        axis.bar(place + shift, heights, width * 0.92, label=label, color=f"C{number}")
    axis.set(xticks=place, xticklabels=classes, ylim=(0, 1), ylabel="IoU")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, ncols=2, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(file, dpi=150)


def _systems(results: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "TerraScope": results["main"],
        **results.get("baselines", {}),
        **{f"text only, {name}": scores for name, scores in results.get("text only", {}).items()},
    }


def _table(rows: Mapping[str, Any]) -> list[str]:
    """Lay systems out as rows, tasks as columns."""
    tasks = [t for t in BENCH_TASKS if any(t in scores["tasks"] for scores in rows.values())]
    head = ["", *tasks, "macro", "micro", "mask IoU", "boundary IoU"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, scores in rows.items():
        cells = [
            _share(scores["tasks"][task]["accuracy"]["value"]) if task in scores["tasks"] else ""
            for task in tasks
        ]
        cells += [_interval(scores["macro"]), _interval(scores["micro"])]
        cells += [_interval(scores["mask_iou"], 1.0), _interval(scores["boundary_iou"], 1.0)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _blind(rows: Mapping[str, Any]) -> list[str]:
    """Say how far an answer is given away by the text."""
    return [
        f"- text only, {name}: macro {_interval(one['macro'])} of {one['items']} items, "
        f"chance {_share(one['chance'])}"
        for name, one in rows.items()
    ]


def _gains(rows: Mapping[str, Any]) -> list[str]:
    """Write the paired differences that rows carry."""
    return [
        f"- {name}, {key}: macro {_interval(gain['macro'])} points, "
        f"mask IoU {_interval(gain['mask_iou'], 1.0)}"
        for name, one in rows.items()
        for key, gain in one.items()
        if isinstance(gain, Mapping) and set(gain) == {"macro", "mask_iou"}
    ]


def _trust(results: Mapping[str, Any]) -> list[str]:
    main = results["main"]
    lines = [f"- ECE of pixels: {_number(main['pixel_ece'])}"]
    lines.append(f"- ECE of answers: {_number(main['answer_ece'])}")
    kept = main["accuracy_at"]
    if kept:
        lines.append(
            f"- accuracy of the surest 80 %: {_share(kept['0.8'])}, of all: {_share(kept['1.0'])}"
        )
    right, wrong = main["mask_iou_right"], main["mask_iou_wrong"]
    lines.append(
        f"- mask IoU where the answer is right {_number(right)}, where it is wrong {_number(wrong)}"
    )
    lines.append(
        "- letters by the masks that were drawn, without language: macro "
        f"{_interval(main['macro_of_masks'])}"
    )
    fitted = results.get("calibration")
    if fitted:
        lines.append(
            f"- fitted on {fitted['validation']['items']} items of the validation split: "
            f"temperature {_number(fitted['mask_temperature'])}, correlation length "
            f"{fitted['correlation_length_m']:.0f} m; stated 90 % intervals of areas cover "
            f"{_share(fitted['interval_coverage'])} %"
        )
    return lines


def _nested(value: Any, depth: int = 0) -> list[str]:
    """Write any nested result as a list."""
    lines: list[str] = []
    for name, inner in value.items():
        if isinstance(inner, Mapping) and set(inner) == {"value", "low", "high"}:
            lines.append(f"{'  ' * depth}- {name}: {_interval(inner, 1.0)}")
        elif isinstance(inner, Mapping):
            lines += [f"{'  ' * depth}- {name}", *_nested(inner, depth + 1)]
        else:
            said = _number(inner) if isinstance(inner, float) else inner
            lines.append(f"{'  ' * depth}- {name}: {said}")
    return lines


def _interval(found: Mapping[str, float] | None, scale: float = 100.0) -> str:
    if not found:
        return ""
    digits = 1 if scale > 1 else 3
    value, low, high = (found[name] * scale for name in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _share(value: float) -> str:
    return f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _row(one: Outcome) -> dict[str, Any]:
    return {
        "item": one.item,
        "task": one.task,
        "truth": one.truth,
        "said": one.said,
        "letter_probability": one.letter_probability,
        "support": one.support,
        "supported": one.supported,
        "confidence": one.confidence,
        "ious": list(one.ious),
        "text": one.text,
    }


def _plain(value: Any) -> Any:
    """Make values of JSON: NaN is null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
