"""A plan's pixels as a lazy Dataset, without a store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from terrascope.cube.block import compute_block
from terrascope.cube.spec import CubeSpec
from terrascope.periods import Period
from terrascope.readers import Reader
from terrascope.types import NODATA_INT16, SceneRef

__all__ = ["load"]


def load(
    scenes: Mapping[Period, Sequence[SceneRef]],
    spec: CubeSpec,
    geobox: GeoBox,
    reader: Reader,
    *,
    chunk: int = 1536,
) -> xr.Dataset:
    """Return the cube of some scenes, computed block by block when it is asked for.

    Parameters
    ----------
    scenes : mapping of Period to sequence of SceneRef
        The scenes of each period; an empty sequence gives a missing period.
    spec : CubeSpec
        How to make the cube.
    geobox : odc.geo.geobox.GeoBox
        The grid; the values do not depend on where it is cut.
    reader : Reader
        Brings the pixels.
    chunk : int
        Rows and columns of a block.

    Returns
    -------
    cube : xarray.Dataset
        The sensor's variable (time, band, y, x) as stored steps with CF attributes
        (`xarray.decode_cf` scales them), `observed` and `quality` (time, y, x). A scene that
        cannot be read is missing; `compute_block` says why.

    Raises
    ------
    ValueError
        If there is no period, or `chunk` is not positive.
    """
    if not scenes or chunk <= 0:
        raise ValueError(f"{len(scenes)} periods in chunks of {chunk}: expected at least 1 each")
    periods = sorted(scenes)
    parts = [_period(scenes[period], spec, geobox, reader, chunk) for period in periods]
    values, observed, quality = (
        da.stack(layers)  # type: ignore[no-untyped-call]
        for layers in zip(*parts, strict=True)
    )
    coords = xr_coords(geobox)
    yx = tuple(geobox.dims)
    name = "dn" if spec.values == "dn" else spec.facts.variable
    cube = xr.Dataset(
        {
            name: (("time", "band", *yx), values, _attributes(spec)),
            "observed": (("time", *yx), observed, {"long_name": "clear observations"}),
            "quality": (
                ("time", *yx),
                quality,
                {"long_name": "bits, see terrascope.types.Quality"},
            ),
        },
        coords={
            "time": [np.datetime64(_midnight(period.start), "ns") for period in periods],
            "band": list(spec.bands),
            **coords,
        },
        attrs={"cadence": str(spec.cadence), "sensor": spec.sensor},
    )
    for variable in cube.data_vars.values():
        variable.attrs["grid_mapping"] = "spatial_ref"
    return cube


def _period(
    scenes: Sequence[SceneRef], spec: CubeSpec, geobox: GeoBox, reader: Reader, chunk: int
) -> tuple[da.Array, da.Array, da.Array]:
    height, width = geobox.shape.yx
    dtype = np.uint16 if spec.values == "dn" else np.int16
    rows: list[list[tuple[da.Array, da.Array, da.Array]]] = []
    for y in range(0, height, chunk):
        row = []
        for x in range(0, width, chunk):
            part = geobox[y : min(y + chunk, height), x : min(x + chunk, width)]
            block = delayed(compute_block, pure=False)(tuple(scenes), spec, part, reader)
            shape = part.shape.yx
            row.append(
                (
                    _lazy(block.values, (len(spec.bands), *shape), dtype),
                    _lazy(block.observed, shape, np.uint16),
                    _lazy(block.quality, shape, np.uint8),
                )
            )
        rows.append(row)
    values, observed, quality = (
        da.block([[parts[layer] for parts in row] for row in rows])  # type: ignore[no-untyped-call]
        for layer in range(3)
    )
    return values, observed, quality


def _lazy(part: Any, shape: tuple[int, ...], dtype: type[np.integer[Any]]) -> da.Array:
    array: da.Array = da.from_delayed(part, shape, dtype)  # type: ignore[no-untyped-call]
    return array


def _attributes(spec: CubeSpec) -> dict[str, Any]:
    if spec.values == "dn":
        return {"long_name": "stored numbers", "_FillValue": 0}
    return {
        "long_name": spec.facts.variable,
        "units": spec.facts.unit,
        "scale_factor": spec.facts.scale,
        "add_offset": 0.0,
        "_FillValue": NODATA_INT16,
    }


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day)
