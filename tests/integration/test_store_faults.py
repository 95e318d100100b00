"""The store when things go wrong: killed writers, two writers, a storage that fails, S3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from terrascope.errors import StoreError
from terrascope.geo.tiles import Tile, Zone
from terrascope.periods import Cadence
from terrascope.store import Fork, Record, Store, cube_schema, write_tile

ZONE = Zone(21, "S")
SCHEMA = cube_schema("sentinel-1", ZONE, 30, Cadence.parse("P1M"), ["vv", "vh"], orbit=83)
GROUP = SCHEMA.path
TILES = [Tile(ZONE, 30 + i, 410) for i in range(6)]


def pixels(tile: Tile, period: int) -> np.ndarray:
    seed = tile.column * 1000 + period
    return np.random.default_rng(seed).integers(-3000, 500, (2, 512, 512)).astype("int16")


def write(fork: Fork, tile: Tile, period: int) -> Fork:
    return write_tile(fork, GROUP, tile, period, {"backscatter": pixels(tile, period)})


def commit(store: Store, period: int) -> str:
    with store.begin() as batch:
        forks = [write(batch.fork(), tile, period) for tile in TILES]
        records = [Record(f"{tile}-{period}", tile.id, period) for tile in TILES]
        return batch.commit(forks, {GROUP: records})


def check(store: Store, period: int, *, there: bool) -> None:
    for tile in TILES:
        got = store.read_tile(GROUP, "backscatter", tile, period)
        expected = pixels(tile, period) if there else np.full((2, 512, 512), -32768)
        np.testing.assert_array_equal(got, expected)
    keys = {f"{tile}-{period}" for tile in TILES}
    assert keys & done(store) == (keys if there else set())


def done(store: Store) -> set[str]:
    return {record.key for record in store.records(GROUP).values() if record.done}


WRITER = """
import sys
sys.path.insert(0, {folder!r})
from test_store_faults import *
store = Store.open(sys.argv[1])
with store.begin() as batch:
    forks = []
    for tile in TILES * {rounds}:
        forks.append(write(batch.fork(), tile, 90 + len(forks) // len(TILES)))
        print("wrote", flush=True)
    if {rounds} == 1:
        batch.commit(forks, {{GROUP: [Record(f"{{t}}-90", t.id, 90) for t in TILES]}})
        print("committed", flush=True)
"""


def start_writer(url: str, *, rounds: int) -> subprocess.Popen[str]:
    code = textwrap.dedent(WRITER).format(folder=str(Path(__file__).parent), rounds=rounds)
    return subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)


def await_lines(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout is not None
    for _ in range(count):
        assert process.stdout.readline() == "wrote\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "cube"))
    store.ensure_group(SCHEMA)
    commit(store, 80)
    return store


def test_killed_writer_leaves_the_last_commit_and_a_free_lock(store: Store) -> None:
    before = store.snapshot()
    with start_writer(store.url, rounds=200) as process:
        await_lines(process, 3)
        # alive, it keeps others out and says who it is
        with pytest.raises(
            StoreError, match=rf"another process is writing.*\"pid\": {process.pid}"
        ):
            store.begin()
        process.send_signal(signal.SIGKILL)
    fresh = Store.open(store.url)
    assert fresh.snapshot() == before
    check(fresh, 80, there=True)
    check(fresh, 90, there=False)
    commit(fresh, 90)
    check(Store.open(store.url), 90, there=True)
    check(store, 80, there=True)


def test_killed_at_any_moment_of_the_commit(store: Store) -> None:
    """A commit is there with all its tiles and records, or not at all."""
    for delay in (0.0, 0.003, 0.006, 0.01, 0.02):
        with start_writer(store.url, rounds=1) as process:
            await_lines(process, len(TILES))
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        fresh = Store.open(store.url)
        there = f"{TILES[0]}-90" in done(fresh)
        check(fresh, 90, there=there)
        if there:
            break
    check(Store.open(store.url), 80, there=True)
    commit(store, 91)
    check(store, 91, there=True)


def test_batch_lock_is_left_when_the_batch_ends(store: Store) -> None:
    with pytest.raises(StoreError, match="written twice"), store.begin() as batch:
        write(write(batch.fork(), TILES[0], 81), TILES[0], 81)
    with start_writer(store.url, rounds=1) as process:
        assert process.wait(60) == 0
    check(store, 90, there=True)
    # a run holds the repository between its batches too
    with store.writing():
        commit(store, 81)
        with start_writer(store.url, rounds=1) as process:
            assert process.wait(60) != 0
    check(store, 81, there=True)


@pytest.mark.parametrize("part", ["snapshots", "manifests", "refs/branch.main"])
def test_storage_that_fails_during_the_commit(store: Store, part: str) -> None:
    before = store.snapshot()
    folder = Path(store.url) / part
    aside = folder.with_name("aside")
    with store.begin() as batch:
        forks = [write(batch.fork(), tile, 81) for tile in TILES]
        folder.rename(aside)
        folder.write_text("a file where a folder should be")
        try:
            with pytest.raises(StoreError, match="commit failed") as caught:
                batch.commit(forks, {GROUP: [Record("k", TILES[0].id, 81)]})
        finally:
            folder.unlink()
            aside.rename(folder)
    assert caught.value.transient
    assert store.snapshot() == before
    check(Store.open(store.url), 81, there=False)
    commit(store, 81)
    check(store, 81, there=True)


def test_storage_that_fails_during_a_write(store: Store) -> None:
    chunks = Path(store.url) / "chunks"
    with store.begin() as batch:
        fork = batch.fork()
        chunks.rename(chunks.with_name("aside"))
        chunks.write_text("")
        try:
            with pytest.raises(StoreError, match="cannot be written") as caught:
                write(fork, TILES[0], 81)
        finally:
            chunks.unlink()
            chunks.with_name("aside").rename(chunks)
    assert caught.value.transient
    check(store, 81, there=False)


def test_workers_of_a_dask_cluster(store: Store) -> None:
    distributed = pytest.importorskip("distributed")
    for processes in (True, False):
        period = 82 + processes
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=processes, dashboard_address=":0"
            ) as cluster,
            distributed.Client(cluster) as client,
            store.begin() as batch,
        ):
            jobs = [client.submit(_work, batch.fork(), t.id, period, pure=False) for t in TILES]
            records = [Record(f"{tile}-{period}", tile.id, period) for tile in TILES]
            batch.commit(client.gather(jobs), {GROUP: records})
        check(store, period, there=True)


def _work(fork: Fork, tile: str, period: int) -> Fork:
    return write(fork, Tile.parse(tile), period)


def test_s3_round_trip(bucket: str) -> None:
    url = f"{bucket}/round/trip"
    with pytest.raises(StoreError, match="found no cube"):
        Store.open(url, create=False)
    store = Store.open(url)
    store.ensure_group(SCHEMA)
    commit(store, 80)
    fresh = Store.open(url, create=False)
    check(fresh, 80, there=True)
    assert fresh.groups() == (GROUP,)
    data = fresh.dataset(GROUP, tiles=TILES[:2])
    np.testing.assert_allclose(
        data.backscatter.isel(time=80, x=slice(512)).values, pixels(TILES[0], 80) / 100, rtol=1e-6
    )
    with start_writer(url, rounds=1) as process:
        assert process.wait(120) == 0
    check(store, 90, there=True)


def test_s3_writers_from_two_stores(bucket: str) -> None:
    """No lock there: disjoint batches are rebased, the same tile is refused."""
    url = f"{bucket}/two"
    one = Store.open(url)
    one.ensure_group(SCHEMA)
    two = Store.open(url)
    first, second = one.begin(), two.begin()
    forks = write(first.fork(), TILES[0], 80), write(second.fork(), TILES[1], 80)
    second.commit([forks[1]], {GROUP: [Record("b", TILES[1].id, 80)]})
    first.commit([forks[0]], {GROUP: [Record("a", TILES[0].id, 80)]})
    assert [record.key for record in one.records(GROUP).values()] == ["a", "b"]
    first, second = one.begin(), two.begin()
    forks = write(first.fork(), TILES[2], 80), write(second.fork(), TILES[2], 80)
    second.commit([forks[1]], {})
    with pytest.raises(StoreError, match="another writer committed the same tiles"):
        first.commit([forks[0]], {})


def test_secrets_stay_out_of_files_and_forks(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret0815")
    store = Store.open(f"{bucket}/secrets")
    store.ensure_group(SCHEMA)
    with store.begin() as batch:
        raw = pickle.dumps(write(batch.fork(), TILES[0], 80))
    assert b"topsecret" not in raw + pickle.dumps(store)


def test_lock_file_of_another_host_that_is_gone(store: Store) -> None:
    """What the file says does not matter: the kernel knows whether anyone holds it."""
    (Path(store.url) / "writer.lock").write_text('{"host": "elsewhere", "pid": 1}')
    commit(store, 81)
    assert f'"pid": {os.getpid()}' in (Path(store.url) / "writer.lock").read_text()
