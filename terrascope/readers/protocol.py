"""What every reader promises, and the number that stands for "nothing here"."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terrascope.types import AssetRef, SceneRef

__all__ = ["RESAMPLING", "BandReader", "Reader", "epsg_of", "fill_value"]

RESAMPLING = ("nearest", "bilinear")
"""The resampling methods of every reader."""


@runtime_checkable
class Reader(Protocol):
    """Brings the stored numbers of a scene onto a grid.

    A pixel's number depends on the scene and on the pixel, never on the window
    it was asked for in. Implementations are picklable and may be used by
    several threads at once.
    """

    def read(
        self, scene: SceneRef, bands: Sequence[str], geobox: GeoBox, *, resampling: str
    ) -> NDArray[Any]:
        """Read bands of one scene.

        Parameters
        ----------
        scene : SceneRef
            The scene.
        bands : sequence of str
            Canonical names, one plane each.
        geobox : odc.geo.geobox.GeoBox
            The wanted grid; may reach beyond the scene.
        resampling : {"nearest", "bilinear"}
            Used only where the grids differ; classes are read with ``"nearest"``.

        Returns
        -------
        numbers : ndarray, shape (band, y, x)
            As stored, in the file's dtype (the common one of several); `fill_value` where the
            scene has no data.

        Raises
        ------
        ReadError
            If any band cannot be read entirely, or contradicts the item.
        """
        ...


class BandReader(abc.ABC):
    """What the readers of this package have in common; a `Reader`."""

    def read(
        self, scene: SceneRef, bands: Sequence[str], geobox: GeoBox, *, resampling: str
    ) -> NDArray[Any]:
        """Read bands of one scene; see `terrascope.readers.Reader`.

        Parameters
        ----------
        scene : SceneRef
            The scene.
        bands : sequence of str
            Canonical names.
        geobox : odc.geo.geobox.GeoBox
            The wanted grid.
        resampling : {"nearest", "bilinear"}
            Used only where the grids differ.

        Returns
        -------
        numbers : ndarray, shape (band, y, x)
            As stored.

        Raises
        ------
        ReadError
            If any band cannot be read entirely, or contradicts the item.
        ValueError
            If there is no such resampling.
        """
        if resampling not in RESAMPLING:
            raise ValueError(f"resampling {resampling!r}: expected one of {RESAMPLING}")
        return self._read(scene, bands, geobox, resampling)

    @abc.abstractmethod
    def _read(
        self, scene: SceneRef, bands: Sequence[str], geobox: GeoBox, resampling: str
    ) -> NDArray[Any]:
        """Read with checked arguments."""


def fill_value(asset: AssetRef, dtype: np.dtype[Any]) -> float:
    """Return the number that readers write where a scene has no data.

    Parameters
    ----------
    asset : AssetRef
        The raster.
    dtype : numpy.dtype
        Of its stored numbers.

    Returns
    -------
    fill : float
        The declared nodata; undeclared: NaN for floating point, 0 for integers.
    """
    if asset.nodata is not None:
        representable = dtype.kind == "f" or (
            not np.isnan(asset.nodata)
            and np.iinfo(dtype).min <= asset.nodata <= np.iinfo(dtype).max
        )
        if representable:
            return asset.nodata
    return float("nan") if dtype.kind == "f" else 0.0


def epsg_of(geobox: GeoBox) -> int:
    """Return the EPSG code of a grid.

    Parameters
    ----------
    geobox : odc.geo.geobox.GeoBox
        The grid.

    Returns
    -------
    epsg : int
        Of its reference system.

    Raises
    ------
    ValueError
        If it has none.
    """
    epsg = geobox.crs.epsg if geobox.crs is not None else None
    if epsg is None:
        raise ValueError(f"grid in {geobox.crs}: expected a reference system with an EPSG code")
    return int(epsg)
