"""Sentinel-2 scenes: reflectance of 12 bands as the sensor would have it, and their SCL."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.sensors import S2_BANDS
from terrascope.sim import phenology
from terrascope.sim.canvas import WATERS
from terrascope.sim.palette import Palette
from terrascope.sim.scenery import Scenery
from terrascope.sim.sky import Clouds, block_mean, classify, make_clouds
from terrascope.sim.spectra import CLOUD, HAZE, SHADOW_LOSS, VARIATION, Surface
from terrascope.sim.textures import uniform
from terrascope.sim.weather import OpticalPass, Swath
from terrascope.types import BoolArray, FloatArray

__all__ = ["OpticalScene", "add_sky", "light_ground", "render_optical"]

_SOILS = [Surface.SOIL_DARK, Surface.SOIL_BRIGHT, Surface.ROCK, Surface.STRAW, Surface.CHAR]
_PSF = 0.11  # of each neighbour: 0.56 of the contrast is left at the Nyquist frequency


@dataclasses.dataclass(frozen=True, eq=False)
class OpticalScene:
    """One simulated Sentinel-2 acquisition of a window.

    Parameters
    ----------
    when : OpticalPass
        The pass.
    bands : dict of str to ndarray of float32
        Surface reflectance by canonical band, shape (y, x) at the band's own
        10, 20 or 60 m; NaN outside the swath.
    scl : ndarray of uint8, shape (y / 2, x / 2)
        Scene classification at 20 m, 0 outside the swath.
    clouds : Clouds
        The true sky at 10 m.
    imaged : ndarray of bool, shape (y, x)
        Inside the swath, at 10 m.
    """

    when: OpticalPass
    bands: dict[str, FloatArray]
    scl: NDArray[np.uint8]
    clouds: Clouds
    imaged: BoolArray

    def dense(self) -> FloatArray:
        """Return all bands on the 10 m grid, coarser pixels repeated.

        Returns
        -------
        reflectance : ndarray of float32, shape (12, y, x)
            NaN outside the swath.
        """
        planes = []
        for name, band in S2_BANDS.items():
            times = band.gsd_m // 10
            planes.append(self.bands[name].repeat(times, axis=0).repeat(times, axis=1))
        return np.stack(planes)

    def dense_scl(self) -> NDArray[np.uint8]:
        """Return the scene classification on the 10 m grid.

        Returns
        -------
        scl : ndarray of uint8, shape (y, x)
            Codes of `terrascope.sensors.SCL_CLASSES`.
        """
        return self.scl.repeat(2, axis=0).repeat(2, axis=1)


def render_optical(scenery: Scenery, one: OpticalPass, *, stream: int = 0) -> OpticalScene:
    """Render one Sentinel-2 pass over a window.

    Parameters
    ----------
    scenery : Scenery
        Land and changes; pixels of 10 m, rows and columns divisible by 6.
    one : OpticalPass
        When, and under which sky.
    stream : int
        Of the sensor noise: another window, another number.

    Returns
    -------
    scene : OpticalScene
        Deterministic for the same arguments.

    Raises
    ------
    ValueError
        If rows or columns are not divisible by 6 (60 m bands).
    """
    land = scenery.land
    if land.shape[0] % 6 or land.shape[1] % 6:
        raise ValueError(f"window of {land.shape} pixels: 60 m bands need multiples of 6")
    shares = scenery.shares(one.time.date(), snow=one.snow)
    dense = light_ground(scenery, one, shares, Palette())
    clouds = make_clouds(land, one)
    add_sky(dense, clouds)
    dense = _blur(dense, one)
    scl = classify(land, one, clouds, dense)
    rng = np.random.default_rng((one.seed, 411, stream))
    imaged = _imaged(scenery, one.swath)
    bands = {}
    for index, (name, band) in enumerate(S2_BANDS.items()):
        times = band.gsd_m // 10
        plane = dense[index] if times == 1 else block_mean(dense[index], times)
        noise = rng.standard_normal(plane.shape, dtype=np.float32)
        plane = plane + noise * (np.float32(0.0009) + np.float32(0.004) * np.abs(plane))
        plane[~_whole(imaged, times)] = np.nan
        bands[name] = plane
    scl[~_whole(imaged, 2)] = 0
    return OpticalScene(one, bands, scl, clouds, imaged)


def light_ground(
    scenery: Scenery,
    one: OpticalPass,
    shares: FloatArray,
    palette: Palette,
    *,
    stress: FloatArray | None = None,
) -> FloatArray:
    """Mix the surfaces, vary them within their class, and light them.

    Parameters
    ----------
    scenery : Scenery
        Land and changes.
    one : OpticalPass
        Sun and wetness.
    shares : ndarray of float32, shape (surfaces, y, x)
        What the pixels consist of on the day.
    palette : Palette
        Library of the region.
    stress : ndarray of float32, shape (4,), or None
        How all plants of the region depart from their usual state on the day,
        in amounts of the rows of `terrascope.sim.spectra.VARIATION`.

    Returns
    -------
    reflectance : ndarray of float32, shape (12, y, x)
        Of the ground under a clear sky, all bands on the grid of the land.
    """
    land, day = scenery.land, one.time.date()
    library = palette.reflectance.copy()
    library[_SOILS] *= 1.0 - 0.26 * one.wetness
    pixels = shares.reshape(len(Surface), -1)
    amounts = np.take(
        np.ascontiguousarray(phenology.variation(land.units, day).T), land.unit, axis=1
    )
    grain = np.where(land.is_cover(*WATERS), 0.06, 0.32).astype(np.float32)
    coarse, fine = land.coarse * grain, land.fine * grain
    amounts[0] += coarse + fine
    amounts[1] += 0.8 * np.roll(coarse, 17, axis=1) - 0.3 * fine
    amounts[2] += 0.5 * fine
    amounts[3] += 0.6 * coarse - 0.4 * fine
    if stress is not None:
        amounts += stress[:, None, None]
    amounts *= palette.variance * (1.0 - 0.8 * shares[Surface.SNOW])
    # Less vegetation has less to vary: amounts follow the signal itself.
    flat = library.T @ pixels
    flat += (VARIATION.T @ amounts.reshape(4, -1)) * np.minimum(flat * 6.0, 1.0)
    dense = flat.reshape(len(S2_BANDS), *land.shape)
    sun = np.array([np.sin(one.sky.sun_azimuth), np.cos(one.sky.sun_azimuth)], np.float32)
    tilt = -(land.slope_xy[0] * sun[0] + land.slope_xy[1] * sun[1]) * np.tan(one.sky.sun_zenith)
    light = 1.0 + 0.35 * np.clip(tilt, -0.8, 0.8) + 0.02 * land.fine
    dense *= light.astype(np.float32)
    np.maximum(dense, 0.001, out=dense)
    return dense


def add_sky(dense: FloatArray, clouds: Clouds) -> None:
    """Put shadow, haze and cloud over the ground, in place.

    Parameters
    ----------
    dense : ndarray of float32, shape (12, y, x)
        Reflectance of the ground; modified.
    clouds : Clouds
        Of the same window.
    """
    for k in range(dense.shape[0]):
        plane = dense[k]
        plane *= 1.0 - SHADOW_LOSS[k] * clouds.shadow
        plane *= 1.0 - 0.12 * clouds.haze
        plane += HAZE[k] * clouds.haze
        plane += clouds.opacity * (CLOUD[k] * clouds.tone - plane)


def _blur(dense: FloatArray, one: OpticalPass) -> FloatArray:
    """Spread light to neighbours, and shift the scene by a fraction of a pixel."""
    draw = uniform(one.seed, 412, np.arange(2)) - 0.5
    for axis, part in ((1, draw[0]), (2, draw[1])):
        move = 0.22 * float(part)
        kernel = np.array([_PSF - move / 2, 1.0 - 2 * _PSF, _PSF + move / 2], np.float32)
        dense = ndimage.correlate1d(dense, kernel, axis=axis, mode="nearest")
    return dense


def _imaged(scenery: Scenery, swath: Swath | None) -> BoolArray:
    """Return which pixels the orbit saw."""
    land = scenery.land
    if swath is None:
        return np.ones(land.shape, bool)
    reach = land.x_m * swath.normal_x + land.y_m * swath.normal_y
    inside: BoolArray = np.greater_equal(reach, np.float64(swath.offset_m), dtype=np.bool_)
    return inside


def _whole(imaged: BoolArray, times: int) -> BoolArray:
    """Return the coarse pixels that lie inside the swath entirely."""
    rows, columns = imaged.shape
    blocks = imaged.reshape(rows // times, times, columns // times, times)
    whole: BoolArray = np.asarray(blocks.all(axis=(1, 3)), bool)
    return whole
