"""The screen: a change probability for every pixel, from what the cubes hold.

Work is planned per batch of neighbouring tiles. Each tile is computed in blocks that carry a
halo and take their normalisation from nodes of the global grid, so that the map depends
neither on blocks nor on batches. The statistics are in `terrascope.kernels`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from terrascope.cube.executor import Executor, cause_of
from terrascope.cube.extent import Window, within_halo
from terrascope.cube.memory import block_budget, release_large_arrays
from terrascope.cube.plan import BLOCK_TILES, CubePlan
from terrascope.geo.aoi import Aoi
from terrascope.geo.tiles import Tile, Zone
from terrascope.kernels.normalise import apply_normalisation, interpolate_nodes
from terrascope.kernels.screen import (
    HALO_M,
    OPTICAL_BANDS,
    Evidence,
    ScreenResult,
    fuse,
    screen_optical,
    screen_sar,
)
from terrascope.monitor.footprint import aoi_mask, ground_identity
from terrascope.monitor.normalisation import Lattice, Nodes, decode
from terrascope.periods import Period
from terrascope.sensors import SENSORS
from terrascope.store.layout import chunk_pixels, cube_path, result_path, tile_pixels, tile_slices
from terrascope.store.ledger import Record, work_key
from terrascope.store.schema import NO_DATE, GroupSchema, Layer, result_schema
from terrascope.store.window import read_window
from terrascope.store.writing import Fork, TileWriter
from terrascope.types import ChangeKind, FloatArray, Quarantine, Status

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = [
    "EVIDENCE_LAYERS",
    "OPTICAL_BANDS",
    "SCREEN_VERSION",
    "ScreenPlan",
    "blank_tile",
    "fill_tile",
    "left_to_do",
    "near_tiles",
    "pending_screen",
    "plan_screen",
    "read_pair",
    "screen_batch",
    "screen_keys",
    "tile_keys",
]

SCREEN_VERSION = 1
"""Raised by hand when the same cube and settings would give another map."""

EVIDENCE_LAYERS = (
    Layer("strongest", "uint8", 0, "index or polarisation that deviates most"),
    Layer("deviation", "float32", float("nan"), "its deviation in standard deviations", units="1"),
)

_UNIX_EPOCH = dt.date(1970, 1, 1)

_NEIGHBOURS = 1
"""Tiles around a tile whose pixels reach it: its halo, and the blocks of its nodes."""

_BYTES_PER_VALUE = 18
"""Of working memory per value of the stacks: stored, decoded, and the kernels' copies."""


@dataclasses.dataclass(frozen=True, eq=False)
class ScreenPlan:
    """All work of one screen.

    Parameters
    ----------
    resolution_m : int
        Pixel size.
    target, baseline : tuple of Period
        What is compared with what.
    groups : mapping of str to tuple of str
        Groups of the cube by sensor: one per zone, for radar one per zone and orbit.
    bands : mapping of str to tuple of str
        Bands of each sensor's cube.
    batches : tuple of tuple of Tile
        Neighbouring tiles that are committed together.
    aoi : Aoi
        Outside of it nothing is stated.
    threshold : float
        Probability from which a pixel is change.
    run_id : str
        Names the result group.
    """

    resolution_m: int
    target: tuple[Period, ...]
    baseline: tuple[Period, ...]
    groups: Mapping[str, tuple[str, ...]]
    bands: Mapping[str, tuple[str, ...]]
    batches: tuple[tuple[Tile, ...], ...]
    aoi: Aoi
    threshold: float
    run_id: str

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles of the AOI, by batch."""
        return tuple(tile for batch in self.batches for tile in batch)

    @property
    def evidence(self) -> tuple[Layer, ...]:
        """Layers written besides those of every result."""
        return EVIDENCE_LAYERS

    @property
    def halo_px(self) -> int:
        """Pixels of ground around a block that its screen looks at."""
        return math.ceil(HALO_M / self.resolution_m)

    def result_group(self, zone: Zone) -> str:
        """Return the path of a zone's result group.

        Parameters
        ----------
        zone : Zone
            The zone.

        Returns
        -------
        group : str
            For instance ``result/33N/r10/2020-09-01_2020-09-30``.
        """
        return result_path(zone, self.resolution_m, self.run_id)

    def zone_groups(self, sensor: str, zone: Zone) -> tuple[str, ...]:
        """Return the groups of one sensor in one zone.

        Parameters
        ----------
        sensor : str
            Which cube.
        zone : Zone
            Where.

        Returns
        -------
        groups : tuple of str
            Several only for radar: one per relative orbit.
        """
        return tuple(g for g in self.groups.get(sensor, ()) if g.split("/")[1] == zone.id)

    def settings(self) -> dict[str, Any]:
        """Return what a work item's key must know besides its inputs.

        Returns
        -------
        settings : dict
            JSON-ready.
        """
        return {
            "target": [period.id for period in self.target],
            "baseline": [period.id for period in self.baseline],
            "bands": {sensor: list(bands) for sensor, bands in self.bands.items()},
            "threshold": self.threshold,
        }


def plan_screen(
    plans: Mapping[str, CubePlan],
    *,
    target: Sequence[Period],
    baseline: Sequence[Period],
    tiles: Sequence[Tile],
    aoi: Aoi,
    threshold: float,
    run_id: str,
    resolution_m: int,
    batch_tiles: int = 32,
) -> ScreenPlan:
    """Plan the screen of all tiles.

    Parameters
    ----------
    plans : mapping of str to CubePlan
        By sensor; a sensor without scenes is left out.
    target, baseline : sequence of Period
        What is compared with what.
    tiles : sequence of Tile
        All tiles of the AOI; those without any scene come out as not observed.
    aoi : Aoi
        Outside of it nothing is stated.
    threshold : float
        Probability from which a pixel is change.
    run_id : str
        Names the result group.
    resolution_m : int
        Pixel size.
    batch_tiles : int
        Tiles per commit, about.

    Returns
    -------
    plan : ScreenPlan
        A value; nothing is read.
    """
    groups = {
        sensor: tuple(
            cube_path(sensor, zone, plan.spec.resolution_m, plan.spec.cadence, orbit)
            for zone in sorted({tile.zone for tile in tiles})
            for orbit in plan.orbits
        )
        for sensor, plan in sorted(plans.items())
    }
    return ScreenPlan(
        resolution_m=resolution_m,
        target=tuple(target),
        baseline=tuple(baseline),
        groups=groups,
        bands={sensor: plan.spec.bands for sensor, plan in sorted(plans.items())},
        batches=tuple(_batches(tiles, batch_tiles)),
        aoi=aoi,
        threshold=threshold,
        run_id=run_id,
    )


def _batches(tiles: Sequence[Tile], size: int) -> Iterator[tuple[Tile, ...]]:
    """Neighbouring anchored blocks of one zone, about `size` tiles together."""
    blocks: dict[tuple[Zone, int, int], list[Tile]] = {}
    for tile in sorted(tiles):
        place = (tile.zone, tile.row // BLOCK_TILES, tile.column // BLOCK_TILES)
        blocks.setdefault(place, []).append(tile)
    batch: list[Tile] = []
    for (zone, _, _), members in sorted(blocks.items()):
        if batch and (batch[0].zone != zone or len(batch) + len(members) > size):
            yield tuple(batch)
            batch = []
        batch += members
    if batch:
        yield tuple(batch)


def pending_screen(plan: ScreenPlan, store: Store, keys: Mapping[Tile, str]) -> list[int]:
    """Return the batches that hold a tile whose map is missing or out of date.

    Parameters
    ----------
    plan : ScreenPlan
        The plan.
    store : Store
        Holds the ledgers.
    keys : mapping of Tile to str
        From `screen_keys`.

    Returns
    -------
    batches : list of int
        Indices, in order.
    """
    zones = {tile.zone for tile in plan.tiles}
    done = {zone: store.records(plan.result_group(zone)) for zone in zones}

    def is_done(tile: Tile) -> bool:
        record = done[tile.zone].get((tile.id, 0))
        return record is not None and record.done and record.key == keys[tile]

    return [i for i, batch in enumerate(plan.batches) if not all(map(is_done, batch))]


def screen_keys(plan: ScreenPlan, store: Store) -> dict[Tile, str]:
    """Return the key of each tile: equal keys, equal maps.

    Parameters
    ----------
    plan : ScreenPlan
        The plan; its cubes are built.
    store : Store
        Holds the cubes' ledgers: what was read, and what was left out.

    Returns
    -------
    keys : dict of Tile to str
        From the settings, the ground asked for, and the records of all cubes around the tile.
    """
    return tile_keys(plan, store, "screen", SCREEN_VERSION)


def tile_keys(plan: ScreenPlan, store: Store, stage: str, version: int) -> dict[Tile, str]:
    """Return the key of each tile for a stage that reads the cubes around it.

    Parameters
    ----------
    plan : ScreenPlan
        The plan; its cubes are built.
    store : Store
        Holds the cubes' ledgers.
    stage : str
        Name of the stage.
    version : int
        Of the stage.

    Returns
    -------
    keys : dict of Tile to str
        From the settings, the ground asked for, and the records of all cubes around the tile.
    """
    wanted = {period.index for period in (*plan.target, *plan.baseline)}
    lines: dict[str, list[str]] = {}
    for groups in plan.groups.values():
        for group in groups:
            for (tile, period), record in store.records(group).items():
                if period in wanted:
                    lines.setdefault(tile, []).append(f"{group} {record.to_json()}")
    own = {tile: work_key("inputs", 1, {}, found) for tile, found in lines.items()}
    settings, planned = plan.settings(), {tile.id for tile in plan.tiles}

    def inputs(tile: Tile) -> Iterator[str]:
        yield ground_identity(plan.aoi, tile)
        for near in near_tiles(tile):
            # the nodes of normalisation take samples of the run's own tiles only
            yield f"{own.get(near, '')} {near in planned}"

    return {tile: work_key(stage, version, settings, list(inputs(tile))) for tile in plan.tiles}


def near_tiles(tile: Tile) -> Iterator[str]:
    """Name the tiles whose pixels reach a tile.

    Parameters
    ----------
    tile : Tile
        The tile.

    Yields
    ------
    id : str
        Of the tile and of its neighbours, in the order of keys.
    """
    reach = range(-_NEIGHBOURS, _NEIGHBOURS + 1)
    for i in reach:
        for j in reach:
            if tile.row + i >= 0 and tile.column + j >= 0:
                yield Tile(tile.zone, tile.column + j, tile.row + i).id


def screen_batch(
    plan: ScreenPlan,
    index: int,
    store: Store,
    executor: Executor,
    *,
    keys: Mapping[Tile, str],
    memory: int,
) -> int:
    """Screen one batch of tiles and commit its maps.

    Parameters
    ----------
    plan : ScreenPlan
        The plan.
    index : int
        Which batch.
    store : Store
        Cubes are read from it at one commit, results written to it.
    executor : Executor
        Where the work runs.
    keys : mapping of Tile to str
        From `screen_keys`.
    memory : int
        Bytes that one worker may use.

    Returns
    -------
    done : int
        Tiles screened; those whose key is the stored one are left as they are. One that fails
        whatever is tried is recorded as failed, with its cause, and counts as not observed.
    """
    tiles = left_to_do(plan, index, store, keys)
    if not tiles:
        return 0
    zone = tiles[0].zone
    frozen = store.at(store.snapshot())
    present = frozenset(frozen.groups())
    lattices: dict[Tile, dict[str, Lattice]] = {tile: {} for tile in tiles}
    broken: dict[Tile, str] = {}
    for sensor in plan.groups:
        for group in sorted(present.intersection(plan.zone_groups(sensor, zone))):
            nodes = Nodes(
                frozen,
                group,
                plan.resolution_m,
                plan.baseline,
                plan.target,
                [tile for tile in plan.tiles if tile.zone == zone],
                len(plan.bands[sensor]),
            )
            nodes.prepare(tiles, executor)
            for tile in tiles:
                lattices[tile][group] = nodes.around(tile)
                if why := nodes.why_not(tile):
                    broken[tile] = f"tile {tile} could not be screened: {why}"
    group = store.ensure_group(_schema(plan, zone))
    budget = block_budget(memory, executor.threads_per_worker)
    shared = dataclasses.replace(plan, batches=())
    with store.begin() as write:
        fork = write.fork()
        calls = (
            (shared, tile, keys[tile], frozen, fork, group, lattices[tile], budget)
            for tile in tiles
            if tile not in broken
        )
        written = list(executor.run(_screen_tile, calls, give_up=_give_up))
        written += [
            (fork, blank_tile(plan, tile, keys[tile], fork, group, EVIDENCE_LAYERS, cause))
            for tile, cause in broken.items()
        ]
        write.commit(
            [fork for fork, _ in written],
            {group: [record for _, record in written]},
            message=f"screen batch {index}",
        )
    return sum(record.done for _, record in written)


def left_to_do(
    plan: ScreenPlan, index: int, store: Store, keys: Mapping[Tile, str]
) -> tuple[Tile, ...]:
    """Return the tiles of a batch whose map is missing, out of date or failed.

    Parameters
    ----------
    plan : ScreenPlan
        The plan.
    index : int
        Which batch.
    store : Store
        Holds the ledger.
    keys : mapping of Tile to str
        Of the stage.

    Returns
    -------
    tiles : tuple of Tile
        In the plan's order.
    """
    batch = plan.batches[index]
    stored = store.records(plan.result_group(batch[0].zone))
    former = ((tile, stored.get((tile.id, 0))) for tile in batch)
    return tuple(
        tile
        for tile, record in former
        if record is None or not record.done or record.key != keys[tile]
    )


def _give_up(call: tuple[Any, ...], error: Exception) -> tuple[Fork, Record]:
    plan, tile, key, _, fork, group, *_ = call
    cause = f"tile {tile} could not be screened: {cause_of(error)}"
    return fork, blank_tile(plan, tile, key, fork, group, EVIDENCE_LAYERS, cause)


def blank_tile(
    plan: ScreenPlan,
    tile: Tile,
    key: str,
    fork: Fork,
    group: str,
    evidence: Sequence[Layer],
    cause: str,
) -> Record:
    """Write the map of a tile of which nothing could be made: not observed inside the AOI.

    Parameters
    ----------
    plan : ScreenPlan
        The plan.
    tile : Tile
        Which tile.
    key : str
        Of the work item.
    fork : Fork
        Handle of the batch.
    group : str
        Of the results.
    evidence : sequence of Layer
        Written besides the layers of every result.
    cause : str
        In words.

    Returns
    -------
    record : Record
        "failed": a later run tries again.
    """
    fork.forget(group, tile, 0)
    writer = TileWriter(fork, group, tile, 0)
    schema = result_schema(tile.zone, plan.resolution_m, plan.run_id, evidence=evidence)
    for layer in schema.layers:
        writer.declare(layer.name)
    inside = aoi_mask(plan.aoi, tile, plan.resolution_m)
    for name, within, without in (
        ("status", Status.NOT_OBSERVED, Status.OUTSIDE),
        ("change_kind", ChangeKind.NONE, ChangeKind.OUTSIDE),
    ):
        writer.put(name, 0, 0, np.where(inside, within, without).astype(np.uint8))
    writer.close()
    return Record(
        key,
        tile.id,
        0,
        state="failed",
        quarantines=(Quarantine(tile.id, "*", cause),),
        facts={"asked_pixels": int(np.count_nonzero(inside))},
    )


def _schema(plan: ScreenPlan, zone: Zone) -> GroupSchema:
    return result_schema(zone, plan.resolution_m, plan.run_id, evidence=EVIDENCE_LAYERS)


def _screen_tile(
    plan: ScreenPlan,
    tile: Tile,
    key: str,
    store: Store,
    fork: Fork,
    group: str,
    lattices: Mapping[str, Lattice],
    budget: int,
) -> tuple[Fork, Record]:
    """Screen one tile, block by block. Runs on a worker."""

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
