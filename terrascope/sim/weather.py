"""When the satellites pass, and what weather they meet."""

from __future__ import annotations

import dataclasses
import datetime as dt
from functools import lru_cache

import numpy as np

from terrascope.sim.textures import mix, uniform
from terrascope.types import FloatArray

__all__ = [
    "OpticalPass",
    "RadarPass",
    "Sky",
    "Swath",
    "optical_passes",
    "radar_passes",
    "sun_position",
    "wetness",
]

_RAIN_START = dt.date(2014, 1, 1)
_RAIN_DAYS = 366 * 47
_LAT, _LON = 49.8, 18.0  # sun position and local time
_OPTICAL_DAYS, _RADAR_DAYS = 5, 12  # revisit of one orbit
_PARTIAL = 0.12  # share of passes whose swath ends inside the window
_ORBITS = ((51, False, 2), (175, True, 8))  # number, ascending, first day after the start


@dataclasses.dataclass(frozen=True)
class Swath:
    """The slanted edge of an orbit: the ground on one side of a line was imaged.

    Parameters
    ----------
    normal_x, normal_y : float
        Unit vector into the imaged side, in ground coordinates.
    offset_m : float
        Imaged is where the projection on the normal is at least this.
    """

    normal_x: float
    normal_y: float
    offset_m: float


@dataclasses.dataclass(frozen=True)
class Sky:
    """The atmosphere of one optical pass.

    Parameters
    ----------
    cover : float
        Share of the sky behind cumulus or stratus, 0 to 1.
    veil : float
        Strength of cirrus, 0 to about 1; it is thin and soft.
    haze : float
        Units of `terrascope.sim.spectra.HAZE` left by the atmospheric correction.
    height_m : float
        Cloud base; with the sun it decides where shadows fall.
    sun_zenith, sun_azimuth : float
        In radians, azimuth clockwise from north.
    """

    cover: float
    veil: float
    haze: float
    height_m: float
    sun_zenith: float
    sun_azimuth: float


@dataclasses.dataclass(frozen=True)
class OpticalPass:
    """One Sentinel-2 acquisition over the window.

    Parameters
    ----------
    time : datetime.datetime
        UTC.
    platform : str
        ``"sentinel-2a"`` or ``"sentinel-2b"``.
    orbit : int
        Relative orbit.
    sky : Sky
        The atmosphere.
    swath : Swath or None
        None where the whole window was imaged.
    wetness : float
        Of the top soil, 0 dry to 1 soaked.
    snow : float
        Share of open ground under snow.
    seed : int
        Of clouds and noise of this pass.
    """

    time: dt.datetime
    platform: str
    orbit: int
    sky: Sky
    swath: Swath | None
    wetness: float
    snow: float
    seed: int


@dataclasses.dataclass(frozen=True)
class RadarPass:
    """One Sentinel-1 acquisition over the window.

    Parameters
    ----------
    time : datetime.datetime
        UTC.
    orbit : int
        Relative orbit.
    ascending : bool
        Evening pass, looking east; otherwise morning, looking west.
    wetness : float
        Of the top soil, 0 to 1.
    wind : float
        Roughness of open water, 0 calm to 1.
    frozen : float
        0, or how deeply frozen ground darkens, to 1.
    seed : int
        Of speckle.
    """

    time: dt.datetime
    orbit: int
    ascending: bool
    wetness: float
    wind: float
    frozen: float
    seed: int


@lru_cache(maxsize=16)
def _wetness_series(seed: int) -> FloatArray:
    """Return a daily soil wetness: rain in spells, drying faster in summer."""
    rng = np.random.default_rng((seed, 201))
    level, raining = 0.3, False
    series = np.empty(_RAIN_DAYS, np.float32)
    chance, amount = rng.random(_RAIN_DAYS), rng.gamma(1.3, 0.28, _RAIN_DAYS)
    for day in range(_RAIN_DAYS):
        raining = bool(chance[day] < (0.55 if raining else 0.17))
        summer = 0.5 - 0.5 * np.cos(2 * np.pi * (day % 365.25) / 365.25)
        level = level * (0.90 - 0.18 * summer) + (amount[day] if raining else 0.0)
        level = min(level, 1.0)
        series[day] = level
    return series


def wetness(day: dt.date, seed: int) -> float:
    """Return the wetness of the top soil on a day.

    Parameters
    ----------
    day : datetime.date
        2014 to 2060.
    seed : int
        Of the world's weather.

    Returns
    -------
    level : float
        0 dry to 1 soaked.
    """
    return float(_wetness_series(seed)[(day - _RAIN_START).days])


def optical_passes(
    start: dt.date,
    end: dt.date,
    *,
    seed: int,
    overcast: float = 0.85,
) -> list[OpticalPass]:
    """List the Sentinel-2 passes of a period, with their weather.

    Parameters
    ----------
    start, end : datetime.date
        First and last day.
    seed : int
        Of the weather.
    overcast : float
        Passes with a cloudier sky than this are left out, as a search with a
        cloud filter leaves them out.

    Returns
    -------
    passes : list of OpticalPass
        In order of time.
    """
    passes = []
    for count, ordinal in enumerate(range(start.toordinal(), end.toordinal() + 1, _OPTICAL_DAYS)):
        day = dt.date.fromordinal(ordinal)
        draw = uniform(seed, 211, ordinal, np.arange(9))
        cover = _cloudiness(float(draw[0]))
        if cover > overcast:
            continue
        side = float(draw[1])
        swath = None
        if side < _PARTIAL:
            tilt = np.deg2rad(13.0)
            normal = (1.0 if draw[2] < 0.5 else -1.0) * np.array([np.cos(tilt), np.sin(tilt)])
            swath = Swath(float(normal[0]), float(normal[1]), float(3000 * (draw[3] - 0.5)))
        time = dt.datetime(day.year, day.month, day.day, 9, 50, tzinfo=dt.UTC)
        time += dt.timedelta(seconds=int(40 * draw[4]))
        zenith, azimuth = sun_position(time)
        sky = Sky(
            cover=cover,
            veil=float(0.9 * draw[5]) if draw[6] < 0.22 else 0.0,
            haze=float(np.clip(0.10 + 0.22 * (draw[7] ** 2) * 2 - 0.08, -0.02, 0.5)),
            height_m=float(700 + 1600 * draw[8]),
            sun_zenith=zenith,
            sun_azimuth=azimuth,
        )
        passes.append(
            OpticalPass(
                time=time,
                platform="sentinel-2a" if count % 2 == 0 else "sentinel-2b",
                orbit=36 if swath is not None else 79,
                sky=sky,
                swath=swath,
                wetness=wetness(day, seed),
                snow=_snow(day, seed),
                seed=int(mix(seed, 212, ordinal) >> np.uint64(33)),
            )
        )
    return passes


def radar_passes(start: dt.date, end: dt.date, *, seed: int) -> list[RadarPass]:
    """List the Sentinel-1 passes of a period, with their weather.

    Parameters
    ----------
    start, end : datetime.date
        First and last day.
    seed : int
        Of the weather.

    Returns
    -------
    passes : list of RadarPass
        In order of time.
    """
    passes = []
    for orbit, ascending, first in _ORBITS:
        for ordinal in range(start.toordinal() + first, end.toordinal() + 1, _RADAR_DAYS):
            day = dt.date.fromordinal(ordinal)
            hour = (16, 35, 12) if ascending else (5, 2, 31)
            draw = uniform(seed, 221, ordinal, np.arange(2))
            cold = day.month in (12, 1, 2) and draw[1] < 0.25
            passes.append(
                RadarPass(
                    time=dt.datetime(day.year, day.month, day.day, *hour, tzinfo=dt.UTC),
                    orbit=orbit,
                    ascending=ascending,
                    wetness=wetness(day, seed),
                    wind=float(draw[0] ** 2),
                    frozen=0.8 if cold else 0.0,
                    seed=int(mix(seed, 222, ordinal, orbit) >> np.uint64(33)),
                )
            )
    return sorted(passes, key=lambda one: one.time)


def _cloudiness(draw: float) -> float:
    """Turn a uniform number into cloud cover: some clear days, many of 20-70 %, some overcast."""
    levels = (0.0, 0.0, 0.06, 0.22, 0.38, 0.52, 0.68, 0.85, 0.97, 1.0)
    return float(np.interp(draw, np.linspace(0.0, 1.0, len(levels)), levels))


def _snow(day: dt.date, seed: int) -> float:
    """Return the snow cover of open ground: spells in the cold months."""
    if day.month not in (12, 1, 2):
        return 0.0
    spell = float(uniform(seed, 213, day.toordinal() // 17))
    return 0.75 * float(np.clip((spell - 0.68) / 0.2, 0.0, 1.0))


def sun_position(time: dt.datetime, *, latitude_deg: float = _LAT) -> tuple[float, float]:
    """Return where the sun stands (Cooper's declination, no equation of time).

    Parameters
    ----------
    time : datetime.datetime
        UTC at 18 degrees east.
    latitude_deg : float
        North positive.

    Returns
    -------
    zenith, azimuth : float
        In radians, azimuth clockwise from north.
    """
    day = time.timetuple().tm_yday
    declination = np.deg2rad(23.45) * np.sin(2 * np.pi * (284 + day) / 365.0)
    hour = time.hour + time.minute / 60.0 + _LON / 15.0 - 12.0
    angle, phi = np.deg2rad(15.0 * hour), np.deg2rad(latitude_deg)
    up = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(angle)
    east = -np.cos(declination) * np.sin(angle)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(angle)
    return float(np.arccos(np.clip(up, -1, 1))), float(np.arctan2(east, north) % (2 * np.pi))
