"""Retrained on a user's labels: bark-beetle damage, spatial 5-fold cross-validation, 160 tiles.

    python benchmarks/bench_finetune.py [--model DIR] [--labels 20] [--steps 200] [--out DIR]

The fine-tuned model against a U-Net trained on the same folds, pooled out-of-fold, paired by tile.
With --labels N every fold learns from N tiles only. The masks are for evaluation only: what is
trained here is thrown away.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from terrascope.data.scenes import LabelledScene
from terrascope.data.views import cut, turn
from terrascope.evaluation.baselines.protocol import Labels, labels_of, mask_of
from terrascope.evaluation.baselines.unet import UNetPredictor, UNetSettings, train_unet
from terrascope.evaluation.blending import blend
from terrascope.evaluation.bootstrap import bootstrap
from terrascope.evaluation.command import PACKAGED_MODEL
from terrascope.evaluation.mapping import ModelMapper
from terrascope.evaluation.metrics import confusion
from terrascope.evaluation.real_change import LOSS, SUBSET, Tile, load_tiles, score_tiles
from terrascope.evaluation.real_rasters import centre_m, load_items
from terrascope.evaluation.runner import Examinee
from terrascope.model.geometry import Geometry
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.stacks import Window
from terrascope.train.finetune import FineTuning, fine_tune, spatial_folds
from terrascope.types import ChangeKind

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)
PROCESSOR = TerrascopeProcessor()
CROP = 64


def crops(scenes: list[LabelledScene], seed: int, batch: int = 8) -> Iterator[Labels]:
    """Yield turned crops of random tiles, without end."""
    rng = np.random.default_rng(seed)
    while True:
        chosen = []
        while len(chosen) < batch:
            scene = scenes[int(rng.integers(len(scenes)))]
            rows, columns = scene.window.geometry.shape_yx
            size = min(CROP, rows, columns)
            top, left = (int(rng.integers(n - size + 1)) for n in (rows, columns))
            try:
                part = cut(scene, top, left, size)
            except ValueError:  # nothing was observed there
                continue
            chosen.append(turn(part, int(rng.integers(4)), mirrored=bool(rng.integers(2))))
        yield labels_of(chosen, PROCESSOR)


def held(scene: LabelledScene, side: int = 128) -> LabelledScene:
    """Let a tile hold whole windows: a side that is too short, of one that is long, is padded."""
    rows, columns = scene.window.geometry.shape_yx
    if not min(rows, columns) < side < max(rows, columns):
        return scene
    down, right = max(side - rows, 0), max(side - columns, 0)
    edge = ((0, 0), (0, 0), (0, down), (0, right))
    stack = scene.window.optical
    values = np.pad(stack.observed_values(), edge, constant_values=np.nan)
    size = scene.window.geometry.pixel_size_yx_m
    window = Window(
        Geometry.planar((rows + down, columns + right), size),
        dataclasses.replace(stack, values=values, valid=None),
    )
    cover = np.pad(scene.cover, edge[1:])
    kinds = np.pad(scene.changes[0, 1], edge[2:], constant_values=int(ChangeKind.OUTSIDE))
    return LabelledScene(scene.image_id, window, cover, {(0, 1): kinds})


def model_map(mapper: ModelMapper, tile: Tile) -> np.ndarray:
    """Map a tile in its own pixels, as fine-tuning saw them."""

    def found(windows: list) -> np.ndarray:
        return mapper.masks(PROCESSOR(windows), [(LOSS, (0, 1))]).numpy()

    pixel = tile.window.geometry.pixel_size_yx_m[0]
    return blend(found, tile.window, size=128, overlap=32, pixel_m=pixel)[0]


def unet_map(network: UNetPredictor, tile: Tile) -> np.ndarray:
    """Map a tile in its own pixels."""

    def mapper(windows: list) -> np.ndarray:
        return mask_of(network, PROCESSOR(windows), LOSS, (0, 1))[0][:, None].numpy()

    pixel = tile.window.geometry.pixel_size_yx_m[0]
    return blend(mapper, tile.window, size=CROP, overlap=16, pixel_m=pixel)[0]


def f1_of(sums: np.ndarray) -> np.ndarray:
    """F1 of sums of hits, false alarms, misses."""
    return 2 * sums[..., 0] / np.maximum(2 * sums[..., 0] + sums[..., 1] + sums[..., 2], 1)


def main() -> None:
    """Cross-validate both, print and save the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=PACKAGED_MODEL)
    parser.add_argument("--labels", type=int, default=0, help="tiles a fold may learn from")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--unet-steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("out/finetune"))
    chosen = parser.parse_args()
    if not (SHARED / "stac" / "items.ndjson").exists():
        print(f"skipped: no shared data at {SHARED}")
        return
    start = time.perf_counter()
    tiles = list(load_tiles(SHARED))
    scenes = [tile.scene for tile in tiles]
    items = [item for item in load_items(SHARED, SUBSET) if item.collection == "labels"]
    centres = np.array([centre_m(item) for item in items])
    fold = spatial_folds(centres, 5, block_m=2000.0)
    rng = np.random.default_rng(0)
    networks: list[np.ndarray | None] = [None] * len(tiles)
    ours: list[np.ndarray | None] = [None] * len(tiles)
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(5):
            taught = np.flatnonzero(fold != number)
            if chosen.labels:
                taught = rng.choice(taught, min(chosen.labels, taught.size), replace=False)
            settings = UNetSettings(steps=chosen.unet_steps, sensor_dropout=0.0, seed=number)
            network = train_unet(crops([scenes[n] for n in taught], number), settings)
            for n in np.flatnonzero(fold == number):
                networks[n] = unet_map(network, tiles[n])
            print(f"U-Net fold {number}: {time.perf_counter() - start:.0f} s", flush=True)
            if chosen.labels:
                tuning = FineTuning(str(chosen.model), steps=chosen.steps, folds=0, seed=number)
                few = [held(scenes[n]) for n in taught]
                folder = Path(temporary) / f"few-{number}"
                fine_tune(tuning, few, np.zeros(len(few), np.int64), folder)
                mapper = ModelMapper(Examinee.load(folder))
                for n in np.flatnonzero(fold == number):
                    ours[n] = model_map(mapper, tiles[n])
        if not chosen.labels:
            tuning = FineTuning(str(chosen.model), steps=chosen.steps)
            whole = [held(scene) for scene in scenes]
            found = fine_tune(tuning, whole, fold, Path(temporary) / "all").probabilities or []
            ours = [
                one[: tile.damage.shape[0], : tile.damage.shape[1]]
                for one, tile in zip(found, tiles, strict=True)
            ]
    results = {"TerraScope": score_tiles(tiles, ours), "U-Net": score_tiles(tiles, networks)}
    tables = np.array(
        [
            [
                [counts.hits, counts.false_alarms, counts.misses]
                for counts in (
                    confusion(one > 0.5, tile.damage, tile.observed),
                    confusion(other > 0.5, tile.damage, tile.observed),
                )
            ]
            for tile, one, other in zip(tiles, ours, networks, strict=True)
        ],
        np.float64,
    )
    gain = bootstrap(tables, lambda sums: f1_of(sums[:, 0]) - f1_of(sums[:, 1]))
    results["F1 gain over the U-Net"] = gain.as_dict()
    results["seconds"] = time.perf_counter() - start
    chosen.out.mkdir(parents=True, exist_ok=True)
    file = chosen.out / f"finetune-{chosen.labels or 'all'}.json"
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name in ("TerraScope", "U-Net"):
        scores = results[name]["all tiles"]
        print(f"{name}: F1 {scores['f1']}, edge {scores['f1_edge']}, ECE {scores['ece']:.3f}")
    print(f"gain in F1: {gain.percent()}; wall time {results['seconds']:.0f} s; {file}")


if __name__ == "__main__":
    main()
