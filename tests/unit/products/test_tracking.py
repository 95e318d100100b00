"""Events over runs: stories told by hand, and independence of order."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
import shapely

from terrascope.products.tracking import track_events

RUNS = [dt.date(2020, month, 1) for month in (6, 7, 8, 9)]


def box(west: int, south: int, east: int, north: int) -> shapely.Geometry:
    """Ground in steps of 0.001 degree."""
    return shapely.box(*(0.001 * np.array([west, south, east, north])))


def story(*runs):
    tracks, told = (), []
    for day, events in zip(RUNS, runs, strict=False):
        of, tracks = track_events(tracks, events, as_of=day)
        told.append(of)
    return told, {track.id: track for track in tracks}


def test_an_event_that_grows_keeps_its_id_though_it_begins_elsewhere():
    told, tracks = story({"b": box(4, 4, 8, 8)}, {"a": box(3, 3, 9, 9)}, {"a": box(2, 2, 9, 9)})
    assert told == [{"b": "b"}, {"a": "b"}, {"a": "b"}]
    assert (tracks["b"].first_seen, tracks["b"].last_seen) == (RUNS[0], RUNS[2])


def test_a_split_leaves_the_id_with_the_larger_part_and_a_merge_with_the_larger_share():
    whole, small, large = box(0, 0, 10, 4), box(0, 0, 3, 4), box(4, 0, 10, 4)
    told, tracks = story({"w": whole}, {"p": small, "q": large}, {"w": whole})
    assert told[1] == {"p": "p", "q": "w"}
    assert tracks["p"].parents == ("w",)
    assert told[2] == {"w": "w"}
    assert (tracks["p"].merged_into, tracks["w"].merged_into) == ("w", "")


def test_touching_is_not_sharing_and_a_name_is_never_given_twice():
    told, tracks = story(
        {"a": box(0, 0, 2, 2)},
        {"b": box(2, 0, 4, 2)},
        {"a": box(5, 5, 6, 6)},
        {"x": box(0, 0, 2, 2)},
    )
    assert told[1:] == [{"b": "b"}, {"a": "a-2"}, {"x": "a"}]
    assert tracks["a"].last_seen == RUNS[3]
    assert all(not track.parents for track in tracks.values())


def test_order_and_repetition_change_nothing():
    rng = np.random.default_rng(8)

    def scatter(cells):
        """One box in each cell of a grid: patches of one run are apart."""
        side = 24 // cells
        low = rng.integers(0, 2, (cells, cells, 2))
        high = side - rng.integers(0, 2, (cells, cells, 2))
        return {
            f"e{i}{j}": box(
                *(side * np.array([i, j, i, j]) + np.concatenate([low[i, j], high[i, j]]))
            )
            for i in range(cells)
            for j in range(cells)
        }

    first, second = scatter(6), scatter(4)
    _, tracks = track_events((), first, as_of=RUNS[0])
    of, after = track_events(tracks, second, as_of=RUNS[1])
    shuffled = dict(rng.permutation(np.array(list(second.items()), dtype=object)).tolist())
    assert track_events(tracks[::-1], shuffled, as_of=RUNS[1]) == (of, after)
    assert track_events(after, second, as_of=RUNS[1]) == (of, after)
    assert len(set(of.values())) == len(second)
    by_id = {track.id: track for track in after}
    assert any(track.merged_into for track in after)
    for name, id_ in of.items():
        assert by_id[id_].geometry.equals(second[name])


def test_runs_come_in_order_of_time():
    _, tracks = track_events((), {"a": box(0, 0, 1, 1)}, as_of=RUNS[1])
    with pytest.raises(ValueError, match="order of time"):
        track_events(tracks, {}, as_of=RUNS[0])
