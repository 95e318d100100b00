"""Radar observations of one period on one grid: averaged and despeckled in linear power."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terrascope.cube.extent import Window, within_halo
from terrascope.cube.spec import CubeSpec
from terrascope.errors import ReadError
from terrascope.kernels.radiometry import from_db, pack_int16, to_db, to_reflectance
from terrascope.kernels.speckle import LOOKS, lee_filter
from terrascope.readers import Reader, fill_value
from terrascope.types import AssetRef, FloatArray, Quality, SceneRef

__all__ = ["RadarMean"]

_UNITS = ("linear", "dB")


class RadarMean:
    """Averages the passes of a period in linear power, filters speckle, returns decibel.

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
        self._halo = spec.halo_px
        self._geobox = geobox.pad(self._halo)
        self._reader = reader
        shape = (len(spec.bands), *self._geobox.shape.yx)
        self._total = np.zeros(shape, np.float32)
        self._count = np.zeros(shape, np.uint16)
        self._pass: FloatArray | None = None
        self._key: tuple[object, ...] = ()

    def add(self, scene: SceneRef, window: Window) -> NDArray[np.uint8]:
        """Read a scene and lay it into its pass, under what is there already.

        Parameters
        ----------
        scene : SceneRef
            The scene; scenes come sorted, so that those of a pass follow each other.
        window : tuple of slice
            The part of the grid that it touches.

        Returns
        -------
        bits : ndarray of uint8, shape of `window`
            `terrascope.types.Quality` bits of this scene.

        Raises
        ------
        ReadError
            If the scene cannot be read; nothing was added then.
        """
        halo = self._halo
        wide = tuple(slice(part.start, part.stop + 2 * halo) for part in window)
        power = np.stack(
            [self._power(scene, band, self._geobox[wide]) for band in self._spec.bands]
        )
        if self._pass is None or scene.overpass != self._key:
            self._close_pass()
            self._pass = np.full(self._total.shape, np.nan, np.float32)
            self._key = scene.overpass
        there = self._pass[:, wide[0], wide[1]]
        np.copyto(there, power, where=np.isnan(there))
        missing = np.isnan(power)[:, *within_halo(halo)].all(axis=0)
        return np.where(missing, np.uint8(Quality.SCENE | Quality.NODATA), np.uint8(Quality.SCENE))

    def finish(self) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
        """Average the passes and despeckle.

        Returns
        -------
        values : ndarray of int16, shape (band, y, x)
            Hundredths of a decibel, `NODATA_INT16` where never seen.
        observed : ndarray of uint16, shape (y, x)
            Passes that saw the pixel in any band.
        """
        self._close_pass()
        inner = within_halo(self._halo)
        values = np.empty((len(self._total), *self._count[0][inner].shape), np.int16)
        for plane, total, count in zip(values, self._total, self._count, strict=True):
            dates = np.maximum(count, 1).astype(np.float32)
            power: FloatArray = np.where(count > 0, total / dates, np.float32(np.nan))
            if self._halo:
                power = lee_filter(power, np.float32(LOOKS) * dates)
            plane[...] = pack_int16(to_db(power[inner]), step=self._spec.facts.scale)[0]
        return values, self._count.max(axis=0)[inner]

    def _close_pass(self) -> None:
        """Add the finished pass to the sum; of "first", only where nothing was seen before."""
        if self._pass is None:
            return
        seen = ~np.isnan(self._pass)
        if self._spec.composite == "first":
            seen &= self._count == 0
        np.add(self._total, self._pass, out=self._total, where=seen)
        self._count += seen
        self._pass = None

    def _power(self, scene: SceneRef, band: str, geobox: GeoBox) -> FloatArray:
        """Read one band as linear power, NaN where missing or not positive."""
        asset = scene.assets.get(band)
        resampling = self._spec.resampling
        if asset is not None:
            _require_unit(asset, scene, band)
            if asset.unit == "dB":
                # A mean of logarithms is no mean of power: such pixels are moved, not mixed.
                resampling = "nearest"
        stored: NDArray[Any] = self._reader.read(scene, [band], geobox, resampling=resampling)[0]
        asset = scene.assets[band]
        power = to_reflectance(
            stored,
            scale=asset.scale,
            offset=asset.offset,
            nodata=fill_value(asset, stored.dtype),
        )
        if asset.unit == "dB":
            power = from_db(power)
        with np.errstate(invalid="ignore"):
            power[~(power > 0)] = np.nan
        return power


def _require_unit(asset: AssetRef, scene: SceneRef, band: str) -> None:
    if asset.unit not in _UNITS:
        raise ReadError(
            f"unit {asset.unit!r}: expected one of {_UNITS}",
            item=scene.id,
            band=band,
            url=asset.href,
        )
