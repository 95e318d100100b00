"""Search a catalog: whatever stands behind the address, the same item table comes out.

Servers differ in what they do with a filter: some obey, some ignore it, some answer
nothing at all. So each filter is applied here, on the client, and a search that answers
nothing is repeated with less. Cloud cover is not asked of the server at all: of a scene
whose newest processing is cloudy it would send an older, clearer one alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import shapely
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from terrascope.catalog.api import ApiSource
from terrascope.catalog.items import ItemRow, ItemTable
from terrascope.catalog.newest import keep_newest
from terrascope.catalog.outline import Outline, UnusableItemError, outline_item
from terrascope.catalog.provider import CollectionProfile, Profile
from terrascope.catalog.scene import read_item
from terrascope.catalog.static import is_static, iter_static_items, walk_tree
from terrascope.errors import CatalogError, ConfigError
from terrascope.types import Quarantine

__all__ = ["SearchResult", "search"]

_log = logging.getLogger(__name__)

_GAP_DEG = 10.0
_MAX_VERTICES = 100
_NAMED = 5
_KINDS = 40


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found, and what it had to say.

    Parameters
    ----------
    table : ItemTable
        The usable scenes.
    notes : tuple of str
        For the user: missing collections, repeated requests, replaced and skipped
        scenes, counts.
    skipped : tuple of Quarantine
        Items that matched or may have matched and cannot be used, with the field at fault.
    """

    table: ItemTable
    notes: tuple[str, ...]
    skipped: tuple[Quarantine, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Filter:
    """The client-side filters; every one is checked on every item."""

    aoi: BaseGeometry
    start: dt.date
    end: dt.date
    max_cloud: float | None
    orbits: frozenset[int] | None
    orbit_state: str | None

    def accepts(self, outline: Outline, sensor: str) -> bool:
        if not self.start <= outline.solar_day <= self.end:
            return False
        if sensor == "sentinel-1" and not self._accepts_radar(outline):
            return False
        return bool(self.aoi.intersects(outline.footprint))

    def is_clear(self, row: ItemRow) -> bool:
        """Tell whether a scene is clear enough, asked of the newest processing only.

        Processings of one acquisition differ in cloud cover: one that was replaced
        must not come back because the newer one is found too cloudy.
        """
        # A comparison with NaN is false: a scene of unknown cloud cover stays.
        cloudy = self.max_cloud is not None and row.cloud_percent > self.max_cloud
        return row.sensor != "sentinel-2" or not cloudy

    def _accepts_radar(self, outline: Outline) -> bool:
        if self.orbits is not None and outline.orbit not in self.orbits:
            return False
        return self.orbit_state is None or outline.orbit_state == self.orbit_state


def search(
    profile: Profile,
    *,
    aoi: BaseGeometry,
    start: dt.date,
    end: dt.date,
    sensors: Collection[str] | None = None,
    collections: Sequence[str] | None = None,
    url: str | None = None,
    max_cloud: float | None = None,
    orbits: Collection[int] | None = None,
    orbit_state: str | None = None,
) -> SearchResult:
    """Find the scenes of an area and a time.

    Parameters
    ----------
    profile : Profile
        Of the provider.
    aoi : shapely geometry
        EPSG:4326, longitudes in -180..180; any number of parts.
    start, end : datetime.date
        First and last solar day, both included.
    sensors : collection of str, optional
        Take the profile's first collection of each of these sensors.
    collections : sequence of str, optional
        Take these collections instead. Default: the first of every sensor.
    url : str, optional
        STAC API, static tree or item file, instead of the profile's.
    max_cloud : float, optional
        Greatest cloud cover of Sentinel-2 scenes in percent; scenes that do not
        state it are kept.
    orbits : collection of int, optional
        Relative orbits of Sentinel-1 scenes.
    orbit_state : {"ascending", "descending"}, optional
        Direction of Sentinel-1 scenes.

    Returns
    -------
    result : SearchResult
        An empty table if there is nothing; never an exception for a single bad item.

    Raises
    ------
    ValueError
        If `aoi` is empty or `end` lies before `start`.
    ConfigError
        If the profile refuses a collection, or knows none of them.
    CatalogError
        If the catalog cannot be searched; `transient` tells whether a retry can help.
    """
    if aoi.is_empty:
        raise ValueError("the AOI is empty")
    if end < start:
        raise ValueError(f"{start}/{end}: the end lies before the start")
    notes: list[str] = []
    wanted = _resolve_collections(profile, sensors, collections, notes)
    shapely.prepare(aoi)
    chosen = _Filter(
        aoi, start, end, max_cloud, None if orbits is None else frozenset(orbits), orbit_state
    )
    with contextlib.ExitStack() as opened:
        source = url or profile.url
        items = _items(profile, source, wanted, chosen=chosen, notes=notes, opened=opened)
        rows, skipped = _select(items, profile, wanted, chosen)
    newest, dropped = keep_newest(rows)
    kept = [row for row in newest if chosen.is_clear(row)]
    # Regions of one search overlap: meeting the very same item twice is no news.
    if replaced := [(old, new) for old, new in dropped if old != new]:
        notes.append(_listing("replaced by a newer processing", replaced))
    notes += _summaries(skipped, kept)
    notes = list(dict.fromkeys(notes))
    for note in notes:
        _log.info("%s: %s", profile.name, note)
    return SearchResult(ItemTable.from_rows(kept), tuple(notes), tuple(skipped))


def _resolve_collections(
    profile: Profile,
    sensors: Collection[str] | None,
    collections: Sequence[str] | None,
    notes: list[str],
) -> dict[str, CollectionProfile]:
    """Decide what to ask for; what the profile lacks is noted, what it refuses is an error."""
    if collections is None:
        wanted: dict[str, CollectionProfile] = {}
        for sensor in sorted({c.sensor for c in profile.collections}):
            if sensors is None or sensor in sensors:
                first = next(c for c in profile.collections if c.sensor == sensor)
                wanted[first.id] = first
        missing = set(sensors or ()) - {c.sensor for c in profile.collections}
    else:
        found = {name: profile.collection(name) for name in dict.fromkeys(collections)}
        wanted = {name: c for name, c in found.items() if c is not None}
        missing = set(found) - set(wanted)
    known = ", ".join(c.id for c in profile.collections)
    if not wanted:
        asked = ", ".join(sorted(missing)) or "nothing"
        raise ConfigError(
            f"found {asked}, expected one of {known}", file=profile.file or None, key="collections"
        )
    notes += [f"profile {profile.name} has no {name}; it has {known}" for name in sorted(missing)]
    return wanted


def _items(
    profile: Profile,
    source: str,
    wanted: dict[str, CollectionProfile],
    *,
    chosen: _Filter,
    notes: list[str],
    opened: contextlib.ExitStack,
) -> Iterator[dict[str, Any]]:
    """Open the source, whatever it is."""
    if is_static(source):
        return iter_static_items(source)
    api = ApiSource(source, profile.server)
    opened.callback(api.close)
    if not api.is_api:
        return walk_tree(source, api.read_json)
    present = []
    for name in wanted:
        if api.lacks(name):
            notes.append(f"{api.url} has no collection {name}")
        else:
            present.append(name)
    if not present:
        return iter(())
    one_day = dt.timedelta(days=1)  # solar days and UTC days differ by up to half a day
    window = f"{chosen.start - one_day}T00:00:00Z/{chosen.end + one_day}T23:59:59Z"
    # Each sensor has its own search.
    groups = [
        [name for name in present if wanted[name].sensor == sensor]
        for sensor in sorted({wanted[name].sensor for name in present})
    ]
    return itertools.chain.from_iterable(
        _ask(
            api,
            group,
            region,
            window=window,
            notes=notes,
        )
        for group in groups
        for region in _server_regions(chosen.aoi)
    )


def _ask(
    api: ApiSource,
    collections: list[str],
    region: BaseGeometry,
    *,
    window: str,
    notes: list[str],
) -> Iterator[dict[str, Any]]:
    """Search one region; an empty or refused answer is repeated with less asked of the server."""
    place: dict[str, Any] = {"intersects": mapping(region)}
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("intersects", place),
        ("bbox", {"bbox": list(region.bounds)}),
    ]
    for i, (name, query) in enumerate(attempts):
        found = api.items(collections=collections, datetime=window, **query)
        try:
            first = next(found, None)
        except CatalogError as error:
            if error.transient or i == len(attempts) - 1:
                raise
            notes.append(f"{api.url} refuses {name}; asked again without: {error}")
            continue
        if first is not None:
            if i:
                notes.append(f"{api.url} answers nothing to {attempts[i - 1][0]}; asked without")
            yield first
            yield from found
            return


def _server_regions(aoi: BaseGeometry) -> list[BaseGeometry]:
    """Cover an AOI by few simple shapes: parts far apart, as at the antimeridian, get their own.

    The client looks precisely; the server only has to leave the rest of the world out.
    """
    parts = sorted(shapely.get_parts(aoi), key=lambda part: float(part.bounds[0]))
    groups: list[list[BaseGeometry]] = []
    east = -999.0
    for part in parts:
        if part.bounds[0] > east + _GAP_DEG:
            groups.append([])
        groups[-1].append(part)
        east = max(east, float(part.bounds[2]))
    return [_simple_cover(shapely.geometrycollections(group)) for group in groups]


def _simple_cover(group: BaseGeometry) -> BaseGeometry:
    hull = group.convex_hull
    if hull.geom_type != "Polygon" or shapely.get_num_coordinates(hull) > _MAX_VERTICES:
        west, south, east, north = hull.bounds
        hull = box(west - 1e-6, south - 1e-6, east + 1e-6, north + 1e-6)
    return hull


def _select(
    items: Iterable[dict[str, Any]],
    profile: Profile,
    wanted: dict[str, CollectionProfile],
    chosen: _Filter,
) -> tuple[list[ItemRow], list[Quarantine]]:
    """Filter and read the items; one bad item costs itself only."""
    rows: list[ItemRow] = []
    skipped: list[Quarantine] = []
    only = next(iter(wanted.values())) if len(wanted) == 1 else None
    for item in items:
        stated = item.get("collection")
        collection = wanted.get(stated) if isinstance(stated, str) else only
        if collection is None:
            continue
        try:
            outline = outline_item(item)
            if chosen.accepts(outline, collection.sensor):
                rows.append(read_item(item, outline, profile, collection))
        except UnusableItemError as error:
            skipped.append(Quarantine(error.item, "*", f"{error.field}: {error.cause}"))
    return rows, sorted(set(skipped))


def _summaries(skipped: Sequence[Quarantine], kept: Sequence[ItemRow]) -> list[str]:
    """Say each kind of trouble once, with its count and the first few items."""
    notes = [
        f"skipped {count} item(s), {cause}: " + _some([q.item for q in skipped if q.cause == cause])
        for cause, count in sorted(Counter(q.cause for q in skipped).items())
    ]
    causes = Counter(note for row in kept for note in row.notes)
    for cause, count in sorted(causes.items()):
        names = [row.id for row in kept if cause in row.notes]
        notes.append(f"{count} scene(s): {cause}: {_some(names)}")
    more = len(notes) - _KINDS
    return notes[:_KINDS] + ([f"and {more} more kinds of note"] if more > 0 else [])


def _listing(what: str, pairs: Sequence[tuple[str, str]]) -> str:
    names = [f"{old} (by {new})" for old, new in sorted(pairs)]
    return f"{len(pairs)} scene(s) {what}: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
