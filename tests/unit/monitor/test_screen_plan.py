"""The screen's plan and maps: keys that know their inputs, three values, dates."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import numpy as np
import pytest
import shapely

from terrascope.catalog.items import ItemRow, ItemTable
from terrascope.cube.executor import ThreadExecutor
from terrascope.cube.plan import BLOCK_TILES, plan_cube
from terrascope.cube.spec import CubeSpec
from terrascope.geo.aoi import Aoi
from terrascope.geo.projection import unproject_from_zone
from terrascope.geo.tiles import TILE_M, Tile
from terrascope.monitor.screen.batch import screen_batch
from terrascope.monitor.screen.plan import ScreenPlan, pending_screen, plan_screen, screen_keys
from terrascope.monitor.screen.tile import _bytes_per_pixel, _strips
from terrascope.periods import Cadence
from terrascope.store import Record
from terrascope.store.schema import NO_DATE
from terrascope.types import ChangeKind, Status

MONTHLY = Cadence(1, "M")
BASELINE = MONTHLY.periods(dt.date(2019, 8, 1), dt.date(2019, 9, 30))
TARGET = MONTHLY.periods(dt.date(2020, 8, 1), dt.date(2020, 9, 30))


def ground(tiles: Any) -> Aoi:
    """Return the hull of some tiles, 700 m smaller."""
    west, south, east, north = shapely.unary_union([shapely.box(*t.bounds) for t in tiles]).bounds
    box = shapely.box(west + 700, south + 700, east - 700, north - 700)
    return Aoi.from_geometry(unproject_from_zone(box, tiles[0].zone))


def plan_of(cube: Any, **changes: Any) -> ScreenPlan:
    spec = CubeSpec("sentinel-2", cube.bands, resolution_m=120)
    rows = []
    for day in ("2019-08-05", "2019-09-05", "2020-08-05", "2020-09-05"):
        moment = dt.datetime.fromisoformat(f"{day}T10:00:00+00:00")
        footprint = ground(cube.tiles).geometry
        rows.append(ItemRow(day, "c", "sentinel-2", moment, moment.date(), footprint, {}))
    facts: dict[str, Any] = {
        "target": TARGET,
        "baseline": BASELINE,
        "tiles": cube.tiles,
        "aoi": ground(cube.tiles),
        "threshold": 0.5,
        "run_id": "r",
        "resolution_m": 120,
    } | changes
    plan = plan_cube(ItemTable.from_rows(rows), spec, cube.tiles, (*BASELINE, *TARGET))
    return plan_screen({"sentinel-2": plan}, **facts)


def changed_keys(cube: Any, **changes: Any) -> set[Tile]:
    before = screen_keys(plan_of(cube), cube.store)
    after = screen_keys(plan_of(cube, **changes), cube.store)
    return {tile for tile in after if after[tile] != before.get(tile)}


@pytest.mark.parametrize("batch_tiles", [1, 3, 32])
def test_batches_are_whole_blocks(small_cube: Any, batch_tiles: int) -> None:
    plan = plan_of(small_cube, batch_tiles=batch_tiles, tiles=small_cube.tiles[::-1])
    assert sorted(plan.tiles) == sorted(small_cube.tiles)
    owner: dict[tuple[int, int], int] = {}
    for index, batch in enumerate(plan.batches):
        for tile in batch:
            block = (tile.row // BLOCK_TILES, tile.column // BLOCK_TILES)
            assert owner.setdefault(block, index) == index
    assert len(plan.batches) == (1 if batch_tiles == 32 else len(owner))
    assert plan.zone_groups("sentinel-2", small_cube.tiles[0].zone) == (small_cube.group,)
    assert plan.zone_groups("sentinel-1", small_cube.tiles[0].zone) == ()


def test_keys_follow_settings_and_ground(small_cube: Any) -> None:
    tiles = set(small_cube.tiles)
    assert changed_keys(small_cube) == set()
    assert changed_keys(small_cube, run_id="other", batch_tiles=2) == set()
    assert changed_keys(small_cube, threshold=0.6) == tiles
    assert changed_keys(small_cube, target=TARGET[:1]) == tiles
    assert changed_keys(small_cube, baseline=BASELINE[1:]) == tiles
    eastern = {tile for tile in tiles if tile.column == max(t.column for t in tiles)}
    hole = unproject_from_zone(shapely.box(*max(eastern).bounds).buffer(-3000), max(eastern).zone)
    moved = Aoi.from_geometry(ground(small_cube.tiles).geometry - hole)
    assert changed_keys(small_cube, aoi=moved) == {max(eastern)}
    # without the eastern tiles the nodes on their western sides have fewer samples
    rest = tuple(sorted(tiles - eastern))
    beside = {tile for tile in rest if tile.column == max(t.column for t in rest)}
    assert changed_keys(small_cube, tiles=rest) == beside


def test_a_late_scene_changes_the_tiles_around_it(small_cube: Any) -> None:
    plan = plan_of(small_cube)
    before = screen_keys(plan, small_cube.store)
    tile = small_cube.tiles[0]
    first, second = (period.index for period in TARGET)
    former = small_cube.store.records(small_cube.group)[tile.id, first]
    near = {
        t
        for t in small_cube.tiles
        if abs(t.column - tile.column) <= 1 and abs(t.row - tile.row) <= 1
    }
    for record, expected in (
        (dataclasses.replace(former, key="late"), near),
        (former, set()),
        (Record("late", tile.id, second), near),
        (Record("k", tile.id, second), set()),
        (Record("late", tile.id, second + 1), set()),  # no period of this run
    ):
        with small_cube.store.begin() as write:
            write.commit([], {small_cube.group: [record]})
        after = screen_keys(plan, small_cube.store)
        assert {t for t in after if after[t] != before[t]} == expected
    assert after == before


def test_maps_have_three_values_and_dates(small_cube: Any) -> None:
    plan = plan_of(small_cube, run_id="maps", batch_tiles=4)
    store, keys = small_cube.store, screen_keys(plan, small_cube.store)
    assert pending_screen(plan, store, keys) == list(range(len(plan.batches)))
    for index in range(len(plan.batches)):
        done = screen_batch(plan, index, store, ThreadExecutor(2), keys=keys, memory=2**30)
        assert done == len(plan.batches[index])
    assert pending_screen(plan, store, keys) == []
    group = plan.result_group(small_cube.tiles[0].zone)

    def layer(name: str, tile: Tile) -> np.ndarray:
        return store.read_tile(group, name, tile)

    for tile in small_cube.tiles:
        status, probability = layer("status", tile), layer("change_probability", tile)
        inside = status != Status.OUTSIDE
        assert set(np.unique(status)) <= {0, 1, 2, 255}
        np.testing.assert_array_equal(np.isnan(probability), ~inside | (status == 0))
        np.testing.assert_array_equal(status == 2, np.nan_to_num(probability) >= 0.5)
        np.testing.assert_array_equal(layer("change_kind", tile) == ChangeKind.OUTSIDE, ~inside)
        np.testing.assert_array_equal(layer("detected_on", tile) != NO_DATE, status == 2)
        record = store.records(group)[tile.id, 0]
        assert record.facts["asked_pixels"] == inside.sum()
        seen = (status[inside] != 0).mean()
        assert record.observed_share == pytest.approx(seen)
    assert not (layer("status", small_cube.hidden) % 255).any()

    changed = layer("status", small_cube.changed) == 2
    truth = np.zeros((128, 128), bool)
    truth[60:90, 50:100] = True
    assert changed[truth].mean() > 0.95
    assert changed[~truth].mean() < 0.01
    kinds = layer("change_kind", small_cube.changed)[changed & truth]
    assert set(np.unique(kinds)) <= {int(ChangeKind.VEGETATION_LOSS), int(ChangeKind.BARE)}
    days = layer("detected_on", small_cube.changed)[changed & truth]
    first = (TARGET[0].start - dt.date(1970, 1, 1)).days
    assert (days == first).mean() > 0.95
    edge = layer("status", small_cube.tiles[0])
    assert (edge[:, : int(700 / TILE_M * 128)] == Status.OUTSIDE).all()


def test_strips_cover_a_window_and_fit_the_budget(small_cube: Any) -> None:
    plan = plan_of(small_cube, run_id="strips", batch_tiles=4)
    window = slice(3, 120), slice(10, 90)
    row = (80 + 2 * plan.halo_px) * _bytes_per_pixel(plan)
    for budget in (0, row * 30, 2**40):
        rows = list(_strips(plan, window, budget))
        assert [i for part in rows for i in range(part.start, part.stop)] == list(range(3, 120))
        height = max(part.stop - part.start for part in rows)
        assert height <= 8 or (height + 2 * plan.halo_px) * row <= budget


def test_the_map_does_not_depend_on_strips(small_cube: Any) -> None:
    maps = []
    for name, memory in (("whole", 2**34), ("strips", 2**20)):
        plan = plan_of(small_cube, run_id=name, batch_tiles=4)
        store = small_cube.store
        for index in range(len(plan.batches)):
            keys = screen_keys(plan, store)
            screen_batch(plan, index, store, ThreadExecutor(1), keys=keys, memory=memory)
        tile = plan.tiles[0]
        group = plan.result_group(tile.zone)
        maps.append(store.read_tile(group, "change_probability", tile))
    assert np.isfinite(maps[0]).any()
    np.testing.assert_array_equal(*maps)
