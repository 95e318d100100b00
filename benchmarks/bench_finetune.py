"""Retrained on a user's labels: bark-beetle damage, spatial 5-fold cross-validation, 160 tiles.

    python benchmarks/bench_finetune.py [--model DIR] [--labels 20] [--steps 1200] [--device cuda]

The fine-tuned model against a U-Net trained on the same folds, pooled out-of-fold, paired by tile;
the probabilities of both are calibrated alike, each fold by the held-out maps of the others.
With --labels N every fold learns from N tiles only. A fold that is done is not run again; --fold
runs some of them. Losses, steps and rate were chosen among six settings by looking at the first
fold. Both systems learn from the cross-entropy of windows as they come: windows drawn around the
damage, and the loss of overlap, made the model expect too much of it. The masks are for
evaluation only: what is trained here is thrown away.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from terrascope.data.scenes import LabelledScene
from terrascope.data.views import cut, turn
from terrascope.evaluation.baselines.protocol import Labels, labels_of, mask_of
from terrascope.evaluation.baselines.unet import UNetPredictor, UNetSettings, train_unet
from terrascope.evaluation.blending import blend
from terrascope.evaluation.bootstrap import bootstrap
from terrascope.evaluation.command import PACKAGED_MODEL
from terrascope.evaluation.metrics import confusion
from terrascope.evaluation.real_change import LOSS, SUBSET, Tile, load_tiles, score_tiles
from terrascope.evaluation.real_rasters import centre_m, load_items
from terrascope.model.geometry import Geometry
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.stacks import Window
from terrascope.train.finetune import FineTuning, map_held_out, spatial_folds
from terrascope.train.folds import cross_calibrated
from terrascope.types import ChangeKind

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)
PROCESSOR = TerrascopeProcessor()
CROP = 64
FOLDS = 5
SYSTEMS = ("TerraScope", "U-Net")
TILES: list[Tile] = []
"""Read once; the processes of the folds inherit them."""


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


def padded(scene: LabelledScene, side: int) -> LabelledScene:
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


def unet_map(network: UNetPredictor, tile: Tile) -> np.ndarray:
    """Map the logits of a tile in its own pixels."""

    def mapper(windows: list) -> np.ndarray:
        return mask_of(network, PROCESSOR(windows), LOSS, (0, 1))[0][:, None].numpy()

    pixel = tile.window.geometry.pixel_size_yx_m[0]
    found = blend(mapper, tile.window, size=CROP, overlap=16, pixel_m=pixel)[0].clip(1e-6, 1 - 1e-6)
    return np.log(found / (1 - found)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Fold:
    """What one process does."""

    number: int
    taught: tuple[int, ...]
    held: tuple[int, ...]
    tuning: FineTuning
    unet_steps: int
    weights: str
    out: Path
    device: str

    @property
    def settings(self) -> str:
        """What its maps hang on."""
        plain = {**dataclasses.asdict(self), "out": "", "tuning": repr(self.tuning)}
        return hashlib.sha256(repr(sorted(plain.items())).encode()).hexdigest()[:16]

    @property
    def file(self) -> Path:
        """Of its maps; other settings are another file."""
        return self.out / f"fold-{self.number}-{self.settings}.npz"


def run(fold: Fold) -> str:
    """Train both systems on a fold, and map what was held out."""
    torch.set_num_threads(1)
    start, spent = time.perf_counter(), time.process_time()
    taught, held = ([TILES[n] for n in which] for which in (fold.taught, fold.held))
    settings = UNetSettings(
        steps=fold.unet_steps, sensor_dropout=0.0, seed=fold.number, device=fold.device
    )
    network = train_unet(crops([tile.scene for tile in taught], fold.number), settings)
    maps = {"U-Net": [unet_map(network, tile) for tile in held]}
    half = time.process_time() - spent
    folder = fold.out / f"fold-{fold.number}-{fold.settings}"
    side = fold.tuning.window_px
    scenes = [padded(tile.scene, side) for tile in taught]
    windows = [padded(tile.scene, side).window for tile in held]
    found = map_held_out(fold.tuning, scenes, windows, folder, cpu=fold.device == "cpu")
    maps["TerraScope"] = [
        one[: tile.damage.shape[0], : tile.damage.shape[1]]
        for one, tile in zip(found, held, strict=True)
    ]
    shutil.rmtree(folder)
    named = {
        f"{name} {n}": m for name in SYSTEMS for n, m in zip(fold.held, maps[name], strict=True)
    }
    partial = fold.file.with_suffix(".part.npz")
    np.savez(partial, **named)
    partial.replace(fold.file)
    seconds, cpu = time.perf_counter() - start, time.process_time() - spent
    truth, seen = ([getattr(t, n) for t in held] for n in ("damage", "observed"))
    scores = [f"{name} F1 {pooled_f1(maps[name], truth, seen):.3f}" for name in SYSTEMS]
    said = f"fold {fold.number}: {', '.join(scores)} out of fold"
    return f"{said}; {seconds:.0f} s, of a core {half:.0f} s (U-Net) + {cpu - half:.0f} s"


def pooled_f1(
    logits: Sequence[np.ndarray], truth: Sequence[np.ndarray], seen: Sequence[np.ndarray]
) -> float:
    """F1 of all observed pixels."""
    counts = [confusion(m > 0, t, s) for m, t, s in zip(logits, truth, seen, strict=True)]
    sums = np.array([[c.hits, c.false_alarms, c.misses] for c in counts], np.float64).sum(0)
    return float(f1_of(sums))


def f1_of(sums: np.ndarray) -> np.ndarray:
    """F1 of sums of hits, false alarms, misses."""
    return 2 * sums[..., 0] / np.maximum(2 * sums[..., 0] + sums[..., 1] + sums[..., 2], 1)


def pooled(folds: Sequence[Fold]) -> dict[str, Any]:
    """Score the maps of all folds together."""
    maps: dict[str, dict[int, np.ndarray]] = {name: {} for name in SYSTEMS}
    of_tile: dict[int, int] = {}
    for fold in folds:
        with np.load(fold.file) as found:
            for name in SYSTEMS:
                maps[name] |= {n: found[f"{name} {n}"] for n in fold.held}
        of_tile |= dict.fromkeys(fold.held, fold.number)
    order = sorted(of_tile)
    tiles = [TILES[n] for n in order]
    number = np.array([of_tile[n] for n in order])
    truth, seen = ([getattr(t, n) for t in tiles] for n in ("damage", "observed"))
    results: dict[str, Any] = {"tiles": len(tiles), "folds": [fold.number for fold in folds]}
    tables = []
    for name in SYSTEMS:
        logits = [maps[name][n] for n in order]
        temperatures, calibrated = cross_calibrated(number, logits, truth, seen)
        raw = [1 / (1 + np.exp(-one)) for one in logits]
        results[name] = score_tiles(tiles, calibrated)
        results[name]["ece before"] = score_tiles(tiles, raw)["all tiles"]["ece"]
        results[name]["temperatures"] = {str(k): round(v, 3) for k, v in temperatures.items()}
        counts = [confusion(m > 0, t, s) for m, t, s in zip(logits, truth, seen, strict=True)]
        tables.append([[c.hits, c.false_alarms, c.misses] for c in counts])
    pairs = np.array(tables, np.float64).swapaxes(0, 1)  # (tiles, systems, 3)
    gain = bootstrap(pairs, lambda sums: f1_of(sums[:, 0]) - f1_of(sums[:, 1]))
    return results | {"F1 gain over the U-Net": gain.as_dict()}


def lines(results: dict[str, Any]) -> list[str]:
    """Write the comparison as a table, in percent."""

    def said(one: dict[str, float]) -> str:
        return f"{100 * one['value']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"

    rows = ["| tiles | system | F1 | F1, one pixel | IoU | ECE |", "|---" * 6 + "|"]
    for part in ("all tiles", "without weak labels", "weak labels"):
        for name in SYSTEMS:
            found = results[name][part]
            if found is not None:
                scores = [said(found[key]) for key in ("f1", "f1_edge", "iou")]
                cells = [f"{part} ({found['tiles']})", name, *scores, f"{found['ece']:.3f}"]
                rows.append("| " + " | ".join(cells) + " |")
    return [*rows, "", f"F1 gain over the U-Net: {said(results['F1 gain over the U-Net'])} points"]


def main() -> None:
    """Cross-validate both, print and save the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=PACKAGED_MODEL)
    parser.add_argument("--labels", type=int, default=0, help="tiles a fold may learn from")
    parser.add_argument("--steps", type=int, default=1200, help="of 8 windows")
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--asked", type=float, default=FineTuning.asked)
    parser.add_argument("--window", type=int, default=64, help="side; most tiles are smaller")
    parser.add_argument("--unet-steps", type=int, default=600)
    parser.add_argument("--fold", type=int, action="append", choices=range(FOLDS))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=Path("out/finetune"))
    chosen = parser.parse_args()
    if not (SHARED / "stac" / "items.ndjson").exists():
        print(f"skipped: no shared data at {SHARED}")
        return
    start = time.perf_counter()
    TILES.extend(load_tiles(SHARED))
    items = [item for item in load_items(SHARED, SUBSET) if item.collection == "labels"]
    number = spatial_folds(np.array([centre_m(item) for item in items]), FOLDS, block_m=2000.0)
    print(f"{time.perf_counter() - start:6.0f} s  {len(TILES)} tiles", flush=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    weights = hashlib.sha256((chosen.model / "model.safetensors").read_bytes()).hexdigest()[:16]
    tuning = FineTuning(
        str(chosen.model),
        steps=chosen.steps,
        rate=chosen.rate,
        asked=chosen.asked,
        window_px=chosen.window,
    )
    rng = np.random.default_rng(0)
    folds = []
    for n in range(FOLDS):
        taught = np.flatnonzero(number != n)
        if chosen.labels:
            taught = np.sort(rng.choice(taught, min(chosen.labels, taught.size), replace=False))
        held = np.flatnonzero(number == n)
        own = dataclasses.replace(tuning, seed=n)
        what = (n, tuple(taught.tolist()), tuple(held.tolist()), own, chosen.unet_steps, weights)
        folds.append(Fold(*what, chosen.out, chosen.device))
    wanted = [f for f in folds if not f.file.exists() and f.number in (chosen.fold or range(FOLDS))]
    # Forked, so that the tiles are not read or sent again; nothing here has used torch's threads.
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(chosen.processes, mp_context=context) as pool:
        for one in concurrent.futures.as_completed([pool.submit(run, fold) for fold in wanted]):
            print(f"{time.perf_counter() - start:6.0f} s  {one.result()}", flush=True)
    there = [fold for fold in folds if fold.file.exists()]
    if not there:
        return
    results = pooled(there)
    results |= {"labels": chosen.labels or "all", "steps": chosen.steps, "model": weights}
    results |= {"device": chosen.device}
    results["seconds"] = round(time.perf_counter() - start, 1)
    file = chosen.out / f"finetune-{chosen.labels or 'all'}.json"
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(lines(results))
    file.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"{len(there)} of {FOLDS} folds; wall time {results['seconds']:.0f} s; {file}")


if __name__ == "__main__":
    main()
