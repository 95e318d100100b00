"""How often does the screen cry wolf? Real pairs of dates between which nothing changed.

Every pair of the five 33TWL dates, consecutive OPERA RTC dates of California (rain included), and
consecutive clear dates of the two gfmap series, all with the settings of a monitor run. One table:
share of the clear pixels that are flagged. Each land row must stay under 1 %.

    python benchmarks/real_screen.py
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from terrascope.kernels.masks import dilate, mask_scl
from terrascope.kernels.normalise import NodeFit, apply_normalisation, fit_node, interpolate_nodes
from terrascope.kernels.radiometry import to_db, to_reflectance
from terrascope.kernels.screen import fit_shift_node, fuse, screen_optical, screen_sar
from terrascope.types import Quality, Status

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)
DILATION_M, TILE_M, STRIDE, CLEAR = 60, 15_360, 3, 0.5
DARKENED = Quality.CLOUD | Quality.SHADOW
SEA = "292318-IW1"


def items(subset: str, collection: str) -> list[dict[str, Any]]:
    """Items of one subset in order of time."""
    lines = (SHARED / "stac" / "items.ndjson").read_text().splitlines()
    found = [item for item in map(json.loads, lines) if item["collection"] == collection]
    found = [i for i in found if i["properties"].get("dataset:subset") == subset]
    return sorted(found, key=lambda item: item["properties"]["datetime"])


def stored(item: dict[str, Any], band: str) -> NDArray[Any]:
    """Read one asset."""
    with rasterio.open(SHARED / "stac" / item["assets"][band]["href"]) as source:
        return source.read(1)


def reflectance(item: dict[str, Any], bands: tuple[str, ...], pixel_m: float) -> NDArray[Any]:
    """Reflectance, NaN under the dilated classification's clouds."""
    numbers = np.stack([stored(item, band) for band in bands])
    bits = mask_scl(stored(item, "scl"))
    # At 120 m the neighbour of a cloud touches it: one pixel at least.
    bad = (
        dilate((bits & DARKENED) > 0, max(DILATION_M, pixel_m), pixel_m)
        | (bits > 0)
        | (numbers == 0).any(0)
    )
    values = to_reflectance(numbers, scale=1e-4, offset=0.0, nodata=0)
    return np.where(bad, np.float32(np.nan), values)


def lattice(
    old: NDArray[Any], new: NDArray[Any], transform: list[float], fit: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Fit every node of the tile grid under a scene, and interpolate."""
    pixel, west, north = transform[0], transform[2], transform[5]
    x = (west + (np.arange(old.shape[-1]) + 0.5) * pixel) / TILE_M
    y = (north - (np.arange(old.shape[-2]) + 0.5) * pixel) / TILE_M
    columns = np.arange(np.floor(x[0]), np.floor(x[-1]) + 2)
    rows = np.arange(np.floor(y[-1]), np.floor(y[0]) + 2)
    stride = max(1, int(STRIDE * 10 / pixel))
    fits: list[list[NodeFit]] = []
    for row in rows:
        inside_y = np.flatnonzero(np.abs(y - row) < 1)[::stride]
        fits.append([])
        for column in columns:
            inside_x = np.flatnonzero(np.abs(x - column) < 1)[::stride]
            block = np.ix_(np.arange(len(old)), inside_y, inside_x)
            fits[-1].append(fit(*(a[block].reshape(len(old), -1).T for a in (old, new))))
    return interpolate_nodes(fits, y - rows[0], x - columns[0])


def optical_rows(subset: str, *, every_pair: bool) -> Iterator[tuple[str, int, float]]:
    """Pairs of dates of a Sentinel-2 subset."""
    scenes = items(subset, "sentinel-2-l2a")
    bands = tuple(band for band in scenes[0]["assets"] if band != "scl")
    transform = scenes[0]["assets"]["red"]["proj:transform"]
    pixel = transform[0]
    dates = [(s["properties"]["datetime"][:10], reflectance(s, bands, pixel)) for s in scenes]
    least = 0.01 if every_pair else CLEAR
    dates = [(day, values) for day, values in dates if np.isfinite(values[0]).mean() > least]
    pairs = itertools.combinations(dates, 2) if every_pair else itertools.pairwise(dates)
    for (before, old), (after, new) in pairs:
        corrected = apply_normalisation(new, *lattice(old, new, transform, fit_node))
        evidence = screen_optical(
            old[None],
            corrected[None],
            bands=bands,
            baseline_months=[int(before[5:7])],
            target_months=[int(after[5:7])],
            pixel_m=pixel,
        )
        status = fuse([evidence]).status
        clear = int((status > 0).sum())
        if clear:
            share = float((status == Status.PROVISIONAL).sum() / clear)
            yield f"{subset} {before} -> {after}", clear, share


def decibel(item: dict[str, Any]) -> NDArray[np.float32]:
    """VV and VH in dB, NaN where there is no power."""
    return to_db(np.stack([stored(item, band) for band in ("vv", "vh")]).astype(np.float32))


def radar_rows(subset: str, *, known_orbit: bool) -> Iterator[tuple[str, int, float]]:
    """Consecutive dates of a Sentinel-1 subset, summed over the dates of each place."""
    places: dict[str, list[dict[str, Any]]] = {}
    for item in items(subset, "sentinel-1-rtc"):
        name = item["id"].split("_")[3].partition("-")[2] if known_orbit else ""
        places.setdefault(name, []).append(item)
    for name, scenes in sorted(places.items()):
        transform = scenes[0]["assets"]["vv"]["proj:transform"]
        pixels, flagged, worst = 0, 0, 0.0
        for one, two in itertools.pairwise(scenes):
            old, new = decibel(one), decibel(two)
            _, shift = lattice(old, new, transform, fit_shift_node)
            evidence = screen_sar(
                old[None],
                new[None],
                pixel_m=transform[0],
                shift_db=shift,
                one_geometry=known_orbit,
            )
            status = fuse([evidence]).status
            here = int((status == Status.PROVISIONAL).sum())
            pixels, flagged = pixels + int((status > 0).sum()), flagged + here
            worst = max(worst, here / max(int((status > 0).sum()), 1))
        label = f"{subset} {name or 'radar'}".strip() + (" (sea)" if name == SEA else "")
        yield f"{label}: mean of {len(scenes) - 1} pairs", pixels, flagged / pixels
        yield f"{label}: worst pair", pixels // (len(scenes) - 1), worst


def main() -> int:
    """Print the table; fails where the must is missed."""
    if not (SHARED / "stac" / "items.ndjson").exists():
        print(f"skipped: no shared data at {SHARED}")
        return 0
    print(f"{'pair':62} {'pixels':>9} {'flagged':>9}")
    rows = itertools.chain(
        optical_rows("mapchete-33twl", every_pair=True),
        optical_rows("gfmap-a", every_pair=False),
        optical_rows("gfmap-b", every_pair=False),
        radar_rows("gfmap-a", known_orbit=False),
        radar_rows("opera-california", known_orbit=True),
    )
    worst = 0.0
    for label, pixels, share in rows:
        print(f"{label:62} {pixels:9d} {100 * share:8.3f}%", flush=True)
        if "(sea)" not in label:
            worst = max(worst, share)
    print(f"{'worst row, the sea apart':62} {'':9} {100 * worst:8.3f}%  (must be under 1 %)")
    return int(worst >= 0.01)


if __name__ == "__main__":
    sys.exit(main())
