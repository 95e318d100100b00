"""Alerts: every dated observation judged on its own, and folded per pixel in date order.

The work item is a tile. Its dates are those of the cubes of the tile and its neighbours, so a
late or reprocessed scene folds again what it touches and nothing else. Detections are made
from the cube whenever a tile is folded: a state that is kept from run to run would have to be
unwound for a late scene. What single dates say and how they are folded is in
`terrascope.kernels.detection` and `terrascope.kernels.alerts`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from terrascope.cube.executor import Executor, cause_of
from terrascope.cube.extent import within_halo
from terrascope.cube.memory import block_budget
from terrascope.geo.tiles import Tile
from terrascope.kernels.alerts import (
    AlertState,
    Observation,
    alert_layers,
    fold,
)
from terrascope.kernels.detection import detect_optical, detect_sar
from terrascope.kernels.normalise import apply_normalisation
from terrascope.monitor.alert_plan import ALERT_LAYERS, AlertPlan, plan_alerts
from terrascope.monitor.normalisation import Lattice, Nodes
from terrascope.monitor.screen.batch import blank_tile, left_to_do
from terrascope.monitor.screen.plan import near_tiles, tile_keys
from terrascope.monitor.screen.tile import fill_tile, read_pair
from terrascope.periods import Period
from terrascope.store.ledger import Record
from terrascope.store.schema import NO_DATE, result_schema
from terrascope.store.writing import Fork, TileWriter
from terrascope.types import ChangeKind, Status

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = [
    "ALERTS_VERSION",
    "ALERT_LAYERS",
    "AlertPlan",
    "alert_batch",
    "alert_keys",
    "plan_alerts",
]

ALERTS_VERSION = 1
"""Raised by hand when the same cube and settings would give other alerts."""

_UNIX_EPOCH = dt.date(1970, 1, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class _Series:
    """The dates of one cube that a tile looks at, and their normalisation."""

    sensor: str
    group: str
    baseline: tuple[Period, ...]
    target: tuple[Period, ...]
    lattice: Lattice


def alert_keys(plan: AlertPlan, store: Store) -> dict[Tile, str]:
    """Return the key of each tile: equal keys, equal alerts.

    Parameters
    ----------
    plan : AlertPlan
        The plan; its cubes are built.
    store : Store
        Holds the cubes' ledgers.

    Returns
    -------
    keys : dict of Tile to str
        They change where a scene of the tile or of a neighbour does.
    """
    return tile_keys(plan, store, "alerts", ALERTS_VERSION)


def alert_batch(
    plan: AlertPlan,
    index: int,
    store: Store,
    executor: Executor,
    *,
    keys: Mapping[Tile, str],
    memory: int,
) -> int:
    """Fold one batch of tiles and commit its maps.

    Parameters
    ----------
    plan : AlertPlan
        The plan.
    index : int
        Which batch.
    store : Store
        Cubes are read from it at one commit, results written to it.
    executor : Executor
        Where the work runs.
    keys : mapping of Tile to str
        From `alert_keys`.
    memory : int
        Bytes that one worker may use.

    Returns
    -------
    done : int
        Tiles folded; those whose key is the stored one are left as they are, one that fails
        whatever is tried is recorded as failed.
    """
    tiles = left_to_do(plan, index, store, keys)
    if not tiles:
        return 0
    zone = tiles[0].zone
    frozen = store.at(store.snapshot())
    series: dict[Tile, list[_Series]] = {tile: [] for tile in tiles}
    broken: dict[Tile, str] = {}
    for sensor in sorted(plan.groups, reverse=True):
        for group in plan.zone_groups(sensor, zone):
            for tile, found in _series(plan, sensor, group, tiles, frozen, executor, broken):
                series[tile].append(found)
    schema = result_schema(zone, plan.resolution_m, plan.run_id, evidence=ALERT_LAYERS)
    target = store.ensure_group(schema)
    budget = block_budget(memory, executor.threads_per_worker)
    shared = dataclasses.replace(plan, batches=(), target=(), baseline=())
    as_of = (plan.target[-1].start - _UNIX_EPOCH).days
    with store.begin() as write:
        fork = write.fork()
        calls = (
            (shared, tile, keys[tile], frozen, fork, target, series[tile], as_of, budget)
            for tile in tiles
            if tile not in broken
        )
        written = list(executor.run(_fold_tile, calls, give_up=_give_up))
        written += [
            (fork, blank_tile(plan, tile, keys[tile], fork, target, ALERT_LAYERS, cause))
            for tile, cause in broken.items()
        ]
        write.commit(
            [fork for fork, _ in written],
            {target: [record for _, record in written]},
            message=f"alerts batch {index}",
        )
    return sum(record.done for _, record in written)


def _give_up(call: tuple[Any, ...], error: Exception) -> tuple[Fork, Record]:
    plan, tile, key, _, fork, group, *_ = call
    cause = f"the alerts of tile {tile} could not be folded: {cause_of(error)}"
    return fork, blank_tile(plan, tile, key, fork, group, ALERT_LAYERS, cause)


def _series(
    plan: AlertPlan,
    sensor: str,
    group: str,
    tiles: tuple[Tile, ...],
    store: Store,
    executor: Executor,
    broken: dict[Tile, str],
) -> Iterator[tuple[Tile, _Series]]:
    """Find each tile's dates in one cube, and fit their normalisation; fills in `broken`."""
    if group not in store.groups():
        return
    days: dict[str, set[int]] = {}
    for tile_id, period in store.records(group):
        days.setdefault(tile_id, set()).add(period)
    near = {tile: _union(days, near_tiles(tile)) for tile in tiles}
    # a node's block reaches one tile further than the batch
    reached = {n for tile in tiles for n in near_tiles(tile)}
    everywhere = _union(days, reached)
    baseline, target = (
        tuple(p for p in window if p.index in everywhere) for window in (plan.baseline, plan.target)
    )
    if not baseline or not target:
        return
    nodes = Nodes(
        store,
        group,
        plan.resolution_m,
        baseline,
        target,
        [tile for tile in plan.tiles if tile.zone == tiles[0].zone],
        len(plan.bands[sensor]),
    )
    nodes.prepare(tiles, executor)
    for tile in tiles:
        past = tuple(p for p in baseline if p.index in near[tile])
        here = [k for k, p in enumerate(target) if p.index in near[tile]]
        if past and here:
            if why := nodes.why_not(tile):
                broken[tile] = f"the alerts of tile {tile} could not be folded: {why}"
            lattice = nodes.around(tile)
            yield (
                tile,
                _Series(
                    sensor,
                    group,
                    past,
                    tuple(target[k] for k in here),
                    tuple(lattice[k] for k in here),
                ),
            )


def _fold_tile(
    plan: AlertPlan,
    tile: Tile,
    key: str,
    store: Store,
    fork: Fork,
    group: str,
    series: list[_Series],
    as_of: int,
    budget: int,
) -> tuple[Fork, Record]:
    """Fold one tile, block by block. Runs on a worker."""

    def compute(rows: slice, columns: slice, inside: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        looks = [
            look for one in series for look in _observations(plan, tile, store, one, rows, columns)
        ]
        # stable: on the same day and sensor, in the order of the orbits
        looks.sort(key=lambda look: (look.day, look.sensor))
        state = fold(AlertState.empty(inside.shape), looks, plan.rules)
        return _layers(alert_layers(state, plan.rules, as_of), inside)

    longest = max(series, key=lambda one: len(one.baseline) + len(one.target), default=None)
    if longest is not None:
        # the working memory is that of the longest series
        plan = dataclasses.replace(plan, baseline=longest.baseline, target=longest.target)
    record = fill_tile(
        plan, tile, key, TileWriter(fork, group, tile, 0), ALERT_LAYERS, compute, budget
    )
    return fork, record


def _observations(
    plan: AlertPlan, tile: Tile, store: Store, series: _Series, rows: slice, columns: slice
) -> Iterator[Observation]:
    """Judge the dates of one cube."""
    baseline, target, fits = read_pair(
        plan,
        tile,
        series.sensor,
        series.group,
        store,
        series.lattice,
        rows,
        columns,
        (series.baseline, series.target),
    )
    if series.sensor == "sentinel-1":
        found = detect_sar(
            baseline,
            target,
            pixel_m=plan.resolution_m,
            shift_db=np.stack([offset for _, offset in fits]),
            one_geometry=not series.group.endswith("unknown"),
        )
    else:
        found = detect_optical(
            baseline,
            np.stack(
                [apply_normalisation(one, *fit) for one, fit in zip(target, fits, strict=True)]
            ),
            bands=plan.bands[series.sensor],
            baseline_months=[period.start.month for period in series.baseline],
            date_months=[period.start.month for period in series.target],
        )
    inner = within_halo(plan.halo_px)
    witness = "sar" if series.sensor == "sentinel-1" else "optical"
    for period, probability, kind in zip(series.target, found.probability, found.kind, strict=True):
        day = (period.start - _UNIX_EPOCH).days
        yield Observation(day, witness, probability[inner], kind[inner])


def _layers(layers: dict[str, NDArray[Any]], inside: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Blank what lies outside the AOI, and add what every result holds."""
    outside = {
        "status": Status.OUTSIDE,
        "change_kind": ChangeKind.OUTSIDE,
        "observations": 0,
        "events": 0,
        "change_probability": np.nan,
        "confidence": np.nan,
    }
    placed = {
        name: np.where(inside, values, np.array(outside.get(name, NO_DATE), values.dtype))
        for name, values in layers.items()
    }
    return {**placed, "screen_probability": placed["change_probability"]}


def _union(days: Mapping[str, set[int]], tiles: Iterable[str]) -> set[int]:
    return {day for tile in tiles for day in days.get(tile, ())}
