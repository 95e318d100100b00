"""The monitor file: TOML in, one checked and frozen `MonitorSettings` out.

Every complaint names the file, the key, what was found and what was expected.
Nothing is written and nothing is searched before the whole file is sound.
"""

from __future__ import annotations

import calendar
import dataclasses
import datetime as dt
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from terrascope.errors import ConfigError
from terrascope.periods import EPOCH, Cadence, Period
from terrascope.sensors import S2_BANDS

if TYPE_CHECKING:
    from terrascope.kernels.alerts import AlertRules

__all__ = [
    "ModelChoice",
    "MonitorSettings",
    "TimeWindow",
    "load_monitor_file",
    "parse_memory",
    "parse_monitor",
]

_LAST = re.compile(r"last P([1-9]\d{0,3})([DM])")
_NUMBER_ERRORS = (
    *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
    *("float_type", "int_type", "finite_number"),
)
_SAME_SEASON = re.compile(r"same-season P([1-9]\d?)Y")
_DAYS = re.compile(r"P([1-9]\d{0,3})D")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Monitor(_Table):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Area(_Table):
    aoi: str | None = None
    bbox: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    regions: str | None = None
    resolution_m: Literal[10, 20, 30, 60, 120] = 10
    crs: str | None = None


class _Catalog(_Table):
    profile: str
    url: str | None = None


class _Time(_Table):
    target: str
    baseline: str
    cadence: str = "P1M"


class _Sensors(_Table):
    optical: str | None = None
    sar: str | None = None


class _Cube(_Table):
    composite: Literal["median", "medoid", "mean", "best", "first"] = "median"
    memory: str = "2 GiB"
    backend: Literal["stackstac", "odc-stac"] = "stackstac"
    mask: Literal["auto", "scl", "spectral", "none"] = "auto"
    mask_dilation_m: Annotated[int, Field(ge=0, le=1000)] = 60
    resampling: Literal["nearest", "bilinear"] = "bilinear"
    bands: list[str] | None = None
    max_cloud_percent: Annotated[float, Field(ge=0, le=100)] = 90.0


class _Screen(_Table):
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


class _Model(_Table):
    name: Annotated[str, Field(min_length=1)]
    budget: Any = "screened"
    audit: Annotated[int, Field(ge=0)] = 200
    micro_batch: Annotated[int, Field(ge=1, le=1024)] = 4


class _Alerts(_Table):
    confirm: str = "3 of 4"
    close_after: str = "P180D"


class _Question(_Table):
    text: Annotated[str, Field(min_length=1, max_length=500)]


class _Run(_Table):
    minimum_completeness: Annotated[float, Field(ge=0, le=1)] = 0.95


class _Output(_Table):
    path: Annotated[str, Field(min_length=1)]
    min_area_ha: Annotated[float, Field(ge=0)] = 0.5


class _File(_Table):
    monitor: _Monitor
    area: _Area
    catalog: _Catalog
    time: _Time
    sensors: _Sensors
    cube: _Cube = Field(default_factory=_Cube)
    screen: _Screen = Field(default_factory=_Screen)
    model: _Model | None = None
    alerts: _Alerts | None = None
    questions: list[_Question] = Field(default_factory=list)
    run: _Run = Field(default_factory=_Run)
    output: _Output


@dataclasses.dataclass(frozen=True)
class TimeWindow:
    """One or several spans of days.

    Parameters
    ----------
    text : str
        As written in the monitor file.
    spans : tuple of (datetime.date, datetime.date)
        First and last day of each span, in order of time.
    """

    text: str
    spans: tuple[tuple[dt.date, dt.date], ...]

    def periods(self, cadence: Cadence) -> tuple[Period, ...]:
        """Return the periods touched by any of the spans.

        Parameters
        ----------
        cadence : Cadence
            Of the cube; spans are widened to whole periods.

        Returns
        -------
        periods : tuple of Period
            In order of time, without repetition.
        """
        found = {p for start, end in self.spans for p in cadence.periods(start, end)}
        return tuple(sorted(found))


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """The ``[model]`` table: which model looks at what the screen found.

    Parameters
    ----------
    name : str
        Absolute path of a folder, or ``NAME@promoted``.
    budget : str or float
        ``"all"`` windows, the ``"screened"`` ones, or a share of all windows, above 0 to 1.
    audit : int
        Windows looked at among those left out, to know what was given up.
    micro_batch : int
        Windows that are run together.
    """

    name: str
    budget: str | float
    audit: int
    micro_batch: int


@dataclasses.dataclass(frozen=True)
class MonitorSettings:
    """A monitor file, checked, with its relative words resolved to dates and paths.

    Parameters
    ----------
    file : str
        Where it was read; empty for a mapping.
    name : str
        Safe for paths.
    aoi : str or None
        Absolute path of the AOI file.
    bbox : tuple of float or None
        West, south, east, north in degrees.
    regions : str or None
        Absolute path of a polygon file.
    resolution_m : int
        Pixel size.
    crs : str or None
        Of the regional mosaic; None picks the zone's, or EPSG:6933 across zones.
    profile : str
        Name or path of a catalog profile.
    url : str or None
        Overrides the profile's endpoint.
    target, baseline : TimeWindow
        What is compared with what.
    cadence : Cadence
        Of the composites.
    optical, sar : str or None
        Collections; at least one is given.
    composite, backend, mask, resampling : str
        See `terrascope.cube.spec.CubeSpec` and `terrascope.readers`.
    mask_dilation_m : int
        Growth of the cloud mask in metres.
    bands : tuple of str or None
        Optical bands of the cube; None takes what the screen uses and most scenes have.
    max_cloud_percent : float
        Scenes above it are not read.
    memory : int
        Bytes per worker.
    threshold : float
        Probability from which a pixel is change.
    minimum_completeness : float
        The run fails below it.
    output : str
        Absolute path or object store URL.
    min_area_ha : float
        Smallest event.
    alerts : AlertRules or None
        Of the fold of single dates; None compares target and baseline as wholes.
    model : ModelChoice or None
        None screens only.
    questions : tuple of str
        Asked about the region, answered in the report.
    """

    file: str
    name: str
    aoi: str | None
    bbox: tuple[float, float, float, float] | None
    regions: str | None
    resolution_m: int
    crs: str | None
    profile: str
    url: str | None
    target: TimeWindow
    baseline: TimeWindow
    cadence: Cadence
    optical: str | None
    sar: str | None
    composite: str
    backend: str
    mask: str
    resampling: str
    mask_dilation_m: int
    bands: tuple[str, ...] | None
    max_cloud_percent: float
    memory: int
    threshold: float
    minimum_completeness: float
    output: str
    min_area_ha: float
    alerts: AlertRules | None = None
    model: ModelChoice | None = None
    questions: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """First and last day of the target: names the result group."""
        return f"{self.target.spans[0][0]}_{self.target.spans[-1][1]}"

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON-ready mapping, for `run.json` and the report.

        Returns
        -------
        settings : dict
            Plain values. Holds no secrets: a monitor file has none.
        """
        values = dataclasses.asdict(self)
        values["cadence"] = str(self.cadence)
        if self.alerts is None:
            del values["alerts"]
        if self.model is None:
            del values["model"]
        if not self.questions:
            del values["questions"]
        for key in ("target", "baseline"):
            window: TimeWindow = getattr(self, key)
            values[key] = {
                "text": window.text,
                "spans": [f"{start}/{end}" for start, end in window.spans],
            }
        return values


def load_monitor_file(
    path: str | Path, *, today: dt.date | None = None, target: str | None = None
) -> MonitorSettings:
    """Read and check a monitor file.

    Parameters
    ----------
    path : path-like
        A TOML file; the paths in it are relative to its folder.
    today : datetime.date, optional
        What ``last P1M`` counts from; default the current UTC date.
    target : str, optional
        Stands in the place of the file's ``time.target``, as a backfill needs it.

    Returns
    -------
    settings : MonitorSettings
        Checked and resolved.

    Raises
    ------
    ConfigError
        If the file cannot be read, or any key of it is unknown, missing or wrong.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read ({error}); give a monitor file"
        raise ConfigError(message, file=str(path)) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}", file=str(path)) from error
    if target is not None and isinstance(document.get("time"), dict):
        document["time"]["target"] = target
    return parse_monitor(document, file=str(path), base=path.resolve().parent, today=today)


def parse_monitor(
    document: dict[str, Any],
    *,
    file: str = "",
    base: Path | None = None,
    today: dt.date | None = None,
) -> MonitorSettings:
    """Check a monitor file's content.

    Parameters
    ----------
    document : dict
        As `tomllib` returns it.
    file : str
        Named in complaints.
    base : pathlib.Path, optional
        What relative paths are relative to; default the current folder.
    today : datetime.date, optional
        What ``last P1M`` counts from; default the current UTC date.

    Returns
    -------
    settings : MonitorSettings
        Checked and resolved.

    Raises
    ------
    ConfigError
        If any key is unknown, missing or wrong.
    """
    try:
        raw = _File.model_validate(document)
    except pydantic.ValidationError as error:
        raise _config_error(error, file) from error
    base = base or Path.cwd()
    today = today or dt.datetime.now(dt.UTC).date()
    _check_area(raw.area, file)
    if raw.sensors.optical is None and raw.sensors.sar is None:
        raise ConfigError(
            "found neither optical nor sar; expected at least one collection",
            file=file,
            key="sensors",
        )
    target = _resolve_target(raw.time.target, today, file)
    _check_days(target, today, file, "time.target")
    baseline = _resolve_baseline(raw.time.baseline, target, file)
    _check_days(baseline, today, file, "time.baseline")
    cadence = _parse_cadence(raw.time.cadence, file)
    overlap = set(target.periods(cadence)) & set(baseline.periods(cadence))
    if overlap:
        raise ConfigError(
            f"target {raw.time.target!r} and baseline share the period {min(overlap)}; "
            "expected two windows without a common period",
            file=file,
            key="time.baseline",
        )
    return MonitorSettings(
        file=file,
        name=raw.monitor.name,
        aoi=_resolve_path(raw.area.aoi, base),
        bbox=(*raw.area.bbox,) if raw.area.bbox else None,  # type: ignore[arg-type]
        regions=_resolve_path(raw.area.regions, base),
        resolution_m=raw.area.resolution_m,
        crs=_check_crs(raw.area.crs, file),
        profile=_resolve_profile(raw.catalog.profile, base),
        url=_resolve_catalog_url(raw.catalog.url, base),
        target=target,
        baseline=baseline,
        cadence=cadence,
        optical=raw.sensors.optical,
        sar=raw.sensors.sar,
        composite=raw.cube.composite,
        backend=raw.cube.backend,
        mask=raw.cube.mask,
        resampling=raw.cube.resampling,
        mask_dilation_m=raw.cube.mask_dilation_m,
        bands=_check_bands(raw.cube.bands, file),
        max_cloud_percent=raw.cube.max_cloud_percent,
        memory=parse_memory(raw.cube.memory, file=file, key="cube.memory"),
        threshold=raw.screen.threshold,
        minimum_completeness=raw.run.minimum_completeness,
        output=_resolve_output(raw.output.path, base, file),
        min_area_ha=raw.output.min_area_ha,
        alerts=_resolve_alerts(raw, cadence, file),
        model=_model_choice(raw.model, base, file),
        questions=tuple(question.text for question in raw.questions),
    )


def parse_memory(text: str, *, file: str = "", key: str = "memory") -> int:
    """Read an amount of memory.

    Parameters
    ----------
    text : str
        ``"2 GiB"``, ``"512MB"``... as Dask writes it.
    file, key : str
        Named in complaints.

    Returns
    -------
    size : int
        Bytes, at least 256 MiB.

    Raises
    ------
    ConfigError
        If `text` is no amount of memory, or too little to hold one block.
    """
    from dask.utils import parse_bytes

    try:
        size = parse_bytes(text)
    except (ValueError, OverflowError) as error:
        message = f"found {text!r}; expected for instance '2 GiB'"
        raise ConfigError(message, file=file, key=key) from error
    if size < 256 * 2**20:
        raise ConfigError(
            f"found {text!r}; expected at least 256 MiB, the least that holds one block",
            file=file,
            key=key,
        )
    return size


def _model_choice(raw: _Model | None, base: Path, file: str) -> ModelChoice | None:
    """Resolve the model's folder and check the budget."""
    if raw is None:
        return None
    budget = raw.budget
    share = isinstance(budget, int | float) and not isinstance(budget, bool) and 0 < budget <= 1
    if not share and budget not in ("all", "screened"):
        raise ConfigError(
            f"found {budget!r}; expected 'all', 'screened', or a share above 0 and up to 1",
            file=file,
            key="model.budget",
        )
    name = raw.name if "@" in raw.name else _resolve_path(raw.name, base) or raw.name
    return ModelChoice(name, float(budget) if share else str(budget), raw.audit, raw.micro_batch)


def _config_error(error: pydantic.ValidationError, file: str) -> ConfigError:
    """Turn pydantic's first complaint into one sentence: key, found, expected."""
    complaints = error.errors(include_url=False)
    first = complaints[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return ConfigError(
            f"unknown key (found {first['input']!r}); expected one of: "
            f"{', '.join(_known_keys(first['loc'][:-1]))}",
            file=file,
            key=key,
        )
    if first["type"] == "missing":
        beside = [
            repr(other["loc"][-1])
            for other in complaints
            if other["type"] == "extra_forbidden" and other["loc"][:-1] == first["loc"][:-1]
        ]
        misspelt = f"; found the unknown {', '.join(beside)} beside it" if beside else ""
        return ConfigError(f"is missing; expected a value{misspelt}", file=file, key=key)
    expected = _expected_number(first["loc"]) if first["type"] in _NUMBER_ERRORS else ""
    expected = expected and f"expected {expected}"
    return ConfigError(
        f"found {first['input']!r}; {expected or 'expected: ' + first['msg']}", file=file, key=key
    )


def _expected_number(location: tuple[int | str, ...]) -> str:
    """Say what range of numbers a key takes; empty where it states none."""
    model: type[BaseModel] = _File
    for part in location[:-1]:
        table = _table_of(model.model_fields.get(str(part), Field()).annotation)
        if table is None:
            return ""
        model = table
    field = model.model_fields[str(location[-1])]
    bounds = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(limit, name, None) is not None
    }
    kind = "a whole number" if field.annotation is int else "a number"
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if low is not None and high is not None:
        ends = " (ends excluded)" if "gt" in bounds else ""
        return f"{kind} between {low} and {high}{ends}"
    if low is None:
        return ""
    return f"{kind} of at least {low}" if "ge" in bounds else f"{kind} greater than {low}"


def _table_of(annotation: Any) -> type[BaseModel] | None:
    """Return the table that a key holds, also one that may be left out."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = _File
    for part in location:
        if isinstance(part, str):  # a number is the place in a list of tables
            model = _table_of(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _check_area(area: _Area, file: str) -> None:
    if (area.aoi is None) == (area.bbox is None):
        found = "both aoi and bbox" if area.aoi is not None else "neither aoi nor bbox"
        raise ConfigError(f"found {found}; expected one of them", file=file, key="area")
    if area.bbox is None:
        return
    _, south, _, north = area.bbox
    if not all(abs(v) <= limit for v, limit in zip(area.bbox, (180, 90, 180, 90), strict=True)):
        raise ConfigError(
            f"found {area.bbox}; expected [west, south, east, north] in degrees, inside the world",
            file=file,
            key="area.bbox",
        )
    if south >= north:
        raise ConfigError(
            f"found south {south} not below north {north}; expected [west, south, east, north]",
            file=file,
            key="area.bbox",
        )


def _check_crs(crs: str | None, file: str) -> str | None:
    import pyproj

    if crs is None:
        return None
    if re.fullmatch(r"EPSG:\d{4,6}", crs) is None:
        raise ConfigError(
            f"found {crs!r}; expected for instance 'EPSG:6933'", file=file, key="area.crs"
        )
    try:
        pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise ConfigError(
            f"found {crs!r}, which is no known CRS; expected for instance 'EPSG:6933'",
            file=file,
            key="area.crs",
        ) from error
    return crs


def _check_bands(bands: list[str] | None, file: str) -> tuple[str, ...] | None:
    if bands is None:
        return None
    unknown = [band for band in bands if band not in S2_BANDS]
    if unknown or not bands:
        raise ConfigError(
            f"found {unknown or bands}; expected some of: {', '.join(S2_BANDS)}",
            file=file,
            key="cube.bands",
        )
    if "red" not in bands or not {"nir", "nir08"} & set(bands):
        raise ConfigError(
            f"found {bands}; the screen needs red and one of nir, nir08",
            file=file,
            key="cube.bands",
        )
    return tuple(band for band in S2_BANDS if band in bands)


def _resolve_alerts(raw: _File, cadence: Cadence, file: str) -> AlertRules | None:
    """Read the rules of the alerts, which need a cube of single days."""
    if raw.alerts is None:
        return None
    from terrascope.kernels.alerts import AlertRules

    if str(cadence) != "P1D":
        raise ConfigError(
            f"found {str(cadence)!r} beside [alerts]; expected 'P1D': alerts fold single dates",
            file=file,
            key="time.cadence",
        )
    days = _DAYS.fullmatch(raw.alerts.close_after)
    if days is None:
        raise ConfigError(
            f"found {raw.alerts.close_after!r}; expected for instance 'P180D'",
            file=file,
            key="alerts.close_after",
        )
    try:
        return AlertRules.parse(
            raw.alerts.confirm,
            close_after_days=int(days[1]),
            threshold=raw.screen.threshold,
        )
    except ValueError as error:
        raise ConfigError(
            f"found {raw.alerts.confirm!r}; expected for instance '3 of 4', up to 8",
            file=file,
            key="alerts.confirm",
        ) from error


def _resolve_path(path: str | None, base: Path) -> str | None:
    return None if path is None else str(base / path)


def _resolve_output(path: str, base: Path, file: str) -> str:
    """Return an absolute path that can be a folder, or an address."""
    if "://" in path:
        return path
    output = base / path
    nearest = next(p for p in (output, *output.parents) if os.path.lexists(p))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "is no folder" if not nearest.is_dir() else "may not be written to"
        raise ConfigError(
            f"found {path!r}, but {nearest} {why}; expected a folder to write into",
            file=file,
            key="output.path",
        )
    return str(output)


def _resolve_profile(profile: str, base: Path) -> str:
    """Take a word for the name of a profile, anything with a suffix or a slash for a path."""
    return str(base / profile) if profile.endswith(".toml") or "/" in profile else profile


def _resolve_catalog_url(url: str | None, base: Path) -> str | None:
    return url if url is None or "://" in url else str(base / url)


def _parse_cadence(text: str, file: str) -> Cadence:
    try:
        return Cadence.parse(text)
    except ValueError as error:
        message = f"found {text!r}; expected P<n>D or P<n>M"
        raise ConfigError(message, file=file, key="time.cadence") from error


def _resolve_target(text: str, today: dt.date, file: str) -> TimeWindow:
    """Read a pair of days, or ``last P<n>D`` / ``last P<n>M`` (the last whole months)."""
    match = _LAST.fullmatch(text.strip())
    if match is None:
        return TimeWindow(text, (_parse_span(text, file, "time.target", "'last P1M'"),))
    count = int(match[1])
    if match[2] == "D":
        return TimeWindow(text, ((today - dt.timedelta(days=count), today - dt.timedelta(days=1)),))
    end = today.replace(day=1) - dt.timedelta(days=1)
    return TimeWindow(text, ((_shift_months(end.replace(day=1), 1 - count), end),))


def _resolve_baseline(text: str, target: TimeWindow, file: str) -> TimeWindow:
    """Read a pair of days, or ``same-season P<n>Y``: the target's days, n years before."""
    match = _SAME_SEASON.fullmatch(text.strip())
    if match is None:
        span = _parse_span(text, file, "time.baseline", "'same-season P3Y'")
        return TimeWindow(text, (span,))
    years = range(int(match[1]), 0, -1)
    spans = tuple(
        (_shift_months(start, -12 * year), _shift_months(end, -12 * year))
        for year in years
        for start, end in target.spans
    )
    return TimeWindow(text, spans)


def _check_days(window: TimeWindow, today: dt.date, file: str, key: str) -> None:
    first, last = window.spans[0][0], window.spans[-1][1]
    if first < EPOCH or last > today + dt.timedelta(days=366):
        raise ConfigError(
            f"found {window.text!r} ({first} to {last}); expected days between {EPOCH} and "
            f"today ({today})",
            file=file,
            key=key,
        )


def _parse_span(text: str, file: str, key: str, alternative: str) -> tuple[dt.date, dt.date]:
    parts = text.split("/")
    try:
        start, end = (dt.date.fromisoformat(part.strip()) for part in parts)
    except ValueError as error:
        raise ConfigError(
            f"found {text!r}; expected 'YYYY-MM-DD/YYYY-MM-DD' or {alternative}", file=file, key=key
        ) from error
    if end < start:
        raise ConfigError(
            f"found {text!r}, which ends before it starts; expected the earlier day first",
            file=file,
            key=key,
        )
    return start, end


def _shift_months(day: dt.date, months: int) -> dt.date:
    """Return the same day of another month, or its last day where it is shorter."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    _, last = calendar.monthrange(year, month + 1)
    return dt.date(year, month + 1, min(day.day, last))
