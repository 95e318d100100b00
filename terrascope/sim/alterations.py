"""What happens to the ground of a sample: states that pixels come into, stay in and leave."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.classes import CLASS_OF
from terrascope.sim.land import Land
from terrascope.sim.spectra import Surface
from terrascope.sim.textures import mix, uniform
from terrascope.types import BoolArray, ChangeKind, FloatArray
from terrascope.vocabulary import CLASS_CODES

__all__ = ["ALTERATION_KIND", "Alter", "Alteration", "States", "states"]

HALF = 0.5
"""Share of a pixel from which a change counts as its state."""


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


ALTERATION_KIND = MappingProxyType(
    {
        Alter.FELLING: ChangeKind.VEGETATION_LOSS,
        Alter.INSECTS: ChangeKind.VEGETATION_LOSS,
        Alter.FIRE: ChangeKind.VEGETATION_LOSS,
        Alter.WINDTHROW: ChangeKind.VEGETATION_LOSS,
        Alter.CLEARING: ChangeKind.VEGETATION_LOSS,
        Alter.FLOOD: ChangeKind.WATER_GAIN,
        Alter.RESERVOIR: ChangeKind.WATER_GAIN,
        Alter.DRAWDOWN: ChangeKind.WATER_LOSS,
        Alter.EARTHWORKS: ChangeKind.BARE,
        Alter.BUILDING: ChangeKind.BUILT_UP_GAIN,
        Alter.SOLAR: ChangeKind.BUILT_UP_GAIN,
        Alter.ROADWORKS: ChangeKind.BUILT_UP_GAIN,
        Alter.MINING: ChangeKind.BARE,
        Alter.LANDSLIDE: ChangeKind.BARE,
        Alter.DEMOLITION: ChangeKind.BARE,
        Alter.REGROWTH: ChangeKind.REGROWTH,
    }
)
"""The code of every alteration in the `change_kind` layer."""

_WATER, _DEVELOPED, _BARE = (CLASS_CODES[name] for name in ("water", "developed area", "bare land"))
_GRASS, _CROP, _SHRUB = (CLASS_CODES[name] for name in ("grass", "crop", "shrub"))


@dataclasses.dataclass(frozen=True, eq=False)
class Alteration:
    """One thing that happens in a window.

    Parameters
    ----------
    what : Alter
        What happens.
    share : ndarray of float32, shape (y, x)
        Share of each pixel that is replaced when it is complete, 0 to 1.
    start : datetime.date
        First day.
    days : float
        Until it is complete.
    end : datetime.date or None
        When the ground is as before again; None: it stays.
    key : int
        Seed of how it looks.
    shift_days : int
        How much later the seasons of the region come (`Climate`).
    """

    what: Alter
    share: FloatArray
    start: dt.date
    days: float
    end: dt.date | None
    key: int
    shift_days: int = 0

    @property
    def kind(self) -> ChangeKind:
        """The code in the `change_kind` layer."""
        return ALTERATION_KIND[self.what]

    def severity(self, land: Land) -> FloatArray:
        """Return the share of each pixel that is replaced when it is complete.

        Parameters
        ----------
        land : Land
            The window that the alteration was drawn for.

        Returns
        -------
        share : ndarray of float32, shape (y, x)
            0 to 1.

        Raises
        ------
        ValueError
            If `land` is of another shape.
        """
        if land.shape != self.share.shape:
            raise ValueError(f"window of {land.shape} pixels: drawn for {self.share.shape}")
        return self.share

    def progress(self, day: dt.date) -> float:
        """Return how far it has come.

        Parameters
        ----------
        day : datetime.date
            Any date.

        Returns
        -------
        share : float
            0 before it, 1 when complete, 0 after its end.
        """
        if self.end is not None and day >= self.end:
            return 0.0
        return float(np.clip(((day - self.start).days + 1) / max(self.days, 1.0), 0.0, 1.0))

    def age(self, day: dt.date) -> float:
        """Return how long it has been complete.

        Parameters
        ----------
        day : datetime.date
            Any date.

        Returns
        -------
        days : float
            0 until it is complete.
        """
        return max((day - self.start).days - self.days, 0.0)

    def mixture(self, land: Land, where: BoolArray, day: dt.date) -> FloatArray:
        """Return what the changed ground consists of.

        Parameters
        ----------
        land : Land
            The window.
        where : ndarray of bool, shape (y, x)
            The pixels asked for.
        day : datetime.date
            Ash fades, fellings green up, dead trees lose their needles.

        Returns
        -------
        shares : ndarray of float32, shape (surfaces, pixels)
            Columns sum to 1.
        """
        fine, coarse = land.fine[where], land.coarse[where]
        tone = np.clip(0.5 + 0.16 * coarse + 0.14 * fine, 0.0, 1.0).astype(np.float32)
        lot = uniform(self.key, 91, np.arange(4)).astype(np.float32)
        shares = np.zeros((len(Surface), fine.size), np.float32)
        parts = self._parts(land, where, tone, lot, self.age(day), self._growing(day))
        for surface, amount in parts.items():
            shares[surface] = np.maximum(amount, 0.0)
        shares /= np.maximum(shares.sum(axis=0), 1e-6)
        return shares

    def class_code(self, day: dt.date) -> int:
        """Return the land cover of the pixels in this state.

        Parameters
        ----------
        day : datetime.date
            Bare fellings become grass and then shrub.

        Returns
        -------
        code : int
            Of `CLASS_CODES`; 0 where the cover stays what it was: dead trees
            that stand are trees.
        """
        age = self.age(day)
        match self.what:
            case Alter.INSECTS:
                return 0
            case Alter.FLOOD | Alter.RESERVOIR:
                return _WATER
            case Alter.BUILDING | Alter.SOLAR | Alter.ROADWORKS:
                return _DEVELOPED
            case Alter.CLEARING:
                return _CROP if age > 300 else _BARE
            case Alter.REGROWTH:
                return _SHRUB if self.key % 3 else _GRASS
            case Alter.FELLING | Alter.WINDTHROW | Alter.FIRE:
                return _BARE if age < 540 else _GRASS if age < 1500 else _SHRUB
            case Alter.DRAWDOWN:
                return _BARE if age < 400 else _GRASS
            case _:
                return _BARE

    def _growing(self, day: dt.date) -> float:
        """Return 1 in the growing season, less in winter."""
        season = (day - dt.timedelta(days=self.shift_days)).timetuple().tm_yday
        return 0.55 - 0.45 * float(np.cos(2 * np.pi * (season - 20) / 365.25))

    def _parts(
        self,
        land: Land,
        where: BoolArray,
        tone: FloatArray,
        lot: FloatArray,
        age: float,
        growing: float,
    ) -> dict[Surface, FloatArray | float]:
        """Return the unnormalised shares of surfaces."""
        green = (1.0 - float(np.exp(-age / 420.0))) * growing
        match self.what:
            case Alter.FELLING | Alter.WINDTHROW:
                wood = 0.16 + (0.35 if self.what is Alter.WINDTHROW else 0.2 * lot[0])
                return {
                    Surface.SOIL_DARK: (0.5 - 0.3 * lot[1]) * (1.2 - 0.5 * tone) * (1 - green),
                    Surface.SOIL_BRIGHT: (0.1 + 0.3 * lot[1]) * tone * (1 - green),
                    Surface.STRAW: 0.15 + 0.25 * lot[2],
                    Surface.DEAD_WOOD: wood * (1 - 0.6 * green),
                    Surface.GRASS: 0.04 + 1.1 * green * (0.6 + tone),
                }
            case Alter.INSECTS:
                red = float(np.exp(-age / 160.0)) * (0.3 + 0.7 * lot[0])
                return {
                    Surface.RED_NEEDLE: 0.72 * red,
                    Surface.DEAD_WOOD: (0.72 + 0.12 * (tone - 0.5)) * (1 - red),
                    Surface.SHADE: 0.16 - 0.06 * tone,
                    Surface.LITTER: 0.10,
                    Surface.GRASS: 0.05 + 0.3 * green * tone,
                }
            case Alter.FIRE:
                char = float(np.exp(-age / 260.0))
                return {
                    Surface.CHAR: (0.35 + 0.45 * lot[0]) * (1.25 - 0.5 * tone) * char,
                    Surface.DEAD_WOOD: 0.10 + 0.12 * lot[1],
                    Surface.SOIL_DARK: 0.08 + 0.25 * (1 - char),
                    Surface.SOIL_BRIGHT: 0.10 * tone + 0.15 * lot[2] * (1 - char),
                    Surface.GRASS: 0.02 + 0.8 * green * (1 - char),
                    Surface.RED_NEEDLE: 0.08 * char,
                }
            case Alter.FLOOD:
                return {
                    Surface.TURBID: 0.25 + 0.7 * lot[0] + 0.2 * (tone - 0.5),
                    Surface.WATER: 0.75 - 0.7 * lot[0],
                    Surface.GRASS: 0.04 * (tone > 0.75),
                }
            case Alter.RESERVOIR:
                return {Surface.TURBID: 0.08 + 0.5 * lot[0], Surface.WATER: 0.92 - 0.5 * lot[0]}
            case Alter.DRAWDOWN:
                wet = float(np.exp(-age / 60.0))
                return {
                    Surface.MUD: 0.3 + 0.6 * wet,
                    Surface.SOIL_DARK: 0.3 * (1 - wet) * (1.3 - 0.6 * tone),
                    Surface.SOIL_BRIGHT: (0.1 + 0.5 * lot[0]) * tone,
                    Surface.GRASS: 0.9 * green * tone,
                }
            case Alter.CLEARING:
                crop = growing if age > 300 else 0.0
                return {
                    Surface.SOIL_DARK: (0.5 - 0.4 * lot[0]) * (1 - 0.7 * crop),
                    Surface.SOIL_BRIGHT: (0.1 + 0.6 * lot[0]) * (1 - 0.7 * crop) * (0.5 + tone),
                    Surface.STRAW: 0.2,
                    Surface.DEAD_WOOD: 0.2 * float(np.exp(-age / 120.0)),
                    Surface.CROP: 0.9 * crop,
                    Surface.GRASS: 0.1 * growing,
                }
            case Alter.BUILDING:
                return _blocks(self.key, land, where, tone)
            case Alter.SOLAR:
                return {
                    Surface.PANEL: 0.62 + 0.1 * lot[0],
                    Surface.GRASS: 0.25,
                    Surface.SHADE: 0.1,
                }
            case Alter.ROADWORKS:
                return {Surface.ASPHALT: 0.55 + 0.2 * lot[0], Surface.CONCRETE: 0.3 * lot[1] + 0.05}
            case Alter.REGROWTH:
                leaf = 0.4 + 0.6 * growing
                return {
                    Surface.GRASS: 0.35 * leaf,
                    Surface.BROADLEAF: 0.55 * growing * (0.5 + lot[0]) * (0.5 + tone),
                    Surface.SHRUB: 0.15 + 0.3 * lot[1],
                    Surface.STRAW: 0.25 * (1 - leaf) + 0.05,
                    Surface.SHADE: 0.1,
                }
            case _:
                return {
                    Surface.ROCK: (0.1 + 0.6 * lot[0]) * (0.6 + 0.8 * tone),
                    Surface.SOIL_BRIGHT: (0.15 + 0.6 * lot[1]) * (0.5 + tone),
                    Surface.SOIL_DARK: 0.4 * lot[2],
                    Surface.GRASS: 0.25 * green * lot[3],
                }


def _blocks(
    key: int, land: Land, where: BoolArray, tone: FloatArray
) -> dict[Surface, FloatArray | float]:
    """Lay out roofs, yards, streets and lawns in rectangles."""
    draw = uniform(key, 92, np.arange(5))
    angle = float(draw[0] * np.pi)
    x_m, y_m = land.x_m[where], land.y_m[where]
    u = x_m * np.cos(angle) + y_m * np.sin(angle)
    v = y_m * np.cos(angle) - x_m * np.sin(angle)
    width, depth = float(22.0 + 70.0 * draw[1]), float(20.0 + 45.0 * draw[2])
    kind = uniform(mix(key, np.floor(u / width), np.floor(v / depth)), 81)
    inside = (np.mod(u, width) > 7.0) & (np.mod(v, depth) > 7.0)
    roof, yard = inside & (kind < 0.35 + 0.4 * draw[3]), inside & (kind > 0.9)
    metal = float(draw[4] > 0.5) * (width > 45.0)
    return {
        Surface.ROOF: np.where(roof, 0.7 * (1.0 - metal) * kind, 0.03).astype(np.float32),
        Surface.METAL: np.where(roof, 0.7 * metal, 0.0).astype(np.float32),
        Surface.TILE: np.where(roof, 0.5 * (1.0 - kind) * (1.0 - metal), 0.02).astype(np.float32),
        Surface.DARK_ROOF: np.where(roof, 0.3 * (kind > 0.3), 0.0).astype(np.float32),
        Surface.ASPHALT: np.where(roof, 0.14, 0.5).astype(np.float32),
        Surface.GRASS: np.where(roof, 0.05, 0.22 * tone).astype(np.float32),
        Surface.SOIL_BRIGHT: np.where(yard, 0.5, 0.06).astype(np.float32) * tone,
    }


@dataclasses.dataclass(frozen=True, eq=False)
class States:
    """The truth of a window on one day.

    Parameters
    ----------
    cover : ndarray of uint8, shape (y, x)
        Codes of `CLASS_CODES`; 0 unknown.
    kind : ndarray of uint8, shape (y, x)
        `ChangeKind` in force; 0 none.
    damage : ndarray of float32, shape (y, x)
        Share of the pixel that the latest alteration has replaced.
    """

    cover: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    damage: FloatArray


def states(land: Land, alterations: Sequence[Alteration], day: dt.date) -> States:
    """Say what every pixel is on a day.

    Parameters
    ----------
    land : Land
        The window.
    alterations : sequence of Alteration
        In the order in which they lie over one another.
    day : datetime.date
        Any date.

    Returns
    -------
    states : States
        Of the window.
    """
    cover = CLASS_OF[land.cover]
    cover = np.where((land.road >= HALF) & (cover > 0), np.uint8(_DEVELOPED), cover)
    kind = np.zeros(land.shape, np.uint8)
    damage = np.zeros(land.shape, np.float32)
    for one in alterations:
        amount = one.share * np.float32(one.progress(day))
        now = amount >= HALF
        kind[now] = one.kind
        code = one.class_code(day)
        if code:
            cover[now] = code
        np.maximum(damage, amount, out=damage)
    return States(cover, kind, damage)
