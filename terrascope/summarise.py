"""From a finished run to its products: maps, events, figures, summary, report and STAC."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from terrascope import __version__
from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.kernels.prevalence import SCREEN
from terrascope.products import summary as s
from terrascope.products.answers import answer_questions, write_answers
from terrascope.products.events import find_events, write_events
from terrascope.products.figures import Marker, ReportFigures, draw_overview
from terrascope.products.ground import Ground, write_ground
from terrascope.products.history import TRACKS_FOLDER, name_events
from terrascope.products.layers import ALERT_LAYERS, ALL_LAYERS, LAYERS, MODEL_LAYERS
from terrascope.products.mosaic import mosaic_crs, mosaic_grid, write_maps
from terrascope.products.overview import Overview
from terrascope.products.panels import draw_panels
from terrascope.products.publish import open_staging, publish
from terrascope.products.published import read_known
from terrascope.products.report import write_report
from terrascope.products.resample import MosaicGrid, source_pixels
from terrascope.products.stac import SourceItem, ZoneMaps, write_stac
from terrascope.products.totals import GroundTotals, totals
from terrascope.types import ChangeKind, Quarantine, Status

if TYPE_CHECKING:
    import geopandas

    from terrascope.cube.plan import CubePlan
    from terrascope.store.ledger import Record
    from terrascope.watch import MonitorRun

__all__ = [
    "StoreLayers",
    "completeness",
    "cube_records",
    "map_records",
    "publish_run",
    "quarantined",
    "source_commit",
]

_LISTED_EVENTS = 25
_DRAWN_EVENTS = 6
_COPERNICUS = "Contains modified Copernicus Sentinel data "


class StoreLayers:
    """The maps of a run as they lie in the store, at one commit.

    Parameters
    ----------
    run : MonitorRun
        Screened.
    """

    def __init__(self, run: MonitorRun) -> None:
        self._plan = run.map_plan
        more = MODEL_LAYERS if run.settings.model else {}
        self._layers = (*LAYERS, *more, *(ALERT_LAYERS if run.settings.alerts else ()))
        self._store = run.store.at(run.store.snapshot())
        self._done = {
            zone: {tile for tile, _ in self._store.records(self._plan.result_group(zone))}
            for zone in {tile.zone for tile in run.tiles}
        }

    @property
    def resolution_m(self) -> int:
        """Pixel size in metres."""
        return self._plan.resolution_m

    @property
    def tiles(self) -> Sequence[Tile]:
        """All tiles of the area of interest, whether they have results or not."""
        return self._plan.tiles

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers that there are."""
        return self._layers

    def read(self, tile: Tile, layer: str) -> NDArray[Any] | None:
        """Return one layer of one tile.

        Parameters
        ----------
        tile : Tile
            One of `tiles`.
        layer : str
            One of `layers`.

        Returns
        -------
        values : ndarray, shape (y, x), or None
            None where the tile has no result.
        """
        if tile.id not in self._done[tile.zone]:
            return None
        return self._store.read_tile(self._plan.result_group(tile.zone), layer, tile)

    @cached_property
    def observed_tiles(self) -> frozenset[Tile]:
        """Tiles with at least one observed pixel."""
        found = set()
        for zone in self._done:
            records = self._store.records(self._plan.result_group(zone))
            found |= {Tile.parse(t) for (t, _), r in records.items() if r.observed_share > 0}
        return frozenset(found)


def cube_records(run: MonitorRun) -> list[Record]:
    """Read what the ledgers say of the plans' own work items, whatever else the cube holds.

    Parameters
    ----------
    run : MonitorRun
        Planned.

    Returns
    -------
    records : list of Record
        One per work item that was tried.
    """
    from terrascope.cube.due import planned_places, read_ledger

    ledgers = {sensor: read_ledger(plan, run.store) for sensor, plan in run.plans.items()}
    return [
        ledgers[sensor][place]
        for sensor, plan in run.plans.items()
        for place in planned_places(plan)
        if place in ledgers[sensor]
    ]


def completeness(run: MonitorRun, records: Sequence[Record]) -> s.Completeness:
    """Count the work items that are committed, of those that have a scene.

    Parameters
    ----------
    run : MonitorRun
        Planned.
    records : sequence of Record
        From `cube_records`.

    Returns
    -------
    completeness : Completeness
        Of cubes, screen or alerts, and model. Work whose every scene failed, and a tile that
        failed whatever was tried, are not committed.
    """
    seen = {i.tile.id for plan in run.plans.values() for b in plan.batches() for i in b.items}
    stages = 1 if run.settings.model is None else 2
    made = [record for record in map_records(run) if record.tile in seen]
    planned = sum(map(len, run.plans.values())) + stages * len(seen)
    return s.Completeness(sum(record.done for record in (*records, *made)), planned)


def map_records(run: MonitorRun) -> list[Record]:
    """Read what the ledgers say of the maps: of the screen or the alerts, and of the model.

    Parameters
    ----------
    run : MonitorRun
        Planned.

    Returns
    -------
    records : list of Record
        One per tile of the area and stage.
    """
    asked = {tile.id for tile in run.tiles}
    plans = [run.screen_plan, *([] if run.settings.model is None else [run.map_plan])]
    return [
        record
        for plan in plans
        for zone in sorted({tile.zone for tile in run.tiles})
        for record in run.store.records(plan.result_group(zone)).values()
        if record.tile in asked
    ]


def quarantined(run: MonitorRun, records: Sequence[Record]) -> tuple[Quarantine, ...]:
    """List everything that was left out: scenes by search and cubes, tiles that failed.

    Parameters
    ----------
    run : MonitorRun
        Planned.
    records : sequence of Record
        From `cube_records`.

    Returns
    -------
    quarantined : tuple of Quarantine
        Sorted, each once.
    """
    found = {q for record in (*records, *map_records(run)) for q in record.quarantines}
    return tuple(sorted(found | set(run.found.skipped)))


def publish_run(run: MonitorRun) -> s.RunSummary:
    """Write all products of a run and make them visible.

    Parameters
    ----------
    run : MonitorRun
        Searched, its cubes built and screened as far as they go.

    Returns
    -------
    summary : RunSummary
        What the report says.
    """
    source = StoreLayers(run)
    staging = open_staging(run.folder, run.settings.run_id)
    try:
        crs = run.settings.crs or mosaic_crs(run.tiles, run.aoi)
        tags = {"TERRASCOPE_MONITOR": run.settings.name, "TERRASCOPE_TARGET": run.settings.run_id}
        write_maps(source, staging / "maps", aoi=run.aoi, crs=crs, tags=tags)
        scenes = _scenes_by_tile(run)
        patches = find_events(source, min_area_ha=run.settings.min_area_ha, items=scenes)
        events = name_events(patches, run.output / TRACKS_FOLDER, run.settings.run_id)
        write_events(events, staging)
        write_ground(staging, _ground(run, scenes))
        summary = _answered(run, staging, summarise(run, source, events))
        write_report(staging, summary, _figures(run, source, summary, events, crs))
        specs = tuple(ALL_LAYERS[name] for name in source.layers)
        write_stac(staging, summary, _zone_maps(run, source, scenes), mosaic=specs)
        publish(staging, run.folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return summary


def source_commit(root: Path) -> str | None:
    """Return the commit of the source tree that this package runs from.

    Parameters
    ----------
    root : pathlib.Path
        Folder that holds the package.

    Returns
    -------
    commit : str or None
        None where the folder is not the root of a git checkout, as for an installed package.
    """
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    try:
        said = subprocess.run(
            [git, "-C", str(root), "rev-parse", "--verify", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None


def summarise(run: MonitorRun, source: StoreLayers, events: geopandas.GeoDataFrame) -> s.RunSummary:
    """Put everything that a run found into one value.

    Parameters
    ----------
    run : MonitorRun
        The run.
    source : StoreLayers
        Its maps.
    events : geopandas.GeoDataFrame
        From `find_events`.

    Returns
    -------
    summary : RunSummary
        Without clocks.
    """
    area, regions = totals(source, run.aoi, run.regions)
    records = cube_records(run)
    frame = run.found.table.frame
    used = sorted({int(row) for plan in run.plans.values() for row in plan.scenes})
    notices = sorted(
        {
            text
            for text in frame["attribution"].to_numpy()[used]
            if text and not text.startswith(_COPERNICUS)  # said once, with all years
        }
    )
    return s.RunSummary(
        monitor=run.settings.name,
        version=__version__,
        commit=source_commit(Path(__file__).resolve().parents[1]),
        settings=_portable(run),
        area=s.Area(
            run.aoi.name,
            area.asked_m2,
            run.aoi.bounds,
            tuple(sorted(tile.id for tile in run.tiles)),
            tuple(sorted({tile.zone.id for tile in run.tiles})),
            run.settings.resolution_m,
        ),
        catalog=s.CatalogUse(
            run.profile.name, _portable_place(run.settings.url or run.profile.url)
        ),
        target=s.DateRange(run.target[0].start, run.target[-1].end),
        baseline=s.DateRange(
            run.baseline[0].start,
            run.baseline[-1].end,
            tuple(f"{first} to {last}" for first, last in run.settings.baseline.spans),
        ),
        cadence=str(run.settings.cadence),
        sensors=_sensor_uses(run),
        scenes=tuple(row for plan in run.plans.values() for row in _scene_counts(run, plan)),
        completeness=completeness(run, records),
        observed_m2=area.observed_m2,
        totals=tuple(
            s.Total(status, kind, m2, area.observed_share)
            for (status, kind), m2 in sorted(area.by_state.items())
        ),
        events=_event_totals(run, events),
        quality=s.DataQuality(
            quarantined(run, records),
            _radiometry_notes(run, used),
            (*run.notes, *_beside_the_alerts(run, events)),
            _mask_shares(records),
        ),
        regions=_region_totals(run, regions, events),
        attribution=tuple(notices),
    )


def _portable(run: MonitorRun) -> dict[str, Any]:
    """Return the settings without the machine's folders: paths by their last part."""
    settings = run.settings.to_json()
    for key in ("file", "aoi", "regions", "output", "url", "profile"):
        settings[key] = settings[key] and _portable_place(settings[key])
    if "model" in settings:
        settings["model"]["name"] = _portable_place(settings["model"]["name"])
    return settings


def _portable_place(place: str) -> str:
    """Keep an address, and of a path on this machine its last part."""
    return place if "://" in place else Path(place).name


def _sensor_uses(run: MonitorRun) -> tuple[s.SensorUse, ...]:
    asked = (("sentinel-2", run.settings.optical), ("sentinel-1", run.settings.sar))
    return tuple(
        s.SensorUse(
            sensor,
            collection,
            used=sensor in run.plans,
            reason="" if sensor in run.plans else "no usable scene of these periods",
        )
        for sensor, collection in asked
        if collection is not None
    )


def _scene_counts(run: MonitorRun, plan: CubePlan) -> list[s.SceneCount]:
    frame = run.found.table.frame
    cadence = run.settings.cadence
    target = set(run.target)
    by_period: dict[Any, list[int]] = {}
    days = frame["solar_day"].to_numpy()
    for row in plan.scenes:
        by_period.setdefault(cadence.period(cadence.index(days[row])), []).append(int(row))
    counts = []
    for period, rows in sorted(by_period.items()):
        cloud = frame["cloud_percent"].to_numpy()[rows]
        mean = float(np.nanmean(cloud)) if np.isfinite(cloud).any() else None
        role = "target" if period in target else "baseline"
        ids = tuple(sorted(frame["id"].to_numpy()[rows]))
        counts.append(s.SceneCount(plan.spec.sensor, period.id, role, ids, mean))
    return counts


def _event_totals(run: MonitorRun, events: geopandas.GeoDataFrame) -> s.EventTotals:
    largest = events.sort_values(["area_m2", "event_id"], ascending=[False, True])
    rows = tuple(
        s.EventRow(
            id=row.event_id,
            kind=ChangeKind[row.kind.upper()],
            status=Status[row.status.upper()],
            area_m2=float(row.area_m2),
            detected_on=_day(row.detected_on),
            probability=float(row.probability_mean),
            lon=float(row.lon),
            lat=float(row.lat),
            tiles=tuple(row.tiles),
        )
        for row in largest.head(_LISTED_EVENTS).itertuples()
    )
    return s.EventTotals(
        len(events), float(events["area_m2"].sum()), run.settings.min_area_ha, rows
    )


def _day(text: str | None) -> Any:
    import datetime as dt

    return dt.date.fromisoformat(text) if text else None


def _region_totals(
    run: MonitorRun, regions: Sequence[GroundTotals], events: geopandas.GeoDataFrame
) -> tuple[s.RegionTotal, ...]:
    return tuple(
        s.RegionTotal(
            ground.name,
            ground.asked_m2,
            ground.observed_share,
            ground.changed_m2,
            int(events.geometry.intersects(region.geometry).sum()),
        )
        for ground, region in zip(regions, run.regions, strict=True)
    )


def _radiometry_notes(run: MonitorRun, used: Sequence[int]) -> tuple[str, ...]:
    """Contradictions in metadata, with the number of scenes that have each."""
    counts: dict[str, int] = {}
    for text in run.found.table.frame["notes"].to_numpy()[list(used)]:
        for note in json.loads(text):
            counts[note] = counts.get(note, 0) + 1
    return tuple(f"{note} ({count} scenes)" for note, count in sorted(counts.items()))


def _beside_the_alerts(run: MonitorRun, events: geopandas.GeoDataFrame) -> tuple[str, ...]:
    """Say what the model thinks of the alerts, which it does not change."""
    if run.settings.alerts is None or run.settings.model is None:
        return ()
    seen = events["model_probability_mean"].to_numpy()
    looked, agreed = int(np.isfinite(seen).sum()), int((seen >= 0.5).sum())
    told = (
        "alerts are folded from what the screen sees on each date; the model's probability stands "
        f"beside them and changes none: of {len(events):,} events it looked at {looked:,}, and "
        f"in {agreed:,} of these it sees change (0.5 or more on average)"
    )
    return (told,)


def _mask_shares(records: Sequence[Record]) -> Mapping[str, float]:
    """Which cloud mask saw the optical observations, by pixels of all periods."""
    sums = {"scl": 0, "spectral": 0, "none": 0}
    for record in records:
        for name in sums:
            sums[name] += int(record.facts.get(f"masked_by_{name}", 0))
    whole = sum(sums.values())
    return {name: count / whole for name, count in sums.items() if count} if whole else {}


def _scenes_by_tile(run: MonitorRun) -> dict[Tile, list[str]]:
    """Item ids behind each tile's result, baseline and target."""
    ids = run.found.table.frame["id"].to_numpy()
    found: dict[Tile, set[str]] = {}
    for plan in run.plans.values():
        for batch in plan.batches():
            for item in batch.items:
                found.setdefault(item.tile, set()).update(ids[list(item.scenes)])
    return {tile: sorted(names) for tile, names in found.items()}


def _ground(run: MonitorRun, scenes: Mapping[Tile, Sequence[str]]) -> Ground:
    """Return what later questions need: outlines, scenes of every tile, and what is trusted."""
    from terrascope.monitor.reason.fusion import reliability_of

    items = {tile: scenes.get(tile, ()) for tile in run.tiles}
    fused = run.reasoning is not None and run.settings.alerts is None
    looked = None
    if run.reasoning and fused:
        looked = reliability_of(run.reasoning.folder, tuple(run.plans) or run.asked_sensors)
    return Ground(run.aoi, run.regions, items, SCREEN, looked)


def _answered(run: MonitorRun, staging: Path, summary: s.RunSummary) -> s.RunSummary:
    """Answer the questions of the monitor file from what is staged, as `terrascope ask` will."""
    if not run.settings.questions:
        return summary
    known = read_known(staging, json.loads(summary.to_json()))
    rows = answer_questions(run.settings.questions, known)
    model = run.reasoning if run.settings.alerts is None else None  # alerts are the screen's
    write_answers(staging, rows, known, model=None if model is None else model.weights)
    return dataclasses.replace(summary, answers=rows)


def _zone_maps(
    run: MonitorRun, source: StoreLayers, scenes: Mapping[Tile, Sequence[str]]
) -> list[ZoneMaps]:
    frame = run.found.table.frame
    links = dict(zip(frame["id"], frame["source"], strict=True))
    by_zone: dict[Zone, list[Tile]] = {}
    for tile in run.tiles:
        by_zone.setdefault(tile.zone, []).append(tile)
    found = []
    for zone, tiles in sorted(by_zone.items()):
        rows, columns = [t.row for t in tiles], [t.column for t in tiles]
        r = float(run.settings.resolution_m)
        north, west = (max(rows) + 1) * TILE_M, min(columns) * TILE_M
        shape = (
            (max(rows) - min(rows) + 1) * int(TILE_M / r),
            (max(columns) - min(columns) + 1) * int(TILE_M / r),
        )
        ids = sorted({name for tile in tiles for name in scenes.get(tile, ())})
        found.append(
            ZoneMaps(
                zone,
                (r, 0.0, float(west), 0.0, -r, float(north)),
                shape,
                tuple(ALL_LAYERS[name] for name in source.layers),
                tuple(tile for tile in sorted(tiles) if tile in source.observed_tiles),
                tuple(SourceItem(name, links.get(name, "")) for name in ids),
            )
        )
    return found


def _figures(
    run: MonitorRun,
    source: StoreLayers,
    summary: s.RunSummary,
    events: geopandas.GeoDataFrame,
    crs: str,
) -> ReportFigures:
    """Draw the map of the whole area, and panels of the largest events."""
    grid = mosaic_grid(run.aoi, crs, run.settings.resolution_m)
    overview = Overview(grid.shape_yx)
    for tile in source.tiles:
        status = source.read(tile, "status")
        inside = None if status is None else status != Status.OUTSIDE
        if inside is None or not inside.any():
            continue
        window = source_pixels(grid, tile, run.settings.resolution_m, inside)
        if window is None:
            continue
        picked = functools.partial(_picked, source, tile, window.index)
        overview.add(
            window.row,
            window.column,
            picked("status", fill=int(Status.OUTSIDE)),
            picked("change_kind", fill=int(ChangeKind.OUTSIDE)),
            probability=picked("change_probability", fill=np.nan),
            observations=picked("observations", fill=0),
        )
    drawn = summary.events.largest[:_DRAWN_EVENTS]
    to_crs = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    markers = []
    for number, row in enumerate(drawn, start=1):
        column, line = ~grid.transform * to_crs.transform(row.lon, row.lat)
        markers.append(Marker(column / overview.factor, line / overview.factor, str(number)))
    maps = draw_overview(overview.maps(), gsd_m=_ground_size(grid), markers=markers)
    panels = draw_panels(run.map_plan, run.store, events, [row.id for row in drawn])
    return ReportFigures(maps, panels)


def _picked(
    source: StoreLayers, tile: Tile, index: NDArray[np.int64], layer: str, *, fill: float
) -> NDArray[Any]:
    """Take a layer's values at places of a tile, `fill` where the index is negative."""
    values = source.read(tile, layer)
    if values is None:
        return np.full(index.shape, fill)
    found = values.ravel()[index]
    found[index < 0] = fill
    return found


def _ground_size(grid: MosaicGrid) -> tuple[float, float]:
    """Metres on the ground of one pixel at the middle of the mosaic, along y and x."""
    rows, columns = grid.shape_yx
    to_lonlat = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    geod = pyproj.Geod(ellps="WGS84")
    row, column = rows / 2, columns / 2
    places = [(column, row), (column, row + 1), (column + 1, row)]
    lonlat = [to_lonlat.transform(*(grid.transform * place)) for place in places]
    lengths = [geod.inv(*lonlat[0], *other)[2] for other in lonlat[1:]]
    return lengths[0], lengths[1]
