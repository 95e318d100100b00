"""What changed ground consists of: fellings green up, ash fades, dead trees lose their needles."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.spectra import Surface
from terrascope.sim.textures import mix, uniform
from terrascope.types import FloatArray

__all__ = ["AFTERMATHS", "Alter", "Aspect"]

Parts: TypeAlias = dict[Surface, "FloatArray | float"]
"""Shares of surfaces, not yet normalised; what is negative counts as none."""


class Alter(enum.IntEnum):
    """What can happen to ground; finer than `ChangeKind`."""

    FELLING = 1
    INSECTS = 2
    FIRE = 3
    WINDTHROW = 4
    CLEARING = 5
    FLOOD = 6
    RESERVOIR = 7
    DRAWDOWN = 8
    EARTHWORKS = 9
    BUILDING = 10
    SOLAR = 11
    ROADWORKS = 12
    MINING = 13
    LANDSLIDE = 14
    DEMOLITION = 15
    REGROWTH = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Aspect:
    """The changed pixels of a window, and when they are looked at.

    Parameters
    ----------
    x_m, y_m : ndarray of float64, shape (pixels,)
        Ground coordinates.
    tone : ndarray of float32, shape (pixels,)
        Texture of the ground, 0 to 1.
    lot : ndarray of float32, shape (4,)
        Draws of the alteration, uniform in [0, 1).
    key : int
        Seed of its layout.
    age : float
        Days since it was complete.
    growing : float
        1 in the growing season, less in winter.
    """

    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    tone: FloatArray
    lot: FloatArray
    key: int
    age: float
    growing: float

    @property
    def green(self) -> float:
        """How far plants have come back, 0 to 1."""
        return (1.0 - float(np.exp(-self.age / 420.0))) * self.growing


def _felling(on: Aspect) -> Parts:
    return _slash(on, 0.14 + 0.2 * on.lot[0])


def _windthrow(on: Aspect) -> Parts:
    return _slash(on, 0.5)


def _slash(on: Aspect, wood: float) -> Parts:
    return {
        Surface.SOIL_DARK: (0.55 - 0.45 * on.lot[1]) * (1.2 - 0.5 * on.tone) * (1 - on.green),
        Surface.SOIL_BRIGHT: (0.08 + 0.35 * on.lot[1]) * on.tone * (1 - on.green),
        Surface.STRAW: 0.15 + 0.4 * on.lot[2],
        Surface.DEAD_WOOD: wood * (1 - 0.6 * on.green),
        Surface.GRASS: 0.04 + (0.1 * on.lot[3] + 1.1 * on.green) * (0.6 + on.tone),
    }


def _insects(on: Aspect) -> Parts:
    red = float(np.exp(-on.age / 160.0)) * (0.3 + 0.7 * on.lot[0])
    return {
        Surface.RED_NEEDLE: 0.72 * red,
        Surface.DEAD_WOOD: (0.72 + 0.12 * (on.tone - 0.5)) * (1 - red),
        Surface.SHADE: 0.16 - 0.06 * on.tone,
        Surface.LITTER: 0.10,
        Surface.STRAW: 0.12 * on.lot[1] * (1 - red),
        Surface.GRASS: 0.05 + 0.3 * on.green * on.tone,
    }


def _fire(on: Aspect) -> Parts:
    char = float(np.exp(-on.age / 260.0))
    black = (0.45 + 0.5 * on.lot[0]) * (1.25 - 0.5 * on.tone) * char
    return {
        Surface.CHAR: (1.0 - on.lot[3]) * black,
        Surface.ASH: on.lot[3] * black,
        Surface.DEAD_WOOD: 0.02 + 0.18 * on.lot[1],
        Surface.SOIL_DARK: 0.06 + 0.25 * (1 - char),
        Surface.SOIL_BRIGHT: (0.04 + 0.35 * on.lot[2]) * on.tone,
        Surface.GRASS: 0.01 + 0.8 * on.green * (1 - char),
        Surface.RED_NEEDLE: 0.1 * on.lot[1] * char,
    }


def _clearing(on: Aspect) -> Parts:
    crop = on.growing if on.age > 300 else 0.0
    return {
        Surface.SOIL_DARK: (0.5 - 0.4 * on.lot[0]) * (1 - 0.7 * crop),
        Surface.SOIL_BRIGHT: (0.1 + 0.6 * on.lot[0]) * (1 - 0.7 * crop) * (0.5 + on.tone),
        Surface.STRAW: 0.2,
        Surface.DEAD_WOOD: 0.2 * float(np.exp(-on.age / 120.0)),
        Surface.CROP: 0.9 * crop,
        Surface.GRASS: 0.1 * on.growing,
    }


def _flood(on: Aspect) -> Parts:
    return {
        Surface.TURBID: 0.25 + 0.7 * on.lot[0] + 0.2 * (on.tone - 0.5),
        Surface.WATER: 0.75 - 0.7 * on.lot[0],
        Surface.GRASS: 0.04 * (on.tone > 0.75).astype(np.float32),
    }


def _reservoir(on: Aspect) -> Parts:
    return {Surface.TURBID: 0.08 + 0.5 * on.lot[0], Surface.WATER: 0.92 - 0.5 * on.lot[0]}


def _drawdown(on: Aspect) -> Parts:
    wet = float(np.exp(-on.age / 60.0))
    return {
        Surface.MUD: 0.3 + 0.6 * wet,
        Surface.SOIL_DARK: 0.3 * (1 - wet) * (1.3 - 0.6 * on.tone),
        Surface.SOIL_BRIGHT: (0.1 + 0.5 * on.lot[0]) * on.tone,
        Surface.GRASS: 0.9 * on.green * on.tone,
    }


def _digging(on: Aspect) -> Parts:
    return {
        Surface.ROCK: (0.1 + 0.6 * on.lot[0]) * (0.6 + 0.8 * on.tone),
        Surface.SOIL_BRIGHT: (0.15 + 0.6 * on.lot[1]) * (0.5 + on.tone),
        Surface.SOIL_DARK: 0.4 * on.lot[2],
        Surface.SOIL_RED: 0.5 * max(float(on.lot[3]) - 0.5, 0.0) * (0.5 + on.tone),
        Surface.GRASS: 0.2 * on.green * on.lot[3],
    }


def _solar(on: Aspect) -> Parts:
    return {Surface.PANEL: 0.62 + 0.1 * on.lot[0], Surface.GRASS: 0.25, Surface.SHADE: 0.1}


def _roadworks(on: Aspect) -> Parts:
    return {Surface.ASPHALT: 0.55 + 0.2 * on.lot[0], Surface.CONCRETE: 0.3 * on.lot[1] + 0.05}


def _regrowth(on: Aspect) -> Parts:
    leaf = 0.4 + 0.6 * on.growing
    return {
        Surface.GRASS: 0.5 * leaf * (1.2 - on.lot[0]),
        Surface.BROADLEAF: 0.6 * on.growing * on.lot[0] * (0.5 + on.tone),
        Surface.SHRUB: 0.10 + 0.3 * on.lot[1],
        Surface.STRAW: 0.25 * (1 - leaf) + 0.05,
        Surface.SHADE: 0.08,
    }


def _building(on: Aspect) -> Parts:
    """Lay out roofs, yards, streets and lawns in rectangles."""
    draw = uniform(on.key, 92, np.arange(5))
    angle = float(draw[0] * np.pi)
    u = on.x_m * np.cos(angle) + on.y_m * np.sin(angle)
    v = on.y_m * np.cos(angle) - on.x_m * np.sin(angle)
    width, depth = float(22.0 + 70.0 * draw[1]), float(20.0 + 45.0 * draw[2])
    kind = uniform(mix(on.key, np.floor(u / width), np.floor(v / depth)), 81)
    inside = (np.mod(u, width) > 7.0) & (np.mod(v, depth) > 7.0)
    roof, yard = inside & (kind < 0.35 + 0.4 * draw[3]), inside & (kind > 0.9)
    metal = float(draw[4] > 0.5) * (width > 45.0)
    parts = {
        Surface.ROOF: np.where(roof, 0.7 * (1.0 - metal) * kind, 0.03),
        Surface.METAL: np.where(roof, 0.7 * metal, 0.0),
        Surface.TILE: np.where(roof, 0.5 * (1.0 - kind) * (1.0 - metal), 0.02),
        Surface.DARK_ROOF: np.where(roof, 0.3 * (kind > 0.3), 0.0),
        Surface.ASPHALT: np.where(roof, 0.14, 0.5),
        Surface.GRASS: np.where(roof, 0.05, 0.22 * on.tone),
        Surface.SOIL_BRIGHT: np.where(yard, 0.5, 0.06) * on.tone,
    }
    return {surface: share.astype(np.float32) for surface, share in parts.items()}


AFTERMATHS: MappingProxyType[Alter, Callable[[Aspect], Parts]] = MappingProxyType(
    {
        Alter.FELLING: _felling,
        Alter.INSECTS: _insects,
        Alter.FIRE: _fire,
        Alter.WINDTHROW: _windthrow,
        Alter.CLEARING: _clearing,
        Alter.FLOOD: _flood,
        Alter.RESERVOIR: _reservoir,
        Alter.DRAWDOWN: _drawdown,
        Alter.EARTHWORKS: _digging,
        Alter.BUILDING: _building,
        Alter.SOLAR: _solar,
        Alter.ROADWORKS: _roadworks,
        Alter.MINING: _digging,
        Alter.LANDSLIDE: _digging,
        Alter.DEMOLITION: _digging,
        Alter.REGROWTH: _regrowth,
    }
)
"""The mixture that every alteration leaves behind."""
