"""The second reader: odc-stac, with the same exact pixel reader as its driver."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import odc.stac
import pystac
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terrascope.readers.files import FileAccess
from terrascope.readers.protocol import BandReader, epsg_of
from terrascope.types import SceneRef

__all__ = ["OdcReader"]

_SCHEME = "band://"
_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]


@dataclasses.dataclass(frozen=True)
class OdcReader(BandReader):
    """Read through `odc.stac.load`.

    odc-loader's own driver pastes pixels although grids are up to 0.05 pixel
    apart, and its warp depends on the window; `driver=` takes ours instead.

    Parameters
    ----------
    access : FileAccess
        Signing, time-outs, retries.
    """

    access: FileAccess = dataclasses.field(default_factory=FileAccess)

    def _read(
        self, scene: SceneRef, bands: Sequence[str], geobox: GeoBox, resampling: str
    ) -> NDArray[Any]:
        with self.access.session():
            dtypes = {band: self.access.dtype(scene, band) for band in bands}
            data = odc.stac.load(
                [_item(scene, dtypes, geobox)],
                bands=list(bands),
                geobox=geobox,
                groupby="id",
                resampling=resampling,
                dtype={band: str(dtype) for band, dtype in dtypes.items()},
                driver=_Driver(self.access, scene),
            )
        return np.stack([data[band].values[0] for band in bands])


class _Driver:
    """odc-loader's `ReaderDriver` over `FileAccess`."""

    md_parser = None
    dask_reader = None
    aux_reader = None

    def __init__(self, access: FileAccess, scene: SceneRef) -> None:
        self._access = access
        self._scene = scene

    def new_load(self, geobox: GeoBox, *, chunks: dict[str, int] | None = None) -> None:
        """Nothing is shared within a load."""

    def finalise_load(self, load_state: None) -> None:
        """Nothing to release."""

    def capture_env(self) -> dict[str, Any]:
        """Return no settings: `FileAccess` has its own."""
        return {}

    @contextlib.contextmanager
    def restore_env(self, env: dict[str, Any], load_state: None) -> Iterator[None]:
        """Leave the environment as it is."""
        yield None

    def open(self, src: Any, ctx: None) -> _BandReader:
        """Return the reader of the band whose name stands as the address."""
        return _BandReader(self._access, self._scene, src.uri.removeprefix(_SCHEME))


class _BandReader:
    """odc-loader's `RasterReader` of one band."""

    def __init__(self, access: FileAccess, scene: SceneRef, band: str) -> None:
        self._access = access
        self._scene = scene
        self._band = band

    def read(
        self,
        cfg: Any,
        dst_geobox: GeoBox,
        *,
        dst: NDArray[Any] | None = None,
        selection: object = None,
    ) -> tuple[tuple[slice, slice], NDArray[Any]]:
        """Fill the whole of the wanted grid."""
        if dst is None:
            dst = np.empty(dst_geobox.shape.yx, cfg.dtype)
        self._access.read(self._scene, self._band, dst_geobox, dst, resampling=cfg.resampling)
        return np.s_[0 : dst.shape[0], 0 : dst.shape[1]], dst


def _item(scene: SceneRef, dtypes: dict[str, np.dtype[Any]], geobox: GeoBox) -> pystac.Item:
    """Return a STAC item that states the wanted grid itself, so that odc-stac culls nothing."""
    item = pystac.Item(
        id=scene.id,
        geometry=None,
        bbox=None,
        datetime=scene.datetime,
        properties={},
        stac_extensions=_EXTENSIONS,
        collection=scene.collection or "scenes",
    )
    for band, dtype in dtypes.items():
        item.assets[band] = pystac.Asset(
            href=_SCHEME + band,
            media_type=pystac.MediaType.COG,
            roles=["data"],
            extra_fields={
                "proj:code": f"EPSG:{epsg_of(geobox)}",
                "proj:shape": list(geobox.shape.yx),
                "proj:transform": list(geobox.affine[:6]),
                "raster:bands": [{"data_type": str(dtype)}],
            },
        )
    return item
