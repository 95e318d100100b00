"""The canvas that land is painted on: codes of covers, what is known of the pixels, blobs."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from terrascope.sim.terrain import Box, Site, bounds
from terrascope.types import BoolArray, FloatArray

__all__ = ["SHRUBS", "WATERS", "WETLANDS", "Canvas", "Cover", "Window", "blob", "is_any", "level"]


class Cover(enum.IntEnum):
    """Land cover of a pixel before any change."""

    WATER = 1
    CONIFER = 2
    BROADLEAF = 3
    YOUNG_FOREST = 4
    CROP = 5
    GRASS = 6
    GARDEN = 7
    HOUSES = 8
    HALLS = 9
    ROAD = 10
    QUARRY = 11
    WETLAND = 12
    HEDGE = 13
    LAKE = 14
    SEA = 15
    TIDAL = 16
    SAND = 17
    ROCK = 18
    BARE_SOIL = 19
    HEATH = 20
    SCRUB = 21
    MAQUIS = 22
    STEPPE = 23
    DRY_GRASS = 24
    MARSH = 25
    BOG = 26
    SWAMP = 27
    CITY = 28
    PARK = 29
    VILLA = 30


WATERS = (Cover.WATER, Cover.LAKE, Cover.SEA)
"""Open water."""

SHRUBS = (Cover.HEATH, Cover.SCRUB, Cover.MAQUIS, Cover.STEPPE)
"""Low woody plants."""

WETLANDS = (Cover.WETLAND, Cover.MARSH, Cover.BOG, Cover.SWAMP)
"""Ground that is wet all year, with plants."""


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """Pixels to be covered, and what is known of them; all arrays of shape (y, x).

    Parameters
    ----------
    x_m, y_m : ndarray of float64
        Ground coordinates.
    coarse, fine : ndarray of float32
        Textures of unit variance.
    river_m, width_m : ndarray of float32
        Distance to the nearest river, and its width.
    above_m : ndarray of float32
        Height above the nearest river.
    """

    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    coarse: FloatArray
    fine: FloatArray
    river_m: FloatArray
    width_m: FloatArray
    above_m: FloatArray

    @property
    def box(self) -> Box:
        """West, south, east, north of the pixel centres in metres."""
        return bounds(self.x_m, self.y_m)


@dataclasses.dataclass(frozen=True, eq=False)
class Canvas:
    """Covers and parcel names while they are being painted.

    Parameters
    ----------
    cover : ndarray of uint8, shape (y, x)
        `Cover` codes.
    key : ndarray of uint64, shape (y, x)
        Names of the parcels.
    """

    cover: NDArray[np.uint8]
    key: NDArray[np.uint64]

    def paint(self, where: BoolArray, code: Cover | NDArray[Any], name: NDArray[np.uint64]) -> None:
        """Give some pixels a cover and a parcel, in place.

        Parameters
        ----------
        where : ndarray of bool, shape (y, x)
            Those pixels.
        code : Cover or ndarray of integer, shape (y, x)
            One cover, or that of each pixel.
        name : ndarray of uint64
            Of the parcels; broadcast to the window.
        """
        self.cover[where] = np.broadcast_to(code, self.cover.shape)[where]
        self.key[where] = np.broadcast_to(name, self.key.shape)[where]


def blob(window: Window, site: Site, wobble: FloatArray, size: float) -> FloatArray:
    """Measure a lobed, wobbly disk.

    Parameters
    ----------
    window : Window
        The pixels.
    site : Site
        The disk.
    wobble : ndarray of float32, shape (y, x)
        Texture of its edge.
    size : float
        How far the texture moves the edge, in radii.

    Returns
    -------
    ratio : ndarray of float32, shape (y, x)
        Distance over radius: below 1 is inside.
    """
    east, north = window.x_m - site.x_m, window.y_m - site.y_m
    bearing = np.arctan2(north, east) - site.angle
    lobes = 1.0 + 0.24 * np.cos(2 * bearing) + 0.12 * np.cos(3 * bearing + site.angle * 7)
    ratio = np.hypot(east, north) / (site.radius_m * lobes) + size * 0.5 * wobble
    return ratio.astype(np.float32)


def is_any(cover: NDArray[np.uint8], covers: Sequence[Cover]) -> BoolArray:
    """Return where a cover is one of some.

    Parameters
    ----------
    cover : ndarray of uint8
        `Cover` codes.
    covers : sequence of Cover
        Those asked for.

    Returns
    -------
    where : ndarray of bool, shape of `cover`
        True there.
    """
    table = np.zeros(256, bool)
    table[[int(one) for one in covers]] = True
    where: BoolArray = table[cover]
    return where


def level(share: float) -> float:
    """Return what a standard normal field exceeds on a share of the ground.

    Parameters
    ----------
    share : float
        0 to 1.

    Returns
    -------
    level : float
        Above all values for 0.
    """
    return float(-special.ndtri(np.clip(share, 1e-9, 1.0 - 1e-9)))
