"""What of a cube is still to be read: where its work items lie, their keys, and the ledger."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from terrascope.cube.plan import Batch, CubePlan, WorkItem
from terrascope.cube.spec import CubeSpec
from terrascope.cube.trust import WITNESSES
from terrascope.cube.units import open_writer
from terrascope.geo.tiles import Tile
from terrascope.store.layout import cube_path
from terrascope.store.ledger import Record, work_key

if TYPE_CHECKING:
    from terrascope.catalog.items import ItemTable
    from terrascope.store.repository import Store

__all__ = [
    "CUBE_VERSION",
    "Ledger",
    "Place",
    "group_of",
    "keys_of",
    "pending",
    "planned_places",
    "read_ledger",
    "retract",
    "todo_of",
]

Place: TypeAlias = tuple[str, str, int]
"""Where a work item lies: group, tile id and time index."""

Ledger: TypeAlias = Mapping[Place, Record]
"""What the store says of work done before."""

CUBE_VERSION = 2
"""Raised by hand when the same scenes and settings would give other pixels."""

_EMPTIED = ""
"""Key of a record that says: no scene any more."""


def group_of(plan: CubePlan, batch: Batch) -> str:
    """Name the store's group that a batch is written to.

    Parameters
    ----------
    plan : CubePlan
        The plan.
    batch : Batch
        One of its batches.

    Returns
    -------
    path : str
        For instance ``sentinel-2/33N/r10/P1M``.
    """
    spec = plan.spec
    return cube_path(spec.sensor, batch.zone, spec.resolution_m, spec.cadence, batch.orbit)


def keys_of(spec: CubeSpec, table: ItemTable, items: Iterable[WorkItem]) -> dict[WorkItem, str]:
    """Return the key of each work item: equal keys, equal pixels.

    Parameters
    ----------
    spec : CubeSpec
        Settings of the cube.
    table : ItemTable
        Where the scenes' identities come from.
    items : iterable of WorkItem
        Work items of one plan.

    Returns
    -------
    keys : dict of WorkItem to str
        32 hexadecimal digits each.
    """
    settings = spec.settings()
    sampled = ("red", "nir", "nir08", *WITNESSES) if spec.optical else ()
    bands = tuple(dict.fromkeys((*spec.read_bands, *sampled)))

    @functools.cache
    def identity(row: int) -> str:
        return work_key("scene", 2, table.scene(row).identity(bands), ())

    return {
        item: work_key("cube", CUBE_VERSION, settings, [identity(row) for row in item.scenes])
        for item in items
    }


def planned_places(plan: CubePlan) -> list[Place]:
    """Return where a plan's work items lie in the store.

    Parameters
    ----------
    plan : CubePlan
        The plan.

    Returns
    -------
    places : list of (str, str, int)
        Group, tile id and time index of each work item, in the plan's order.
    """
    return [
        (group, item.tile.id, item.period.index)
        for batch in plan.batches()
        for group in (group_of(plan, batch),)
        for item in batch.items
    ]


def read_ledger(plan: CubePlan, store: Store) -> dict[Place, Record]:
    """Read what the store holds of a plan's tiles and periods, planned now or not.

    Parameters
    ----------
    plan : CubePlan
        The plan.
    store : Store
        The store.

    Returns
    -------
    ledger : dict of (str, str, int) to Record
        By group, tile id and time index. Read it once per run: its cost grows with the cube.
    """
    spec = plan.spec
    tiles = {tile.id for tile in plan.tiles}
    periods = {period.index for period in plan.periods}
    groups = (
        cube_path(spec.sensor, zone, spec.resolution_m, spec.cadence, orbit)
        for zone in sorted({tile.zone for tile in plan.tiles})
        for orbit in plan.orbits
    )
    return {
        (group, tile, period): record
        for group in groups
        for (tile, period), record in store.records(group).items()
        if tile in tiles and period in periods
    }


def retract(plan: CubePlan, store: Store, ledger: Ledger) -> int:
    """Empty what earlier runs wrote where the plan has no scene any more.

    A scene may be withdrawn, or a setting may leave it out: its pixels must not stay in a
    period and tile of which this run says that there was nothing.

    Parameters
    ----------
    plan : CubePlan
        The plan.
    store : Store
        Changed by one commit per group, if there is anything to empty.
    ledger : mapping
        From `read_ledger`.

    Returns
    -------
    emptied : int
        Tiles and periods.
    """
    planned = set(planned_places(plan))
    stale: dict[str, list[tuple[Tile, int]]] = {}
    for place, record in ledger.items():
        if place not in planned and record.key != _EMPTIED:
            stale.setdefault(place[0], []).append((Tile.parse(record.tile), record.period))
    for group, places in stale.items():
        with store.begin() as write:
            fork = write.fork()
            for tile, period in places:
                open_writer(plan.spec, fork, group, tile, period).close()
            records = [Record(_EMPTIED, tile.id, period) for tile, period in places]
            write.commit([fork], {group: records}, message="no scene any more")
    return sum(map(len, stale.values()))


def pending(plan: CubePlan, table: ItemTable, ledger: Ledger) -> list[int]:
    """Return the batches that still have work to do.

    Parameters
    ----------
    plan : CubePlan
        The plan.
    table : ItemTable
        Its item table.
    ledger : mapping
        From `read_ledger`.

    Returns
    -------
    batches : list of int
        Indices, in order.
    """
    return [
        batch.index
        for batch in plan.batches()
        if todo_of(group_of(plan, batch), keys_of(plan.spec, table, batch.items), ledger)
    ]


def todo_of(group: str, keys: Mapping[WorkItem, str], ledger: Ledger) -> list[WorkItem]:
    """Return the work that is missing, out of date, or failed for a cause that may have passed.

    Parameters
    ----------
    group : str
        Path of the group.
    keys : mapping of WorkItem to str
        From `keys_of`.
    ledger : mapping
        From `read_ledger`.

    Returns
    -------
    todo : list of WorkItem
        In the order of `keys`.
    """

    def is_done(item: WorkItem) -> bool:
        record = ledger.get((group, item.tile.id, item.period.index))
        return (
            record is not None
            and record.key == keys[item]
            and record.done
            and not any(q.transient for q in record.quarantines)
        )

    return [item for item in keys if not is_done(item)]
