"""Landscapes of the world: which land, under which climate, a sample shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from terrascope.sim.climate import Climate
from terrascope.sim.draws import SPLITS, Draws
from terrascope.sim.palette import Palette, draw_palette
from terrascope.sim.terrain import Layout

__all__ = ["Place", "draw_place"]

_TEXTURES = 6  # sets of textures per split


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """Where a sample lies.

    Parameters
    ----------
    seed : int
        Of the world.
    layout : Layout
        Of its land.
    climate : Climate
        Of its year.
    palette : Palette
        Of its surfaces.
    centre_m : tuple of float
        Of the window in the world.
    textures : int
        Seed of the textures that some worlds of its split share.
    """

    seed: int
    layout: Layout
    climate: Climate
    palette: Palette
    centre_m: tuple[float, float]
    textures: int


def draw_place(draws: Draws) -> Place:
    """Draw a landscape and a window in it.

    Parameters
    ----------
    draws : Draws
        Source of the numbers.

    Returns
    -------
    place : Place
        Of the split of `draws`.
    """
    names = list(_LANDSCAPES)
    name = draws.choice(names, [_LANDSCAPES[one].weight for one in names])
    landscape = _LANDSCAPES[name]
    climate = _CLIMATES[draws.choice(landscape.climates)](draws)
    marks: dict[str, Any] = _extras(draws) | landscape.draw(draws)
    layout = dataclasses.replace(_countryside(draws), **marks)
    east, north = (float(v) for v in draws.rng.uniform(-2e5, 2e5, 2))
    return Place(
        seed=int(draws.rng.integers(2**31)),
        layout=layout,
        climate=climate,
        palette=draw_palette(draws),
        centre_m=(east, north),
        textures=_TEXTURES * SPLITS.index(draws.split) + int(draws.rng.integers(_TEXTURES)),
    )


def _temperate(draws: Draws) -> Climate:
    return Climate(
        latitude_deg=draws.between(43.0, 58.0),
        shift_days=round(draws.between(-15.0, 18.0)),
        dry=draws.between(0.0, 0.3),
        mild=draws.between(0.0, 0.5),
        vigour=draws.between(0.9, 1.2),
        fallow=draws.between(0.0, 0.1),
        snow=draws.between(0.0, 0.4),
    )


def _mediterranean(draws: Draws) -> Climate:
    return Climate(
        latitude_deg=draws.between(32.0, 43.0),
        shift_days=round(draws.between(-45.0, -10.0)),
        spread_days=draws.between(0.0, 60.0),
        dry=draws.between(0.4, 1.0),
        mild=draws.between(0.6, 1.0),
        evergreen=draws.between(0.2, 0.7),
        vigour=draws.between(0.65, 1.0),
        fallow=draws.between(0.05, 0.35),
        snow=0.0,
    )


def _arid(draws: Draws) -> Climate:
    return Climate(
        latitude_deg=draws.between(18.0, 40.0) * (1.0 if draws.chance(0.7) else -1.0),
        shift_days=round(draws.between(-60.0, 60.0)),
        spread_days=draws.between(40.0, 180.0),
        dry=draws.between(0.5, 1.0),
        mild=draws.between(0.3, 1.0),
        evergreen=draws.between(0.3, 0.9),
        vigour=draws.between(0.35, 0.85),
        fallow=draws.between(0.2, 0.65),
        snow=0.0,
    )


def _boreal(draws: Draws) -> Climate:
    return Climate(
        latitude_deg=draws.between(56.0, 67.0),
        shift_days=round(draws.between(8.0, 32.0)),
        dry=draws.between(0.0, 0.15),
        vigour=draws.between(0.75, 1.05),
        fallow=draws.between(0.0, 0.15),
        snow=draws.between(0.5, 1.0),
    )


def _tropical(draws: Draws) -> Climate:
    return Climate(
        latitude_deg=draws.between(-20.0, 20.0),
        shift_days=round(draws.between(-180.0, 180.0)),
        spread_days=draws.between(150.0, 365.0),
        dry=draws.between(0.0, 0.7),
        mild=draws.between(0.7, 1.0),
        evergreen=draws.between(0.6, 1.0),
        vigour=draws.between(0.85, 1.2),
        fallow=draws.between(0.05, 0.4),
        snow=0.0,
    )


def _southern(draws: Draws) -> Climate:
    north = _temperate(draws)
    return dataclasses.replace(
        north, latitude_deg=8.0 - north.latitude_deg, shift_days=182 + north.shift_days, snow=0.0
    )


_CLIMATES: dict[str, Callable[[Draws], Climate]] = {
    "temperate": _temperate,
    "mediterranean": _mediterranean,
    "arid": _arid,
    "boreal": _boreal,
    "tropical": _tropical,
    "southern": _southern,
}


def _countryside(draws: Draws) -> Layout:
    """Draw what every landscape has; its kind then overrides a few parameters."""
    regular = draws.chance(0.3)
    return Layout(
        forest=draws.between(0.05, 0.6),
        conifer=draws.between(0.0, 1.0),
        grass=draws.between(0.03, 0.42),
        field_m=draws.scaled(45.0, 480.0),
        village_m=draws.scaled(1300.0, 5000.0),
        pond_m=draws.scaled(1300.0, 6000.0),
        quarry_m=draws.scaled(2500.0, 9000.0),
        river_m=draws.scaled(2500.0, 14000.0),
        river_width_m=draws.scaled(14.0, 160.0),
        relief_m=draws.scaled(6.0, 150.0),
        field_block=draws.between(10.0, 30.0) if regular else draws.between(3.0, 9.0),
        field_ratio=draws.scaled(0.9, 6.0),
        field_turn=draws.between(0.0, 0.15) if regular else draws.between(0.2, 1.0),
        bank_m=max(draws.between(-6.0, 6.0), 0.1),
        hedges=draws.between(0.0, 0.5),
        rides=max(draws.between(-0.25, 0.06), 0.0),
        openness=draws.between(-0.4, 0.8),
        leafy=draws.between(0.0, 0.9),
        site_scale=draws.scaled(0.5, 1.6),
        highways=max(draws.between(-3.0, 3.0), 0.0),
        smooth=True,
    )


def _extras(draws: Draws) -> dict[str, float]:
    """Draw admixtures that any landscape may have."""
    extras: dict[str, float] = {}
    if draws.chance(0.45):
        extras |= {
            "wild": draws.between(0.08, 0.5),
            "shrub": draws.between(0.1, 0.6),
            "wetland": draws.between(0.05, 0.45),
            "bare": draws.between(0.05, 0.45),
        }
    if draws.chance(0.25):
        extras["lake"] = draws.scaled(0.02, 0.2)
    if draws.chance(0.35):
        extras["town"] = draws.scaled(0.03, 0.25)
    return extras


@dataclasses.dataclass(frozen=True)
class _Landscape:
    """A kind of landscape: how often it is drawn, where it occurs, and what marks it."""

    weight: float
    climates: tuple[str, ...]
    draw: Callable[[Draws], dict[str, float]]


def _farmland(draws: Draws) -> dict[str, float]:
    return {"forest": draws.between(0.0, 0.3)}


def _forest(draws: Draws) -> dict[str, float]:
    return {"forest": draws.between(0.7, 1.0), "openness": draws.between(-0.3, 1.3)}


def _valley(draws: Draws) -> dict[str, float]:
    return {
        "river_m": draws.scaled(1500.0, 2600.0),
        "river_width_m": draws.scaled(60.0, 500.0),
        "relief_m": draws.scaled(6.0, 60.0),
        "wild": draws.between(0.2, 0.6),
        "wetland": draws.between(0.3, 0.7),
        "shrub": draws.between(0.1, 0.4),
        "bare": draws.between(0.05, 0.3),
    }


def _lakes(draws: Draws) -> dict[str, float]:
    return {"lake": draws.between(0.15, 0.45), "forest": draws.between(0.2, 0.9)}


def _coast(draws: Draws) -> dict[str, float]:
    return {
        "sea": draws.between(0.3, 0.6),
        "tide": max(draws.between(-1.0, 1.5), 0.0),
        "wild": draws.between(0.2, 0.8),
        "bare": draws.between(0.1, 0.4),
        "shrub": draws.between(0.2, 0.5),
        "wetland": draws.between(0.1, 0.4),
        "town": draws.between(0.0, 0.4),
    }


def _town(draws: Draws) -> dict[str, float]:
    return {"town": draws.between(0.35, 0.9)}


def _dryland(draws: Draws) -> dict[str, float]:
    return {
        "forest": draws.between(0.0, 0.2),
        "wild": draws.between(0.5, 1.0),
        "shrub": draws.between(0.25, 0.7),
        "bare": draws.between(0.2, 0.6),
        "wetland": 0.0,
        "aridity": draws.between(0.55, 1.0),
        "pivots": max(draws.between(-0.5, 0.6), 0.0),
        "openness": draws.between(0.4, 1.6),
        "bank_m": 0.1,
    }


def _maquis(draws: Draws) -> dict[str, float]:
    return {
        "forest": draws.between(0.05, 0.6),
        "wild": draws.between(0.3, 0.9),
        "shrub": draws.between(0.4, 0.8),
        "bare": draws.between(0.1, 0.4),
        "wetland": 0.0,
        "aridity": draws.between(0.3, 0.65),
        "openness": draws.between(0.2, 1.4),
    }


def _moor(draws: Draws) -> dict[str, float]:
    return {
        "forest": draws.between(0.05, 0.6),
        "wild": draws.between(0.5, 1.0),
        "shrub": draws.between(0.3, 0.7),
        "wetland": draws.between(0.2, 0.6),
        "bare": draws.between(0.02, 0.25),
        "aridity": draws.between(0.0, 0.25),
        "relief_m": draws.scaled(6.0, 120.0),
    }


def _marsh(draws: Draws) -> dict[str, float]:
    return {
        "forest": draws.between(0.05, 0.5),
        "wild": draws.between(0.5, 1.0),
        "wetland": draws.between(0.45, 0.9),
        "shrub": draws.between(0.1, 0.5),
        "bare": 0.03,
        "lake": draws.between(0.05, 0.3),
        "relief_m": draws.scaled(4.0, 25.0),
    }


def _mountain(draws: Draws) -> dict[str, float]:
    return {
        "forest": draws.between(0.1, 0.6),
        "conifer": draws.between(0.4, 1.0),
        "wild": draws.between(0.6, 1.0),
        "bare": draws.between(0.3, 0.75),
        "shrub": draws.between(0.2, 0.5),
        "wetland": 0.02,
        "aridity": draws.between(0.0, 0.4),
        "relief_m": draws.scaled(120.0, 420.0),
    }


def _mines(draws: Draws) -> dict[str, float]:
    return {
        "quarry_m": draws.scaled(900.0, 1800.0),
        "site_scale": draws.scaled(1.1, 2.6),
        "wild": draws.between(0.1, 0.5),
        "bare": draws.between(0.3, 0.7),
        "shrub": draws.between(0.2, 0.5),
    }


_GREEN_LANDS = ("temperate", "temperate", "boreal", "southern", "mediterranean", "tropical")

_LANDSCAPES: dict[str, _Landscape] = {
    "farmland": _Landscape(1.6, (*_GREEN_LANDS, "arid"), _farmland),
    "forest": _Landscape(1.4, _GREEN_LANDS, _forest),
    "valley": _Landscape(1.0, _GREEN_LANDS, _valley),
    "lakes": _Landscape(1.0, ("temperate", "boreal", "boreal", "southern", "tropical"), _lakes),
    "coast": _Landscape(1.2, (*_GREEN_LANDS, "arid"), _coast),
    "town": _Landscape(1.3, (*_GREEN_LANDS, "arid"), _town),
    "dryland": _Landscape(1.0, ("arid", "arid", "mediterranean"), _dryland),
    "maquis": _Landscape(0.8, ("mediterranean", "mediterranean", "arid", "southern"), _maquis),
    "moor": _Landscape(0.8, ("temperate", "boreal", "southern"), _moor),
    "marsh": _Landscape(0.9, ("temperate", "boreal", "southern", "tropical"), _marsh),
    "mountain": _Landscape(0.7, ("temperate", "boreal", "southern", "mediterranean"), _mountain),
    "mines": _Landscape(0.6, (*_GREEN_LANDS, "arid"), _mines),
}
