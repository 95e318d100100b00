"""Planning a cube: which tile and period needs which scenes. No pixel is touched here.

A plan is a value. It is columnar, so that 100,000 tiles x 24 periods fit in memory and
are planned within a minute; work items become objects one batch at a time.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from terrascope.cube.spec import CubeSpec
from terrascope.geo.footprints import intersect_pairs
from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.periods import Cadence, Period
from terrascope.sensors import S1_BANDS, S2_BANDS

if TYPE_CHECKING:
    from terrascope.catalog.items import ItemTable

__all__ = ["BLOCK_TILES", "Batch", "CubePlan", "Explanation", "WorkItem", "explain", "plan_cube"]

BLOCK_TILES = 4
"""Tiles along one side of an anchored block: the neighbourhood that is read together."""

_NEVER = np.iinfo(np.int32).min


@dataclasses.dataclass(frozen=True)
class WorkItem:
    """The unit of restart: one tile and period of one group of the cube.

    Parameters
    ----------
    tile : Tile
        Where.
    period : Period
        When.
    scenes : tuple of int
        Rows of the item table, in its order.
    """

    tile: Tile
    period: Period
    scenes: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Work items of one group that are committed together.

    Parameters
    ----------
    index : int
        Number within the plan.
    zone : Zone
        Of all its tiles.
    orbit : int or None
        Relative orbit (-1 unknown) of a radar cube, None for an optical one.
    items : tuple of WorkItem
        Ordered by anchored block, period, row and column.
    """

    index: int
    zone: Zone
    orbit: int | None
    items: tuple[WorkItem, ...]

    def __str__(self) -> str:
        orbit = "" if self.orbit is None else f", orbit {self.orbit}"
        return f"batch {self.index} ({self.zone}{orbit}, {len(self.items)} work items)"


@dataclasses.dataclass(frozen=True, eq=False)
class CubePlan:
    """All work of one sensor's cube.

    Parameters
    ----------
    spec : CubeSpec
        What is made of the scenes.
    tiles : tuple of Tile
        All tiles of the AOI, sorted.
    periods : tuple of Period
        All periods asked for, sorted.
    item_tile, item_period, item_orbit : ndarray of int32, shape (n,)
        Per work item: position in `tiles`, position in `periods`, relative orbit
        (-1 unknown; 0 for optical sensors).
    scene_offsets : ndarray of int64, shape (n + 1,)
        Where each work item's scenes start in `scene_rows`.
    scene_rows : ndarray of int32, shape (m,)
        Rows of the item table.
    batch_offsets : ndarray of int64, shape (b + 1,)
        Where each batch's work items start.
    """

    spec: CubeSpec
    tiles: tuple[Tile, ...]
    periods: tuple[Period, ...]
    item_tile: NDArray[np.int32]
    item_period: NDArray[np.int32]
    item_orbit: NDArray[np.int32]
    scene_offsets: NDArray[np.int64]
    scene_rows: NDArray[np.int32]
    batch_offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of work items."""
        return len(self.item_tile)

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return len(self.batch_offsets) - 1

    @property
    def orbits(self) -> tuple[int | None, ...]:
        """Relative orbits that occur; ``(None,)`` for an optical sensor."""
        if self.spec.optical:
            return (None,)
        return tuple(int(orbit) for orbit in np.unique(self.item_orbit))

    @property
    def scenes(self) -> NDArray[np.int32]:
        """Rows of the item table that any work item reads, sorted, without repetition."""
        return np.unique(self.scene_rows)

    def batch(self, index: int) -> Batch:
        """Return one batch as objects.

        Parameters
        ----------
        index : int
            0 to `n_batches` - 1.

        Returns
        -------
        batch : Batch
            Its work items.
        """
        first, last = int(self.batch_offsets[index]), int(self.batch_offsets[index + 1])
        items = tuple(self._item(i) for i in range(first, last))
        orbit = None if self.spec.optical else int(self.item_orbit[first])
        return Batch(index, items[0].tile.zone, orbit, items)

    def batches(self) -> Iterator[Batch]:
        """Yield all batches in order.

        Yields
        ------
        batch : Batch
            One after the other.
        """
        for index in range(self.n_batches):
            yield self.batch(index)

    def _item(self, i: int) -> WorkItem:
        start, stop = self.scene_offsets[i], self.scene_offsets[i + 1]
        return WorkItem(
            self.tiles[self.item_tile[i]],
            self.periods[self.item_period[i]],
            tuple(int(row) for row in self.scene_rows[start:stop]),
        )


def plan_cube(
    table: ItemTable,
    spec: CubeSpec,
    tiles: Sequence[Tile],
    periods: Sequence[Period],
    *,
    batch_items: int = 96,
) -> CubePlan:
    """Plan one sensor's cube.

    Parameters
    ----------
    table : ItemTable
        Frozen search result; other sensors' rows are passed over.
    spec : CubeSpec
        What is made of the scenes.
    tiles : sequence of Tile
        Ground to cover.
    periods : sequence of Period
        Time to cover, in the cadence of `spec`.
    batch_items : int
        Work items per commit, about: an anchored block's items are never parted.

    Returns
    -------
    plan : CubePlan
        Holds a work item for every tile and period that has at least one scene.
    """
    tiles, periods = tuple(sorted(tiles)), tuple(sorted(periods))
    frame = table.frame
    position = _period_positions(frame["solar_day"].to_numpy(), spec.cadence, periods)
    wanted = np.flatnonzero((frame["sensor"].to_numpy() == spec.sensor) & (position != _NEVER))
    # Speckle is filtered over the frames of a pass: the next one reaches in by the filter's halo.
    halo_m = 0.0 if spec.optical else float(spec.halo_px * spec.resolution_m)
    footprints = frame.geometry.to_numpy()[wanted]
    tile_of, scene_of = intersect_pairs(tiles, footprints, margin_m=halo_m)
    rows = wanted[scene_of].astype(np.int32)
    all_orbits = frame["orbit"].to_numpy().astype(np.int32)
    orbit = np.zeros_like(rows) if spec.optical else all_orbits[rows]
    order = _order_pairs(tiles, tile_of, position[rows], orbit, rows)
    pairs = (tile_of[order], position[rows][order], orbit[order], rows[order])
    return _columns(spec, tiles, periods, pairs, batch_items)


def _period_positions(
    days: NDArray[np.object_], cadence: Cadence, periods: tuple[Period, ...]
) -> NDArray[np.int32]:
    """Position of each scene's period in `periods`, `_NEVER` where it is not asked for."""
    where = {period.index: i for i, period in enumerate(periods)}
    by_day = {day: where.get(cadence.index(day), _NEVER) for day in set(days)}
    return np.array([by_day[day] for day in days], dtype=np.int32).reshape(-1)


def _tile_keys(tiles: tuple[Tile, ...]) -> NDArray[np.int64]:
    """Zone and anchored block of each tile as columns (zone, block row, block column)."""
    keys = np.array(
        [
            (
                2 * tile.zone.number + (tile.zone.hemisphere == "S"),
                tile.row // BLOCK_TILES,
                tile.column // BLOCK_TILES,
            )
            for tile in tiles
        ],
        dtype=np.int64,
    )
    return keys.reshape(-1, 3)


def _order_pairs(
    tiles: tuple[Tile, ...],
    tile_of: NDArray[np.integer],
    period_of: NDArray[np.integer],
    orbit: NDArray[np.integer],
    rows: NDArray[np.integer],
) -> NDArray[np.intp]:
    """Sort (tile, scene) pairs by orbit, zone, block, period, tile and table order."""
    zone, block_row, block_column = _tile_keys(tiles)[tile_of].T
    return np.lexsort((rows, tile_of, period_of, block_column, block_row, zone, orbit))


def _columns(
    spec: CubeSpec,
    tiles: tuple[Tile, ...],
    periods: tuple[Period, ...],
    pairs: tuple[NDArray[np.integer], ...],
    batch_items: int,
) -> CubePlan:
    """Fold sorted pairs into work items, and work items into batches."""
    tile_of, period_of, orbit, rows = (column.astype(np.int32) for column in pairs)
    changes = np.ones(len(rows), dtype=bool)
    changes[1:] = (np.diff(tile_of) != 0) | (np.diff(period_of) != 0) | (np.diff(orbit) != 0)
    starts = np.flatnonzero(changes)
    item_tile, item_period, item_orbit = tile_of[starts], period_of[starts], orbit[starts]
    return CubePlan(
        spec=spec,
        tiles=tiles,
        periods=periods,
        item_tile=item_tile,
        item_period=item_period,
        item_orbit=item_orbit,
        scene_offsets=np.append(starts, len(rows)).astype(np.int64),
        scene_rows=rows,
        batch_offsets=_batch_offsets(
            _tile_keys(tiles)[item_tile], item_period, item_orbit, batch_items
        ),
    )


def _batch_offsets(
    keys: NDArray[np.int64],
    period: NDArray[np.int32],
    orbit: NDArray[np.int32],
    batch_items: int,
) -> NDArray[np.int64]:
    """Cut the ordered work items into batches: at group borders, else only between blocks."""
    n = len(keys)
    if n == 0:
        return np.zeros(1, dtype=np.int64)
    group = np.ones(n, dtype=bool)
    group[1:] = (np.diff(keys[:, 0]) != 0) | (np.diff(orbit) != 0)
    block = group.copy()
    block[1:] |= (np.diff(keys, axis=0) != 0).any(axis=1) | (np.diff(period) != 0)
    cuts, first = [0], 0
    block_starts = np.append(np.flatnonzero(block), n)
    for start, stop in itertools.pairwise(block_starts):
        if start > first and (group[start] or stop - first > batch_items):
            cuts.append(int(start))
            first = int(start)
    return np.array([*cuts, n], dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a plan would read and write, counted without doing it.

    Parameters
    ----------
    sensor : str
        Which cube.
    tiles, periods, scenes, work_items, batches : int
        Counts; `scenes` without repetition.
    reads : int
        Rasters opened: work items x scenes x bands.
    read_bytes : int
        Pixels asked of the rasters, before compression; an upper bound, because a
        scene may cover a tile in part.
    cube_bytes : int
        Size of the cube before compression.
    """

    sensor: str
    tiles: int
    periods: int
    scenes: int
    work_items: int
    batches: int
    reads: int
    read_bytes: int
    cube_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.sensor}: {self.tiles:,} tiles x {self.periods:,} periods, "
            f"{self.scenes:,} scenes -> "
            f"{self.work_items:,} work items in {self.batches:,} batches; "
            f"at most {self.reads:,} reads of {self.read_bytes / 2**30:,.1f} GiB; "
            f"cube {self.cube_bytes / 2**30:,.1f} GiB before compression"
        )


def explain(plan: CubePlan) -> Explanation:
    """Count what a plan would read and write.

    Parameters
    ----------
    plan : CubePlan
        Any plan.

    Returns
    -------
    explanation : Explanation
        Counts; `str()` of it is one line.
    """
    spec = plan.spec
    gsd = [(S2_BANDS | S1_BANDS)[band].gsd_m for band in spec.bands]
    if spec.masked and spec.mask != "spectral":
        gsd.append(20)  # the scene classification
    pixels_read = sum((TILE_M // g) ** 2 for g in gsd)
    pixels_kept = (TILE_M // spec.resolution_m) ** 2
    return Explanation(
        sensor=spec.sensor,
        tiles=len(plan.tiles),
        periods=len(plan.periods),
        scenes=len(plan.scenes),
        work_items=len(plan),
        batches=plan.n_batches,
        reads=len(plan.scene_rows) * len(gsd),
        read_bytes=len(plan.scene_rows) * pixels_read * 2,
        cube_bytes=len(plan) * pixels_kept * (2 * len(spec.bands) + 3),
    )
