"""Does the text of the benchmark give anything away? More questions than the benchmark has.

    python benchmarks/text_only.py [--items 3000] [--seed 5000000]

A reader that learns from answered questions, and never sees an image, answers others
(`terrascope.evaluation.baselines.text_only`). Questions are made as the benchmark makes them, on
scenes of the test split; only their labels are simulated, nothing is rendered: a question more
costs next to nothing, and an error of a point in 1,200 answers becomes half of one.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time

from terrascope.evaluation.baselines.text_only import read_across
from terrascope.evaluation.making import items_from
from terrascope.evaluation.outcomes import summary
from terrascope.evaluation.simulated import DEMOLISHED, LabelScenes, in_turn

SIZE = 128


def main() -> None:
    """Ask, let the reader answer, print how often it is right."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=5_000_000, help="of the first scene")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    start = time.perf_counter()
    labels = LabelScenes("test", SIZE, DEMOLISHED)
    made = in_turn(labels, itertools.count(chosen.seed), chosen.workers)
    items = items_from((scene for _, scene in made), chosen.items)
    found = summary(read_across(items))
    macro = found["macro"]
    print("| task | questions | right, % | chance, % |\n|---|---|---|---|")
    for task, one in found["tasks"].items():
        right, guessed = 100 * one["accuracy"]["value"], 100 * one["chance"]
        print(f"| {task} | {one['items']} | {right:.1f} | {guessed:.1f} |")
    value, low, high = (100 * macro[key] for key in ("value", "low", "high"))
    print(f"\nmacro {value:.1f} [{low:.1f}, {high:.1f}], chance {100 * found['chance']:.1f}")
    print(f"{len(items)} questions, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
