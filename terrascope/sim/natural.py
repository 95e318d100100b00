"""What land consists of that nobody tills: shrubs, dry grass, wetlands, sand, sea, city."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.canvas import Cover
from terrascope.sim.spectra import Surface
from terrascope.types import FloatArray

__all__ = ["Season", "natural_shares"]

_Recipe = dict[Surface, "NDArray[np.float64] | float"]


@dataclasses.dataclass(frozen=True, eq=False)
class Season:
    """The day as plants that nobody tends feel it.

    Parameters
    ----------
    grass : ndarray of float64, shape (n,)
        Green share of the sward of every parcel, 0 to 1.
    leaf : float
        Leaf cover of deciduous trees and shrubs, 0 to 1.
    tide : float
        Height of the water on tidal flats, 0 low to 1 high.
    """

    grass: NDArray[np.float64]
    leaf: float
    tide: float


def natural_shares(
    cover: NDArray[np.uint8], lots: NDArray[np.float64], season: Season, shares: FloatArray
) -> None:
    """Fill the rows of wild land, sea and city, in place.

    Parameters
    ----------
    cover : ndarray of uint8, shape (n,)
        `Cover` of every parcel.
    lots : ndarray of float64, shape (3, n)
        Draws of every parcel, uniform in [0, 1).
    season : Season
        The day.
    shares : ndarray of float32, shape (n, surfaces)
        Modified; rows of these covers sum to 1.
    """
    for code in np.unique(cover):
        if code not in _RECIPES:
            continue
        here = cover == code
        a, b, c = lots[:, here]
        part = dataclasses.replace(season, grass=season.grass[here])
        rows = np.zeros((int(here.sum()), shares.shape[1]), np.float32)
        for surface, amount in _RECIPES[Cover(code)](a, b, c, part).items():
            rows[:, surface] = np.maximum(amount, 0.0)
        shares[here] = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-6)


_Array = NDArray[np.float64]


def _lake(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.WATER: 0.6 * (1 - a) + 0.1,
        Surface.DEEP: 0.6 * b * (1 - a),
        Surface.TURBID: a**2,
        Surface.ALGAE: 0.8 * np.maximum(c - 0.5, 0.0),
    }


def _sea(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.DEEP: 0.3 + 0.7 * b,
        Surface.WATER: 0.6 * (1 - b),
        Surface.TURBID: 0.5 * a**3,
        Surface.SAND: 0.05 * c * (1 - b),
    }


def _tidal(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    under = (a < season.tide).astype(np.float64)
    return {
        Surface.TURBID: 0.6 * under,
        Surface.WATER: 0.4 * under + 0.05,
        Surface.MUD: 0.8 * (1 - under) * (0.3 + b),
        Surface.SAND: 0.6 * (1 - under) * (1 - b),
    }


def _sand(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.SAND: 0.9,
        Surface.SOIL_BRIGHT: 0.5 * a,
        Surface.SALT: 0.4 * np.maximum(b - 0.7, 0.0) / 0.3,
        Surface.GRASS: 0.1 * c * season.grass,
        Surface.STRAW: 0.1 * c,
    }


def _rock(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.ROCK: 0.25 + 0.6 * a,
        Surface.SOIL_DARK: 0.35 * (1 - a),
        Surface.DARK_ROOF: 0.35 * np.maximum(b - 0.5, 0.0),
        Surface.SHADE: 0.12 * (1 - a),
        Surface.GRASS: 0.15 * c * season.grass,
        Surface.STRAW: 0.1 * c,
    }


def _bare_soil(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.SOIL_BRIGHT: a,
        Surface.SOIL_DARK: 0.9 * (1 - a) * (1 - b),
        Surface.SOIL_RED: 0.9 * (1 - a) * b,
        Surface.STRAW: 0.14 * c,
        Surface.GRASS: 0.12 * c * season.grass,
    }


def _heath(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.HEATHER: 0.4 + 0.3 * a,
        Surface.GRASS: 0.2 * season.grass,
        Surface.STRAW: 0.15 * (1.2 - season.grass),
        Surface.PEAT: 0.15 * b,
        Surface.SHRUB: 0.2 * c,
        Surface.SHADE: 0.06,
    }


def _scrub(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.BROADLEAF: (0.25 + 0.25 * a) * season.leaf,
        Surface.LITTER: (0.25 + 0.25 * a) * (1 - season.leaf),
        Surface.SHRUB: 0.2 + 0.2 * b,
        Surface.GRASS: 0.25 * season.grass,
        Surface.STRAW: 0.2 * (1.1 - season.grass),
        Surface.SHADE: 0.08 + 0.06 * c,
    }


def _maquis(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.SHRUB: 0.45 + 0.3 * a,
        Surface.SHADE: 0.10 + 0.08 * a,
        Surface.SOIL_BRIGHT: 0.16 * (1 - a) * b,
        Surface.SOIL_RED: 0.18 * (1 - a) * (1 - b),
        Surface.GRASS: 0.15 * season.grass,
        Surface.STRAW: 0.15 * (1.1 - season.grass),
        Surface.ROCK: 0.12 * c * (1 - a),
    }


def _steppe(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.SHRUB: 0.12 + 0.30 * a,
        Surface.STRAW: 0.12 + 0.2 * (1.0 - season.grass),
        Surface.GRASS: 0.14 * season.grass,
        Surface.SOIL_BRIGHT: 0.45 * (1 - a) * b + 0.05,
        Surface.SOIL_RED: 0.45 * (1 - a) * (1 - b),
        Surface.SAND: 0.25 * c * (1 - a),
        Surface.SHADE: 0.05 + 0.05 * a,
    }


def _dry_grass(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.GRASS: (0.45 + 0.35 * a) * season.grass,
        Surface.STRAW: (0.35 + 0.4 * a) * (1.15 - season.grass),
        Surface.SOIL_BRIGHT: 0.28 * b * (1 - a) + 0.04,
        Surface.SOIL_RED: 0.20 * c * (1 - a),
        Surface.SHRUB: 0.05 * c,
    }


def _marsh(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.SEDGE: (0.35 + 0.35 * a) * season.grass,
        Surface.STRAW: 0.35 * (1.15 - season.grass),
        Surface.WATER: 0.10 + 0.30 * b * (1 - a),
        Surface.MUD: 0.14 * c,
        Surface.TURBID: 0.08 * (1 - a),
    }


def _bog(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.PEAT: 0.12 + 0.25 * a,
        Surface.SEDGE: 0.35 * season.grass,
        Surface.STRAW: 0.2 * (1.2 - season.grass),
        Surface.HEATHER: 0.22 * b,
        Surface.WATER: 0.05 + 0.12 * c,
        Surface.SHADE: 0.04,
    }


def _swamp(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.BROADLEAF: (0.35 + 0.2 * a) * season.leaf,
        Surface.LITTER: (0.25 + 0.15 * a) * (1 - season.leaf),
        Surface.SEDGE: 0.2 * season.grass,
        Surface.WATER: 0.14 + 0.2 * b,
        Surface.SHADE: 0.12,
        Surface.MUD: 0.08 * c,
    }


def _city(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.CONCRETE: 0.16 + 0.25 * a,
        Surface.ASPHALT: 0.22,
        Surface.DARK_ROOF: 0.30 * (1 - a),
        Surface.TILE: 0.35 * b,
        Surface.ROOF: 0.16 * c,
        Surface.SHADE: 0.17,
        Surface.BROADLEAF: 0.06 * season.leaf * (1 - b),
        Surface.GRASS: 0.03,
    }


def _park(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.GRASS: 0.8 * season.grass,
        Surface.STRAW: 0.6 * (1.0 - season.grass),
        Surface.SOIL_DARK: 0.25 * (1.0 - season.grass),
        Surface.BROADLEAF: 0.25 * a * season.leaf,
        Surface.LITTER: 0.2 * a * (1.0 - season.leaf),
    }


def _villa(a: _Array, b: _Array, c: _Array, season: Season) -> _Recipe:
    return {
        Surface.BROADLEAF: (0.15 + 0.25 * a) * season.leaf,
        Surface.LITTER: (0.15 + 0.25 * a) * (1.0 - season.leaf),
        Surface.CONIFER: 0.10 * c,
        Surface.GRASS: 0.26 * season.grass,
        Surface.STRAW: 0.12 * (1.1 - season.grass),
        Surface.TILE: 0.18 * b,
        Surface.DARK_ROOF: 0.12 * (1.0 - b),
        Surface.ROOF: 0.06 * c,
        Surface.ASPHALT: 0.10,
        Surface.SHADE: 0.10,
    }


_RECIPES = {
    Cover.LAKE: _lake,
    Cover.SEA: _sea,
    Cover.TIDAL: _tidal,
    Cover.SAND: _sand,
    Cover.ROCK: _rock,
    Cover.BARE_SOIL: _bare_soil,
    Cover.HEATH: _heath,
    Cover.SCRUB: _scrub,
    Cover.MAQUIS: _maquis,
    Cover.STEPPE: _steppe,
    Cover.DRY_GRASS: _dry_grass,
    Cover.MARSH: _marsh,
    Cover.BOG: _bog,
    Cover.SWAMP: _swamp,
    Cover.CITY: _city,
    Cover.PARK: _park,
    Cover.VILLA: _villa,
}
