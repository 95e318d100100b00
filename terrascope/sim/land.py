"""What lies where: covers, parcels and textures of a window of a world."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.sim.canvas import WATERS, Cover, Window, is_any
from terrascope.sim.cover import cover_ground
from terrascope.sim.terrain import Box, Layout, Terrain, bounds
from terrascope.sim.textures import mix, uniform
from terrascope.types import BoolArray, FloatArray

__all__ = ["Land", "Units", "make_land"]


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
    def box(self) -> Box:
        """West, south, east, north of the pixel centres in metres."""
        return bounds(self.x_m, self.y_m)

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
        return is_any(self.cover, covers)


def make_land(
    x_m: NDArray[Any],
    y_m: NDArray[Any],
    *,
    seed: int,
    layout: Layout | None = None,
    textures: int | None = None,
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
    textures : int or None
        Seed of textures that several worlds share; None for its own.

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
    terrain = Terrain(seed, layout or Layout(), textures)
    river_m, width_m = terrain.river(x_m, y_m)
    elevation, above = terrain.height(x_m, y_m, river_m)
    coarse, fine = terrain.coarse.sample(x_m, y_m), terrain.fine.sample(x_m, y_m)
    window = Window(x_m, y_m, coarse, fine, river_m, width_m, above)
    cover, key, rows = cover_ground(terrain, window)
    roads = terrain.roads(x_m, y_m, window.box)
    road = np.where(is_any(cover, (*WATERS, Cover.TIDAL)), 0.0, roads).astype(np.float32)
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
    if terrain.layout.smooth:
        flat = ndimage.uniform_filter(elevation_m, 9, mode="nearest")
        flat = ndimage.uniform_filter(flat, 5, mode="nearest")
        down, east_rise = np.gradient(flat, 10.0)
        return np.stack([east_rise, -down])
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
    opening = np.clip((0.7 * holes + 0.6 * patch - 1.9 + terrain.layout.openness) * 1.2, 0.0, 0.85)
    gap: FloatArray = np.maximum(single, opening).astype(np.float32)
    return gap
