"""Randomness with an address: hashed numbers on lattices and periodic fractal textures.

Everything the simulator draws is a function of ground coordinates and a seed,
so that any window, in any map projection, shows the same land.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from terrascope.types import FloatArray

__all__ = ["Cells", "Texture", "cells", "is_upright", "mix", "texture", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MUL_A = np.uint64(0xBF58476D1CE4E5B9)
_MUL_B = np.uint64(0x94D049BB133111EB)


def mix(*keys: ArrayLike) -> NDArray[np.uint64]:
    """Hash integers to 64 well-mixed bits, element by element.

    Parameters
    ----------
    *keys : array_like of integer
        Broadcast against each other; order matters.

    Returns
    -------
    bits : ndarray of uint64
        Same bits for the same keys, on every machine.

    References
    ----------
    Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators
    (the finaliser of SplitMix64).
    """
    with np.errstate(over="ignore"):
        bits: NDArray[np.uint64] = np.asarray(_GOLDEN)
        for key in keys:
            array = np.asarray(key)
            if array.dtype != np.uint64:
                array = array.astype(np.int64).view(np.uint64)
            bits = np.asarray(bits ^ array)
            bits += _GOLDEN
            shifted = np.asarray(bits >> np.uint64(30))
            bits ^= shifted
            bits *= _MUL_A
            np.right_shift(bits, np.uint64(27), out=shifted)
            bits ^= shifted
            bits *= _MUL_B
            np.right_shift(bits, np.uint64(31), out=shifted)
            bits ^= shifted
    return bits


def uniform(*keys: ArrayLike) -> NDArray[np.float64]:
    """Hash integers to numbers in [0, 1).

    Parameters
    ----------
    *keys : array_like of integer
        As for `mix`.

    Returns
    -------
    numbers : ndarray of float64
        Uniformly distributed over different keys.
    """
    return (mix(*keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclasses.dataclass(frozen=True, eq=False)
class Texture:
    """A periodic random field of unit variance on a square lattice.

    Parameters
    ----------
    values : ndarray of float32, shape (n, n)
        One period; mean 0, variance 1.
    pixel_m : float
        Lattice spacing in metres.
    """

    values: FloatArray
    pixel_m: float

    def sample(
        self,
        x_m: NDArray[Any],
        y_m: NDArray[Any],
        *,
        shift: tuple[float, float] = (0.0, 0.0),
        angle: float = 0.0,
        stretch: float = 1.0,
    ) -> FloatArray:
        """Return the field at ground coordinates, bilinearly interpolated.

        Parameters
        ----------
        x_m, y_m : ndarray, same shape
            Ground coordinates in metres.
        shift : tuple of float
            Moves the field, in metres: another shift is another realisation.
        angle : float
            Turns the field, in radians.
        stretch : float
            Lengthens its features along the turned first axis.

        Returns
        -------
        field : ndarray of float32, shape of `x_m`
            Values of mean 0 and variance 1.
        """
        if angle == 0.0 and stretch == 1.0 and is_upright(x_m, y_m):
            return self._sample_grid(x_m[0] + shift[0], y_m[:, 0] + shift[1])
        cos, sin = np.cos(angle), np.sin(angle)
        u = (x_m * cos + y_m * sin) / stretch + shift[0]
        v = y_m * cos - x_m * sin + shift[1]
        where = np.stack([v, u]).astype(np.float64) / self.pixel_m
        out = np.empty(np.shape(x_m), np.float32)
        ndimage.map_coordinates(self.values, where, output=out, order=1, mode="grid-wrap")
        return out

    def _sample_grid(self, u_m: NDArray[Any], v_m: NDArray[Any]) -> FloatArray:
        """Interpolate on a grid of columns `u_m` and rows `v_m`: one axis after the other."""
        size = len(self.values)
        column, row = (np.asarray(axis, np.float64) / self.pixel_m for axis in (u_m, v_m))
        left, top = np.floor(column), np.floor(row)
        right_part, low_part = column - left, (row - top)[:, None]
        i, j = left.astype(np.int64) % size, top.astype(np.int64) % size
        j, next_j, next_i = j[:, None], ((j + 1) % size)[:, None], (i + 1) % size
        here = self.values[j, i] * (1.0 - low_part) + self.values[next_j, i] * low_part
        right = self.values[j, next_i] * (1.0 - low_part) + self.values[next_j, next_i] * low_part
        return (here + right_part * (right - here)).astype(np.float32)


def is_upright(x_m: NDArray[Any], y_m: NDArray[Any]) -> bool:
    """Tell whether coordinates form a grid with columns of one x and rows of one y.

    Parameters
    ----------
    x_m, y_m : ndarray, same shape
        Ground coordinates in metres.

    Returns
    -------
    upright : bool
        False for anything but two dimensions.
    """
    return bool(np.ndim(x_m) == 2 and (x_m == x_m[:1]).all() and (y_m == y_m[:, :1]).all())


@lru_cache(maxsize=64)
def texture(
    seed: int, *, pixel_m: float, slope: float, largest_m: float, smallest_m: float, size: int = 512
) -> Texture:
    """Make (once) a random field with a power-law spectrum.

    Parameters
    ----------
    seed : int
        Of the field.
    pixel_m : float
        Lattice spacing in metres.
    slope : float
        Power falls as wavelength to this power: 2 rough, 3 cloud-like, 4 smooth hills.
    largest_m, smallest_m : float
        Wavelengths outside this range are absent.
    size : int
        Lattice points per period.

    Returns
    -------
    field : Texture
        Periodic with ``size * pixel_m`` metres.
    """
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    spectrum *= _weight(size, pixel_m, slope, largest_m, smallest_m)
    field = np.fft.irfft2(spectrum, s=(size, size))
    field = (field - field.mean()) / field.std()
    return Texture(field.astype(np.float32), pixel_m)


@lru_cache(maxsize=16)
def _weight(
    size: int, pixel_m: float, slope: float, largest_m: float, smallest_m: float
) -> NDArray[np.float64]:
    """Return the amplitude of every wave of a power-law spectrum."""
    frequency = np.hypot(
        np.fft.fftfreq(size, pixel_m)[:, None], np.fft.rfftfreq(size, pixel_m)[None, :]
    )
    frequency[0, 0] = np.inf
    weight = np.asarray(frequency ** (-slope / 2.0))
    weight[(frequency < 1.0 / largest_m) | (frequency > 1.0 / smallest_m)] = 0.0
    return weight


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Voronoi cells of a jittered lattice, as pixels see them.

    Parameters
    ----------
    index : ndarray of int32, shape (y, x)
        Row of the pixel's cell in `keys`.
    keys : ndarray of uint64, shape (n,)
        Hashes that name the cells around the window.
    edge_m : ndarray of float32, shape (y, x)
        Approximate distance to the cell's border.
    centre_x_m, centre_y_m : ndarray of float32, shape (y, x)
        The cell's site.
    """

    index: NDArray[np.int32]
    keys: NDArray[np.uint64]
    edge_m: FloatArray
    centre_x_m: FloatArray
    centre_y_m: FloatArray

    @property
    def key(self) -> NDArray[np.uint64]:
        """Name of each pixel's cell, shape (y, x)."""
        return self.keys[self.index]

    def draw(self, salt: int) -> NDArray[np.float64]:
        """Draw one property of every cell.

        Parameters
        ----------
        salt : int
            Which property.

        Returns
        -------
        numbers : ndarray of float64, shape (y, x)
            Uniform in [0, 1), the same within a cell.
        """
        return uniform(self.keys, salt)[self.index]


def cells(x_m: NDArray[Any], y_m: NDArray[Any], size_m: float, seed: int) -> Cells:
    """Divide the plane into Voronoi cells of a jittered lattice.

    Parameters
    ----------
    x_m, y_m : ndarray, same shape
        Ground coordinates in metres.
    size_m : float
        Lattice spacing: the mean width of a cell.
    seed : int
        Of the jitter.

    Returns
    -------
    cells : Cells
        The same for the same coordinates, in any window.
    """
    column, row = np.floor(x_m / size_m), np.floor(y_m / size_m)
    first_i, first_j = float(column.min()) - 1.0, float(row.min()) - 1.0
    i, j = np.meshgrid(np.arange(first_i, column.max() + 2.0), np.arange(first_j, row.max() + 2.0))
    lattice_x = ((i + 0.1 + 0.8 * uniform(seed, i, j, 1)) * size_m).ravel()
    lattice_y = ((j + 0.1 + 0.8 * uniform(seed, i, j, 2)) * size_m).ravel()
    width = i.shape[1]
    centre = ((row - first_j) * width + (column - first_i)).astype(np.int32)
    nearest = np.full(np.shape(x_m), np.inf)
    second = nearest.copy()
    chosen = np.zeros(np.shape(x_m), np.int32)
    for step_y in (-1, 0, 1):
        for step_x in (-1, 0, 1):
            site = centre + np.int32(step_y * width + step_x)
            east, north = x_m - lattice_x[site], y_m - lattice_y[site]
            east *= east
            north *= north
            east += north
            closer = east < nearest
            np.minimum(second, np.maximum(nearest, east), out=second)
            np.minimum(nearest, east, out=nearest)
            np.copyto(chosen, site, where=closer)
    edge = ((np.sqrt(second) - np.sqrt(nearest)) / 2.0).astype(np.float32)
    return Cells(
        index=chosen,
        keys=mix(seed, i, j).ravel(),
        edge_m=edge,
        centre_x_m=lattice_x[chosen].astype(np.float32),
        centre_y_m=lattice_y[chosen].astype(np.float32),
    )
