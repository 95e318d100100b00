"""The ledger: which work items are in the cube, kept in the cube's own transactions.

Each group has one array of strings, ``ledger/<group>``, with the axes (time,
batch_y, batch_x). One element holds the records of an aligned square of 4 x 4
tiles in one period, a JSON object per line, sorted by tile; elements never
written cost nothing. A record becomes visible in the same commit as the pixels
it speaks of, or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from icechunk import Session
from zarr.core.sync import sync

from terrascope.geo.tiles import Tile
from terrascope.store.layout import BATCH_TILES, ZONE_COLUMNS, ZONE_ROWS, batch_index
from terrascope.store.template import find_array
from terrascope.types import Quarantine

__all__ = [
    "STATES",
    "Record",
    "create_ledger",
    "ledger_path",
    "read_ledger",
    "work_key",
    "write_records",
]

STATES = ("complete", "partial", "failed")
"""Everything was read; something was quarantined; nothing could be read."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One finished work item.

    Parameters
    ----------
    key : str
        Of the work item (`work_key`).
    tile : str
        Id of the tile.
    period : int
        Time index, 0 for results.
    state : {"complete", "partial", "failed"}
        See `STATES`. "failed" is not done: a later run tries again.
    scenes : int
        Scenes that went in.
    items : int
        STAC items that were planned for it.
    observed_share : float
        Ground observed / ground asked for, 0 to 1.
    quarantines : tuple of Quarantine
        What was left out, and why.
    facts : mapping
        More figures for the report, JSON values.
    """

    key: str
    tile: str
    period: int
    state: str = "complete"
    scenes: int = 0
    items: int = 0
    observed_share: float = 0.0
    quarantines: tuple[Quarantine, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state {self.state!r}: expected one of {', '.join(STATES)}")
        if self.period < 0:
            raise ValueError(f"period {self.period}: expected 0 or more")

    @property
    def done(self) -> bool:
        """Whether the work need not be repeated."""
        return self.state != "failed"

    def to_json(self) -> str:
        """Write the record as one line.

        Returns
        -------
        line : str
            Canonical JSON: equal records give equal text.
        """
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["quarantines"] = [list(dataclasses.astuple(q)) for q in self.quarantines]
        return _canonical(fields)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Read a line.

        Parameters
        ----------
        line : str
            As written by `to_json`.

        Returns
        -------
        record : Record
            The record.
        """
        fields = json.loads(line)
        fields["quarantines"] = tuple(Quarantine(*entry) for entry in fields["quarantines"])
        return cls(**fields)


def work_key(stage: str, version: int, settings: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Return the key of a work item: same key, same result.

    Parameters
    ----------
    stage : str
        Name of the stage.
    version : int
        Raised by hand when the stage's results change.
    settings : mapping
        Resolved settings of the stage, JSON values.
    inputs : sequence of str
        Keys or identities of the inputs; their order counts.

    Returns
    -------
    key : str
        32 hexadecimal digits (SHA-256, shortened).

    Raises
    ------
    ValueError
        If the settings hold NaN or infinity.
    TypeError
        If the settings hold what JSON does not know.
    """
    text = _canonical([stage, version, settings, list(inputs)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def ledger_path(group: str) -> str:
    """Return the path of a group's ledger.

    Parameters
    ----------
    group : str
        A checked group path.

    Returns
    -------
    path : str
        Beside the groups, so that a reader of the group sees only pixels.
    """
    return f"ledger/{group}"


def create_ledger(root: zarr.Group, group: str, *, time_length: int) -> None:
    """Create the empty ledger of a group, unless it is there.

    Parameters
    ----------
    root : zarr.Group
        Writable root of the repository.
    group : str
        A checked group path.
    time_length : int
        Steps of the group's time axis.
    """
    if ledger_path(group) in root:
        return
    root.create_array(
        ledger_path(group),
        shape=(time_length, -(-ZONE_ROWS // BATCH_TILES), -(-ZONE_COLUMNS // BATCH_TILES)),
        chunks=(1, 1, 1),
        dtype="string",
        fill_value="",
        dimension_names=("time", "batch_y", "batch_x"),
    )


def write_records(root: zarr.Group, group: str, records: Iterable[Record]) -> int:
    """Add records to a ledger; a record replaces the former one of its tile and period.

    Parameters
    ----------
    root : zarr.Group
        Writable root of the repository.
    group : str
        A checked group path.
    records : iterable of Record
        In any order.

    Returns
    -------
    count : int
        Of records added.
    """
    squares: dict[tuple[int, int, int], list[Record]] = {}
    for record in records:
        place = (record.period, *batch_index(Tile.parse(record.tile)))
        squares.setdefault(place, []).append(record)
    array = find_array(root, ledger_path(group))
    for place, added in squares.items():
        former = _parse(str(np.asarray(array[place]).item()))
        merged = {record.tile: record for record in (*former, *added)}
        array[place] = "\n".join(merged[tile].to_json() for tile in sorted(merged))
    return sum(map(len, squares.values()))


def read_ledger(session: Session, group: str) -> dict[tuple[str, int], Record]:
    """Read all records of a group.

    Parameters
    ----------
    session : icechunk.Session
        Of one snapshot.
    group : str
        A checked group path.

    Returns
    -------
    records : dict
        By (tile id, time index), sorted by time and tile.
    """
    path = ledger_path(group)
    places = sync(_collect(session, f"/{path}"))
    if not places:
        return {}
    array = find_array(zarr.open_group(session.store, mode="r"), path)
    axes = tuple(np.array(axis) for axis in zip(*sorted(places), strict=True))
    texts = np.atleast_1d(np.asarray(array.vindex[axes]))
    records = sorted(
        (record for text in texts for record in _parse(str(text))),
        key=lambda record: (record.period, record.tile),
    )
    return {(record.tile, record.period): record for record in records}


async def _collect(session: Session, path: str) -> list[tuple[int, ...]]:
    """List the elements that were ever written, without touching the others."""
    return [tuple(place) async for place in session.chunk_coordinates(path)]


def _parse(text: str) -> list[Record]:
    return [Record.from_json(line) for line in text.splitlines()]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: Any) -> dict[str, Any]:
    """Read-only mappings are written like dicts; anything else is the caller's mistake."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r}: not a JSON value")
