"""Land that nobody tills: shrubs, wetlands, bare ground, lakes and coasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.canvas import WATERS, Canvas, Cover, Window, is_any, level
from terrascope.sim.terrain import Terrain
from terrascope.sim.textures import cells, mix, uniform
from terrascope.types import BoolArray, FloatArray

__all__ = ["flood_lakes", "grow_wild", "lay_coast", "turn_pivots"]

_TILLED = (Cover.CROP, Cover.GRASS, Cover.HEDGE)


def _patches(
    terrain: Terrain, window: Window, salt: int, *, hills: float = 0.5, ragged: float = 0.17
) -> FloatArray:
    """Return a field of unit variance that patches are cut from, with a ragged edge."""
    shift = (terrain.seed % 8191) + 1013.0 * salt
    slow = terrain.hills.sample(window.x_m, window.y_m, shift=(shift, 0.7 * shift))
    quick = terrain.coarse.sample(window.x_m, window.y_m, shift=(1.3 * shift, shift))
    mixed = hills * slow + (1.0 - hills**2 - ragged**2) ** 0.5 * quick + ragged * window.fine
    return np.asarray(mixed, np.float32)


def grow_wild(terrain: Terrain, window: Window, canvas: Canvas) -> None:
    """Give part of the open land back to nature, in place.

    Parameters
    ----------
    terrain : Terrain
        The world.
    window : Window
        The pixels.
    canvas : Canvas
        Fields, meadows and forest; modified.
    """
    layout = terrain.layout
    if layout.wild <= 0.0:
        return
    open_land = is_any(canvas.cover, _TILLED)
    wild = open_land & (_patches(terrain, window, 1) > level(layout.wild))
    if not wild.any():
        return
    patches = cells(window.x_m, window.y_m, 340.0, terrain.seed + 11)
    patch, lot = patches.key, patches.draw(43)
    dry = layout.aridity
    taste = _patches(terrain, window, 2, hills=0.8) * 0.6 + (lot - 0.5)
    rough = np.where(lot < 1.4 * dry - 0.1, Cover.DRY_GRASS, Cover.GRASS)
    canvas.paint(wild, rough, mix(patch, 44))
    shrubby = wild & (_patches(terrain, window, 3) > level(layout.shrub))
    canvas.paint(shrubby, _shrubs(dry, taste), mix(patch, 45))
    bare = wild & (_patches(terrain, window, 4) > level(layout.bare))
    canvas.paint(bare, _bare(dry, taste), mix(patch, 46))
    low = 0.5 * np.clip(1.0 - window.above_m / 8.0, -0.5, 1.0)
    wet = wild & (_patches(terrain, window, 5) + low > level(layout.wetland))
    canvas.paint(wet, _wetlands(taste), mix(patch, 47))
    pools = wet & (_patches(terrain, window, 6, hills=0.0) > 1.7)
    canvas.paint(pools, Cover.LAKE, mix(patch, 48))


def _shrubs(dry: float, taste: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Choose the shrubland of a climate."""
    damp = np.where(taste > 0.0, Cover.HEATH, Cover.SCRUB)
    summer_dry = np.where(taste > 0.3, Cover.STEPPE, Cover.MAQUIS)
    arid = np.where(taste > -0.5, Cover.STEPPE, Cover.MAQUIS)
    chosen = damp if dry < 0.3 else summer_dry if dry < 0.65 else arid
    return chosen.astype(np.uint8)


def _bare(dry: float, taste: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Choose the bare ground of a climate."""
    sandy = np.where(taste > 0.45 - 0.5 * dry, Cover.SAND, Cover.BARE_SOIL)
    return np.where(taste < -0.35, Cover.ROCK, sandy).astype(np.uint8)


def _wetlands(taste: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Choose between the wetlands."""
    reedy = np.where(taste > 0.5, Cover.SWAMP, Cover.MARSH)
    return np.where(taste < -0.1, Cover.BOG, reedy).astype(np.uint8)


def turn_pivots(terrain: Terrain, window: Window, canvas: Canvas) -> None:
    """Lay out round fields with centre pivots, in place.

    Parameters
    ----------
    terrain : Terrain
        The world.
    window : Window
        The pixels.
    canvas : Canvas
        Modified.
    """
    layout = terrain.layout
    if layout.pivots <= 0.0:
        return
    width = 4.0 * layout.field_m
    column, row = np.floor(window.x_m / width), np.floor(window.y_m / width)
    name = mix(terrain.seed, column, row, 49)
    far = np.hypot(window.x_m - (column + 0.5) * width, window.y_m - (row + 0.5) * width) / (
        0.5 * width
    )
    there = (uniform(name, 50) < layout.pivots) & ~is_any(canvas.cover, WATERS)
    bearing = np.arctan2(window.y_m - (row + 0.5) * width, window.x_m - (column + 0.5) * width)
    parts = np.floor(uniform(name, 52) * 3.0)
    half = np.floor((bearing / np.pi + 1.0) * parts / 2.0)
    canvas.paint(there & (far < 0.97), Cover.CROP, mix(name, half, 53))
    corner = np.where(terrain.layout.aridity > 0.4, Cover.STEPPE, Cover.GRASS)
    canvas.paint(there & (far >= 0.97), np.asarray(corner), mix(name, 54))


def flood_lakes(terrain: Terrain, window: Window, canvas: Canvas) -> None:
    """Fill hollows with lakes, some of them behind a belt of reed, in place.

    Parameters
    ----------
    terrain : Terrain
        The world.
    window : Window
        The pixels.
    canvas : Canvas
        Modified.
    """
    share = terrain.layout.lake
    if share <= 0.0:
        return
    hollow = _patches(terrain, window, 7, hills=0.75, ragged=0.03)
    edge = level(share)
    reedy = terrain.coarse.sample(window.x_m, window.y_m, shift=(5300.0, 1100.0))
    belt = (hollow > edge - 0.22 * np.clip(reedy, 0.0, 2.0)) & (hollow <= edge)
    canvas.paint(belt, _wetlands(reedy), mix(terrain.seed, 55))
    depth = np.clip((hollow - edge) * 3.0, 0.0, 5.0).astype(np.int64)
    name = mix(terrain.seed, 56)
    canvas.paint(hollow > edge, Cover.LAKE, mix(name, depth // 2))


def lay_coast(terrain: Terrain, window: Window, canvas: Canvas) -> None:
    """Put part of the land under the sea, with beaches and tidal flats, in place.

    Parameters
    ----------
    terrain : Terrain
        The world.
    window : Window
        The pixels.
    canvas : Canvas
        Modified.
    """
    layout = terrain.layout
    if layout.sea <= 0.0:
        return
    basin = _patches(terrain, window, 8, hills=0.97, ragged=0.02)
    edge = level(layout.sea)
    sandy = terrain.coarse.sample(window.x_m, window.y_m, shift=(700.0, 4100.0))
    beach: BoolArray = (basin > edge - 0.05 * np.clip(sandy + 0.6, 0.0, 2.0)) & (basin <= edge)
    canvas.paint(beach, Cover.SAND, mix(terrain.seed, 57))
    cliff = (basin > edge - 0.03) & (basin <= edge) & (sandy < -0.6)
    canvas.paint(cliff, Cover.ROCK, mix(terrain.seed, 58))
    depth = np.clip((basin - edge) * 5.0, 0.0, 6.0).astype(np.int64)
    canvas.paint(basin > edge, Cover.SEA, mix(terrain.seed, depth, 59))
    if layout.tide > 0.0:
        height = (basin - edge) / (0.12 * layout.tide)
        flat = (height > 0.0) & (height < 1.0)
        steps = (height * 8.0).astype(np.int64)
        canvas.paint(flat, Cover.TIDAL, mix(terrain.seed, steps, 60))
