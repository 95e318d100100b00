"""What each part of the mechanism earns: models retrained without it, on equal steps.

    python benchmarks/bench_ablations.py [--recipe FILE] [--scale 0.25] [--items 600] [--out DIR]

Injection and measurement in a 2 x 2, box and random tokens without measurement, and the model
without boundary loss and without alignment: every run starts from the same seed and sees the same
samples. Paired items, bootstrap over images. A finished run is not trained again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from importlib import resources
from pathlib import Path

from terrascope.evaluation.conditions import Conditions
from terrascope.evaluation.making import make_items
from terrascope.evaluation.outcomes import Outcome, compare, compare_masks, summary
from terrascope.evaluation.runner import Examinee, run_bench
from terrascope.train.recipe import Recipe, read_recipe
from terrascope.train.run import train

RUNS = {
    "injection, measured": {},
    "injection": {"measured": False},
    "measured": {"injection": "none"},
    "neither": {"injection": "none", "measured": False},
    "box tokens": {"injection": "box", "measured": False},
    "random tokens": {"injection": "random", "measured": False},
}
LOSSES = {
    "without boundary loss": {"boundary": 0.0},
    "without alignment": {"contrastive": 0.0},
}
GAINS = (
    ("injection, without figures", "injection", "neither"),
    ("injection, with figures", "injection, measured", "measured"),
    ("figures, with injection", "injection, measured", "injection"),
    ("figures, without injection", "measured", "neither"),
    ("mask tokens over box tokens", "injection", "box tokens"),
    ("mask tokens over random tokens", "injection", "random tokens"),
)


def scaled(recipe: Recipe, scale: float) -> Recipe:
    """Shorten every stage alike."""
    stages = tuple(
        dataclasses.replace(
            stage,
            steps=max(round(stage.steps * scale), 1),
            warmup=max(round(stage.warmup * scale), 1),
        )
        for stage in recipe.stages
    )
    return dataclasses.replace(recipe, stages=stages)


def trained(recipe: Recipe, name: str, out: Path) -> Path:
    """Train, go on, or take what is there."""
    folder = out / name.replace(", ", "-").replace(" ", "-")
    if not (folder / "training.json").exists():
        start = time.perf_counter()
        train(
            dataclasses.replace(recipe, name=f"{recipe.name}: {name}"),
            folder,
            resume=folder.exists(),
        )
        print(f"{name}: trained in {time.perf_counter() - start:.0f} s", flush=True)
    return folder


def main() -> None:
    """Train all, examine all on the same items, print and save the table."""
    default = resources.files("terrascope.train") / "recipes" / "nano.toml"
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", default=str(default))
    parser.add_argument("--scale", type=float, default=0.25)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("out/ablations"))
    chosen = parser.parse_args()
    start = time.perf_counter()
    recipe = scaled(read_recipe(chosen.recipe), chosen.scale)
    items = make_items(chosen.items)
    few = [item for item in items if item.task in ("CA", "AQ")]
    runs: dict[str, list[Outcome]] = {}
    results: dict[str, object] = {"recipe": recipe.name, "scale": chosen.scale}
    for name, change in (*RUNS.items(), *LOSSES.items()):
        if name in RUNS:
            mechanism = dataclasses.replace(recipe.mechanism, **change)
            varied = dataclasses.replace(recipe, mechanism=mechanism)
        else:
            losses = dataclasses.replace(recipe.losses, **change)
            varied = dataclasses.replace(recipe, losses=losses)
        examinee = Examinee.load(trained(varied, name, chosen.out))
        conditions = Conditions(measured=varied.mechanism.measured)
        runs[name] = run_bench(examinee, items, conditions)
        results[name] = summary(runs[name])
        alone = run_bench(
            examinee, items, Conditions(measured=varied.mechanism.measured, sensors="radar")
        )
        results[f"{name}, radar only"] = summary(alone)
        macro = results[name]["macro"]  # type: ignore[index]
        print(f"{name}: macro {100 * macro['value']:.1f}", flush=True)
    names = {item.name for item in few}
    for gain, one, other in GAINS:
        found = compare(runs[one], runs[other])
        part = compare(*([o for o in runs[n] if o.item in names] for n in (one, other)))
        results[f"gain: {gain}"] = {"macro": found.as_dict(), "CA + AQ": part.as_dict()}
        print(f"{gain}: macro {found.percent()}, CA + AQ {part.percent()}")
    for name in LOSSES:
        found = compare_masks(runs["injection, measured"], runs[name])
        results[f"gain of masks: with over {name}"] = found.as_dict()
        print(f"mask IoU with over {name}: {found.percent()}")
    results["seconds"] = time.perf_counter() - start
    file = chosen.out / "ablations.json"
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"wall time {results['seconds']:.0f} s; {file}")


if __name__ == "__main__":
    main()
