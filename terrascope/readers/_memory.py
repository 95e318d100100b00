"""A reader without files: for tests, examples and simulated scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from terrascope.errors import ReadError
from terrascope.readers.files import asset_of
from terrascope.readers.protocol import BandReader, fill_value
from terrascope.readers.raster import read_onto
from terrascope.types import SceneRef

__all__ = ["MemoryRaster", "MemoryReader"]


@dataclasses.dataclass(frozen=True)
class MemoryRaster:
    """An array with its georeference.

    Parameters
    ----------
    numbers : ndarray, shape (y, x)
        Stored numbers.
    transform : affine.Affine
        Pixel to map coordinates.
    crs : odc.geo.crs.CRS or None
        Reference system of the map coordinates.
    nodata : float or None
        Declared in the raster itself.
    """

    numbers: NDArray[Any]
    transform: Affine
    crs: CRS | None
    nodata: float | None = None

    @classmethod
    def on(
        cls, geobox: GeoBox, numbers: NDArray[Any], *, nodata: float | None = None
    ) -> MemoryRaster:
        """Place an array on a grid.

        Parameters
        ----------
        geobox : odc.geo.geobox.GeoBox
            Of the same shape.
        numbers : ndarray, shape (y, x)
            Stored numbers.
        nodata : float or None
            Declared in the raster itself.

        Returns
        -------
        raster : MemoryRaster
            The raster.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if numbers.shape != geobox.shape.yx:
            raise ValueError(f"array of shape {numbers.shape} on a grid of {geobox.shape.yx}")
        return cls(numbers, geobox.affine, geobox.crs, nodata)

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.numbers.shape[0], self.numbers.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored numbers."""
        return self.numbers.dtype

    def read_window(self, row: int, col: int, out: NDArray[Any]) -> None:
        """Copy stored numbers.

        Parameters
        ----------
        row, col : int
            First pixel.
        out : ndarray, shape (y, x)
            Filled; lies inside the raster.
        """
        out[...] = self.numbers[row : row + out.shape[0], col : col + out.shape[1]]


@dataclasses.dataclass(frozen=True)
class MemoryReader(BandReader):
    """Read scenes whose rasters are held in memory, through the same resampling as files.

    Parameters
    ----------
    rasters : mapping of str to MemoryRaster or ReadError
        By `href` of the asset. An error is raised when its raster is read.
    """

    rasters: Mapping[str, MemoryRaster | ReadError]

    def _read(
        self, scene: SceneRef, bands: Sequence[str], geobox: GeoBox, resampling: str
    ) -> NDArray[Any]:
        rasters = [self._raster(scene, band) for band in bands]
        numbers = np.empty(
            (len(bands), *geobox.shape.yx), np.result_type(*(r.dtype for r in rasters))
        )
        for plane, band, raster in zip(numbers, bands, rasters, strict=True):
            fill = fill_value(scene.assets[band], raster.dtype)
            read_onto(raster, geobox, plane, resampling=resampling, fill=fill)
        return numbers

    def _raster(self, scene: SceneRef, band: str) -> MemoryRaster:
        asset = asset_of(scene, band)
        raster = self.rasters.get(asset.href)
        if raster is None:
            raise ReadError("no such raster in memory", item=scene.id, band=band, url=asset.href)
        if isinstance(raster, ReadError):
            raise raster
        return raster
