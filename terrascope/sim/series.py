"""A whole series of both sensors over one window, in memory."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.events import Disturbance, Event, Wish, plan_events
from terrascope.sim.land import make_land
from terrascope.sim.optical import render_optical
from terrascope.sim.radar import render_radar
from terrascope.sim.scenery import Scenery, Truth
from terrascope.sim.terrain import Layout
from terrascope.sim.weather import OpticalPass, RadarPass, optical_passes, radar_passes
from terrascope.types import BoolArray, FloatArray

__all__ = ["Series", "default_wishes", "simulate_series"]


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """Dense arrays of a simulated window.

    Parameters
    ----------
    optical : tuple of OpticalPass
        The passes of the Sentinel-2 arrays.
    reflectance : ndarray of float32, shape (time, 12, y, x)
        On the 10 m grid, bands in the order of `S2_BANDS`; NaN outside the swath.
    scl : ndarray of uint8, shape (time, y, x)
        Scene classification, with its mistakes.
    cloudy, shaded : ndarray of bool, shape (time, y, x)
        The true cloud and shadow.
    radar : tuple of RadarPass
        The passes of the Sentinel-1 arrays.
    backscatter : ndarray of float32, shape (time, 2, y, x)
        VV and VH, gamma nought, linear power.
    scenery : Scenery
        The ground: truth of any day, crops, harvests.
    truth : Truth
        What had changed on the last day.
    """

    optical: tuple[OpticalPass, ...]
    reflectance: FloatArray
    scl: NDArray[np.uint8]
    cloudy: BoolArray
    shaded: BoolArray
    radar: tuple[RadarPass, ...]
    backscatter: FloatArray
    scenery: Scenery
    truth: Truth


def default_wishes(year: int) -> list[Wish]:
    """Return one change of each kind between January and September of a year.

    Parameters
    ----------
    year : int
        Of the changes.

    Returns
    -------
    wishes : list of Wish
        For `plan_events`.
    """
    return [
        Wish(Disturbance.FLOOD, 520.0, dt.date(year, 7, 29), 3, dt.date(year, 10, 2)),
        Wish(Disturbance.FIRE, 230.0, dt.date(year, 6, 21), 2),
        Wish(Disturbance.INSECTS, 260.0, dt.date(year, 5, 10), 75),
        Wish(Disturbance.CONSTRUCTION, 140.0, dt.date(year, 3, 1), 120),
        Wish(Disturbance.QUARRY, 130.0, dt.date(year, 2, 1), 150),
        Wish(Disturbance.DRAINED_POND, 200.0, dt.date(year, 6, 1), 12),
        Wish(Disturbance.CLEAR_CUT, 150.0, dt.date(year, 2, 20), 30),
        Wish(Disturbance.CLEAR_CUT, 110.0, dt.date(year, 6, 25), 15),
        Wish(Disturbance.CLEAR_CUT, 90.0, dt.date(year, 4, 5), 20),
    ]


def simulate_series(
    start: dt.date,
    end: dt.date,
    *,
    seed: int,
    shape: tuple[int, int] = (240, 240),
    centre_m: tuple[float, float] = (0.0, 0.0),
    layout: Layout | None = None,
    events: Sequence[Event] | None = None,
) -> Series:
    """Simulate both sensors over one window.

    Parameters
    ----------
    start, end : datetime.date
        First and last day.
    seed : int
        Of land, changes and weather.
    shape : tuple of int
        Rows and columns of 10 m, multiples of 6.
    centre_m : tuple of float
        Where in the world the window lies: another centre is other land.
    layout : Layout or None
        Of the land.
    events : sequence of Event or None
        What happens; None for `default_wishes` in the year of `end`.

    Returns
    -------
    series : Series
        Deterministic for the same arguments.

    Raises
    ------
    ValueError
        If `shape` is not made of multiples of 6, or `end` lies before `start`.
    """
    if end < start:
        raise ValueError(f"{start}/{end}: the end lies before the start")
    if shape[0] % 6 or shape[1] % 6 or min(shape) < 6:
        raise ValueError(f"shape {shape}: 60 m bands need multiples of 6")
    rows, columns = shape
    x = centre_m[0] + (np.arange(columns) + 0.5 - columns / 2) * 10.0
    y = centre_m[1] - (np.arange(rows) + 0.5 - rows / 2) * 10.0
    land = make_land(*np.meshgrid(x, y), seed=seed, layout=layout)
    if events is None:
        events = plan_events(land, default_wishes(end.year), seed=seed)
    scenery = Scenery(land, events)
    optical = tuple(optical_passes(start, end, seed=seed))
    radar = tuple(radar_passes(start, end, seed=seed))
    scenes = [render_optical(scenery, one) for one in optical]
    echoes = [render_radar(scenery, one) for one in radar]
    return Series(
        optical=optical,
        reflectance=np.stack([scene.dense() for scene in scenes]),
        scl=np.stack([scene.dense_scl() for scene in scenes]),
        cloudy=np.stack([scene.clouds.cloudy for scene in scenes]),
        shaded=np.stack([scene.clouds.shaded for scene in scenes]),
        radar=radar,
        backscatter=np.stack([np.stack([echo.vv, echo.vh]) for echo in echoes]),
        scenery=scenery,
        truth=scenery.truth(end),
    )
