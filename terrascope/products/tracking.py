"""Events over runs: which patch of today is which patch of yesterday.

An event keeps its id while it grows, shrinks or moves on. Patches of two runs are the same
event where their ground overlaps; where several do, pairs are matched one to one, the largest
common area first. What is left over descends: a part that split off is a new event with its
parent named, and an event that another one swallowed ends and names it. An event that a run
does not show any more rests; its ground wakes it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import shapely

__all__ = ["Track", "track_events"]


@dataclasses.dataclass(frozen=True)
class Track:
    """One event as far as the runs have followed it.

    Parameters
    ----------
    id : str
        Kept for good, and never given to another event.
    geometry : shapely.Geometry
        Ground it covered when last seen, EPSG:4326.
    first_seen, last_seen : datetime.date
        First and latest run that showed it.
    parents : tuple of str
        Tracks whose ground it shared when it was first seen, sorted.
    merged_into : str
        Track that swallowed it; empty while it is followed.
    """

    id: str
    geometry: shapely.Geometry
    first_seen: dt.date
    last_seen: dt.date
    parents: tuple[str, ...] = ()
    merged_into: str = ""


def track_events(
    tracks: Sequence[Track], events: Mapping[str, shapely.Geometry], *, as_of: dt.date
) -> tuple[dict[str, str], tuple[Track, ...]]:
    """Follow events into the next run.

    Parameters
    ----------
    tracks : sequence of Track
        After the run before, in any order; empty at first.
    events : mapping of str to shapely.Geometry
        The run's patches by `event_id` (which says where a patch begins, so that it changes
        when the patch grows northward), EPSG:4326, split at the antimeridian.
    as_of : datetime.date
        Day of the run. The same day and events again change nothing.

    Returns
    -------
    track_of : dict of str to str
        Track of each event, by `event_id`.
    tracks : tuple of Track
        All tracks, sorted by id; the same whatever the order of tracks and events.

    Raises
    ------
    ValueError
        If a track was seen after `as_of`, or two tracks share an id.
    """
    known = {track.id: track for track in tracks}
    if len(known) < len(tracks):
        raise ValueError("two tracks share an id")
    latest = max((track.last_seen for track in tracks), default=as_of)
    if latest > as_of:
        raise ValueError(f"run of {as_of} after one of {latest}: expected runs in order of time")
    followed = sorted(id_ for id_, track in known.items() if not track.merged_into)
    names = sorted(events)
    overlaps = _overlaps([known[id_].geometry for id_ in followed], [events[n] for n in names])
    pairs = [(-area, followed[i], names[j]) for i, j, area in overlaps]
    track_of: dict[str, str] = {}
    continued: set[str] = set()
    for _, id_, name in sorted(pairs):
        if id_ not in continued and name not in track_of:
            track_of[name] = id_
            continued.add(id_)
    ancestors: dict[str, list[str]] = {name: [] for name in names}
    for _, id_, name in pairs:
        ancestors[name].append(id_)
    for name in names:
        if name in track_of:
            id_ = track_of[name]
            known[id_] = dataclasses.replace(known[id_], geometry=events[name], last_seen=as_of)
            continue
        id_ = _unused(name, known)
        parents = tuple(sorted(ancestors[name]))
        known[id_] = Track(id_, events[name], as_of, as_of, parents)
        track_of[name] = id_
    for _, id_, name in sorted(pairs):
        if id_ not in continued and not known[id_].merged_into:
            known[id_] = dataclasses.replace(known[id_], merged_into=track_of[name])
    return dict(sorted(track_of.items())), tuple(known[id_] for id_ in sorted(known))


def _overlaps(
    before: Sequence[shapely.Geometry], after: Sequence[shapely.Geometry]
) -> list[tuple[int, int, float]]:
    """Return the pairs that share ground, with the area they share.

    Areas are in square degrees: they are compared only among neighbours, where one is as
    long as the other.
    """
    if not before or not after:
        return []
    old, new = np.array(before, dtype=object), np.array(after, dtype=object)
    right, left = shapely.STRtree(old).query(new, predicate="intersects")
    areas = shapely.area(shapely.intersection(old[left], new[right]))
    return [
        (int(i), int(j), float(area))
        for i, j, area in zip(left, right, areas, strict=True)
        if area > 0
    ]


def _unused(name: str, known: Mapping[str, Track]) -> str:
    """Return the patch's name, numbered where an older event began at the same pixel."""
    candidate, number = name, 1
    while candidate in known:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
