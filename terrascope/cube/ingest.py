"""Writing a cube: batches of a plan become read units, read units become committed shards.

Workers read, mask, composite and write whole shards into their fork of one store session; the
caller merges the forks and commits once per batch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from terrascope.cube.due import Ledger, group_of, keys_of, todo_of
from terrascope.cube.executor import Executor, cause_of
from terrascope.cube.memory import block_budget, block_cache_mb
from terrascope.cube.plan import BLOCK_TILES, CubePlan, WorkItem
from terrascope.cube.spec import CubeSpec
from terrascope.cube.units import Bounds, ReaderSettings, Target, Unit, open_writer, write_unit
from terrascope.geo.projection import project_to_zone
from terrascope.geo.tiles import Zone
from terrascope.store.layout import tile_pixels
from terrascope.store.ledger import Record
from terrascope.store.schema import cube_schema
from terrascope.store.writing import Fork
from terrascope.types import Quality, Quarantine

if TYPE_CHECKING:
    from terrascope.catalog.items import ItemTable
    from terrascope.store.repository import Store

__all__ = [
    "IngestCounts",
    "ingest_batch",
]


@dataclasses.dataclass(frozen=True)
class IngestCounts:
    """What became of a batch.

    Parameters
    ----------
    planned, done, skipped : int
        Work items: in the batch, committed now, committed by an earlier run.
    """

    planned: int
    done: int
    skipped: int


def ingest_batch(
    plan: CubePlan,
    index: int,
    table: ItemTable,
    store: Store,
    reader: ReaderSettings,
    executor: Executor,
    *,
    memory: int,
    ledger: Ledger = MappingProxyType({}),
) -> IngestCounts:
    """Read one batch and commit it; work that is already committed is passed over.

    Parameters
    ----------
    plan : CubePlan
        The plan.
    index : int
        Which batch.
    table : ItemTable
        The plan's item table.
    store : Store
        Where to write; one commit is made, pixels and records together.
    reader : ReaderSettings
        How to open scenes.
    executor : Executor
        Where reading runs.
    memory : int
        Bytes that one worker may use.
    ledger : mapping
        From `read_ledger`: what need not be read again. A repetition that reads fewer
        scenes than the attempt before it changes nothing.

    Returns
    -------
    counts : IngestCounts
        Work items done and skipped.

    Raises
    ------
    StoreError
        If nothing could be written or committed. What cannot be read is
        quarantined in the records instead.
    """
    batch, spec = plan.batch(index), plan.spec
    group = group_of(plan, batch)
    keys = keys_of(spec, table, batch.items)
    todo = todo_of(group, keys, ledger)
    if not todo:
        return IngestCounts(len(batch.items), 0, len(batch.items))
    store.ensure_group(
        cube_schema(
            spec.sensor,
            batch.zone,
            spec.resolution_m,
            spec.cadence,
            spec.bands,
            values=spec.values,
            orbit=batch.orbit,
            attributes=spec.settings(),
        )
    )
    budget = block_budget(memory, executor.threads_per_worker)
    reader = dataclasses.replace(reader, cache_mb=block_cache_mb(memory))
    before = {
        item: record.scenes
        for item in todo
        if (record := ledger.get((group, item.tile.id, item.period.index))) is not None
        and record.key == keys[item]
    }
    units = list(_units(todo, keys, table, spec, budget, before))
    with store.begin() as write:
        fork = write.fork()
        written = list(
            _persist(executor, [(unit, spec, reader, fork, group, budget) for unit in units])
        )
        records = [record for _, unit_records in written for record in unit_records]
        write.commit([fork for fork, _ in written], {group: records}, message=str(batch))
    return IngestCounts(len(batch.items), len(todo), len(batch.items) - len(todo))


def _persist(
    executor: Executor, calls: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[Fork, list[Record]]]:
    """Write all units; of one that fails as a whole, the tiles one by one; then give them up."""
    apart: list[tuple[Any, ...]] = []

    def set_apart(call: tuple[Any, ...], error: Exception) -> tuple[Fork, list[Record]]:
        unit, *rest = call
        if len(unit.targets) == 1:
            return _give_up(call, error)
        apart.extend(
            (dataclasses.replace(unit, targets=(target,)), *rest) for target in unit.targets
        )
        return rest[2], []

    yield from executor.run(write_unit, calls, give_up=set_apart)
    yield from executor.run(write_unit, apart, give_up=_give_up)


def _give_up(call: tuple[Any, ...], error: Exception) -> tuple[Fork, list[Record]]:
    """Record a tile whose work fails whatever is tried, and mark its pixels as failed."""
    unit, spec, _, fork, group, _ = call
    target, period = unit.targets[0], unit.period
    cause = f"tile {target.tile} could not be made for {period.id}: {cause_of(error)}"
    quarantine = Quarantine(target.tile.id, "*", cause)
    record = Record(
        target.key,
        target.tile.id,
        period.index,
        state="failed",
        items=len(target.items),
        quarantines=(quarantine,),
    )
    if target.former_scenes:
        return fork, [record]  # what an earlier run could read stays
    fork.forget(group, target.tile, period.index)
    writer = open_writer(spec, fork, group, target.tile, period.index)
    side = tile_pixels(spec.resolution_m)
    writer.put("quality", 0, 0, np.full((side, side), Quality.FAILED, np.uint8))
    writer.close()
    return fork, [record]


def _units(
    todo: Sequence[WorkItem],
    keys: Mapping[WorkItem, str],
    table: ItemTable,
    spec: CubeSpec,
    budget: int,
    before: Mapping[WorkItem, int],
) -> Iterator[Unit]:
    """Group work items into read units that fit the budget."""
    scene = functools.cache(table.scene)
    geometry = table.frame.geometry.to_numpy()

    @functools.cache
    def bounds(zone: Zone, row: int) -> Bounds:
        west, south, east, north = shapely.bounds(project_to_zone(geometry[row], zone)).tolist()
        return west, south, east, north

    side = _unit_side(spec, max(len(item.scenes) for item in todo), budget)
    for members in _squares(todo, side):
        rows = sorted({row for item in members for row in item.scenes})
        yield Unit(
            tuple(
                Target(i.tile, keys[i], tuple(str(scene(r).id) for r in i.scenes), before.get(i, 0))
                for i in members
            ),
            members[0].period,
            tuple(scene(row) for row in rows),
            tuple(bounds(members[0].tile.zone, row) for row in rows),
        )


def _unit_side(spec: CubeSpec, n_scenes: int, budget: int) -> int:
    """Tiles along the side of a read unit: 4, 2 or 1."""
    tile_bytes = tile_pixels(spec.resolution_m) ** 2 * spec.bytes_per_pixel(n_scenes)
    return next((side for side in (BLOCK_TILES, 2) if side * side * tile_bytes <= budget), 1)


def _squares(todo: Sequence[WorkItem], side: int) -> Iterator[list[WorkItem]]:
    """Collect work items by aligned square and period; else they are read tile by tile.

    Only tiles with the same scenes are read together: a scene's raster may hold more than
    its footprint says, and what a tile gets must not depend on its neighbours.
    """
    groups: dict[tuple[int, int, int], list[WorkItem]] = {}
    for item in todo:
        place = (item.period.index, item.tile.row // side, item.tile.column // side)
        groups.setdefault(place, []).append(item)
    for members in groups.values():
        if len(members) == side * side and len({item.scenes for item in members}) == 1:
            yield members
        elif side > 2:
            yield from _squares(members, side // 2)
        else:
            yield from ([item] for item in members)
