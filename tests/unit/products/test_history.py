"""Names that last over runs: growth, splits, merges; any order and any repetition of the runs."""

from __future__ import annotations

import itertools
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from terrascope.errors import ProductError
from terrascope.products.history import name_events, names_over_time, names_published

RUNS = tuple(
    f"2024-{month}-01_2024-{month}-{days}"
    for month, days in (("04", 30), ("05", 31), ("06", 30), ("07", 31))
)


def box(west: int, south: int, east: int, north: int) -> shapely.Geometry:
    """Ground in steps of 0.001 degree."""
    return shapely.box(*(0.001 * np.array([west, south, east, north])))


STORY = (
    {"a": box(0, 0, 10, 4), "s": box(30, 0, 32, 2)},
    {"p": box(0, 0, 3, 4), "q": box(4, 0, 10, 4)},  # the first split; the second rests
    {"p": box(0, 0, 3, 5), "q": box(4, 0, 12, 4), "s": box(30, 0, 33, 3)},  # all grow or wake
    {"o": box(0, 0, 12, 5), "s": box(29, 0, 33, 3)},  # merged
)
EXPECTED = (
    {"a": "a", "s": "s"},
    {"p": "p", "q": "a"},
    {"p": "p", "q": "a", "s": "s"},
    {"o": "a", "s": "s"},
)


def frame(patches: dict[str, shapely.Geometry]) -> geopandas.GeoDataFrame:
    ids = sorted(patches)
    columns = {
        "event_id": ids,
        "patch_id": ids,
        "first_seen": None,
        "parents": [[] for _ in ids],
        "absorbed": [[] for _ in ids],
    }
    shapes = [patches[name] for name in ids]
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326")


def named(folder: Path, number: int) -> geopandas.GeoDataFrame:
    return name_events(frame(STORY[number]), folder, RUNS[number])


def names(events: geopandas.GeoDataFrame) -> dict[str, str]:
    return dict(zip(events["patch_id"], events["event_id"], strict=True))


def test_a_story_of_growth_split_and_merge(tmp_path: Path) -> None:
    told = [named(tmp_path, number) for number in range(4)]
    assert [names(events) for events in told] == list(EXPECTED)
    split = told[1].set_index("event_id").loc["p"]
    assert (split.parents, split.first_seen) == (["a"], "2024-05-31")
    merged = told[3].set_index("event_id").loc["a"]
    assert (merged.absorbed, merged.first_seen) == (["p"], "2024-04-30")
    assert merged.geometry.equals(STORY[3]["o"])
    assert told[3]["event_id"].tolist() == ["a", "s"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[1::5])
def test_any_order_ends_in_the_same_names(tmp_path: Path, order: tuple[int, ...]) -> None:
    for number in order:
        named(tmp_path, number)
    found = dict(names_over_time(tmp_path))
    assert list(found) == list(RUNS)
    for number, run_id in enumerate(RUNS):
        ids = {patch: name.event_id for patch, name in found[run_id].items()}
        assert ids == EXPECTED[number]


def test_a_repeated_run_changes_nothing(tmp_path: Path) -> None:
    told = [named(tmp_path, number) for number in range(4)]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    for number in (1, 3, 0, 2, 2):
        again = named(tmp_path, number)
        assert again.to_json() == told[number].to_json()
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    assert after == before


def test_a_run_knows_no_later_one(tmp_path: Path) -> None:
    """What comes later does not change an earlier run's names, however it is folded."""
    alone = [names(named(tmp_path / "one", number)) for number in (0, 1)]
    for number in range(4):
        named(tmp_path / "all", number)
    assert [names(named(tmp_path / "all", number)) for number in (0, 1)] == alone


def test_a_corrected_run_replaces_its_table(tmp_path: Path) -> None:
    for number in range(3):
        named(tmp_path, number)
    corrected = frame({"z": box(50, 0, 51, 1)})  # nothing of the first month was there after all
    name_events(corrected, tmp_path, RUNS[0])
    found = dict(names_over_time(tmp_path))
    assert {p: n.event_id for p, n in found[RUNS[1]].items()} == {"p": "p", "q": "q"}
    assert {p: n.event_id for p, n in found[RUNS[2]].items()} == {"p": "p", "q": "q", "s": "s"}


def test_no_events_are_a_run_too(tmp_path: Path) -> None:
    named(tmp_path, 0)
    assert len(name_events(frame({}), tmp_path, RUNS[1])) == 0
    assert names(named(tmp_path, 2))["q"] == "a"  # it rested for a month


def test_complaints(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected FIRST_LAST"):
        name_events(frame({}), tmp_path, "../evil")
    named(tmp_path, 0)
    (tmp_path / f"{RUNS[0]}.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ProductError, match=r"2024-04-01_2024-04-30\.parquet: cannot be read"):
        named(tmp_path, 1)
    assert names_published(tmp_path / "nowhere") is None
    (tmp_path / "events.parquet").write_bytes(b"nothing")
    assert names_published(tmp_path) == {}
