"""Raster files: opened once per thread, read by window, tried again where that can help."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio._env import set_gdal_config
from rasterio.errors import RasterioError

from terrascope.errors import CatalogError, ReadError
from terrascope.readers.failures import read_error, retrying
from terrascope.readers.protocol import fill_value
from terrascope.readers.raster import read_onto
from terrascope.readers.rasterfile import RasterFile
from terrascope.types import AssetRef, SceneRef

__all__ = ["FileAccess", "asset_of"]

_T = TypeVar("_T")

_OPEN_FILES = 16
_DRIVERS = ("GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW")
"""Formats that are read: a text format such as VRT could name other files."""
_local = threading.local()
_given_up: dict[str, tuple[float, ReadError]] = {}


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
    rest_s : float
        A remote file that failed in all attempts is not asked again for so long: a scene
        touches many blocks, and each would wait for it anew.
    cache_mb : int
        GDAL's block cache of the process: enough for blocks that straddle two windows.
    gdal : tuple of (str, str)
        More GDAL options, as a provider's storage wants them; never secrets.
    """

    sign: Callable[[str], str] | None = None
    timeout_s: float = 20.0
    attempts: int = 3
    wait_s: float = 0.5
    rest_s: float = 600.0
    cache_mb: int = 64
    gdal: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        times = (self.wait_s, self.rest_s)
        if self.timeout_s <= 0 or self.attempts < 1 or min(times) < 0 or self.cache_mb < 1:
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
            "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
            # GDAL remembers that a URL failed, so that a second attempt would not even ask.
            "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",
            **dict(self.gdal),
        }

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Apply GDAL's settings to this thread; inside another session it costs nothing.

        Yields
        ------
        None
            The settings hold.
        """
        if _local.__dict__.get("settings") == self:
            yield
            return
        outer = _local.__dict__.get("settings")
        with rasterio.Env(**self.environment()):
            _local.settings = self
            try:
                yield
            finally:
                _local.settings = outer

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

        def call(file: RasterFile, asset: AssetRef) -> None:
            fill = fill_value(asset, file.dtype)
            read_onto(file, geobox, out, resampling=resampling, fill=fill)

        self._with_file(scene, band, call)

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
        return self._with_file(scene, band, lambda file, _: file.dtype)

    def _with_file(
        self, scene: SceneRef, band: str, call: Callable[[RasterFile, AssetRef], _T]
    ) -> _T:
        """Open a file, use it, and turn what goes wrong into a `ReadError`."""
        asset = asset_of(scene, band)
        remote = _local_path(asset.href) is None
        _cap_block_cache(self.cache_mb)
        _require_not_given_up(scene, band, asset.href, self.rest_s)

        def once() -> _T:
            start = time.monotonic()
            try:
                with self.session():
                    return call(self._open(scene, band, asset), asset)
            except (RasterioError, OSError, ValueError, ProjError, CatalogError) as error:
                _forget(asset.href)
                failure = read_error(
                    error,
                    item=scene.id,
                    band=band,
                    href=asset.href,
                    signed=self.sign is not None,
                    stalled=remote and time.monotonic() - start > 0.9 * self.timeout_s,
                )
            # Raised out here, without cause and context: GDAL's errors hold signed URLs, and
            # `distributed` cannot send them to another process.
            raise failure

        try:
            return retrying(once, attempts=self.attempts, wait_s=self.wait_s)
        except ReadError as error:
            if remote and error.transient:
                _given_up[asset.href] = (time.monotonic(), error)
            raise

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
        file = RasterFile(_open_raster(address))
        file.check(asset, scene.id, band)
        cache[asset.href] = (version, file)
        while len(cache) > _OPEN_FILES:
            cache.popitem(last=False)[1][1].close()
        return file


def _open_raster(address: str) -> rasterio.DatasetReader:
    """Open a file of a known format; nothing is read of any other."""
    dataset = rasterio.open(address, sharing=False)
    if dataset.driver not in _DRIVERS:
        found = dataset.driver
        dataset.close()
        raise ValueError(f"found a file of format {found}, expected GeoTIFF or JPEG 2000")
    return dataset


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


def _require_not_given_up(scene: SceneRef, band: str, href: str, rest_s: float) -> None:
    """Repeat the failure of an address that is left alone for a while, for this scene.

    Several scenes may share a file: the complaint names the one that is read now.
    """
    failed = _given_up.get(href)
    if failed is not None and time.monotonic() - failed[0] < rest_s:
        former = failed[1]
        raise type(former)(
            former.message, item=scene.id, band=band, url=href, transient=former.transient
        )
