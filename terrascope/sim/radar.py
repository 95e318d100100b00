"""Sentinel-1 scenes: gamma nought of VV and VH with speckle, moisture, wind and orbit."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from terrascope.sim.canvas import Cover
from terrascope.sim.palette import Palette
from terrascope.sim.scenery import Scenery
from terrascope.sim.spectra import Surface
from terrascope.sim.textures import mix, uniform
from terrascope.sim.weather import RadarPass
from terrascope.types import FloatArray

__all__ = ["ENL", "SPECKLE_TAPS", "RadarScene", "mean_backscatter", "render_radar"]

SPECKLE_TAPS = (0.19, 0.62, 0.19)
"""Correlation of the speckle of neighbouring pixels, along and across."""
ENL = 1.0 / sum(tap * tap for tap in SPECKLE_TAPS) ** 2
"""Equivalent number of looks of the speckle: about 4.8, close to that of ground range products."""

_NOISE_FLOOR = 10.0 ** (-27.0 / 10.0)


@dataclasses.dataclass(frozen=True, eq=False)
class RadarScene:
    """One simulated Sentinel-1 acquisition of a window.

    Parameters
    ----------
    when : RadarPass
        The pass.
    vv, vh : ndarray of float32, shape (y, x)
        Gamma nought, linear power, always positive.
    """

    when: RadarPass
    vv: FloatArray
    vh: FloatArray


def render_radar(scenery: Scenery, one: RadarPass, *, stream: int = 0) -> RadarScene:
    """Render one Sentinel-1 pass over a window.

    Parameters
    ----------
    scenery : Scenery
        Land and changes; pixels of 10 m.
    one : RadarPass
        When, from where, in which weather.
    stream : int
        Of the speckle: another window, another number.

    Returns
    -------
    scene : RadarScene
        Deterministic for the same arguments.
    """
    mean = mean_backscatter(scenery, one, scenery.shares(one.time.date()), Palette())
    rng = np.random.default_rng((one.seed, 421, stream))
    speckle = rng.standard_exponential(mean.shape, dtype=np.float32)
    for axis in (1, 2):
        speckle = ndimage.correlate1d(speckle, np.array(SPECKLE_TAPS), axis=axis, mode="reflect")
    mean *= speckle
    return RadarScene(one, mean[0], mean[1])


def mean_backscatter(
    scenery: Scenery, one: RadarPass, shares: FloatArray, palette: Palette
) -> FloatArray:
    """Return what the radar would see without speckle.

    Parameters
    ----------
    scenery : Scenery
        Land and changes.
    one : RadarPass
        When, from where, in which weather.
    shares : ndarray of float32, shape (surfaces, y, x)
        What the pixels consist of on the day.
    palette : Palette
        Library of the region.

    Returns
    -------
    power : ndarray of float32, shape (2, y, x)
        Gamma nought of VV and VH, linear.
    """
    land = scenery.land
    mean = _backscatter(one, palette) @ shares.reshape(len(Surface), -1)
    mean = mean.reshape(2, *land.shape)
    look = 1.0 if one.ascending else -1.0
    built = land.is_cover(Cover.HOUSES, Cover.HALLS, Cover.CITY, Cover.VILLA)
    x_m, y_m = land.x_m[built], land.y_m[built]
    point = mix(land.terrain.seed, np.floor(x_m / 10.0), np.floor(y_m / 10.0))
    glint_db = np.zeros(land.shape)
    glint_db[built] = 8.0 * (uniform(point, one.orbit) - 0.55)
    relief = -palette.terrain_db * look * np.clip(land.slope_xy[0], -0.2, 0.2)
    texture_db = 0.45 * land.fine + 0.35 * land.coarse + relief + glint_db
    mean *= (10.0 ** (texture_db / 10.0)).astype(np.float32)
    mean *= np.float32(1.06 if one.ascending else 0.95)
    mean += np.float32(_NOISE_FLOOR)
    return mean


def _backscatter(one: RadarPass, palette: Palette) -> FloatArray:
    """Return the power of every surface in VV and VH on the day, shape (2, surfaces)."""
    level = palette.radar_db.copy()
    level += (palette.moisture_gain_db * one.wetness)[:, None]
    level -= (0.6 * palette.moisture_gain_db * one.frozen)[:, None]
    for surface in (Surface.WATER, Surface.TURBID, Surface.DEEP, Surface.ALGAE):
        level[surface] += np.array([5.0, 1.5], np.float32) * one.wind
    return np.ascontiguousarray((10.0 ** (level / 10.0)).T.astype(np.float32))
