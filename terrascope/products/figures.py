"""The report's figures: maps of the whole area, and close-ups of single events."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.products.overview import Cells, Overview, OverviewMaps
from terrascope.products.palette import KIND_NAMES
from terrascope.products.pictures import (
    Picture,
    common_stretch,
    encode,
    outline_path,
    render_change,
    render_colour,
    render_observations,
    render_probability,
)
from terrascope.types import BoolArray, ChangeKind, FloatArray, Status

__all__ = [
    "EventFigure",
    "MapFigure",
    "Marker",
    "ReportFigures",
    "ScaleBar",
    "draw_event",
    "draw_overview",
    "event_window",
    "scale_bar",
]

_LEAST_PX = 64


@dataclasses.dataclass(frozen=True)
class ScaleBar:
    """A round length on the ground and as drawn.

    Parameters
    ----------
    label : str
        For instance ``"500 m"`` or ``"20 km"``.
    length_px : float
        In picture pixels.
    """

    label: str
    length_px: float


@dataclasses.dataclass(frozen=True)
class Marker:
    """A numbered place on the overview.

    Parameters
    ----------
    x, y : float
        Overview pixels from the upper left corner.
    label : str
        The event's number in the table.
    """

    x: float
    y: float
    label: str


@dataclasses.dataclass(frozen=True)
class MapFigure:
    """A map of the whole area, north up.

    Parameters
    ----------
    title : str
        Heading.
    picture : Picture
        The map.
    aspect : float
        Ground height / ground width of one pixel (1 where the projection keeps shapes).
    bar : ScaleBar
        Measured along the middle row.
    markers : tuple of Marker
        Largest events.
    caption : str
        How to read it.
    """

    title: str
    picture: Picture
    aspect: float
    bar: ScaleBar
    markers: tuple[Marker, ...] = ()
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class EventFigure:
    """One event: before, after, and the change that was found.

    Parameters
    ----------
    event_id : str
        Id of its `EventRow`.
    before, after, change : Picture
        Same ground, same size, same stretch.
    before_label, after_label : str
        Dates.
    outline : str
        SVG path of the event's border, in picture pixels.
    bar : ScaleBar
        Valid for the three pictures.
    """

    event_id: str
    before: Picture
    after: Picture
    change: Picture
    before_label: str
    after_label: str
    outline: str
    bar: ScaleBar


@dataclasses.dataclass(frozen=True)
class ReportFigures:
    """All pictures of a report.

    Parameters
    ----------
    maps : tuple of MapFigure
        The change map first, then evidence (probability, observations).
    events : tuple of EventFigure
        Any order; matched to the table by id.
    """

    maps: tuple[MapFigure, ...] = ()
    events: tuple[EventFigure, ...] = ()


def scale_bar(gsd_m: float, width_px: int) -> ScaleBar:
    """Choose a scale bar of 1, 2 or 5 times a power of ten, up to a third of the width.

    Parameters
    ----------
    gsd_m : float
        Ground metres per picture pixel.
    width_px : int
        Of the picture.

    Returns
    -------
    bar : ScaleBar
        At least 1 m.
    """
    limit = max(gsd_m * width_px / 3, 1.0)
    power = 10.0 ** math.floor(math.log10(limit))
    length = max(step * power for step in (1, 2, 5) if step * power <= limit * 1.0001)
    label = f"{length / 1000:,.0f} km" if length >= 1000 else f"{length:.0f} m"
    return ScaleBar(label, length / gsd_m)


def draw_overview(
    maps: OverviewMaps, *, gsd_m: tuple[float, float], markers: Sequence[Marker] = ()
) -> tuple[MapFigure, ...]:
    """Draw the change map and the evidence behind it.

    Parameters
    ----------
    maps : OverviewMaps
        From `Overview`.
    gsd_m : tuple of float
        Ground metres of one map pixel (not cell), along y and x, at the map's middle.
    markers : sequence of Marker
        Largest events, in overview pixels.

    Returns
    -------
    figures : tuple of MapFigure
        Change first; probability and observations where they are known.
    """
    cell_m = gsd_m[1] * maps.factor
    bar = scale_bar(cell_m, maps.status.shape[1])
    cell = f"{cell_m / 1000:.1f} km" if cell_m >= 1000 else f"{cell_m:.0f} m"
    shown = set(np.unique(maps.kind).tolist()) - {ChangeKind.NONE}
    names = ", ".join(KIND_NAMES[k].lower() for k in KIND_NAMES if k in shown)
    if not names:
        seen = (maps.status == Status.NO_CHANGE).any()
        names = "no change" if seen else "no observed ground"

    def figure(title: str, rgba: NDArray[np.uint8], alt: str, caption: str) -> MapFigure:
        return MapFigure(
            title, encode(rgba, alt), gsd_m[0] / gsd_m[1], bar, tuple(markers), caption
        )

    shrunk = (
        f"One dot is {cell} wide and takes the colour of a change if it holds any changed pixel, "
        "so small changes look larger than they are."
    )
    figures = [
        figure(
            "Where it changed",
            render_change(maps.status, maps.kind),
            f"Map of the area, showing {names}.",
            shrunk if maps.factor > 1 else "One dot is one pixel of the map.",
        )
    ]
    if np.isfinite(maps.probability).any():
        rgba = render_probability(maps.probability, maps.status)
        caption = "The highest probability in each dot, from 0 (dark blue) to 1 (yellow)."
        figures.append(figure("Change probability", rgba, "Map of change probability.", caption))
    if maps.observations.any():
        rgba = render_observations(maps.observations, maps.status)
        counts = maps.observations[maps.observations > 0]
        caption = _periods_caption(int(counts.min()), int(counts.max()))
        alt = "Map of periods with a clear view."
        figures.append(figure("Periods with a clear view", rgba, alt, caption))
    return tuple(figures)


def _periods_caption(least: int, most: int) -> str:
    """Say what the shades count: a period counts once in each cube, however many passes."""
    counted = "Target periods with a clear view, summed over the cubes: "
    if least == most:
        return f"{counted}{most} where blue; hatched: none."
    return f"{counted}from {least} (light) to {most} (dark); hatched: none."


def event_window(
    bounds_px: tuple[int, int, int, int], shape_yx: tuple[int, int]
) -> tuple[slice, slice]:
    """Return a square window around an event, with its surroundings.

    Parameters
    ----------
    bounds_px : tuple of int
        First row, first column, row and column past the last, of the event.
    shape_yx : tuple of int
        Size of the raster that is cut.

    Returns
    -------
    window : tuple of slice
        Rows and columns inside the raster, 64 or more; square where the raster allows.
    """
    top, left, bottom, right = bounds_px
    side = max(_LEAST_PX, math.ceil(1.6 * max(bottom - top, right - left)))
    windows = []
    for first, last, size in ((top, bottom, shape_yx[0]), (left, right, shape_yx[1])):
        start = min(max((first + last - side) // 2, 0), max(size - side, 0))
        windows.append(slice(start, min(start + side, size)))
    return windows[0], windows[1]


def draw_event(
    event_id: str,
    *,
    before: FloatArray,
    after: FloatArray,
    status: NDArray[np.uint8],
    kind: NDArray[np.uint8],
    mask: BoolArray,
    gsd_m: float,
    labels: tuple[str, str],
    place: str = "",
    balanced: bool = True,
    max_px: int = 320,
) -> EventFigure:
    """Draw one event from crops of the same ground.

    Parameters
    ----------
    event_id : str
        Id of its `EventRow`.
    before, after : ndarray of float32, shape (1 or 3, y, x)
        Physical values, NaN where missing.
    status, kind : ndarray of uint8, shape (y, x)
        Map codes.
    mask : ndarray of bool, shape (y, x)
        The event's own pixels.
    gsd_m : float
        Pixel size.
    labels : tuple of str
        Dates of `before` and `after`.
    place : str
        Names the event in the alternative texts.
    balanced : bool
        One brightness span for all bands (reflectance); False for `radar_composite`.
    max_px : int
        Larger crops are reduced to this side.

    Returns
    -------
    figure : EventFigure
        Both dates under one stretch.
    """
    factor = max(1, math.ceil(max(mask.shape) / max_px))
    if factor > 1:
        overview = Overview((mask.shape[0], mask.shape[1]), max_px=max_px)
        overview.add(0, 0, status, kind)
        maps = overview.maps()
        status, kind = maps.status, maps.kind
        before, after = _shrink(before, factor), _shrink(after, factor)
        cells = Cells.of(0, 0, mask.shape, factor)
        mask = cells.reduce(np.logical_or, mask).astype(np.bool_)
    stretch = common_stretch([before, after], balanced=balanced)
    ground = np.where(np.isfinite(after).all(axis=0), after.mean(axis=0), np.nan)
    grey = common_stretch([ground[None]])
    backdrop = (ground - grey.low[0]) / (grey.high[0] - grey.low[0])
    return EventFigure(
        event_id=event_id,
        before=encode(render_colour(before, stretch), f"{place} before, {labels[0]}".strip()),
        after=encode(render_colour(after, stretch), f"{place} after, {labels[1]}".strip()),
        change=encode(
            render_change(status, kind, backdrop.astype(np.float32)),
            f"{place} change found".strip(),
        ),
        before_label=labels[0],
        after_label=labels[1],
        outline=outline_path(mask),
        bar=scale_bar(gsd_m * factor, mask.shape[1]),
    )


def _shrink(values: FloatArray, factor: int) -> FloatArray:
    """Mean over cells, without the missing pixels; NaN where all are."""
    cells = Cells.of(0, 0, values.shape[1:], factor)
    bands = []
    for band in values:
        known = np.isfinite(band)
        total = cells.reduce(np.add, np.where(known, band, 0).astype(np.float64))
        count = cells.reduce(np.add, known.astype(np.float64))
        with np.errstate(invalid="ignore"):
            bands.append(total / count)
    return np.stack(bands).astype(np.float32)
