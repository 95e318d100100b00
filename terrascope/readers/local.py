"""Raster files of published data sets on this machine: no catalog says anything of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from terrascope.errors import ReadError
from terrascope.readers.failures import read_error
from terrascope.readers.files import FileAccess
from terrascope.types import AssetRef, SceneRef

__all__ = ["LocalRaster", "read_local", "read_local_onto"]

_FORMATS = {".png": "PNG", ".tif": "GTiff", ".tiff": "GTiff"}
"""The one driver that may open a file: a text format such as VRT could name other files."""
_MOST_NUMBERS = 2**27
"""Of one file that is read whole: a small file can unpack to more than there is memory."""
_SAME_PX = 0.01
"""Edges of two grids agree to this many of the finer pixels."""
_NO_DAY = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True, eq=False)
class LocalRaster:
    """A raster as it is stored.

    Parameters
    ----------
    item, band : str
        Whose and which, for messages.
    values : ndarray, shape (band, y, x)
        Stored numbers.
    nodata : float or None
        Stored number that means "no data", where the file says.
    geobox : odc.geo.geobox.GeoBox or None
        Its grid; None where the file has none.
    """

    item: str
    band: str
    values: NDArray[Any]
    nodata: float | None
    geobox: GeoBox | None

    @property
    def grid(self) -> GeoBox:
        """The grid of a file that must have one."""
        if self.geobox is None:
            raise ReadError(
                "the file has no reference system or geotransform; expected a georeferenced raster",
                item=self.item,
                band=self.band,
            )
        return self.geobox

    def on(self, grid: GeoBox) -> NDArray[Any]:
        """Return the numbers on a finer grid of the same ground.

        Parameters
        ----------
        grid : odc.geo.geobox.GeoBox
            Whole pixels of it make up each pixel of this raster.

        Returns
        -------
        values : ndarray, shape (band, y, x)
            Coarse pixels repeated.

        Raises
        ------
        ReadError
            If the raster covers other ground, or its pixels are no multiples.
        """
        own = self.grid
        times = [new // old for new, old in zip(grid.shape.yx, own.shape.yx, strict=True)]
        edges = np.abs(np.subtract(own.boundingbox.bbox, grid.boundingbox.bbox)).max()
        step = min(abs(grid.affine.a), abs(grid.affine.e))
        whole = tuple(n * t for n, t in zip(own.shape.yx, times, strict=True))
        if own.crs != grid.crs or edges > _SAME_PX * step or whole != tuple(grid.shape.yx):
            raise ReadError(
                f"{own.shape.yx} pixels over {own.boundingbox.bbox} in {own.crs}; expected the "
                f"ground of {grid.shape.yx} pixels over {grid.boundingbox.bbox} in {grid.crs}, "
                "divided into whole multiples of them",
                item=self.item,
                band=self.band,
            )
        return self.values.repeat(times[0], axis=1).repeat(times[1], axis=2)


def read_local(path: Path, *, item: str, band: str, count: Collection[int] = (1,)) -> LocalRaster:
    """Read a GeoTIFF or PNG whole.

    Parameters
    ----------
    path : Path
        The file.
    item, band : str
        Whose and which, for messages.
    count : collection of int
        How many bands it may have.

    Returns
    -------
    raster : LocalRaster
        Its numbers, and its grid where it has one.

    Raises
    ------
    ReadError
        If there is no such file, or it is of another format, not north up, of another number of
        bands, too large, or damaged.
    """
    driver = _driver_of(path, _FORMATS, item, band)
    try:
        with warnings.catch_warnings(), FileAccess().session():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver=driver, sharing=False) as file:
                _require(file, count, item, band)
                return LocalRaster(item, band, file.read(), file.nodata, _grid(file))
    except (RasterioError, OSError, ValueError) as error:
        failure = read_error(error, item=item, band=band, href=str(path))
    raise failure


def read_local_onto(
    path: Path, grid: GeoBox, *, item: str, band: str, fill: float = 0.0
) -> NDArray[Any]:
    """Read a part of a georeferenced single-band file on another grid, nearest pixels.

    Parameters
    ----------
    path : Path
        The file; may be far larger than the grid.
    grid : odc.geo.geobox.GeoBox
        The wanted pixels; may reach beyond the file.
    item, band : str
        Whose and which, for messages.
    fill : float
        Written where the file has no data.

    Returns
    -------
    values : ndarray, shape (y, x)
        Stored numbers, in the file's type.

    Raises
    ------
    ReadError
        If the file cannot be read or has no georeference.
    """
    _driver_of(path, {".tif": "GTiff", ".tiff": "GTiff"}, item, band)
    asset = AssetRef(str(path), nodata=fill)
    scene = SceneRef(item, "local", "", _NO_DAY, _NO_DAY.date(), {band: asset})
    access = FileAccess()
    out = np.empty(grid.shape.yx, access.dtype(scene, band))
    access.read(scene, band, grid, out, resampling="nearest")
    return out


def _driver_of(path: Path, formats: Mapping[str, str], item: str, band: str) -> str:
    """Return the driver for a file that is there."""
    driver = formats.get(path.suffix.lower())
    if driver is None:
        raise ReadError(
            f"{path.name}: expected a name that ends in one of {sorted(formats)}",
            item=item,
            band=band,
        )
    if not path.is_file():
        raise ReadError(f"there is no file {path.name}", item=item, band=band, url=str(path))
    return driver


def _require(file: Any, count: Collection[int], item: str, band: str) -> None:
    """Refuse a file that is not what it should be, before its pixels are read."""
    if file.count not in count:
        wanted = " or ".join(map(str, count))
        raise ReadError(f"the file has {file.count} bands, expected {wanted}", item=item, band=band)
    if file.width * file.height * file.count > _MOST_NUMBERS:
        raise ReadError(
            f"{file.height} x {file.width} pixels of {file.count} bands; expected a patch of at "
            f"most {_MOST_NUMBERS} numbers",
            item=item,
            band=band,
        )


def _grid(file: Any) -> GeoBox | None:
    transform: Affine = file.transform
    if file.crs is None or transform.is_identity:
        return None
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise ValueError(f"geotransform {tuple(transform[:6])}: expected north up")
    return GeoBox(file.shape, transform, file.crs.to_wkt())
