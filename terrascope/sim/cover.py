"""What covers the ground: fields, stands, meadows, water, villages, painted one over another."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.canvas import WATERS, Canvas, Cover, Window, blob, is_any
from terrascope.sim.terrain import Site, SiteKind, Terrain
from terrascope.sim.textures import cells, mix, uniform
from terrascope.sim.town import build_town
from terrascope.sim.wild import flood_lakes, grow_wild, lay_coast, turn_pivots
from terrascope.types import FloatArray

__all__ = ["Cover", "Window", "cover_ground"]


def cover_ground(
    terrain: Terrain, window: Window
) -> tuple[NDArray[np.uint8], NDArray[np.uint64], FloatArray]:
    """Cover a window of a world.

    Parameters
    ----------
    terrain : Terrain
        The world.
    window : Window
        The pixels.

    Returns
    -------
    cover : ndarray of uint8, shape (y, x)
        `Cover` codes.
    key : ndarray of uint64, shape (y, x)
        Names of the parcels; within one name the cover may still differ.
    rows : ndarray of float32, shape (y, x)
        Tramlines and headlands of fields.
    """
    canvas, rows = _countryside(terrain, window)
    grow_wild(terrain, window, canvas)
    turn_pivots(terrain, window, canvas)
    _wet(terrain, window, canvas)
    flood_lakes(terrain, window, canvas)
    lay_coast(terrain, window, canvas)
    build_town(terrain, window, canvas)
    for site in terrain.sites(SiteKind.QUARRY, window.box):
        if not _touches(site, window):
            continue
        inside = blob(window, site, window.coarse, 0.22) < 1.0
        canvas.paint(inside & ~is_any(canvas.cover, WATERS), Cover.QUARRY, mix(site.key, 3))
    for site in terrain.sites(SiteKind.VILLAGE, window.box):
        if not _touches(site, window):
            continue
        leafy = float(uniform(site.key, 74)) < terrain.layout.leafy
        _settle(site, window, canvas, Cover.VILLA if leafy else Cover.HOUSES)
    return canvas.cover, canvas.key, rows


def _countryside(terrain: Terrain, window: Window) -> tuple[Canvas, FloatArray]:
    """Divide open land into parcels, and cover it with forest, fields and meadows."""
    layout, seed, above = terrain.layout, terrain.seed, window.above_m
    x_m, y_m = window.x_m, window.y_m
    blocks = cells(x_m, y_m, layout.field_block * layout.field_m, seed + 5)
    block, edge = blocks.key, blocks.edge_m
    angle = blocks.draw(31) * np.pi * layout.field_turn
    cos, sin = np.cos(angle), np.sin(angle)
    east, north = x_m - blocks.centre_x_m, y_m - blocks.centre_y_m
    along = east * cos + north * sin
    across = north * cos - east * sin
    width = layout.field_m * (0.6 + 0.8 * blocks.draw(32))
    strips, strip_edge = _intervals(across, width, blocks.index, blocks.keys)
    length = layout.field_ratio * layout.field_m * (0.6 + 0.9 * strips.draw(33))
    pieces, piece_edge = _intervals(along, length, strips.index, strips.keys)
    field = mix(block, strips.number, pieces.number)
    border = np.minimum(np.minimum(strip_edge, piece_edge), edge)

    to_middle = np.round(along / 300.0) * 300.0 - along
    middle_x, middle_y = x_m + to_middle * cos, y_m + to_middle * sin
    wooded = (
        0.55 * terrain.hills.sample(middle_x, middle_y, shift=(2500.0, 900.0))
        + 0.35 * np.clip((above - 60.0) / 60.0, -1.5, 1.5)
        + 0.22 * terrain.coarse.sample(middle_x, middle_y)
        + 0.25 * (uniform(field, 34) - 0.5)
    )
    is_forest = wooded > _threshold(layout.forest)
    stands = cells(x_m, y_m, 260.0, seed + 6)
    stand = stands.key
    kind = uniform(mix(stands.keys, 35))[stands.index]
    hardwood = 0.5 * kind + 0.5 * (
        0.5 + 0.4 * terrain.hills.sample(x_m, y_m, shift=(7000.0, 5000.0))
    )
    tree = np.where(hardwood < 0.24 + 0.52 * layout.conifer, Cover.CONIFER, Cover.BROADLEAF)
    tree = np.where(stands.draw(36) < 0.07, Cover.YOUNG_FOREST, tree)
    low = np.clip(1.0 - above / 6.0, 0.0, 1.0)
    meadow = uniform(field, 37) < layout.grass + 0.35 * low
    cover = np.where(is_forest, tree, np.where(meadow, Cover.GRASS, Cover.CROP)).astype(np.uint8)
    key = np.where(is_forest, stand, field)
    canvas = Canvas(cover, key)
    ride = is_forest & (stands.edge_m < 4.5) & (stands.draw(38) < layout.rides)
    canvas.paint(ride, Cover.GRASS, mix(seed, 39))
    bank = ~is_forest & (border < layout.bank_m)
    hedge = bank.copy()
    hedge[bank] = uniform(mix(field[bank], np.floor(along[bank] / 70.0)), 40) < layout.hedges
    canvas.paint(bank, Cover.GRASS, mix(block, 41))
    canvas.paint(hedge, Cover.HEDGE, mix(block, 42))
    headland = piece_edge < 18.0
    rows = np.where(
        headland, np.sin(2 * np.pi * along / 27.0) - 0.6, np.sin(2 * np.pi * across / 27.0)
    )
    return canvas, rows.astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class _Intervals:
    """Numbered intervals of lines; pixels hold rows of the table of their names."""

    number: NDArray[np.int64]
    index: NDArray[np.int64]
    keys: NDArray[np.uint64]

    def draw(self, salt: int) -> NDArray[np.float64]:
        """Draw one property of every interval, as pixels see it."""
        return uniform(self.keys, salt)[self.index]


def _intervals(
    position: NDArray[np.float64],
    width: NDArray[np.float64],
    line: NDArray[np.integer[Any]],
    keys: NDArray[np.uint64],
) -> tuple[_Intervals, NDArray[np.float64]]:
    """Cut lines into intervals of uneven width; return them and the way to the next cut.

    `line` holds each pixel's row in `keys`, the names of the lines.
    """
    index = np.floor(position / width)
    first = int(index.min()) - 2
    count = int(index.max()) - first + 4
    numbers = np.arange(first, first + count)
    jitter = (0.5 * (uniform(keys[:, None], numbers, 51) - 0.5)).ravel()
    start = line * count - first

    def cut(which: NDArray[np.float64]) -> NDArray[np.float64]:
        at: NDArray[np.float64] = (which + jitter[start + which.astype(np.int64)]) * width
        return at

    for _ in range(2):
        index = index - (position < cut(index)) + (position >= cut(index + 1))
    edge = np.minimum(position - cut(index), cut(index + 1) - position)
    number = index.astype(np.int64)
    return _Intervals(number, start + number, mix(keys[:, None], numbers).ravel()), edge


def _threshold(share: float) -> float:
    """Return the level that the wooded score exceeds on about `share` of the land."""
    return float(np.interp(share, [0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0], _LEVELS))


_LEVELS = (9.0, 0.95, 0.55, 0.22, -0.15, -0.6, -9.0)


def _wet(terrain: Terrain, window: Window, canvas: Canvas) -> None:
    """Put rivers, their wooded banks, ponds and reed belts on the land, in place."""
    x_m, y_m, fine, cover = window.x_m, window.y_m, window.fine, canvas.cover
    river_m, width_m, above = window.river_m, window.width_m, window.above_m
    patch = terrain.coarse.sample(x_m, y_m, shift=(3100.0, 1700.0))
    marsh = (above < 2.2) & (patch > 1.15) & (river_m < 500.0)
    canvas.paint(marsh, Cover.WETLAND, mix(terrain.seed, 61))
    bank = (river_m < width_m / 2 + 14.0 + 7.0 * fine) & (patch > -0.5)
    canvas.paint(bank, Cover.BROADLEAF, mix(terrain.seed, 62))
    water = river_m < width_m / 2
    canvas.paint(water, Cover.WATER, mix(terrain.seed, 63))
    for site in terrain.sites(SiteKind.POND, window.box):
        if not _touches(site, window):
            continue
        ratio = blob(window, site, patch, 0.14)
        belt = (ratio < 1.0 + 45.0 / site.radius_m * (1 + 0.5 * patch)) & (cover != Cover.WATER)
        canvas.paint(belt, Cover.WETLAND, mix(site.key, 64))
        canvas.paint(ratio < 1.0, Cover.WATER, mix(site.key, 65))


def _touches(site: Site, window: Window) -> bool:
    """Tell whether a site, its lobes and its belt can reach the window."""
    west, south, east, north = window.box
    reach = 3.4 * site.radius_m + 60.0
    return west - reach < site.x_m < east + reach and south - reach < site.y_m < north + reach


def _settle(site: Site, window: Window, canvas: Canvas, home: Cover) -> None:
    """Build a village with streets, plots, gardens and a quarter of halls, in place."""
    cover = canvas.cover
    ratio = blob(window, site, window.coarse, 0.45)
    inside = (ratio < 1.0) & ~is_any(cover, WATERS)
    if not inside.any():
        return
    u, v = site.along_across(window.x_m[inside], window.y_m[inside])
    ratio = ratio[inside]
    street = (np.abs(u - np.round(u / 110.0) * 110.0) < 5.0) | (
        np.abs(v - np.round(v / 75.0) * 75.0) < 5.0
    )
    plot = mix(site.key, np.floor(u / 21.0), np.floor(v / 24.0))
    built = uniform(plot, 71) < np.clip(0.72 - 0.35 * ratio, 0.1, 1.0)
    kind = np.where(built, home, Cover.GARDEN)
    hall_area = (u > 0.15 * site.radius_m) & (v > 0.1 * site.radius_m) & (ratio > 0.35)
    hall = mix(site.key, np.floor(u / 70.0), np.floor(v / 50.0))
    kind = np.where(hall_area & (uniform(hall, 72) < 0.55), Cover.HALLS, kind)
    kind = np.where(street, Cover.ROAD, kind)
    # A few dozen kinds of plot are enough: they keep the table of parcels short.
    label = np.where(kind == Cover.HALLS, hall, plot) % np.uint64(48)
    cover[inside] = kind.astype(np.uint8)
    canvas.key[inside] = mix(kind, label, 73)
