"""What the monitor adds to the bare model: rate, workers, memory.

    python benchmarks/dispatch.py [rate|workers|memory] [--model FOLDER] [--resolution M] ...

rate     windows per second of whole tiles (reading, blending, fusing, writing, commit) against the
         bare loop (windows already in memory, same threads, same batch), in interleaved rounds, for
         budgets of 1, 5 and 100 % of the windows; wanted: at least 0.85 at 100 %. By the clock,
         and by the processor time of both, which other work on the machine disturbs less. One
         tile, and four where few windows are looked at.
workers  a model that only sleeps, on eight workers against one; wanted: at least 7.2 times.
memory   the process tree at 2,000 tiles against 100, a model that answers at once; wanted: at
         most 1.1 times.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import datetime as dt
import importlib
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
import psutil
import shapely

from terrascope.cube.cluster import DASK_SETTINGS
from terrascope.cube.executor import DaskExecutor, Executor, ThreadExecutor
from terrascope.cube.memory import keep_large_arrays
from terrascope.evaluation.command import PACKAGED_MODEL
from terrascope.geo.aoi import Aoi
from terrascope.geo.projection import unproject_from_zone
from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.kernels.screen import OPTICAL_BANDS
from terrascope.model.stacks import Window
from terrascope.monitor.reason.dispatch import reason_batch, tiles_per_commit
from terrascope.monitor.reason.fold import CHANNELS
from terrascope.monitor.reason.inference import Loader, MicroBatches, load_reasoner
from terrascope.monitor.reason.plan import (
    ReasonSettings,
    choose_windows,
    model_plan,
    pending_reason,
    reason_keys,
)
from terrascope.monitor.reason.windows import read_strip
from terrascope.monitor.screen.plan import EVIDENCE_LAYERS, ScreenPlan
from terrascope.periods import Cadence
from terrascope.registry import find_model
from terrascope.store import Record, Store, cube_schema, result_schema, write_tile
from terrascope.store.layout import tile_pixels, tile_slices
from terrascope.types import FloatArray

ZONE = Zone(33, "N")
MONTHLY = Cadence(1, "M")
BASELINE = MONTHLY.periods(dt.date(2019, 9, 1), dt.date(2019, 9, 30))
TARGET = MONTHLY.periods(dt.date(2020, 9, 1), dt.date(2020, 9, 30))
LEVEL = {"nir": 3200, "nir08": 3300, "swir16": 1500, "swir22": 700}


@dataclasses.dataclass(frozen=True)
class Place:
    """A screened area of forest, written straight into a store."""

    plan: ScreenPlan
    store: Store

    @property
    def keys(self) -> dict[Tile, str]:
        """Keys of a screen that was never run."""
        return {tile: f"screen-{tile}" for tile in self.plan.tiles}


def write_place(folder: Path, n_tiles: int, resolution_m: int, batch: int = 32) -> Place:
    """Write cubes of both months and a screen whose scores are spread evenly."""
    store = Store.open(str(folder / "cube"))
    bands = tuple(OPTICAL_BANDS)
    cube = store.ensure_group(cube_schema("sentinel-2", ZONE, resolution_m, MONTHLY, bands))
    across = int(np.ceil(n_tiles**0.5))
    tiles = [Tile(ZONE, 20 + n % across, 340 + n // across) for n in range(n_tiles)]
    groups = [tuple(tiles[n : n + batch]) for n in range(0, n_tiles, batch)]
    west, south = tiles[0].bounds[:2]
    rows = -(-n_tiles // across)
    ground = shapely.box(west - 1e3, south - 1e3, west + across * TILE_M, south + rows * TILE_M)
    plan = ScreenPlan(
        resolution_m=resolution_m,
        target=TARGET,
        baseline=BASELINE,
        groups={"sentinel-2": (cube,)},
        bands={"sentinel-2": bands},
        batches=tuple(groups),
        aoi=Aoi.from_geometry(unproject_from_zone(ground.buffer(-1.0), ZONE)),
        threshold=0.5,
        run_id="bench",
    )
    result = store.ensure_group(
        result_schema(ZONE, resolution_m, plan.run_id, evidence=EVIDENCE_LAYERS)
    )
    side = tile_pixels(resolution_m)
    rng = np.random.default_rng(1)
    values = np.empty((len(bands), side, side), np.int16)
    for plane, band in zip(values, bands, strict=True):
        plane[...] = rng.normal(LEVEL.get(band, 400), 60, (side, side))
    screen = {
        "status": np.ones((side, side), np.uint8),
        "change_probability": rng.uniform(0, 0.3, (side, side)).astype(np.float32),
        "change_kind": np.zeros((side, side), np.uint8),
        "observations": np.ones((side, side), np.uint16),
        "confidence": np.full((side, side), 0.4, np.float32),
    }
    screen["screen_probability"] = screen["change_probability"]
    for group in groups:
        with store.begin() as write:
            fork = write.fork()
            for tile in group:
                for period in (*BASELINE, *TARGET):
                    observed = np.ones((side, side), np.uint16)
                    arrays = {"reflectance": values, "observed": observed}
                    write_tile(fork, cube, tile, period.index, arrays)
                write_tile(fork, result, tile, 0, screen)
            write.commit([fork], {result: [Record(f"screen-{t}", t.id, 0) for t in group]})
    return Place(plan, store)


def reason_all(
    place: Place, settings: ReasonSettings, executor: Executor, loader: Loader
) -> tuple[int, float]:
    """Reason about a whole place; returns windows looked at and seconds."""
    start = time.perf_counter()
    plan = place.plan
    chosen = choose_windows(plan, settings, place.store, executor)
    keys = reason_keys(plan, settings, place.keys, chosen)
    fused = model_plan(plan)
    joined = tiles_per_commit(executor)
    for tiles in pending_reason(fused, place.store, keys, at_least=joined).values():
        reason_batch(
            plan, settings, tiles, place.store, executor, keys=keys, chosen=chosen, loader=loader
        )
    seconds = time.perf_counter() - start
    records = place.store.records(fused.result_group(ZONE)).values()
    return sum(int(record.facts["looked"]) for record in records), seconds


def windows_in_memory(place: Place, side: int, count: int) -> list[Window]:
    """Cut windows of the first tile."""
    tile = place.plan.tiles[0]
    rows, columns = tile_slices(tile, place.plan.resolution_m)
    strip = read_strip(
        place.plan, tile, place.store, frozenset(place.store.groups()), rows, columns
    )
    starts = range(0, rows.stop - rows.start - side + 1, side)
    found = [strip.window((slice(y, y + side), slice(x, x + side))) for y in starts for x in starts]
    there = [window for window in found if window is not None]
    return [there[n % len(there)] for n in range(count)]


def bare(loader: Loader, settings: ReasonSettings, windows: Sequence[Window]) -> _Spent:
    """Run windows that are in memory."""
    run = MicroBatches(loader(settings), settings.micro_batch)
    with _measured() as spent:
        for first in range(0, len(windows), settings.micro_batch):
            run(windows[first : first + settings.micro_batch])
    return dataclasses.replace(spent[0], windows=len(windows))


@dataclasses.dataclass(frozen=True)
class _Spent:
    """Windows looked at, and what that took."""

    seconds: float
    cpu_seconds: float
    windows: int = 0

    @property
    def rate(self) -> float:
        """Windows per second."""
        return self.windows / self.seconds

    @property
    def cpu_rate(self) -> float:
        """Windows per second of processor time, of all threads together."""
        return self.windows / self.cpu_seconds


@contextlib.contextmanager
def _measured() -> Iterator[list[_Spent]]:
    spent: list[_Spent] = []
    clock, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent.append(_Spent(time.perf_counter() - clock, time.process_time() - cpu))


def settings_of(side: int, **changes: Any) -> ReasonSettings:
    """Return settings for windows of a size."""
    values: dict[str, Any] = {"folder": "", "weights": "bench", "name": "bench", "audit": 0}
    stride = side * 3 // 4
    return ReasonSettings(**values | {"window_px": side, "stride_px": stride} | changes)


def rate(folder: Path, asked: argparse.Namespace) -> None:
    """Compare the whole monitor with the bare loop."""
    batch, resolution_m, price = asked.batch, asked.resolution, asked.price
    found = find_model(str(asked.model))
    known = {"folder": found.folder, "weights": found.weights, "micro_batch": batch}
    base = settings_of(found.window_px, **known)
    places = {n: write_place(folder / str(n), n, resolution_m) for n in (1, 4)}
    windows = windows_in_memory(places[1], found.window_px, 8 * batch)
    keep_large_arrays()  # as the monitor does: both loops find the same memory
    load_reasoner(base)(windows[:batch])
    for share, tiles in ((1.0, 1), (0.05, 4), (0.01, 4)):
        wholes, loops = [], []
        for number in range(asked.rounds):
            settings = dataclasses.replace(
                base, budget=share, weights=f"{found.weights}-{share}-{number}"
            )
            loops.append(bare(load_reasoner, base, windows))
            with _measured() as spent:
                looked, _ = reason_all(
                    places[tiles], settings, ThreadExecutor(1), lambda _: load_reasoner(base)
                )
            wholes.append(dataclasses.replace(spent[0], windows=looked))
        pairs = list(zip(wholes, loops, strict=True))
        ratio = statistics.median(whole.rate / loop.rate for whole, loop in pairs)
        cpu_ratio = statistics.median(whole.cpu_rate / loop.cpu_rate for whole, loop in pairs)
        seconds = statistics.median(whole.seconds for whole in wholes)
        speed = 3600 * tiles * (TILE_M / 1000) ** 2 / seconds
        hours = 1e6 / speed
        cost = f", {hours * price:,.0f} at {price:g} an hour" if price else ""
        print(
            f"share {share:4.0%}: {statistics.median(whole.rate for whole in wholes):7.2f} "
            f"windows/s, {ratio:.2f} of the bare loop ({cpu_ratio:.2f} by processor time), "
            f"{speed:8.0f} km2/h at {resolution_m} m, "
            f"1 Mkm2 takes {hours:8.1f} machine hours{cost}",
            flush=True,
        )


def sleeping(seconds: float, side: int) -> Loader:
    """Return a loader of a model that only takes time."""

    def load(_: ReasonSettings) -> Callable[[Sequence[Window]], FloatArray]:
        def reason(windows: Sequence[Window]) -> FloatArray:
            time.sleep(seconds)
            return np.full((len(windows), CHANNELS, side, side), -4.0, np.float32)

        return reason

    return load


def workers(folder: Path) -> None:
    """Compare eight workers with one."""
    place = write_place(folder, 256, 120)
    found = {}
    for count in (8, 1):
        with cluster(count) as executor:
            settings = settings_of(32, budget="all", micro_batch=8, weights=f"sleep-{count}")
            found[count] = reason_all(place, settings, executor, sleeping(0.5, 32))[1]
            print(f"{count} workers: {found[count]:.1f} s")
    print(f"eight workers are {found[1] / found[8]:.2f} times one (wanted 7.2)")


def memory(folder: Path) -> None:
    """Compare the memory at 2,000 tiles with that at 100."""
    peaks = {}
    for count in (100, 2000):
        with concurrent.futures.ProcessPoolExecutor(1, get_context("spawn")) as apart:
            place = apart.submit(write_place, folder / str(count), count, 120).result()
        with cluster(2) as executor, _watched() as peak:
            reason_all(place, settings_of(64, budget=0.01), executor, sleeping(0.0, 64))
        peaks[count] = peak[0]
        print(f"{count} tiles: {peak[0] / 2**20:.0f} MiB in the process tree at most")
    print(f"2,000 tiles take {peaks[2000] / peaks[100]:.2f} times 100 (wanted at most 1.1)")


class cluster:  # noqa: N801 -- a context, written like a function
    """Workers of one thread that hold the resource."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> DaskExecutor:
        dask.config.set(DASK_SETTINGS)  # as the monitor does
        self._cluster = distributed.LocalCluster(
            n_workers=self._count,
            threads_per_worker=1,
            memory_limit=None,
            dashboard_address=None,
            resources={"GPU": 1},
        )
        self._client = distributed.Client(self._cluster)
        self._client.wait_for_workers(self._count)
        # Importing the library is work of once, not of every tile.
        self._client.run(importlib.import_module, "terrascope.monitor.reason.dispatch")
        return DaskExecutor(self._client)

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._cluster.close()


class _watched:  # noqa: N801 -- likewise
    """Samples the memory of this process and its children."""

    def __enter__(self) -> list[int]:
        self._peak, self._end = [0], threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self._peak

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._end.wait(0.2):
            self._peak[0] = max(self._peak[0], sum(_sizes(psutil.Process())))


def _sizes(root: psutil.Process) -> Iterator[int]:
    for process in (root, *root.children(recursive=True)):
        try:
            yield process.memory_info().rss
        except psutil.NoSuchProcess:
            continue


def main() -> None:
    """Measure what was asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("rate", "workers", "memory"))
    parser.add_argument("--model", default=PACKAGED_MODEL)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--resolution", type=int, default=20, choices=(10, 20, 30, 60, 120))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--price", type=float, default=0.0, help="of a machine hour")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if asked.what in (None, "rate"):
            rate(folder / "rate", asked)
        if asked.what in (None, "workers"):
            workers(folder / "workers")
        if asked.what in (None, "memory"):
            memory(folder / "memory")


if __name__ == "__main__":
    main()
