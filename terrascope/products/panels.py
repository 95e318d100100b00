"""Before, after and change of single events, cut from the cube."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from terrascope.geo.projection import project_to_zone
from terrascope.geo.tiles import Tile
from terrascope.kernels.seasonal import nan_median
from terrascope.monitor.footprint import polygon_mask
from terrascope.monitor.normalisation import decode
from terrascope.monitor.screen.plan import ScreenPlan
from terrascope.periods import Period
from terrascope.products.figures import EventFigure, draw_event, event_window
from terrascope.products.pictures import radar_composite
from terrascope.products.resample import MosaicGrid, source_pixels
from terrascope.sensors import SENSORS
from terrascope.store.layout import tile_slices, zone_geobox, zone_shape
from terrascope.store.window import read_window
from terrascope.types import FloatArray, Status

if TYPE_CHECKING:
    import geopandas

    from terrascope.geo.tiles import Zone
    from terrascope.store.repository import Store

__all__ = ["draw_panels"]

_COLOURS = (
    ("red", "green", "blue"),
    ("swir16", "nir", "red"),
    ("nir", "red", "green"),
    ("red",),
    ("vv", "vh"),
)
"""Band combinations, the most familiar first; the screen needs red, so one of them fits."""

_MOST_PERIODS = 12

_MAX_PX = 2_048
"""Longest side of a crop; of a larger event the middle is shown."""


def draw_panels(
    plan: ScreenPlan, store: Store, events: geopandas.GeoDataFrame, ids: Sequence[str]
) -> tuple[EventFigure, ...]:
    """Draw events.

    Parameters
    ----------
    plan : ScreenPlan
        Names the cubes and periods.
    store : Store
        Holds cubes and results.
    events : geopandas.GeoDataFrame
        From `find_events`.
    ids : sequence of str
        Which of them.

    Returns
    -------
    figures : tuple of EventFigure
        In the order of `ids`; an event without a cube to show is left out.
    """
    by_id = dict(zip(events["event_id"], events.itertuples(), strict=True))
    present = frozenset(store.groups())
    drawn = (_draw(plan, store, present, by_id[name]) for name in ids)
    return tuple(figure for figure in drawn if figure is not None)


def _draw(
    plan: ScreenPlan, store: Store, present: frozenset[str], event: Any
) -> EventFigure | None:
    zone = Tile.parse(event.tiles[0]).zone
    outline = project_to_zone(event.geometry, zone)
    rows, columns = _window(plan, zone, outline)
    crops = _crops(plan, store, present, zone, rows, columns)
    if crops is None:
        return None
    before, after, balanced = crops
    grid = MosaicGrid(
        f"EPSG:{zone.epsg}",
        zone_geobox(zone, plan.resolution_m).affine @ Affine.translation(columns.start, rows.start),
        (rows.stop - rows.start, columns.stop - columns.start),
    )
    status, kind = _results(plan, store, zone, rows, columns)
    for tile in map(Tile.parse, event.tiles):
        if tile.zone != zone:
            _fill_beyond(plan, store, tile, grid, status, kind)
    return draw_event(
        event.event_id,
        before=before,
        after=after,
        status=status,
        kind=kind,
        mask=polygon_mask([outline], grid.shape_yx, grid.transform),
        gsd_m=plan.resolution_m,
        labels=(_label(_season(plan)), _label(plan.target)),
        place=f"Event {event.event_id}",
        balanced=balanced,
    )


def _results(
    plan: ScreenPlan, store: Store, zone: Zone, rows: slice, columns: slice
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Status and kind of a window of one zone."""
    root, group = store.root(), plan.result_group(zone)
    status = read_window(root, f"{group}/status", rows, columns)
    return status, read_window(root, f"{group}/change_kind", rows, columns)


def _fill_beyond(
    plan: ScreenPlan,
    store: Store,
    tile: Tile,
    grid: MosaicGrid,
    status: NDArray[np.uint8],
    kind: NDArray[np.uint8],
) -> None:
    """Show the tile of another zone where its own zone owns nothing, in place."""
    theirs = _results(plan, store, tile.zone, *tile_slices(tile, plan.resolution_m))
    shown = source_pixels(grid, tile, plan.resolution_m, theirs[0] != Status.OUTSIDE)
    if shown is None:
        return
    height, width = shown.index.shape
    window = np.s_[shown.row : shown.row + height, shown.column : shown.column + width]
    beyond = (shown.index >= 0) & (status[window] == Status.OUTSIDE)
    for mine, values in zip((status, kind), theirs, strict=True):
        mine[window][beyond] = values.ravel()[shown.index[beyond]]


def _window(plan: ScreenPlan, zone: Zone, outline: shapely.Geometry) -> tuple[slice, slice]:
    west, south, east, north = shapely.bounds(outline).tolist()
    inverse = ~zone_geobox(zone, plan.resolution_m).affine
    left, top = (int(v) for v in inverse * (west, north))
    right, bottom = (int(v) + 1 for v in inverse * (east, south))
    rows, columns = event_window((top, left, bottom, right), zone_shape(plan.resolution_m))
    return _middle(rows), _middle(columns)


def _middle(part: slice) -> slice:
    excess = max(0, part.stop - part.start - _MAX_PX)
    return slice(part.start + excess // 2, part.stop - (excess - excess // 2))


def _crops(
    plan: ScreenPlan,
    store: Store,
    present: frozenset[str],
    zone: Zone,
    rows: slice,
    columns: slice,
) -> tuple[FloatArray, FloatArray, bool] | None:
    """Pictures of both dates: optical where there is one, else radar; and how to stretch them."""
    for sensor in sorted(plan.groups, reverse=True):
        groups = [g for g in plan.zone_groups(sensor, zone) if g in present]
        bands = plan.bands[sensor]
        combination = next(c for c in _COLOURS if set(c) <= set(bands))
        places = [bands.index(band) for band in combination]
        for group in groups:
            path = f"{group}/{SENSORS[sensor].variable}"
            before, after = (
                _median(store, path, sensor, periods, rows, columns, places)
                for periods in (_season(plan), plan.target)
            )
            if np.isfinite(before).any() and np.isfinite(after).any():
                if sensor == "sentinel-1":
                    return radar_composite(*before), radar_composite(*after), False
                return before, after, True
    return None


def _season(plan: ScreenPlan) -> tuple[Period, ...]:
    """Return the newest baseline periods of the target's own months; all if there are none."""
    months = {period.start.month for period in plan.target}
    same = [period for period in plan.baseline if period.start.month in months]
    return tuple(same[-len(plan.target) :]) or plan.baseline


def _median(
    store: Store,
    path: str,
    sensor: str,
    periods: Sequence[Period],
    rows: slice,
    columns: slice,
    places: Sequence[int],
) -> FloatArray:
    """Median of the newest periods: a picture needs no more of them."""
    times = [period.index for period in periods[-_MOST_PERIODS:]]
    stored = read_window(store.root(), path, rows, columns, times=times, bands=places)
    return nan_median(decode(stored, sensor))


def _label(periods: Sequence[Period]) -> str:
    return periods[0].id if len(periods) == 1 else f"{periods[0].id} to {periods[-1].id}"
