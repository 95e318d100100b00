"""Clouds, their shadows, and a scene classification as imperfect as the real one."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import special

from terrascope.sim.land import Land
from terrascope.sim.textures import Texture, texture, uniform
from terrascope.sim.weather import OpticalPass
from terrascope.types import BoolArray, FloatArray

__all__ = ["TRUE_CLOUD", "TRUE_SHADOW", "Clouds", "block_mean", "classify", "make_clouds"]

TRUE_CLOUD = 0.10
"""Opacity from which a pixel is truly cloudy: about 0.06 of reflectance over dark land."""

TRUE_SHADOW = 0.20
"""Shadow strength from which a pixel is truly shaded: about 13 % of the near infrared lost."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clouds:
    """The sky over a window at one moment.

    Parameters
    ----------
    opacity : ndarray of float32, shape (y, x)
        Share of the signal that is cloud, cirrus included, 0 to 1.
    veil : ndarray of float32, shape (y, x)
        The part of it that is cirrus.
    shadow : ndarray of float32, shape (y, x)
        Share of the direct sun that clouds elsewhere take away, 0 to 1.
    haze : ndarray of float32, shape (y, x)
        Units of `terrascope.sim.spectra.HAZE`.
    tone : ndarray of float32, shape (y, x)
        Brightness of the cloud tops relative to the mean.
    """

    opacity: FloatArray
    veil: FloatArray
    shadow: FloatArray
    haze: FloatArray
    tone: FloatArray

    @property
    def cloudy(self) -> BoolArray:
        """Truly cloudy pixels: opacity of at least `TRUE_CLOUD`."""
        return self.opacity >= TRUE_CLOUD

    @property
    def shaded(self) -> BoolArray:
        """Truly shaded, not cloudy pixels: shadow of at least `TRUE_SHADOW`."""
        return (self.shadow >= TRUE_SHADOW) & ~self.cloudy


def make_clouds(land: Land, one: OpticalPass) -> Clouds:
    """Draw the sky of a pass over a window.

    Parameters
    ----------
    land : Land
        The window.
    one : OpticalPass
        Cover, veil, haze, cloud height and sun.

    Returns
    -------
    clouds : Clouds
        The same sky for every window of the same pass.
    """
    x_m, y_m, sky = land.x_m, land.y_m, one.sky
    draw = uniform(one.seed, 401, np.arange(8))
    shift = (float(40000 * draw[0]), float(40000 * draw[1]))
    angle, stretch = float(np.pi * draw[2]), float(1.0 + 0.8 * draw[3])
    field = _cloud_field()
    level = float(-special.ndtri(np.clip(sky.cover, 1e-4, 0.9999)))

    def cumulus(east: float, north: float) -> FloatArray:
        if sky.cover <= 0.0:
            return np.zeros(land.shape, np.float32)
        here = field.sample(x_m + east, y_m + north, shift=shift, angle=angle, stretch=stretch)
        depth = np.maximum(here - level, 0.0)
        opacity: FloatArray = 1.0 - np.exp(-3.4 * depth)
        return opacity

    thick = cumulus(0.0, 0.0)
    away = sky.height_m * float(np.tan(sky.sun_zenith))
    shadow = cumulus(away * np.sin(sky.sun_azimuth), away * np.cos(sky.sun_azimuth))
    soft = _soft_field()
    slow = soft.sample(x_m, y_m, shift=(shift[1], shift[0]), angle=angle, stretch=2.5)
    veil = sky.veil * np.clip(0.22 + 0.16 * slow, 0.0, 0.5) if sky.veil > 0 else 0.0 * slow
    tone = np.clip(0.92 + 0.10 * slow + 0.25 * (thick - 0.6), 0.5, 1.25)
    haze = sky.haze * np.clip(1.0 + 0.25 * slow, 0.3, 1.8)
    return Clouds(
        opacity=(1.0 - (1.0 - thick) * (1.0 - veil)).astype(np.float32),
        veil=veil.astype(np.float32),
        shadow=(shadow * (1.0 - thick)).astype(np.float32),
        haze=haze.astype(np.float32),
        tone=tone.astype(np.float32),
    )


def classify(land: Land, one: OpticalPass, clouds: Clouds, bands: FloatArray) -> NDArray[np.uint8]:
    """Classify a scene at 20 m, with the mistakes of Sen2Cor.

    Thin edges and whole patches of thin cloud are missed, so are weak shadows
    and shadows over dark ground; bright roofs and rock are taken for cloud.

    Parameters
    ----------
    land : Land
        The window, rows and columns even in number.
    one : OpticalPass
        Its seed places the mistakes.
    clouds : Clouds
        The true sky.
    bands : ndarray of float32, shape (12, y, x)
        Observed reflectance at 10 m.

    Returns
    -------
    scl : ndarray of uint8, shape (y / 2, x / 2)
        Codes of `terrascope.sensors.SCL_CLASSES`; 0 is not set here.

    References
    ----------
    Baetens, Desjardins, Hagolle (2019), Validation of Copernicus Sentinel-2
    cloud masks, Remote Sensing 11, hold Sen2Cor's masks against reference masks.
    """
    x_m, y_m = land.x_m[::2, ::2], land.y_m[::2, ::2]
    opacity, shadow, veil = (
        block_mean(plane, 2) for plane in (clouds.opacity, clouds.shadow, clouds.veil)
    )
    blue, green, red, nir, swir = (block_mean(bands[k], 2) for k in (1, 2, 3, 7, 10))
    draw = uniform(one.seed, 402, np.arange(6)) * 20000.0
    grain = land.terrain.fine.sample(x_m, y_m, shift=(float(draw[0]), float(draw[1])))
    patch = land.terrain.coarse.sample(x_m, y_m, shift=(float(draw[2]), float(draw[3])))
    blind = 0.22 * np.clip(patch - 0.7, 0.0, 1.6)
    ndvi = (nir - red) / np.maximum(nir + red, 1e-3)
    ndwi = (green - nir) / np.maximum(green + nir, 1e-3)

    scl = np.full(opacity.shape, 5, np.uint8)
    scl[ndvi > 0.38] = 4
    scl[(ndwi > 0.0) & (nir < 0.14)] = 6
    scl[(nir < 0.075) & (swir < 0.09) & (ndwi <= 0.0)] = 2
    scl[(opacity > 0.12) & (grain > 0.9) & (scl == 5)] = 7
    weak = shadow - blind + 0.10 * grain
    scl[(weak > 0.40) & (nir > 0.02)] = 3
    scl[(weak > 0.40) & (nir < 0.06)] = 2
    scl[(veil > 0.15 + 0.03 * grain) & (patch < 1.0)] = 10
    seen = opacity - blind + 0.08 * grain
    scl[seen > 0.36] = 8
    scl[seen > 0.66] = 9
    bright = (blue > 0.145) & (opacity < 0.1) & (np.maximum(grain, patch) > 0.3)
    scl[bright] = 8
    scl[(green > 0.42) & (swir < 0.18) & (opacity < 0.5)] = 11
    return scl


def block_mean(plane: FloatArray, size: int) -> FloatArray:
    """Average square blocks of pixels.

    Parameters
    ----------
    plane : ndarray of float32, shape (..., y, x)
        Both lengths divisible by `size`.
    size : int
        Pixels per block and direction.

    Returns
    -------
    blocks : ndarray of float32, shape (..., y / size, x / size)
        Means.
    """
    *lead, rows, columns = plane.shape
    blocks = plane.reshape(*lead, rows // size, size, columns // size, size)
    total = np.zeros((*lead, rows // size, columns // size), np.float32)
    for i in range(size):
        for j in range(size):
            total += blocks[..., i, :, j]
    total /= size * size
    return total


def _cloud_field() -> Texture:
    """Return the field that clouds are cut from: lumps of 60 m to 7 km."""
    return texture(90001, pixel_m=30.0, slope=2.9, largest_m=7000, smallest_m=60, size=1024)


def _soft_field() -> Texture:
    """Return the field of cirrus and haze: 1 to 15 km."""
    return texture(90002, pixel_m=120.0, slope=3.6, largest_m=15000, smallest_m=600, size=512)
