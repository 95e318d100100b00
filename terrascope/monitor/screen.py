"""The screen: a change probability for every pixel, from what the cubes hold.

Work is planned per batch of neighbouring tiles. Each tile is computed in blocks that carry a
halo and take their normalisation from nodes of the global grid, so that the map depends
neither on blocks nor on batches. The statistics are in `terrascope.kernels`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from terrascope.cube.executor import Executor
from terrascope.cube.plan import BLOCK_TILES, CubePlan
from terrascope.geo.aoi import Aoi
from terrascope.geo.tiles import Tile, Zone
from terrascope.kernels.normalise import NodeFit, apply_normalisation, interpolate_nodes
from terrascope.kernels.screen import (
    HALO_M,
    OPTICAL_BANDS,
    Evidence,
    ScreenResult,
    fuse,
    screen_optical,
    screen_sar,
)
from terrascope.monitor.footprint import aoi_mask
from terrascope.monitor.normalisation import Nodes, decode
from terrascope.periods import Period
from terrascope.sensors import SENSORS
from terrascope.store.layout import chunk_pixels, cube_path, result_path, tile_pixels, tile_slices
from terrascope.store.ledger import Record, work_key
from terrascope.store.schema import NO_DATE, Layer, result_schema
from terrascope.store.window import read_window
from terrascope.store.writing import Fork, TileWriter
from terrascope.types import ChangeKind, Status

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = [
    "EVIDENCE_LAYERS",
    "OPTICAL_BANDS",
    "SCREEN_VERSION",
    "ScreenPlan",
    "pending_screen",
    "plan_screen",
    "screen_batch",
    "screen_keys",
]

SCREEN_VERSION = 1
"""Raised by hand when the same cube and settings would give another map."""

EVIDENCE_LAYERS = (
    Layer("strongest", "uint8", 0, "index or polarisation that deviates most"),
    Layer("deviation", "float32", float("nan"), "its deviation in standard deviations", units="1"),
)

_EPOCH_ORDINAL = 719_163
"""1970-01-01 as `datetime.date.toordinal`."""

_NEIGHBOURS = 2
"""Tiles around a tile whose pixels reach it: its halo, and the blocks of that halo's nodes."""

_BYTES_PER_VALUE = 14
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
    tiles : tuple of Tile
        All tiles of the AOI, by batch.
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
    tiles: tuple[Tile, ...]
    batches: tuple[tuple[Tile, ...], ...]
    aoi: Aoi
    threshold: float
    run_id: str

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
    batches = tuple(_batches(tiles, batch_tiles))
    return ScreenPlan(
        resolution_m=resolution_m,
        target=tuple(target),
        baseline=tuple(baseline),
        groups=groups,
        bands={sensor: plan.spec.bands for sensor, plan in sorted(plans.items())},
        tiles=tuple(tile for batch in batches for tile in batch),
        batches=batches,
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
        return record is not None and record.key == keys[tile]

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
        From the settings and the records of all cubes around the tile.
    """
    wanted = {period.index for period in (*plan.target, *plan.baseline)}
    lines: dict[str, list[str]] = {}
    for groups in plan.groups.values():
        for group in groups:
            for (tile, period), record in store.records(group).items():
                if period in wanted:
                    lines.setdefault(tile, []).append(f"{group} {record.to_json()}")
    own = {tile: work_key("inputs", 1, {}, found) for tile, found in lines.items()}
    settings = plan.settings()
    return {
        tile: work_key(
            "screen", SCREEN_VERSION, settings, [own.get(near, "") for near in _near(tile)]
        )
        for tile in plan.tiles
    }


def _near(tile: Tile) -> Iterator[str]:
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
        Tiles screened.
    """
    tiles = plan.batches[index]
    zone = tiles[0].zone
    frozen = store.at(store.snapshot())
    present = frozenset(frozen.groups())
    nodes = {}
    for group in present.intersection(plan.zone_groups("sentinel-2", zone)):
        fits = Nodes(
            frozen,
            group,
            plan.resolution_m,
            [period.index for period in plan.baseline],
            [period.index for period in plan.target],
            [tile for tile in plan.tiles if tile.zone == zone],
            len(plan.bands["sentinel-2"]),
        )
        fits.prepare(tiles, executor)
        nodes = {tile: fits.around(tile) for tile in tiles}
    group = store.ensure_group(
        result_schema(zone, plan.resolution_m, plan.run_id, evidence=EVIDENCE_LAYERS)
    )
    budget = memory // (2 * executor.threads_per_worker)
    shared = dataclasses.replace(plan, tiles=(), batches=())
    with store.begin() as write:
        fork = write.fork()
        calls = (
            (shared, tile, keys[tile], present, frozen, fork, group, nodes.get(tile), budget)
            for tile in tiles
        )
        written = list(executor.run(_screen_tile, calls))
        write.commit(
            [fork for fork, _ in written],
            {group: [record for _, record in written]},
            message=f"screen batch {index}",
        )
    return len(tiles)


def _screen_tile(
    plan: ScreenPlan,
    tile: Tile,
    key: str,
    present: frozenset[str],
    store: Store,
    fork: Fork,
    group: str,
    nodes: list[list[NodeFit]] | None,
    budget: int,
) -> tuple[Fork, Record]:
    """Screen one tile, block by block. Runs on a worker."""
    inside = aoi_mask(plan.aoi, tile, plan.resolution_m)
    writer = TileWriter(fork, group, tile, 0)
    schema = result_schema(tile.zone, plan.resolution_m, plan.run_id, evidence=EVIDENCE_LAYERS)
    for layer in schema.layers:
        writer.declare(layer.name)
    observed = 0
    for rows, columns in _blocks(plan, inside, budget):
        result = _screen_block(plan, tile, present, store, nodes, rows, columns)
        layers = _layers(plan, result, inside[rows, columns])
        observed += int(np.count_nonzero(layers["status"] % 255))
        for name, pixels in layers.items():
            writer.put(name, rows.start, columns.start, pixels)
    writer.close()
    asked = int(np.count_nonzero(inside))
    share = observed / asked if asked else 0.0
    record = Record(key, tile.id, 0, observed_share=share, facts={"asked_pixels": asked})
    return fork, record


def _blocks(
    plan: ScreenPlan, inside: NDArray[np.bool_], budget: int
) -> Iterator[tuple[slice, slice]]:
    """Blocks on chunk borders that hold AOI: the whole tile if it fits the budget, else chunks."""
    size, chunk = tile_pixels(plan.resolution_m), chunk_pixels(plan.resolution_m)
    halo = -(-HALO_M // plan.resolution_m)
    periods = len(plan.target) + len(plan.baseline)
    values = periods * max(len(bands) for bands in plan.bands.values())
    whole = (size + 2 * halo) ** 2 * values * _BYTES_PER_VALUE
    step = size if whole <= budget and inside.mean() > 0.5 else chunk
    for y in range(0, size, step):
        for x in range(0, size, step):
            block = slice(y, y + step), slice(x, x + step)
            if inside[block].any():
                yield block


def _screen_block(
    plan: ScreenPlan,
    tile: Tile,
    present: frozenset[str],
    store: Store,
    nodes: list[list[NodeFit]] | None,
    rows: slice,
    columns: slice,
) -> ScreenResult:
    """Gather the evidence of all cubes for one block and fuse it."""
    evidence: list[Evidence] = []
    for group in plan.zone_groups("sentinel-2", tile.zone):
        if group in present and nodes is not None:
            evidence.append(_optical(plan, tile, group, store, nodes, rows, columns))
    for group in plan.zone_groups("sentinel-1", tile.zone):
        if group in present:
            evidence.append(_radar(plan, tile, group, store, rows, columns))
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return fuse(evidence, shape=shape)


def _stacks(
    plan: ScreenPlan, tile: Tile, sensor: str, group: str, store: Store, rows: slice, columns: slice
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Read both windows of one cube with a halo: baseline, target, halo in pixels."""
    halo = -(-HALO_M // plan.resolution_m)
    zone_rows, zone_columns = tile_slices(tile, plan.resolution_m)
    y = slice(zone_rows.start + rows.start - halo, zone_rows.start + rows.stop + halo)
    x = slice(zone_columns.start + columns.start - halo, zone_columns.start + columns.stop + halo)
    root, path = store.root(), f"{group}/{SENSORS[sensor].variable}"
    windows = [
        decode(read_window(root, path, y, x, times=[p.index for p in periods]), sensor)
        for periods in (plan.baseline, plan.target)
    ]
    return windows[0], windows[1], halo


def _optical(
    plan: ScreenPlan,
    tile: Tile,
    group: str,
    store: Store,
    nodes: list[list[NodeFit]],
    rows: slice,
    columns: slice,
) -> Evidence:
    baseline, target, halo = _stacks(plan, tile, "sentinel-2", group, store, rows, columns)
    size = tile_pixels(plan.resolution_m)
    # pixel centres in tiles, from the north-western of the 4 x 4 nodes around the tile
    y = (np.arange(rows.start - halo, rows.stop + halo) + 0.5) / size + 1.0
    x = (np.arange(columns.start - halo, columns.stop + halo) + 0.5) / size + 1.0
    gain, offset = interpolate_nodes(nodes, y, x)
    found = screen_optical(
        baseline,
        apply_normalisation(target, gain, offset),
        bands=plan.bands["sentinel-2"],
        baseline_months=[period.start.month for period in plan.baseline],
        target_months=[period.start.month for period in plan.target],
        pixel_m=plan.resolution_m,
    )
    return _cropped(found, halo)


def _radar(
    plan: ScreenPlan, tile: Tile, group: str, store: Store, rows: slice, columns: slice
) -> Evidence:
    baseline, target, halo = _stacks(plan, tile, "sentinel-1", group, store, rows, columns)
    return _cropped(screen_sar(baseline, target, pixel_m=plan.resolution_m), halo)


def _cropped(evidence: Evidence, halo: int) -> Evidence:
    inner = (slice(halo, -halo or None), slice(halo, -halo or None))
    fields = {f.name: getattr(evidence, f.name)[inner] for f in dataclasses.fields(evidence)}
    return Evidence(**fields)


def _layers(
    plan: ScreenPlan, result: ScreenResult, inside: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Turn a result into the map layers: three values, and 255 outside the AOI."""
    seen = np.isfinite(result.probability) & inside
    changed = seen & (result.probability >= plan.threshold)
    status = np.where(seen, Status.NO_CHANGE, Status.NOT_OBSERVED).astype(np.uint8)
    status[changed] = Status.PROVISIONAL
    status[~inside] = Status.OUTSIDE
    kind = np.where(changed, result.kind, ChangeKind.NONE).astype(np.uint8)
    kind[~inside] = ChangeKind.OUTSIDE
    probability = np.where(seen, result.probability, np.float32(np.nan)).astype(np.float32)
    starts = [p.start.toordinal() - _EPOCH_ORDINAL for p in plan.target]
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
