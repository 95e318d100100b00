"""What each part of the mechanism earns: models retrained with and without it, on equal steps.

    python benchmarks/bench_ablations.py [--model DIR] [--steps 150] [--items 240] [--out DIR]

All start from one model (the packaged one). Injection and measured figures in a 2 x 2, tokens of
boxes and random tokens without figures: language is retrained, while image encoders and masks stay
as they are, so that every arm sees the same. The losses of boundaries and of the alignment of the
sensors are about sight: image encoders and masks are retrained with and without them, and scored
by their masks alone. Every arm meets the same training samples and answers the same items;
differences are paired, with a bootstrap over images.

What the start has learnt, it has learnt with injection and figures. Arms without them unlearn in
these steps what the others keep: the gains say what retraining does, not what training from
nothing would.

An arm that is done is not run again, one that was stopped goes on; ``--only NAME`` runs one of
them, and the table is made of those that are there.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from terrascope.evaluation.bootstrap import Interval
from terrascope.evaluation.command import PACKAGED_MODEL
from terrascope.evaluation.conditions import Conditions
from terrascope.evaluation.items import BENCH_TASKS, BenchItem, first_of_each
from terrascope.evaluation.making import make_items
from terrascope.evaluation.outcomes import Outcome, compare, compare_masks, summary

LANGUAGE: Mapping[str, Mapping[str, Any]] = {
    "injection, figures": {},
    "injection": {"measured": False},
    "figures": {"injection": "none"},
    "neither": {"injection": "none", "measured": False},
    "box tokens": {"injection": "box", "measured": False},
    "random tokens": {"injection": "random", "measured": False},
}
"""Arms whose language is retrained, by what their mechanism lacks."""
SIGHT: Mapping[str, Mapping[str, float]] = {
    "sight": {},
    "sight without boundary loss": {"boundary": 0.0},
    "sight without alignment loss": {"contrastive": 0.0},
}
"""Arms whose sight is retrained, by the loss that they lack."""
GAINS = (
    ("injection, without figures", "injection", "neither"),
    ("injection, with figures", "injection, figures", "figures"),
    ("figures, with injection", "injection, figures", "injection"),
    ("figures, without injection", "figures", "neither"),
    ("mask tokens over box tokens", "injection", "box tokens"),
    ("mask tokens over random tokens", "injection", "random tokens"),
)
MASK_GAINS = (
    ("boundary loss", "sight", "sight without boundary loss"),
    ("alignment loss", "sight", "sight without alignment loss"),
)
FIGURE_TASKS = ("CA", "AQ")
SIGHT_ITEMS = 120
"""On which the arms of sight are examined, under two conditions."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """One retraining, and what it is examined on."""

    name: str
    model: Path
    steps: int
    seed: int
    items: Path
    out: Path

    @property
    def folder(self) -> Path:
        """Where it is kept; other steps or another start are another arm."""
        return self.out / self.name.replace(", ", "-").replace(" ", "-")

    @property
    def settings(self) -> dict[str, Any]:
        """What its results hang on."""
        return {
            "model": _digest(self.model),
            "steps": self.steps,
            "seed": self.seed,
            "items": self.items.stem,
        }

    def done(self) -> dict[str, list[Outcome]] | None:
        """Return what came of it, where it is finished."""
        file = self.folder / "outcomes.pickle"
        if not file.exists():
            return None
        with file.open("rb") as stream:  # of our own making
            settings, outcomes = pickle.load(stream)
        if settings != self.settings:
            raise SystemExit(
                f"{self.folder} was run with {settings}, and {self.settings} is asked for: "
                "choose another --out, or the same settings"
            )
        found: dict[str, list[Outcome]] = outcomes
        return found


def recipe_table(arm: Arm) -> dict[str, Any]:
    """Write the recipe of an arm."""
    table: dict[str, Any] = {
        "name": f"ablation: {arm.name}",
        "start": str(arm.model),
        "seed": arm.seed,
        "window_px": 128,
        "workers": 0,
        "mechanism": {"perturbed": 0.8, "modality_dropout": 0.4},
        "losses": {"contrastive": 0.0},
        "optimizer": {"mean_decay": 0.98},
        "validation": {"every": 0, "batches": 1},
        "checkpoints": {"every": 40, "keep": 1},
    }
    small = {"window_px": 64, "batch": 4, "samples": 4, "final_rate": 0.3, "rate": 6e-4}
    whole = {"window_px": 128, "batch": 1, "samples": 8, "final_rate": 0.05, "rate": 2.5e-4}
    if arm.name in LANGUAGE:
        table["mechanism"] |= LANGUAGE[arm.name]
        kind: dict[str, Any] = {"source": "cot", "frozen": ["vision", "masks"]}
    else:
        table["losses"] = {"contrastive": 0.05, **SIGHT[arm.name]}
        kind = {"source": "segmentation", "named": True, "images": False, "absent": 1.0}
        kind |= {"samples": 32, "changed": 0.3, "dates": 2, "frozen": ["language"]}
    few = max(arm.steps // 3, 1)
    table["stages"] = [
        {"name": "traces", **small, **kind, "steps": max(arm.steps - few, 1), "warmup": 20},
        {"name": "whole", **whole, **kind, "steps": few, "warmup": 5},
    ]
    return table


def run(arm: Arm) -> str:
    """Train an arm, or go on; let it answer the items; keep what came of it."""
    import torch

    from terrascope.evaluation.runner import Examinee, run_conditions
    from terrascope.train.recipe import recipe_of
    from terrascope.train.run import train

    torch.set_num_threads(1)
    start, spent = time.perf_counter(), time.process_time()
    table = recipe_table(arm)
    if not (arm.folder / "training.json").exists():
        train(recipe_of(table), arm.folder, resume=arm.folder.exists(), cpu=True)
    trained = time.perf_counter() - start
    with arm.items.open("rb") as stream:  # of our own making
        items: list[BenchItem] = pickle.load(stream)
    examinee = Examinee.load(arm.folder)
    if arm.name in LANGUAGE:
        measured = bool(table["mechanism"].get("measured", True))
        conditions = {"both": Conditions(measured=measured)}
    else:  # no language was trained: masks alone count, and some items are enough
        items = first_of_each(items, min(SIGHT_ITEMS, len(items)))
        conditions = {"both": Conditions(forced=True, measured=False, injection="none")}
        conditions["radar only"] = dataclasses.replace(conditions["both"], sensors="radar")
    outcomes = run_conditions(examinee, items, conditions)
    partial = arm.folder / "outcomes.part"
    with partial.open("wb") as stream:
        pickle.dump((arm.settings, outcomes), stream)
    partial.replace(arm.folder / "outcomes.pickle")
    seconds, cpu = time.perf_counter() - start, time.process_time() - spent
    return f"{arm.name}: {trained:.0f} s to train, {seconds:.0f} s in all, {cpu:.0f} s of a core"


def planned(
    count: int, out: Path, seed: int, size: int, workers: int
) -> tuple[Path, list[BenchItem]]:
    """Make the items, or take those that are there."""
    file = out / f"items-{count}-{seed}-{size}.pickle"
    if not file.exists():
        items = make_items(count, seed=seed, size=size, workers=workers)
        partial = file.with_suffix(".part")
        with partial.open("wb") as stream:
            pickle.dump(items, stream)
        partial.replace(file)
    with file.open("rb") as stream:  # of our own making
        found: list[BenchItem] = pickle.load(stream)
    return file, found


def gains(runs: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> dict[str, dict[str, Interval]]:
    """Compare arms that are there, item by item."""
    found: dict[str, dict[str, Interval]] = {}
    for name, one, other in GAINS:
        if one in runs and other in runs:
            pair = [runs[arm]["both"] for arm in (one, other)]
            few = [[o for o in outcomes if o.task in FIGURE_TASKS] for outcomes in pair]
            found[name] = {"macro": compare(*pair), "CA + AQ": compare(*few)}
            found[name]["mask IoU"] = compare_masks(*pair)
    for name, one, other in MASK_GAINS:
        if one in runs and other in runs:
            found[name] = {
                "mask IoU" if seen == "both" else f"mask IoU, {seen}": compare_masks(
                    runs[one][seen], runs[other][seen]
                )
                for seen in runs[one]
            }
    return found


def table_lines(
    scores: Mapping[str, Mapping[str, Any]], differences: Mapping[str, Mapping[str, Interval]]
) -> list[str]:
    """Write both tables, in percent."""
    head = ["arm", "macro", *BENCH_TASKS, "mask IoU"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, found in scores.items():
        cells = [name]
        if name in LANGUAGE:
            cells += [_percent(found["macro"])]
            tasks = found["tasks"]
            cells += [
                f"{100 * tasks[task]['accuracy']['value']:.1f}" if task in tasks else ""
                for task in BENCH_TASKS
            ]
        else:
            cells += [""] * (1 + len(BENCH_TASKS))
        cells.append(_percent(found["mask_iou"]) if found["mask_iou"] else "")
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| gain of | in | points |", "|---|---|---|"]
    for name, parts in differences.items():
        lines += [f"| {name} | {part} | {gain.percent()} |" for part, gain in parts.items()]
    return lines


def _percent(one: Mapping[str, float]) -> str:
    return Interval(one["value"], one["low"], one["high"]).percent()


def _digest(model: Path) -> str:
    """Name the weights of a model."""
    import hashlib

    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:16]


def main() -> None:
    """Train and examine what is not there yet, print and save the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=PACKAGED_MODEL)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--sight-steps", type=int, help="as --steps; 0 leaves these arms out")
    parser.add_argument("--items", type=int, default=240)
    parser.add_argument("--size", type=int, default=128, help="rows and columns of a scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=[*LANGUAGE, *SIGHT])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("out/ablations"))
    chosen = parser.parse_args()
    start = time.perf_counter()
    chosen.out.mkdir(parents=True, exist_ok=True)
    file, items = planned(
        chosen.items, chosen.out, chosen.seed, chosen.size, min(chosen.processes, 2)
    )
    print(f"{time.perf_counter() - start:6.0f} s  {len(items)} items", flush=True)
    steps = dict.fromkeys(LANGUAGE, chosen.steps)
    sight = chosen.steps if chosen.sight_steps is None else chosen.sight_steps
    steps |= dict.fromkeys(SIGHT, sight)
    common = {"model": chosen.model, "seed": chosen.seed, "items": file, "out": chosen.out}
    arms = [Arm(name, steps=count, **common) for name, count in steps.items() if count]
    wanted = [arm for arm in arms if arm.done() is None and arm.name in (chosen.only or steps)]
    context = multiprocessing.get_context("spawn")
    failed: dict[str, BaseException] = {}
    with concurrent.futures.ProcessPoolExecutor(chosen.processes, mp_context=context) as pool:
        running = {pool.submit(run, arm): arm.name for arm in wanted}
        for one in concurrent.futures.as_completed(running):
            cause = one.exception()
            said = one.result() if cause is None else f"{running[one]} failed: {cause!r}"
            if cause is not None:
                failed[running[one]] = cause
            print(f"{time.perf_counter() - start:6.0f} s  {said}", flush=True)
    found = {arm.name: arm.done() for arm in arms}
    runs = {name: outcomes for name, outcomes in found.items() if outcomes is not None}
    scores = {name: summary(outcomes["both"]) for name, outcomes in runs.items()}
    differences = gains(runs)
    results = {
        "settings": {"steps": steps, "items": len(items), "seed": chosen.seed},
        "model": _digest(chosen.model),
        "arms": scores,
        "gains": {k: {n: i.as_dict() for n, i in v.items()} for k, v in differences.items()},
        "failed": {name: repr(cause) for name, cause in failed.items()},
        "missing": [arm.name for arm in arms if arm.name not in runs],
        "seconds": round(time.perf_counter() - start, 1),
    }
    text = "\n".join(table_lines(scores, differences))
    (chosen.out / "ablations.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (chosen.out / "ablations.md").write_text(text + "\n", "utf-8")
    print(text)
    print(f"wall time {results['seconds']:.0f} s; {chosen.out / 'ablations.json'}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; what was done is kept, run again to go on")


if __name__ == "__main__":
    main()
