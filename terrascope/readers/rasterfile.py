"""An open raster file, checked against what the item states of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from rasterio.windows import Window

from terrascope.errors import ReadError
from terrascope.types import AssetRef

__all__ = ["RasterFile"]

_SAME_PX = 0.01
"""Stated and found georeference agree if the corners do, to this many pixels."""


class RasterFile:
    """An open single-band raster, as `terrascope.readers.raster.Raster` wants it.

    Parameters
    ----------
    dataset : rasterio.DatasetReader
        The open file.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.transform: Affine = dataset.transform
        self.shape_yx: tuple[int, int] = dataset.shape
        self.dtype: np.dtype[Any] = np.dtype(dataset.dtypes[0])
        self.nodata: float | None = dataset.nodata
        self.crs: CRS | None = CRS(dataset.crs.to_wkt()) if dataset.crs else None
        self._checked: set[tuple[object, ...]] = set()

    def read_window(self, row: int, col: int, out: NDArray[Any]) -> None:
        """Read stored numbers.

        Parameters
        ----------
        row, col : int
            First pixel.
        out : ndarray, shape (y, x)
            Filled; lies inside the raster.
        """
        self._dataset.read(1, window=Window(col, row, out.shape[1], out.shape[0]), out=out)

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def check(self, asset: AssetRef, item: str, band: str) -> None:
        """Refuse a file that is not what the item says.

        Parameters
        ----------
        asset : AssetRef
            The item's statement.
        item : str
            Id of the scene.
        band : str
            Canonical name.

        Raises
        ------
        ReadError
            If the file has no georeference, several bands, or another grid than stated.
        """
        stated = (asset.epsg, asset.transform, asset.shape_yx)
        if stated in self._checked:
            return
        complaint = self._complaint(asset)
        if complaint is not None:
            raise ReadError(complaint, item=item, band=band, url=asset.href)
        self._checked.add(stated)

    def _complaint(self, asset: AssetRef) -> str | None:
        """Return the first contradiction."""
        count, driver = self._dataset.count, self._dataset.driver
        if self.crs is None:
            return f"the {driver} file has no coordinate reference system; refused"
        epsg, shape, at = asset.epsg, asset.shape_yx, asset.transform
        checks = (
            (
                self.transform.is_identity or self.transform.is_degenerate,
                f"the {driver} file has no geotransform",
            ),
            (count != 1, f"the file has {count} bands, expected 1"),
            (
                epsg is not None and self.crs != CRS(f"EPSG:{epsg}"),
                f"the item states EPSG:{epsg}, the file has {_crs_name(self.crs)}",
            ),
            (
                shape is not None and tuple(shape) != self.shape_yx,
                f"the item states shape {shape}, the file has {self.shape_yx}",
            ),
            (
                at is not None and not self._lies_at(Affine(*at[:6])),
                f"the item states transform {at}, the file has {tuple(self.transform[:6])}",
            ),
        )
        return next((f"{text}; refused" for wrong, text in checks if wrong), None)

    def _lies_at(self, stated: Affine) -> bool:
        """Compare two georeferences at the corners of the raster."""
        if self.transform.is_degenerate:
            return False
        rows, cols = self.shape_yx
        own = self.transform
        step = min(np.hypot(own.a, own.d), np.hypot(own.b, own.e))
        x, y = np.array([0, cols, 0, cols]), np.array([0, 0, rows, rows])
        gap_x = (stated.a - own.a) * x + (stated.b - own.b) * y + (stated.c - own.c)
        gap_y = (stated.d - own.d) * x + (stated.e - own.e) * y + (stated.f - own.f)
        return bool(np.hypot(gap_x, gap_y).max() < _SAME_PX * step)


def _crs_name(crs: CRS) -> str:
    return f"EPSG:{crs.epsg}" if crs.epsg else str(crs)[:80]
