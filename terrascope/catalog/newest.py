"""Duplicate and reprocessed scenes: of each acquisition the newest processing is kept."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable

import numpy as np
import shapely
from numpy.typing import NDArray

from terrascope.catalog.items import ItemRow

__all__ = ["keep_newest"]

_TOLERANCE = dt.timedelta(seconds=1)
_SAME_PLACE = 0.95
_BURST_IN_NAME = re.compile(r"T\d{3}-\d{6}-IW[123]", re.IGNORECASE)
_NEVER = dt.datetime(1, 1, 1, tzinfo=dt.UTC)


def keep_newest(rows: Iterable[ItemRow]) -> tuple[list[ItemRow], list[tuple[str, str]]]:
    """Keep one row per acquisition.

    Two rows are the same acquisition if sensor, platform, relative orbit and place
    agree and their times differ by less than a second (reprocessing moves the
    sensing time by milliseconds; neighbouring granules of one swath are seconds
    apart). The place is the Sentinel-2 tile or the Sentinel-1 burst; where neither
    is known, 95 % of the joint footprint must be common. Rows of unknown orbit or
    platform match any.

    Parameters
    ----------
    rows : iterable of ItemRow
        In any order.

    Returns
    -------
    kept : list of ItemRow
        The newest of each acquisition: highest baseline, then latest update, then
        greatest id (product names end in the time of processing).
    dropped : list of (str, str)
        Ids: the dropped row and the one kept instead.
    """
    ordered = sorted(rows, key=lambda row: (row.sensor, row.datetime, row.id))
    bounds = shapely.bounds([row.geometry for row in ordered]).reshape(-1, 4)
    replaced: dict[int, int] = {}
    start = 0
    for i, row in enumerate(ordered):
        while _is_past(ordered[start], row):
            start += 1
        best = i
        for j in start + np.flatnonzero(_overlap(bounds[start:i], bounds[i])):
            if j in replaced or not _same_acquisition(ordered[j], row):
                continue
            loser, best = (j, best) if _age(ordered[j]) <= _age(ordered[best]) else (best, int(j))
            replaced[int(loser)] = best
    kept = [row for i, row in enumerate(ordered) if i not in replaced]
    return kept, [(ordered[i].id, ordered[_last(replaced, i)].id) for i in replaced]


def _is_past(earlier: ItemRow, row: ItemRow) -> bool:
    return earlier.sensor != row.sensor or row.datetime - earlier.datetime >= _TOLERANCE


def _overlap(many: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which boxes (n, 4) touch the box (4,): cheap, so it comes first."""
    west, south, east, north = many.T
    touching: NDArray[np.bool_] = (
        (west <= one[2]) & (east >= one[0]) & (south <= one[3]) & (north >= one[1])
    )
    return touching


def _last(replaced: dict[int, int], index: int) -> int:
    while index in replaced:
        index = replaced[index]
    return index


def _same_acquisition(a: ItemRow, b: ItemRow) -> bool:
    if a.id == b.id and a.collection == b.collection:
        return True
    if "" not in (a.platform, b.platform) and a.platform != b.platform:
        return False
    if -1 not in (a.orbit, b.orbit) and a.orbit != b.orbit:
        return False
    place_a, place_b = _place(a), _place(b)
    if place_a and place_b:
        return place_a == place_b
    common = shapely.intersection(a.geometry, b.geometry).area
    return bool(common >= _SAME_PLACE * shapely.union(a.geometry, b.geometry).area)


def _place(row: ItemRow) -> str:
    if row.mgrs:
        return row.mgrs
    burst = _BURST_IN_NAME.search(row.id)
    return burst[0].upper() if burst else ""


def _age(row: ItemRow) -> tuple[tuple[int, ...], dt.datetime, str]:
    """Order by processing; text that is no version number counts as the oldest."""
    numbers = re.findall(r"\d+", row.baseline)
    return tuple(map(int, numbers)), row.updated or _NEVER, row.id
