"""Tiles of which nothing can be made: named, set aside, and made up for when the cause is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import distributed
import icechunk
import numpy as np
import pytest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from terrascope.cube.executor import DaskExecutor, Executor, ThreadExecutor
from terrascope.errors import ReadError, StoreError, WorkerError
from terrascope.monitor.reason.dispatch import reason_batch
from terrascope.monitor.reason.inference import Loader
from terrascope.monitor.reason.plan import (
    ReasonSettings,
    choose_windows,
    model_plan,
    pending_reason,
    reason_keys,
)
from terrascope.monitor.screen.batch import screen_batch
from terrascope.monitor.screen.plan import ScreenPlan, pending_screen, screen_keys
from terrascope.store import Store
from terrascope.store.layout import shard_index
from terrascope.store.schema import RESULT_LAYERS

from .conftest import BASELINE, TARGET, ZONE, SmallCube
from .test_reason import SETTINGS, area_of


def screen_plan(cube: SmallCube, run_id: str) -> ScreenPlan:
    return ScreenPlan(
        resolution_m=120,
        target=TARGET,
        baseline=BASELINE,
        groups={"sentinel-2": (cube.group,)},
        bands={"sentinel-2": cube.bands},
        batches=(cube.tiles[:7], cube.tiles[7:]),
        aoi=area_of(cube),
        threshold=0.5,
        run_id=run_id,
    )


def screen(plan: ScreenPlan, store: Store, executor: Executor) -> int:
    keys = screen_keys(plan, store)
    return sum(
        screen_batch(plan, index, store, executor, keys=keys, memory=2**30)
        for index in pending_screen(plan, store, keys)
    )


def maps(plan: ScreenPlan, store: Store, cube: SmallCube) -> dict[str, dict[str, np.ndarray]]:
    group = plan.result_group(ZONE)
    return {
        tile.id: {layer.name: store.read_tile(group, layer.name, tile) for layer in RESULT_LAYERS}
        for tile in cube.tiles
    }


def test_a_damaged_shard_costs_the_ground_that_needs_it(
    small_cube: SmallCube, tmp_path: Path
) -> None:
    """The tile in the corner cannot be read: it and its three neighbours are not observed."""
    folder = tmp_path / "cube"
    shutil.copytree(small_cube.store.url, folder)
    store, corner = Store.open(str(folder)), small_cube.tiles[0]
    sound = screen_plan(small_cube, "sound")
    screen(sound, store, ThreadExecutor(1))
    expected = maps(sound, store, small_cube)

    row, column = shard_index(corner)
    key = f"{small_cube.group}/reflectance/c/{TARGET[0].index}/0/{row}/{column}"
    session = icechunk.Repository.open(
        icechunk.local_filesystem_storage(str(folder))
    ).writable_session("main")
    rubbish = default_buffer_prototype().buffer.from_bytes(b"no shard at all" * 40)
    shard = sync(session.store.get(key, default_buffer_prototype()))
    assert shard is not None
    sync(session.store.set(key, rubbish))
    session.commit("damage")

    plan = screen_plan(small_cube, "damaged")
    near = {t.id for t in small_cube.tiles if abs(t.row - corner.row) < 2 > abs(t.column - 28)}
    assert len(near) == 4
    assert screen(plan, store, ThreadExecutor(1)) == len(small_cube.tiles) - 4
    records = {r.tile: r for r in store.records(plan.result_group(ZONE)).values()}
    assert {tile for tile, record in records.items() if not record.done} == near
    for tile, layers in maps(plan, store, small_cube).items():
        wanted = expected[tile]
        if tile in near:
            (cause,) = records[tile].quarantines
            assert cause.item == tile
            assert "damaged" in cause.cause
            np.testing.assert_array_equal(
                layers["status"], np.where(wanted["status"] == 255, 255, 0)
            )
            assert np.isnan(layers["change_probability"]).all()
        else:
            for name, layer in layers.items():
                np.testing.assert_array_equal(layer, wanted[name], err_msg=f"{tile} {name}")

    session = icechunk.Repository.open(
        icechunk.local_filesystem_storage(str(folder))
    ).writable_session("main")
    sync(session.store.set(key, shard))
    session.commit("repair")
    assert screen(plan, store, ThreadExecutor(1)) == 4
    for tile, layers in maps(plan, store, small_cube).items():
        for name, layer in layers.items():
            np.testing.assert_array_equal(layer, expected[tile][name], err_msg=f"{tile} {name}")
    assert screen(plan, store, ThreadExecutor(1)) == 0


def model(what: str = "") -> Loader:
    """Return a loader whose model sees change where the near infrared fell.

    Where that is a clearing, which lies inside one tile, it may end its worker ("die") or lack
    memory ("starve"). All of it travels by value: workers need not find this file.
    """

    def load(_: ReasonSettings) -> Callable[..., Any]:
        def reason(windows: Any) -> Any:
            import os
            import signal

            import numpy as np

            from terrascope.monitor.reason.fold import ANY, CHANNELS

            side = windows[0].optical.values.shape[-1]
            found = np.full((len(windows), CHANNELS, side, side), -4.0, np.float32)
            for one, window in zip(found, windows, strict=True):
                values = window.optical.observed_values()
                nir = list(window.optical.bands).index("nir")
                fall = np.nan_to_num(values[0, nir] - values[1, nir])
                if what and (fall > 0.08).any():
                    if what == "starve":
                        raise MemoryError("cannot allocate 3.00 GiB")
                    os.kill(os.getpid(), signal.SIGKILL)
                one[ANY] = one[ANY + 1] = 60 * fall - 3
            return found

        return reason

    return load


def reason(cube: SmallCube, run_id: str, executor: Executor, loader: Loader) -> ScreenPlan:
    plan = screen_plan(cube, run_id)
    screen(plan, cube.store, ThreadExecutor(1))
    chosen = choose_windows(plan, SETTINGS, cube.store, ThreadExecutor(1))
    keys = reason_keys(plan, SETTINGS, screen_keys(plan, cube.store), chosen)
    fused = model_plan(plan)
    for tiles in pending_reason(fused, cube.store, keys).values():
        reason_batch(
            plan, SETTINGS, tiles, cube.store, executor, keys=keys, chosen=chosen, loader=loader
        )
    return plan


def assert_one_failed(cube: SmallCube, plan: ScreenPlan, sound: ScreenPlan, cause: str) -> None:
    """The tile with the clearing has the screen's map, and all others have theirs."""
    fused, whole = model_plan(plan), model_plan(sound)
    records = cube.store.records(fused.result_group(ZONE)).values()
    assert sorted(record.tile for record in records) == sorted(tile.id for tile in cube.tiles)
    failed = {record.tile: record for record in records if not record.done}
    assert set(failed) == {cube.changed.id}
    (said,) = failed[cube.changed.id].quarantines
    assert said.item == cube.changed.id
    assert cause in said.cause
    found, expected = maps(fused, cube.store, cube), maps(whole, cube.store, cube)
    expected[cube.changed.id] = maps(sound, cube.store, cube)[cube.changed.id]
    for tile, layers in found.items():
        for name, layer in layers.items():
            np.testing.assert_array_equal(layer, expected[tile][name], err_msg=f"{tile} {name}")


@pytest.fixture(scope="module")
def sound(small_cube: SmallCube) -> ScreenPlan:
    plan = reason(small_cube, "unharmed", ThreadExecutor(1), model())
    records = small_cube.store.records(model_plan(plan).result_group(ZONE)).values()
    assert all(record.done for record in records)
    assert sum(record.facts["looked"] for record in records) > 2
    return plan


def test_a_tile_that_kills_its_worker_every_time_is_isolated(
    small_cube: SmallCube, sound: ScreenPlan
) -> None:
    with (
        # Dask gives a call up with its first dead worker: else each takes four with it
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            dashboard_address=None,
            resources={"GPU": 1},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        plan = reason(small_cube, "killer", DaskExecutor(client), model("die"))
    assert_one_failed(small_cube, plan, sound, "its worker ended each time it was tried")


def test_a_model_that_never_has_the_memory(small_cube: SmallCube, sound: ScreenPlan) -> None:
    plan = reason(small_cube, "starved", ThreadExecutor(1), model("starve"))
    assert_one_failed(small_cube, plan, sound, "MemoryError: cannot allocate")


def odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ReadError("503", item="x", transient=True), True),
        (StoreError("the disk is full", transient=True), True),
        (WorkerError("gone"), False),
        (MemoryError("too much"), False),
    ],
)
def test_what_may_pass_is_raised_and_what_is_the_calls_own_fault_is_not(
    error: Exception, raised: bool
) -> None:
    def fail(number: int) -> int:
        if number == 2:
            raise error
        return number

    found = ThreadExecutor(2).run(fail, [(1,), (2,), (3,)], give_up=lambda call, _: -call[0])
    if raised:
        with pytest.raises(type(error)):
            list(found)
    else:
        assert sorted(found) == [-2, 1, 3]


def test_calls_given_up_are_told_with_their_error() -> None:
    told: dict[int, str] = {}

    def give_up(call: tuple[Any, ...], error: Exception) -> int:
        told[call[0]] = str(error)
        return 0

    found = list(ThreadExecutor(2).run(odd, ((n,) for n in range(6)), give_up=give_up))
    assert sorted(found) == [0, 0, 0, 1, 3, 5]
    assert told == {n: f"{n} is even" for n in (0, 2, 4)}
