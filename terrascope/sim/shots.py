"""The dates of a sample, and the two images of a window on each."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.sensors import S2_BANDS
from terrascope.sim.classes import CLASS_OF
from terrascope.sim.climate import Climate
from terrascope.sim.draws import Draws
from terrascope.sim.land import Land
from terrascope.sim.optical import add_sky, light_ground
from terrascope.sim.palette import Palette
from terrascope.sim.radar import SPECKLE_TAPS, mean_backscatter
from terrascope.sim.scenery import Scenery
from terrascope.sim.sky import make_clouds
from terrascope.sim.weather import OpticalPass, RadarPass, Sky, Swath, sun_position
from terrascope.types import BoolArray, FloatArray
from terrascope.vocabulary import LAND_COVER

__all__ = [
    "Chain",
    "Shot",
    "draw_chain",
    "draw_dates",
    "draw_grain",
    "draw_shot",
    "shoot_optical",
    "shoot_radar",
]

_FIRST_DAY, _LAST_DAY = dt.date(2016, 1, 1), dt.date(2026, 12, 31)
_KNOTS_UM = (0.44, 0.67, 0.85, 1.61, 2.19)
_STRESS = np.array([0.5, 0.8, 0.3, 0.5])
_GRAIN_BANDS = np.array([1.0] * 4 + [0.85] + [0.6] * 5 + [0.7] * 2, np.float32)
_GRAIN = dict(zip(LAND_COVER, (0.02, 0.09, 0.07, 0.055, 0.055, 0.09, 0.065, 0.065), strict=True))
_GAPS = ("same season", "season", "weeks", "any")
_GAP_WEIGHTS = (0.42, 0.26, 0.12, 0.20)


@dataclasses.dataclass(frozen=True)
class Chain:
    """How a provider made images of what the sensors saw; the same for all dates of a sample.

    Parameters
    ----------
    pixel_m : float
        Of the grid that the images come on: mostly the native 10 m, sometimes finer.
    phase : tuple of int
        Row and column of the window's corner in the 60 m grid of its margin, 1 to 3.
    blur : float
        Share of a pixel's light that falls on each neighbour, 0.06 to 0.2.
    smooth : bool
        Coarse bands are interpolated to 10 m; otherwise their pixels are repeated.
    grain : float
        Contrast of neighbouring pixels, about 1.
    orbit : int
        Relative orbit of most radar passes.
    ascending : bool
        Direction of these passes.
    looks : float
        Radar images averaged, or the like of it by a speckle filter.
    """

    pixel_m: float
    phase: tuple[int, int]
    blur: float
    smooth: bool
    grain: float
    orbit: int
    ascending: bool
    looks: float

    def places(self, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the rows and columns of the window lie in its margin.

        Parameters
        ----------
        size : int
            Rows and columns of the window.

        Returns
        -------
        rows, columns : ndarray of float64, shape (size,)
            Centres in native pixels.
        """
        steps = (np.arange(size, dtype=np.float64) + 0.5) * (self.pixel_m / 10.0) - 0.5
        return self.phase[0] + steps, self.phase[1] + steps

    def nearest(self, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return indices that take the window out of an array with its margin.

        Parameters
        ----------
        size : int
            Rows and columns of the window.

        Returns
        -------
        indices : tuple of ndarray of int
            For an array of shape (y, x), of its nearest pixels.
        """
        rows, columns = (np.floor(place + 0.5).astype(np.intp) for place in self.places(size))
        return np.ix_(rows, columns)  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True, eq=False)
class Shot:
    """One date: both passes, and which of them was acquired.

    Parameters
    ----------
    optical : OpticalPass
        Date and sky.
    radar : RadarPass
        At most five days apart from it.
    tint : ndarray of float32, shape (12,)
        What view angle and atmospheric correction make of every band, about 1.
    gain_db : ndarray of float32, shape (2,)
        What calibration and the water in the canopy add to VV and VH.
    stress : ndarray of float32, shape (4,)
        Drought and health of all plants on the day (`light_ground`).
    has_optical, has_radar : bool
        False where there is no image.
    """

    optical: OpticalPass
    radar: RadarPass
    tint: FloatArray
    gain_db: FloatArray
    stress: FloatArray
    has_optical: bool = True
    has_radar: bool = True


def draw_chain(draws: Draws) -> Chain:
    """Draw how the images of a sample were processed.

    Parameters
    ----------
    draws : Draws
        Source of the numbers.

    Returns
    -------
    chain : Chain
        One of many.
    """
    rng = draws.rng
    return Chain(
        pixel_m=draws.between(6.2, 9.5) if draws.chance(0.2) else 10.0,
        phase=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        blur=draws.between(0.06, 0.18),
        smooth=draws.chance(0.6),
        grain=draws.between(0.4, 1.6),
        orbit=int(rng.integers(1, 176)),
        ascending=draws.chance(0.5),
        looks=draws.choice((1.0, 1.5, 2.0, 4.0, 8.0), (0.4, 0.15, 0.2, 0.15, 0.1)),
    )


def draw_dates(draws: Draws, count: int) -> list[dt.date]:
    """Draw the dates of a sample: often the same season, years apart.

    Parameters
    ----------
    draws : Draws
        Source of the numbers.
    count : int
        How many, at least 1.

    Returns
    -------
    dates : list of datetime.date
        In order, at least five days apart.
    """
    rng = draws.rng
    span = (_LAST_DAY - _FIRST_DAY).days
    if draws.chance(0.75):  # the growing season is looked at more often
        year = int(rng.integers(_FIRST_DAY.year, _LAST_DAY.year + 1))
        days = [dt.date(year, 4, 1).toordinal() + int(rng.integers(0, 210))]
    else:
        days = [_FIRST_DAY.toordinal() + int(rng.integers(0, span))]
    while len(days) < count:
        match draws.choice(_GAPS, _GAP_WEIGHTS):
            case "same season":
                gap = 365 * int(rng.integers(1, 4)) + int(rng.integers(-25, 26))
            case "season":
                gap = int(rng.integers(50, 300))
            case "weeks":
                gap = int(rng.integers(5, 50))
            case _:
                gap = int(rng.integers(50, 1500))
        days.append(days[-1] + gap)
    late = days[-1] - _LAST_DAY.toordinal()
    back = 365 * (-(-late // 365)) if late > 0 else 0
    return [dt.date.fromordinal(day - back) for day in days]


def draw_shot(
    draws: Draws,
    day: dt.date,
    climate: Climate,
    chain: Chain,
    box: tuple[float, float, float, float],
) -> Shot:
    """Draw sky, weather and passes of one date.

    Parameters
    ----------
    draws : Draws
        Source of the numbers.
    day : datetime.date
        Of the optical pass.
    climate : Climate
        Of the region.
    chain : Chain
        Names the orbit that radar passes mostly have.
    box : tuple of float
        West, south, east, north of the window in metres.

    Returns
    -------
    shot : Shot
        Both passes.
    """
    rng = draws.rng
    time = dt.datetime(day.year, day.month, day.day, 9, 50, tzinfo=dt.UTC)
    zenith, azimuth = sun_position(time, latitude_deg=climate.latitude_deg)
    level = draws.choice(("clear", "few", "some", "many"), (0.62, 0.20, 0.135, 0.045))
    low, high = {"clear": (0, 0), "few": (0.01, 0.2), "some": (0.2, 0.6), "many": (0.6, 0.95)}[
        level
    ]
    sky = Sky(
        cover=float(rng.uniform(low, high)),
        veil=draws.between(0.1, 0.9) if draws.chance(0.10) else 0.0,
        haze=draws.between(-0.12, 0.12) if draws.chance(0.82) else draws.between(0.12, 0.9),
        height_m=draws.between(500.0, 2500.0),
        sun_zenith=min(zenith, 1.35),
        sun_azimuth=azimuth,
    )
    swath = None
    if draws.chance(0.05):
        west, south, east, north = box
        tilt = np.deg2rad(13.0) + (np.pi if draws.chance(0.5) else 0.0)
        normal_x, normal_y = float(np.cos(tilt)), float(np.sin(tilt))
        through = rng.uniform((west, south), (east, north))
        swath = Swath(normal_x, normal_y, float(through @ (normal_x, normal_y)))
    wetness = float(rng.beta(1.1, 2.2))
    later = dt.timedelta(days=int(rng.integers(-5, 6)))
    other = draws.chance(0.1)
    cold = _winter(day, climate) and draws.chance(0.5)
    radar = RadarPass(
        time=time + later,
        orbit=chain.orbit + 200 * other,
        ascending=chain.ascending != other,
        wetness=float(np.clip(wetness + rng.normal(0.0, 0.15), 0.0, 1.0)),
        wind=draws.share() ** 1.5,
        frozen=draws.between(0.3, 1.0) if cold else 0.0,
        seed=int(rng.integers(2**31)),
    )
    optical = OpticalPass(
        time=time,
        platform="sentinel-2a" if draws.chance(0.5) else "sentinel-2b",
        orbit=int(rng.integers(1, 144)),
        sky=sky,
        swath=swath,
        wetness=wetness,
        snow=_snow(draws, day, climate),
        seed=int(rng.integers(2**31)),
    )
    wavelength = [band.wavelength_um for band in S2_BANDS.values()]
    bend = 0.05 * rng.standard_normal(len(_KNOTS_UM)) + 0.05 * rng.standard_normal()
    lost = float(rng.random())
    return Shot(
        optical,
        radar,
        tint=np.exp(np.interp(wavelength, _KNOTS_UM, bend)).astype(np.float32),
        stress=(rng.standard_normal(4) * _STRESS).astype(np.float32),
        gain_db=(0.25 * rng.standard_normal(2) + 0.25 * rng.standard_normal()).astype(np.float32),
        has_optical=lost > 0.02,
        has_radar=lost < 0.96,
    )


def _winter(day: dt.date, climate: Climate) -> bool:
    """Tell whether snow can lie."""
    season = day - dt.timedelta(days=climate.shift_days)
    return season.month in (12, 1, 2, 3) and climate.snow > 0.0


def _snow(draws: Draws, day: dt.date, climate: Climate) -> float:
    """Draw the share of open ground under snow."""
    if not _winter(day, climate) or not draws.chance(0.6 * climate.snow):
        return 0.0
    return draws.between(0.15, 1.0)


def draw_grain(draws: Draws, land: Land, chain: Chain) -> FloatArray:
    """Draw how single pixels depart from their surroundings, on all dates alike.

    Parameters
    ----------
    draws : Draws
        Source of the numbers.
    land : Land
        The window.
    chain : Chain
        Its contrast.

    Returns
    -------
    grain : ndarray of float32, shape (y, x)
        Relative brightness in the visible bands, mean 0: crowns and gaps, roofs, stones.
    """
    spread = np.zeros(len(LAND_COVER) + 1, np.float32)
    spread[1:] = [chain.grain * _GRAIN[name] for name in LAND_COVER]
    white = draws.rng.standard_normal(land.shape, dtype=np.float32)
    return spread[CLASS_OF[land.cover]] * (white + 0.3 * land.fine)


def shoot_optical(
    scenery: Scenery,
    shot: Shot,
    shares: FloatArray,
    palette: Palette,
    chain: Chain,
    grain: FloatArray,
    size: int,
) -> tuple[FloatArray, BoolArray]:
    """Render the optical image of a date.

    Parameters
    ----------
    scenery : Scenery
        Land and changes, with a margin around the window; rows and columns
        divisible by 6.
    shot : Shot
        Its pass.
    shares : ndarray of float32, shape (surfaces, y, x)
        What the pixels consist of on the day.
    palette : Palette
        Library of the region.
    chain : Chain
        Processing.
    grain : ndarray of float32, shape (y, x)
        Relative brightness of single pixels.
    size : int
        Rows and columns of the window.

    Returns
    -------
    reflectance : ndarray of float32, shape (12, size, size)
        NaN outside the swath.
    cloudy : ndarray of bool, shape (size, size)
        True cloud or shadow.
    """
    one, land = shot.optical, scenery.land
    dense = light_ground(scenery, one, shares, palette, stress=shot.stress)
    rough = np.clip(grain, -0.5, 0.8)
    for band, weight in enumerate(_GRAIN_BANDS):
        dense[band] *= shot.tint[band] * (1.0 + weight * rough)
    clouds = make_clouds(land, one)
    add_sky(dense, clouds)
    rng = np.random.default_rng((one.seed, 411))
    shift = rng.uniform(-0.15, 0.15, 2)
    image = np.empty((len(S2_BANDS), size, size), np.float32)
    gsd = np.array([band.gsd_m // 10 for band in S2_BANDS.values()])
    for times in (1, 2, 6):
        here = np.nonzero(gsd == times)[0]
        smooth = chain.smooth or times == 1
        (down_y, up_y), (down_x, up_x) = (
            (
                _averaging(land.shape[axis], times, chain.blur, float(shift[axis])),
                _spreading(place, times, land.shape[axis] // times, smooth=smooth),
            )
            for axis, place in enumerate(chain.places(size))
        )
        coarse = down_y @ dense[here] @ down_x.T
        noise = rng.standard_normal(coarse.shape, dtype=np.float32)
        coarse += noise * (np.float32(0.0009) + np.float32(0.004) * np.abs(coarse))
        image[here] = up_y @ coarse @ up_x.T
    window = chain.nearest(size)
    cloudy = (clouds.cloudy | clouds.shaded)[window]
    if one.swath is not None:
        reach = land.x_m[window] * one.swath.normal_x + land.y_m[window] * one.swath.normal_y
        image[:, reach < one.swath.offset_m] = np.nan
    return image, cloudy


def _averaging(padded: int, times: int, blur: float, shift: float) -> FloatArray:
    """Return the matrix that blurs one axis and averages it to a band's own pixels."""
    before, after = blur - shift / 2, blur + shift / 2
    spread = np.eye(padded, dtype=np.float32) * np.float32(1.0 - before - after)
    row = np.arange(padded - 1)
    spread[row + 1, row], spread[row, row + 1] = before, after
    spread[0, 0] += before
    spread[-1, -1] += after
    return np.asarray(spread.reshape(padded // times, times, padded).mean(axis=1), np.float32)


def _spreading(place: NDArray[np.float64], times: int, count: int, *, smooth: bool) -> FloatArray:
    """Return the matrix that puts a band's pixels at the places of one axis of the window."""
    up = np.zeros((place.size, count), np.float32)
    row = np.arange(place.size)
    at = np.clip((place + 0.5) / times - 0.5, 0.0, count - 1.0)
    if not smooth:
        up[row, np.floor(at + 0.5).astype(np.intp)] = 1.0
        return up
    low = np.minimum(at.astype(np.intp), count - 2)
    up[row, low] = 1.0 - (at - low)
    up[row, low + 1] = at - low
    return up


def shoot_radar(
    scenery: Scenery, shot: Shot, shares: FloatArray, palette: Palette, chain: Chain, size: int
) -> FloatArray:
    """Render the radar image of a date.

    Parameters
    ----------
    scenery : Scenery
        Land and changes, with a margin around the window.
    shot : Shot
        Its pass.
    shares : ndarray of float32, shape (surfaces, y, x)
        What the pixels consist of on the day.
    palette : Palette
        Library of the region.
    chain : Chain
        Processing.
    size : int
        Rows and columns of the window.

    Returns
    -------
    backscatter : ndarray of float32, shape (2, size, size)
        VV and VH in dB.
    """
    one = shot.radar
    mean = mean_backscatter(scenery, one, shares, palette)
    mean *= 10.0 ** (shot.gain_db[:, None, None] / 10.0)
    rng = np.random.default_rng((one.seed, 421))
    speckle = rng.standard_gamma(chain.looks, mean.shape, dtype=np.float32)
    mean *= _correlated(speckle, np.array(SPECKLE_TAPS, np.float32) / chain.looks**0.5)
    across, along = (
        _spreading(place, 1, land_size, smooth=chain.smooth or chain.pixel_m == 10.0)
        for place, land_size in zip(chain.places(size), mean.shape[1:], strict=True)
    )
    power = across @ mean @ along.T
    return np.asarray(10.0 * np.log10(power), np.float32)


def _correlated(speckle: FloatArray, taps: NDArray[np.floating[Any]]) -> FloatArray:
    """Correlate neighbouring pixels along and across."""
    for axis in (1, 2):
        rolled = [np.roll(speckle, step, axis=axis) for step in (1, -1)]
        speckle = np.float32(taps[1]) * speckle
        speckle += np.float32(taps[0]) * rolled[0] + np.float32(taps[2]) * rolled[1]
    return speckle
