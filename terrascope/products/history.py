"""Names of events that last: the patches of every run, and the names that follow from them.

Beside the products of a run lies ``tracks/FIRST_LAST.parquet``: its patches, by target. Names
are folded from these tables in order of time (`terrascope.products.tracking`) whenever a run is
published, so that they are those of runs made one after the other, whatever the order in which
they were made and however often: a run that is repeated replaces its own table.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from terrascope.errors import ProductError
from terrascope.products.tracking import Track, track_events

__all__ = ["TRACKS_FOLDER", "Name", "name_events", "names_over_time", "names_published"]

TRACKS_FOLDER = "tracks"
"""Of the output folder; no product: it holds what the next run has to know."""

_FILE = re.compile(r"(\d{4}-\d\d-\d\d)_(\d{4}-\d\d-\d\d)\.parquet")
_SCHEMA = pa.schema([("patch_id", pa.string()), ("geometry", pa.binary())])


@dataclasses.dataclass(frozen=True)
class Name:
    """What a patch of one run is called, and why.

    Parameters
    ----------
    event_id : str
        The same in every run that shows the event.
    first_seen : datetime.date
        Last day of the first run that showed it.
    parents : tuple of str
        Events whose ground it shared when it was first seen.
    absorbed : tuple of str
        Events that it has swallowed.
    """

    event_id: str
    first_seen: dt.date
    parents: tuple[str, ...] = ()
    absorbed: tuple[str, ...] = ()


def name_events(
    events: geopandas.GeoDataFrame, folder: Path, run_id: str
) -> geopandas.GeoDataFrame:
    """Keep the patches of a run, and give them the names that they have had so far.

    Parameters
    ----------
    events : geopandas.GeoDataFrame
        From `terrascope.products.events.find_events`.
    folder : Path
        Of the tables of all runs; made where absent.
    run_id : str
        First and last day of the target, ``"2020-09-01_2020-09-30"``.

    Returns
    -------
    events : geopandas.GeoDataFrame
        With `event_id`, `first_seen`, `parents` and `absorbed` from all runs whose target
        does not end later; sorted by `event_id`.

    Raises
    ------
    ProductError
        If the table of another run cannot be read.
    ValueError
        If `run_id` is not of that form.
    """
    file = folder / f"{run_id}.parquet"
    if _FILE.fullmatch(file.name) is None:
        raise ValueError(f"run id {run_id!r}: expected FIRST_LAST, as 2020-09-01_2020-09-30")
    _keep(dict(zip(events["patch_id"], events.geometry, strict=True)), file)
    names = next(found for run, found in names_over_time(folder, run_id) if run == run_id)
    return _with_names(events, names)


def names_over_time(
    folder: Path, last: str | None = None
) -> Iterator[tuple[str, Mapping[str, Name]]]:
    """Fold the tables of all runs in order of time.

    Parameters
    ----------
    folder : Path
        Of the tables.
    last : str or None
        The run to end with; None for all.

    Yields
    ------
    run_id : str
        First and last day of the target.
    names : dict of str to Name
        By patch of that run.

    Raises
    ------
    ProductError
        If a table cannot be read.
    """
    tracks: tuple[Track, ...] = ()
    for run_id, as_of in _runs(folder):
        patches = _read(folder / f"{run_id}.parquet")
        track_of, tracks = track_events(tracks, patches, as_of=as_of)
        yield run_id, _names(track_of, tracks)
        if run_id == last:
            return


def names_published(folder: Path) -> Mapping[str, Name] | None:
    """Read the names under which a run's events were published.

    Parameters
    ----------
    folder : Path
        Of its products.

    Returns
    -------
    names : dict of str to Name, or None
        By patch; None where nothing is published.
    """
    file = folder / "events.parquet"
    if not file.is_file():
        return None
    fields = ["patch_id", *(field.name for field in dataclasses.fields(Name))]
    try:
        rows = pq.read_table(file, columns=fields).to_pylist()
    except (OSError, pa.ArrowException, KeyError):
        return {}  # of an earlier version: without lasting names
    return {
        row["patch_id"]: Name(
            row["event_id"],
            dt.date.fromisoformat(row["first_seen"]),
            tuple(row["parents"]),
            tuple(row["absorbed"]),
        )
        for row in rows
    }


def _runs(folder: Path) -> list[tuple[str, dt.date]]:
    """List the runs in order of the last, then of the first day of their targets."""
    found = []
    for path in folder.glob("*.parquet"):
        if match := _FILE.fullmatch(path.name):
            first, last = (dt.date.fromisoformat(day) for day in match.groups())
            found.append((last, first, path.stem))
    return [(run_id, last) for last, _, run_id in sorted(found)]


def _names(track_of: Mapping[str, str], tracks: Sequence[Track]) -> dict[str, Name]:
    known = {track.id: track for track in tracks}
    absorbed: dict[str, list[str]] = {}
    for track in tracks:  # sorted by id
        if track.merged_into:
            absorbed.setdefault(track.merged_into, []).append(track.id)
    return {
        patch: Name(id_, known[id_].first_seen, known[id_].parents, tuple(absorbed.get(id_, ())))
        for patch, id_ in track_of.items()
    }


def _with_names(
    events: geopandas.GeoDataFrame, names: Mapping[str, Name]
) -> geopandas.GeoDataFrame:
    found = [names[patch] for patch in events["patch_id"]]
    named = events.assign(
        event_id=[name.event_id for name in found],
        first_seen=[str(name.first_seen) for name in found],
        parents=[list(name.parents) for name in found],
        absorbed=[list(name.absorbed) for name in found],
    )
    return named.sort_values("event_id", ignore_index=True)


def _keep(patches: Mapping[str, shapely.Geometry], file: Path) -> None:
    """Write a table in one step; one that says the same is left alone."""
    ids = sorted(patches)
    shapes = [shapely.to_wkb(patches[patch]) for patch in ids]
    table = pa.Table.from_arrays([pa.array(ids, pa.string()), pa.array(shapes)], schema=_SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    if file.is_file() and file.read_bytes() == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_bytes(content)
    part.replace(file)


def _read(file: Path) -> dict[str, shapely.Geometry]:
    try:
        columns = pq.read_table(file, schema=_SCHEMA).to_pydict()
        shapes = shapely.from_wkb(columns["geometry"])
    except (OSError, pa.ArrowException, shapely.errors.ShapelyError) as error:
        raise ProductError(
            f"{file}: cannot be read ({type(error).__name__}), and events take their names from "
            "it; delete it and run its period again"
        ) from error
    return dict(zip(columns["patch_id"], shapes, strict=True))
