"""How a region's surfaces depart from the library: other soils, other leaves, another radar."""

from __future__ import annotations

import dataclasses

import numpy as np

from terrascope.sensors import S2_BANDS
from terrascope.sim.draws import Draws
from terrascope.sim.spectra import MOISTURE_GAIN_DB, RADAR_DB, REFLECTANCE, Surface
from terrascope.types import FloatArray

__all__ = ["Palette", "draw_palette"]

_KNOTS_UM = (0.44, 0.56, 0.67, 0.85, 1.61, 2.19)
_SOILS = [
    Surface.SOIL_DARK,
    Surface.SOIL_BRIGHT,
    Surface.SOIL_RED,
    Surface.SAND,
    Surface.SALT,
    Surface.ROCK,
    Surface.STRAW,
]
_LEAVES = [Surface.CROP, Surface.FLOWER, Surface.GRASS, Surface.BROADLEAF]
_WATERS = [Surface.WATER, Surface.TURBID, Surface.DEEP, Surface.ALGAE, Surface.MUD]


@dataclasses.dataclass(frozen=True, eq=False)
class Palette:
    """The spectral and radar library of one region.

    Parameters
    ----------
    reflectance : ndarray of float32, shape (surfaces, 12)
        As `terrascope.sim.spectra.REFLECTANCE`.
    radar_db : ndarray of float32, shape (surfaces, 2)
        As `terrascope.sim.spectra.RADAR_DB`.
    moisture_gain_db : ndarray of float32, shape (surfaces,)
        As `terrascope.sim.spectra.MOISTURE_GAIN_DB`.
    variance : float
        Spread of parcels and pixels about their class, 1 as in the library.
    terrain_db : float
        dB per unit of slope towards the radar: small where the product is
        terrain corrected, large on the ellipsoid.
    """

    reflectance: FloatArray = dataclasses.field(default_factory=lambda: REFLECTANCE)
    radar_db: FloatArray = dataclasses.field(default_factory=lambda: RADAR_DB)
    moisture_gain_db: FloatArray = dataclasses.field(default_factory=lambda: MOISTURE_GAIN_DB)
    variance: float = 1.0
    terrain_db: float = 9.0


def draw_palette(draws: Draws) -> Palette:
    """Draw the library of a region.

    Parameters
    ----------
    draws : Draws
        Source of the numbers.

    Returns
    -------
    palette : Palette
        Every surface brighter or darker as a whole and in smooth parts of its
        spectrum, soils and waters most of all; snow hardly.
    """
    rng, count = draws.rng, len(Surface)
    wavelength = np.array([band.wavelength_um for band in S2_BANDS.values()])
    bend = 0.11 * rng.standard_normal((count, len(_KNOTS_UM)))
    shared = 0.05 * rng.standard_normal(len(_KNOTS_UM))
    gain = 0.13 * rng.standard_normal(count)
    gain[_LEAVES] += 0.08 * rng.standard_normal() + 0.05
    gain[_SOILS] = 0.24 * rng.standard_normal(len(_SOILS)) + 0.10
    gain[_WATERS] = 0.30 * rng.standard_normal(len(_WATERS))
    steps = np.stack(
        [np.interp(wavelength, _KNOTS_UM, row) for row in bend + shared + gain[:, None]]
    )
    steps[Surface.SNOW] *= 0.2
    plateau = np.interp(wavelength, (0.70, 0.80, 1.0, 1.4), (0.0, 1.0, 1.0, 0.0))
    steps[_LEAVES] += 0.10 * plateau
    steps[Surface.CONIFER] += np.interp(wavelength, (0.8, 1.6), (0.0, -0.12))
    level = 0.7 * rng.standard_normal((count, 1)) + 0.4 * rng.standard_normal((count, 2))
    level[_SOILS] += 1.6 * rng.standard_normal((len(_SOILS), 1)) - 0.8
    calibration = 0.6 * rng.standard_normal((1, 2))
    return Palette(
        reflectance=(REFLECTANCE * np.exp(steps)).astype(np.float32),
        radar_db=(RADAR_DB + level + calibration).astype(np.float32),
        moisture_gain_db=(MOISTURE_GAIN_DB * draws.between(0.6, 1.5)).astype(np.float32),
        variance=draws.between(0.7, 1.5),
        terrain_db=draws.scaled(5.0, 28.0),
    )
