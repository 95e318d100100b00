"""The ground of a window on any date: land, season and changes, as shares of pure surfaces."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from terrascope.sim import phenology
from terrascope.sim.canvas import SHRUBS, WATERS, Cover
from terrascope.sim.climate import TEMPERATE, Climate
from terrascope.sim.land import Land
from terrascope.sim.spectra import Surface
from terrascope.types import BoolArray, ChangeKind, FloatArray

__all__ = ["Changing", "Scenery", "Truth"]

_EPOCH = dt.date(1970, 1, 1)
_WOODY = [Surface.CONIFER, Surface.BROADLEAF, Surface.LITTER, Surface.SHADE]
_SHRUBBY = [Surface.SHRUB, Surface.HEATHER, Surface.BROADLEAF, Surface.LITTER, Surface.SHADE]
_GREEN = [Surface.CROP, Surface.FLOWER, Surface.GRASS]


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """What really changed in a window until a day.

    Parameters
    ----------
    changed : ndarray of bool, shape (y, x)
        At least half of the pixel's ground is replaced on that day.
    kind : ndarray of uint8, shape (y, x)
        `ChangeKind` codes; 0 where nothing changed.
    disturbance : ndarray of uint8, shape (y, x)
        `Disturbance` codes; 0 where nothing changed.
    date : ndarray of int32, shape (y, x)
        Days since 1970-01-01 when half the pixel was replaced; -1 where nothing changed.
    touched : ndarray of bool, shape (y, x)
        Any change at all, also of less than half the pixel, also one that is over.
    """

    changed: BoolArray
    kind: NDArray[np.uint8]
    disturbance: NDArray[np.uint8]
    date: NDArray[np.int32]
    touched: BoolArray


class Changing(Protocol):
    """A change of the ground, as a scenery needs it (`terrascope.sim.events.Event`)."""

    @property
    def what(self) -> int:
        """Code of what happens."""
        ...

    @property
    def kind(self) -> ChangeKind:
        """Its code in the `change_kind` layer."""
        ...

    @property
    def start(self) -> dt.date:
        """First day."""
        ...

    @property
    def days(self) -> float:
        """Days until it is complete."""
        ...

    def severity(self, land: Land) -> FloatArray:
        """Return the share of each pixel that the complete change replaces.

        Parameters
        ----------
        land : Land
            A window.

        Returns
        -------
        share : ndarray of float32, shape (y, x)
            0 to 1.
        """
        ...

    def progress(self, day: dt.date) -> float:
        """Return how far the change has come.

        Parameters
        ----------
        day : datetime.date
            Any date.

        Returns
        -------
        share : float
            0 before it, 1 when complete.
        """
        ...

    def mixture(self, land: Land, where: BoolArray, day: dt.date) -> FloatArray:
        """Return what the changed ground consists of.

        Parameters
        ----------
        land : Land
            A window.
        where : ndarray of bool, shape (y, x)
            The pixels asked for.
        day : datetime.date
            Any date.

        Returns
        -------
        shares : ndarray of float32, shape (surfaces, pixels)
            Columns sum to 1.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class _Footprint:
    """The pixels an event touches, and how much of each."""

    event: Changing
    where: BoolArray
    severity: FloatArray


class Scenery:
    """A window with its changes: asked for a date, it says what every pixel consists of.

    Parameters
    ----------
    land : Land
        The window as it lies.
    events : sequence of Changing
        What happens to it; later events lie over earlier ones.
    climate : Climate
        Of the region.
    """

    def __init__(
        self, land: Land, events: Sequence[Changing] = (), climate: Climate = TEMPERATE
    ) -> None:
        self.land = land
        self.climate = climate
        self.events = tuple(events)
        self._footprints = []
        for event in self.events:
            severity = event.severity(land)
            where = severity > 0.02
            if where.any():
                self._footprints.append(_Footprint(event, where, severity[where]))
        self._is_field = land.is_cover(Cover.CROP)
        lively = 0.10 * land.coarse + 0.05 * land.fine + 0.035 * land.rows * self._is_field
        self._vigour = np.clip(1.0 + lively, 0.55, 1.2).astype(np.float32)
        self._vigour *= np.float32(climate.vigour)
        self._shelter = np.where(land.is_cover(Cover.CONIFER, Cover.BROADLEAF), 0.8, 0.1).astype(
            np.float32
        )
        woods = land.is_cover(Cover.CONIFER, Cover.BROADLEAF, Cover.YOUNG_FOREST)
        self._gap = np.where(woods, land.gap, 0.0).astype(np.float32)
        bushes = land.is_cover(*SHRUBS)
        self._bushes = bool(bushes.any())
        sparse = np.clip(0.16 + 0.16 * land.fine + 0.14 * land.coarse, 0.0, 0.75)
        self._sparse = np.where(bushes, sparse, 0.0).astype(np.float32)

    def shares(self, day: dt.date, *, snow: float = 0.0) -> FloatArray:
        """Return what every pixel consists of on a day.

        Parameters
        ----------
        day : datetime.date
            Any date.
        snow : float
            Share of open ground under snow.

        Returns
        -------
        shares : ndarray of float32, shape (surfaces, y, x)
            Sum to 1 over the surfaces, in every pixel.
        """
        land = self.land
        table = phenology.surface_shares(land.units, day, self.climate)
        planes = np.take(np.ascontiguousarray(table.T), land.unit, axis=1)
        self._grow(planes)
        self._thin(planes)
        if self._bushes:
            self._scatter(planes)
        planes *= 1.0 - land.road
        planes[Surface.ASPHALT] += land.road
        for print_ in self._footprints:
            amount = print_.severity * np.float32(print_.event.progress(day))
            if not amount.any():
                continue
            after = print_.event.mixture(land, print_.where, day)
            planes[:, print_.where] *= 1.0 - amount
            planes[:, print_.where] += amount * after
        if snow > 0.0:
            lying = snow * np.clip(1.0 + 0.3 * land.coarse, 0.0, 1.2) * (1.0 - self._shelter)
            lying = np.where(land.is_cover(*WATERS), 0.0, np.minimum(lying, 0.95))
            planes *= (1.0 - lying).astype(np.float32)
            planes[Surface.SNOW] += lying
        return planes

    def truth(self, day: dt.date) -> Truth:
        """Return what had changed by a day, and not changed back.

        Parameters
        ----------
        day : datetime.date
            Any date.

        Returns
        -------
        truth : Truth
            Of the window.
        """
        shape = self.land.shape
        changed, touched = np.zeros(shape, bool), np.zeros(shape, bool)
        kind, what = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        date = np.full(shape, -1, np.int32)
        for print_ in self._footprints:
            event = print_.event
            touched |= print_.where & ((day - event.start).days >= 0)
            share = np.zeros(shape, np.float32)
            share[print_.where] = print_.severity
            now = share * event.progress(day) >= 0.5
            first = (event.start - _EPOCH).days + np.ceil(0.5 * event.days / np.maximum(share, 0.5))
            changed |= now
            kind[now], what[now] = event.kind, event.what
            date[now] = first[now].astype(np.int32) - 1
        return Truth(changed, kind, what, date, touched)

    def harvest_days(self, year: int) -> NDArray[np.int32]:
        """Return when each field pixel is harvested.

        Parameters
        ----------
        year : int
            Of the harvest.

        Returns
        -------
        days : ndarray of int32, shape (y, x)
            Days since 1970-01-01; -1 where there is no harvest.
        """
        start = (dt.date(year, 1, 1) - _EPOCH).days
        days = phenology.harvest_day(self.land.units, year)
        table = np.where(np.isnan(days), -1, np.nan_to_num(days) + start).astype(np.int32)
        return table[self.land.unit]

    def crops(self, year: int) -> NDArray[np.int8]:
        """Return the crop of each pixel.

        Parameters
        ----------
        year : int
            Of the harvest.

        Returns
        -------
        crops : ndarray of int8, shape (y, x)
            `Crop` codes; -1 where there is no field.
        """
        return phenology.crop_of(self.land.units, year)[self.land.unit]

    def _grow(self, planes: FloatArray) -> None:
        """Let vigour vary within a parcel; what is not green there is soil or straw, in place."""
        green = planes[Surface.CROP] + planes[Surface.FLOWER] + planes[Surface.GRASS]
        factor = np.minimum(self._vigour, 0.985 / np.maximum(green, 0.01))
        lost = green * (1.0 - factor)
        for surface in _GREEN:
            planes[surface] *= factor
        # Where plants grow better than the parcel's mean, they hide soil in equal parts.
        rest = np.maximum(1.0 - green, 1e-3)
        scale = np.clip((rest + lost) / rest, 0.0, None)
        loss = np.maximum(lost, 0.0)
        hidden = np.minimum(scale, 1.0)
        others = [s for s in Surface if s not in _GREEN]
        for surface in others:
            planes[surface] *= hidden
        planes[Surface.SOIL_DARK] += 0.6 * loss
        planes[Surface.STRAW] += 0.4 * loss

    def _scatter(self, planes: FloatArray) -> None:
        """Let shrubs stand thinner in some places, in place."""
        taken = np.zeros_like(self._sparse)
        for surface in _SHRUBBY:
            part = planes[surface] * self._sparse
            planes[surface] -= part
            taken += part
        planes[Surface.STRAW] += 0.45 * taken
        planes[Surface.SOIL_BRIGHT] += 0.55 * taken * np.float32(self.land.terrain.layout.aridity)
        planes[Surface.SOIL_DARK] += (
            0.55 * taken * np.float32(1.0 - self.land.terrain.layout.aridity)
        )

    def _thin(self, planes: FloatArray) -> None:
        """Take crowns away where a stand has gaps, in place."""
        gap = self._gap
        taken = np.zeros_like(gap)
        for surface in _WOODY:
            part = planes[surface] * gap
            planes[surface] -= part
            taken += part
        planes[Surface.GRASS] += 0.40 * taken
        planes[Surface.SHADE] += 0.36 * taken
        planes[Surface.LITTER] += 0.24 * taken
