from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.errors import StoreError
from terrascope.geo.tiles import Tile, Zone
from terrascope.periods import Cadence
from terrascope.store import (
    Layer,
    Record,
    Store,
    TileWriter,
    cube_schema,
    result_schema,
    write_tile,
)
from terrascope.store.layout import batch_index
from terrascope.store.window import read_window

ZONE = Zone(33, "N")
MONTH = Cadence.parse("P1M")
SCHEMA = cube_schema("sentinel-2", ZONE, 30, MONTH, ["nir", "red"])
GROUP = SCHEMA.path
SIZE = 512  # pixels of a tile at 30 m, 2 x 2 chunks of 256
TILE = Tile(ZONE, 30, 360)


def pixels(tile: Tile, period: int) -> np.ndarray:
    """Every pixel of every tile and period distinct, as far as int16 reaches."""
    seed = tile.column * 1000 + tile.row * 7 + period
    return np.random.default_rng(seed).integers(-500, 12000, (2, SIZE, SIZE)).astype("int16")


def arrays(tile: Tile, period: int) -> dict[str, np.ndarray]:
    values = pixels(tile, period)
    return {
        "reflectance": values,
        "observed": (values[0] % 5 + 1).astype("uint16"),
        "quality": (values[1] % 7 + 1).astype("uint8"),
    }


def commit(store: Store, items: Iterable[tuple[Tile, int]], group: str = GROUP) -> str:
    items = list(items)
    with store.begin() as batch:
        fork = batch.fork()
        for tile, period in items:
            write_tile(fork, group, tile, period, arrays(tile, period))
        records = [Record(f"{tile}-{period}", tile.id, period) for tile, period in items]
        return batch.commit([fork], {group: records})


def done(store: Store) -> set[str]:
    return {record.key for record in store.records(GROUP).values() if record.done}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "cube"))
    store.ensure_group(SCHEMA)
    return store


def test_round_trip_with_ledger(store: Store) -> None:
    snapshot = commit(store, [(TILE, 80)])
    assert snapshot == store.snapshot()
    for name, expected in arrays(TILE, 80).items():
        got = store.read_tile(GROUP, name, TILE, 80)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(
        store.read_tile(GROUP, "reflectance", TILE, slice(79, 82), bands=["nir"])[:, 0],
        [np.full((SIZE, SIZE), -32768), pixels(TILE, 80)[1], np.full((SIZE, SIZE), -32768)],
    )
    assert store.records(GROUP) == {(TILE.id, 80): Record(f"{TILE}-80", TILE.id, 80)}
    assert done(store) == {f"{TILE}-80"}
    assert store.groups() == (GROUP,)


def test_nothing_is_seen_before_the_commit_and_a_reader_keeps_its_own(store: Store) -> None:
    before = store.snapshot()
    held = store.at(before)
    with store.begin() as batch:
        write_tile(batch.fork(), GROUP, TILE, 80, arrays(TILE, 80))
        assert store.snapshot() == before
    commit(store, [(TILE, 81)])
    assert (store.read_tile(GROUP, "reflectance", TILE, 80) == -32768).all()
    assert (held.read_tile(GROUP, "reflectance", TILE, 81) == -32768).all()
    assert (store.read_tile(GROUP, "reflectance", TILE, 81) != -32768).all()
    again = pickle.loads(pickle.dumps(held))
    assert again.snapshot() == before
    assert again.records(GROUP) == {}
    with pytest.raises(StoreError, match="read only"):
        held.begin()
    with pytest.raises(StoreError, match="has ended"):
        batch.fork()


@pytest.mark.parametrize("whole", [True, False])
def test_sparse_tiles(store: Store, whole: bool) -> None:
    expected = np.full((2, SIZE, SIZE), -32768, dtype="int16")
    block = pixels(TILE, 1)[:, :256, :256]
    expected[:, 256:, :256] = block
    with store.begin() as batch:
        fork = batch.fork()
        given_arrays = {"reflectance": expected if whole else [(256, 0, block)], "observed": []}
        write_tile(fork, GROUP, TILE, 80, given_arrays)
        batch.commit([fork], {})
    np.testing.assert_array_equal(store.read_tile(GROUP, "reflectance", TILE, 80), expected)
    # written again with nothing in it: the former shard must not shine through
    with store.begin() as batch:
        fork = write_tile(batch.fork(), GROUP, TILE, 80, {"reflectance": []})
        batch.commit([fork], {})
    assert (store.read_tile(GROUP, "reflectance", TILE, 80) == -32768).all()


def test_a_shard_has_one_writer(store: Store) -> None:
    with store.begin() as batch:
        fork = write_tile(batch.fork(), GROUP, TILE, 80, arrays(TILE, 80))
        with pytest.raises(StoreError, match="written twice in one batch"):
            write_tile(fork, GROUP, TILE, 80, arrays(TILE, 80))
    with store.begin() as batch:
        forks = [write_tile(batch.fork(), GROUP, TILE, 80, arrays(TILE, 80)) for _ in range(2)]
        with pytest.raises(StoreError, match="written by two workers"):
            batch.commit(forks, {})
    assert store.records(GROUP) == {}


def test_arrays_that_do_not_fit_are_refused(store: Store) -> None:
    with store.begin() as batch:
        fork = batch.fork()
        for wrong, match in (
            ({"reflectance": np.zeros((2, 256, 256), "int16")}, "expected a whole tile"),
            ({"reflectance": np.zeros((2, SIZE, SIZE), "float32")}, "expected int16"),
            ({"observed": [(0, 128, np.ones((256, 256), "uint16"))]}, "whole chunks"),
        ):
            with pytest.raises(ValueError, match=match):
                write_tile(fork, GROUP, TILE, 80, wrong)
        with pytest.raises(StoreError, match="cannot be opened"):
            write_tile(fork, GROUP, TILE, 80, {"nonsense": np.zeros((SIZE, SIZE))})
        with pytest.raises(ValueError, match="another zone"):
            write_tile(fork, GROUP, Tile(Zone(32, "N"), 1, 1), 80, {})
        with pytest.raises(ValueError, match="time index"):
            write_tile(fork, GROUP, TILE, MONTH.length, {})
        with pytest.raises(ValueError, match="expected a path"):
            write_tile(fork, "../x", TILE, 0, {})
        # none of the refused writes took the tile
        batch.commit([write_tile(fork, GROUP, TILE, 80, arrays(TILE, 80))], {})
    assert (store.read_tile(GROUP, "observed", TILE, 80) > 0).all()


def test_a_cube_grown_afterwards_equals_one_built_at_once(tmp_path: Path) -> None:
    # an earlier month, a larger area, other batches, and tiles that share a square of the ledger
    near, far = Tile(ZONE, 31, 361), Tile(ZONE, 40, 300)
    parts = [[(TILE, 80)], [(TILE, 68)], [(far, 80), (near, 80)], [(near, 68), (far, 68)]]
    at_once = Store.open(str(tmp_path / "a"))
    at_once.ensure_group(SCHEMA)
    commit(at_once, [item for part in parts for item in part])
    grown = Store.open(str(tmp_path / "b"))
    for part in parts:
        Store.open(str(tmp_path / "b")).ensure_group(SCHEMA)
        commit(grown, part)
    assert grown.records(GROUP) == at_once.records(GROUP)
    assert list(grown.records(GROUP)) == list(at_once.records(GROUP))
    assert len(grown.records(GROUP)) == 6
    for tile in (TILE, near, far):
        place = (80, *batch_index(tile))
        texts = [str(s.root()[f"ledger/{GROUP}"][place]) for s in (grown, at_once)]
        assert texts[0] == texts[1] != ""
    for tile in (TILE, near, far):
        for name in arrays(TILE, 0):
            for period in (67, 68, 80):
                np.testing.assert_array_equal(
                    grown.read_tile(GROUP, name, tile, period),
                    at_once.read_tile(GROUP, name, tile, period),
                )


def test_a_record_replaces_the_former_one_of_its_tile(store: Store) -> None:
    commit(store, [(TILE, 80), (Tile(ZONE, 31, 360), 80)])
    with store.begin() as batch:
        batch.commit([], {GROUP: [Record("new", TILE.id, 80, state="failed")]})
    assert {tile: r.key for (tile, _), r in store.records(GROUP).items()} == {
        TILE.id: "new",
        "33N-0031-0360": "33N-0031-0360-80",
    }
    assert done(store) == {"33N-0031-0360-80"}
    snapshot = store.snapshot()
    with store.begin() as batch:
        assert batch.commit([], {}) == snapshot


def test_batches_of_one_process_may_overlap(store: Store) -> None:
    # the two tiles share one element of the ledger
    other = Tile(ZONE, 31, 360)
    first, second = store.begin(), store.begin()
    forks = [
        write_tile(batch.fork(), GROUP, tile, 80, arrays(tile, 80))
        for batch, tile in ((first, TILE), (second, other))
    ]
    second.commit([forks[1]], {GROUP: [Record("b", other.id, 80)]})
    first.commit([forks[0]], {GROUP: [Record("a", TILE.id, 80)]})
    assert [record.key for record in store.records(GROUP).values()] == ["a", "b"]
    for tile in (TILE, other):
        np.testing.assert_array_equal(
            store.read_tile(GROUP, "reflectance", tile, 80), pixels(tile, 80)
        )
    # the same tile is a conflict, said clearly, and changes nothing
    first, second = store.begin(), store.begin()
    old = write_tile(first.fork(), GROUP, TILE, 80, {"observed": []})
    new = write_tile(second.fork(), GROUP, TILE, 80, arrays(TILE, 80))
    second.commit([new], {})
    with pytest.raises(StoreError, match="another writer committed the same tiles") as caught:
        first.commit([old], {GROUP: [Record("z", TILE.id, 80)]})
    assert caught.value.transient
    assert (store.read_tile(GROUP, "observed", TILE, 80) > 0).all()
    assert store.records(GROUP)[TILE.id, 80].key == "a"


def test_forks_travel_and_are_small(store: Store) -> None:
    tiles = [Tile(ZONE, 30 + i, 360) for i in range(4)]

    def work(raw: bytes, tile: Tile) -> bytes:
        return pickle.dumps(write_tile(pickle.loads(raw), GROUP, tile, 80, arrays(tile, 80)))

    with store.begin() as batch, ThreadPoolExecutor(4) as pool:
        raw = [pickle.dumps(batch.fork()) for _ in tiles]
        back = list(pool.map(work, raw, tiles))
        assert max(map(len, raw)) < 5_000
        assert max(map(len, back)) < 100_000
        batch.commit([pickle.loads(one) for one in back], {})
    # threads of one process share a handle
    with store.begin() as batch, ThreadPoolExecutor(4) as pool:
        fork = batch.fork()
        jobs = [pool.submit(write_tile, fork, GROUP, t, 81, arrays(t, 81)) for t in tiles]
        batch.commit([job.result() for job in jobs], {})
    # a process that keeps its handle returns copies of it, each with more in it
    with store.begin() as batch:
        fork = batch.fork()
        copies = [
            pickle.loads(pickle.dumps(write_tile(fork, GROUP, tile, 82, arrays(tile, 82))))
            for tile in tiles
        ]
        batch.commit(copies, {})
    for tile in tiles:
        for period in (80, 81, 82):
            np.testing.assert_array_equal(
                store.read_tile(GROUP, "reflectance", tile, period), pixels(tile, period)
            )


def test_tile_writer_keeps_only_compressed_chunks(store: Store) -> None:
    values = pixels(TILE, 80)
    with store.begin() as batch:
        fork = batch.fork()
        writer = TileWriter(fork, GROUP, TILE, 80)
        for y in (256, 0):
            for x in (0, 256):
                writer.put("reflectance", y, x, values[:, y : y + 256, x : x + 256])
        writer.close()
        batch.commit([fork], {})
    np.testing.assert_array_equal(store.read_tile(GROUP, "reflectance", TILE, 80), values)


def test_groups_are_checked_and_extended(store: Store) -> None:
    snapshot = store.snapshot()
    assert store.ensure_group(SCHEMA) == GROUP
    assert store.snapshot() == snapshot
    with pytest.raises(StoreError, match=r"found bands red, nir, expected red, nir, swir16"):
        store.ensure_group(cube_schema("sentinel-2", ZONE, 30, MONTH, ["red", "nir", "swir16"]))
    numbers = cube_schema("sentinel-2", ZONE, 30, MONTH, ["red", "nir"], values="dn")
    store.ensure_group(numbers)
    assert store.read_tile(GROUP, "dn", TILE, 0).dtype == np.uint16
    run = {"zone": ZONE, "resolution_m": 30, "run_id": "x"}
    store.ensure_group(result_schema(**run))
    store.ensure_group(result_schema(**run, evidence=[Layer("ndvi", "float32", np.nan, "drop")]))
    assert np.isnan(store.read_tile("result/33N/r30/x", "ndvi", TILE)).all()
    with pytest.raises(StoreError, match="array ndvi is"):
        store.ensure_group(result_schema(**run, evidence=[Layer("ndvi", "int16", 0, "drop")]))
    with pytest.raises(StoreError, match="not in the cube"):
        store.read_tile(GROUP, "nonsense", TILE, 0)
    with pytest.raises(StoreError, match="has no band blue"):
        store.read_tile(GROUP, "reflectance", TILE, 0, bands=["blue"])
    with pytest.raises(StoreError, match="found no cube"):
        Store.open("/nonexistent/cube", create=False)
    with pytest.raises(StoreError, match="expected a path"):
        Store.open("ftp://somewhere/cube")


def test_the_attributes_of_a_group_follow_the_settings(store: Store) -> None:
    def declare(composite: str) -> str:
        bands, stated = ["red", "nir"], {"composite": composite, "halo": (1, 2)}
        store.ensure_group(cube_schema("sentinel-2", ZONE, 30, MONTH, bands, attributes=stated))
        return store.snapshot()

    commit(store, [(TILE, 0)])
    assert declare("median") == declare("median") != declare("medoid")
    attributes = store.root()[GROUP].attrs
    assert (attributes["composite"], attributes["resolution_m"]) == ("medoid", 30)
    found = store.read_tile(GROUP, "reflectance", TILE, 0)
    np.testing.assert_array_equal(found, pixels(TILE, 0))


def test_dataset_is_cropped_decoded_and_georeferenced(store: Store) -> None:
    east = Tile(ZONE, 31, 360)
    commit(store, [(TILE, 80), (east, 80)])
    data = store.dataset(
        GROUP, tiles=[TILE, east], times=(dt.date(2020, 9, 3), dt.date(2020, 10, 1))
    )
    assert dict(data.sizes) == {"time": 2, "band": 2, "y": SIZE, "x": 2 * SIZE}
    assert data.reflectance.dtype == np.float32
    assert data.reflectance.chunks == ((1, 1), (2,), (SIZE,), (SIZE, SIZE))
    assert list(data.band.values) == ["red", "nir"]
    assert [str(day)[:10] for day in data.time.values] == ["2020-09-01", "2020-10-01"]
    expected = np.concatenate([pixels(TILE, 80), pixels(east, 80)], axis=-1) / 1e4
    np.testing.assert_allclose(data.reflectance[0].values, expected, rtol=1e-6)
    assert np.isnan(data.reflectance[1].values).all()
    west, south, _, north = TILE.bounds
    assert (data.x.values[0], data.y.values[0]) == (west + 15, north - 15)
    assert data.y.values[-1] == south + 15
    assert data.spatial_ref.attrs["GeoTransform"].split() == [
        str(float(value)) for value in (west, 30, 0, north, 0, -30)
    ]
    assert 'ID["EPSG",32633]' in data.spatial_ref.attrs["crs_wkt"]
    # metres that are no multiple of tiles: chunks still end at the borders of shards
    bounds = (east.bounds[0] - 40.0, south, east.bounds[0] + 60.0, south + 29.0)
    raw = store.dataset(GROUP, bounds=bounds, decode=False)
    assert raw.reflectance.dtype == np.int16
    assert raw.reflectance.chunks[2:] == ((1,), (2, 2))
    assert raw.time.dtype.kind == "M"
    for wrong in ({}, {"tiles": [TILE], "bounds": bounds}, {"tiles": []}, {"bounds": (5, 5, 5, 5)}):
        with pytest.raises(ValueError, match=r"bounds|tiles"):
            store.dataset(GROUP, **wrong)
    with pytest.raises(StoreError, match="not in the cube"):
        store.dataset("sentinel-2/34N/r30/P1M", tiles=[Tile(Zone(34, "N"), 1, 1)])


def test_results_decode_dates_and_keep_codes(store: Store) -> None:
    group = store.ensure_group(result_schema(ZONE, 30, "2020-09-01_2020-09-30"))
    days = np.full((SIZE, SIZE), -(2**31), dtype="int32")
    days[5, 6] = 18_500
    with store.begin() as batch:
        fork = batch.fork()
        status = [(0, 256, np.zeros((256, 256), "uint8"))]
        write_tile(fork, group, TILE, 0, {"detected_on": days, "status": status})
        batch.commit([fork], {group: [Record("k", TILE.id, 0)]})
    data = store.dataset(group, tiles=[TILE], chunks=None)
    assert str(data.detected_on.values[5, 6])[:10] == "2020-08-26"
    assert np.isnat(data.detected_on.values).sum() == SIZE * SIZE - 1
    assert data.status.dtype == np.uint8
    assert (data.status.values == 255).sum() == SIZE * SIZE * 3 // 4
    raw = store.dataset(group, tiles=[TILE], decode=False)
    assert raw.detected_on.dtype == np.int32
    assert np.isnan(raw.confidence.values).all()


def test_any_zarr_reader_finds_pixels_and_no_ledger(store: Store) -> None:
    commit(store, [(TILE, 80)])
    group = store.root()[GROUP]
    assert isinstance(group, zarr.Group)
    assert set(group.array_keys()) == {
        *("reflectance", "observed", "quality"),
        *("time", "band", "y", "x", "spatial_ref"),
    }
    assert group.attrs["proj:code"] == "EPSG:32633"
    assert group["quality"].attrs["flag_meanings"].split()[:2] == ["scene", "cloud"]


CORNER = "sentinel-2/33N/r40/P1M"
SIDE, MARGIN = 384, 450  # pixels of a tile at 40 m, in 2 x 2 chunks


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, np.ndarray]:
    """Two periods of the north-western corner of a zone, with holes, and the same as one array."""
    store = Store.open(str(tmp_path_factory.mktemp("corner") / "cube"))
    store.ensure_group(cube_schema("sentinel-2", ZONE, 40, MONTH, ["red", "nir"]))
    dense = np.full((2, 2, 3 * SIDE + 2 * MARGIN, 3 * SIDE + 2 * MARGIN), -32768, dtype="int16")
    rng = np.random.default_rng(5)
    with store.begin() as batch:
        fork = batch.fork()
        for time, row, column in np.ndindex(2, 3, 3):
            if (time, row, column) in ((0, 1, 2), (1, 0, 0)):
                continue
            block = rng.integers(0, 9999, (2, SIDE, SIDE)).astype("int16")
            block[:, : SIDE // 2, SIDE // 2 :] = -32768 if row == column else 7
            top, left = MARGIN + row * SIDE, MARGIN + column * SIDE
            dense[time, :, top : top + SIDE, left : left + SIDE] = block
            write_tile(
                fork, CORNER, Tile(ZONE, column, 651 - row), 3 + time, {"reflectance": block}
            )
        batch.commit([fork], {})
    return store, dense


@settings(deadline=None, max_examples=40)
@given(
    row=st.integers(0, 1),
    column=st.integers(0, 1),
    halo=st.integers(0, MARGIN),
    bands=st.sampled_from([None, ["nir"], ["nir", "red"]]),
)
def test_halo_reads_equal_a_dense_array(corner, row: int, column: int, halo: int, bands) -> None:
    store, dense = corner
    top, left, side = MARGIN + row * SIDE - halo, MARGIN + column * SIDE - halo, SIDE + 2 * halo
    expected = dense[0, :, top : top + side, left : left + side]
    if bands:
        expected = expected[[["red", "nir"].index(band) for band in bands]]
    tile = Tile(ZONE, column, 651 - row)
    got = store.read_tile(CORNER, "reflectance", tile, 3, halo_px=halo, bands=bands)
    np.testing.assert_array_equal(got, expected)


@settings(deadline=None, max_examples=60)
@given(
    start=st.tuples(st.integers(-MARGIN, 2 * SIDE), st.integers(-MARGIN, 2 * SIDE)),
    size=st.tuples(st.integers(1, SIDE), st.integers(1, SIDE)),
    times=st.lists(st.sampled_from([3, 4]), max_size=3),
    bands=st.sampled_from([None, [1], [1, 0]]),
)
def test_windows_equal_a_dense_array(corner, start, size, times, bands) -> None:
    store, dense = corner
    rows, columns = (slice(a, a + n) for a, n in zip(start, size, strict=True))
    got = read_window(
        store.root(), f"{CORNER}/reflectance", rows, columns, times=times, bands=bands
    )
    cut = dense[[time - 3 for time in times]][:, bands or [0, 1]]
    y, x = start[0] + MARGIN, start[1] + MARGIN
    np.testing.assert_array_equal(got, cut[..., y : y + size[0], x : x + size[1]])


def test_damaged_objects_are_errors_and_not_missing_data(store: Store) -> None:
    commit(store, [(TILE, 80)])
    with pytest.raises(ValueError, match="time indices"):
        store.read_tile(GROUP, "reflectance", TILE, MONTH.length)
    path = max((Path(store.url) / "chunks").iterdir(), key=lambda file: file.stat().st_size)
    intact = path.read_bytes()
    for offset, match in ((-20, "does not match its checksum"), (0, "a chunk is damaged")):
        damaged = bytearray(intact)
        damaged[offset] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=match):
            store.read_tile(GROUP, "reflectance", TILE, 80)
    path.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        store.read_tile(GROUP, "reflectance", TILE, 80)


def test_expiry_keeps_the_data(store: Store) -> None:
    for period in (78, 79, 80):
        commit(store, [(TILE, period)])
    commit(store, [(TILE, 80)])
    files = sum(1 for _ in (Path(store.url) / "chunks").iterdir())
    kept = store.expire(keep=dt.timedelta(days=1))
    assert (kept.snapshots, kept.bytes) == (0, 0)
    gone = store.expire(keep=dt.timedelta(0))
    assert gone.snapshots >= 3
    assert gone.bytes > 0
    assert sum(1 for _ in (Path(store.url) / "chunks").iterdir()) < files
    fresh = Store.open(store.url)
    for period in (78, 79, 80):
        np.testing.assert_array_equal(
            fresh.read_tile(GROUP, "reflectance", TILE, period), pixels(TILE, period)
        )
    assert len(fresh.records(GROUP)) == 3
    commit(fresh, [(TILE, 81)])
    assert len(store.records(GROUP)) == 4
