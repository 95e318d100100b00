"""Which changes a sample holds: where they fit, how they are shaped, when they happen."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence

import numpy as np

from terrascope.sim.alterations import Alter, Alteration
from terrascope.sim.climate import Climate
from terrascope.sim.canvas import SHRUBS, WETLANDS, Cover
from terrascope.sim.draws import Draws
from terrascope.sim.land import Land
from terrascope.sim.shapes import Ground, blob, boxes, line, mosaic, outbreak, shore, stands, valley
from terrascope.types import BoolArray, FloatArray

__all__ = ["draw_alterations"]

_WOODS = (Cover.CONIFER, Cover.BROADLEAF)
_LOW = (Cover.CROP, Cover.GRASS, Cover.DRY_GRASS)
_PLANTS = (*_WOODS, *SHRUBS, *_LOW, Cover.YOUNG_FOREST, Cover.HEDGE)
_MIN_PIXELS = 5
_CHANGING = 0.70  # share of samples in which something is tried to happen between the dates


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
        (Cover.HOUSES, Cover.HALLS, Cover.CITY), (boxes,), 0.3, (10, 60), 0.05
    ),
}


def draw_alterations(
    draws: Draws,
    land: Land,
    climate: Climate,
    dates: Sequence[dt.date],
    happening: Alter | None = None,
) -> list[Alteration]:
    """Draw what happens in a window before, between and after the dates of a sample.

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
    found: list[Alteration] = []
    taken = np.zeros(land.shape, bool)
    ground = Ground(land, draws.rng)
    if len(dates) > 1 and (draws.chance(_CHANGING) or happening is not None):
        for _ in range(draws.choice((1, 2, 3), (0.55, 0.3, 0.15))):
            pair = int(draws.rng.integers(len(dates) - 1))
            days = (dates[pair], dates[pair + 1])
            _try(draws, ground, climate, days, taken, found, happening)
    if draws.chance(0.3):
        long_ago = dates[0] - dt.timedelta(days=int(draws.rng.integers(400, 1600)))
        _try(draws, ground, climate, (long_ago, dates[0]), taken, found)
    return sorted(found, key=lambda one: one.start)


def _try(
    draws: Draws,
    ground: Ground,
    climate: Climate,
    between: tuple[dt.date, dt.date],
    taken: BoolArray,
    found: list[Alteration],
    happening: Alter | None = None,
) -> None:
    """Let something happen between two days, if the window has the ground for it, in place."""
    land = ground.land
    present = {Cover(code) for code in np.unique(land.cover)}
    options = [what for what, recipe in _RECIPES.items() if present & set(recipe.covers)]
    if happening in options:
        options = [happening]
    for _ in range(3):
        if not options:
            return
        what = draws.choice(options, [_RECIPES[one].weight for one in options])
        recipe = _RECIPES[what]
        allowed = land.is_cover(*recipe.covers) & (land.road < 0.3) & ~taken
        largest = recipe.largest * taken.size
        least = 6.0
        if happening is not None:  # a part of what is there that can be asked about
            least, largest = (share * max(float(allowed.sum()), 20.0) for share in (0.08, 0.6))
        pixels = float(np.exp(draws.rng.uniform(np.log(least), np.log(largest))))
        if allowed.sum() < max(2 * _MIN_PIXELS, 0.25 * pixels):
            options.remove(what)
            continue
        share = draws.choice(recipe.shapes)(ground, allowed, pixels)
        share = np.where(allowed, share, 0.0).astype(np.float32)
        if (share >= 0.5).sum() < _MIN_PIXELS:
            continue
        days = draws.rng.uniform(*recipe.days)
        room = max((between[1] - between[0]).days, 1)
        days = min(days, 0.8 * room)
        start = between[0] + dt.timedelta(days=int(1 + draws.rng.random() * (room - days - 1)))
        end = None
        if recipe.stays is not None:
            stays = int(draws.rng.uniform(*recipe.stays))
            if draws.chance(0.8):  # the image is taken while it lasts
                start = between[1] - dt.timedelta(days=min(int(days) + stays // 2, room - 1))
            end = start + dt.timedelta(days=int(days) + stays)
        taken |= share > 0.02
        key = int(draws.rng.integers(2**31))
        found.append(Alteration(what, share, start, days, end, key, climate.shift_days))
        return
