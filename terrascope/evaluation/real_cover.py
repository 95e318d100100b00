"""Land cover of five real places of the world, none of which any shipped weight has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.evaluation.baselines.protocol import Predictor
from terrascope.evaluation.blending import blend
from terrascope.evaluation.bootstrap import Interval, bootstrap
from terrascope.evaluation.mapping import ModelMapper
from terrascope.evaluation.real_rasters import (
    RealItem,
    load_items,
    optical_of,
    radar_of,
    read_raster,
    window_of,
)
from terrascope.evaluation.rivals import train_baselines
from terrascope.evaluation.runner import Examinee, Progress
from terrascope.evaluation.settings import BenchSettings
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.stacks import Window
from terrascope.types import FloatArray
from terrascope.vocabulary import LAND_COVER

__all__ = ["ESRI", "MERGED", "SUBSET", "examine_land_cover", "score_cover"]

SUBSET = "terramind"
SNOW_PLACE = "609U"
"""All snow on its date: nothing of the ground is seen, so it is scored apart."""

ESRI = MappingProxyType(
    {
        1: "water",
        2: "tree",
        3: "wetland",
        4: "crop",
        5: "developed area",
        6: "bare land",
        9: "rangeland",
    }
)
"""Codes of the label rasters (Esri 10 m land cover). Flooded vegetation is wetland. Snow (7), cloud
(8) and codes that do not occur are unknown. Rangeland holds grass and shrub, which are added up."""

MERGED = ("water", "developed area", "bare land", "crop", "tree", "wetland", "rangeland")
"""Classes that are scored."""

_PARTS = MappingProxyType({"rangeland": ("grass", "shrub")})
_SIZE, _OVERLAP, _PIXEL_M = 128, 32, 10.0
_BLOCK_PX = 32
"""Blocks of the bootstrap: neighbouring pixels are wrong together."""


def examine_land_cover(
    examinee: Examinee,
    shared: Path,
    rivals: Path | None,
    settings: BenchSettings,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score the model on real land cover, beside the baselines.

    Parameters
    ----------
    examinee : Examinee
        The model.
    shared : Path
        Folder of the shared data.
    rivals : Path or None
        Folder of trained baselines, trained now where it is empty; None for none.
    settings : BenchSettings
        Of the baselines' training.
    progress : callable or None
        Told places done and in all.

    Returns
    -------
    scores : dict
        By system: mean IoU over classes, pooled over four places, with a block bootstrap; by
        class; pixel accuracy; every place apart. The label of the snow place is snow throughout,
        so there it is only told what was said. Beside it what the model gains, and which scenes
        had their offset repaired (`terrascope.evaluation.real_rasters.offset_repair`).
    """
    predictors: dict[str, Predictor] = {"TerraScope": ModelMapper(examinee)}
    if rivals is not None:
        predictors |= train_baselines(rivals, settings, examinee.processor)
    repaired: list[str] = []
    places = _places(shared, repaired)
    tables: dict[str, dict[str, NDArray[np.float64]]] = {name: {} for name in predictors}
    said: dict[str, dict[str, float]] = {}
    for number, (place, (window, truth)) in enumerate(places.items(), start=1):
        for name, predictor in predictors.items():
            found = map_cover(predictor, examinee.processor, window)
            tables[name][place] = confusion_blocks(found, truth)
            if SNOW_PLACE in place:
                said[name] = _shares(found)
        if progress is not None:
            progress(number, len(places))
    scores: dict[str, Any] = {"places": list(places), "offset repaired": repaired}
    for name, by_place in tables.items():
        scores[name] = score_cover(by_place) | {"said of the snow place": said.get(name)}
    ours = _pooled(tables["TerraScope"])
    for name in list(predictors)[1:]:
        both = np.stack([ours, _pooled(tables[name])], 1)
        gain = bootstrap(both, lambda sums: mean_iou(sums[:, 0]) - mean_iou(sums[:, 1]))
        scores[name]["model gains"] = gain.as_dict()
    return scores


def map_cover(predictor: Predictor, processor: TerrascopeProcessor, window: Window) -> FloatArray:
    """Map the merged classes of a place.

    Parameters
    ----------
    predictor : Predictor
        Model or baseline.
    processor : TerrascopeProcessor
        Of its windows.
    window : Window
        The place, of one date.

    Returns
    -------
    probability : ndarray of float32, shape (7, H, W)
        In the order of `MERGED`.
    """

    def mapper(windows: Sequence[Window]) -> FloatArray:
        found: FloatArray = predictor.cover(processor(list(windows)))[:, 0].numpy()
        return found

    maps = blend(mapper, window, size=_SIZE, overlap=_OVERLAP, pixel_m=_PIXEL_M)
    return np.stack(
        [
            sum((maps[LAND_COVER.index(part)] for part in _PARTS.get(name, (name,))), start=0.0)
            for name in MERGED
        ]
    ).astype(np.float32)


def confusion_blocks(
    probability: FloatArray, truth: NDArray[np.uint8], block_px: int = _BLOCK_PX
) -> NDArray[np.float64]:
    """Count truth against the likeliest class, block by block.

    Parameters
    ----------
    probability : ndarray of float32, shape (C, H, W)
        Of each class.
    truth : ndarray of uint8, shape (H, W)
        Codes of `ESRI`.
    block_px : int
        Side of a block.

    Returns
    -------
    tables : ndarray of float64, shape (blocks, C, C)
        Truth down, prediction across; unknown pixels count nowhere.
    """
    wanted = np.full(truth.shape, -1)
    for code, name in ESRI.items():
        wanted[truth == code] = MERGED.index(name)
    found = probability.argmax(0)
    rows, columns = truth.shape
    tables = []
    for top in range(0, rows, block_px):
        for left in range(0, columns, block_px):
            part = (slice(top, top + block_px), slice(left, left + block_px))
            known = wanted[part] >= 0
            table = np.zeros((len(MERGED), len(MERGED)))
            np.add.at(table, (wanted[part][known], found[part][known]), 1.0)
            tables.append(table)
    return np.stack(tables)


def mean_iou(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean IoU over the classes that occur in the truth.

    Parameters
    ----------
    tables : ndarray of float64, shape (n, C, C)
        Truth down, prediction across.

    Returns
    -------
    score : ndarray of float64, shape (n,)
        0 to 1; NaN without a pixel.
    """
    iou, there = _class_iou(tables)
    count = there.sum(-1)
    return np.where(count > 0, np.where(there, iou, 0.0).sum(-1) / np.maximum(count, 1), np.nan)


def score_cover(tables: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Score one system.

    Parameters
    ----------
    tables : mapping of str to ndarray
        By place, from `confusion_blocks`.

    Returns
    -------
    scores : dict
        ``mean_iou`` pooled over all places but the snow place, with interval; ``iou`` of every
        class; ``accuracy``; the mean IoU ``by place``, NaN where nothing of the label is known.
    """
    pooled = _pooled(tables)
    total = pooled.sum(0)
    iou, there = _class_iou(total[None])
    found: Interval = bootstrap(pooled, mean_iou)
    return {
        "mean_iou": found.as_dict(),
        "accuracy": float(np.trace(total) / max(total.sum(), 1)),
        "iou": {name: float(iou[0, n]) for n, name in enumerate(MERGED) if there[0, n]},
        "by place": {
            place: float(mean_iou(table.sum(0)[None])[0]) for place, table in tables.items()
        },
    }


def _shares(probability: FloatArray) -> dict[str, float]:
    """Tell which share of the pixels is called what."""
    found = np.bincount(probability.argmax(0).ravel(), minlength=len(MERGED))
    return {name: float(n / found.sum()) for name, n in zip(MERGED, found, strict=True)}


def _class_iou(tables: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    hits = np.diagonal(tables, axis1=-2, axis2=-1)
    truth, found = tables.sum(-1), tables.sum(-2)
    union = truth + found - hits
    return np.divide(hits, union, out=np.zeros_like(hits), where=union > 0), truth > 0


def _pooled(tables: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([table for place, table in tables.items() if SNOW_PLACE not in place])


def _places(
    shared: Path, repaired: list[str] | None = None
) -> dict[str, tuple[Window, NDArray[np.uint8]]]:
    by_sample: dict[str, dict[str, RealItem]] = {}
    for item in load_items(shared, SUBSET):
        by_sample.setdefault(item.properties["dataset:sample"], {})[item.collection] = item
    found = {}
    for sample, items in by_sample.items():
        scene = items["sentinel-2-l2a"]
        window = window_of(
            scene, optical_of([scene], repaired), radar_of([items["sentinel-1-rtc"]])
        )
        found[sample] = (window, read_raster(items["labels"], "lulc"))
    return found
