"""Simulated change in real imagery: real ground, real sky, and a change whose outline is known.

Changed ground is mixed from the simulator's surfaces, lit and varied as the simulator does, and
takes the place of the real pixel by the share that changed. Each band mixes at its own resolution,
with light spread to neighbours, so that edges are as soft as the band's own.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

import numpy as np

from terrascope.data.adapters.blending import blend_optical, blend_radar, with_noise
from terrascope.data.adapters.ground import GROUND, change_share, lay_out
from terrascope.data.scenes import PAIR_WITHIN_DAYS, LabelledScene
from terrascope.model.processing_terrascope import pair_dates
from terrascope.model.stacks import Stack, Window, as_date
from terrascope.sensors import S2_BANDS
from terrascope.sim.aftermath import Alter
from terrascope.sim.alterations import HALF, Alteration
from terrascope.sim.climate import TEMPERATE, Climate
from terrascope.sim.draws import Draws
from terrascope.sim.optical import light_ground
from terrascope.sim.palette import Palette, draw_palette
from terrascope.sim.radar import mean_backscatter
from terrascope.sim.scenery import Scenery
from terrascope.sim.spectra import Surface
from terrascope.sim.weather import OpticalPass, RadarPass, Sky
from terrascope.types import BoolArray, ChangeKind, FloatArray

__all__ = ["NoGroundError", "paste_change"]

_LATER_DAYS = (330, 400)
_KNOTS_UM = (0.44, 0.56, 0.67, 0.85, 1.61, 2.19)
_DB = 10.0 / math.log(10.0)
_CLEAR = Sky(
    cover=0.0, veil=0.0, haze=0.0, height_m=1000.0, sun_zenith=math.pi / 4, sun_azimuth=math.pi
)
"""The real image has a sky of its own, and real slopes are not known: the light is plain."""


class NoGroundError(ValueError):
    """A scene has no place, or too little, for what is to happen in it."""


def paste_change(
    scene: LabelledScene,
    what: Alter,
    rng: np.random.Generator,
    *,
    share: FloatArray | None = None,
    allowed: BoolArray | None = None,
    unchanged: bool = False,
    drift: float = 0.0,
    palette: Palette | None = None,
    climate: Climate = TEMPERATE,
) -> LabelledScene:
    """Let something happen between two dates of a real scene.

    Parameters
    ----------
    scene : LabelledScene
        Of one date or two. One date is seen again about a year later.
    what : Alter
        What happens.
    rng : numpy.random.Generator
        Decides outline, time and look.
    share : ndarray of float32 or None
        Shape (H, W): of each pixel that is replaced, 0 to 1; None: drawn, in a form that fits.
    allowed : ndarray of bool or None
        Shape (H, W): where a drawn outline may lie, for instance free of clouds; None: wherever
        the first date's land cover is one that this can happen to.
    unchanged : bool
        Whether nothing is known to have changed between the two real dates. If not, and the scene
        does not label it, ground outside of the outline is unknown.
    drift : float
        How far a date that is seen again departs in brightness, from band to band, and has noise
        of its own: 0.05 as between two real dates of one season. 0: the same numbers, in which
        every difference is the change. The speckle of radar images stays in any case.
    palette : Palette or None
        Surfaces of the region; None: drawn.
    climate : Climate
        Of the region, for its season.

    Returns
    -------
    changed : LabelledScene
        Two dates. Pixels of which half or more changed are labelled with the kind of change and,
        on the later date, with the class it leads to. Values that the change does not reach are
        the same numbers (but for the drift), and all of the earlier date; missing stays missing.

    Raises
    ------
    NoGroundError
        If an outline is drawn and the scene has no ground for it.
    ValueError
        If the scene has more dates, or the share is none.
    """
    if len(scene.dates) not in (1, 2):
        raise ValueError(f"{scene.image_id}: {len(scene.dates)} dates; expected 1 or 2")
    single = len(scene.dates) == 1
    if single:
        scene = _seen_again(scene, int(rng.integers(*_LATER_DAYS)), drift, rng)
    land = lay_out(scene.cover[0], scene.window.geometry.pixel_size_yx_m, rng)
    if share is None:
        where = np.isin(scene.cover[0], GROUND[what].codes) if allowed is None else allowed
        where = where & scene.observed[0] & scene.observed[1]
        share = change_share(what, land, where, rng)
        if share is None:
            raise NoGroundError(
                f"{scene.image_id}: {int(where.sum())} pixels where {what.name.lower()} can "
                "happen; too few, or scattered"
            )
    _require_share(share, land.shape)
    one = _happening(what, share.astype(np.float32), scene.dates, rng, climate.shift_days)
    surfaces = palette if palette is not None else draw_palette(Draws(rng, "train"))
    window = _blend(scene.window, Scenery(land, [one], climate), one, surfaces, rng)
    return _labelled(scene, window, one, known=single or unchanged)


def _require_share(share: FloatArray, shape: tuple[int, int]) -> None:
    low, high = float(share.min()), float(share.max())
    if share.shape != shape or not 0.0 <= low <= high <= 1.0 or high < HALF:
        raise ValueError(
            f"share of shape {share.shape} from {low} to {high}: expected {shape}, 0 to 1, and at "
            f"least {HALF} somewhere"
        )


def _seen_again(
    scene: LabelledScene, days: int, drift: float, rng: np.random.Generator
) -> LabelledScene:
    """Return a scene of one date as one of two."""
    if not 0.0 <= drift <= 0.5:
        raise ValueError(f"drift {drift}: expected 0 to 0.5")
    stacks = [
        None if stack is None else _repeated(stack, days, drift, _side_m(scene.window), rng)
        for stack in (scene.window.optical, scene.window.radar)
    ]
    window = Window(scene.window.geometry, *stacks)
    cover = np.concatenate([scene.cover] * 2)
    return LabelledScene(scene.image_id, window, cover)


def _side_m(window: Window) -> float:
    return math.sqrt(math.prod(window.geometry.pixel_size_yx_m))


def _repeated(
    stack: Stack, days: int, drift: float, pixel_m: float, rng: np.random.Generator
) -> Stack:
    day = as_date(stack.dates[0])
    later = stack.values
    if drift > 0:
        step = drift * (rng.standard_normal(len(_KNOTS_UM)) + rng.standard_normal())
        if stack.sensor == "sentinel-2":
            wavelength = [S2_BANDS[band].wavelength_um for band in stack.bands]
            tint = np.exp(np.interp(wavelength, _KNOTS_UM, step)).astype(later.dtype)
            later = with_noise(later[0] * tint[:, None, None], stack.bands, pixel_m, rng)[None]
        else:
            later = later + (_DB * step[: later.shape[1], None, None]).astype(later.dtype)
    return dataclasses.replace(
        stack,
        values=np.concatenate([stack.values, later]).astype(stack.values.dtype),
        dates=(day, day + dt.timedelta(days=days)),
        valid=None if stack.valid is None else np.concatenate([stack.valid] * 2),
    )


def _happening(
    what: Alter,
    share: FloatArray,
    dates: tuple[dt.date, ...],
    rng: np.random.Generator,
    shift_days: int,
) -> Alteration:
    """Place it between the dates, complete at the second."""
    room = (dates[1] - dates[0]).days
    days = min(float(rng.uniform(*GROUND[what].days)), 0.7 * room)
    wait = int(rng.random() * max(room - days - 1.0, 0.0))
    start = dates[0] + dt.timedelta(days=1 + wait)
    return Alteration(what, share, start, days, None, int(rng.integers(2**31)), shift_days)


def _blend(
    window: Window,
    scenery: Scenery,
    one: Alteration,
    palette: Palette,
    rng: np.random.Generator,
) -> Window:
    """Blend the change into the images of the second date."""
    step = pair_dates(window, PAIR_WITHIN_DAYS)[1]
    where = one.share > 0
    shares = np.zeros((len(Surface), *where.shape), np.float32)
    shares[:, where] = one.mixture(scenery.land, where, step.date)
    wetness = float(rng.beta(1.1, 2.2))
    seed = int(rng.integers(2**31))
    time = dt.datetime.combine(step.date, dt.time(10), dt.UTC)
    optical, radar = window.optical, window.radar
    at, radar_at = step.index
    if optical is not None and at is not None:
        seen = OpticalPass(time, "sentinel-2a", 1, _CLEAR, None, wetness, 0.0, seed)
        ground = light_ground(scenery, seen, shares, palette)
        values = np.array(optical.values)
        side = _side_m(window)
        values[at] = blend_optical(values[at], optical.bands, ground, one.share, side, rng)
        optical = dataclasses.replace(optical, values=values)
    if radar is not None and radar_at is not None:
        wind = float(rng.random()) ** 1.5
        heard = RadarPass(time, 1, bool(rng.random() < 0.5), wetness, wind, 0.0, seed)
        power = mean_backscatter(scenery, heard, shares, palette)
        values = np.array(radar.values)
        values[radar_at] = blend_radar(values[radar_at], radar.bands, power, one.share, rng)
        radar = dataclasses.replace(radar, values=values)
    return Window(window.geometry, optical, radar)


def _labelled(
    scene: LabelledScene, window: Window, one: Alteration, *, known: bool
) -> LabelledScene:
    """Label the pixels of which at least half changed."""
    done = one.share >= HALF
    rest = ChangeKind.NONE if known else ChangeKind.OUTSIDE
    old = scene.changes.get((0, 1), np.full(done.shape, rest, np.uint8))
    kinds = np.where(done, np.uint8(one.kind), old)
    cover = scene.cover.copy()
    code = one.class_code(scene.dates[1])
    if code:
        cover[1][done] = code
    return LabelledScene(scene.image_id, window, cover, {(0, 1): kinds})
