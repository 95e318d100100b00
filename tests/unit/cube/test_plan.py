"""The plan of a cube against a slow loop over all tiles, periods and scenes."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terrascope.catalog.items import ItemRow, ItemTable
from terrascope.cube.due import group_of, keys_of
from terrascope.cube.ingest import _squares
from terrascope.cube.plan import BLOCK_TILES, CubePlan, WorkItem, explain, plan_cube
from terrascope.cube.spec import CubeSpec
from terrascope.geo.projection import project_to_zone, unproject_from_zone
from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.periods import Cadence
from terrascope.types import AssetRef

WEST, EAST = Zone(33, "N"), Zone(34, "N")
MONTHLY = Cadence(1, "M")
YEAR = MONTHLY.periods(dt.date(2020, 1, 1), dt.date(2020, 12, 31))
OPTICAL = CubeSpec("sentinel-2", ("red", "nir"), resolution_m=60)
RADAR = CubeSpec("sentinel-1", ("vv",), resolution_m=60)


def row(number: int, ground: shapely.Geometry, day: dt.date, *, sensor: str, orbit: int) -> ItemRow:
    return ItemRow(
        id=f"scene-{number:03d}",
        collection="c",
        sensor=sensor,
        datetime=dt.datetime(day.year, day.month, day.day, 10, tzinfo=dt.UTC),
        solar_day=day,
        geometry=ground,
        assets={"red": AssetRef(f"{number}.tif")},
        orbit=orbit,
    )


@st.composite
def tables(draw: st.DrawFn) -> ItemTable:
    """Boxes around the border of two zones, some of them outside of every tile and period."""
    rows = []
    for number in range(draw(st.integers(0, 14))):
        # whole kilometres off the tiles' sides: no rounding decides what touches
        x, y = (int(draw(st.integers(-60, 200))) * 1000 + 500 for _ in range(2))
        width, height = (int(draw(st.integers(1, 120))) * 1000 for _ in range(2))
        box = shapely.box(650_000 + x, 5_500_000 + y, 650_000 + x + width, 5_500_000 + y + height)
        day = dt.date(2019, 12, 1) + dt.timedelta(days=draw(st.integers(0, 420)))
        sensor = draw(st.sampled_from(["sentinel-2", "sentinel-1"]))
        orbit = draw(st.sampled_from([-1, 44, 95]))
        rows.append(row(number, unproject_from_zone(box, WEST), day, sensor=sensor, orbit=orbit))
    return ItemTable.from_rows(rows)


def around(x: float, y: float, zone: Zone, side: int) -> list[Tile]:
    column, line = int(x // TILE_M), int(y // TILE_M)
    return [Tile(zone, column + i, line + j) for i in range(side) for j in range(side)]


TILES = [*around(640_000, 5_490_000, WEST, 6), *around(210_000, 5_490_000, EAST, 5)]


def slow(table: ItemTable, spec: CubeSpec) -> dict[tuple[str, int, int], list[int]]:
    """Test every tile against every scene, in the zone's own metres."""
    found: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    frame = table.frame
    reach = spec.halo_px * spec.resolution_m if spec.sensor == "sentinel-1" else 0
    grounds = {
        zone: [project_to_zone(geometry, zone) for geometry in frame.geometry]
        for zone in (WEST, EAST)
    }
    for tile in TILES:
        square = shapely.box(*tile.bounds).buffer(reach, join_style="mitre")
        for i in range(len(table)):
            scene = table.scene(i)
            index = MONTHLY.index(scene.solar_day)
            if scene.sensor != spec.sensor or index not in {p.index for p in YEAR}:
                continue
            if grounds[tile.zone][i].distance(square) > 0:
                continue
            orbit = scene.orbit if spec.sensor == "sentinel-1" else 0
            found[tile.id, index, orbit].append(i)
    return found


def flat(plan: CubePlan) -> dict[tuple[str, int, int], list[int]]:
    return {
        (item.tile.id, item.period.index, batch.orbit if batch.orbit is not None else 0): list(
            item.scenes
        )
        for batch in plan.batches()
        for item in batch.items
    }


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), spec=st.sampled_from([OPTICAL, RADAR]), batch_items=st.integers(1, 60))
def test_the_plan_is_the_slow_loop(table: ItemTable, spec: CubeSpec, batch_items: int) -> None:
    plan = plan_cube(table, spec, TILES[::-1], YEAR[::-1], batch_items=batch_items)
    found, truth = flat(plan), slow(table, spec)
    # outlines are 5 m wider than the squares: never a pair too few
    assert truth.items() <= found.items()
    assert found.keys() - truth.keys() == set()
    assert len(plan) == len(found) == sum(len(batch.items) for batch in plan.batches())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), spec=st.sampled_from([OPTICAL, RADAR]), batch_items=st.integers(1, 60))
def test_batches_hold_one_group_and_part_no_block(
    table: ItemTable, spec: CubeSpec, batch_items: int
) -> None:
    plan = plan_cube(table, spec, TILES, YEAR, batch_items=batch_items)
    owner: dict[tuple[object, ...], int] = {}
    for batch in plan.batches():
        assert {item.tile.zone for item in batch.items} == {batch.zone}
        blocks = defaultdict(int)
        for item in batch.items:
            block = (item.tile.row // BLOCK_TILES, item.tile.column // BLOCK_TILES)
            place = (batch.zone, batch.orbit, item.period.index, *block)
            blocks[place] += 1
            assert owner.setdefault(place, batch.index) == batch.index
        assert len(batch.items) <= max(batch_items, *blocks.values())
        group = group_of(plan, batch)
        assert group.startswith(f"{spec.sensor}/{batch.zone}/r60/P1M")
        assert ("orbit" in group) == (spec.sensor == "sentinel-1")
    text = str(explain(plan))
    assert text.startswith(f"{spec.sensor}: {len(TILES)} tiles x 12 periods")
    assert "\n" not in text


def scene_over(tiles: list[Tile], number: int, day: dt.date, orbit: int = 44) -> ItemRow:
    ground = shapely.union_all([shapely.box(*tile.bounds) for tile in tiles]).buffer(-500)
    footprint = unproject_from_zone(ground, tiles[0].zone)
    sensor = "sentinel-1" if orbit != 44 else "sentinel-2"
    return row(number, footprint, day, sensor=sensor, orbit=orbit)


def test_counts_of_a_known_plan() -> None:
    west, east = around(640_000, 5_490_000, WEST, 2), around(500_000, 5_490_000, EAST, 1)
    rows = [
        scene_over(west, 0, dt.date(2020, 5, 1)),
        scene_over(west[:1], 1, dt.date(2020, 5, 9)),
        scene_over(east, 2, dt.date(2020, 6, 1)),
        scene_over(west, 3, dt.date(2020, 6, 1), orbit=95),
        scene_over(west, 4, dt.date(2020, 6, 2), orbit=-1),
    ]
    table = ItemTable.from_rows(rows)
    optical, radar = (plan_cube(table, spec, [*west, *east], YEAR) for spec in (OPTICAL, RADAR))
    counts = explain(optical)
    assert (counts.tiles, counts.periods, counts.scenes) == (5, 12, 3)
    assert (counts.work_items, counts.batches) == (5, 2)
    assert counts.reads == (4 + 1 + 1) * 3  # two bands and the scene classification
    assert counts.cube_bytes == 5 * 256**2 * (2 * 2 + 3)
    assert counts.read_bytes >= 6 * 2 * (1536**2 * 2 + 768**2)
    assert optical.orbits == (None,)
    assert radar.orbits == (-1, 95)
    assert [batch.orbit for batch in radar.batches()] == [-1, 95]
    assert str(radar.batch(1)) == "batch 1 (33N, orbit 95, 4 work items)"
    assert list(optical.scenes) == [0, 1, 2]


def test_nothing_to_do() -> None:
    plan = plan_cube(ItemTable.from_rows([]), OPTICAL, TILES, YEAR)
    assert (len(plan), plan.n_batches, list(plan.batches())) == (0, 0, [])
    assert explain(plan).read_bytes == 0


def test_keys_follow_scenes_and_settings() -> None:
    tiles = around(640_000, 5_490_000, WEST, 1)
    rows = [scene_over(tiles, i, dt.date(2020, 5, 1 + i)) for i in range(2)]
    item = WorkItem(tiles[0], YEAR[4], (0, 1))

    def key(rows: list[ItemRow], spec: CubeSpec = OPTICAL) -> str:
        return keys_of(spec, ItemTable.from_rows(rows), [item])[item]

    def with_asset(**facts: object) -> list[ItemRow]:
        asset = AssetRef(**({"href": "1.tif"} | facts))  # type: ignore[arg-type]
        return [rows[0], ItemRow(**{**vars(rows[1]), "assets": {"red": asset}})]

    same = key(rows)
    assert key(with_asset(href="1.tif?sig=abc")) == same
    assert key([rows[0], ItemRow(**{**vars(rows[1]), "source": "elsewhere"})]) == same
    others = [
        key(with_asset(offset=-0.1)),
        key(with_asset(identity="checksum")),
        key([rows[0], ItemRow(**{**vars(rows[1]), "baseline": "05.00"})]),
        key(rows, CubeSpec("sentinel-2", ("red", "nir"), resolution_m=60, composite="mean")),
        key(rows, CubeSpec("sentinel-2", ("red", "nir"), resolution_m=60, mask_dilation_m=0)),
    ]
    assert len({same, *others}) == 6


@pytest.mark.parametrize(("side", "sizes"), [(4, [16, 1]), (2, [4, 4, 4, 4, 1]), (1, [1] * 17)])
def test_only_whole_squares_of_the_same_scenes_are_read_together(
    side: int, sizes: list[int]
) -> None:
    block = [Tile(WEST, 40 + i, 360 + j) for i in range(4) for j in range(4)]
    todo = [WorkItem(tile, YEAR[0], (1, 2)) for tile in (*block, Tile(WEST, 44, 360))]
    assert sorted(map(len, _squares(todo, side)), reverse=True) == sizes
    todo[5] = WorkItem(todo[5].tile, YEAR[0], (1,))
    mixed = list(_squares(todo, side))
    assert all(len({item.scenes for item in members}) == 1 for members in mixed)
    assert sorted(i for m in mixed for i in map(todo.index, m)) == list(range(17))
    assert max(map(len, mixed)) == min(4, side**2)


def test_a_plan_is_small() -> None:
    """Columns, not objects: 2,000 tiles x 12 periods stay under a megabyte or two."""
    tiles = around(300_000, 5_000_000, WEST, 44)
    span = shapely.box(250_000, 4_900_000, 1_000_000, 5_700_000)
    rows = [
        row(
            i,
            unproject_from_zone(span, WEST),
            dt.date(2020, i + 1, 5),
            sensor="sentinel-2",
            orbit=1,
        )
        for i in range(12)
    ]
    plan = plan_cube(ItemTable.from_rows(rows), OPTICAL, tiles, YEAR)
    columns = [v for v in vars(plan).values() if isinstance(v, np.ndarray)]
    assert len(plan) == 44 * 44 * 12
    assert sum(column.nbytes for column in columns) < 1_000_000
