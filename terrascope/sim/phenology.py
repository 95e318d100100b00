"""The year of the land: crop calendars, rotation, harvest, mowing, leaves, and yearly luck.

Every parcel's state on a day is a row of surface shares (`Surface`), computed
from its own draws; nothing is stored, so any date of any year can be asked for.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.canvas import WATERS, Cover
from terrascope.sim.climate import TEMPERATE, Climate
from terrascope.sim.land import Units
from terrascope.sim.natural import Season, natural_shares
from terrascope.sim.spectra import Surface
from terrascope.sim.textures import uniform
from terrascope.types import BoolArray, FloatArray

__all__ = ["Crop", "crop_of", "harvest_day", "mowing_days", "surface_shares", "variation"]


class Crop(enum.IntEnum):
    """What a field is sown with; named by the year of its harvest."""

    WHEAT = 0
    WINTER_BARLEY = 1
    RAPE = 2
    SPRING_BARLEY = 3
    MAIZE = 4
    BEET = 5
    LEY = 6


@dataclasses.dataclass(frozen=True)
class _Calendar:
    """Days counted from 1 January of the harvest year; negative is the autumn before."""

    emerged: float
    winter_cover: float
    rise: float
    rise_days: float
    peak: float
    ripening: float
    ripening_days: float
    harvest: float
    harvest_spread: float


_CALENDARS = {
    Crop.WHEAT: _Calendar(-70, 0.35, 97, 11, 0.92, 182, 6, 208, 7),
    Crop.WINTER_BARLEY: _Calendar(-82, 0.42, 90, 11, 0.90, 166, 6, 190, 6),
    Crop.RAPE: _Calendar(-112, 0.62, 86, 10, 0.94, 180, 7, 204, 6),
    Crop.SPRING_BARLEY: _Calendar(97, 0.0, 120, 9, 0.90, 187, 6, 212, 7),
    Crop.MAIZE: _Calendar(135, 0.0, 166, 9, 0.92, 262, 9, 264, 12),
    Crop.BEET: _Calendar(118, 0.0, 158, 10, 0.94, 330, 20, 289, 12),
}

_ROTATIONS = np.array(
    [
        [Crop.RAPE, Crop.WHEAT, Crop.MAIZE, Crop.SPRING_BARLEY],
        [Crop.WHEAT, Crop.RAPE, Crop.WINTER_BARLEY, Crop.MAIZE],
        [Crop.BEET, Crop.SPRING_BARLEY, Crop.RAPE, Crop.WHEAT],
        [Crop.MAIZE, Crop.MAIZE, Crop.WHEAT, Crop.SPRING_BARLEY],
    ],
    np.int64,
)


def crop_of(units: Units, year: int) -> NDArray[np.int8]:
    """Return the crop that each parcel is harvested of in a year.

    Parameters
    ----------
    units : Units
        Parcels of any cover.
    year : int
        Of the harvest.

    Returns
    -------
    crop : ndarray of int8, shape (n,)
        `Crop` codes; -1 where the parcel is no field.
    """
    rotation = (units.draw(101) * len(_ROTATIONS)).astype(np.int64)
    step = (units.draw(102) * 4).astype(np.int64)
    crop = _ROTATIONS[rotation, (year + step) % 4]
    crop = np.where(units.draw(103) < 0.07, int(Crop.LEY), crop)
    return np.where(units.cover == Cover.CROP, crop, -1).astype(np.int8)


def harvest_day(units: Units, year: int) -> NDArray[np.float32]:
    """Return the day of harvest of each field.

    Parameters
    ----------
    units : Units
        Parcels of any cover.
    year : int
        Of the harvest.

    Returns
    -------
    day : ndarray of float32, shape (n,)
        Days since 1 January of `year`; NaN for leys and where there is no field.
    """
    crop = crop_of(units, year)
    day = np.full(crop.shape, np.nan, np.float32)
    luck = _normal(units, 104, year)
    for code, calendar in _CALENDARS.items():
        here = crop == code
        day[here] = calendar.harvest + calendar.harvest_spread * luck[here] + 3 * _season(year)
    return day


def mowing_days(units: Units, year: int) -> FloatArray:
    """Return the days on which meadows and leys are cut.

    Parameters
    ----------
    units : Units
        Parcels of any cover.
    year : int
        Calendar year.

    Returns
    -------
    days : ndarray of float32, shape (3, n)
        Days since 1 January; NaN where nothing is mown.
    """
    mown = (units.cover == Cover.GRASS) & (units.draw(105) < 0.75)
    mown |= crop_of(units, year) == Crop.LEY
    base = np.array([[152.0], [203.0], [256.0]])
    luck = uniform(units.key[None, :], 106, year, np.arange(3)[:, None])
    days = base + 26.0 * (luck - 0.5) + 4.0 * _season(year)
    return np.where(mown[None, :], days, np.nan).astype(np.float32)


def surface_shares(units: Units, day: dt.date, climate: Climate = TEMPERATE) -> FloatArray:
    """Return what every parcel consists of on a day.

    Parameters
    ----------
    units : Units
        Parcels of any cover.
    day : datetime.date
        Any date.
    climate : Climate
        Of the region.

    Returns
    -------
    shares : ndarray of float32, shape (n, surfaces)
        Rows sum to 1.
    """
    shares = np.zeros((units.key.size, len(Surface)), np.float32)
    tide = float(uniform(day.toordinal(), 154))
    day = day - dt.timedelta(days=climate.shift_days)
    since = float((day - dt.date(day.year, 1, 1)).days)
    _fields(units, day, since, shares, climate)
    _meadows(units, day, since, shares, climate)
    _forests(units, day, since, shares, climate)
    _fixed(units, shares)
    wild = Season(
        grass=_sward_green(units, day, climate),
        leaf=float(_leaves(since, 3.0 * _season(day.year), climate)),
        tide=tide,
    )
    lots = np.stack([units.draw(155), units.draw(156), units.draw(157)])
    natural_shares(units.cover, lots, wild, shares)
    return shares


def variation(units: Units, day: dt.date) -> FloatArray:
    """Return how every parcel departs from its class on a day.

    Parameters
    ----------
    units : Units
        Parcels of any cover.
    day : datetime.date
        The lasting part is joined by a part of the year and one of the month.

    Returns
    -------
    amounts : ndarray of float32, shape (n, 4)
        Amounts of the rows of `terrascope.sim.spectra.VARIATION`.
    """
    amounts = np.empty((units.key.size, 4), np.float32)
    dull = np.isin(units.cover, (*WATERS, Cover.TIDAL, Cover.ROAD))
    for k in range(4):
        amounts[:, k] = (
            0.55 * _normal(units, 120 + k, 0)
            + 0.18 * _normal(units, 130 + k, day.year)
            + 0.12 * _normal(units, 140 + k, day.year * 12 + day.month)
        )
    amounts[dull] *= 0.12
    woods = np.isin(units.cover, (Cover.CONIFER, Cover.BROADLEAF, Cover.YOUNG_FOREST))
    amounts[woods] *= (0.7, 0.45, 0.22, 0.5)
    return amounts


def _normal(units: Units, salt: int, year: int) -> NDArray[np.float64]:
    """Draw a nearly normal number of unit variance per parcel and year (sum of three uniforms)."""
    parts = uniform(units.key[None, :], salt, year, np.arange(3)[:, None])
    total: NDArray[np.float64] = parts.sum(axis=0)
    return (total - 1.5) * 2.0


def _season(year: int) -> float:
    """Return how late a year is, about -2 to 2: weather that all parcels share."""
    return float(4.0 * uniform(year, 107) - 2.0)


def _rise(day: Any, middle: Any, days: Any) -> Any:
    """Logistic step from 0 to 1 around `middle`."""
    return 1.0 / (1.0 + np.exp(-(day - middle) / (0.55 * days)))


def _fields(units: Units, day: dt.date, since: float, shares: FloatArray, climate: Climate) -> None:
    """Fill the rows of fields: this year's crop, its stubble, and what is sown for the next."""
    is_field = units.cover == Cover.CROP
    if not is_field.any():
        return
    year = day.year
    at = since + climate.spread_days * (units.draw(151) - 0.5)
    vigour = 1.0 + 0.07 * _normal(units, 108, year)
    green, flower, straw = _standing(units, year, at)
    harvest = harvest_day(units, year)
    after = np.where(np.isnan(harvest), np.inf, harvest)
    cut = at >= after
    ago = np.where(cut, at - after, 0.0)
    tilled = 6.0 + 38.0 * units.draw(109)
    stubble = np.where(ago < tilled, 0.66 * np.exp(-ago / 60.0), 0.10)
    straw = np.where(cut, stubble, straw)
    volunteer = np.where(units.draw(110) < 0.35, 0.55, 0.12) * _rise(ago, tilled + 22.0, 9.0)
    winter = _rise(at, 330.0, 8.0)
    green = np.where(cut, volunteer * (1.0 - winter), green)
    following, _, _ = _standing(units, year + 1, at - _days_of(year))
    green = np.maximum(green, following)
    fallow = uniform(units.key, 152, year) < climate.fallow
    weeds = 0.45 * units.draw(153) * _sward_green(units, day, climate)
    green = np.where(fallow, weeds, green)
    straw = np.where(fallow, 0.3 * units.draw(153), straw)
    flower = np.where(fallow, 0.0, flower)
    green = np.clip(green * vigour, 0.0, 0.97)
    flower = np.minimum(flower, green)
    straw = np.clip(straw, 0.0, 1.0 - green)
    bare = 1.0 - green - straw
    bright = np.clip(0.38 + 0.22 * _normal(units, 111, 0), 0.05, 0.9)
    rows = shares[is_field]
    ley = crop_of(units, year) == Crop.LEY
    for surface, share in (
        (Surface.CROP, green - flower),
        (Surface.FLOWER, flower),
        (Surface.STRAW, straw),
        (Surface.SOIL_BRIGHT, bare * bright),
        (Surface.SOIL_DARK, bare * (1.0 - bright)),
    ):
        rows[:, surface] = np.where(ley, 0.0, share)[is_field]
    shares[is_field] = rows
    _sward(units, day, ley, 0.9, shares, climate)


def _standing(
    units: Units, year: int, since: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return green, flowering and ripe share of the crop to be harvested in `year`."""
    crop = crop_of(units, year)
    green, flower, ripe = np.zeros(crop.size), np.zeros(crop.size), np.zeros(crop.size)
    harvest = harvest_day(units, year)
    shift = 5.0 * _normal(units, 112, year) + 3.0 * _season(year)
    for code, cal in _CALENDARS.items():
        here = (crop == code) & (since < np.where(np.isnan(harvest), -np.inf, harvest))
        if not here.any():
            continue
        late, at = shift[here], since[here]
        cover = cal.winter_cover * _rise(at, cal.emerged + late + 14.0, 9.0)
        cover = np.where(at >= cal.emerged + late, cover, 0.0)
        cover = cover + (cal.peak - cal.winter_cover) * _rise(at, cal.rise + late, cal.rise_days)
        dry = _rise(at, cal.ripening + late, cal.ripening_days)
        ripe[here] = 0.86 * cover * dry
        green[here] = cover * (1.0 - 0.93 * dry)
        if code == Crop.RAPE:
            bloom = np.exp(-(((at - 124.0 - late) / 11.0) ** 2))
            flower[here] = 0.75 * bloom * green[here]
    return green, flower, ripe


def _days_of(year: int) -> float:
    return float((dt.date(year + 1, 1, 1) - dt.date(year, 1, 1)).days)


def _meadows(
    units: Units, day: dt.date, since: float, shares: FloatArray, climate: Climate
) -> None:
    """Fill the rows of grass of all kinds."""
    for cover, lush in ((Cover.GRASS, 0.88), (Cover.GARDEN, 0.62), (Cover.WETLAND, 0.7)):
        _sward(units, day, units.cover == cover, lush, shares, climate)
    garden, leaf = units.cover == Cover.GARDEN, _leaves(since, 0.0, climate)
    shares[garden] *= 0.8
    shares[garden, Surface.BROADLEAF] += np.float32(0.2 * leaf)
    shares[garden, Surface.LITTER] += np.float32(0.2 * (1.0 - leaf))
    reed = units.cover == Cover.WETLAND
    shares[reed] *= 0.72
    shares[reed, Surface.WATER] += 0.13
    shares[reed, Surface.STRAW] += 0.15


def _sward(
    units: Units,
    day: dt.date,
    here: BoolArray,
    lush: float,
    shares: FloatArray,
    climate: Climate,
) -> None:
    """Fill rows of grass: season, summer drought of the year, and cuts."""
    if not here.any():
        return
    since = float((day - dt.date(day.year, 1, 1)).days)
    green = lush * _sward_green(units, day, climate)
    for cut in mowing_days(units, day.year):
        ago = since - np.where(np.isnan(cut), np.inf, cut)
        green = np.where(ago >= 0, green * (1.0 - 0.42 * np.exp(-np.maximum(ago, 0) / 13.0)), green)
    green = np.clip(green, 0.0, 0.96)[here]
    rest = 1.0 - green
    rows = np.zeros((int(here.sum()), shares.shape[1]), np.float32)
    rows[:, Surface.GRASS] = green
    rows[:, Surface.STRAW] = 0.62 * rest
    rows[:, Surface.SOIL_DARK] = 0.38 * rest
    shares[here] = rows


def _sward_green(units: Units, day: dt.date, climate: Climate) -> NDArray[np.float64]:
    """Return how green grass is that nobody cuts, per parcel: season, and drought of the year."""
    since = float((day - dt.date(day.year, 1, 1)).days)
    late = 4.0 * _season(day.year)
    season = 0.62 + 0.38 * _rise(since, 100.0 + late, 14.0) * (1 - _rise(since, 300.0 + late, 14.0))
    season = season + climate.mild * (1.0 - season)
    drought = float(uniform(day.year, 113)) * np.exp(-(((since - 225.0) / 38.0) ** 2))
    parched = climate.dry * np.exp(-(((since - 218.0) / 75.0) ** 4))
    luck = 1.0 + 0.06 * _normal(units, 114, day.year)
    green: NDArray[np.float64] = season * (1.0 - 0.22 * drought) * (1.0 - 0.92 * parched) * luck
    return green


def _leaves(since: float, late: Any, climate: Climate) -> Any:
    """Return the leaf cover of broadleaved trees, 0 to 1."""
    summer = _rise(since, 118.0 + late, 9.0) * (1.0 - _rise(since, 299.0 + late, 10.0))
    return summer + climate.evergreen * (1.0 - summer)


def _forests(
    units: Units, day: dt.date, since: float, shares: FloatArray, climate: Climate
) -> None:
    """Fill the rows of stands and hedges; low sun lengthens the shade between crowns."""
    low_sun = 0.5 + 0.5 * np.cos(2 * np.pi * (since - 356.0) / 365.25)
    late = 3.0 * _season(day.year) + 4.0 * _normal(units, 115, 0)
    leaf = _leaves(since, late, climate)
    dense = np.clip(0.62 + 0.09 * _normal(units, 116, 0), 0.4, 0.85)
    guest = np.clip(0.12 + 0.10 * _normal(units, 117, 0), 0.0, 0.4)
    for cover, needles in ((Cover.CONIFER, 1.0), (Cover.BROADLEAF, 0.0), (Cover.HEDGE, 0.0)):
        here = units.cover == cover
        if not here.any():
            continue
        crowns = dense - 0.12 * low_sun
        conifer = crowns * np.where(needles > 0, 1.0 - guest, 0.4 * guest)
        leafy = crowns - conifer
        rest = 1.0 - crowns
        rows = np.zeros((int(here.sum()), shares.shape[1]), np.float32)
        rows[:, Surface.CONIFER] = conifer[here]
        rows[:, Surface.BROADLEAF] = (leafy * leaf)[here]
        rows[:, Surface.LITTER] = (leafy * (1.0 - leaf) + 0.2 * rest)[here]
        rows[:, Surface.SHADE] = (0.7 * rest)[here]
        rows[:, Surface.GRASS] = (0.1 * rest)[here]
        shares[here] = rows
    young = units.cover == Cover.YOUNG_FOREST
    rows = np.zeros((int(young.sum()), shares.shape[1]), np.float32)
    rows[:, Surface.CONIFER] = 0.30
    rows[:, Surface.BROADLEAF] = (0.25 * leaf)[young]
    rows[:, Surface.LITTER] = (0.25 * (1.0 - leaf))[young]
    rows[:, Surface.GRASS] = 0.33
    rows[:, Surface.SHADE] = 0.12
    shares[young] = rows


def _fixed(units: Units, shares: FloatArray) -> None:
    """Fill the rows of what has no seasons."""
    lot, tone = units.draw(118), units.draw(119)
    for cover, recipe in _RECIPES.items():
        here = units.cover == cover
        for surface, base, by_lot, by_tone in recipe:
            shares[here, surface] = (base + by_lot * lot + by_tone * tone)[here]
        total = shares[here].sum(axis=1, keepdims=True)
        shares[here] /= np.maximum(total, 1e-6)


# Surface, its share, and how the share moves with two draws of the parcel.
_RECIPES: dict[Cover, tuple[tuple[Surface, float, float, float], ...]] = {
    Cover.WATER: ((Surface.WATER, 0.9, -0.5, 0.0), (Surface.TURBID, 0.1, 0.5, 0.0)),
    Cover.HOUSES: (
        (Surface.TILE, 0.10, 0.35, 0.0),
        (Surface.ROOF, 0.04, 0.0, 0.12),
        (Surface.ASPHALT, 0.22, 0.0, 0.1),
        (Surface.GRASS, 0.34, -0.2, 0.0),
        (Surface.SHADE, 0.10, 0.0, 0.0),
    ),
    Cover.HALLS: (
        (Surface.ROOF, 0.15, 0.65, 0.0),
        (Surface.ASPHALT, 0.50, -0.3, 0.2),
        (Surface.TILE, 0.0, 0.0, 0.2),
        (Surface.SHADE, 0.06, 0.0, 0.0),
    ),
    Cover.ROAD: ((Surface.ASPHALT, 0.75, 0.0, 0.0), (Surface.GRASS, 0.15, 0.1, 0.0)),
    Cover.QUARRY: ((Surface.ROCK, 0.65, 0.0, 0.0), (Surface.SOIL_BRIGHT, 0.35, 0.0, 0.0)),
}
