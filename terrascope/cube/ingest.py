"""Writing a cube: batches of a plan become read units, read units become committed shards.

A read unit is one tile, or a square of neighbouring tiles where memory allows, so that a
block of a COG is decoded once. Workers read, mask, composite and write whole shards into
their fork of one store session; the caller merges the forks and commits once per batch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terrascope.cube.block import Block, as_quarantine, compute_block
from terrascope.cube.executor import Executor, cause_of
from terrascope.cube.extent import covered_window, is_empty
from terrascope.cube.memory import block_budget, block_cache_mb, release_large_arrays
from terrascope.cube.plan import BLOCK_TILES, Batch, CubePlan, WorkItem
from terrascope.cube.spec import CubeSpec
from terrascope.cube.trust import WITNESSES
from terrascope.errors import ReadError
from terrascope.geo.projection import project_to_zone
from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.periods import Period
from terrascope.readers import Reader, open_reader
from terrascope.sensors import SENSORS
from terrascope.store.layout import chunk_pixels, cube_path, tile_pixels
from terrascope.store.ledger import Record, work_key
from terrascope.store.schema import cube_schema
from terrascope.store.writing import Fork, TileWriter
from terrascope.types import Quality, Quarantine, SceneRef

if TYPE_CHECKING:
    from terrascope.catalog.items import ItemTable
    from terrascope.store.repository import Store

__all__ = [
    "CUBE_VERSION",
    "IngestCounts",
    "Ledger",
    "Place",
    "ReaderSettings",
    "group_of",
    "ingest_batch",
    "keys_of",
    "pending",
    "planned_places",
    "read_ledger",
    "retract",
]

Place: TypeAlias = tuple[str, str, int]
"""Where a work item lies: group, tile id and time index."""

Ledger: TypeAlias = Mapping[Place, Record]
"""What the store says of work done before."""

Bounds: TypeAlias = tuple[float, float, float, float]
"""West, south, east, north in metres of a zone's CRS."""

CUBE_VERSION = 2
"""Raised by hand when the same scenes and settings would give other pixels."""

_EMPTIED = ""
"""Key of a record that says: no scene any more."""

_SPARSE = 0.5
"""A tile of which scenes cover less than this share is read chunk by chunk."""


@dataclasses.dataclass(frozen=True)
class ReaderSettings:
    """How workers open scenes; small, so that it travels with every call.

    Parameters
    ----------
    backend : str
        ``"stackstac"`` or ``"odc-stac"``.
    sign : callable, optional
        Turns an unsigned address into a readable one; holds no secret itself.
    timeout_s, attempts, cache_mb : float, int, int
        See `terrascope.readers.files.FileAccess`.
    gdal : tuple of (str, str)
        GDAL options of the catalog profile's storage.
    """

    backend: str = "stackstac"
    sign: Callable[[str], str] | None = None
    timeout_s: float = 20.0
    attempts: int = 3
    cache_mb: int = 64
    gdal: tuple[tuple[str, str], ...] = ()


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


@dataclasses.dataclass(frozen=True)
class _Target:
    """One work item of a read unit: its tile, its key and the scenes planned for it."""

    tile: Tile
    key: str
    items: tuple[str, ...]
    former_scenes: int = 0
    """Scenes that an earlier attempt at the same work could read."""


@dataclasses.dataclass(frozen=True)
class _Unit:
    """What one call reads: tiles that form a square, one period, all scenes that touch them."""

    targets: tuple[_Target, ...]
    period: Period
    scenes: tuple[SceneRef, ...]
    bounds: tuple[Bounds, ...]
    """Of each scene's footprint."""

    @property
    def corner(self) -> tuple[int, int]:
        """Column of the western and row of the northern tiles."""
        return min(t.tile.column for t in self.targets), max(t.tile.row for t in self.targets)


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
                _open_writer(plan.spec, fork, group, tile, period).close()
            records = [Record(_EMPTIED, tile.id, period) for tile, period in places]
            write.commit([fork], {group: records}, message="no scene any more")
    return sum(map(len, stale.values()))


def _open_writer(spec: CubeSpec, fork: Fork, group: str, tile: Tile, period: int) -> TileWriter:
    """Begin a tile of which everything is missing until it is put."""
    writer = TileWriter(fork, group, tile, period)
    for name in _array_names(spec):
        writer.declare(name)
    return writer


def _array_names(spec: CubeSpec) -> tuple[str, str, str]:
    values = "dn" if spec.values == "dn" else SENSORS[spec.sensor].variable
    return values, "observed", "quality"


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
        if _todo(group_of(plan, batch), keys_of(plan.spec, table, batch.items), ledger)
    ]


def _todo(group: str, keys: Mapping[WorkItem, str], ledger: Ledger) -> list[WorkItem]:
    """Return the work that is missing, out of date, or failed for a cause that may have passed."""

    def is_done(item: WorkItem) -> bool:
        record = ledger.get((group, item.tile.id, item.period.index))
        return (
            record is not None
            and record.key == keys[item]
            and record.done
            and not any(q.transient for q in record.quarantines)
        )

    return [item for item in keys if not is_done(item)]


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
    todo = _todo(group, keys, ledger)
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

    yield from executor.run(_write_unit, calls, give_up=set_apart)
    yield from executor.run(_write_unit, apart, give_up=_give_up)


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
    writer = _open_writer(spec, fork, group, target.tile, period.index)
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
) -> Iterator[_Unit]:
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
        yield _Unit(
            tuple(
                _Target(
                    i.tile, keys[i], tuple(str(scene(r).id) for r in i.scenes), before.get(i, 0)
                )
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


def _write_unit(
    unit: _Unit, spec: CubeSpec, settings: ReaderSettings, fork: Fork, group: str, budget: int
) -> tuple[Fork, list[Record]]:
    """Read, composite and write one unit. Runs on a worker."""
    release_large_arrays()
    reader = _reader(settings)
    return fork, _write_tiles(unit, spec, reader, fork, group, budget)


def _write_tiles(
    unit: _Unit, spec: CubeSpec, reader: Reader, fork: Fork, group: str, budget: int
) -> list[Record]:
    """Write a unit's tiles; a scene that fails anywhere in a tile is left out of all of it.

    So neither the pixels nor the records depend on the blocks that memory allowed.
    """
    period = unit.period.index
    writers = {t.tile: _open_writer(spec, fork, group, t.tile, period) for t in unit.targets}
    names = _array_names(spec)
    tallies = {tile: _Tally(spec) for tile in writers}
    n_blocks, causes, touched = 0, set[Quarantine](), set[str]()
    for y, x, geobox, scenes in _blocks(unit, spec, budget):
        block = compute_block(scenes, spec, geobox, reader)
        n_blocks += 1
        touched.update(scene.id for scene in scenes)
        causes.update(block.quarantined)
        for tile, place, part in _split(unit, spec, (y, x), block):
            for name, pixels in zip(names, part, strict=True):
                writers[tile].put(name, *place, pixels)
            tallies[tile].add(part[1], part[2], block.quarantined)
        del block
    aside = _misplaced(unit, spec, reader, touched)
    causes |= aside
    for tally in tallies.values():
        tally.quarantined |= aside
    if causes and len(unit.targets) > 1:
        singles = (dataclasses.replace(unit, targets=(target,)) for target in unit.targets)
        parts = (_write_tiles(single, spec, reader, fork, group, budget) for single in singles)
        return [record for part in parts for record in part]
    known = reader.refused if isinstance(reader, _Refusing) else {}
    if n_blocks > 1 and not {q.item for q in causes} <= known.keys():
        refused = {**{q.item: q for q in sorted(causes, reverse=True)}, **known}
        reader = _Refusing(reader.reader if isinstance(reader, _Refusing) else reader, refused)
        return _write_tiles(unit, spec, reader, fork, group, budget)
    scene_ids = [scene.id for scene in unit.scenes]
    records = []
    for target in unit.targets:
        record = tallies[target.tile].record(target, unit.period, scene_ids)
        if record.scenes < target.former_scenes:
            continue  # an earlier run could read more: what it wrote stays
        writers[target.tile].close()
        records.append(record)
    return records


def _misplaced(
    unit: _Unit, spec: CubeSpec, reader: Reader, touched: Collection[str]
) -> set[Quarantine]:
    """Look at the scenes that were planned, but whose stated grid lies elsewhere.

    A footprint may reach a little further than the raster. But a grid that contradicts the
    file must not pass for "no data here": opening the file tells.
    """
    found = set()
    corner = unit.targets[0].tile.geobox(spec.resolution_m)[:1, :1]
    for scene in unit.scenes:
        if scene.id in touched:
            continue
        try:
            reader.read(scene, spec.bands[:1], corner, resampling="nearest")
        except ReadError as error:
            found.add(as_quarantine(error))
    return found


@dataclasses.dataclass(frozen=True)
class _Refusing:
    """A reader that does not try again what failed in another block of the tile."""

    reader: Reader
    refused: Mapping[str, Quarantine]

    def read(
        self, scene: SceneRef, bands: Sequence[str], geobox: GeoBox, *, resampling: str
    ) -> NDArray[Any]:
        if (q := self.refused.get(scene.id)) is not None:
            raise ReadError(
                q.cause, item=q.item, band=q.band, url=q.url or None, transient=q.transient
            )
        return self.reader.read(scene, bands, geobox, resampling=resampling)


@functools.lru_cache(maxsize=8)
def _reader(settings: ReaderSettings) -> Reader:
    """One reader per process, so that open files are kept between units."""
    return open_reader(
        settings.backend,
        sign=settings.sign,
        timeout_s=settings.timeout_s,
        attempts=settings.attempts,
        cache_mb=settings.cache_mb,
        gdal=settings.gdal,
    )


class _Tally:
    """What was seen of one tile over its blocks."""

    def __init__(self, spec: CubeSpec) -> None:
        self.spec = spec
        self.observed = 0
        self.masked_by = dict.fromkeys(("scl", "spectral", "none"), 0)
        self.quarantined: set[Quarantine] = set()

    def add(
        self,
        observed: NDArray[np.uint16],
        quality: NDArray[np.uint8],
        quarantined: Iterable[Quarantine],
    ) -> None:
        self.quarantined.update(quarantined)
        seen = observed > 0
        self.observed += int(np.count_nonzero(seen))
        if not self.spec.masked:
            return
        by_scl = seen & (quality & Quality.BY_SCL > 0)
        by_spectrum = seen & (quality & Quality.BY_SPECTRUM > 0)
        self.masked_by["scl"] += int(np.count_nonzero(by_scl))
        self.masked_by["spectral"] += int(np.count_nonzero(by_spectrum & ~by_scl))
        self.masked_by["none"] += int(np.count_nonzero(seen & ~by_scl & ~by_spectrum))

    def record(self, target: _Target, period: Period, scenes: Sequence[str]) -> Record:
        mine = tuple(sorted(q for q in self.quarantined if q.item in target.items))
        failed = {q.item for q in mine}
        state = "complete" if not mine else "partial"
        if failed and failed >= set(target.items):
            state = "failed"
        return Record(
            key=target.key,
            tile=target.tile.id,
            period=period.index,
            state=state,
            scenes=len(set(scenes) & set(target.items)) - len(failed),
            items=len(target.items),
            observed_share=self.observed / tile_pixels(self.spec.resolution_m) ** 2,
            quarantines=mine,
            facts={f"masked_by_{name}": n for name, n in self.masked_by.items() if n},
        )


def _blocks(
    unit: _Unit, spec: CubeSpec, budget: int
) -> Iterator[tuple[int, int, GeoBox, list[SceneRef]]]:
    """Cut a unit into blocks on chunk borders: offset in the unit, grid, scenes that touch it."""
    size, chunk = tile_pixels(spec.resolution_m), chunk_pixels(spec.resolution_m)
    column, row = unit.corner
    columns = len({t.tile.column for t in unit.targets})
    rows = len({t.tile.row for t in unit.targets})
    grid = Tile(unit.targets[0].tile.zone, column, row).geobox(spec.resolution_m)
    height, width = rows * size, columns * size
    step_y, step_x = height, width
    if len(unit.targets) == 1:
        step_y, step_x = _block_steps(unit, spec, budget, size, chunk)
    for y in range(0, height, step_y):
        for x in range(0, width, step_x):
            affine = grid.affine @ Affine.translation(x, y)
            geobox = GeoBox((step_y, step_x), affine, grid.crs)
            scenes = [
                scene
                for scene in unit.scenes
                if not is_empty(covered_window(scene, spec.bands, geobox))
            ]
            if scenes:
                yield y, x, geobox, scenes


def _block_steps(
    unit: _Unit, spec: CubeSpec, budget: int, size: int, chunk: int
) -> tuple[int, int]:
    """Choose the blocks of a single tile: whole, in strips that fit the budget, or chunks."""
    west, south, east, north = unit.targets[0].tile.bounds
    covered = sum(
        max(0.0, min(e, east) - max(w, west)) * max(0.0, min(n, north) - max(s, south))
        for w, s, e, n in unit.bounds
    )
    if covered < _SPARSE * TILE_M**2:
        return chunk, chunk
    if spec.halo_px == 0:  # nothing is read twice: small blocks cost little
        return chunk, size if len(unit.scenes) == 1 else chunk
    strip_bytes = size * chunk * spec.bytes_per_pixel(len(unit.scenes))
    strips = max(1, min(size // chunk, budget // strip_bytes))
    while (size // chunk) % strips:
        strips -= 1
    return strips * chunk, size


def _split(
    unit: _Unit, spec: CubeSpec, offset: tuple[int, int], block: Block
) -> Iterator[tuple[Tile, tuple[int, int], tuple[NDArray[Any], ...]]]:
    """Hand each tile its part of a block: tile, offset in the tile, (values, observed, quality)."""
    if len(unit.targets) == 1:
        yield unit.targets[0].tile, offset, (block.values, block.observed, block.quality)
        return
    size = tile_pixels(spec.resolution_m)
    column, row = unit.corner
    for target in unit.targets:
        y, x = (row - target.tile.row) * size, (target.tile.column - column) * size
        window = (slice(y, y + size), slice(x, x + size))
        yield (
            target.tile,
            (0, 0),
            (block.values[:, *window], block.observed[window], block.quality[window]),
        )
