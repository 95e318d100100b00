"""What lies where: covers, parcels and textures of a window of a world."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.sim.terrain import Layout, Site, Terrain
from terrascope.sim.textures import cells, mix, uniform
from terrascope.types import BoolArray, FloatArray

__all__ = ["Cover", "Land", "Units", "make_land"]


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


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
    """The parcels of a window: fields, stands, meadows, plots; one row each.

    Parameters
    ----------
    key : ndarray of uint64, shape (n,)
        Names the parcel in the whole world; the seed of all its properties.
    cover : ndarray of uint8, shape (n,)
        Its `Cover`.
    """

    key: NDArray[np.uint64]
    cover: NDArray[np.uint8]

    def draw(self, salt: int) -> NDArray[np.float64]:
        """Draw one property of every parcel.

        Parameters
        ----------
        salt : int
            Which property.

        Returns
        -------
        numbers : ndarray of float64, shape (n,)
            Uniform in [0, 1); the same in every window that shows the parcel.
        """
        return uniform(self.key, salt)


@dataclasses.dataclass(frozen=True, eq=False)
class Land:
    """A window of a world, as it lies before any change.

    Parameters
    ----------
    terrain : Terrain
        The world it shows.
    x_m, y_m : ndarray of float64, shape (y, x)
        Ground coordinates of the pixel centres.
    cover : ndarray of uint8, shape (y, x)
        `Cover` codes.
    unit : ndarray of int32, shape (y, x)
        Row of the pixel's parcel in `units`.
    units : Units
        The parcels.
    road : ndarray of float32, shape (y, x)
        Share of the pixel that is road.
    elevation_m, above_m : ndarray of float32, shape (y, x)
        Height above the sea and above the nearest river.
    slope_xy : ndarray of float32, shape (2, y, x)
        Rise of the ground eastward and northward, metres per metre.
    rows : ndarray of float32, shape (y, x)
        Tramlines and headlands of fields: a signed texture of about unit size.
    coarse, fine : ndarray of float32, shape (y, x)
        Textures of unit variance.
    gap : ndarray of float32, shape (y, x)
        Share of a stand's pixel without crowns.
    """

    terrain: Terrain
    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    cover: NDArray[np.uint8]
    unit: NDArray[np.int32]
    units: Units
    road: FloatArray
    elevation_m: FloatArray
    above_m: FloatArray
    slope_xy: FloatArray
    rows: FloatArray
    coarse: FloatArray
    fine: FloatArray
    gap: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.cover.shape[0], self.cover.shape[1]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the pixel centres in metres."""
        return _box(self.x_m, self.y_m)

    def window(self, rows: slice, columns: slice) -> Land:
        """Cut a part out of the window.

        Parameters
        ----------
        rows, columns : slice
            Of the pixels.

        Returns
        -------
        land : Land
            A view; the table of parcels stays whole.
        """
        part = {
            field.name: getattr(self, field.name)[..., rows, columns]
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return dataclasses.replace(self, **part)

    def is_cover(self, *covers: Cover) -> BoolArray:
        """Return where the land has one of some covers.

        Parameters
        ----------
        *covers : Cover
            Those asked for.

        Returns
        -------
        where : ndarray of bool, shape (y, x)
            True there.
        """
        return np.isin(self.cover, [int(cover) for cover in covers])


def make_land(
    x_m: NDArray[Any], y_m: NDArray[Any], *, seed: int, layout: Layout | None = None
) -> Land:
    """Lay out a window of a world.

    Parameters
    ----------
    x_m, y_m : ndarray, shape (y, x)
        Ground coordinates of the pixel centres in metres, about 10 m apart;
        rows may run north to south and the grid may be turned (another zone).
    seed : int
        Of the world.
    layout : Layout or None
        Its parameters; None for those of a central European lowland.

    Returns
    -------
    land : Land
        The same ground for the same coordinates, in any window.

    Raises
    ------
    ValueError
        If the coordinates are not two arrays (y, x) of one shape.
    """
    x_m, y_m = np.asarray(x_m, np.float64), np.asarray(y_m, np.float64)
    if x_m.ndim != 2 or x_m.shape != y_m.shape:
        raise ValueError(
            f"coordinates of shapes {x_m.shape} and {y_m.shape}: expected (y, x) twice"
        )
    terrain = Terrain(seed, layout or Layout())
    box = _box(x_m, y_m)
    river_m, width_m = terrain.river(x_m, y_m)
    elevation, above = terrain.height(x_m, y_m, river_m)
    coarse, fine = terrain.coarse.sample(x_m, y_m), terrain.fine.sample(x_m, y_m)
    cover, key, rows = _countryside(terrain, x_m, y_m, above)
    _wet(terrain, x_m, y_m, (river_m, width_m, above), fine, cover, key)
    for site in terrain.quarries(box):
        inside = _blob(x_m, y_m, site, coarse, 0.22) < 1.0
        inside &= cover != Cover.WATER
        _paint(cover, key, inside, Cover.QUARRY, mix(site.key, 3))
    for site in terrain.villages(box):
        _settle(site, x_m, y_m, coarse, cover, key)
    road = np.where(cover == Cover.WATER, 0.0, terrain.roads(x_m, y_m, box)).astype(np.float32)
    units, unit = _number(key, cover)
    return Land(
        terrain=terrain,
        x_m=x_m,
        y_m=y_m,
        cover=cover,
        unit=unit,
        units=units,
        road=road,
        elevation_m=elevation,
        above_m=above,
        slope_xy=_slope(terrain, x_m, y_m, elevation),
        rows=rows,
        coarse=coarse,
        fine=fine,
        gap=_gaps(terrain, x_m, y_m, fine),
    )


def _paint(
    cover: NDArray[np.uint8],
    key: NDArray[np.uint64],
    where: BoolArray,
    code: Cover,
    name: NDArray[np.uint64],
) -> None:
    """Give some pixels a cover and a parcel, in place."""
    cover[where] = code
    key[where] = np.broadcast_to(name, key.shape)[where]


def _box(x_m: NDArray[Any], y_m: NDArray[Any]) -> tuple[float, float, float, float]:
    return float(x_m.min()), float(y_m.min()), float(x_m.max()), float(y_m.max())


def _countryside(
    terrain: Terrain, x_m: NDArray[Any], y_m: NDArray[Any], above: FloatArray
) -> tuple[NDArray[np.uint8], NDArray[np.uint64], FloatArray]:
    """Divide open land into parcels, and cover it with forest, fields and meadows."""
    layout, seed = terrain.layout, terrain.seed
    block, edge, centre_x, centre_y = cells(x_m, y_m, 6.0 * layout.field_m, seed + 5)
    angle = uniform(block, 31) * np.pi
    cos, sin = np.cos(angle), np.sin(angle)
    along = (x_m - centre_x) * cos + (y_m - centre_y) * sin
    across = (y_m - centre_y) * cos - (x_m - centre_x) * sin
    width = layout.field_m * (0.6 + 0.8 * uniform(block, 32))
    strip, strip_edge = _intervals(across, width, block)
    strip_key = mix(block, strip)
    length = 2.2 * layout.field_m * (0.6 + 0.9 * uniform(strip_key, 33))
    piece, piece_edge = _intervals(along, length, strip_key)
    field = mix(block, strip, piece)
    border = np.minimum(np.minimum(strip_edge, piece_edge), edge)

    middle_x = x_m + (np.round(along / 300.0) * 300.0 - along) * cos
    middle_y = y_m + (np.round(along / 300.0) * 300.0 - along) * sin
    wooded = (
        0.55 * terrain.hills.sample(middle_x, middle_y, shift=(2500.0, 900.0))
        + 0.35 * np.clip((above - 60.0) / 60.0, -1.5, 1.5)
        + 0.22 * terrain.coarse.sample(middle_x, middle_y)
        + 0.25 * (uniform(field, 34) - 0.5)
    )
    is_forest = wooded > _threshold(layout.forest)
    stand, stand_edge, _, _ = cells(x_m, y_m, 260.0, seed + 6)
    kind = uniform(mix(stand, 35))
    hardwood = 0.5 * kind + 0.5 * (
        0.5 + 0.4 * terrain.hills.sample(x_m, y_m, shift=(7000.0, 5000.0))
    )
    tree = np.where(hardwood < 0.24 + 0.52 * layout.conifer, Cover.CONIFER, Cover.BROADLEAF)
    tree = np.where(uniform(stand, 36) < 0.07, Cover.YOUNG_FOREST, tree)
    low = np.clip(1.0 - above / 6.0, 0.0, 1.0)
    meadow = uniform(field, 37) < layout.grass + 0.35 * low
    cover = np.where(is_forest, tree, np.where(meadow, Cover.GRASS, Cover.CROP)).astype(np.uint8)
    key = np.where(is_forest, stand, field)
    ride = is_forest & (stand_edge < 4.5) & (uniform(stand, 38) < 0.6)
    _paint(cover, key, ride, Cover.GRASS, mix(seed, 39))
    bank = ~is_forest & (border < 5.0)
    hedge = bank & (uniform(mix(field, np.floor(along / 70.0)), 40) < 0.16)
    _paint(cover, key, bank, Cover.GRASS, mix(block, 41))
    _paint(cover, key, hedge, Cover.HEDGE, mix(block, 42))
    headland = piece_edge < 18.0
    rows = np.where(
        headland, np.sin(2 * np.pi * along / 27.0) - 0.6, np.sin(2 * np.pi * across / 27.0)
    )
    return cover, key, rows.astype(np.float32)


def _intervals(
    position: NDArray[np.float64], width: NDArray[np.float64], key: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cut a line into intervals of uneven width; return the index and the way to the next cut."""
    index = np.floor(position / width)
    for _ in range(2):
        low = (index + 0.5 * (uniform(key, index, 51) - 0.5)) * width
        high = (index + 1 + 0.5 * (uniform(key, index + 1, 51) - 0.5)) * width
        index = index - (position < low) + (position >= high)
    low = (index + 0.5 * (uniform(key, index, 51) - 0.5)) * width
    high = (index + 1 + 0.5 * (uniform(key, index + 1, 51) - 0.5)) * width
    return index.astype(np.int64), np.minimum(position - low, high - position)


def _threshold(share: float) -> float:
    """Return the level that the wooded score exceeds on about `share` of the land."""
    return float(np.interp(share, [0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0], _LEVELS))


_LEVELS = (9.0, 0.95, 0.55, 0.22, -0.15, -0.6, -9.0)


def _wet(
    terrain: Terrain,
    x_m: NDArray[Any],
    y_m: NDArray[Any],
    river: tuple[FloatArray, FloatArray, FloatArray],
    fine: FloatArray,
    cover: NDArray[np.uint8],
    key: NDArray[np.uint64],
) -> None:
    """Put rivers, their wooded banks, ponds and reed belts on the land, in place."""
    river_m, width_m, above = river
    patch = terrain.coarse.sample(x_m, y_m, shift=(3100.0, 1700.0))
    marsh = (above < 2.2) & (patch > 1.15) & (river_m < 500.0)
    _paint(cover, key, marsh, Cover.WETLAND, mix(terrain.seed, 61))
    bank = (river_m < width_m / 2 + 14.0 + 7.0 * fine) & (patch > -0.5)
    _paint(cover, key, bank, Cover.BROADLEAF, mix(terrain.seed, 62))
    water = river_m < width_m / 2
    _paint(cover, key, water, Cover.WATER, mix(terrain.seed, 63))
    for site in terrain.ponds(_box(x_m, y_m)):
        ratio = _blob(x_m, y_m, site, patch, 0.14)
        belt = (ratio < 1.0 + 45.0 / site.radius_m * (1 + 0.5 * patch)) & (cover != Cover.WATER)
        _paint(cover, key, belt, Cover.WETLAND, mix(site.key, 64))
        _paint(cover, key, ratio < 1.0, Cover.WATER, mix(site.key, 65))


def _blob(
    x_m: NDArray[Any], y_m: NDArray[Any], site: Site, wobble: FloatArray, size: float
) -> FloatArray:
    """Return distance over radius of a lobed, wobbly disk: below 1 is inside."""
    east, north = x_m - site.x_m, y_m - site.y_m
    bearing = np.arctan2(north, east) - site.angle
    lobes = 1.0 + 0.24 * np.cos(2 * bearing) + 0.12 * np.cos(3 * bearing + site.angle * 7)
    ratio = np.hypot(east, north) / (site.radius_m * lobes) + size * 0.5 * wobble
    return ratio.astype(np.float32)


def _settle(
    site: Site,
    x_m: NDArray[Any],
    y_m: NDArray[Any],
    coarse: FloatArray,
    cover: NDArray[np.uint8],
    key: NDArray[np.uint64],
) -> None:
    """Build a village with streets, plots, gardens and a quarter of halls, in place."""
    ratio = _blob(x_m, y_m, site, coarse, 0.45)
    inside = (ratio < 1.0) & (cover != Cover.WATER)
    if not inside.any():
        return
    cos, sin = np.cos(site.angle), np.sin(site.angle)
    u = (x_m - site.x_m) * cos + (y_m - site.y_m) * sin
    v = (y_m - site.y_m) * cos - (x_m - site.x_m) * sin
    street = (np.abs(u - np.round(u / 110.0) * 110.0) < 5.0) | (
        np.abs(v - np.round(v / 75.0) * 75.0) < 5.0
    )
    plot = mix(site.key, np.floor(u / 21.0), np.floor(v / 24.0))
    built = uniform(plot, 71) < np.clip(0.72 - 0.35 * ratio, 0.1, 1.0)
    kind = np.where(built, Cover.HOUSES, Cover.GARDEN)
    hall_area = (u > 0.15 * site.radius_m) & (v > 0.1 * site.radius_m) & (ratio > 0.35)
    hall = mix(site.key, np.floor(u / 70.0), np.floor(v / 50.0))
    kind = np.where(hall_area & (uniform(hall, 72) < 0.55), Cover.HALLS, kind)
    kind = np.where(street, Cover.ROAD, kind)
    # A few dozen kinds of plot are enough: they keep the table of parcels short.
    label = np.where(kind == Cover.HALLS, hall, plot) % np.uint64(48)
    cover[inside] = kind.astype(np.uint8)[inside]
    key[inside] = mix(kind, label, 73)[inside]


def _number(key: NDArray[np.uint64], cover: NDArray[np.uint8]) -> tuple[Units, NDArray[np.int32]]:
    """Replace hashed names by rows of a table."""
    name = mix(key, cover)
    keys, first, inverse = np.unique(name.ravel(), return_index=True, return_inverse=True)
    units = Units(keys, cover.ravel()[first])
    return units, inverse.reshape(cover.shape).astype(np.int32)


def _slope(
    terrain: Terrain, x_m: NDArray[Any], y_m: NDArray[Any], elevation_m: FloatArray
) -> FloatArray:
    """Differentiate the relief over 40 m: what tilts towards the sun or the radar."""
    step = 40.0
    slopes = []
    for east, north in ((step, 0.0), (0.0, step)):
        river_m, _ = terrain.river(x_m + east, y_m + north)
        beside, _ = terrain.height(x_m + east, y_m + north, river_m)
        slopes.append((beside - elevation_m) / step)
    return np.stack(slopes).astype(np.float32)


def _gaps(terrain: Terrain, x_m: NDArray[Any], y_m: NDArray[Any], fine: FloatArray) -> FloatArray:
    """Draw where crowns are missing: single trees, and a few real openings."""
    patch = terrain.coarse.sample(x_m, y_m, shift=(6100.0, 2700.0))
    holes = terrain.fine.sample(x_m, y_m, shift=(3000.0, 1000.0))
    single = np.clip(0.07 + 0.05 * fine, 0.0, 0.3)
    opening = np.clip((0.7 * holes + 0.6 * patch - 1.9) * 1.2, 0.0, 0.85)
    return np.maximum(single, opening).astype(np.float32)
