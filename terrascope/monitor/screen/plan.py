"""What is to be screened: tiles in batches, their keys, and what is still to do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from terrascope.cube.plan import BLOCK_TILES, CubePlan
from terrascope.geo.aoi import Aoi
from terrascope.geo.tiles import Tile, Zone
from terrascope.kernels.screen import HALO_M
from terrascope.monitor.footprint import ground_identity
from terrascope.periods import Period
from terrascope.store.layout import cube_path, result_path
from terrascope.store.ledger import work_key
from terrascope.store.schema import Layer

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = [
    "EVIDENCE_LAYERS",
    "SCREEN_VERSION",
    "ScreenPlan",
    "near_tiles",
    "pending_screen",
    "plan_screen",
    "screen_keys",
    "tile_keys",
]

SCREEN_VERSION = 1
"""Raised by hand when the same cube and settings would give another map."""


EVIDENCE_LAYERS = (
    Layer("strongest", "uint8", 0, "index or polarisation that deviates most"),
    Layer("deviation", "float32", float("nan"), "its deviation in standard deviations", units="1"),
)


_NEIGHBOURS = 1
"""Tiles around a tile whose pixels reach it: its halo, and the blocks of its nodes."""


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
