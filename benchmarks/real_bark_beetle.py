"""Real input, end to end: bark-beetle damage in Czech spruce forest, September 2019 to 2020.

One monitor run over the footprints of all 160 tiles, searched through a STAC API (rustac), with
nothing tuned on the labels; then pixel F1 against the damage masks, sampled at the masks' own
pixels. Beside it, in the same run, every single-index difference with a threshold that *is*
tuned on these labels, computed on the source pixels themselves.

    python benchmarks/real_bark_beetle.py [--keep FOLDER]

Needs the shared data (TERRASCOPE_SHARED_DATA); the masks are for evaluation only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from shapely.geometry import mapping, shape
from shapely.ops import unary_union

from terrascope.catalog.serve import serve_catalog
from terrascope.evaluation.metrics import best_threshold, confusion

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)
SUBSET = "bark-beetle-cz"
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
[output]
path = "out"
min_area_ha = 0.1
"""
INDICES = {
    "NBR": ("nir", "swir22"),
    "NDMI": ("nir08", "swir16"),
    "NDVI": ("nir", "red"),
    "NDRE": ("nir", "rededge1"),
    "GNDVI": ("nir", "green"),
}
BANDS = ("red", "swir16", "swir22", "nir")


def read(path: Path) -> np.ndarray:
    """First band of a raster."""
    with rasterio.open(path) as file:
        return file.read(1)


def load_items() -> dict[str, dict]:
    """All items of the subset by id."""
    with (SHARED / "stac" / "items.ndjson").open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    return {i["id"]: i for i in items if i["properties"].get("dataset:subset") == SUBSET}


def run_monitor(folder: Path, items: dict[str, dict]) -> float:
    """Run the whole monitor through the command's own flow; return the seconds it took."""
    scenes = [i for i in items.values() if i["collection"] == "sentinel-2-l2a"]
    ground = unary_union([shape(item["geometry"]) for item in scenes])
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(ground)}
    (folder / "aoi.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8"
    )
    with serve_catalog(SHARED / "stac") as server:
        (folder / "monitor.toml").write_text(MONITOR.format(url=server.url), encoding="utf-8")
        start = time.perf_counter()
        from flows.monitor import monitor

        monitor(str(folder / "monitor.toml"))
        return time.perf_counter() - start


def label_pixels(item: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Damage mask of a tile and the coordinates of its pixel centres."""
    path = SHARED / "stac" / item["assets"]["mask"]["href"]
    with rasterio.open(path) as file:
        mask, transform, crs = file.read(1), file.transform, file.crs
    rows, columns = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]] + 0.5
    x, y = transform * (columns, rows)
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return mask, lon, lat


def sample(maps: Path, layer: str, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Value of the zone map's pixel that holds each place."""
    values = np.full(lon.shape, 255, np.float32)
    for path in sorted(maps.glob(f"[0-9][0-9][NS]/{layer}.tif")):
        with rasterio.open(path) as file:
            to_map = pyproj.Transformer.from_crs("EPSG:4326", file.crs, always_xy=True)
            columns, rows = ~file.transform * to_map.transform(lon, lat)
            rows, columns = np.floor(rows).astype(int), np.floor(columns).astype(int)
            if rows.max() < 0 or columns.max() < 0:
                continue
            top, left = max(rows.min(), 0), max(columns.min(), 0)
            bottom, right = min(rows.max() + 1, file.height), min(columns.max() + 1, file.width)
            if top >= bottom or left >= right:
                continue
            window = file.read(1, window=((top, bottom), (left, right)))
            inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
            found = window[rows[inside] - top, columns[inside] - left]
            part = values[inside]
            values[inside] = np.where(part == 255, found, part)
    return values


def index_drops(before: dict, after: dict) -> dict[str, np.ndarray]:
    """Every single-index score of a tile: difference of two dates, higher means damage."""

    def bands(item: dict) -> dict[str, np.ndarray]:
        names = {name for pair in INDICES.values() for name in pair} | set(BANDS)
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


def main() -> int:
    """Run, score, print one table; fails where the must is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path, help="folder for the monitor's output")
    keep = parser.parse_args().keep
    if not (SHARED / "stac" / "items.ndjson").exists():
        print(f"skipped: no shared data at {SHARED}")
        return 0
    items = load_items()
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        seconds = run_monitor(folder, items)
        size = sum(path.stat().st_size for path in (folder / "out" / "maps").rglob("*.tif"))
        rows = [
            score_tile(folder / "out" / "maps", items, i)
            for i in items.values()
            if i["collection"] == "labels"
        ]
    print(f"monitor: {seconds:.0f} s, maps {size / 1e6:.1f} MB, {len(rows)} tiles")
    failed = False
    for name, chosen in (
        ("all tiles", rows),
        ("without weak labels", [r for r in rows if not r["weak"]]),
    ):
        truth, status = (np.concatenate([r[key] for r in chosen]) for key in ("truth", "status"))
        observed = (status != 255) & (status != 0)
        found = confusion(status == 2, truth, observed)
        print(f"\n{name}: {truth.size:,} pixels, {observed.mean():.1%} observed")
        print(f"  TerraScope screen, nothing tuned   F1 {found.f1:.3f}  IoU {found.iou:.3f}")
        best = 0.0
        for index in rows[0]["scores"]:
            scores = np.concatenate([r["scores"][index] for r in chosen])
            fit = best_threshold(scores, truth, observed)
            best = max(best, fit.confusion.f1)
            print(f"  {index:12s} tuned to {fit.threshold:7.3f}      F1 {fit.confusion.f1:.3f}")
        margin = found.f1 - best
        print(f"  screen minus best tuned index      {margin:+.3f} (must be at least -0.010)")
        failed |= margin < -0.01
    return int(failed)


def score_tile(maps: Path, items: dict[str, dict], label: dict) -> dict:
    """Truth, mapped status and index scores of one tile at its mask's pixels."""
    mask, lon, lat = label_pixels(label)
    number = label["id"].split("_")[1]
    before, after = items[f"{SUBSET}_{number}_201909"], items[f"{SUBSET}_{number}_202009"]
    valid = mask != 255
    return {
        "truth": (mask == 1)[valid],
        "status": sample(maps, "status", lon, lat)[valid],
        "scores": {n: s[valid] for n, s in index_drops(before, after).items()},
        "weak": bool(label["properties"].get("dataset:weak_label", False)),
    }


if __name__ == "__main__":
    sys.exit(main())
