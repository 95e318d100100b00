"""Creating the empty arrays of a group, and comparing a stored group with its schema."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from terrascope.errors import StoreError
from terrascope.periods import Cadence
from terrascope.store.layout import zone_geobox
from terrascope.store.schema import GroupSchema

__all__ = ["create_group", "crs_attributes", "find_array", "group_conflicts"]

_UNIX_EPOCH = dt.date(1970, 1, 1)


def create_group(root: zarr.Group, schema: GroupSchema) -> None:
    """Create what is missing of a group: its arrays without pixels, and its coordinates.

    Attributes of the group follow the schema: settings that decide no array, such as the
    composite, may change between runs. Arrays that are there stay as they are.

    Parameters
    ----------
    root : zarr.Group
        Writable root of the repository.
    schema : GroupSchema
        What the group should be; checked by `group_conflicts` before.
    """
    if schema.path not in root:
        group = root.create_group(schema.path, attributes=schema.group_attributes())
        _create_coordinates(group, schema)
    group = root.require_group(schema.path)
    wanted = json.loads(json.dumps(schema.group_attributes()))  # as they read back
    held = group.attrs.asdict()
    if changed := {key: value for key, value in wanted.items() if held.get(key) != value}:
        group.attrs.update(changed)
    for layer in schema.layers:
        if layer.name in group:
            continue
        shape, shard, chunk = schema.shapes(layer)
        group.create_array(
            layer.name,
            shape=shape,
            shards=shard,
            chunks=chunk,
            dtype=layer.dtype,
            fill_value=layer.fill,
            compressors=BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
            dimension_names=schema.dimensions(layer),
            attributes=layer.attributes(),
        )


def group_conflicts(root: zarr.Group, schema: GroupSchema) -> list[str]:
    """Say in what a stored group contradicts a schema.

    Parameters
    ----------
    root : zarr.Group
        Root of the repository.
    schema : GroupSchema
        What the group should be.

    Returns
    -------
    conflicts : list of str
        In words; empty where the group fits or does not exist.
    """
    if schema.path not in root:
        return []
    group = root.require_group(schema.path)
    found = []
    if schema.bands:
        bands = tuple(str(band) for band in np.asarray(find_array(group, "band")[:]))
        if bands != schema.bands:
            return [f"found bands {', '.join(bands)}, expected {', '.join(schema.bands)}"]
    for layer in schema.layers:
        if layer.name not in group:
            continue
        array = find_array(group, layer.name)
        stored = (array.shape, array.shards, array.chunks), str(array.dtype)
        if stored != (schema.shapes(layer), layer.dtype):
            found.append(
                f"array {layer.name} is {stored}, expected {schema.shapes(layer)}, {layer.dtype}"
            )
    return found


def crs_attributes(crs: Any, transform: tuple[float, ...]) -> dict[str, Any]:
    """Return the attributes of `spatial_ref`.

    Parameters
    ----------
    crs : odc.geo.crs.CRS
        Coordinate reference system.
    transform : tuple of float
        Six numbers in GDAL's order, from pixel corner to metres.

    Returns
    -------
    attributes : dict
        The CF grid mapping, with WKT and the transform GDAL's Zarr driver reads.
    """
    return {
        **crs.proj.to_cf(),
        "spatial_ref": crs.wkt,
        "GeoTransform": " ".join(str(number) for number in transform),
    }


def _create_coordinates(group: zarr.Group, schema: GroupSchema) -> None:
    """Write x, y, time, band and spatial_ref; 1-D, a few kilobytes compressed."""
    geobox = zone_geobox(schema.zone, schema.resolution_m)
    rows, columns = geobox.shape.yx
    step, top = schema.resolution_m, geobox.affine.f
    metre: dict[str, Any] = {"units": "m"}
    _put(
        group,
        "x",
        (np.arange(columns) + 0.5) * step,
        {"standard_name": "projection_x_coordinate", **metre},
    )
    _put(
        group,
        "y",
        top - (np.arange(rows) + 0.5) * step,
        {"standard_name": "projection_y_coordinate", **metre},
    )
    if schema.cadence:
        days = {"standard_name": "time", "units": "days since 1970-01-01", "calendar": "standard"}
        _put(group, "time", _first_days(schema.cadence), days)
    if schema.bands:
        names = group.create_array(
            "band", shape=(len(schema.bands),), dtype="string", dimension_names=("band",)
        )
        names[:] = np.array(schema.bands, dtype=object)
    group.create_array(
        "spatial_ref",
        shape=(),
        dtype="int32",
        fill_value=0,
        attributes=crs_attributes(geobox.crs, geobox.affine.to_gdal()),
    )


def _put(group: zarr.Group, name: str, values: NDArray[Any], attributes: dict[str, Any]) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        compressors=BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"),
        dimension_names=(name,),
        attributes=attributes,
    )
    array[:] = values


def _first_days(cadence: Cadence) -> NDArray[np.int32]:
    """Return the first day of every period, in days since 1970-01-01."""
    periods = (cadence.period(index) for index in range(cadence.length))
    return np.array([(period.start - _UNIX_EPOCH).days for period in periods], dtype=np.int32)


def find_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return an array of a group.

    Parameters
    ----------
    group : zarr.Group
        A group.
    name : str
        Path of the array in it.

    Returns
    -------
    array : zarr.Array
        The array.

    Raises
    ------
    StoreError
        If there is none.
    """
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise StoreError(f"array {group.path}/{name}: not in the cube".replace(" /", " "))
    return array
