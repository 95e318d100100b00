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

__all__ = ["Texture", "cells", "mix", "texture", "uniform"]

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
            bits = (bits ^ array) + _GOLDEN
            bits = (bits ^ (bits >> np.uint64(30))) * _MUL_A
            bits = (bits ^ (bits >> np.uint64(27))) * _MUL_B
            bits = bits ^ (bits >> np.uint64(31))
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
        cos, sin = np.cos(angle), np.sin(angle)
        u = (x_m * cos + y_m * sin) / stretch + shift[0]
        v = y_m * cos - x_m * sin + shift[1]
        where = np.stack([v, u]).astype(np.float64) / self.pixel_m
        out = np.empty(np.shape(x_m), np.float32)
        ndimage.map_coordinates(self.values, where, output=out, order=1, mode="grid-wrap")
        return out


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
    frequency = np.hypot(
        np.fft.fftfreq(size, pixel_m)[:, None], np.fft.rfftfreq(size, pixel_m)[None, :]
    )
    frequency[0, 0] = np.inf
    weight = frequency ** (-slope / 2.0)
    weight[(frequency < 1.0 / largest_m) | (frequency > 1.0 / smallest_m)] = 0.0
    field = np.fft.irfft2(spectrum * weight, s=(size, size))
    field = (field - field.mean()) / field.std()
    return Texture(field.astype(np.float32), pixel_m)


def cells(
    x_m: NDArray[Any], y_m: NDArray[Any], size_m: float, seed: int
) -> tuple[NDArray[np.uint64], FloatArray, FloatArray, FloatArray]:
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
    cell : ndarray of uint64
        A hash that names the cell.
    edge_m : ndarray of float32
        Approximate distance to the cell's border.
    centre_x_m, centre_y_m : ndarray of float32
        The cell's site.
    """
    column, row = np.floor(x_m / size_m), np.floor(y_m / size_m)
    nearest = np.full(np.shape(x_m), np.inf)
    second = nearest.copy()
    centre_x, centre_y = np.zeros_like(nearest), np.zeros_like(nearest)
    cell = np.zeros(np.shape(x_m), np.uint64)
    for step_y in (-1, 0, 1):
        for step_x in (-1, 0, 1):
            i, j = column + step_x, row + step_y
            site_x = (i + 0.1 + 0.8 * uniform(seed, i, j, 1)) * size_m
            site_y = (j + 0.1 + 0.8 * uniform(seed, i, j, 2)) * size_m
            distance = np.hypot(x_m - site_x, y_m - site_y)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            centre_x = np.where(closer, site_x, centre_x)
            centre_y = np.where(closer, site_y, centre_y)
            cell = np.where(closer, mix(seed, i, j), cell)
    edge = ((second - nearest) / 2.0).astype(np.float32)
    return cell, edge, centre_x.astype(np.float32), centre_y.astype(np.float32)
