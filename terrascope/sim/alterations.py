"""What happens to the ground of a sample: states that pixels come into, stay in and leave."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.aftermath import AFTERMATHS, Alter, Aspect
from terrascope.sim.classes import CLASS_OF
from terrascope.sim.land import Land
from terrascope.sim.spectra import Surface
from terrascope.sim.textures import uniform
from terrascope.types import BoolArray, ChangeKind, FloatArray
from terrascope.vocabulary import CLASS_CODES

__all__ = ["ALTERATION_KIND", "HALF", "Alter", "Alteration", "States", "states"]

HALF = 0.5
"""Share of a pixel from which a change counts as its state."""


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


_EVER = float("inf")
_GREENING = ((540.0, _BARE), (1500.0, _GRASS), (_EVER, _SHRUB))
_STAYS_BARE = ((_EVER, _BARE),)
# Until which age in days the ground has which class; 0: the class that it had before.
_BECOMES: dict[Alter, tuple[tuple[float, int], ...]] = {
    Alter.FELLING: _GREENING,
    Alter.WINDTHROW: _GREENING,
    Alter.FIRE: _GREENING,
    Alter.INSECTS: ((_EVER, 0),),
    Alter.CLEARING: ((300.0, _BARE), (_EVER, _CROP)),
    Alter.FLOOD: ((_EVER, _WATER),),
    Alter.RESERVOIR: ((_EVER, _WATER),),
    Alter.DRAWDOWN: ((400.0, _BARE), (_EVER, _GRASS)),
    Alter.BUILDING: ((_EVER, _DEVELOPED),),
    Alter.SOLAR: ((_EVER, _DEVELOPED),),
    Alter.ROADWORKS: ((_EVER, _DEVELOPED),),
}


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
        aspect = Aspect(
            land.x_m[where],
            land.y_m[where],
            tone,
            lot,
            self.key,
            self.age(day),
            self._growing(day),
        )
        parts = AFTERMATHS[self.what](aspect)
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
        if self.what is Alter.REGROWTH:
            return _SHRUB if self.key % 3 else _GRASS
        age = self.age(day)
        return next(code for until, code in _BECOMES.get(self.what, _STAYS_BARE) if age < until)

    def _growing(self, day: dt.date) -> float:
        """Return 1 in the growing season, less in winter."""
        season = (day - dt.timedelta(days=self.shift_days)).timetuple().tm_yday
        return 0.55 - 0.45 * float(np.cos(2 * np.pi * (season - 20) / 365.25))


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
