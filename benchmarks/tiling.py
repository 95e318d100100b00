"""What the model's map owes to how the ground is cut: two lattices of windows, two batch sizes.

    python benchmarks/tiling.py [--file MONITOR.toml] [--catalog FOLDER] [--tiles N]

Takes a finished run with a model (default that of ``make demo``), and looks at
the same ground again, in a copy of its store: with windows half a stride further south and east,
and with three windows at a time instead of four. Prints the change masks' intersection over union
(wanted for the lattices: at least 0.95) and the share of pixels that differ (wanted for the
batches: at most 0.1 %), of fused maps where every map has been looked at; of the model's maps
alone, too. The run itself is left as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from terrascope.cube.executor import ThreadExecutor
from terrascope.evaluation.overlap import mask_iou
from terrascope.geo.tiles import Tile
from terrascope.monitor.reason.dispatch import reason_batch
from terrascope.monitor.reason.plan import (
    ReasonSettings,
    choose_windows,
    model_plan,
    pending_reason,
    reason_keys,
)
from terrascope.monitor.screen.plan import ScreenPlan, screen_keys
from terrascope.store.repository import Store
from terrascope.types import FloatArray, Status
from terrascope.watch import MonitorRun

LEAST_IOU, MOST_DIFFERENT = 0.95, 0.001


@dataclasses.dataclass(frozen=True)
class Maps:
    """What one way of cutting makes of all tiles.

    Parameters
    ----------
    model : ndarray of float32, shape (tile, y, x)
        Probability, NaN where the model did not look.
    changed : ndarray of bool, shape (tile, y, x)
        By the fused map.
    """

    model: FloatArray
    changed: np.ndarray


def look(plan: ScreenPlan, store: Store, settings: ReasonSettings) -> Maps:
    """Let the model look, and read what came of it."""
    executor = ThreadExecutor(1)
    chosen = choose_windows(plan, settings, store, executor)
    keys = reason_keys(plan, settings, screen_keys(plan, store), chosen)
    fused = model_plan(plan)
    for tiles in pending_reason(fused, store, keys).values():
        reason_batch(plan, settings, tiles, store, executor, keys=keys, chosen=chosen)
    asked = sum(int((one.own & one.ask).sum()) for one in chosen.values())
    print(f"  {asked} windows", flush=True)

    def layer(name: str, tile: Tile) -> np.ndarray:
        return store.read_tile(fused.result_group(tile.zone), name, tile)

    tiles = sorted(plan.tiles)
    return Maps(
        np.stack([layer("model_probability", tile) for tile in tiles]),
        np.stack([layer("status", tile) == Status.PROVISIONAL for tile in tiles]),
    )


def compare(name: str, one: Maps, other: Maps) -> tuple[float, float]:
    """Print how two maps differ; return IoU and share of pixels that differ, of the fused ones."""
    both = np.isfinite(one.model) & np.isfinite(other.model)
    iou = mask_iou(one.changed, other.changed, both)
    different = float((one.changed != other.changed)[both].mean())
    alone = mask_iou(one.model >= 0.5, other.model >= 0.5, both)
    gap = np.abs(one.model - other.model)[both]
    print(
        f"{name}: {both.sum():,} pixels seen by both, {one.changed[both].sum():,} changed; "
        f"fused masks: IoU {iou:.4f}, {different:.4%} of the pixels differ; "
        f"model alone: IoU {alone:.4f}, probabilities differ by {gap.mean():.4f} on average"
    )
    return iou, different


def main() -> int:
    """Look three times, compare, and fail where a must is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=Path("out/demo/archive/demo.toml"))
    parser.add_argument("--catalog", type=Path, help="its scenes; default stac beside the file")
    parser.add_argument("--tiles", type=int, help="only the first so many tiles")
    asked = parser.parse_args()
    if not asked.file.exists():
        print(f"skipped: no monitor file {asked.file}; make demo")
        return 0
    run = MonitorRun.open(asked.file)
    if run.reasoning is None or not (run.output / "cube").exists():
        print(f"skipped: {asked.file} names no model, or was not run")
        return 0
    catalog = asked.catalog or asked.file.parent / "stac"  # the server of the run has stopped
    run.settings = dataclasses.replace(run.settings, url=str(catalog.resolve()))
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(run.output / "cube", Path(temporary) / "cube")
        store = Store.open(str(Path(temporary) / "cube"))
        plan = run.screen_plan
        if asked.tiles:
            plan = dataclasses.replace(plan, batches=(tuple(sorted(plan.tiles))[: asked.tiles],))
        base = dataclasses.replace(run.reasoning, audit=0, threads=1)
        with store.writing():
            first = look(plan, store, base)
            moved = look(plan, store, dataclasses.replace(base, offset_px=base.stride_px // 2))
            three = look(plan, store, dataclasses.replace(base, micro_batch=3))
    iou, _ = compare(f"lattice moved by {base.stride_px // 2} px", first, moved)
    _, different = compare("three windows at a time", first, three)
    return int(iou < LEAST_IOU or different > MOST_DIFFERENT)


if __name__ == "__main__":
    sys.exit(main())
