"""The bones of a world: hills, rivers, ponds, villages, quarries and roads, without end.

Each feature lives on a jittered lattice or is a periodic-free curve, so that
any window of the plane can be asked for, and neighbours agree.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.layout import Layout
from terrascope.sim.textures import Texture, is_upright, texture, uniform
from terrascope.types import FloatArray

__all__ = ["Box", "Layout", "Site", "SiteKind", "Terrain", "bounds"]

Box: TypeAlias = tuple[float, float, float, float]
"""West, south, east, north in metres."""


class SiteKind(enum.IntEnum):
    """What lies at a site. The number is a salt: another kind, other places."""

    VILLAGE = 21
    POND = 22
    QUARRY = 23


_SHARE_AND_RADIUS_M = {
    SiteKind.VILLAGE: (0.85, 190.0, 430.0),
    SiteKind.POND: (0.6, 110.0, 320.0),
    SiteKind.QUARRY: (0.6, 90.0, 170.0),
}
"""Share of lattice cells that hold a site, and its least and greatest radius."""


@dataclasses.dataclass(frozen=True)
class Site:
    """A roundish feature: a pond, a village or a quarry.

    Parameters
    ----------
    x_m, y_m : float
        Centre.
    radius_m : float
        Mean radius.
    angle : float
        Orientation in radians.
    key : int
        Names the site, 31 bits; the seed of what is drawn there.
    """

    x_m: float
    y_m: float
    radius_m: float
    angle: float
    key: int

    def along_across(
        self, x_m: NDArray[np.float64], y_m: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coordinates along and across the site's axis.

        Parameters
        ----------
        x_m, y_m : ndarray of float64, same shape
            Ground coordinates in metres.

        Returns
        -------
        along_m, across_m : ndarray of float64
            Metres from the centre.
        """
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        east, north = x_m - self.x_m, y_m - self.y_m
        return east * cos + north * sin, north * cos - east * sin


@dataclasses.dataclass(frozen=True)
class Terrain:
    """Relief, water courses and sites of one world.

    Parameters
    ----------
    seed : int
        Of the world.
    layout : Layout
        Its parameters.
    textures : int or None
        Seed of its textures, where several worlds share them: making a texture
        costs more than laying out a window. None for textures of its own.
    """

    seed: int
    layout: Layout
    textures: int | None = None

    @property
    def _texture_seed(self) -> int:
        return 31 * (self.seed if self.textures is None else self.textures)

    @property
    def hills(self) -> Texture:
        """Relief of hundreds of metres to kilometres."""
        return texture(
            self._texture_seed + 1,
            pixel_m=60.0,
            slope=3.8,
            largest_m=9000,
            smallest_m=300,
            size=512,
        )

    @property
    def coarse(self) -> Texture:
        """Patches of 80 to 1500 m: stands, soils, vigour."""
        return texture(
            self._texture_seed + 2,
            pixel_m=20.0,
            slope=2.6,
            largest_m=1500,
            smallest_m=80,
            size=1024,
        )

    @property
    def fine(self) -> Texture:
        """Texture of 20 to 160 m: crowns, gaps, wet spots."""
        return texture(
            self._texture_seed + 3, pixel_m=10.0, slope=1.6, largest_m=160, smallest_m=20, size=1024
        )

    def river(self, x_m: NDArray[Any], y_m: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        """Measure the way to the nearest river.

        Parameters
        ----------
        x_m, y_m : ndarray
            Ground coordinates in metres.

        Returns
        -------
        distance_m : ndarray of float32
            To the river's centre line.
        width_m : ndarray of float32
            Of the water there.
        """
        spacing = self.layout.river_m
        best = np.full(np.shape(x_m), np.inf)
        # The course depends on x alone.
        x_line = np.asarray(x_m[:1] if is_upright(x_m, y_m) else x_m)
        lowest, highest = np.min(y_m) / spacing, np.max(y_m) / spacing
        for k in range(int(np.floor(lowest - 0.75)), int(np.floor(highest + 0.5)) + 1):
            phase = uniform(self.seed, k, 11, np.arange(6)) * 2 * np.pi
            course = spacing * (k + 0.25 + 0.3 * uniform(self.seed, k, 12))
            slope = np.zeros(np.shape(x_line))
            line = np.full(np.shape(x_line), float(course))
            for p, (height, wave) in enumerate(((380, 4300), (150, 1450), (60, 610), (16, 240))):
                turn = 2 * np.pi * x_line / wave + phase[p]
                line = line + height * np.sin(turn)
                slope = slope + height * 2 * np.pi / wave * np.cos(turn)
            best = np.minimum(best, np.abs(y_m - line) / np.sqrt(1.0 + slope**2))
        width = self.layout.river_width_m * (1.0 + 0.25 * self.coarse.sample(x_m, y_m))
        return best.astype(np.float32), np.clip(width, 12.0, None).astype(np.float32)

    def _valley_m(self, x_m: NDArray[Any], y_m: NDArray[Any]) -> NDArray[np.float64]:
        """Return the way to the middle of the nearest valley, which bends less than its river."""
        spacing = self.layout.river_m
        best = np.full(np.shape(x_m), np.inf)
        lowest, highest = np.min(y_m) / spacing, np.max(y_m) / spacing
        for k in range(int(np.floor(lowest - 0.75)), int(np.floor(highest + 0.5)) + 1):
            phase = uniform(self.seed, k, 11, 0) * 2 * np.pi
            course = spacing * (k + 0.25 + 0.3 * uniform(self.seed, k, 12))
            line = course + 380.0 * np.sin(2 * np.pi * x_m / 4300.0 + phase)
            np.minimum(best, np.abs(y_m - line), out=best)
        return best

    def height(
        self, x_m: NDArray[Any], y_m: NDArray[Any], river_m: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return elevation and height above the nearest river.

        Parameters
        ----------
        x_m, y_m : ndarray
            Ground coordinates in metres.
        river_m : ndarray of float32
            Distance to the nearest river.

        Returns
        -------
        elevation_m : ndarray of float32
            Above the sea.
        above_m : ndarray of float32
            Above the river: small in the flood plain.
        """
        relief = self.layout.relief_m
        way_m = self._valley_m(x_m, y_m) if self.layout.smooth else river_m
        valley = 1.0 - np.exp(-((way_m / 900.0) ** 2))
        hills = relief * (1.3 + self.hills.sample(x_m, y_m))
        micro = 0.5 * self.coarse.sample(x_m, y_m, shift=(511.0, 77.0))
        above = np.maximum(valley * np.maximum(hills, 4.0) + micro + 0.9, 0.0)
        return (230.0 + above).astype(np.float32), above.astype(np.float32)

    def sites(self, kind: SiteKind, box: Box) -> list[Site]:
        """Return the sites of one kind that can touch a window.

        Parameters
        ----------
        kind : SiteKind
            Villages, ponds or quarries.
        box : tuple of float
            West, south, east, north of the window in metres.

        Returns
        -------
        sites : list of Site
            In the order of their lattice.
        """
        west, south, east, north = box
        layout = self.layout
        spacing_m = {
            SiteKind.VILLAGE: layout.village_m,
            SiteKind.POND: layout.pond_m,
            SiteKind.QUARRY: layout.quarry_m,
        }[kind]
        share, low, high = _SHARE_AND_RADIUS_M[kind]
        low, high = low * layout.site_scale, high * layout.site_scale
        reach = 2.5 * high
        rows = np.arange(np.floor(south / spacing_m) - 1, np.floor(north / spacing_m) + 2)
        columns = np.arange(np.floor(west / spacing_m) - 1, np.floor(east / spacing_m) + 2)
        j, i = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
        draw = uniform(self.seed, int(kind), i[:, None], j[:, None], np.arange(5))
        x_m = (i + 0.15 + 0.7 * draw[:, 1]) * spacing_m
        y_m = (j + 0.15 + 0.7 * draw[:, 2]) * spacing_m
        there = (draw[:, 0] < share) & (west - reach < x_m) & (x_m < east + reach)
        there &= (south - reach < y_m) & (y_m < north + reach)
        keys = uniform(self.seed, int(kind), i, j) * 2**31
        return [
            Site(
                x_m=float(x_m[k]),
                y_m=float(y_m[k]),
                radius_m=float(low + (high - low) * draw[k, 3]),
                angle=float(draw[k, 4] * np.pi),
                key=int(keys[k]),
            )
            for k in np.flatnonzero(there)
        ]

    def roads(self, x_m: NDArray[Any], y_m: NDArray[Any], box: Box) -> FloatArray:
        """Return the share of each 10 m pixel that is road.

        Parameters
        ----------
        x_m, y_m : ndarray
            Ground coordinates in metres.
        box : tuple of float
            West, south, east, north in metres.

        Returns
        -------
        share : ndarray of float32
            0 to 1.
        """
        bend_x = x_m + 26.0 * self.coarse.sample(x_m, y_m, shift=(900.0, 40.0))
        bend_y = y_m + 26.0 * self.coarse.sample(x_m, y_m, shift=(40.0, 900.0))
        share = np.zeros(np.shape(x_m), np.float32)
        spacing = self.layout.village_m
        west, south, east, north = box
        reach = 2.0 * spacing
        around = (west - reach, south - reach, east + reach, north + reach)
        sites = self.sites(SiteKind.VILLAGE, around)
        for a, first in enumerate(sites):
            for second in sites[a + 1 :]:
                length = np.hypot(second.x_m - first.x_m, second.y_m - first.y_m)
                if length > 1.35 * spacing or not _near(first, second, box):
                    continue
                width = 13.0 if (first.key ^ second.key) % 3 == 0 else 7.0
                distance = _segment_distance(bend_x, bend_y, first, second)
                np.maximum(share, np.clip((width / 2 + 5.0 - distance) / 10.0, 0, 1), out=share)
        if self.layout.highways > 0.0:
            np.maximum(share, self._highways(bend_x, bend_y), out=share)
        return share

    def _highways(self, x_m: FloatArray, y_m: FloatArray) -> FloatArray:
        """Return the share of each pixel under main roads: long bands 10 to 30 m wide."""
        angle = float(np.pi * uniform(self.seed, 14))
        across = y_m * np.cos(angle) - x_m * np.sin(angle)
        along = x_m * np.cos(angle) + y_m * np.sin(angle)
        across = across + 350.0 * np.sin(along / 2900.0) + 120.0 * np.sin(along / 900.0 + 1.0)
        spacing = 10000.0 / self.layout.highways
        number = np.floor(across / spacing)
        to_middle = across - (number + 0.2 + 0.6 * uniform(self.seed, number, 15)) * spacing
        half = 5.0 + 9.0 * uniform(self.seed, number, 16)
        share: FloatArray = np.clip((half + 5.0 - np.abs(to_middle)) / 10.0, 0.0, 0.9)
        return share.astype(np.float32)


def bounds(x_m: NDArray[Any], y_m: NDArray[Any]) -> Box:
    """Return the box around pixel centres.

    Parameters
    ----------
    x_m, y_m : ndarray
        Ground coordinates in metres.

    Returns
    -------
    box : tuple of float
        West, south, east, north in metres.
    """
    return float(x_m.min()), float(y_m.min()), float(x_m.max()), float(y_m.max())


def _near(first: Site, second: Site, box: Box) -> bool:
    """Tell whether the rectangle around two sites touches a window, with room for bends."""
    west, south, east, north = box
    reach = 150.0
    return (
        min(first.x_m, second.x_m) < east + reach
        and max(first.x_m, second.x_m) > west - reach
        and min(first.y_m, second.y_m) < north + reach
        and max(first.y_m, second.y_m) > south - reach
    )


def _segment_distance(x_m: FloatArray, y_m: FloatArray, first: Site, second: Site) -> FloatArray:
    """Return the distance to the straight line between two sites."""
    along_x, along_y = second.x_m - first.x_m, second.y_m - first.y_m
    share = ((x_m - first.x_m) * along_x + (y_m - first.y_m) * along_y) / (along_x**2 + along_y**2)
    np.clip(share, 0.0, 1.0, out=share)
    return np.hypot(x_m - first.x_m - share * along_x, y_m - first.y_m - share * along_y)
