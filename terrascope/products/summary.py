"""What a run found, as one value: everything the report says, and nothing that is not reproducible.

Two documents are made from it. ``report.json`` (`RunSummary.to_json`) depends on
the inputs alone: a run that was killed and started again writes the same bytes.
``run.json`` (`RunLog.to_json`) tells what happened: attempts, clocks, counts.

All strings that come from catalogs and files are untrusted; they are redacted
here (no secrets in addresses) and escaped where they are shown.

``report.json``, schema ``terrascope-report/1``: one object; areas in m2, shares
0..1, angles in degrees, days as ISO dates, unknown values null.

* ``monitor``, ``version``, ``commit``, ``schema``; ``settings``: the resolved monitor file
* ``area``: ``name``, ``area_m2``, ``bbox`` [w, s, e, n], ``tiles``, ``zones``, ``resolution_m``
* ``catalog``: ``profile``, ``url``; ``target``, ``baseline``: ``start``, ``end``; ``cadence``
* ``sensors``: list of ``sensor``, ``collection``, ``used``, ``reason``
* ``scenes``: list of ``sensor``, ``period``, ``role``, ``items``, ``cloud_percent``, ``count``
* ``completeness``: ``committed``, ``planned``, ``share``; ``observed_m2``, ``observed_share``
* ``totals``: list of ``status``, ``kind``, ``area_m2``, ``observed_share``
* ``regions``: list of ``name``, ``area_m2``, ``observed_share``, ``changed_m2``, ``events``
* ``events``: ``count``, ``area_m2``, ``min_area_ha``, ``largest``: list of event rows
* ``quality``: ``quarantined``, ``radiometry``, ``catalog``, ``masks``
* ``answers``: list of ``question``, ``answer``: the fields of
  `terrascope.monitor.answers.answer.Answer`, evidence included
* ``attribution``: list of str
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from terrascope.redact import redact_settings, redact_text, redact_url
from terrascope.types import ChangeKind, Quarantine, Status

if TYPE_CHECKING:
    from terrascope.products.answers import AnswerRow

__all__ = [
    "Area",
    "CatalogUse",
    "Completeness",
    "DataQuality",
    "DateRange",
    "EventRow",
    "EventTotals",
    "RegionTotal",
    "RunSummary",
    "SceneCount",
    "SensorUse",
    "Total",
    "dump_json",
    "publishable",
]


@dataclasses.dataclass(frozen=True)
class Area:
    """The ground that was asked for.

    Parameters
    ----------
    name : str
        As the analyst calls it; may be empty.
    area_m2 : float
        Geodesic area of the AOI.
    bbox : tuple of float
        West, south, east, north in degrees; west > east across the antimeridian.
    tiles, zones : tuple of str
        Ids, sorted.
    resolution_m : int
        Pixel size of the maps.
    """

    name: str
    area_m2: float
    bbox: tuple[float, float, float, float]
    tiles: tuple[str, ...]
    zones: tuple[str, ...]
    resolution_m: int


@dataclasses.dataclass(frozen=True)
class DateRange:
    """Days from `start` to `end`, both included.

    Parameters
    ----------
    start, end : datetime.date
        First and last day.
    spans : tuple of str
        Where it is not one span: each of them in words.
    """

    start: dt.date
    end: dt.date
    spans: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(self.spans) if len(self.spans) > 1 else f"{self.start} to {self.end}"


@dataclasses.dataclass(frozen=True)
class CatalogUse:
    """Where the scenes were searched.

    Parameters
    ----------
    profile : str
        Name of the catalog profile.
    url : str
        Its address; user, password and query string are taken out.
    """

    profile: str
    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", redact_url(self.url))


@dataclasses.dataclass(frozen=True)
class SensorUse:
    """A collection that was asked for, and whether the catalog had it.

    Parameters
    ----------
    sensor : str
        ``"sentinel-2"`` or ``"sentinel-1"``.
    collection : str
        Id in the catalog.
    used : bool
        False where it was absent or unusable.
    reason : str
        Why it was not used; empty where it was.
    """

    sensor: str
    collection: str
    used: bool
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class SceneCount:
    """The scenes of one sensor in one period of the cube.

    Parameters
    ----------
    sensor : str
        ``"sentinel-2"`` or ``"sentinel-1"``.
    period : str
        Period id, for instance ``2020-09``.
    role : str
        ``"target"`` or ``"baseline"``.
    items : tuple of str
        Item ids, sorted.
    cloud_percent : float or None
        Mean cloud cover stated by the catalog, None where it states none.
    """

    sensor: str
    period: str
    role: str
    items: tuple[str, ...]
    cloud_percent: float | None = None

    @property
    def count(self) -> int:
        """Number of scenes."""
        return len(self.items)


@dataclasses.dataclass(frozen=True)
class Completeness:
    """Work items committed of those planned that have at least one scene.

    Parameters
    ----------
    committed, planned : int
        Numbers of work items.
    """

    committed: int
    planned: int

    @property
    def share(self) -> float:
        """0..1; 1 where nothing was planned."""
        return self.committed / self.planned if self.planned else 1.0


@dataclasses.dataclass(frozen=True)
class Total:
    """Area in one status and kind.

    Parameters
    ----------
    status : Status
        Of the map.
    kind : ChangeKind
        Of the change; ``NONE`` where nothing changed.
    area_m2 : float
        Geodesic.
    observed_share : float
        Of the ground that the total speaks about, 0..1.
    """

    status: Status
    kind: ChangeKind
    area_m2: float
    observed_share: float


@dataclasses.dataclass(frozen=True)
class RegionTotal:
    """What was found in one named region.

    Parameters
    ----------
    name : str
        Of the region.
    area_m2 : float
        Its geodesic area inside the AOI.
    observed_share : float
        0..1.
    changed_m2 : float
        Area with a change of any kind.
    events : int
        Events that touch it.
    """

    name: str
    area_m2: float
    observed_share: float
    changed_m2: float
    events: int


@dataclasses.dataclass(frozen=True)
class EventRow:
    """One patch of change.

    Parameters
    ----------
    id : str
        Of the event.
    kind : ChangeKind
        What changed.
    status : Status
        Provisional, confirmed or closed.
    area_m2 : float
        Geodesic.
    detected_on : datetime.date or None
        Day of the first observation that shows it; None where only the target period is known.
    probability : float or None
        Mean change probability, 0..1.
    lon, lat : float
        A point inside it, in degrees.
    tiles : tuple of str
        Tiles that it touches.
    """

    id: str
    kind: ChangeKind
    status: Status
    area_m2: float
    detected_on: dt.date | None
    probability: float | None
    lon: float
    lat: float
    tiles: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class EventTotals:
    """All events, and the largest of them.

    Parameters
    ----------
    count : int
        Events of at least `min_area_ha`.
    area_m2 : float
        Their area together.
    min_area_ha : float
        Minimum area of an event.
    largest : tuple of EventRow
        By area, largest first.
    """

    count: int
    area_m2: float
    min_area_ha: float
    largest: tuple[EventRow, ...] = ()

    def __post_init__(self) -> None:
        order = sorted(self.largest, key=lambda row: (-row.area_m2, row.id))
        object.__setattr__(self, "largest", tuple(order))


@dataclasses.dataclass(frozen=True)
class DataQuality:
    """What an analyst must know before trusting the map.

    Parameters
    ----------
    quarantined : tuple of Quarantine
        Scenes left out, with the cause.
    radiometry : tuple of str
        Notes on offsets, units and coefficients.
    catalog : tuple of str
        Notes on what the catalog did (duplicates, filters, absent collections).
    masks : mapping of str to float
        Share of the observed ground by cloud mask (``scl``, ``spectral``, ``none``), 0..1.
    """

    quarantined: tuple[Quarantine, ...] = ()
    radiometry: tuple[str, ...] = ()
    catalog: tuple[str, ...] = ()
    masks: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quarantined", publishable(self.quarantined))
        for name in ("radiometry", "catalog"):
            object.__setattr__(self, name, tuple(redact_text(t) for t in getattr(self, name)))


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """A run's result, free of clocks, so that equal inputs give equal bytes.

    Parameters
    ----------
    monitor : str
        Name of the monitor.
    version : str
        Of terrascope.
    commit : str or None
        Git commit of the code (provenance), None where unknown.
    settings : mapping
        The resolved monitor file; secrets are hidden on construction.
    area : Area
        The ground asked for.
    catalog : CatalogUse
        Where the scenes came from.
    target, baseline : DateRange
        What was compared with what.
    cadence : str
        Of the composites, for instance ``P1M``.
    sensors : tuple of SensorUse
        Asked for; used or not.
    scenes : tuple of SceneCount
        By sensor and period.
    completeness : Completeness
        Of the work.
    observed_m2 : float
        Geodesic area observed in the target period, at most ``area.area_m2``.
    totals : tuple of Total
        By status and kind.
    events : EventTotals
        All events.
    quality : DataQuality
        Reservations.
    regions : tuple of RegionTotal
        Where the monitor file names regions.
    answers : tuple of AnswerRow
        To the monitor file's questions.
    attribution : tuple of str
        Sentences that the data's licences ask for, beside the Copernicus notice.
    """

    monitor: str
    version: str
    commit: str | None
    settings: Mapping[str, Any]
    area: Area
    catalog: CatalogUse
    target: DateRange
    baseline: DateRange
    cadence: str
    sensors: tuple[SensorUse, ...]
    scenes: tuple[SceneCount, ...]
    completeness: Completeness
    observed_m2: float
    totals: tuple[Total, ...]
    events: EventTotals
    quality: DataQuality = dataclasses.field(default_factory=DataQuality)
    regions: tuple[RegionTotal, ...] = ()
    answers: tuple[AnswerRow, ...] = ()
    attribution: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", redact_settings(self.settings))
        object.__setattr__(
            self, "totals", tuple(sorted(self.totals, key=lambda t: (t.status, t.kind)))
        )
        order = sorted(self.scenes, key=lambda s: (s.period, s.sensor, s.role))
        object.__setattr__(self, "scenes", tuple(order))

    @property
    def observed_share(self) -> float:
        """Ground observed / ground asked for, 0..1."""
        asked = self.area.area_m2
        return min(self.observed_m2 / asked, 1.0) if asked > 0 else 0.0

    @property
    def changed_m2(self) -> float:
        """Area of every pixel with a change, events below the minimum area included."""
        return math.fsum(t.area_m2 for t in self.totals if t.kind is not ChangeKind.NONE)

    @property
    def notices(self) -> tuple[str, ...]:
        """The Copernicus notice with the years of the scenes, then `attribution`."""
        years = sorted({scene.period[:4] for scene in self.scenes if scene.count})
        own = [f"Contains modified Copernicus Sentinel data [{', '.join(years)}]"] if years else []
        return tuple(dict.fromkeys([*own, *self.attribution]))

    def to_json(self) -> str:
        """Return ``report.json`` (schema in the module's docstring).

        Returns
        -------
        text : str
            UTF-8 JSON, two spaces of indent, ends in a newline.
        """
        document = _plain(self)
        document["schema"] = "terrascope-report/1"
        document["observed_share"] = self.observed_share
        document["attribution"] = self.notices
        document["completeness"]["share"] = self.completeness.share
        for row, scene in zip(document["scenes"], self.scenes, strict=True):
            row["count"] = scene.count
        return dump_json(document)


def publishable(quarantined: Iterable[Quarantine]) -> tuple[Quarantine, ...]:
    """Take the secrets out of what was left out.

    Parameters
    ----------
    quarantined : iterable of Quarantine
        Their causes and addresses come from catalogs and libraries.

    Returns
    -------
    cleaned : tuple of Quarantine
        Sorted, each once.
    """
    cleaned = {
        dataclasses.replace(q, cause=redact_text(q.cause), url=redact_url(q.url))
        for q in quarantined
    }
    return tuple(sorted(cleaned))


def dump_json(document: Mapping[str, Any]) -> str:
    """Return a JSON document whose bytes depend on its content alone.

    Parameters
    ----------
    document : mapping
        JSON-like; dataclasses, dates and enumerations are converted, NaN becomes null.

    Returns
    -------
    text : str
        Keys sorted, two spaces of indent, ends in a newline.
    """
    return (
        json.dumps(_plain(document), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        + "\n"
    )


def _plain(value: Any) -> Any:
    """Turn a tree of dataclasses into what `json` can write."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    if hasattr(value, "item"):  # numpy scalars
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
