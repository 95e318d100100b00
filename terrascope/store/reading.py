"""Reading regions of a group: lazily as a Dataset, or the numbers of one tile with a halo."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from icechunk import IcechunkStore
from numpy.typing import NDArray

from terrascope.errors import StoreError
from terrascope.geo.tiles import Tile
from terrascope.store.layout import (
    GroupPath,
    parse_group,
    tile_pixels,
    tile_slices,
    zone_geobox,
    zone_shape,
)
from terrascope.store.template import crs_attributes, find_array
from terrascope.store.window import read_window

__all__ = ["open_region", "read_tile"]

Bounds = tuple[float, float, float, float]


def open_region(
    store: IcechunkStore,
    group: str,
    *,
    tiles: Iterable[Tile] | None,
    bounds: Bounds | None,
    times: tuple[dt.date, dt.date] | None,
    chunks: Mapping[str, Any] | str | None,
    decode: bool,
) -> xr.Dataset:
    """Open a region lazily; see `terrascope.store.repository.Store.dataset`.

    Parameters
    ----------
    store : icechunk.IcechunkStore
        Read only.
    group : str
        Path of the group.
    tiles : iterable of Tile or None
        Crop to the rectangle around them.
    bounds : tuple of float or None
        Crop to these metres.
    times : tuple of datetime.date or None
        First and last day.
    chunks : mapping, "tile" or None
        Dask chunks.
    decode : bool
        Physical values.

    Returns
    -------
    dataset : xarray.Dataset
        The region.

    Raises
    ------
    StoreError
        If there is no such group.
    ValueError
        If the region makes no sense.
    """
    parts = parse_group(group)
    if tiles is not None and bounds is None:
        region = _around(parts, tuple(tiles))
    elif bounds is not None and tiles is None:
        region = _within(parts, bounds)
    else:
        raise ValueError("a region: give either tiles or bounds")
    crop: dict[str, slice] = dict(zip(("y", "x"), region, strict=True))
    if parts.cadence and times:
        periods = parts.cadence.periods(*times)
        crop["time"] = slice(periods[0].index, periods[-1].index + 1)
    try:
        # chunks=None: a Dask graph of the whole zone and time axis does not fit into memory
        whole = xr.open_zarr(store, group=group, chunks=None, consolidated=False, decode_cf=False)
    except FileNotFoundError as error:
        raise StoreError(f"group {group}: not in the cube") from error
    dataset = _decode(whole.isel(crop), decode=decode)
    geobox = zone_geobox(parts.zone, parts.resolution_m)
    step, west, north = geobox.affine.a, geobox.affine.c, geobox.affine.f
    corner = (west + region[1].start * step, step, 0.0, north - region[0].start * step, 0.0, -step)
    dataset["spatial_ref"].attrs.update(crs_attributes(geobox.crs, corner))
    dataset.attrs["spatial:transform"] = [step, 0.0, corner[0], 0.0, -step, corner[3]]
    dataset.attrs["spatial:shape"] = [dataset.sizes["y"], dataset.sizes["x"]]
    if chunks is None:
        return dataset
    if chunks == "tile":
        side = tile_pixels(parts.resolution_m)
        chunks = {
            "time": 1,
            "band": -1,
            "y": _on_grid(region[0], side),
            "x": _on_grid(region[1], side),
        }
        chunks = {name: size for name, size in chunks.items() if name in dataset.dims}
    chunked: xr.Dataset = dataset.chunk(chunks)
    return chunked


def read_tile(
    root: zarr.Group,
    group: str,
    variable: str,
    tile: Tile,
    time_index: int | slice | None,
    *,
    halo_px: int,
    bands: Sequence[str] | None,
) -> NDArray[Any]:
    """Read stored numbers; see `terrascope.store.repository.Store.read_tile`.

    Parameters
    ----------
    root : zarr.Group
        Of the repository.
    group : str
        Path of the group.
    variable : str
        Name of the array.
    tile : Tile
        The tile.
    time_index : int, slice or None
        Period or periods.
    halo_px : int
        Margin in pixels.
    bands : sequence of str or None
        Some bands.

    Returns
    -------
    pixels : ndarray, shape ([time,] [band,] y, x)
        Stored type.

    Raises
    ------
    StoreError
        If there is no such array or band.
    ValueError
        If the tile lies in another zone, or `halo_px` is negative.
    """
    parts = parse_group(group)
    if parts.zone != tile.zone or halo_px < 0:
        raise ValueError(f"tile {tile}, halo {halo_px}: expected zone {parts.zone}, halo 0 or more")
    rows, columns = (
        slice(part.start - halo_px, part.stop + halo_px)
        for part in tile_slices(tile, parts.resolution_m)
    )
    if parts.cadence is None:
        times = None
    elif time_index is None or isinstance(time_index, slice):
        times = list(range(parts.cadence.length)[time_index or slice(None)])
    else:
        times = [int(time_index)]
    places = None if bands is None else _band_indices(root, group, bands)
    path = f"{group}/{variable}"
    pixels = read_window(root, path, rows, columns, times=times, bands=places)
    single = times is not None and time_index is not None and not isinstance(time_index, slice)
    return pixels[0] if single else pixels


def _decode(raw: xr.Dataset, *, decode: bool) -> xr.Dataset:
    """Apply the CF attributes; of raw numbers only the coordinates are decoded."""
    for variable in raw.variables.values():
        if "scale_factor" in variable.attrs:
            # a plain float would make xarray decode int16 to float64
            variable.attrs["scale_factor"] = np.float32(variable.attrs["scale_factor"])
    dates = {str(name): decode or name == "time" for name in raw.variables}
    dataset: xr.Dataset = xr.decode_cf(
        raw, mask_and_scale=decode, decode_times=dates, decode_coords="all"
    )
    return dataset


def _band_indices(root: zarr.Group, group: str, bands: Sequence[str]) -> list[int]:
    """Return positions of bands on the band axis."""
    known = [str(name) for name in np.asarray(find_array(root, f"{group}/band")[:])]
    missing = [band for band in bands if band not in known]
    if missing:
        raise StoreError(
            f"group {group}: has no band {', '.join(missing)} (has {', '.join(known)})"
        )
    return [known.index(band) for band in bands]


def _around(parts: GroupPath, tiles: tuple[Tile, ...]) -> tuple[slice, slice]:
    """Return the rectangle of pixels around tiles."""
    if not tiles or any(tile.zone != parts.zone for tile in tiles):
        raise ValueError(f"tiles: expected one or more, all in zone {parts.zone}")
    regions = [tile_slices(tile, parts.resolution_m) for tile in tiles]
    rows, columns = zip(*regions, strict=True)
    return _hull(rows), _hull(columns)


def _hull(slices: Sequence[slice]) -> slice:
    return slice(min(part.start for part in slices), max(part.stop for part in slices))


def _within(parts: GroupPath, bounds: Bounds) -> tuple[slice, slice]:
    """Return the pixels that touch some metres."""
    west, south, east, north = bounds
    rows, columns = zone_shape(parts.resolution_m)
    step, top = parts.resolution_m, zone_geobox(parts.zone, parts.resolution_m).affine.f
    y = slice(max(math.floor((top - north) / step), 0), min(math.ceil((top - south) / step), rows))
    x = slice(max(math.floor(west / step), 0), min(math.ceil(east / step), columns))
    if not (west < east and south < north and y.start < y.stop and x.start < x.stop):
        raise ValueError(f"bounds {bounds}: nothing of zone {parts.zone} lies within")
    return y, x


def _on_grid(part: slice, side: int) -> tuple[int, ...]:
    """Cut a range at the borders of tiles, so that no Dask chunk reads two shards."""
    cuts = [part.start, *range((part.start // side + 1) * side, part.stop, side), part.stop]
    return tuple(stop - start for start, stop in itertools.pairwise(cuts))
