"""One tile on the screen: a change probability for every pixel, from what the cubes hold.

A tile is computed in blocks that carry a halo and take their normalisation from nodes of the
global grid, so that the map depends neither on blocks nor on batches. The statistics are in
`terrascope.kernels`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from terrascope.cube.extent import Window, within_halo
from terrascope.cube.memory import release_large_arrays
from terrascope.geo.tiles import Tile
from terrascope.kernels.normalise import apply_normalisation, interpolate_nodes
from terrascope.kernels.screen import Evidence, ScreenResult, fuse, screen_optical, screen_sar
from terrascope.monitor.footprint import aoi_mask
from terrascope.monitor.normalisation import Lattice, decode
from terrascope.monitor.screen.plan import EVIDENCE_LAYERS, ScreenPlan
from terrascope.periods import Period
from terrascope.sensors import SENSORS
from terrascope.store.layout import chunk_pixels, tile_pixels, tile_slices
from terrascope.store.ledger import Record
from terrascope.store.schema import NO_DATE, Layer, result_schema
from terrascope.store.window import read_window
from terrascope.store.writing import Fork, TileWriter
from terrascope.types import ChangeKind, FloatArray, Status

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = ["fill_tile", "read_pair", "screen_tile"]

_UNIX_EPOCH = dt.date(1970, 1, 1)


_BYTES_PER_VALUE = 18
"""Of working memory per value of the stacks: stored, decoded, and the kernels' copies."""


def screen_tile(
    plan: ScreenPlan,
    tile: Tile,
    key: str,
    store: Store,
    fork: Fork,
    group: str,
    lattices: Mapping[str, Lattice],
    budget: int,
) -> tuple[Fork, Record]:
    """Screen one tile, block by block. Runs on a worker.

    Parameters
    ----------
    plan : ScreenPlan
        The plan.
    tile : Tile
        The tile.
    key : str
        Of its work.
    store : Store
        With its cubes.
    fork : Fork
        Where it is written.
    group : str
        Path of the result group.
    lattices : mapping of str to Lattice
        Nodes of the normalisation, by sensor.
    budget : int
        Bytes of a block.

    Returns
    -------
    written : tuple of Fork and Record
        The fork that wrote it, and what is to be recorded.
    """

    def compute(rows: slice, columns: slice, inside: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        return _layers(plan, _screen_block(plan, tile, store, lattices, rows, columns), inside)

    return fork, fill_tile(
        plan, tile, key, TileWriter(fork, group, tile, 0), EVIDENCE_LAYERS, compute, budget
    )


def fill_tile(
    plan: ScreenPlan,
    tile: Tile,
    key: str,
    writer: TileWriter,
    evidence: Sequence[Layer],
    compute: Callable[[slice, slice, NDArray[np.bool_]], dict[str, NDArray[Any]]],
    budget: int,
) -> Record:
    """Compute one tile's map layers block by block, and write them.

    Parameters
    ----------
    plan : ScreenPlan
        Its periods and bands decide how much fits the budget.
    tile : Tile
        Which tile.
    key : str
        Of the work item.
    writer : TileWriter
        Of the tile in its result group; closed at the end.
    evidence : sequence of Layer
        Written besides the layers of every result.
    compute : callable
        Takes rows and columns of the tile and which of these pixels lie in the AOI, and
        returns all layers by name.
    budget : int
        Bytes of working memory.

    Returns
    -------
    record : Record
        Of the finished work item.
    """
    release_large_arrays()
    inside = aoi_mask(plan.aoi, tile, plan.resolution_m)
    schema = result_schema(tile.zone, plan.resolution_m, plan.run_id, evidence=evidence)
    for layer in schema.layers:
        writer.declare(layer.name)
    observed = 0
    for block in _blocks(plan, inside, budget):
        window = _hull(inside, block)
        strips = [
            compute(rows, window[1], inside[rows, window[1]])
            for rows in _strips(plan, window, budget)
        ]
        layers = {name: np.concatenate([strip[name] for strip in strips]) for name in strips[0]}
        observed += int(np.count_nonzero(layers["status"] % 255))
        for layer in schema.layers:
            pixels = _placed(layers[layer.name], layer, block, window)
            writer.put(layer.name, block[0].start, block[1].start, pixels)
    writer.close()
    asked = int(np.count_nonzero(inside))
    share = observed / asked if asked else 0.0
    return Record(key, tile.id, 0, observed_share=share, facts={"asked_pixels": asked})


def _blocks(plan: ScreenPlan, inside: NDArray[np.bool_], budget: int) -> Iterator[Window]:
    """Blocks on chunk borders that hold AOI: the whole tile if it fits the budget, else chunks."""
    size, chunk = tile_pixels(plan.resolution_m), chunk_pixels(plan.resolution_m)
    whole = (size + 2 * plan.halo_px) ** 2 * _bytes_per_pixel(plan)
    step = size if whole <= budget and inside.mean() > 0.5 else chunk
    for y in range(0, size, step):
        for x in range(0, size, step):
            block = slice(y, y + step), slice(x, x + step)
            if inside[block].any():
                yield block


def _bytes_per_pixel(plan: ScreenPlan) -> int:
    periods = len(plan.target) + len(plan.baseline)
    bands = max((len(bands) for bands in plan.bands.values()), default=0)
    return periods * bands * _BYTES_PER_VALUE


def _strips(plan: ScreenPlan, window: Window, budget: int) -> Iterator[slice]:
    """Rows of a window that fit the budget with their halo, eight at least."""
    rows, columns = window
    width = columns.stop - columns.start + 2 * plan.halo_px
    fitting = budget // max(width * _bytes_per_pixel(plan), 1) - 2 * plan.halo_px
    step = max(fitting, 8)
    for start in range(rows.start, rows.stop, step):
        yield slice(start, min(start + step, rows.stop))


def _hull(inside: NDArray[np.bool_], block: Window) -> Window:
    """Return the part of a block that holds AOI: nothing is computed for the rest."""
    part = inside[block]
    spans = []
    for axis, whole in zip((1, 0), block, strict=True):
        hits = np.flatnonzero(part.any(axis=axis))
        spans.append(slice(whole.start + int(hits[0]), whole.start + int(hits[-1]) + 1))
    return spans[0], spans[1]


def _placed(pixels: NDArray[Any], layer: Layer, block: Window, window: Window) -> NDArray[Any]:
    """Put a window's pixels into its block; the rest is the layer's fill."""
    if block == window:
        return pixels
    shape = tuple(part.stop - part.start for part in block)
    whole = np.full(shape, layer.fill, dtype=layer.dtype)
    place = tuple(
        slice(w.start - b.start, w.stop - b.start) for w, b in zip(window, block, strict=True)
    )
    whole[place] = pixels
    return whole


def _screen_block(
    plan: ScreenPlan,
    tile: Tile,
    store: Store,
    lattices: Mapping[str, Lattice],
    rows: slice,
    columns: slice,
) -> ScreenResult:
    """Gather the evidence of all cubes for one block and fuse it, the optical one first."""
    evidence = [
        _evidence(plan, tile, sensor, group, store, lattices[group], rows, columns)
        for sensor in sorted(plan.groups, reverse=True)
        for group in plan.zone_groups(sensor, tile.zone)
        if group in lattices
    ]
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return fuse(evidence or [_blind(shape)], threshold=plan.threshold)


def _blind(shape: tuple[int, int]) -> Evidence:
    """No sensor saw anything."""
    return Evidence(
        support=np.full(shape, np.nan, np.float32),
        kind=np.zeros(shape, np.uint8),
        observations=np.zeros(shape, np.uint16),
        detected_index=np.full(shape, -1, np.int16),
        strongest=np.zeros(shape, np.uint8),
        deviation=np.full(shape, np.nan, np.float32),
    )


def _evidence(
    plan: ScreenPlan,
    tile: Tile,
    sensor: str,
    group: str,
    store: Store,
    lattice: Lattice,
    rows: slice,
    columns: slice,
) -> Evidence:
    """Read both windows of one cube with a halo, normalise, and screen."""
    baseline, target, fits = read_pair(
        plan, tile, sensor, group, store, lattice, rows, columns, (plan.baseline, plan.target)
    )
    if sensor == "sentinel-1":
        found = screen_sar(
            baseline,
            target,
            pixel_m=plan.resolution_m,
            shift_db=np.stack([offset for _, offset in fits]),
            one_geometry=not group.endswith("unknown"),
        )
    else:
        found = screen_optical(
            baseline,
            np.stack(
                [apply_normalisation(one, *fit) for one, fit in zip(target, fits, strict=True)]
            ),
            bands=plan.bands[sensor],
            baseline_months=[period.start.month for period in plan.baseline],
            target_months=[period.start.month for period in plan.target],
            pixel_m=plan.resolution_m,
        )
    return _cropped(found, plan.halo_px)


def read_pair(
    plan: ScreenPlan,
    tile: Tile,
    sensor: str,
    group: str,
    store: Store,
    lattice: Lattice,
    rows: slice,
    columns: slice,
    periods: tuple[Sequence[Period], Sequence[Period]],
) -> tuple[FloatArray, FloatArray, list[tuple[NDArray[Any], NDArray[Any]]]]:
    """Read two windows of time of one cube, with the halo of a screen.

    Parameters
    ----------
    plan : ScreenPlan
        Resolution and halo.
    tile : Tile
        Which tile.
    sensor : str
        Decides how stored numbers are decoded.
    group : str
        Of the cube.
    store : Store
        Holds the cube.
    lattice : Lattice
        Nodes of the normalisation, one per period of the second window.
    rows, columns : slice
        Of the tile.
    periods : tuple of sequence of Period
        Baseline and target.

    Returns
    -------
    baseline, target : ndarray of float32, shape (time, band, y, x)
        Reflectance or dB, not normalised; NaN where missing.
    fits : list of (ndarray, ndarray)
        Gain and offset of each target period on the pixels read.
    """
    halo = plan.halo_px
    zone_rows, zone_columns = tile_slices(tile, plan.resolution_m)
    y = slice(zone_rows.start + rows.start - halo, zone_rows.start + rows.stop + halo)
    x = slice(zone_columns.start + columns.start - halo, zone_columns.start + columns.stop + halo)
    root, path = store.root(), f"{group}/{SENSORS[sensor].variable}"
    baseline, target = (
        decode(read_window(root, path, y, x, times=[p.index for p in window]), sensor)
        for window in periods
    )
    size = tile_pixels(plan.resolution_m)
    # pixel centres in tiles, from the tile's north-western node
    centre_y = np.clip((np.arange(rows.start - halo, rows.stop + halo) + 0.5) / size, 0.0, 1.0)
    centre_x = np.clip((np.arange(columns.start - halo, columns.stop + halo) + 0.5) / size, 0, 1)
    return baseline, target, [interpolate_nodes(nodes, centre_y, centre_x) for nodes in lattice]


def _cropped(evidence: Evidence, halo: int) -> Evidence:
    inner = within_halo(halo)
    fields = {f.name: getattr(evidence, f.name)[inner] for f in dataclasses.fields(evidence)}
    return Evidence(**fields)


def _layers(
    plan: ScreenPlan, result: ScreenResult, inside: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Turn a result into the map layers: three values, and 255 outside the AOI."""
    seen = np.isfinite(result.probability) & inside
    status = np.where(inside, result.status, Status.OUTSIDE).astype(np.uint8)
    changed = status == Status.PROVISIONAL
    kind = np.where(changed, result.kind, ChangeKind.NONE).astype(np.uint8)
    kind[~inside] = ChangeKind.OUTSIDE
    probability = np.where(seen, result.probability, np.float32(np.nan)).astype(np.float32)
    starts = [(period.start - _UNIX_EPOCH).days for period in plan.target]
    days = np.array([*starts, NO_DATE], dtype=np.int32)
    return {
        "status": status,
        "change_probability": probability,
        "screen_probability": probability,
        "change_kind": kind,
        "observations": np.where(inside, result.observations, 0).astype(np.uint16),
        "detected_on": np.where(changed, days[result.detected_index], NO_DATE).astype(np.int32),
        "confidence": np.where(seen, result.confidence, np.float32(np.nan)).astype(np.float32),
        "strongest": np.where(seen, result.strongest, 0).astype(np.uint8),
        "deviation": np.where(seen, result.deviation, np.float32(np.nan)).astype(np.float32),
    }
