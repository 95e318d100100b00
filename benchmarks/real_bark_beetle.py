"""Real input, end to end: bark-beetle damage in Czech spruce forest, September 2019 to 2020.

``terrascope monitor`` over the footprints of all 160 tiles, searched through a STAC API (rustac),
with the packaged model, and nothing tuned on the labels. Then the damage masks, at their own
pixels, against three maps of that one run: the screen, the model, and both fused. Beside them
every single-index difference with a threshold that *is* tuned on these labels, computed on the
source pixels themselves.

    python benchmarks/real_bark_beetle.py [--keep FOLDER] [--model NAME] [--picture PNG] [--tiles N]

A kept folder is gone on with: with another model only what the model looks at is done anew.
Needs the shared data (TERRASCOPE_SHARED_DATA); the masks are for evaluation only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pyproj
import rasterio
from matplotlib.figure import Figure
from shapely.geometry import mapping, shape
from shapely.ops import unary_union

from terrascope.catalog.serve import serve_catalog
from terrascope.evaluation.bootstrap import Interval, bootstrap
from terrascope.evaluation.metrics import Confusion, best_threshold, confusion
from terrascope.evaluation.overlap import boundary_iou
from terrascope.evaluation.real_change import INDICES, SUBSET
from terrascope.sensors import S2_BANDS
from terrascope.types import BoolArray, FloatArray, Status

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)
MONTHS = ("201909", "202009")
MONITOR = """
[monitor]
name = "bark-beetle-cz"
[area]
aoi = "aoi.geojson"
[catalog]
profile = "local"
url = "{url}"
[time]
target = "2020-09-01/2020-09-30"
baseline = "2019-09-01/2019-09-30"
[sensors]
optical = "sentinel-2-l2a"
[cube]
bands = {bands}
[model]
name = "{model}"
budget = "all"
[[questions]]
text = "How much was lost?"
[output]
path = "out"
min_area_ha = 0.1
"""
SINGLE = ("red", "swir16", "swir22", "nir")
LAYERS = {"screen": "screen_probability", "model": "model_probability", "fused": None}
"""Maps of one run; the fused one is what its `status` says."""
THRESHOLD, OUTSIDE, LEAST_GAP = 0.5, 255, -0.01
RANKS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A labelled tile, and what the run's maps say at its pixels.

    Parameters
    ----------
    name : str
        Number of the tile.
    truth : ndarray of bool, shape (y, x)
        Damage.
    seen : ndarray of bool, shape (y, x)
        Observed by the run, and labelled.
    found : dict of str to ndarray of bool
        Change, by map of `LAYERS`.
    weak : bool
        Whether the source's own quality figures call the label weak.
    pixel_ha : float
        Ground of a pixel.
    drops : dict of str to ndarray of float32
        Differences of single indices, by name.
    """

    name: str
    truth: BoolArray
    seen: BoolArray
    found: dict[str, BoolArray]
    weak: bool
    pixel_ha: float
    drops: dict[str, FloatArray]


def read(path: Path) -> Any:
    """First band of a raster."""
    with rasterio.open(path) as file:
        return file.read(1)


def load_items(tiles: int | None) -> dict[str, dict[str, Any]]:
    """Items of the subset by id: those of all tiles, or of the first so many."""
    with (SHARED / "stac" / "items.ndjson").open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    found = {i["id"]: i for i in items if i["properties"].get("dataset:subset") == SUBSET}
    numbers = set(sorted({name.split("_")[1] for name in found})[:tiles])
    return {name: item for name, item in found.items() if name.split("_")[1] in numbers}


def run_monitor(folder: Path, items: dict[str, dict[str, Any]], model: str) -> float:
    """Run ``terrascope monitor``; return the seconds it took."""
    scenes = [i for i in items.values() if i["collection"] == "sentinel-2-l2a"]
    ground = unary_union([shape(item["geometry"]) for item in scenes])
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(ground)}
    (folder / "aoi.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8"
    )
    with serve_catalog(SHARED / "stac") as server:
        text = MONITOR.format(url=server.url, model=model, bands=json.dumps(list(S2_BANDS)))
        (folder / "monitor.toml").write_text(text, encoding="utf-8")
        start = time.perf_counter()
        command = [sys.executable, "-m", "terrascope", "monitor", str(folder / "monitor.toml")]
        subprocess.run(command, check=True)
        return time.perf_counter() - start


def label_pixels(item: dict[str, Any]) -> tuple[Any, FloatArray, FloatArray, float]:
    """Damage mask of a tile, the coordinates of its pixel centres, and hectares of a pixel."""
    path = SHARED / "stac" / item["assets"]["mask"]["href"]
    with rasterio.open(path) as file:
        mask, transform, crs, bounds = file.read(1), file.transform, file.crs, file.bounds
    rows, columns = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]] + 0.5
    to_lonlat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform(*(transform * (columns, rows)))
    x, y = [bounds.left, bounds.right] * 2, [bounds.bottom] * 2 + [bounds.top] * 2
    corners = np.array(to_lonlat.transform(x, y))[:, [0, 1, 3, 2]]
    area_m2, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(*corners)
    return mask, lon, lat, abs(area_m2) / mask.size / 1e4


def sample(maps: Path, layer: str, lon: FloatArray, lat: FloatArray) -> FloatArray:
    """Value of the zone map's pixel that holds each place; NaN outside and where there is none."""
    values = np.full(lon.shape, np.nan, np.float32)
    for path in sorted(maps.glob(f"[0-9][0-9][NS]/{layer}.tif")):
        with rasterio.open(path) as file:
            to_map = pyproj.Transformer.from_crs("EPSG:4326", file.crs, always_xy=True)
            columns, rows = ~file.transform * to_map.transform(lon, lat)
            rows, columns = np.floor(rows).astype(int), np.floor(columns).astype(int)
            top, left = max(rows.min(), 0), max(columns.min(), 0)
            bottom, right = min(rows.max() + 1, file.height), min(columns.max() + 1, file.width)
            if top >= bottom or left >= right:
                continue
            window = file.read(1, window=((top, bottom), (left, right))).astype(np.float32)
            window[window == OUTSIDE] = np.nan
            inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
            found = window[rows[inside] - top, columns[inside] - left]
            values[inside] = np.where(np.isnan(values[inside]), found, values[inside])
    return values


def index_drops(before: dict[str, Any], after: dict[str, Any]) -> dict[str, FloatArray]:
    """Every single-index score of a tile: difference of two dates, higher means damage."""

    def bands(item: dict[str, Any]) -> dict[str, FloatArray]:
        names = {name for pair in INDICES.values() for name in pair} | set(SINGLE)
        hrefs = {name: SHARED / "stac" / item["assets"][name]["href"] for name in names}
        numbers = {name: read(path).astype(np.float32) for name, path in hrefs.items()}
        return {name: np.where(dn == 0, np.nan, dn * 1e-4) for name, dn in numbers.items()}

    old, new = bands(before), bands(after)
    with np.errstate(invalid="ignore", divide="ignore"):
        drops = {
            name: (old[a] - old[b]) / (old[a] + old[b]) - (new[a] - new[b]) / (new[a] + new[b])
            for name, (a, b) in INDICES.items()
        }
    rises = {f"{name} rise": new[name] - old[name] for name in ("red", "swir16", "swir22")}
    return {**drops, **rises, "nir fall": old["nir"] - new["nir"]}


def score_tile(maps: Path, items: dict[str, dict[str, Any]], label: dict[str, Any]) -> Tile:
    """Truth, maps and index scores of one tile at its mask's pixels."""
    mask, lon, lat, pixel_ha = label_pixels(label)
    number = label["id"].split("_")[1]
    status = sample(maps, "status", lon, lat)
    found = {"fused": status == Status.PROVISIONAL}
    for name, layer in LAYERS.items():
        if layer is not None:
            found[name] = sample(maps, layer, lon, lat) >= np.float32(THRESHOLD)
    return Tile(
        name=number,
        truth=mask == 1,
        seen=(status > 0) & (mask != OUTSIDE),
        found=found,
        weak=bool(label["properties"].get("dataset:weak_label", False)),
        pixel_ha=pixel_ha,
        drops=index_drops(*(items[f"{SUBSET}_{number}_{month}"] for month in MONTHS)),
    )


def counts_of(tiles: list[Tile], name: str) -> tuple[FloatArray, Confusion]:
    """Pixels found and true, found, missed, and the rim's score with its weight, by tile."""
    rows, total = [], Confusion(0, 0, 0, 0)
    for tile in tiles:
        found = confusion(tile.found[name], tile.truth, tile.seen)
        some = bool((tile.truth & tile.seen).any() or (tile.found[name] & tile.seen).any())
        rim = boundary_iou(tile.found[name] & tile.seen, tile.truth & tile.seen, tile.seen)
        rows.append([found.hits, found.false_alarms, found.misses, rim * some, some])
        total += found
    return np.array(rows, np.float64), total


def print_scores(title: str, tiles: list[Tile]) -> dict[str, float]:
    """Print one table; return F1 by map, and that of the best tuned index."""
    truth, seen = (
        np.concatenate([getattr(t, key).ravel() for t in tiles]) for key in ("truth", "seen")
    )
    label_ha = sum(float((t.truth & t.seen).sum()) * t.pixel_ha for t in tiles)
    print(f"\n{title}: {len(tiles)} tiles, {truth.size:,} pixels, {seen.mean():.1%} observed")
    print(f"  labels: {label_ha:.0f} ha of damage observed")
    print("  map      F1 [95 %]              IoU                    boundary IoU")
    scores = {}
    for name in LAYERS:
        table, total = counts_of(tiles, name)
        f1 = bootstrap(table, lambda s: 2 * s[:, 0] / (2 * s[:, 0] + s[:, 1] + s[:, 2]))
        iou = bootstrap(table, lambda s: s[:, 0] / s[:, :3].sum(1))
        rim = bootstrap(table, lambda s: s[:, 3] / np.maximum(s[:, 4], 1))
        area = sum(float((t.found[name] & t.seen).sum()) * t.pixel_ha for t in tiles)
        print(
            f"  {name:8s} {_text(f1)}   {_text(iou)}   {_text(rim)}   precision "
            f"{total.precision:.3f}, recall {total.recall:.3f}; {area:.0f} ha, "
            f"{area / label_ha - 1:+.0%} of the labels"
        )
        scores[name] = f1.value
    best = 0.0
    for index in tiles[0].drops:
        fit = best_threshold(np.concatenate([t.drops[index].ravel() for t in tiles]), truth, seen)
        best = max(best, fit.confusion.f1)
        print(f"  {index:12s} tuned to {fit.threshold:7.3f}: F1 {fit.confusion.f1:.3f}")
    return {**scores, "tuned index": best}


def _text(score: Interval) -> str:
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def print_statement(out: Path, tiles: list[Tile]) -> None:
    """Print what the run itself states of the whole area, beside the labels."""
    answers = pq.read_table(out / "answers.parquet").to_pylist()
    for row in answers:
        print(f"\nasked: {row['question']}\n  {row['text']}")
    area = sum(float((t.truth & t.seen).sum()) * t.pixel_ha for t in tiles)
    print(f"  (labels: {area:.0f} ha of damage in the tiles that the area is made of)")


def draw(tiles: list[Tile], items: dict[str, dict[str, Any]], file: Path) -> None:
    """Draw tiles of growing F1, by rank, not by looks: images, labels, and the three maps."""
    strong = [t for t in tiles if not t.weak and (t.truth & t.seen).mean() > 0.03]
    f1 = [confusion(t.found["fused"], t.truth, t.seen).f1 for t in strong]
    ranked = [strong[i] for i in np.argsort(f1, kind="stable")]
    chosen = [(share, ranked[round(share * (len(ranked) - 1))]) for share in RANKS]
    titles = ["September 2019", "September 2020", "labels", *(f"{n} map" for n in LAYERS)]
    figure = Figure(figsize=(2 * len(titles), 2.1 * len(chosen) + 0.3), layout="constrained")
    axes = figure.subplots(len(chosen), len(titles))
    for row, (share, tile) in zip(axes, chosen, strict=True):
        pictures = [_colours(items[f"{SUBSET}_{tile.name}_{month}"]) for month in MONTHS]
        masks = [tile.truth, *(tile.found[name] for name in LAYERS)]
        pictures += [_outcome(mask, tile) for mask in masks]
        score = confusion(tile.found["fused"], tile.truth, tile.seen).f1
        for axis, picture, title in zip(row, pictures, titles, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if tile is chosen[0][1]:
                axis.set_title(title, fontsize=9)
        row[0].set_ylabel(f"tile {tile.name}\nrank {share:.0%}, F1 {score:.2f}", fontsize=8)
    figure.savefig(file, dpi=110)


def _colours(item: dict[str, Any]) -> FloatArray:
    """Short-wave and near infrared and red: living spruce is dark green, dead is reddish."""
    planes = [
        read(SHARED / "stac" / item["assets"][name]["href"]) for name in ("swir16", "nir", "red")
    ]
    stretched = np.stack(planes, -1) / np.array([3000.0, 4000.0, 1500.0])
    return np.clip(stretched, 0, 1).astype(np.float32)


def _outcome(mask: BoolArray, tile: Tile) -> FloatArray:
    """White: found and true; orange: found only; blue: missed; grey: not observed."""
    picture = np.full((*mask.shape, 3), 0.12, np.float32)
    picture[mask & tile.truth] = 1.0
    picture[mask & ~tile.truth] = (0.84, 0.37, 0.0)
    picture[~mask & tile.truth] = (0.34, 0.71, 0.91)
    picture[~tile.seen] = 0.5
    return picture


def main() -> int:
    """Run, score, print; fails where a must is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="folder for the monitor's output")
    parser.add_argument("--model", default="nano@promoted", help="NAME@promoted, or a folder")
    parser.add_argument("--picture", type=Path, help="PNG of some tiles, their labels and maps")
    parser.add_argument("--tiles", type=int, help="only the first so many, for a quick look")
    asked = parser.parse_args()
    if not (SHARED / "stac" / "items.ndjson").exists():
        print(f"skipped: no shared data at {SHARED}")
        return 0
    items = load_items(asked.tiles)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        seconds = run_monitor(folder, items, asked.model)
        maps = folder / "out" / "maps"
        size = sum(path.stat().st_size for path in maps.rglob("*.tif"))
        labels = [item for item in items.values() if item["collection"] == "labels"]
        tiles = [score_tile(maps, items, label) for label in labels]
        print(f"monitor: {seconds:.0f} s, maps {size / 1e6:.1f} MB, {len(tiles)} tiles")
        scores = print_scores("all tiles", tiles)
        print_scores("without weak labels", [tile for tile in tiles if not tile.weak])
        print_statement(folder / "out", tiles)
        if asked.picture:
            draw(tiles, items, asked.picture)
    gaps = {
        "fused minus the better of screen and model": scores["fused"]
        - max(scores["screen"], scores["model"]),
        "screen minus the best tuned index": scores["screen"] - scores["tuned index"],
    }
    print()
    for name, gap in gaps.items():
        print(f"{name}: F1 {gap:+.3f} (must be at least {LEAST_GAP})")
    return int(min(gaps.values()) < LEAST_GAP)


if __name__ == "__main__":
    sys.exit(main())
