"""The same scenes give the same cube and the same map, however the work is cut and run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terrascope.cube.executor import DaskExecutor, Executor, ThreadExecutor
from terrascope.geo.aoi import Aoi
from terrascope.geo.tiles import Tile
from terrascope.monitor.screen.batch import screen_batch
from terrascope.monitor.screen.plan import ScreenPlan, plan_screen, screen_keys
from terrascope.store import Store
from terrascope.store.layout import chunk_pixels, tile_pixels
from terrascope.types import Status

from .patchwork import (
    BASELINE,
    COLUMN,
    ROW,
    SENSORS,
    TARGET,
    TILES,
    ZONE,
    Patchwork,
    area,
    build,
    content,
    shared_content,
    shared_patchwork,
    shared_store,
    spec,
)

AMPLE = 8 * 2**30


@pytest.fixture(scope="module")
def patchwork(tmp_path_factory: pytest.TempPathFactory) -> Patchwork:
    return shared_patchwork(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return shared_store(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    return shared_content(tmp_path_factory.getbasetemp())


@contextmanager
def dask(*, processes: bool) -> Iterator[Executor]:
    with (
        distributed.LocalCluster(
            n_workers=2 if processes else 1,
            threads_per_worker=1 if processes else 2,
            processes=processes,
            memory_limit=None,
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield DaskExecutor(client)


@contextmanager
def threads(count: int) -> Iterator[Executor]:
    yield ThreadExecutor(count)


def budget(side: int, n_scenes: int = 4) -> int:
    """Memory for one thread, such that a read unit is `side` tiles wide."""
    need = side**2 * tile_pixels(120) ** 2 * spec("sentinel-2").bytes_per_pixel(n_scenes)
    return 2 * need


def differences(
    found: dict[tuple[str, ...], str], wanted: dict[tuple[str, ...], str]
) -> list[tuple[str, ...]]:
    return sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))


def test_the_archive_is_as_awkward_as_it_says(expected: dict[tuple[str, ...], str]) -> None:
    records = [json.loads(text) for key, text in expected.items() if key[3] == "record"]
    assert {record["state"] for record in records} == {"complete", "partial", "failed"}
    assert {key[0].rpartition("/")[2] for key in expected} == {"P1M", "orbit-044", "orbit-unknown"}
    assert len({record["scenes"] for record in records}) >= 3


@pytest.mark.parametrize(
    ("batch_items", "executor", "memory", "backend"),
    [
        (7, threads(1), budget(2), "stackstac"),
        (1, threads(2), 2**20, "odc-stac"),
        (24, dask(processes=False), budget(2), "odc-stac"),
        (96, dask(processes=True), 2**20, "stackstac"),
    ],
    ids=["pairs", "tiles-odc", "dask-threads-odc", "dask-processes"],
)
def test_a_cube_does_not_depend_on_how_it_is_built(
    patchwork: Patchwork,
    expected: dict[tuple[str, ...], str],
    tmp_path: Path,
    batch_items: int,
    executor: Any,
    memory: int,
    backend: str,
) -> None:
    store = Store.open(str(tmp_path / "cube"))
    with executor as runs:
        for sensor in SENSORS:
            plan = patchwork.plan(sensor, batch_items=batch_items)
            build(store, patchwork.table, plan, executor=runs, memory=memory, backend=backend)
    assert differences(content(store), expected) == []


@pytest.mark.parametrize("resolution_m", [10, 20, 30, 60])
def test_strips_and_whole_tiles_are_alike(
    patchwork: Patchwork, tmp_path: Path, resolution_m: int
) -> None:
    """A tile of 1536, 768, 512 or 256 pixels: at once, and one row of chunks at a time."""
    tiles = [Tile(ZONE, COLUMN + 3, ROW + 2)]
    tight = tile_pixels(resolution_m) * chunk_pixels(resolution_m)
    found = []
    for name, memory in (("whole", AMPLE), ("strips", 2 * tight)):
        store = Store.open(str(tmp_path / name))
        for sensor in SENSORS:
            plan = patchwork.plan(
                sensor,
                resolution_m=resolution_m,
                tiles=tiles,
                periods=BASELINE[-1:] if sensor == SENSORS[0] else TARGET,
            )
            build(store, patchwork.table, plan, memory=memory)
        found.append(content(store, tiles))
    assert differences(*found) == []
    assert any("partial" in text for text in found[0].values())


def test_a_part_of_the_area_holds_the_same_pixels(
    patchwork: Patchwork, expected: dict[tuple[str, ...], str], tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path / "cube"))
    part = [tile for tile in TILES if tile.column in (30, 31) and tile.row < ROW + 3]
    for sensor in SENSORS:
        build(store, patchwork.table, patchwork.plan(sensor, tiles=part))
    wanted = {key: value for key, value in expected.items() if key[1] in {t.id for t in part}}
    assert differences(content(store, part), wanted) == []


def screen(
    patchwork: Patchwork,
    store: Store,
    run_id: str,
    *,
    aoi: Aoi,
    tiles: tuple[Tile, ...] = TILES,
    resolution_m: int = 120,
    batch_tiles: int = 32,
    workers: int = 1,
    memory: int = AMPLE,
) -> ScreenPlan:
    plan = plan_screen(
        {s: patchwork.plan(s, tiles=tiles, resolution_m=resolution_m) for s in SENSORS},
        target=TARGET,
        baseline=BASELINE,
        tiles=tiles,
        aoi=aoi,
        threshold=0.5,
        run_id=run_id,
        resolution_m=resolution_m,
        batch_tiles=batch_tiles,
    )
    keys, executor = screen_keys(plan, store), ThreadExecutor(workers)
    for index in range(len(plan.batches)):
        screen_batch(plan, index, store, executor, keys=keys, memory=memory)
    return plan


def maps(plan: ScreenPlan, store: Store, tiles: tuple[Tile, ...]) -> dict[tuple[str, str], Any]:
    group = plan.result_group(ZONE)
    names = sorted(name for name, array in store.root()[group].arrays() if array.ndim == 2)
    return {(t.id, name): store.read_tile(group, name, t) for t in tiles for name in names}


def same(found: dict[Any, Any], wanted: dict[Any, Any]) -> list[Any]:
    assert found.keys() == wanted.keys()
    return [k for k in wanted if not np.array_equal(found[k], wanted[k], equal_nan=_nan(wanted[k]))]


def _nan(array: np.ndarray) -> bool:
    return array.dtype.kind == "f"


AREA = area(inset_m=1234.0)


@pytest.fixture(scope="module")
def map_of_all(patchwork: Patchwork, reference: Store) -> dict[tuple[str, str], Any]:
    plan = screen(patchwork, reference, "all", aoi=AREA)
    return maps(plan, reference, TILES)


def test_the_map_says_something(map_of_all: dict[tuple[str, str], Any]) -> None:
    status = np.stack([v for (_, name), v in map_of_all.items() if name == "status"])
    counts = {code: int((status == code).sum()) for code in (0, 1, 2, 255)}
    assert counts[Status.NO_CHANGE] > 100_000
    assert counts[Status.PROVISIONAL] > 100
    assert counts[Status.OUTSIDE] > 10_000
    assert sum(counts.values()) == status.size


@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    batch_tiles=st.integers(1, 40),
    workers=st.integers(1, 3),
    memory=st.sampled_from([2**20, 64 * 2**20, AMPLE]),
)
def test_the_map_does_not_depend_on_batches_memory_or_workers(
    patchwork: Patchwork,
    reference: Store,
    map_of_all: dict[tuple[str, str], Any],
    batch_tiles: int,
    workers: int,
    memory: int,
) -> None:
    plan = screen(
        patchwork,
        reference,
        f"b{batch_tiles}-w{workers}-m{memory}",
        aoi=AREA,
        batch_tiles=batch_tiles,
        workers=workers,
        memory=memory,
    )
    assert same(maps(plan, reference, TILES), map_of_all) == []


def test_the_map_of_a_part_is_a_part_of_the_map(
    patchwork: Patchwork, reference: Store, map_of_all: dict[tuple[str, str], Any]
) -> None:
    """Inside a smaller area, and wherever a tile's neighbours are in the run."""
    part = tuple(tile for tile in TILES if tile.column <= COLUMN + 3)
    inner = [tile for tile in part if tile.column <= COLUMN + 2]
    aoi = area(inset_m=2345.0, tiles=part)
    found = maps(screen(patchwork, reference, "part", aoi=aoi, tiles=part), reference, part)
    compared = 0
    for tile in inner:
        inside = found[tile.id, "status"] != Status.OUTSIDE
        for (name, layer), values in found.items():
            if name == tile.id:
                wanted = map_of_all[name, layer]
                np.testing.assert_array_equal(values[inside], wanted[inside])
        compared += int(inside.sum())
    assert compared > 100_000


def test_blocks_of_a_tile_are_alike(patchwork: Patchwork, tmp_path: Path) -> None:
    """At 30 m a tile has four chunks: screened one by one, or at once."""
    tiles = tuple(Tile(ZONE, COLUMN + i, ROW + 2) for i in (1, 2))
    store = Store.open(str(tmp_path / "cube"))
    for sensor in SENSORS:
        build(store, patchwork.table, patchwork.plan(sensor, resolution_m=30, tiles=tiles))
    aoi = area(inset_m=500.0, tiles=tiles)
    found = [
        maps(
            screen(patchwork, store, name, aoi=aoi, tiles=tiles, resolution_m=30, memory=memory),
            store,
            tiles,
        )
        for name, memory in (("whole", AMPLE), ("chunks", 2**20))
    ]
    assert same(*found) == []
    assert (found[0][tiles[0].id, "status"] == Status.PROVISIONAL).any()
