"""Raster files: opened once per thread, checked against what the item states, read by window."""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio._env import set_gdal_config
from rasterio.errors import RasterioError
from rasterio.windows import Window

from terrascope.errors import ReadError
from terrascope.readers.failures import public_url, read_error, retrying
from terrascope.readers.protocol import fill_value
from terrascope.readers.raster import read_onto
from terrascope.types import AssetRef, SceneRef

__all__ = ["FileAccess", "RasterFile", "asset_of"]

_OPEN_FILES = 48
_SAME_PX = 0.01
_local = threading.local()


@dataclasses.dataclass(frozen=True)
class FileAccess:
    """How raster files are reached. Small and picklable: it holds settings, never open files.

    Parameters
    ----------
    sign : callable or None
        Turns an unsigned address into one that may be opened. Called at every opening.
    timeout_s : float
        A transfer that stays below 1 kB/s for so long is given up, and any single request
        after four times that.
    attempts : int
        In all, for transient failures.
    wait_s : float
        Before the second attempt; doubles.
    cache_mb : int
        GDAL's block cache of the process: enough for blocks that straddle two windows.
    """

    sign: Callable[[str], str] | None = None
    timeout_s: float = 30.0
    attempts: int = 3
    wait_s: float = 0.5
    cache_mb: int = 64

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.attempts < 1 or self.wait_s < 0 or self.cache_mb < 1:
            raise ValueError(f"{self}: expected positive times, attempts and cache")

    def environment(self) -> dict[str, str | int]:
        """Return GDAL's settings.

        Returns
        -------
        options : dict
            For `rasterio.Env`.
        """
        stall = max(1, round(self.timeout_s))
        return {
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            "GDAL_HTTP_CONNECTTIMEOUT": stall,
            "GDAL_HTTP_LOW_SPEED_TIME": stall,
            "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
            "GDAL_HTTP_TIMEOUT": 4 * stall,
            "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
            "GDAL_HTTP_MULTIPLEX": "YES",
            # GDAL remembers that a URL failed, so that a second attempt would not even ask.
            "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",
            "GTIFF_HONOUR_NEGATIVE_SCALEY": "YES",
        }

    def read(
        self, scene: SceneRef, band: str, geobox: GeoBox, out: NDArray[Any], *, resampling: str
    ) -> None:
        """Read one band on a grid, again where the failure is transient.

        Parameters
        ----------
        scene : SceneRef
            The scene.
        band : str
            Canonical name.
        geobox : odc.geo.geobox.GeoBox
            The wanted grid.
        out : ndarray, shape (y, x)
            Filled with stored numbers; its dtype holds the file's.
        resampling : {"nearest", "bilinear"}
            Used only where the grids differ.

        Raises
        ------
        ReadError
            If the file cannot be read or contradicts the item.
        """
        asset = asset_of(scene, band)
        _cap_block_cache(self.cache_mb)

        def once() -> None:
            try:
                with rasterio.Env(**self.environment()):
                    file = self._open(scene, band, asset)
                    fill = fill_value(asset, file.dtype)
                    read_onto(file, geobox, out, resampling=resampling, fill=fill)
            except (RasterioError, OSError, ValueError) as error:
                _forget(asset.href)
                raise read_error(
                    error, item=scene.id, band=band, href=asset.href, signed=self.sign is not None
                ) from _without_secrets(error)

        retrying(once, attempts=self.attempts, wait_s=self.wait_s)

    def dtype(self, scene: SceneRef, band: str) -> np.dtype[Any]:
        """Return the dtype that the file itself states.

        Parameters
        ----------
        scene : SceneRef
            The scene.
        band : str
            Canonical name.

        Returns
        -------
        dtype : numpy.dtype
            Of the stored numbers.

        Raises
        ------
        ReadError
            If the file cannot be opened or contradicts the item.
        """
        asset = asset_of(scene, band)

        def once() -> np.dtype[Any]:
            try:
                with rasterio.Env(**self.environment()):
                    return self._open(scene, band, asset).dtype
            except (RasterioError, OSError, ValueError) as error:
                raise read_error(
                    error, item=scene.id, band=band, href=asset.href, signed=self.sign is not None
                ) from _without_secrets(error)

        return retrying(once, attempts=self.attempts, wait_s=self.wait_s)

    def _open(self, scene: SceneRef, band: str, asset: AssetRef) -> RasterFile:
        """Return this thread's open file; a local file that was rewritten is opened anew."""
        cache: OrderedDict[str, tuple[object, RasterFile]] = _local.__dict__.setdefault(
            "files", OrderedDict()
        )
        path = _local_path(asset.href)
        version: object = None
        if path is not None:
            status = path.stat()
            version = status.st_mtime_ns, status.st_size, status.st_ino
        held = cache.get(asset.href)
        if held is not None and held[0] == version:
            cache.move_to_end(asset.href)
            held[1].check(asset, scene.id, band)
            return held[1]
        address = str(path) if path is not None else asset.href
        if path is None and self.sign is not None:
            address = self.sign(address)
        file = RasterFile(rasterio.open(address, sharing=False))
        file.check(asset, scene.id, band)
        cache[asset.href] = (version, file)
        while len(cache) > _OPEN_FILES:
            cache.popitem(last=False)[1][1].close()
        return file


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
        self.crs: CRS | None = _crs(dataset.crs.to_wkt()) if dataset.crs else None
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
            raise ReadError(complaint, item=item, band=band, url=public_url(asset.href))
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
                epsg is not None and self.crs != _crs(f"EPSG:{epsg}"),
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
        """Compare two georeferences at the corners, in pixels."""
        if self.transform.is_degenerate:
            return False
        rows, cols = self.shape_yx
        inverse = ~self.transform
        return all(
            max(abs(a - b) for a, b in zip(inverse * (stated * corner), corner, strict=True))
            < _SAME_PX
            for corner in ((0, 0), (cols, 0), (0, rows), (cols, rows))
        )


def asset_of(scene: SceneRef, band: str) -> AssetRef:
    """Return a scene's raster, or say that it has none.

    Parameters
    ----------
    scene : SceneRef
        The scene.
    band : str
        Canonical name.

    Returns
    -------
    asset : AssetRef
        The raster.

    Raises
    ------
    ReadError
        If the scene has no such asset.
    """
    asset = scene.assets.get(band)
    if asset is None:
        has = ", ".join(sorted(scene.assets)) or "none"
        raise ReadError(f"the item has no such asset (it has: {has})", item=scene.id, band=band)
    return asset


@functools.lru_cache(maxsize=1)
def _cap_block_cache(megabytes: int) -> None:
    """Set the size of GDAL's block cache; done in an `Env` it would be emptied at every exit."""
    if "GDAL_CACHEMAX" not in os.environ:
        set_gdal_config("GDAL_CACHEMAX", megabytes * 2**20)


def _forget(href: str) -> None:
    """Close a file that failed: the next attempt opens it anew, freshly signed."""
    held = _local.__dict__.get("files", {}).pop(href, None)
    if held is not None:
        held[1].close()


def _local_path(href: str) -> Path | None:
    parts = urlsplit(href)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if "://" in href or href.startswith("/vsi") else Path(href)


def _without_secrets(error: BaseException) -> BaseException | None:
    """Keep the chain of causes only where it holds no address: tracebacks are published too."""
    return None if "://" in f"{error}{error.__cause__}{error.__context__}" else error


@functools.lru_cache(maxsize=256)
def _crs(text: str) -> CRS:
    return CRS(text)


def _crs_name(crs: CRS) -> str:
    return f"EPSG:{crs.epsg}" if crs.epsg else str(crs)[:80]
