"""Which changes a sample holds: where they fit, how they are shaped, when they happen."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence

import numpy as np

from terrascope.sim.aftermath import Alter
from terrascope.sim.alterations import HALF, Alteration
from terrascope.sim.canvas import SHRUBS, WETLANDS, Cover
from terrascope.sim.climate import Climate
from terrascope.sim.draws import Draws
from terrascope.sim.land import Land
from terrascope.sim.shapes import Ground, blob, boxes, line, mosaic, outbreak, shore, stands, valley
from terrascope.types import BoolArray, FloatArray

__all__ = ["draw_alterations"]

_WOODS = (Cover.CONIFER, Cover.BROADLEAF)
_LOW = (Cover.CROP, Cover.GRASS, Cover.DRY_GRASS)
_PLANTS = (*_WOODS, *SHRUBS, *_LOW, Cover.YOUNG_FOREST, Cover.HEDGE)
_MIN_PIXELS = 5
_CHANGING = 0.62  # share of samples in which something is tried to happen between the dates


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """Where an alteration can happen, how it is shaped, how long it takes and stays."""

    covers: tuple[Cover, ...]
    shapes: tuple[Callable[[Ground, BoolArray, float], FloatArray], ...]
    weight: float
    days: tuple[float, float]
    """Shortest and longest time until complete."""
    largest: float
    """Greatest share of the window."""
    stays: tuple[float, float] | None = None
    """Days until it is over; None: for good."""


_RECIPES: dict[Alter, _Recipe] = {
    Alter.FELLING: _Recipe(_WOODS, (boxes, stands, blob), 1.6, (3, 40), 0.25),
    Alter.INSECTS: _Recipe((Cover.CONIFER,), (outbreak,), 2.2, (20, 120), 0.30),
    Alter.FIRE: _Recipe(_PLANTS, (mosaic,), 1.2, (1, 8), 0.33),
    Alter.WINDTHROW: _Recipe(_WOODS, (outbreak, blob), 0.5, (1, 2), 0.2),
    Alter.CLEARING: _Recipe((*_WOODS, *SHRUBS, Cover.YOUNG_FOREST), (boxes,), 0.5, (5, 60), 0.25),
    Alter.FLOOD: _Recipe(
        (*_LOW, *WETLANDS, *SHRUBS, Cover.SAND), (valley,), 1.3, (1, 4), 0.33, (8, 70)
    ),
    Alter.RESERVOIR: _Recipe((*_PLANTS, *WETLANDS), (valley,), 0.5, (10, 90), 0.3),
    Alter.DRAWDOWN: _Recipe((Cover.WATER, Cover.LAKE), (shore,), 1.3, (5, 120), 0.3),
    Alter.EARTHWORKS: _Recipe(_PLANTS, (boxes, blob), 0.7, (5, 60), 0.15),
    Alter.BUILDING: _Recipe(
        (*_PLANTS, Cover.BARE_SOIL, Cover.PARK), (boxes, blob), 1.3, (60, 300), 0.2
    ),
    Alter.SOLAR: _Recipe((*_LOW, Cover.STEPPE, Cover.BARE_SOIL), (boxes,), 0.3, (30, 120), 0.15),
    Alter.ROADWORKS: _Recipe(_PLANTS, (line,), 0.3, (60, 300), 0.05),
    Alter.MINING: _Recipe(_PLANTS, (blob,), 0.8, (60, 500), 0.3),
    Alter.LANDSLIDE: _Recipe((Cover.GRASS, *_WOODS), (line,), 0.2, (1, 2), 0.04),
    Alter.DEMOLITION: _Recipe(
        (Cover.HOUSES, Cover.HALLS, Cover.CITY, Cover.VILLA), (boxes,), 0.3, (10, 60), 0.05
    ),
}


def draw_alterations(
    draws: Draws,
    land: Land,
    climate: Climate,
    dates: Sequence[dt.date],
    happening: Alter | None = None,
) -> list[Alteration]:
    """Draw what happens in a window before and between the dates of a sample.

    Parameters
    ----------
    draws : Draws
        Source of the numbers.
    land : Land
        The window.
    climate : Climate
        Of the region.
    dates : sequence of datetime.date
        Of the images, in order.
    happening : Alter or None
        What happens between the dates, wherever there is the ground for it; None: drawn.

    Returns
    -------
    alterations : list of Alteration
        In the order in which they lie over one another; none overlaps an
        earlier one, apart from what follows from it.
    """
    story = _Story(draws, Ground(land, draws.rng), climate.shift_days)
    if len(dates) > 1 and (draws.chance(_CHANGING) or happening is not None):
        for _ in range(draws.choice((1, 2, 3), (0.5, 0.3, 0.2))):
            pair = int(draws.rng.integers(len(dates) - 1))
            story.tell(_Span(dates[pair], dates[pair + 1]), dates, happening)
    if draws.chance(0.3):
        long_ago = dates[0] - dt.timedelta(days=int(draws.rng.integers(400, 1600)))
        story.tell(_Span(long_ago, dates[0]), dates)
    return sorted(story.found, key=lambda one: one.start)


@dataclasses.dataclass(frozen=True)
class _Span:
    """The time between two images."""

    first: dt.date
    last: dt.date

    @property
    def room(self) -> int:
        """Days."""
        return max((self.last - self.first).days, 1)


class _Story:
    """What happens in one window, one thing after the other."""

    def __init__(self, draws: Draws, ground: Ground, shift_days: int) -> None:
        self.draws, self.ground, self.shift_days = draws, ground, shift_days
        self.found: list[Alteration] = []
        self.taken = np.zeros(ground.land.shape, bool)

    def tell(self, span: _Span, dates: Sequence[dt.date], happening: Alter | None = None) -> None:
        """Let something happen in a span, if the window has the ground for it."""
        present = {Cover(code) for code in np.unique(self.ground.land.cover)}
        options = [what for what, recipe in _RECIPES.items() if present & set(recipe.covers)]
        if happening in options:
            options = [happening]
        for _ in range(3):
            if not options:
                return
            what = self.draws.choice(options, [_RECIPES[one].weight for one in options])
            share = self._shape(what, sizeable=happening is not None)
            if share is None:
                options.remove(what)
                continue
            self.taken |= share > 0.02
            self._add(what, share, span)
            self._follow(what, share, span, dates)
            return

    def _shape(self, what: Alter, *, sizeable: bool) -> FloatArray | None:
        """Draw where it happens; None where it does not fit."""
        land, recipe = self.ground.land, _RECIPES[what]
        allowed = land.is_cover(*recipe.covers) & (land.road < 0.3) & ~self.taken
        least, most = np.log(6.0), np.log(recipe.largest * allowed.size)
        if sizeable:  # a part of what is there that can be asked about
            least, most = (np.log(part * max(float(allowed.sum()), 20.0)) for part in (0.2, 1.5))
        pixels = float(np.exp(least + (most - least) * self.draws.rng.random() ** 0.75))
        if allowed.sum() < max(2 * _MIN_PIXELS, 0.25 * pixels):
            return None
        share = self.draws.choice(recipe.shapes)(self.ground, allowed, pixels)
        share = np.where(allowed, share, 0.0).astype(np.float32)
        return share if (share >= HALF).sum() >= _MIN_PIXELS else None

    def _add(self, what: Alter, share: FloatArray, span: _Span) -> None:
        """Place it in time: mostly complete at the end of the span, sometimes under way."""
        rng, recipe = self.draws.rng, _RECIPES[what]
        days = min(float(rng.uniform(*recipe.days)), 0.8 * span.room)
        start = span.first + dt.timedelta(days=int(1 + rng.random() * (span.room - days - 1)))
        end = None
        if recipe.stays is not None:
            stays = int(rng.uniform(*recipe.stays))
            if self.draws.chance(0.8):  # the image is taken while it lasts
                ago = min(int(days) + stays // 2, span.room - 1)
                start = span.last - dt.timedelta(days=ago)
            end = start + dt.timedelta(days=int(days) + stays)
        elif self.draws.chance(0.12):
            start = span.last - dt.timedelta(days=int(min(days * rng.random(), span.room - 1)))
        self._put(what, share, start, days, end)

    def _put(
        self,
        what: Alter,
        share: FloatArray,
        start: dt.date,
        days: float,
        end: dt.date | None = None,
    ) -> None:
        key = int(self.draws.rng.integers(2**31))
        self.found.append(Alteration(what, share, start, days, end, key, self.shift_days))

    def _follow(
        self, what: Alter, share: FloatArray, span: _Span, dates: Sequence[dt.date]
    ) -> None:
        """Let come what follows: salvage logging, houses on a cleared site, young trees."""
        rng, first = self.draws.rng, self.found[-1].start
        if what is Alter.INSECTS and self.draws.chance(0.5):
            level = float(rng.uniform(-0.8, 0.8))
            logged = (share > 0.35) & (self.ground.texture() > level)
            if logged.sum() >= _MIN_PIXELS:
                later = first + dt.timedelta(days=int(rng.integers(20, 300)))
                self._put(Alter.FELLING, np.where(logged, 0.96, 0.0).astype(np.float32), later, 30)
        elif what in (Alter.FELLING, Alter.WINDTHROW, Alter.FIRE):
            old = (dates[-1] - first).days
            if old > 900 and span.last == dates[0] and len(dates) > 1 and self.draws.chance(0.7):
                start = dates[0] + dt.timedelta(days=int(rng.integers(1, 60)))
                self._put(Alter.REGROWTH, share, start, float(rng.uniform(120, 700)))
        elif what is Alter.BUILDING:
            dug = first - dt.timedelta(days=int(rng.integers(30, 240)))
            found = self.found.pop()
            self._put(Alter.EARTHWORKS, share, dug, 20.0)
            self.found.append(found)
