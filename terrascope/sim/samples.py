"""Single windows with labels: what a model is trained on and examined with."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.alterations import Alter, states
from terrascope.sim.classes import REVERSE
from terrascope.sim.draws import SPLITS, Draws
from terrascope.sim.happenings import draw_alterations
from terrascope.sim.land import Land, make_land
from terrascope.sim.places import Place, draw_place
from terrascope.sim.scenery import Scenery
from terrascope.sim.shots import (
    Chain,
    draw_chain,
    draw_dates,
    draw_grain,
    draw_shot,
    shoot_optical,
    shoot_radar,
)
from terrascope.types import BoolArray, ChangeKind, FloatArray
from terrascope.vocabulary import LAND_COVER

__all__ = ["SceneSample", "draw_count", "sample_dates", "sample_scene"]

_NATIVE_M = 10.0
_MARGIN = 4  # pixels, at least: room for the blur, the phase of the 60 m grid, and speckle
_IS_GREEN = np.array(
    [name in ("grass", "crop", "tree", "shrub", "wetland") for name in ("unknown", *LAND_COVER)]
)
_COUNTS, _COUNT_WEIGHTS = (1, 2, 3, 4), (0.15, 0.60, 0.15, 0.10)


@dataclasses.dataclass(frozen=True, eq=False)
class SceneSample:
    """One window of ground on T dates, seen by both sensors.

    Parameters
    ----------
    seed : int
        Of the sample.
    split : str
        ``"train"``, ``"validation"`` or ``"test"``.
    pixel_m : float
        Width of a pixel in metres: mostly 10; sometimes 6 to 10, where a map grid
        is finer than the sensors.
    optical : ndarray of float32, shape (T, 12, H, W)
        Surface reflectance, bands in the order of `terrascope.sensors.S2_BANDS`,
        all on the grid of `pixel_m`; NaN outside the swath or not acquired.
    radar : ndarray of float32, shape (T, 2, H, W)
        VV and VH in dB; NaN where not acquired.
    optical_dates, radar_dates : tuple of datetime.date
        Length T, in order of time; a radar date lies within 5 days of the optical one.
    cloudy : ndarray of bool, shape (T, H, W)
        True cloud or cloud shadow on the optical image.
    cover : ndarray of uint8, shape (T, H, W)
        `terrascope.vocabulary.CLASS_CODES` on each date, changes included; 0 unknown.
    disturbance : ndarray of uint8, shape (T, H, W)
        `ChangeKind` in force on each date; 0 none.
    damage : ndarray of float32, shape (T, H, W)
        Share of the pixel that it has replaced, 0 to 1; also below the half from
        which it counts as `disturbance`.
    """

    seed: int
    split: str
    pixel_m: float
    optical: FloatArray
    radar: FloatArray
    optical_dates: tuple[dt.date, ...]
    radar_dates: tuple[dt.date, ...]
    cloudy: BoolArray
    cover: NDArray[np.uint8]
    disturbance: NDArray[np.uint8]
    damage: FloatArray

    def change(self, before: int, after: int) -> NDArray[np.uint8]:
        """Return what changed between two dates.

        Parameters
        ----------
        before, after : int
            Indices of the dates, counted from 0.

        Returns
        -------
        kind : ndarray of uint8, shape (H, W)
            `ChangeKind` codes; 0 where nothing changed. What is over on the later
            date is named by its opposite: a flood that has fallen is water loss.
            Dead trees that are felled are vegetation loss once more; a felling
            that has become grass or shrub is regrowth.

        Raises
        ------
        ValueError
            If `before` does not come before `after`.
        """
        if not 0 <= before < after < len(self.optical_dates):
            raise ValueError(
                f"dates {before} and {after}: expected two of "
                f"{len(self.optical_dates)} dates, in order"
            )
        old, new = self.disturbance[before], self.disturbance[after]
        kind = np.where(new > 0, new, REVERSE[old])
        moved = self.cover[before] != self.cover[after]
        greened = moved & (old == new) & _IS_GREEN[self.cover[after]]
        kind = np.where(greened & ~_IS_GREEN[self.cover[before]], ChangeKind.REGROWTH, kind)
        changed = (old != new) | ((new > 0) & moved)
        return np.where(changed, kind, ChangeKind.NONE).astype(np.uint8)


def sample_scene(
    seed: int,
    *,
    split: str = "train",
    size: int = 128,
    dates: int | None = None,
    happening: Alter | None = None,
    render: bool = True,
) -> SceneSample:
    """Simulate one labelled window.

    Landscape, climate, weather, surfaces, dates and changes are all drawn.
    Parameters of the test split come from bands of their ranges that train and
    validation never draw from (`Draws`), and its textures are its own.

    Parameters
    ----------
    seed : int
        Of the sample, 0 or more; splits share no samples for the same seed.
    split : str
        ``"train"``, ``"validation"`` or ``"test"``.
    size : int
        Rows and columns of the window, at least 16.
    dates : int or None
        How many; None: drawn, mostly 2.
    happening : Alter or None
        What happens between the dates, wherever the window has the ground for it; None:
        drawn. For questions about changes that are rare.
    render : bool
        False leaves the images out (all NaN, nothing cloudy): the same labels, for the
        statistics of questions, several times faster.

    Returns
    -------
    sample : SceneSample
        The same for the same arguments; on another machine, images may differ by
        the rounding of its matrix library, labels do not.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    draws, place, chain, days = _begun(seed, split, size, dates, happening)
    count, land = len(days), _window(place, size, chain.pixel_m)
    alterations = draw_alterations(draws, land, place.climate, days, happening)
    scenery = Scenery(land, alterations, place.climate)
    part = chain.nearest(size)
    shape = (count, size, size)
    sample = SceneSample(
        seed=seed,
        split=split,
        pixel_m=chain.pixel_m,
        optical=np.full((count, 12, size, size), np.nan, np.float32),
        radar=np.full((count, 2, size, size), np.nan, np.float32),
        optical_dates=tuple(days),
        radar_dates=(),
        cloudy=np.zeros(shape, bool),
        cover=np.zeros(shape, np.uint8),
        disturbance=np.zeros(shape, np.uint8),
        damage=np.zeros(shape, np.float32),
    )
    grain = draw_grain(draws, land, chain)
    shots = [draw_shot(draws, day, place.climate, chain, land.box) for day in days]
    for index, (day, shot) in enumerate(zip(days, shots, strict=True)):
        truth = states(land, alterations, day)
        sample.cover[index] = truth.cover[part]
        sample.disturbance[index] = truth.kind[part]
        sample.damage[index] = truth.damage[part]
        if not render:
            continue
        shares = scenery.shares(day, snow=shot.optical.snow)
        if shot.has_optical:
            sample.optical[index], sample.cloudy[index] = shoot_optical(
                scenery, shot, shares, place.palette, chain, grain, size
            )
        if shot.has_radar:
            sample.radar[index] = shoot_radar(scenery, shot, shares, place.palette, chain, size)
    radar_dates = tuple(shot.radar.time.date() for shot in shots)
    return dataclasses.replace(sample, radar_dates=radar_dates)


def draw_count(rng: np.random.Generator) -> int:
    """Draw how many dates a window has, as `sample_scene` does where it is not told.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of the draw.

    Returns
    -------
    count : int
        1 to 4, mostly 2.
    """
    return int(rng.choice(_COUNTS, p=_COUNT_WEIGHTS))


def sample_dates(
    seed: int, *, split: str = "train", size: int = 128, dates: int | None = None
) -> tuple[dt.date, ...]:
    """Return the optical dates of a sample, without making it.

    Parameters
    ----------
    seed : int
        Of the sample, 0 or more.
    split : str
        ``"train"``, ``"validation"`` or ``"test"``.
    size : int
        Rows and columns of the window.
    dates : int or None
        How many; None: drawn.

    Returns
    -------
    days : tuple of datetime.date
        Its `optical_dates`, hundreds of times faster.
    """
    return tuple(_begun(seed, split, size, dates, None)[3])


def _begun(
    seed: int, split: str, size: int, dates: int | None, happening: Alter | None
) -> tuple[Draws, Place, Chain, list[dt.date]]:
    """Draw what comes before the land: place, provider and dates."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    if seed < 0 or size < 16 or (dates is not None and dates < 1):
        raise ValueError(f"seed {seed}, size {size}, dates {dates}: expected at least 0, 16 and 1")
    key: tuple[int, ...] = (SPLITS.index(split), seed, size, dates or 0)
    key += () if happening is None else (int(happening),)
    draws = Draws(np.random.default_rng(key), split)
    count = dates or draws.choice(_COUNTS, _COUNT_WEIGHTS)
    place, chain = draw_place(draws), draw_chain(draws)
    return draws, place, chain, draw_dates(draws, count)


def _window(place: Place, size: int, pixel_m: float) -> Land:
    """Lay out a window of a place with its margin."""
    native = math.ceil(size * pixel_m / _NATIVE_M)
    padded = -(-(native + _MARGIN) // 6) * 6
    step = (np.arange(padded) + 0.5 - padded / 2) * _NATIVE_M
    x_m, y_m = np.meshgrid(place.centre_m[0] + step, place.centre_m[1] - step)
    return make_land(x_m, y_m, seed=place.seed, layout=place.layout, textures=place.textures)
