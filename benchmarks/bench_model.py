"""How good is the model: the benchmark, what each part is worth, calibration, real places.

    python benchmarks/bench_model.py [--model DIR] [--items 1200] [--out out/bench]

Its rivals learn for a few minutes, or from `--rival-scenes 6000` for half an hour or more; they
stay in ``OUT/baselines`` and are not trained again.
Real data is scored where the shared data is (TERRASCOPE_SHARED_DATA); it never enters a weight.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import os
import time
from pathlib import Path

from terrascope.evaluation.bench import BenchSettings
from terrascope.evaluation.command import bench_model

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)


def main() -> None:
    """Examine, print the report and the wall time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--items", type=int, default=1200)
    parser.add_argument("--fit", type=int, default=0, help="validation items to calibrate on")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--rival-scenes", type=int, help="the U-Net's, without a limit of time")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    settings = BenchSettings.of(chosen.items, baselines=not chosen.no_baselines)
    if chosen.rival_scenes:
        settings = dataclasses.replace(
            settings, baseline_scenes=chosen.rival_scenes, baseline_seconds=math.inf
        )
    real = SHARED if (SHARED / "stac" / "items.ndjson").exists() else None
    if real is None:
        print(f"real places left out: no shared data at {SHARED}")
    start = time.perf_counter()
    shown: dict[str, float] = {}

    def progress(step: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if done == total or now - shown.get(step, 0.0) > 30:
            shown[step] = now
            print(f"{now - start:7.0f} s  {step}: {done} of {total}", flush=True)

    bench_model(
        chosen.model, chosen.out, settings, fit_items=chosen.fit, real=real, progress=progress
    )
    print((chosen.out / "results.md").read_text(encoding="utf-8"))
    print(f"wall time {time.perf_counter() - start:.0f} s; {chosen.out / 'results.json'}")


if __name__ == "__main__":
    main()
