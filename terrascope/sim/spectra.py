"""The spectral and radar library: what pure surfaces look like to Sentinel-2 and Sentinel-1.

A pixel is a linear mixture of surfaces, as in spectral unmixing; optical
reflectance and radar power come from the same mixture, so a change of the
ground shows in both sensors by itself.

References
----------
Level-2A reflectances follow the usual figures of the USGS and ECOSTRESS
spectral libraries and of Sentinel-2 scenes of central Europe; radar means
follow Ulaby and Dobson (1989), Handbook of radar scattering statistics for
terrain, moved to Sentinel-1's gamma0 at about 38 degrees.
"""

from __future__ import annotations

import enum

import numpy as np

from terrascope.types import FloatArray

__all__ = [
    "CLOUD",
    "HAZE",
    "MOISTURE_GAIN_DB",
    "RADAR_DB",
    "REFLECTANCE",
    "SHADOW_LOSS",
    "VARIATION",
    "Surface",
]


class Surface(enum.IntEnum):
    """Pure surfaces that a pixel is mixed from; the rows of `REFLECTANCE` and `RADAR_DB`."""

    SOIL_DARK = 0
    SOIL_BRIGHT = 1
    CROP = 2
    FLOWER = 3
    GRASS = 4
    STRAW = 5
    CONIFER = 6
    BROADLEAF = 7
    SHADE = 8
    LITTER = 9
    DEAD_WOOD = 10
    CHAR = 11
    WATER = 12
    TURBID = 13
    ASPHALT = 14
    ROOF = 15
    TILE = 16
    ROCK = 17
    SNOW = 18
    SAND = 19
    SOIL_RED = 20
    PEAT = 21
    MUD = 22
    SALT = 23
    HEATHER = 24
    SHRUB = 25
    SEDGE = 26
    RED_NEEDLE = 27
    DEEP = 28
    ALGAE = 29
    CONCRETE = 30
    METAL = 31
    DARK_ROOF = 32
    PANEL = 33
    ASH = 34


# coastal, blue, green, red, red edge 1-3, nir, nir08, nir09, swir16, swir22
_TABLE: dict[Surface, tuple[tuple[float, ...], tuple[float, float], float]] = {
    Surface.SOIL_DARK: (
        (0.040, 0.050, 0.070, 0.090, 0.105, 0.120, 0.130, 0.145, 0.155, 0.160, 0.205, 0.175),
        (-11.5, -19.0),
        2.2,
    ),
    Surface.SOIL_BRIGHT: (
        (0.090, 0.110, 0.150, 0.195, 0.220, 0.238, 0.252, 0.270, 0.285, 0.290, 0.365, 0.325),
        (-12.5, -20.0),
        2.4,
    ),
    Surface.CROP: (
        (0.020, 0.025, 0.055, 0.026, 0.085, 0.330, 0.430, 0.460, 0.475, 0.480, 0.205, 0.090),
        (-10.3, -16.3),
        1.0,
    ),
    Surface.FLOWER: (
        (0.028, 0.035, 0.130, 0.115, 0.165, 0.350, 0.415, 0.435, 0.445, 0.450, 0.205, 0.100),
        (-9.8, -15.3),
        0.8,
    ),
    Surface.GRASS: (
        (0.022, 0.030, 0.065, 0.040, 0.100, 0.290, 0.360, 0.385, 0.400, 0.405, 0.230, 0.120),
        (-12.0, -18.6),
        1.5,
    ),
    Surface.STRAW: (
        (0.060, 0.080, 0.120, 0.165, 0.195, 0.225, 0.245, 0.270, 0.290, 0.300, 0.340, 0.240),
        (-11.6, -18.6),
        1.8,
    ),
    Surface.CONIFER: (
        (0.012, 0.017, 0.034, 0.020, 0.050, 0.170, 0.215, 0.230, 0.245, 0.250, 0.100, 0.045),
        (-7.8, -13.2),
        0.4,
    ),
    Surface.BROADLEAF: (
        (0.015, 0.021, 0.046, 0.022, 0.076, 0.295, 0.385, 0.415, 0.430, 0.435, 0.190, 0.080),
        (-7.6, -12.8),
        0.4,
    ),
    Surface.SHADE: (
        (0.010, 0.013, 0.017, 0.015, 0.020, 0.034, 0.040, 0.044, 0.048, 0.050, 0.034, 0.020),
        (-8.0, -13.4),
        0.4,
    ),
    Surface.LITTER: (
        (0.028, 0.036, 0.048, 0.064, 0.080, 0.108, 0.122, 0.140, 0.156, 0.164, 0.185, 0.118),
        (-8.2, -13.6),
        0.6,
    ),
    Surface.DEAD_WOOD: (
        (0.026, 0.033, 0.050, 0.070, 0.086, 0.116, 0.132, 0.152, 0.170, 0.180, 0.200, 0.135),
        (-8.9, -14.8),
        0.5,
    ),
    Surface.CHAR: (
        (0.025, 0.028, 0.034, 0.040, 0.046, 0.054, 0.060, 0.068, 0.078, 0.084, 0.135, 0.142),
        (-9.8, -16.2),
        1.6,
    ),
    Surface.WATER: (
        (0.026, 0.029, 0.031, 0.019, 0.015, 0.011, 0.010, 0.009, 0.008, 0.008, 0.005, 0.004),
        (-20.5, -27.5),
        0.0,
    ),
    Surface.TURBID: (
        (0.042, 0.052, 0.078, 0.074, 0.072, 0.046, 0.042, 0.034, 0.030, 0.026, 0.012, 0.009),
        (-19.5, -26.5),
        0.0,
    ),
    Surface.ASPHALT: (
        (0.065, 0.076, 0.090, 0.100, 0.106, 0.112, 0.117, 0.122, 0.127, 0.128, 0.145, 0.135),
        (-15.0, -22.5),
        0.8,
    ),
    Surface.ROOF: (
        (0.165, 0.185, 0.210, 0.228, 0.236, 0.246, 0.252, 0.262, 0.268, 0.270, 0.285, 0.265),
        (-0.5, -8.5),
        0.2,
    ),
    Surface.TILE: (
        (0.055, 0.063, 0.085, 0.150, 0.175, 0.190, 0.202, 0.215, 0.222, 0.225, 0.270, 0.245),
        (-1.5, -9.0),
        0.2,
    ),
    Surface.ROCK: (
        (0.160, 0.190, 0.240, 0.280, 0.292, 0.302, 0.310, 0.322, 0.330, 0.335, 0.385, 0.350),
        (-10.8, -19.2),
        1.2,
    ),
    Surface.SNOW: (
        (0.800, 0.840, 0.830, 0.810, 0.800, 0.790, 0.780, 0.760, 0.740, 0.680, 0.100, 0.080),
        (-12.0, -19.5),
        0.0,
    ),
    Surface.SAND: (
        (0.130, 0.160, 0.230, 0.300, 0.325, 0.345, 0.362, 0.382, 0.398, 0.405, 0.475, 0.440),
        (-15.0, -24.0),
        2.6,
    ),
    Surface.SOIL_RED: (
        (0.042, 0.052, 0.082, 0.155, 0.185, 0.205, 0.222, 0.242, 0.258, 0.266, 0.335, 0.300),
        (-12.5, -20.0),
        2.4,
    ),
    Surface.PEAT: (
        (0.024, 0.029, 0.037, 0.047, 0.055, 0.064, 0.073, 0.084, 0.094, 0.099, 0.115, 0.085),
        (-11.0, -18.5),
        1.2,
    ),
    Surface.MUD: (
        (0.055, 0.065, 0.082, 0.095, 0.100, 0.104, 0.106, 0.108, 0.108, 0.105, 0.075, 0.050),
        (-13.5, -22.0),
        0.5,
    ),
    Surface.SALT: (
        (0.340, 0.380, 0.430, 0.460, 0.470, 0.480, 0.490, 0.500, 0.500, 0.490, 0.370, 0.300),
        (-14.0, -22.0),
        2.0,
    ),
    Surface.HEATHER: (
        (0.021, 0.027, 0.039, 0.044, 0.068, 0.130, 0.158, 0.176, 0.195, 0.205, 0.185, 0.115),
        (-11.0, -17.2),
        1.0,
    ),
    Surface.SHRUB: (
        (0.019, 0.025, 0.046, 0.037, 0.075, 0.180, 0.220, 0.242, 0.256, 0.262, 0.165, 0.083),
        (-10.3, -16.0),
        0.8,
    ),
    Surface.SEDGE: (
        (0.022, 0.029, 0.058, 0.045, 0.090, 0.210, 0.258, 0.282, 0.295, 0.300, 0.170, 0.085),
        (-10.2, -17.0),
        0.6,
    ),
    Surface.RED_NEEDLE: (
        (0.019, 0.025, 0.040, 0.062, 0.088, 0.142, 0.172, 0.190, 0.206, 0.215, 0.150, 0.082),
        (-8.1, -13.7),
        0.4,
    ),
    Surface.DEEP: (
        (0.022, 0.022, 0.016, 0.008, 0.006, 0.005, 0.005, 0.004, 0.004, 0.004, 0.003, 0.002),
        (-19.0, -27.5),
        0.0,
    ),
    Surface.ALGAE: (
        (0.026, 0.033, 0.060, 0.032, 0.058, 0.046, 0.048, 0.048, 0.042, 0.036, 0.010, 0.007),
        (-20.5, -27.0),
        0.0,
    ),
    Surface.CONCRETE: (
        (0.140, 0.165, 0.200, 0.225, 0.235, 0.245, 0.252, 0.262, 0.268, 0.272, 0.300, 0.280),
        (-9.0, -17.0),
        0.5,
    ),
    Surface.METAL: (
        (0.250, 0.290, 0.325, 0.345, 0.352, 0.358, 0.362, 0.370, 0.372, 0.372, 0.365, 0.335),
        (1.0, -7.5),
        0.2,
    ),
    Surface.DARK_ROOF: (
        (0.048, 0.056, 0.064, 0.071, 0.076, 0.081, 0.085, 0.090, 0.094, 0.096, 0.112, 0.106),
        (-2.5, -10.0),
        0.2,
    ),
    Surface.PANEL: (
        (0.042, 0.046, 0.044, 0.042, 0.048, 0.058, 0.068, 0.082, 0.088, 0.092, 0.115, 0.120),
        (-8.0, -16.5),
        0.4,
    ),
    Surface.ASH: (
        (0.030, 0.034, 0.040, 0.046, 0.050, 0.053, 0.056, 0.060, 0.066, 0.072, 0.150, 0.185),
        (-10.5, -17.0),
        1.8,
    ),
}

REFLECTANCE: FloatArray = np.array([_TABLE[s][0] for s in Surface], np.float32)
"""Surface reflectance, shape (surfaces, 12 bands in the order of `S2_BANDS`)."""

RADAR_DB: FloatArray = np.array([_TABLE[s][1] for s in Surface], np.float32)
"""Gamma nought in dB of VV and VH when dry, shape (surfaces, 2)."""

MOISTURE_GAIN_DB: FloatArray = np.array([_TABLE[s][2] for s in Surface], np.float32)
"""dB that a soaked surface gains over a dry one; canopies hide most of their soil."""

VARIATION: FloatArray = np.array(
    [
        (0.000, 0.000, 0.003, 0.000, 0.006, 0.030, 0.038, 0.040, 0.041, 0.041, 0.012, 0.006),
        (0.000, 0.000, 0.001, 0.003, 0.005, 0.002, 0.000, -0.002, -0.002, -0.003, 0.030, 0.026),
        (0.010, 0.012, 0.017, 0.023, 0.026, 0.028, 0.030, 0.032, 0.034, 0.034, 0.042, 0.038),
        (0.003, 0.005, 0.011, 0.007, 0.014, 0.005, 0.000, 0.000, 0.000, 0.000, 0.001, 0.001),
    ],
    np.float32,
)
"""Directions of variance in a class: canopy structure, water content, brightness, pigment."""

CLOUD: FloatArray = np.array(
    (0.74, 0.73, 0.70, 0.70, 0.70, 0.71, 0.71, 0.72, 0.71, 0.55, 0.48, 0.36), np.float32
)
"""Level-2A reflectance of thick cloud by band."""

HAZE: FloatArray = np.array(
    (0.150, 0.120, 0.085, 0.062, 0.055, 0.048, 0.044, 0.038, 0.036, 0.032, 0.012, 0.007),
    np.float32,
)
"""Path reflectance of one unit of residual haze by band: aerosol, falling with wavelength."""

SHADOW_LOSS: FloatArray = np.array(
    (0.42, 0.48, 0.56, 0.61, 0.63, 0.65, 0.66, 0.67, 0.67, 0.67, 0.72, 0.74), np.float32
)
"""Share of the light that a full cloud shadow takes away: the sky still lights the blue bands."""
