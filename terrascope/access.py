"""What a run left behind, as lazy Datasets: `terrascope.open` and `terrascope.open_maps`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import odc.geo.xr  # noqa: F401  gives Datasets their `.odc.geobox`
import xarray as xr

from terrascope.errors import StoreError
from terrascope.geo.tiles import Tile
from terrascope.store import Store, parse_group
from terrascope.store.layout import GroupPath

__all__ = ["open_cube", "open_maps"]


def open_cube(
    output: str | os.PathLike[str],
    *,
    sensor: str = "sentinel-2",
    zone: str | None = None,
    orbit: int | None = None,
    resolution_m: int | None = None,
    cadence: str | None = None,
) -> xr.Dataset:
    """Open the cube of a finished or running monitor; also called ``terrascope.open``.

    What is left out may be left out where the cube holds one answer only.

    Parameters
    ----------
    output : path-like or str
        The output folder, or its URL in an object store.
    sensor : {"sentinel-2", "sentinel-1"}
        Whose cube.
    zone : str, optional
        UTM zone such as ``"33N"``.
    orbit : int, optional
        Relative orbit of a radar cube, -1 for scenes whose orbit is unknown.
    resolution_m : int, optional
        Pixel size.
    cadence : str, optional
        Length of the periods, for instance ``"P1M"``.

    Returns
    -------
    cube : xarray.Dataset
        ``reflectance`` (unitless) or ``backscatter`` (dB) with the dimensions (time, band, y, x),
        float32, NaN where missing; ``observed`` and ``quality`` (time, y, x). The rectangle around
        the tiles and the periods that are in the cube, with coordinates and ``spatial_ref``, in
        Dask chunks of one tile and period. Nothing is read before it is asked for.

    Raises
    ------
    StoreError
        If there is no such cube; the message names what there is.
    ValueError
        If several cubes fit; the message names them.
    """
    store = _store(output)
    wanted: dict[str, object] = {
        "zone": zone,
        "orbit": orbit,
        "resolution_m": resolution_m,
        "cadence": cadence,
    }
    group = _choose(store, sensor, wanted)
    tiles, periods = _extent(store, group)
    index = [period - periods[0] for period in periods]
    axis = parse_group(group).cadence
    if axis is None:
        raise StoreError(f"{store.url}: group {group} has no time axis")
    days = axis.period(periods[0]).start, axis.period(periods[-1]).end
    return store.dataset(group, tiles=tiles, times=days).isel(time=index)


def open_maps(
    output: str | os.PathLike[str],
    *,
    zone: str | None = None,
    run_id: str | None = None,
    resolution_m: int | None = None,
) -> xr.Dataset:
    """Open the map layers of a run as they lie in the cube, one zone at a time.

    Parameters
    ----------
    output : path-like or str
        The output folder, or its URL in an object store.
    zone : str, optional
        UTM zone such as ``"33N"``; may be left out where there is only one.
    run_id : str, optional
        First and last day of the target, ``"2020-09-01_2020-09-30"``; likewise. With
        ``_model`` behind it, the maps that a model has seen; they are taken where both fit.
    resolution_m : int, optional
        Pixel size; likewise.

    Returns
    -------
    maps : xarray.Dataset
        ``status``, ``change_probability``, ``change_kind`` and the other layers, dimensions
        (y, x); codes as they are (255 outside the area), measures NaN and dates NaT where missing.

    Raises
    ------
    StoreError
        If there is no such map; the message names what there is.
    ValueError
        If several fit; the message names them.
    """
    store = _store(output)
    wanted: dict[str, object] = {"zone": zone, "run_id": run_id, "resolution_m": resolution_m}
    group = _choose(store, "result", wanted)
    return store.dataset(group, tiles=_extent(store, group)[0])


def _store(output: str | os.PathLike[str]) -> Store:
    return Store.open(f"{os.fspath(output).rstrip('/')}/cube", create=False)


_FACTS: Mapping[str, Callable[[GroupPath], Any]] = {
    "zone": lambda parts: parts.zone.id,
    "orbit": lambda parts: parts.orbit,
    "resolution_m": lambda parts: parts.resolution_m,
    "cadence": lambda parts: str(parts.cadence),
    "run_id": lambda parts: parts.run_id,
}


def _choose(store: Store, kind: str, wanted: Mapping[str, object]) -> str:
    """Return the one group that fits what is asked for."""
    groups = store.groups()
    own = {group: parts for group in groups if (parts := parse_group(group)).kind == kind}
    asked = {name: value for name, value in wanted.items() if value is not None}
    fitting = [
        g for g, parts in own.items() if all(_FACTS[n](parts) == v for n, v in asked.items())
    ]
    if "run_id" not in asked:  # what a model has seen stands before the screen it was made from
        fitting = [g for g in fitting if f"{g}_model" not in fitting]
    if len(fitting) == 1:
        return fitting[0]
    request = ", ".join([kind, *(f"{name} {value!r}" for name, value in asked.items())])
    if not fitting:
        raise StoreError(
            f"{store.url}: nothing for {request}; found {', '.join(own or groups) or 'no group'}"
        )
    open_questions = [
        name
        for name in wanted
        if name not in asked and len({_FACTS[name](own[group]) for group in fitting}) > 1
    ]
    raise ValueError(
        f"{store.url}: several fit {request}: {', '.join(fitting)}; "
        f"give {' or '.join(open_questions)}"
    )


def _extent(store: Store, group: str) -> tuple[Sequence[Tile], Sequence[int]]:
    """Return the tiles and the time indices that have records."""
    records = store.records(group)
    if not records:
        raise StoreError(f"{store.url}: group {group} is empty; nothing was committed to it yet")
    tiles = sorted({tile for tile, _ in records})
    return [Tile.parse(tile) for tile in tiles], sorted({period for _, period in records})
