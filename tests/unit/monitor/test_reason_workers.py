"""A real, tiny nano on real workers: how many there are, and one that dies, change no bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest
import torch

from terrascope.cube.executor import DaskExecutor, Executor, ThreadExecutor
from terrascope.errors import ConfigError
from terrascope.geo.tiles import Tile
from terrascope.kernels.pooling import LogOddsPool
from terrascope.monitor.reason import dispatch
from terrascope.monitor.reason.dispatch import reason_batch, reasoning_workers, tiles_per_commit
from terrascope.monitor.reason.fusion import fusion_of
from terrascope.monitor.reason.inference import Loader, load_reasoner
from terrascope.monitor.reason.plan import (
    ReasonSettings,
    choose_windows,
    model_plan,
    pending_reason,
    reason_keys,
)
from terrascope.monitor.reason.tile import LAYERS
from terrascope.monitor.screen.batch import screen_batch
from terrascope.monitor.screen.plan import ScreenPlan, screen_keys
from terrascope.registry import find_model

from .conftest import BASELINE, TARGET, ZONE, SmallCube
from .test_reason import STRIDE, area_of
from .tiny_nano import write_nano


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random nano that runs in milliseconds."""
    folder = tmp_path_factory.mktemp("nano")
    write_nano(folder)
    return folder


def reason_all(
    cube: SmallCube,
    folder: Path,
    run_id: str,
    executor: Executor,
    *,
    micro_batch: int = 4,
    loader: Loader = load_reasoner,
    batches: tuple[tuple[Tile, ...], ...] = (),
) -> dict[str, np.ndarray]:
    """Screen and reason, and return all layers of all tiles, by name."""
    found = find_model(str(folder))
    settings = ReasonSettings(
        folder=found.folder,
        weights=found.weights,
        name="tiny",
        window_px=found.window_px,
        stride_px=STRIDE,
        audit=12,
        micro_batch=micro_batch,
        precision="float32",
        threads=1,
    )
    plan = ScreenPlan(
        resolution_m=120,
        target=TARGET,
        baseline=BASELINE,
        groups={"sentinel-2": (cube.group,)},
        bands={"sentinel-2": cube.bands},
        batches=batches or (cube.tiles[:7], cube.tiles[7:]),
        aoi=area_of(cube),
        threshold=0.5,
        run_id=run_id,
    )
    keys = screen_keys(plan, cube.store)
    for index in range(len(plan.batches)):
        screen_batch(plan, index, cube.store, ThreadExecutor(1), keys=keys, memory=2**30)
    chosen = choose_windows(plan, settings, cube.store, ThreadExecutor(1))
    keys = reason_keys(plan, settings, keys, chosen)
    fused = model_plan(plan)
    for tiles in pending_reason(fused, cube.store, keys).values():
        reason_batch(
            plan, settings, tiles, cube.store, executor, keys=keys, chosen=chosen, loader=loader
        )
    assert pending_reason(fused, cube.store, keys) == {}
    records = cube.store.records(fused.result_group(ZONE))
    assert sorted(tile for tile, _ in records) == sorted(tile.id for tile in cube.tiles)
    return {
        layer.name: np.stack(
            [cube.store.read_tile(fused.result_group(ZONE), layer.name, t) for t in cube.tiles]
        )
        for layer in LAYERS
    }


def dying(flag: str) -> Loader:
    """Return a loader whose model ends its process at its second call, once for all workers."""

    def load(settings: ReasonSettings) -> Callable[..., Any]:
        import os

        from terrascope.monitor.reason.inference import load_reasoner as load_real

        real, calls = load_real(settings), []

        def reason(windows: Any) -> Any:
            calls.append(len(windows))
            if len(calls) == 2:
                try:
                    os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return real(windows)
                os._exit(9)
            return real(windows)

        return reason

    return load


def test_workers_and_their_deaths_change_nothing(
    small_cube: SmallCube, nano: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    alone = reason_all(small_cube, nano, "alone", ThreadExecutor(1))
    looked = np.isfinite(alone["model_probability"])
    assert 0 < looked.mean() < 0.5
    assert len(np.unique(alone["class_to"][looked])) >= 2
    flag = tmp_path / "died"
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            dashboard_address=":0",
            resources={"GPU": 1},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = DaskExecutor(client)
        assert tiles_per_commit(executor) == 2 * tiles_per_commit(ThreadExecutor(1))
        together = reason_all(small_cube, nano, "together", executor, loader=dying(str(flag)))
    assert flag.exists()
    for name, layer in alone.items():
        np.testing.assert_array_equal(together[name], layer, err_msg=name)


def test_order_and_a_stop_change_nothing(small_cube: SmallCube, nano: Path) -> None:
    """Backwards, in other batches, stopped at the last look of all, and gone on with."""
    torch.set_num_threads(1)
    calls: list[int] = []

    def stopping(at: int) -> Loader:
        def load(settings: ReasonSettings) -> Callable[..., Any]:
            real = load_reasoner(settings)

            def reason(windows: Any) -> Any:
                calls.append(len(windows))
                if len(calls) == at:
                    raise KeyboardInterrupt
                return real(windows)

            return reason

        return load

    alone = ThreadExecutor(1)
    straight = reason_all(small_cube, nano, "straight", alone, loader=stopping(at=0))
    looks = len(calls)
    calls.clear()
    backwards = (small_cube.tiles[5:][::-1], small_cube.tiles[:5][::-1])
    with pytest.raises(KeyboardInterrupt):
        reason_all(small_cube, nano, "stopped", alone, loader=stopping(at=looks), batches=backwards)
    group = next(g for g in small_cube.store.groups() if g.endswith("stopped_model"))
    done = {tile for tile, _ in small_cube.store.records(group)}
    assert done == {tile.id for tile in backwards[0]}
    calls.clear()
    resumed = reason_all(
        small_cube, nano, "stopped", alone, loader=stopping(at=0), batches=backwards
    )
    assert 0 < len(calls) < looks
    for name, layer in straight.items():
        np.testing.assert_array_equal(resumed[name], layer, err_msg=name)


def test_another_micro_batch_changes_next_to_nothing(small_cube: SmallCube, nano: Path) -> None:
    four = reason_all(small_cube, nano, "by-four", ThreadExecutor(1))
    three = reason_all(small_cube, nano, "by-three", ThreadExecutor(1), micro_batch=3)
    looked = np.isfinite(four["model_probability"])
    assert (np.isfinite(three["model_probability"]) == looked).all()
    differ = (four["status"] == 2) != (three["status"] == 2)
    assert differ[looked].mean() <= 0.001


def test_a_cluster_without_the_resource_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_COMING_BACK_S", 1.0)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(ConfigError, match="declares the resource GPU"),
    ):
        reasoning_workers(DaskExecutor(client))


def test_a_fit_comes_with_its_model(nano: Path, tmp_path: Path) -> None:
    assert fusion_of(str(nano), ["sentinel-2"]).version == "even-1"
    before = find_model(str(nano)).weights
    for file in nano.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert find_model(str(tmp_path)).weights == before
    text = '{"optical": {"bias": -1.0, "screen": 0.9, "model": 0.3, "version": "sim-2"}}'
    (tmp_path / "fusion.json").write_text(text, encoding="utf-8")
    assert fusion_of(str(tmp_path), ["sentinel-2"]) == LogOddsPool(-1.0, 0.9, 0.3, "sim-2")
    assert find_model(str(tmp_path)).weights != before
