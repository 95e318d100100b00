"""Reference for alerts over the Romanian series, from yearly medians alone.

    python benchmarks/romania_reference.py

For every year, the NDVI median of the clear dates of June to August. Ground counts as

* lost between two years, where the median fell by at least 0.15 (three times the band of stable
  forest) and no later year won back half of the fall, in patches of at least four pixels (edges
  and corners touch) with a tree cover of at least 50 %;
* stable, where all four medians lie within 0.05 of each other, with a tree cover of at least 70 %.

If the ground fell in one step, it fell between the middle clear summer dates of the two years:
that is a patch's date bracket. Clear is what Sen2Cor's classes leave, grown by 60 m, as in the
cube. The tree cover is of 2018 (Copernicus High Resolution Layer, 20 m). Written to
``tests/reference/romania_alerts.json``: derived figures only. It was committed before any alert
ran on the series; nothing is tuned on it. Needs the shared data (TERRASCOPE_SHARED_DATA).
"""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.kernels.masks import dilate, mask_scl

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)
TARGET = Path(__file__).parents[1] / "tests" / "reference" / "romania_alerts.json"
BANDS = ("blue", "green", "red", "nir")
PIXEL_M, DILATION_M = 10, 60
SUMMER = (6, 7, 8)
LOSS_NDVI, STABLE_NDVI = 0.15, 0.05
LOSS_TREES, STABLE_TREES = 50, 70
SMALLEST = 4


def read_series() -> tuple[NDArray[np.float32], list[dt.date]]:
    """Read all dates: reflectance (date, band, y, x), NaN where not clear, and the days."""
    folders = sorted((SHARED / "stac" / "sentinel-2-l2a").glob("nrt-romania_*"))
    stack = []
    for folder in folders:
        bands = np.stack([_read(folder / f"{band}.tif") for band in BANDS]).astype(np.float32)
        hidden = dilate(mask_scl(_read(folder / "scl.tif")) != 0, DILATION_M, PIXEL_M)
        missing = hidden | (bands == 0).any(axis=0)
        stack.append(np.where(missing, np.float32(np.nan), bands * np.float32(1e-4)))
    days = [dt.datetime.strptime(folder.name[-8:], "%Y%m%d").date() for folder in folders]
    return np.stack(stack), days


def read_trees() -> NDArray[np.float64]:
    """Read the tree cover in percent on the grid of the series."""
    folder = SHARED / "stac" / "labels" / "nrt-romania_tree-cover-density-2018"
    trees = _read(folder / "tree_cover_density.tif").astype(np.float64)
    return trees.repeat(2, axis=0).repeat(2, axis=1)


def _read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as source:
        band: NDArray[Any] = source.read(1)
    return band


def yearly(
    series: NDArray[np.float32], days: list[dt.date], year: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the summer's NDVI median, and its middle clear day as days since 1970."""
    use = [i for i, day in enumerate(days) if day.year == year and day.month in SUMMER]
    red, nir = series[use, BANDS.index("red")], series[use, BANDS.index("nir")]
    ndvi = (nir - red) / (nir + red)
    ordinal = np.array([(days[i] - dt.date(1970, 1, 1)).days for i in use], dtype=np.float64)
    clear = np.where(np.isfinite(ndvi), ordinal[:, None, None], np.nan)
    with np.errstate(all="ignore"):
        return np.nanmedian(ndvi, axis=0), np.nanmedian(clear, axis=0)


def make_reference() -> dict[str, Any]:
    """Derive patches and stable ground."""
    series, days = read_series()
    trees = read_trees()
    years = sorted({day.year for day in days})
    medians, middles = map(np.stack, zip(*(yearly(series, days, y) for y in years), strict=True))
    patches = []
    for i in range(1, len(years)):
        fall = medians[i - 1] - medians[i]
        later = np.nan_to_num(medians[i:], nan=-1).max(axis=0)
        lost = (fall >= LOSS_NDVI) & (later < medians[i - 1] - fall / 2) & (trees >= LOSS_TREES)
        labels, count = ndimage.label(lost, np.ones((3, 3)))
        for number in range(1, count + 1):
            rows, columns = np.nonzero(labels == number)
            if len(rows) < SMALLEST:
                continue
            patches.append(
                {
                    "years": [years[i - 1], years[i]],
                    "after": _day(np.nanmin(middles[i - 1][rows, columns])),
                    "by": _day(np.nanmax(middles[i][rows, columns])),
                    "mean_fall": round(float(fall[rows, columns].mean()), 3),
                    "pixels": [[int(r), int(c)] for r, c in zip(rows, columns, strict=True)],
                }
            )
    spread = medians.max(axis=0) - medians.min(axis=0)
    stable = (spread <= STABLE_NDVI) & (trees >= STABLE_TREES)
    return {
        "series": "nrt-romania",
        "dates": len(days),
        "shape": list(stable.shape),
        "rules": {
            "summer_months": list(SUMMER),
            "loss_ndvi": LOSS_NDVI,
            "loss_tree_cover": LOSS_TREES,
            "smallest_patch_px": SMALLEST,
            "stable_ndvi": STABLE_NDVI,
            "stable_tree_cover": STABLE_TREES,
        },
        "patches": patches,
        "stable_rows": ["".join("#" if pixel else "." for pixel in row) for row in stable],
    }


def _day(since_1970: float) -> str:
    return str(dt.date(1970, 1, 1) + dt.timedelta(int(since_1970)))


def main() -> None:
    """Write the reference and say what is in it."""
    reference = make_reference()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")
    stable = sum(row.count("#") for row in reference["stable_rows"])
    for patch in reference["patches"]:
        print(patch["after"], patch["by"], len(patch["pixels"]), "px", patch["mean_fall"])
    print(len(reference["patches"]), "patches,", stable, "stable pixels")


if __name__ == "__main__":
    main()
