"""Optical observations of one period on one grid: masked, mosaicked per pass, composited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terrascope.cube.extent import Window, within_halo
from terrascope.cube.spec import CubeSpec
from terrascope.cube.trust import require_consistent_offset
from terrascope.errors import ReadError
from terrascope.kernels.composite import (
    first_composite,
    greenest_composite,
    mean_composite,
    median_composite,
    medoid_composite,
    select,
)
from terrascope.kernels.masks import dilate, mask_scl, mask_spectrum
from terrascope.kernels.radiometry import rescale_int16, to_reflectance
from terrascope.periods import Cadence
from terrascope.readers import Reader, fill_value
from terrascope.types import NODATA_INT16, Quality, SceneRef

__all__ = ["OpticalStack"]

_EVERY_DAY = Cadence(1, "D")
_READ_PIXELS = 4 * 2**20
_UNSEEN = np.uint8(Quality.CLOUD | Quality.SHADOW | Quality.SNOW | Quality.NODATA)


class OpticalStack:
    """Collects the observations of a period, one plane per pass.

    Scenes of one pass (`SceneRef.overpass`) that overlap show the same acquisition
    twice, cut into two tiles: they are mosaicked, and count once.

    Parameters
    ----------
    spec : CubeSpec
        How to make the cube.
    geobox : odc.geo.geobox.GeoBox
        The grid.
    reader : Reader
        Brings the pixels.
    """

    def __init__(self, spec: CubeSpec, geobox: GeoBox, reader: Reader) -> None:
        self._spec = spec
        self._geobox = geobox
        self._reader = reader
        self._planes: dict[tuple[object, ...], NDArray[np.int16]] = {}

    def add(self, scene: SceneRef, window: Window) -> NDArray[np.uint8]:
        """Read a scene and lay it into the plane of its pass, under what is clear there already.

        Parameters
        ----------
        scene : SceneRef
            The scene.
        window : tuple of slice
            The part of the grid that it touches.

        Returns
        -------
        bits : ndarray of uint8, shape of `window`
            `terrascope.types.Quality` bits of this scene.

        Raises
        ------
        ReadError
            If anything of the scene cannot be read or trusted; nothing was added then.
        """
        require_consistent_offset(scene, self._reader)
        steps, bits = self._observe(scene, self._geobox[window])
        hidden = (bits & _UNSEEN) != 0
        if hidden.any():
            steps[:, hidden] = NODATA_INT16
        one_mosaic = self._spec.composite == "first" and self._spec.cadence == _EVERY_DAY
        self._lay(() if one_mosaic else scene.overpass, window, steps)
        return bits

    def finish(self) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
        """Composite the passes.

        Returns
        -------
        values : ndarray of int16, shape (band, y, x)
            Steps of the cube, `NODATA_INT16` where never seen.
        observed : ndarray of uint16, shape (y, x)
            Clear passes.
        """
        planes = list(self._planes.values())
        self._planes = {}
        shape = self._geobox.shape.yx
        observed = np.zeros(shape, np.uint16)
        for plane in planes:
            observed += plane[0] != NODATA_INT16
        if not planes:
            return np.full((len(self._spec.bands), *shape), NODATA_INT16, np.int16), observed
        if len(planes) == 1:
            return planes[0], observed
        return _composite(planes, self._spec), observed

    def _lay(self, key: tuple[object, ...], window: Window, steps: NDArray[np.int16]) -> None:
        plane = self._planes.get(key)
        if plane is None:
            if steps.shape[1:] == self._geobox.shape.yx:
                self._planes[key] = steps
                return
            shape = (len(steps), *self._geobox.shape.yx)
            plane = self._planes[key] = np.full(shape, NODATA_INT16, np.int16)
        there = plane[:, window[0], window[1]]
        np.copyto(there, steps, where=there[0] == NODATA_INT16)

    def _observe(
        self, scene: SceneRef, geobox: GeoBox
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Read the bands and what the mask needs, the latter with a halo."""
        spec = self._spec
        bits = np.full(geobox.shape.yx, Quality.SCENE, np.uint8)
        held: dict[str, NDArray[Any]] = {}
        if spec.masked and (spec.mask == "scl" or (spec.mask == "auto" and "scl" in scene.assets)):
            bits |= self._classified(scene, geobox)
        elif spec.masked:
            found, held = self._tested(scene, geobox)
            bits |= found
        steps = np.empty((len(spec.bands), *geobox.shape.yx), np.int16)
        for band, stored in self._stored(scene, geobox, held):
            asset, plane = scene.assets[band], steps[spec.bands.index(band)]
            plane[...] = rescale_int16(
                stored,
                scale=asset.scale,
                offset=asset.offset,
                nodata=fill_value(asset, stored.dtype),
                step=spec.facts.scale,
            )
            bits[plane == NODATA_INT16] |= np.uint8(Quality.NODATA)
        return steps, bits

    def _stored(
        self, scene: SceneRef, geobox: GeoBox, held: dict[str, NDArray[Any]]
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield stored numbers by band: those read already, then the others, a few at a time."""
        yield from held.items()
        wanted = [band for band in self._spec.bands if band not in held]
        pixels = geobox.shape.y * geobox.shape.x
        for group in _alike(scene, wanted, at_once=max(1, _READ_PIXELS // pixels)):
            numbers = self._reader.read(scene, group, geobox, resampling=self._spec.resampling)
            yield from zip(group, numbers, strict=True)

    def _classified(self, scene: SceneRef, geobox: GeoBox) -> NDArray[np.uint8]:
        wide = geobox.pad(self._spec.halo_px)
        scl = self._reader.read(scene, ["scl"], wide, resampling="nearest")[0]
        bits = self._grown(
            mask_scl(scl.astype(np.uint8, copy=False)), Quality.CLOUD, Quality.SHADOW
        )
        return bits | np.uint8(Quality.BY_SCL)

    def _tested(
        self, scene: SceneRef, geobox: GeoBox
    ) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        bands = _mask_bands(scene)
        if not bands:
            raise ReadError("no band to look for clouds in; use mask 'none'", item=scene.id)
        wide, inner = geobox.pad(self._spec.halo_px), within_halo(self._spec.halo_px)
        reflectance, held = {}, {}
        numbers = self._reader.read(scene, bands, wide, resampling=self._spec.resampling)
        for band, stored in zip(bands, numbers, strict=True):
            asset = scene.assets[band]
            reflectance[band] = to_reflectance(
                stored,
                scale=asset.scale,
                offset=asset.offset,
                nodata=fill_value(asset, stored.dtype),
            )
            if band in self._spec.bands:
                held[band] = stored[inner]
        found = mask_spectrum(reflectance, pixel_m=self._spec.resolution_m)
        # The dark pixels of the spectral test are shadow or they are not; clouds have soft edges.
        return self._grown(found, Quality.CLOUD) | np.uint8(Quality.BY_SPECTRUM), held

    def _grown(self, wide: NDArray[np.uint8], *kinds: Quality) -> NDArray[np.uint8]:
        """Grow some classes, then cut the halo off."""
        inner = within_halo(self._spec.halo_px)
        bits = wide[inner].copy()
        for kind in kinds:
            flag = np.uint8(kind)
            grown = dilate((wide & flag) != 0, self._spec.dilation_m, self._spec.resolution_m)
            bits[grown[inner]] |= flag
        return bits


def _mask_bands(scene: SceneRef) -> list[str]:
    """Return the bands for the spectral test, one of each kind."""
    kinds = (("blue", "coastal"), ("green",), ("red",), ("nir", "nir08"), ("swir16",))
    return [
        found
        for kind in kinds
        if (found := next((band for band in kind if band in scene.assets), None)) is not None
    ]


def _alike(scene: SceneRef, bands: Sequence[str], *, at_once: int) -> Iterator[list[str]]:
    """Group bands of one raster grid and dtype, so that a read works out positions once."""
    groups: dict[object, list[str]] = {}
    for band in bands:
        asset = scene.assets.get(band)
        facts = asset and (asset.transform, asset.shape_yx, asset.dtype, asset.nodata)
        groups.setdefault(facts, []).append(band)
    for group in groups.values():
        for start in range(0, len(group), at_once):
            yield group[start : start + at_once]


def _composite(planes: Sequence[NDArray[np.int16]], spec: CubeSpec) -> NDArray[np.int16]:
    if spec.composite in ("median", "mean"):
        combine = median_composite if spec.composite == "median" else mean_composite
        values = np.empty_like(planes[0])
        for band in range(len(values)):
            values[band] = combine(np.stack([plane[band] for plane in planes]))
        return values
    stack = np.stack(planes)
    if spec.composite == "first":
        return select(stack, first_composite(stack))
    infrared = next((band for band in ("nir", "nir08") if band in spec.bands), None)
    if spec.composite == "best" and infrared is not None and "red" in spec.bands:
        red, nir = spec.bands.index("red"), spec.bands.index(infrared)
        return select(stack, greenest_composite(stack[:, red], stack[:, nir]))
    return select(stack, medoid_composite(stack))
