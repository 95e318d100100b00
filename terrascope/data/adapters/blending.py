"""Put changed ground into real images, at each band's own resolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.sensors import S2_BANDS
from terrascope.sim.radar import SPECKLE_TAPS
from terrascope.types import FloatArray

__all__ = ["blend_optical", "blend_radar", "block_phase", "with_noise"]

_SPREAD = np.array([0.11, 0.78, 0.11], np.float32)
"""Light that goes to the neighbours on an axis, as in the simulator's sensor."""
_NOISE, _NOISE_PER_LIGHT = np.float32(0.0009), np.float32(0.004)


def blend_optical(
    image: FloatArray,
    bands: Sequence[str],
    ground: FloatArray,
    share: FloatArray,
    pixel_m: float,
    rng: np.random.Generator,
) -> FloatArray:
    """Replace a share of each pixel by other ground.

    Parameters
    ----------
    image : ndarray of float32, shape (band, y, x)
        Reflectance; not modified.
    bands : sequence of str
        Canonical names.
    ground : ndarray of float32, shape (12, y, x)
        Reflectance of the changed ground, bands in the order of `S2_BANDS`; counts where `share`
        is above 0.
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    pixel_m : float
        Side of a pixel.
    rng : numpy.random.Generator
        Of the sensor's noise on the new ground.

    Returns
    -------
    blended : ndarray of float32, shape (band, y, x)
        Light of a pixel goes to its neighbours; 20 and 60 m bands average over their own pixels,
        on the blocks that the image shows, or smoothly where it was interpolated. What no
        changed ground reaches keeps its number; missing stays missing.
    """
    blended = np.array(image)
    names = list(S2_BANDS)
    for plane, name in zip(blended, bands, strict=True):
        times = max(1, round(S2_BANDS[name].gsd_m / pixel_m))
        phase = block_phase(plane, times)
        parts = np.stack([share, share * ground[names.index(name)]])
        weight, light = _averaged(_blurred(parts), times, phase)
        noise = _white(share.shape, times, phase, rng)
        noise *= _NOISE * weight + _NOISE_PER_LIGHT * np.abs(light)
        reached = weight > 0
        mixed = plane * (1.0 - weight) + light + noise
        plane[reached] = mixed[reached]
    return blended


def with_noise(
    image: FloatArray, bands: Sequence[str], pixel_m: float, rng: np.random.Generator
) -> FloatArray:
    """Add the sensor's noise.

    Parameters
    ----------
    image : ndarray of float32, shape (band, y, x)
        Reflectance; not modified.
    bands : sequence of str
        Canonical names.
    pixel_m : float
        Side of a pixel.
    rng : numpy.random.Generator
        Of the noise.

    Returns
    -------
    noisy : ndarray of float32, shape (band, y, x)
        Pixels of a coarse band that were repeated get one number for all.
    """
    noisy = np.array(image)
    for place, name in enumerate(bands):
        times = max(1, round(S2_BANDS[name].gsd_m / pixel_m))
        phase = block_phase(noisy[place], times)
        noise = _white(noisy.shape[1:], times, phase, rng)
        noisy[place] += noise * (_NOISE + _NOISE_PER_LIGHT * np.abs(noisy[place]))
    return noisy


def blend_radar(
    image: FloatArray,
    bands: Sequence[str],
    ground: FloatArray,
    share: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Replace a share of each pixel's backscatter by that of other ground.

    Parameters
    ----------
    image : ndarray of float32, shape (band, y, x)
        In dB; not modified.
    bands : sequence of str
        ``"vv"`` and ``"vh"`` or one of them.
    ground : ndarray of float32, shape (2, y, x)
        Mean linear power of the changed ground in VV and VH.
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    rng : numpy.random.Generator
        Of the speckle on the new ground.

    Returns
    -------
    blended : ndarray of float32, shape (band, y, x)
        Powers add up. What no changed ground reaches keeps its number; missing stays missing.
    """
    blended = np.array(image)
    for plane, name in zip(blended, bands, strict=True):
        parts = np.stack([share, share * ground[("vv", "vh").index(name)]])
        weight, power = _blurred(parts)
        speckle = rng.standard_exponential(share.shape, dtype=np.float32)
        for axis in (0, 1):
            speckle = ndimage.correlate1d(speckle, np.array(SPECKLE_TAPS), axis, mode="reflect")
        reached = weight > 0
        old = 10.0 ** (plane[reached] / 10.0) * (1.0 - weight[reached])
        plane[reached] = 10.0 * np.log10(old + (power * speckle)[reached])
    return blended


def block_phase(plane: FloatArray, times: int) -> tuple[int, int] | None:
    """Find the blocks of a coarse band that was repeated onto a finer grid.

    Parameters
    ----------
    plane : ndarray of float32, shape (y, x)
        One band.
    times : int
        Pixels on a side of a block.

    Returns
    -------
    phase : tuple of int or None
        Row and column, below `times`, at which a block starts; None where the band has no such
        blocks, as after interpolation.
    """
    found = []
    for axis in (0, 1):
        steps = np.diff(plane, axis=axis)
        starts = np.flatnonzero((np.isfinite(steps) & (steps != 0)).any(axis=1 - axis)) + 1
        rests = np.unique(starts % times)
        if rests.size != 1:
            return None
        found.append(int(rests[0]))
    return found[0], found[1]


def _white(
    shape: tuple[int, ...], times: int, phase: tuple[int, int] | None, rng: np.random.Generator
) -> FloatArray:
    """Draw noise of unit variance in the pixels of a coarse band."""
    white = rng.standard_normal((1, *shape), dtype=np.float32)
    return np.asarray(np.float32(times) * _averaged(white, times, phase)[0])


def _blurred(planes: FloatArray) -> FloatArray:
    """Spread light to neighbours."""
    for axis in (1, 2):
        planes = ndimage.correlate1d(planes, _SPREAD, axis, mode="nearest")
    return planes


def _averaged(planes: FloatArray, times: int, phase: tuple[int, int] | None) -> FloatArray:
    """Average over the pixels of a coarse band, and put these back onto the grid."""
    if times == 1:
        return planes
    for axis in (1, 2):
        planes = (
            _smoothed(planes, times, axis)
            if phase is None
            else _blocks(planes, times, phase[axis - 1], axis)
        )
    return planes


def _blocks(planes: FloatArray, times: int, phase: int, axis: int) -> FloatArray:
    starts = np.union1d([0], np.arange(phase, planes.shape[axis], times)).astype(np.intp)
    counts: NDArray[np.intp] = np.diff(np.append(starts, planes.shape[axis]))
    shape = [1, 1, 1]
    shape[axis] = -1
    means = np.add.reduceat(planes, starts, axis) / counts.astype(np.float32).reshape(shape)
    return np.asarray(np.repeat(means, counts, axis), np.float32)


def _smoothed(planes: FloatArray, times: int, axis: int) -> FloatArray:
    """Average over a coarse pixel around each pixel, then interpolate between such."""
    box = np.full(times, 1.0 / times, np.float32)
    triangle = np.convolve(box, box)
    return np.asarray(ndimage.correlate1d(planes, triangle, axis, mode="nearest"), np.float32)
