"""Hold a scene's stated offset against a sample of its pixels, once per scene and process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from terrascope.errors import RadiometryError, ReadError
from terrascope.kernels.masks import mask_scl
from terrascope.kernels.radiometry import OffsetVerdict, check_offset, to_reflectance
from terrascope.readers import Reader, fill_value
from terrascope.types import AssetRef, FloatArray, SceneRef

__all__ = ["WITNESSES", "require_consistent_offset"]

WITNESSES = ("blue", "swir16", "swir22")
"""Bands that are sampled beside red and near infrared."""

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
        verdict = _judge(scene, nir, reader)
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
            url=red.href,
        )


def _cannot_be_wrong(scene: SceneRef, red: AssetRef) -> bool:
    return red.offset == 0 and "" < scene.baseline < _OFFSET_BASELINE


def _judge(scene: SceneRef, nir: str, reader: Reader) -> OffsetVerdict:
    try:
        red, second = _sampled(scene, ("red", nir), reader)
        verdict = check_offset(red, second)
        if verdict is not OffsetVerdict.NOT_SUBTRACTED:
            return verdict
        # Read more only where it matters: haze lifts the visible, an offset lifts every band.
        others = tuple(band for band in WITNESSES if band in scene.assets)
        red, second, *rest = _sampled(scene, ("red", nir, *others), reader)
        return check_offset(red, second, rest)
    except ReadError as error:
        if error.transient:
            raise
        return OffsetVerdict.UNDECIDED


def _sampled(scene: SceneRef, bands: Sequence[str], reader: Reader) -> list[FloatArray]:
    """Read a sample of reflectance, NaN where missing or classified as cloud."""
    samples: list[list[FloatArray]] = [[] for _ in bands]
    for geobox in _samples(scene.assets["red"]):
        hidden = None
        if "scl" in scene.assets:
            classes = reader.read(scene, ["scl"], geobox, resampling="nearest")[0]
            hidden = mask_scl(classes.astype(np.uint8, copy=False)) != 0
        for band, parts in zip(bands, samples, strict=True):
            asset = scene.assets[band]
            stored = reader.read(scene, [band], geobox, resampling="nearest")[0]
            nodata = fill_value(asset, stored.dtype)
            values = to_reflectance(stored, scale=asset.scale, offset=asset.offset, nodata=nodata)
            if hidden is not None:
                values[hidden] = np.nan
            parts.append(values.ravel())
    return [np.concatenate(parts) if parts else np.empty(0, np.float32) for parts in samples]


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
