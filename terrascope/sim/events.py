"""Changes of the ground with realistic shapes, ages and mixtures, and where they fit."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from terrascope.sim.cover import Cover
from terrascope.sim.land import Land
from terrascope.sim.spectra import Surface
from terrascope.sim.terrain import Site, SiteKind
from terrascope.sim.textures import mix, uniform
from terrascope.types import BoolArray, ChangeKind, FloatArray

__all__ = ["KIND_OF", "Disturbance", "Event", "Wish", "plan_events"]


class Disturbance(enum.IntEnum):
    """What happened to the ground."""

    CLEAR_CUT = 1
    INSECTS = 2
    FIRE = 3
    FLOOD = 4
    CONSTRUCTION = 5
    QUARRY = 6
    DRAINED_POND = 7


KIND_OF = MappingProxyType(
    {
        Disturbance.CLEAR_CUT: ChangeKind.VEGETATION_LOSS,
        Disturbance.INSECTS: ChangeKind.VEGETATION_LOSS,
        Disturbance.FIRE: ChangeKind.VEGETATION_LOSS,
        Disturbance.FLOOD: ChangeKind.WATER_GAIN,
        Disturbance.CONSTRUCTION: ChangeKind.BUILT_UP_GAIN,
        Disturbance.QUARRY: ChangeKind.BARE,
        Disturbance.DRAINED_POND: ChangeKind.WATER_LOSS,
    }
)
"""The map code of every disturbance."""

_WOODS = (Cover.CONIFER, Cover.BROADLEAF)
_OPEN = (Cover.CROP, Cover.GRASS, Cover.HEDGE)
_CAN_HIT: dict[Disturbance, tuple[Cover, ...]] = {
    Disturbance.CLEAR_CUT: _WOODS,
    Disturbance.INSECTS: (Cover.CONIFER,),
    Disturbance.FIRE: (*_WOODS, Cover.YOUNG_FOREST, Cover.GRASS, Cover.HEDGE),
    Disturbance.FLOOD: (*_OPEN, Cover.WETLAND),
    Disturbance.CONSTRUCTION: _OPEN,
    Disturbance.QUARRY: (*_OPEN, *_WOODS, Cover.YOUNG_FOREST),
    Disturbance.DRAINED_POND: (Cover.WATER,),
}


@dataclasses.dataclass(frozen=True)
class Event:
    """One change of the ground.

    Parameters
    ----------
    what : Disturbance
        What happened.
    site : Site
        Where, how large, how turned, and the seed of its shape.
    start : datetime.date
        First day.
    days : float
        Until it is complete: a felling takes weeks, an infestation a season.
    end : datetime.date or None
        When the ground is as before again (a flood falls); None: it stays.
    """

    what: Disturbance
    site: Site
    start: dt.date
    days: float
    end: dt.date | None = None

    @property
    def kind(self) -> ChangeKind:
        """The map code of the change."""
        return KIND_OF[self.what]

    def progress(self, day: dt.date) -> float:
        """Return how far the change has come.

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

    def severity(self, land: Land) -> FloatArray:
        """Return the share of each pixel that the complete change replaces.

        Parameters
        ----------
        land : Land
            Any window.

        Returns
        -------
        share : ndarray of float32, shape (y, x)
            0 to 1.
        """
        u, v = self.site.along_across(land.x_m, land.y_m)
        radius = self.site.radius_m
        shift = (float(self.site.key % 9973), float(self.site.key % 7919))
        coarse = land.terrain.coarse.sample(land.x_m, land.y_m, shift=shift)
        fine = land.terrain.fine.sample(land.x_m, land.y_m, shift=shift)
        distance = np.hypot(u, v) / radius
        allowed = land.is_cover(*_CAN_HIT[self.what]) & (land.road < 0.3)
        match self.what:
            case Disturbance.CLEAR_CUT:
                shape = np.abs(u / radius) ** 4 + np.abs(v / (0.62 * radius)) ** 4
                inside = shape * (1.0 + 0.16 * coarse) < 1.0
                share = np.where(inside & (fine < 2.4), 0.97, 0.0)
            case Disturbance.INSECTS:
                risk = 1.15 - distance + 0.42 * coarse + 0.16 * fine
                share = np.clip(risk * 2.6, 0.0, 0.95)
            case Disturbance.FIRE:
                shape = np.hypot(u / (1.5 * radius), v / (0.75 * radius))
                depth = 1.0 - shape - 0.16 * coarse - 0.04 * fine
                island = coarse + 0.4 * fine > 2.1
                share = np.where((depth > 0) & ~island, np.clip(0.72 + 0.6 * depth, 0, 0.96), 0.0)
            case Disturbance.FLOOD:
                level = 2.1 - 2.6 * np.clip(distance - 0.75, 0.0, None)
                share = np.clip((level - land.above_m) / 0.25, 0.0, 1.0)
            case Disturbance.CONSTRUCTION:
                inside = (np.abs(u) < radius) & (np.abs(v) < 0.7 * radius)
                share = np.where(inside, 0.98, 0.0)
            case Disturbance.QUARRY:
                shape = np.hypot(u / 1.25, v) / radius + 0.13 * coarse
                share = np.where(shape < 1.0, 0.97, 0.0)
            case Disturbance.DRAINED_POND:
                share = np.where((distance < 1.6) & (distance > 0.22 + 0.05 * coarse), 0.95, 0.0)
        return np.where(allowed, share, 0.0).astype(np.float32)

    def mixture(self, land: Land, where: BoolArray, day: dt.date) -> FloatArray:
        """Return what the changed ground consists of.

        Parameters
        ----------
        land : Land
            A window.
        where : ndarray of bool, shape (y, x)
            The pixels asked for.
        day : datetime.date
            Ash fades, fellings green up.

        Returns
        -------
        shares : ndarray of float32, shape (surfaces, pixels)
            Columns sum to 1.
        """
        age = max((day - self.start).days - self.days, 0.0)
        fine, coarse = land.fine[where], land.coarse[where]
        green = 0.28 * (1.0 - np.exp(-age / 260.0)) * _growing(day)
        tone = np.clip(0.5 + 0.16 * coarse + 0.12 * fine, 0.0, 1.0)
        shares = np.zeros((len(Surface), fine.size), np.float32)
        if self.what is Disturbance.CONSTRUCTION:
            return self._building_site(land, where, tone, shares)
        for surface, share, by_tone, by_green in _AFTER[self.what]:
            shares[surface] = share + by_tone * (tone - 0.5) + by_green * green
        np.clip(shares, 0.0, None, out=shares)
        shares /= shares.sum(axis=0)
        return shares

    def _building_site(
        self, land: Land, where: BoolArray, tone: FloatArray, shares: FloatArray
    ) -> FloatArray:
        """Lay out halls, yards and turned earth in rectangles."""
        u, v = self.site.along_across(land.x_m[where], land.y_m[where])
        block = mix(self.site.key, np.floor(u / 64.0), np.floor(v / 46.0))
        kind = uniform(block, 81)
        in_block = (np.mod(u, 64.0) > 9.0) & (np.mod(v, 46.0) > 8.0)
        hall, earth = in_block & (kind < 0.5), in_block & (kind > 0.86)
        shares[Surface.ROOF] = np.where(hall, 0.72, 0.04)
        shares[Surface.TILE] = np.where(hall, 0.14, 0.02)
        shares[Surface.ASPHALT] = np.where(hall, 0.14, np.where(earth, 0.12, 0.74))
        shares[Surface.SOIL_BRIGHT] = np.where(earth, 0.5, 0.1) * tone
        shares[Surface.ROCK] = np.where(earth, 0.4, 0.12)
        shares /= shares.sum(axis=0)
        return shares


# Surface, share, how it follows the tone of the ground, and the greening that comes with age.
_AFTER: dict[Disturbance, tuple[tuple[Surface, float, float, float], ...]] = {
    Disturbance.CLEAR_CUT: (
        (Surface.SOIL_DARK, 0.36, -0.2, -0.5),
        (Surface.SOIL_BRIGHT, 0.16, 0.2, -0.2),
        (Surface.STRAW, 0.26, 0.1, -0.2),
        (Surface.DEAD_WOOD, 0.16, 0.0, 0.0),
        (Surface.GRASS, 0.05, 0.0, 1.0),
    ),
    Disturbance.INSECTS: (
        (Surface.DEAD_WOOD, 0.70, 0.15, -0.2),
        (Surface.SHADE, 0.12, -0.1, 0.0),
        (Surface.LITTER, 0.10, 0.0, 0.0),
        (Surface.GRASS, 0.06, 0.0, 0.3),
    ),
    Disturbance.FIRE: (
        (Surface.CHAR, 0.72, -0.2, -0.7),
        (Surface.DEAD_WOOD, 0.12, 0.0, 0.0),
        (Surface.SOIL_DARK, 0.10, 0.2, 0.1),
        (Surface.GRASS, 0.02, 0.0, 0.8),
    ),
    Disturbance.FLOOD: ((Surface.TURBID, 0.82, 0.1, 0.0), (Surface.WATER, 0.16, -0.1, 0.0)),
    Disturbance.QUARRY: ((Surface.ROCK, 0.66, 0.3, 0.0), (Surface.SOIL_BRIGHT, 0.34, -0.3, 0.0)),
    Disturbance.DRAINED_POND: (
        (Surface.SOIL_DARK, 0.72, -0.2, -0.6),
        (Surface.SOIL_BRIGHT, 0.12, 0.2, 0.0),
        (Surface.TURBID, 0.08, 0.0, 0.0),
        (Surface.GRASS, 0.06, 0.0, 0.9),
    ),
}


@dataclasses.dataclass(frozen=True)
class Wish:
    """A change that a plan should contain.

    Parameters
    ----------
    what : Disturbance
        What happens.
    radius_m : float
        Its size.
    start : datetime.date
        First day.
    days : float
        Until complete.
    end : datetime.date or None
        When it is over, where it passes.
    """

    what: Disturbance
    radius_m: float
    start: dt.date
    days: float
    end: dt.date | None = None


def plan_events(land: Land, wishes: Sequence[Wish], *, seed: int) -> list[Event]:
    """Find a fitting place in a window for every wished change.

    Parameters
    ----------
    land : Land
        The window, best at 20 to 40 m per pixel (only places are chosen).
    wishes : sequence of Wish
        What should happen; the large ones first find the best places.
    seed : int
        Of the choice.

    Returns
    -------
    events : list of Event
        In the order of the wishes; a wish for which the window has no fitting
        ground (no pond, no quarry) is left out.
    """
    rng = np.random.default_rng((seed, 301))
    events: list[Event] = []
    for number, wish in enumerate(wishes):
        best: tuple[int, Event] | None = None
        for site in _candidates(land, wish, rng, int(mix(seed, number) >> np.uint64(34))):
            event = Event(wish.what, site, wish.start, wish.days, wish.end)
            if any(_close(site, other.site) for other in events):
                continue
            pixels = _changed_pixels(land, event)
            if best is None or pixels > best[0]:
                best = pixels, event
        if best is not None and best[0] > 0:
            events.append(best[1])
    return events


def _candidates(land: Land, wish: Wish, rng: np.random.Generator, key: int) -> list[Site]:
    """Draw places whose centre can be hit; quarries and ponds are where they are."""
    west, south, east, north = land.box
    margin = 1.2 * wish.radius_m

    def inside(x_m: float, y_m: float) -> bool:
        return west + margin < x_m < east - margin and south + margin < y_m < north - margin

    angle = float(rng.random() * np.pi)
    if wish.what is Disturbance.DRAINED_POND:
        ponds = [p for p in land.terrain.sites(SiteKind.POND, land.box) if inside(p.x_m, p.y_m)]
        return [dataclasses.replace(p, key=key) for p in ponds]
    if wish.what is Disturbance.QUARRY:
        sites = []
        for pit in land.terrain.sites(SiteKind.QUARRY, land.box):
            x = pit.x_m + 0.75 * pit.radius_m * np.cos(angle)
            y = pit.y_m + 0.75 * pit.radius_m * np.sin(angle)
            if inside(x, y):
                sites.append(Site(float(x), float(y), wish.radius_m, angle, key))
        return sites
    allowed = land.is_cover(*_CAN_HIT[wish.what])
    if wish.what is Disturbance.FLOOD:
        allowed &= land.above_m < 1.6
    rows, columns = np.nonzero(allowed)
    if rows.size == 0:
        return []
    sites = []
    for pick in rng.integers(0, rows.size, 24):
        x, y = (float(axis[rows[pick], columns[pick]]) for axis in (land.x_m, land.y_m))
        if inside(x, y):
            sites.append(Site(x, y, wish.radius_m, angle, key))
    return sites


def _changed_pixels(land: Land, event: Event) -> int:
    """Return how much ground the event would change, in pixels of the window."""
    site = event.site
    near = np.hypot(land.x_m - site.x_m, land.y_m - site.y_m) < 1.6 * site.radius_m
    rows, columns = np.nonzero(near.any(1))[0], np.nonzero(near.any(0))[0]
    if rows.size == 0:
        return 0
    part = land.window(slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return int((event.severity(part) >= 0.5).sum())


def _close(first: Site, second: Site) -> bool:
    """Tell whether two events would touch."""
    distance = np.hypot(first.x_m - second.x_m, first.y_m - second.y_m)
    return bool(distance < 1.2 * (first.radius_m + second.radius_m) + 60.0)


def _growing(day: dt.date) -> float:
    """Return 1 in the growing season, less in winter."""
    return 0.5 - 0.5 * float(np.cos(2 * np.pi * (day.timetuple().tm_yday - 20) / 365.25))
