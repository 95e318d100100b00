"""Landscapes of the world: which land, under which climate, a sample shows."""

from __future__ import annotations

import dataclasses

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
    layout = Layout(
        forest=draws.between(0.05, 0.85),
        conifer=draws.between(0.0, 1.0),
        grass=draws.between(0.1, 0.6),
        field_m=draws.scaled(60.0, 420.0),
        village_m=draws.scaled(1200.0, 4000.0),
        pond_m=draws.scaled(1100.0, 3500.0),
        quarry_m=draws.scaled(1500.0, 5000.0),
        river_m=draws.scaled(2500.0, 9000.0),
        river_width_m=draws.scaled(20.0, 220.0),
        relief_m=draws.scaled(8.0, 160.0),
    )
    centre = tuple(float(v) for v in draws.rng.uniform(-2e5, 2e5, 2))
    return Place(
        seed=int(draws.rng.integers(2**31)),
        layout=layout,
        climate=Climate(),
        palette=draw_palette(draws),
        centre_m=(centre[0], centre[1]),
        textures=_TEXTURES * SPLITS.index(draws.split) + int(draws.rng.integers(_TEXTURES)),
    )
