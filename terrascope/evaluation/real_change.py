"""Real change: bark-beetle damage of Czech spruce forest, mapped without having seen a mask of it.

The masks are for evaluation only. No weight, threshold or temperature is chosen on them; the
single indices beside the model are tuned on them, to show what that would be worth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.data.scenes import ANY_CHANGE, LabelledScene
from terrascope.evaluation.baselines.protocol import Predictor, mask_of
from terrascope.evaluation.blending import blend
from terrascope.evaluation.bootstrap import bootstrap
from terrascope.evaluation.mapping import ModelMapper
from terrascope.evaluation.metrics import best_threshold, confusion
from terrascope.evaluation.real_rasters import load_items, optical_of, read_raster, window_of
from terrascope.evaluation.reliability import reliability
from terrascope.evaluation.rivals import train_baselines
from terrascope.evaluation.runner import Examinee, Progress
from terrascope.evaluation.settings import BenchSettings
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.stacks import Window
from terrascope.readers.files import FileAccess
from terrascope.types import BoolArray, ChangeKind, FloatArray
from terrascope.vocabulary import CHANGE_NAMES

__all__ = ["SUBSET", "Tile", "examine_bark_beetle", "index_drops", "load_tiles", "score_tiles"]

SUBSET = "bark-beetle-cz"
LOSS = CHANGE_NAMES[ChangeKind.VEGETATION_LOSS]
INDICES = {
    "NBR": ("nir", "swir22"),
    "NDMI": ("nir08", "swir16"),
    "NDVI": ("nir", "red"),
    "NDRE": ("nir", "rededge1"),
    "GNDVI": ("nir", "green"),
}
_SIZE, _OVERLAP, _PIXEL_M = 128, 32, 10.0
_THRESHOLD = 0.5
"""Of the probability; not chosen on these labels."""
_SQUARE = np.ones((3, 3), np.bool_)


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """One labelled tile.

    Parameters
    ----------
    name : str
        Of the tile.
    window : Window
        Optical images of September 2019 and 2020.
    damage : ndarray of bool, shape (H, W)
        Appeared between them.
    weak : bool
        Whether the source's own quality figures call the label weak.
    """

    name: str
    window: Window
    damage: BoolArray
    weak: bool

    @property
    def scene(self) -> LabelledScene:
        """The tile as a labelled scene: damage is vegetation loss, land cover is unknown."""
        kinds = np.where(self.damage, ChangeKind.VEGETATION_LOSS, ChangeKind.NONE).astype(np.uint8)
        kinds[~self.observed] = ChangeKind.OUTSIDE
        unknown = np.zeros((2, *self.damage.shape), np.uint8)
        return LabelledScene(self.name, self.window, unknown, {(0, 1): kinds})

    @property
    def observed(self) -> BoolArray:
        """Pixels seen on both dates, bool, shape (H, W)."""
        if self.window.optical is None:
            raise ValueError(f"tile {self.name} has no optical images")
        seen = np.isfinite(self.window.optical.observed_values()).any(1)
        return np.asarray(seen.all(0))


def examine_bark_beetle(
    examinee: Examinee,
    shared: Path,
    rivals: Path | None,
    settings: BenchSettings,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score the model's zero-shot maps of vegetation loss.

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
        Told maps made and in all.

    Returns
    -------
    scores : dict
        By system, as `score_tiles` gives them; ``tuned index``: the best of the single indices
        with a threshold tuned on these very labels.

    Notes
    -----
    The model is scored by its mask of vegetation loss: trees that insects have killed are that
    kind of change, in its training as in the `change_kind` layer. Its mask of any change stands
    beside it, and is not chosen from.
    """
    tiles = list(load_tiles(shared))
    mapper = ModelMapper(examinee)

    def ours(windows: Sequence[Window]) -> FloatArray:
        names = [(LOSS, (0, 1)), (ANY_CHANGE, (0, 1))]
        found: FloatArray = mapper.masks(examinee.processor(list(windows)), names).numpy()
        return found

    mappers: dict[tuple[str, ...], Callable[[Sequence[Window]], FloatArray]] = {
        ("TerraScope", "TerraScope, any change"): ours
    }
    if rivals is not None:
        for name, predictor in train_baselines(rivals, settings, examinee.processor).items():
            mappers[name,] = _loss_mapper(predictor, examinee.processor)
    scores: dict[str, Any] = {"tiles": len(tiles), "weak tiles": sum(t.weak for t in tiles)}
    done, total = 0, len(tiles) * len(mappers)
    for names, one in mappers.items():
        maps = []
        for tile in tiles:
            maps.append(map_loss(one, tile))
            done += 1
            if progress is not None:
                progress(done, total)
        for place, name in enumerate(names):
            scores[name] = score_tiles(tiles, [found[place] for found in maps])
    scores["tuned index"] = _tuned(tiles)
    return scores


def load_tiles(shared: Path) -> Iterable[Tile]:
    """Read the labelled tiles.

    Parameters
    ----------
    shared : Path
        Folder of the shared data.

    Yields
    ------
    tile : Tile
        Both images on one grid, pixels of 6.4 m on the ground.
    """
    items = {item.id: item for item in load_items(shared, SUBSET)}
    for item in items.values():
        if item.collection != "labels":
            continue
        number = item.id.split("_")[1]
        scenes = [items[f"{SUBSET}_{number}_{month}"] for month in ("201909", "202009")]
        weak = bool(item.properties.get("dataset:weak_label", False))
        with FileAccess().session():
            window = window_of(scenes[0], optical_of(scenes), None)
            mask = read_raster(item, "mask")
        yield Tile(number, window, mask == 1, weak)


def map_loss(mapper: Callable[[Sequence[Window]], FloatArray], tile: Tile) -> FloatArray:
    """Map the probability of vegetation loss on a tile.

    Parameters
    ----------
    mapper : callable
        Windows to maps of shape (B, C, H, W).
    tile : Tile
        The tile.

    Returns
    -------
    probability : ndarray of float32, shape (C, H, W)
        On the pixels of the tile.
    """
    return blend(mapper, tile.window, size=_SIZE, overlap=_OVERLAP, pixel_m=_PIXEL_M)


def score_tiles(tiles: Sequence[Tile], maps: Sequence[FloatArray]) -> dict[str, Any]:
    """Score maps of change.

    Parameters
    ----------
    tiles : sequence of Tile
        With the truth.
    maps : sequence of ndarray of float32
        Probability of change on each tile.

    Returns
    -------
    scores : dict
        Over all tiles, without the weakly labelled, and these alone: ``f1`` and ``iou`` of all
        pixels, with a bootstrap over tiles; ``f1_edge``: a pixel within one of the other side's
        counts as found; ``ece`` of the pixels.
    """
    strong = [not tile.weak for tile in tiles]
    return {
        "all tiles": _score(tiles, maps),
        "without weak labels": _score(_kept(tiles, strong), _kept(maps, strong)),
        "weak labels": _score(
            _kept(tiles, [not one for one in strong]), _kept(maps, [not one for one in strong])
        ),
    }


def index_drops(window: Window) -> dict[str, FloatArray]:
    """Return what single indices say, higher for damage.

    Parameters
    ----------
    window : Window
        With optical images of two dates.

    Returns
    -------
    scores : dict of str to ndarray of float32, shape (H, W)
        Differences of the normalised differences of `INDICES`, earlier minus later; NaN where
        missing.
    """
    if window.optical is None:
        raise ValueError("a window without optical images has no indices")
    values, names = window.optical.observed_values(), list(window.optical.bands)
    found = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, (one, other) in INDICES.items():
            a, b = values[:, names.index(one)], values[:, names.index(other)]
            index = (a - b) / (a + b)
            found[name] = index[0] - index[1]
    return found


def _score(tiles: Sequence[Tile], maps: Sequence[FloatArray]) -> dict[str, Any] | None:
    if not tiles:
        return None
    tables, calibrated = [], None
    for tile, probability in zip(tiles, maps, strict=True):
        observed, truth = tile.observed, tile.damage
        found = probability > _THRESHOLD
        counts = confusion(found, truth, observed)
        near_truth = ndimage.binary_dilation(truth, _SQUARE)
        near_found = ndimage.binary_dilation(found, _SQUARE)
        tables.append(
            [
                counts.hits,
                counts.false_alarms,
                counts.misses,
                np.count_nonzero(found & near_truth & observed),
                np.count_nonzero(found & observed),
                np.count_nonzero(truth & near_found & observed),
                np.count_nonzero(truth & observed),
            ]
        )
        counted = reliability(probability[observed], truth[observed])
        calibrated = counted if calibrated is None else calibrated + counted
    table = np.array(tables, np.float64)
    return {
        "tiles": len(tiles),
        "f1": bootstrap(table, _f1).as_dict(),
        "iou": bootstrap(table, _iou).as_dict(),
        "f1_edge": bootstrap(table, _edge_f1).as_dict(),
        "ece": None if calibrated is None else calibrated.ece,
    }


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 * sums[:, 0] / np.maximum(2 * sums[:, 0] + sums[:, 1] + sums[:, 2], 1)


def _iou(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(sums[:, 0] / np.maximum(sums[:, :3].sum(1), 1))


def _edge_f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    precision = sums[:, 3] / np.maximum(sums[:, 4], 1)
    recall = sums[:, 5] / np.maximum(sums[:, 6], 1)
    return np.asarray(2 * precision * recall / np.maximum(precision + recall, 1e-9))


def _loss_mapper(
    predictor: Predictor, processor: TerrascopeProcessor
) -> Callable[[Sequence[Window]], FloatArray]:
    def mapper(windows: Sequence[Window]) -> FloatArray:
        found, _ = mask_of(predictor, processor(list(windows)), LOSS, (0, 1))
        return np.asarray(found[:, None].numpy(), np.float32)

    return mapper


def _tuned(tiles: Sequence[Tile]) -> dict[str, Any]:
    """Tune every index on the labels, and keep the best."""
    drops = [index_drops(tile.window) for tile in tiles]
    found = {}
    for name in INDICES:
        score = np.concatenate([one[name].ravel() for one in drops])
        truth = np.concatenate([tile.damage.ravel() for tile in tiles])
        seen = np.concatenate([tile.observed.ravel() for tile in tiles])
        fit = best_threshold(score, truth, seen)
        found[name] = {"threshold": fit.threshold, "f1": fit.confusion.f1, "iou": fit.confusion.iou}
    best = max(found, key=lambda name: float(found[name]["f1"]))
    return {"index": best, **found[best], "others": {n: found[n]["f1"] for n in found if n != best}}


def _kept(values: Sequence[Any], which: Sequence[bool]) -> list[Any]:
    return [value for value, kept in zip(values, which, strict=True) if kept]
