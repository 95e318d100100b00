"""Batches of neighbouring tiles: screened by workers, committed together, failed ones named."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from terrascope.cube.executor import Executor, cause_of
from terrascope.cube.memory import block_budget
from terrascope.geo.tiles import Tile, Zone
from terrascope.monitor.footprint import aoi_mask
from terrascope.monitor.normalisation import Lattice, Nodes
from terrascope.monitor.screen.plan import EVIDENCE_LAYERS, ScreenPlan
from terrascope.monitor.screen.tile import screen_tile
from terrascope.store.ledger import Record
from terrascope.store.schema import GroupSchema, Layer, result_schema
from terrascope.store.writing import Fork, TileWriter
from terrascope.types import ChangeKind, Quarantine, Status

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = ["blank_tile", "left_to_do", "screen_batch"]


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
        written = list(executor.run(screen_tile, calls, give_up=_give_up))
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
