"""A cube grown afterwards, in time or in space, equals one that was built at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from terrascope.store import Store

from .patchwork import (
    COLUMN,
    PERIODS,
    ROW,
    SENSORS,
    TILES,
    Patchwork,
    build,
    content,
    shared_content,
    shared_patchwork,
)


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
