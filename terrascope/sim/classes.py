"""From what covers the ground to the eight classes that questions are asked about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.canvas import Cover
from terrascope.types import ChangeKind
from terrascope.vocabulary import CLASS_CODES

__all__ = ["CLASS_OF", "REVERSE"]

_CLASS_NAMES = {
    Cover.WATER: "water",
    Cover.CONIFER: "tree",
    Cover.BROADLEAF: "tree",
    Cover.YOUNG_FOREST: "tree",
    Cover.CROP: "crop",
    Cover.GRASS: "grass",
    Cover.GARDEN: "developed area",
    Cover.HOUSES: "developed area",
    Cover.HALLS: "developed area",
    Cover.ROAD: "developed area",
    Cover.QUARRY: "bare land",
    Cover.WETLAND: "wetland",
    Cover.HEDGE: "tree",
    Cover.LAKE: "water",
    Cover.SEA: "water",
    Cover.SAND: "bare land",
    Cover.ROCK: "bare land",
    Cover.BARE_SOIL: "bare land",
    Cover.HEATH: "shrub",
    Cover.SCRUB: "shrub",
    Cover.MAQUIS: "shrub",
    Cover.STEPPE: "shrub",
    Cover.DRY_GRASS: "grass",
    Cover.MARSH: "wetland",
    Cover.BOG: "wetland",
    Cover.SWAMP: "wetland",
    Cover.CITY: "developed area",
    Cover.PARK: "grass",
    Cover.VILLA: "developed area",
}

_REVERSES = {
    ChangeKind.VEGETATION_LOSS: ChangeKind.REGROWTH,
    ChangeKind.WATER_GAIN: ChangeKind.WATER_LOSS,
    ChangeKind.WATER_LOSS: ChangeKind.WATER_GAIN,
    ChangeKind.BARE: ChangeKind.REGROWTH,
    ChangeKind.REGROWTH: ChangeKind.VEGETATION_LOSS,
    ChangeKind.BUILT_UP_GAIN: ChangeKind.OTHER,
    ChangeKind.OTHER: ChangeKind.OTHER,
}


def _table(codes: dict[Cover, str]) -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for cover, name in codes.items():
        table[cover] = CLASS_CODES[name]
    return table


CLASS_OF: NDArray[np.uint8] = _table(_CLASS_NAMES)
"""Class code by `Cover`, shape (256,); gardens belong to the settlement, hedges are
trees, tidal flats have no class."""

REVERSE: NDArray[np.uint8] = np.array(
    [_REVERSES.get(ChangeKind(code), ChangeKind.NONE) for code in range(8)], np.uint8
)
"""What the end of a change is called, by `ChangeKind`, shape (8,)."""
