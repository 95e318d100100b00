"""Where in a real scene something can happen, and in which outline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.aftermath import Alter
from terrascope.sim.alterations import HALF
from terrascope.sim.canvas import Cover
from terrascope.sim.land import Land, make_land
from terrascope.sim.shapes import Ground, blob, boxes, line, mosaic, outbreak, shore, stands, valley
from terrascope.types import BoolArray, FloatArray
from terrascope.vocabulary import CLASS_CODES, LAND_COVER

__all__ = ["GROUND", "Setting", "change_share", "lay_out"]

_FEWEST, _TRIES = 12, 8
_FAR_M = 1e5

_COVER_OF = np.array(
    [
        Cover.GRASS,
        Cover.LAKE,
        Cover.HOUSES,
        Cover.BARE_SOIL,
        Cover.GRASS,
        Cover.CROP,
        Cover.CONIFER,
        Cover.SCRUB,
        Cover.MARSH,
    ],
    np.uint8,
)
"""What stands for each class in the simulator, the unknown first."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where and how something happens.

    Parameters
    ----------
    classes : tuple of str
        Land cover on which it can happen.
    shapes : tuple of callable
        Of `terrascope.sim.shapes`; one is drawn.
    days : tuple of float
        Shortest and longest time until it is complete.
    largest : float
        Greatest share of the window.
    """

    classes: tuple[str, ...]
    shapes: tuple[Callable[[Ground, BoolArray, float], FloatArray], ...]
    days: tuple[float, float]
    largest: float

    @property
    def codes(self) -> list[int]:
        """Codes of the classes."""
        return [CLASS_CODES[name] for name in self.classes]


_WOODS, _LOW = ("tree",), ("grass", "crop")
_PLANTS = ("tree", "shrub", "grass", "crop")

GROUND: MappingProxyType[Alter, Setting] = MappingProxyType(
    {
        Alter.FELLING: Setting(_WOODS, (boxes, stands, blob), (3, 40), 0.25),
        Alter.INSECTS: Setting(_WOODS, (outbreak,), (20, 120), 0.30),
        Alter.FIRE: Setting(_PLANTS, (mosaic,), (1, 8), 0.33),
        Alter.WINDTHROW: Setting(_WOODS, (outbreak, blob), (1, 2), 0.20),
        Alter.CLEARING: Setting(("tree", "shrub"), (boxes,), (5, 60), 0.25),
        Alter.FLOOD: Setting((*_LOW, "wetland", "shrub", "bare land"), (valley,), (1, 4), 0.33),
        Alter.RESERVOIR: Setting((*_PLANTS, "wetland"), (valley,), (10, 90), 0.30),
        Alter.DRAWDOWN: Setting(("water",), (shore,), (5, 120), 0.30),
        Alter.EARTHWORKS: Setting(_PLANTS, (boxes, blob), (5, 60), 0.15),
        Alter.BUILDING: Setting((*_PLANTS, "bare land"), (boxes, blob), (60, 300), 0.20),
        Alter.SOLAR: Setting((*_LOW, "bare land"), (boxes,), (30, 120), 0.15),
        Alter.ROADWORKS: Setting(_PLANTS, (line,), (60, 300), 0.05),
        Alter.MINING: Setting(_PLANTS, (blob,), (60, 500), 0.30),
        Alter.LANDSLIDE: Setting(("tree", "grass"), (line,), (1, 2), 0.04),
        Alter.DEMOLITION: Setting(("developed area",), (boxes,), (10, 60), 0.05),
        Alter.REGROWTH: Setting(("bare land",), (blob, boxes), (120, 700), 0.20),
    }
)
"""By what happens. As in simulated scenes, in the eight classes that real labels have."""


def lay_out(
    cover: NDArray[np.uint8], pixel_yx_m: tuple[float, float], rng: np.random.Generator
) -> Land:
    """Lay simulated textures, parcels and relief over real land cover.

    Parameters
    ----------
    cover : ndarray of uint8, shape (H, W)
        Of `CLASS_CODES`; 0 unknown.
    pixel_yx_m : tuple of float
        Height and width of a pixel.
    rng : numpy.random.Generator
        Decides which.

    Returns
    -------
    land : Land
        Flat for the light: the real slopes are not known. Low ground is simulated.
    """
    seed, centre = int(rng.integers(2**31)), rng.uniform(-_FAR_M, _FAR_M, 2)
    down = (np.arange(cover.shape[0]) + 0.5) * pixel_yx_m[0]
    right = (np.arange(cover.shape[1]) + 0.5) * pixel_yx_m[1]
    x_m, y_m = np.meshgrid(centre[0] + right, centre[1] - down)
    land = make_land(x_m, y_m, seed=seed)
    known = np.where(cover <= len(LAND_COVER), cover, 0)
    return dataclasses.replace(
        land,
        cover=_COVER_OF[known],
        road=np.zeros(cover.shape, np.float32),
        slope_xy=np.zeros((2, *cover.shape), np.float32),
    )


def change_share(
    what: Alter, land: Land, allowed: BoolArray, rng: np.random.Generator
) -> FloatArray | None:
    """Draw an outline.

    Parameters
    ----------
    what : Alter
        What happens.
    land : Land
        Of the window, from `lay_out`.
    allowed : ndarray of bool, shape (H, W)
        Where it may lie.
    rng : numpy.random.Generator
        Decides size, place and form.

    Returns
    -------
    share : ndarray of float32, shape (H, W), or None
        Of each pixel that is replaced, 0 outside of `allowed`; None where nothing fits.
    """
    setting, room = GROUND[what], int(allowed.sum())
    if room < 2 * _FEWEST:
        return None
    most = min(setting.largest * allowed.size, 0.8 * room)
    for _ in range(_TRIES):
        part = rng.random() ** 0.75
        pixels = float(np.exp((1 - part) * np.log(_FEWEST) + part * np.log(max(most, _FEWEST))))
        shape = setting.shapes[int(rng.integers(len(setting.shapes)))]
        share = np.where(allowed, shape(Ground(land, rng), allowed, pixels), 0.0)
        if np.count_nonzero(share >= HALF) >= _FEWEST:
            return np.asarray(share, np.float32)
    return None
