"""The default reader: stackstac, with an exact pixel reader plugged into it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from stackstac.prepare import prepare_items
from stackstac.to_dask import asset_table_to_reader_and_window

from terrascope.readers.files import FileAccess
from terrascope.readers.protocol import BandReader, epsg_of
from terrascope.types import SceneRef

__all__ = ["StackstacReader"]


@dataclasses.dataclass(frozen=True)
class StackstacReader(BandReader):
    """Read through stackstac: its item table, its grid and its reader protocol, without Dask.

    Blocks are computed where they are needed, so the graph that
    `stackstac.stack` would build for a single chunk is left out, and with it two
    copies. stackstac's own pixel reader always warps through a VRT
    whose result depends on the chunk, turns some errors into missing data and
    re-opens files per chunk; its `reader=` argument takes ours instead
    (`FileAccess`), which copies stored numbers where the grids agree.

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
            dtype = np.result_type(*(self.access.dtype(scene, band) for band in bands))
            table, spec, _, _ = prepare_items(
                [_item(scene, bands, geobox)],
                assets=list(bands),
                epsg=epsg_of(geobox),
                resolution=(geobox.affine.a, -geobox.affine.e),
                bounds=tuple(geobox.boundingbox.bbox),
                snap_bounds=False,
                rescale=False,
                dtype=dtype,
            )
            entries = asset_table_to_reader_and_window(
                table,
                spec,
                resampling=resampling,
                dtype=dtype,
                fill_value=0,
                rescale=False,
                gdal_env=None,
                errors_as_nodata=(),
                reader=functools.partial(_BandReader, self.access, scene, geobox),
            )
            numbers = np.empty((len(bands), *geobox.shape.yx), dtype)
            whole = Window(0, 0, geobox.shape.x, geobox.shape.y)
            for plane, (reader, _) in zip(numbers, entries[0], strict=True):
                reader.read(whole, out=plane)
        return numbers


class _BandReader:
    """stackstac's `Reader` protocol over `FileAccess`.

    The address it is given is a band's name: signed URLs stay out of stackstac's tables.
    """

    def __init__(
        self,
        access: FileAccess,
        scene: SceneRef,
        geobox: GeoBox,
        *,
        url: str,
        resampling: str,
        **_: object,
    ) -> None:
        self._read = functools.partial(access.read, scene, url, resampling=resampling)
        self._geobox = geobox

    def read(self, window: Window, *, out: NDArray[Any]) -> NDArray[Any]:
        """Read the part of the grid that stackstac asks for."""
        self._read(self._geobox[window.toslices()], out)
        return out

    def close(self) -> None:
        """Files stay open in the thread's cache."""


def _item(scene: SceneRef, bands: Sequence[str], geobox: GeoBox) -> dict[str, Any]:
    """Return a plain STAC item that states the wanted grid itself.

    stackstac then neither snaps nor culls: what lies where is for `FileAccess` to find out,
    exactly. `proj:epsg`, on properties and assets, is the only CRS key stackstac knows.
    """
    grid = {
        "proj:epsg": epsg_of(geobox),
        "proj:transform": list(geobox.affine[:6]),
        "proj:shape": list(geobox.shape.yx),
    }
    return {
        "type": "Feature",
        "id": scene.id,
        "collection": scene.collection,
        "geometry": None,
        "properties": {"datetime": scene.datetime.isoformat(), **grid},
        "assets": {band: {"href": band, **grid} for band in bands},
    }
