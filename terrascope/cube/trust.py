"""Hold a scene's stated offset against a sample of its pixels, once per scene and process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from terrascope.errors import RadiometryError, ReadError
from terrascope.kernels.radiometry import OffsetVerdict, check_offset, to_reflectance
from terrascope.readers import Reader
from terrascope.types import AssetRef, SceneRef

__all__ = ["require_consistent_offset"]

_BLOCK = 512
_SAMPLE = 128
_OFFSET_BASELINE = "04.00"
_KEPT = 4096

_verdicts: OrderedDict[tuple[object, ...], OffsetVerdict] = OrderedDict()
_lock = threading.Lock()


def require_consistent_offset(scene: SceneRef, reader: Reader) -> None:
    """Refuse an optical scene whose pixels contradict its offset.

    The sample lies at fixed places of the scene's own raster, so that the answer
    is the same for every block. It is left out where nothing can be wrong: no
    offset is stated, and the processing baseline is older than the offset.

    Parameters
    ----------
    scene : SceneRef
        A Sentinel-2 scene.
    reader : Reader
        Brings the sample.

    Raises
    ------
    RadiometryError
        If the offset was subtracted twice, or not at all.
    ReadError
        If the sample cannot be read for a passing cause.
    """
    red = scene.assets.get("red")
    nir = "nir" if "nir" in scene.assets else "nir08"
    if red is None or nir not in scene.assets or _cannot_be_wrong(scene, red):
        return
    key = (scene.id, red.href, red.identity, red.offset, red.scale)
    with _lock:
        verdict = _verdicts.get(key)
    if verdict is None:
        verdict = _judge(scene, red, nir, reader)
        with _lock:
            _verdicts[key] = verdict
            while len(_verdicts) > _KEPT:
                _verdicts.popitem(last=False)
    if verdict in (OffsetVerdict.TWICE, OffsetVerdict.NOT_SUBTRACTED):
        raise RadiometryError(
            f"the offset {red.offset:+g} stated for reflectance was {verdict.value} "
            f"(baseline {scene.baseline or 'unknown'}): vegetation is not that "
            f"{'dark' if verdict is OffsetVerdict.TWICE else 'bright'}",
            item=scene.id,
            band="red",
            url=red.href.partition("?")[0],
        )


def _cannot_be_wrong(scene: SceneRef, red: AssetRef) -> bool:
    return red.offset == 0 and "" < scene.baseline < _OFFSET_BASELINE


def _judge(scene: SceneRef, red: AssetRef, nir: str, reader: Reader) -> OffsetVerdict:
    samples: dict[str, list[np.ndarray]] = {"red": [], nir: []}
    try:
        for geobox in _samples(red):
            for band, parts in samples.items():
                asset = scene.assets[band]
                stored = reader.read(scene, [band], geobox, resampling="nearest")[0]
                parts.append(
                    to_reflectance(
                        stored, scale=asset.scale, offset=asset.offset, nodata=asset.nodata or 0
                    ).ravel()
                )
    except ReadError as error:
        if error.transient:
            raise
        return OffsetVerdict.UNDECIDED
    if not samples["red"]:
        return OffsetVerdict.UNDECIDED
    return check_offset(np.concatenate(samples["red"]), np.concatenate(samples[nir]))


def _samples(asset: AssetRef) -> Iterator[GeoBox]:
    """Yield small windows of the raster's own grid, each inside one 512-pixel block of the file."""
    if asset.epsg is None or asset.transform is None or asset.shape_yx is None:
        return
    grid = GeoBox(asset.shape_yx, Affine(*asset.transform[:6]), f"EPSG:{asset.epsg}")
    spans = [_spans(size) for size in asset.shape_yx]
    for rows in spans[0]:
        for cols in spans[1]:
            yield grid[rows, cols]


def _spans(size: int) -> list[slice]:
    if size <= 2 * _BLOCK:
        side = min(size, _BLOCK)
        start = (size - side) // 2
        return [slice(start, start + side)]
    starts = {
        min(size * part // 6 // _BLOCK * _BLOCK + (_BLOCK - _SAMPLE) // 2, size - _SAMPLE)
        for part in (1, 3, 5)
    }
    return [slice(start, start + _SAMPLE) for start in sorted(starts)]
