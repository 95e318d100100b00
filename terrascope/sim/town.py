"""Towns without gaps: districts of houses, blocks, halls and parks between streets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.canvas import WATERS, Canvas, Cover, Window, is_any, level
from terrascope.sim.terrain import Terrain
from terrascope.sim.textures import cells, mix, uniform

__all__ = ["build_town"]


def build_town(terrain: Terrain, window: Window, canvas: Canvas) -> None:
    """Build over part of the land, in place.

    Parameters
    ----------
    terrain : Terrain
        The world.
    window : Window
        The pixels.
    canvas : Canvas
        Modified.
    """
    share = terrain.layout.town
    if share <= 0.0:
        return
    x_m, y_m, seed = window.x_m, window.y_m, terrain.seed
    shift = float(seed % 6007)
    sprawl = 0.75 * terrain.hills.sample(x_m, y_m, shift=(shift, 300.0))
    sprawl += 0.55 * terrain.coarse.sample(x_m, y_m, shift=(300.0, shift))
    districts = cells(x_m, y_m, 480.0, seed + 13)
    sprawl += 0.7 * (districts.draw(74) - 0.5)
    built = (sprawl > level(share)) & ~is_any(canvas.cover, WATERS)
    if not built.any():
        return
    x_m, y_m, index = x_m[built], y_m[built], districts.index[built]

    def draw(salt: int) -> NDArray[np.float64]:
        return uniform(districts.keys, salt)[index]

    angle = draw(75) * np.pi
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = x_m * cos + y_m * sin, y_m * cos - x_m * sin
    style = draw(76)
    long, deep = 70.0 + 110.0 * draw(77), 50.0 + 60.0 * draw(78)
    to_street = np.minimum(
        np.minimum(np.mod(u, long), long - np.mod(u, long)),
        np.minimum(np.mod(v, deep), deep - np.mod(v, deep)),
    )
    block = mix(districts.keys[index], np.floor(u / long), np.floor(v / deep))
    plot = mix(districts.keys[index], np.floor(u / 23.0), np.floor(v / 26.0))
    house = uniform(plot, 79) < 0.35 + 0.5 * draw(80)
    homes = np.where(house, Cover.HOUSES, Cover.GARDEN)
    homes = np.where(draw(85) < terrain.layout.leafy, Cover.VILLA, homes)
    works = np.where(uniform(block, 82) < 0.72, Cover.HALLS, Cover.ROAD)
    kind = np.where(style < 0.5, homes, np.where(style < 0.72, Cover.CITY, works))
    green = uniform(block, 83)
    kind = np.where(green < 0.05, Cover.PARK, kind)
    kind = np.where((green > 0.965) & (style < 0.7), Cover.BROADLEAF, kind)
    kind = np.where((green > 0.95) & (style > 0.7), Cover.BARE_SOIL, kind)
    park = style > 0.94
    kind = np.where(park, np.where(window.coarse[built] > 0.3, Cover.BROADLEAF, Cover.PARK), kind)
    width = np.where(style > 0.7, 6.0, 4.5)
    kind = np.where((to_street < width) & ~park, Cover.ROAD, kind)
    kind = np.where(districts.edge_m[built] < 7.0, Cover.ROAD, kind)
    label = np.where((kind == Cover.HALLS) | (kind == Cover.CITY), block, plot) % np.uint64(64)
    canvas.cover[built] = kind.astype(np.uint8)
    canvas.key[built] = mix(kind, label, 84)
