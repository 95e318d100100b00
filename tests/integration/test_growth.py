"""A cube grown afterwards, in time or in space, equals one that was built at once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from terrascope.cube import ingest, units
from terrascope.cube.due import read_ledger, retract
from terrascope.cube.executor import ThreadExecutor
from terrascope.cube.units import ReaderSettings
from terrascope.errors import ReadError
from terrascope.geo.tiles import Tile
from terrascope.readers import Reader
from terrascope.readers._memory import MemoryReader
from terrascope.store import Store
from terrascope.types import Quarantine, SceneRef

from .patchwork import (
    COLUMN,
    PERIODS,
    ROW,
    SENSORS,
    TILES,
    ZONE,
    Patchwork,
    build,
    content,
    shared_content,
    shared_patchwork,
)

READER = ReaderSettings()


@pytest.fixture(scope="module")
def patchwork(tmp_path_factory: pytest.TempPathFactory) -> Patchwork:
    return shared_patchwork(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    return shared_content(tmp_path_factory.getbasetemp())


def test_an_earlier_month(
    patchwork: Patchwork, at_once: dict[tuple[str, ...], str], tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path / "cube"))
    later = {s: patchwork.plan(s, periods=PERIODS[1:]) for s in SENSORS}
    first = sum(build(store, patchwork.table, plan) for plan in later.values())
    whole = {s: patchwork.plan(s) for s in SENSORS}
    second = sum(build(store, patchwork.table, plan) for plan in whole.values())
    assert content(store) == at_once
    # one work item failed, and is tried again
    assert first + second == sum(map(len, whole.values())) + 1
    assert sum(build(store, patchwork.table, plan) for plan in whole.values()) == 1


def test_a_larger_area(
    patchwork: Patchwork, at_once: dict[tuple[str, ...], str], tmp_path: Path
) -> None:
    """The first area's tiles lie in blocks that the second area completes."""
    store = Store.open(str(tmp_path / "cube"))
    small = [t for t in TILES if t.column < COLUMN + 3 and t.row > ROW]
    plans = {s: patchwork.plan(s, tiles=small) for s in SENSORS}
    first = sum(build(store, patchwork.table, plan) for plan in plans.values())
    assert 0 < first == sum(map(len, plans.values()))
    for sensor in SENSORS:
        build(store, patchwork.table, patchwork.plan(sensor))
    assert content(store) == at_once


def test_a_withdrawn_scene_leaves_nothing_behind(patchwork: Patchwork, tmp_path: Path) -> None:
    """Build, take a pass out of the catalog, build again: as if it had never been there."""
    days = patchwork.table.frame["solar_day"].astype(str)
    less = Patchwork(patchwork.table.select((days != "2020-09-18").to_numpy()))
    again, fresh = (Store.open(str(tmp_path / name)) for name in ("again", "fresh"))
    build(again, patchwork.table, patchwork.plan("sentinel-2"))
    plan = less.plan("sentinel-2")
    assert len(plan) < len(patchwork.plan("sentinel-2"))
    assert retract(plan, again, read_ledger(plan, again)) > 0
    assert retract(plan, again, read_ledger(plan, again)) == 0
    build(again, less.table, plan)
    build(fresh, less.table, plan)
    assert pixels(again) == pixels(fresh)


def test_a_repetition_that_reads_less_changes_nothing(
    patchwork: Patchwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A passing failure, then a total one under the same key: the first result stays."""
    store = Store.open(str(tmp_path / "cube"))
    plan, table = patchwork.plan("sentinel-2"), patchwork.table
    build(store, table, plan)
    before = content(store)
    former = {  # as if a passing cause had left something out
        place: dataclasses.replace(
            record, quarantines=(Quarantine("x", "*", "503", transient=True),)
        )
        for place, record in read_ledger(plan, store).items()
    }
    scenes = [table.scene(row) for row in range(len(table))]
    gone = {
        asset.href: ReadError("503", item=scene.id, transient=True)
        for scene in scenes
        for asset in scene.assets.values()
    }
    monkeypatch.setattr(units, "_reader", lambda settings: MemoryReader(gone))
    for index in range(plan.n_batches):
        ingest.ingest_batch(
            plan, index, table, store, READER, ThreadExecutor(1), memory=2**32, ledger=former
        )
    after = content(store)
    assert {k: v for k, v in after.items() if "record" not in k} == {
        k: v for k, v in before.items() if "record" not in k
    }
    assert len(before) > 20


GUILTY = Tile(ZONE, COLUMN + 1, ROW + 1)


class Failing:
    """A reader with a mistake in it, which one place brings to light."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def read(
        self, scene: SceneRef, bands: Sequence[str], geobox: GeoBox, *, resampling: str
    ) -> Any:
        west, south, east, north = GUILTY.bounds
        column, row = ~geobox.affine * ((west + east) / 2, (south + north) / 2)
        if 0 <= column < geobox.shape.x and 0 <= row < geobox.shape.y:
            raise RuntimeError("a mistake of ours")
        return self.reader.read(scene, bands, geobox, resampling=resampling)


def test_a_tile_that_fails_does_not_take_its_square_with_it(
    patchwork: Patchwork,
    at_once: dict[tuple[str, ...], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tiles are read in squares; the guilty one alone is given up, and made up for later."""
    real, store = units._reader, Store.open(str(tmp_path / "cube"))
    plan = patchwork.plan("sentinel-2")
    group = "sentinel-2/33N/r120/P1M"
    expected = {key: value for key, value in at_once.items() if key[0] == group}
    with monkeypatch.context() as patch:
        patch.setattr(units, "_reader", lambda settings: Failing(real(settings)))
        build(store, patchwork.table, plan)
    found = content(store)
    assert found.keys() == expected.keys()
    differ = {key[1] for key in found if found[key] != expected[key]}
    assert differ == {GUILTY.id}
    for (tile, _), record in store.records(group).items():
        if tile == GUILTY.id:
            assert not record.done
            assert "RuntimeError: a mistake of ours" in record.quarantines[0].cause
    build(store, patchwork.table, plan)
    assert content(store) == expected


def pixels(store: Store) -> dict[tuple[str, ...], str]:
    """Digests of all arrays of all tiles and periods, recorded or not."""
    return {
        (group, name, tile.id, period.id): hashlib.sha256(
            np.ascontiguousarray(store.read_tile(group, name, tile, period.index)).tobytes()
        ).hexdigest()
        for group in store.groups()
        for name in ("reflectance", "observed", "quality")
        for tile in TILES
        for period in PERIODS
    }
