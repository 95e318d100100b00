"""The demo's rival: the best single index with a threshold tuned on the truth.

It gets what no monitor has, the labels, and still has one number per pixel.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling

from terrascope.demo.archive import DemoArchive
from terrascope.demo.truth import FLAGGED
from terrascope.evaluation.metrics import ThresholdFit, best_threshold
from terrascope.kernels.seasonal import nan_median
from terrascope.types import BoolArray, FloatArray

__all__ = ["INDICES", "Rival", "best_single_index", "composite"]

INDICES: Mapping[str, tuple[str, str]] = {
    "NDVI": ("nir", "red"),
    "NBR": ("nir", "swir22"),
    "NDWI": ("green", "nir"),
    "NDMI": ("nir", "swir16"),
    "NDBI": ("swir16", "nir"),
}
"""Each index is (first - second) / (first + second)."""

_BANDS = ("green", "red", "nir", "swir16", "swir22")


@dataclasses.dataclass(frozen=True)
class Rival:
    """The best single index, and how it was used.

    Parameters
    ----------
    name : str
        For instance ``"NBR drop since the same months of the year before"``.
    fit : ThresholdFit
        Tuned on the truth.
    """

    name: str
    fit: ThresholdFit


def best_single_index(
    archive: DemoArchive, truth: Mapping[str, BoolArray], observed: Mapping[str, BoolArray]
) -> Rival:
    """Try every index, both directions, two baselines and every threshold on the truth.

    The composites are medians of the scenes outside flagged cloud and shadow, of
    the target, of the same months a year before, and of the whole baseline.

    Parameters
    ----------
    archive : DemoArchive
        The scenes.
    truth, observed : mapping of str to ndarray of bool
        By zone, on the archive's 10 m grid.

    Returns
    -------
    rival : Rival
        The one with the highest F1.
    """
    start, end = archive.target
    before = (_year_before(start), _year_before(end))
    windows = {"the same months of the year before": before, "the whole baseline": archive.baseline}
    zones = sorted(truth)
    after = {zone: composite(archive, zone, archive.target) for zone in zones}
    real = np.concatenate([truth[zone].ravel() for zone in zones])
    seen = np.concatenate([observed[zone].ravel() for zone in zones])
    rivals = []
    for since, window in windows.items():
        past = {zone: composite(archive, zone, window) for zone in zones}
        for index in INDICES:
            step = np.concatenate(
                [(_index(after[z], index) - _index(past[z], index)).ravel() for z in zones]
            )
            for word, score in (("drop", -step), ("rise", step), ("change", np.abs(step))):
                fit = best_threshold(score, real, seen)
                rivals.append(Rival(f"{index} {word} since {since}", fit))
    return max(rivals, key=lambda rival: np.nan_to_num(rival.fit.confusion.f1))


def composite(
    archive: DemoArchive, zone: str, window: tuple[dt.date, dt.date]
) -> Mapping[str, FloatArray]:
    """Return median reflectances of a window, outside flagged cloud and shadow.

    Parameters
    ----------
    archive : DemoArchive
        The scenes.
    zone : str
        ``"33N"``.
    window : tuple of datetime.date
        First and last day.

    Returns
    -------
    bands : mapping of str to ndarray of float32
        On the 10 m grid; NaN where never clear.
    """
    scenes = _scenes(archive, zone)
    items = [item for item in scenes if window[0] <= _day(item) <= window[1]]
    nothing = np.full((1, *scenes[0]["assets"]["red"]["proj:shape"]), np.nan, np.float32)
    with ThreadPoolExecutor(2) as pool:
        clear = list(pool.map(lambda item: _clear(archive, item), items))
        medians = {}
        for band in _BANDS:
            planes = pool.map(lambda item, b=band: _read(archive, item, b), items)
            pairs = zip(clear, planes, strict=True)
            # One empty scene more: a window without scenes has a composite of nothing.
            stack = [np.where(seen, plane, np.nan)[None] for seen, plane in pairs]
            medians[band] = nan_median(np.concatenate([nothing, *stack]))
    return medians


def _index(bands: Mapping[str, FloatArray], name: str) -> FloatArray:
    first, second = (bands[band] for band in INDICES[name])
    index: FloatArray = (first - second) / np.maximum(first + second, np.float32(0.01))
    return index


def _scenes(archive: DemoArchive, zone: str) -> Sequence[dict[str, Any]]:
    """Read the Sentinel-2 items of a zone."""
    text = (archive.directory / "items.ndjson").read_text(encoding="utf-8")
    items = [json.loads(line) for line in text.splitlines()]
    return [
        item
        for item in items
        if "scl" in item["assets"] and str(item["properties"]["proj:epsg"])[-2:] == zone[:2]
    ]


def _day(item: Mapping[str, Any]) -> dt.date:
    return dt.date.fromisoformat(item["properties"]["datetime"][:10])


def _clear(archive: DemoArchive, item: Mapping[str, Any]) -> BoolArray:
    with rasterio.open(archive.directory / item["assets"]["scl"]["href"]) as source:
        scl = source.read(1)
    clear: BoolArray = ~np.isin(scl, (0, *FLAGGED, 11))
    return clear.repeat(2, axis=0).repeat(2, axis=1)


def _read(archive: DemoArchive, item: Mapping[str, Any], band: str) -> FloatArray:
    asset = item["assets"][band]
    shape = item["assets"]["red"]["proj:shape"]
    path = Path(archive.directory / asset["href"])
    facts = asset["raster:bands"][0]
    with rasterio.open(path) as source:
        numbers = source.read(1, out_shape=tuple(shape), resampling=Resampling.bilinear)
    reflectance: FloatArray = (numbers * facts["scale"] + facts["offset"]).astype(np.float32)
    return reflectance


def _year_before(day: dt.date) -> dt.date:
    return day.replace(year=day.year - 1)
