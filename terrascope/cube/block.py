"""One block of a cube: read, masked, scaled and composited, the same whatever the block's size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terrascope.cube.extent import Window, covered_window, is_empty, union
from terrascope.cube.optical import OpticalStack
from terrascope.cube.radar import RadarMean
from terrascope.cube.spec import CubeSpec
from terrascope.errors import ReadError
from terrascope.readers import Reader
from terrascope.types import NODATA_INT16, Quality, Quarantine, SceneRef

__all__ = ["Block", "as_quarantine", "compute_block"]


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Pixels of one period.

    Parameters
    ----------
    values : ndarray of int16 (or uint16 stored numbers), shape (band, y, x)
        Steps of the sensor's scale, -32768 missing; stored numbers: 0 missing.
    observed : ndarray of uint16, shape (y, x)
        Clear observations: passes of a satellite, however many scenes a pass is cut into.
    quality : ndarray of uint8, shape (y, x)
        `terrascope.types.Quality` bits.
    quarantined : tuple of Quarantine
        Scenes that were left out, sorted.
    """

    values: NDArray[np.int16] | NDArray[np.uint16]
    observed: NDArray[np.uint16]
    quality: NDArray[np.uint8]
    quarantined: tuple[Quarantine, ...]


def compute_block(
    scenes: Sequence[SceneRef], spec: CubeSpec, geobox: GeoBox, reader: Reader
) -> Block:
    """Compute one block of one period.

    Every pixel depends on the scenes and on a fixed neighbourhood, which is
    read as a halo: cutting the ground into other blocks changes nothing. A
    scene that cannot be read is left out of this block, with its cause.

    Parameters
    ----------
    scenes : sequence of SceneRef
        All scenes of the period that may touch the block, in any order.
    spec : CubeSpec
        How to make the cube.
    geobox : odc.geo.geobox.GeoBox
        The block.
    reader : Reader
        Brings the pixels.

    Returns
    -------
    block : Block
        Missing where nothing was observed.
    """
    ordered = sorted(scenes, key=lambda scene: (scene.solar_day, scene.datetime, scene.id))
    placed = [
        (scene, window)
        for scene in ordered
        if not is_empty(window := covered_window(scene, spec.bands, geobox))
    ]
    if spec.values == "dn":
        return _stored_numbers(placed, spec, geobox, reader)
    inner = union(window for _, window in placed)
    if is_empty(inner):
        return _empty(len(spec.bands), geobox)
    local = geobox[inner]
    quality = np.zeros(local.shape.yx, np.uint8)
    quarantined: list[Quarantine] = []
    work = (OpticalStack if spec.optical else RadarMean)(spec, local, reader)
    for scene, window in placed:
        here = _relative(window, inner)
        try:
            bits = work.add(scene, here)
        except ReadError as error:
            quarantined.append(as_quarantine(error))
            quality[here] |= np.uint8(Quality.SCENE | Quality.FAILED)
        else:
            quality[here] |= bits
    values, observed = work.finish()
    return _placed(geobox, inner, (values, observed, quality), quarantined)


def _stored_numbers(
    placed: Iterable[tuple[SceneRef, Window]], spec: CubeSpec, geobox: GeoBox, reader: Reader
) -> Block:
    """Mosaic stored numbers: the first scene with data wins. One full scene is not even copied."""
    shape = geobox.shape.yx
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    quality = np.zeros(shape, np.uint8)
    values: NDArray[Any] | None = None
    quarantined = []
    for scene, window in placed:
        quality[window] |= np.uint8(Quality.SCENE)
        if values is not None and (values[0][window] != 0).all():
            continue
        try:
            part = reader.read(scene, spec.bands, geobox[window], resampling=spec.resampling)
        except ReadError as error:
            quarantined.append(as_quarantine(error))
            quality[window] |= np.uint8(Quality.FAILED)
            continue
        part = part.astype(np.uint16, copy=False)
        if values is None and window == whole:
            values = part
            continue
        if values is None:
            values = np.zeros((len(spec.bands), *shape), np.uint16)
        there = values[:, window[0], window[1]]
        np.copyto(there, part, where=there[0] == 0)
    if values is None:
        values = np.zeros((len(spec.bands), *shape), np.uint16)
    seen = values[0] != 0
    quality[~seen & (quality != 0)] |= np.uint8(Quality.NODATA)
    return Block(values, seen.astype(np.uint16), quality, tuple(sorted(quarantined)))


def _empty(n_bands: int, geobox: GeoBox, causes: tuple[Quarantine, ...] = ()) -> Block:
    shape = geobox.shape.yx
    values = np.full((n_bands, *shape), NODATA_INT16, np.int16)
    return Block(values, np.zeros(shape, np.uint16), np.zeros(shape, np.uint8), causes)


def _placed(
    geobox: GeoBox,
    inner: Window,
    parts: tuple[NDArray[np.int16], NDArray[np.uint16], NDArray[np.uint8]],
    quarantined: Iterable[Quarantine],
) -> Block:
    values, observed, quality = parts
    causes = tuple(sorted(quarantined))
    if observed.shape == geobox.shape.yx:
        return Block(values, observed, quality, causes)
    block = _empty(len(values), geobox, causes)
    block.values[:, inner[0], inner[1]] = values
    block.observed[inner] = observed
    block.quality[inner] = quality
    return block


def _relative(window: Window, inner: Window) -> Window:
    rows, cols = window
    return (
        slice(rows.start - inner[0].start, rows.stop - inner[0].start),
        slice(cols.start - inner[1].start, cols.stop - inner[1].start),
    )


def as_quarantine(error: ReadError) -> Quarantine:
    """Say in a record what could not be read.

    Parameters
    ----------
    error : ReadError
        What a reader raised.

    Returns
    -------
    quarantine : Quarantine
        Item, band, cause and address.
    """
    return Quarantine(
        error.item, error.band, error.message, error.url or "", transient=error.transient
    )
