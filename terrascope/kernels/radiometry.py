"""Stored numbers to physical values, to the cube's int16, and a check of what metadata claim."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.types import NODATA_INT16, BoolArray, FloatArray

__all__ = [
    "OffsetVerdict",
    "check_offset",
    "from_db",
    "is_missing",
    "pack_int16",
    "rescale_int16",
    "to_db",
    "to_reflectance",
    "unpack_int16",
]

_LARGEST = 32767
_MIN_VEGETATION_PX = 400
_MIN_VALID_PX = 2000
_FLOOR = 0.09


class OffsetVerdict(enum.Enum):
    """What the pixels say about a scene's stated offset."""

    CONSISTENT = "consistent"
    UNDECIDED = "undecided"
    TWICE = "subtracted twice"
    NOT_SUBTRACTED = "not subtracted"


def is_missing(stored: NDArray[Any], nodata: float | None) -> BoolArray:
    """Tell which stored numbers mean "no data".

    Parameters
    ----------
    stored : ndarray
        Numbers as stored.
    nodata : float or None
        The declared number, may be NaN; NaN is always missing.

    Returns
    -------
    missing : ndarray of bool
        Of the same shape.
    """
    if stored.dtype.kind == "f":
        missing: BoolArray = np.isnan(stored)
        if nodata is not None and not np.isnan(nodata):
            missing |= stored == nodata
        return missing
    if nodata is None or np.isnan(nodata):
        return np.zeros(stored.shape, np.bool_)
    equal: BoolArray = stored == nodata
    return equal


def to_reflectance(
    stored: NDArray[Any], *, scale: float, offset: float, nodata: float | None
) -> FloatArray:
    """Convert stored numbers to a physical value.

    Parameters
    ----------
    stored : ndarray, shape (..., y, x)
        Values as stored by the provider. Not modified.
    scale : float
        Physical value per stored number.
    offset : float
        Added after scaling: -0.1 for Sentinel-2 baseline 04.00 and later where the
        provider has not removed it, otherwise 0.
    nodata : float or None
        Stored number that means "no observation".

    Returns
    -------
    values : ndarray of float32, shape (..., y, x)
        NaN where missing. Dark water may come out below 0.
    """
    values: FloatArray = stored.astype(np.float32)
    values *= np.float32(scale)
    if offset:
        values += np.float32(offset)
    values[is_missing(stored, nodata)] = np.nan
    return values


def rescale_int16(
    stored: NDArray[Any], *, scale: float, offset: float, nodata: float | None, step: float
) -> NDArray[np.int16]:
    """Convert stored integers to the cube's integers, exactly where the steps agree.

    Parameters
    ----------
    stored : ndarray, shape (..., y, x)
        Values as stored by the provider. Not modified.
    scale, offset : float
        Physical value = stored x `scale` + `offset`.
    nodata : float or None
        Stored number that means "no observation".
    step : float
        Physical value per step of the cube.

    Returns
    -------
    packed : ndarray of int16, shape (..., y, x)
        Steps of the cube, `NODATA_INT16` where missing; beyond int16 the largest value.
    """
    factor, shift = scale / step, offset / step
    whole = abs(factor - 1.0) < 1e-9 and abs(shift - round(shift)) < 1e-6
    if not whole or stored.dtype.kind == "f":
        values = to_reflectance(stored, scale=scale, offset=offset, nodata=nodata)
        return pack_int16(values, step=step)[0]
    shift = round(shift)
    if stored.dtype == np.uint16 and abs(shift) < _LARGEST:
        # Without a wider copy: clipped first, the sum modulo 2**16 is the int16 that is meant.
        wrapped = np.minimum(stored, np.uint16(_LARGEST - shift))
        wrapped += np.uint16(shift % 2**16)
        packed = wrapped.view(np.int16)
    else:
        wide = stored.astype(np.int32) + shift
        packed = np.asarray(np.clip(wide, -_LARGEST, _LARGEST), dtype=np.int16)
    packed[is_missing(stored, nodata)] = NODATA_INT16
    return np.asarray(packed)


def pack_int16(values: FloatArray, *, step: float) -> tuple[NDArray[np.int16], int]:
    """Round physical values to the cube's integers.

    Parameters
    ----------
    values : ndarray of float32
        NaN where missing. Not modified.
    step : float
        Physical value per step.

    Returns
    -------
    packed : ndarray of int16
        `NODATA_INT16` where missing.
    clipped : int
        How many values lay beyond int16 and were set to the nearest end.
    """
    steps = np.rint(values * np.float32(1.0 / step))
    with np.errstate(invalid="ignore"):
        clipped = int(np.count_nonzero(np.abs(steps) > _LARGEST))
    missing = np.isnan(steps)
    steps[missing] = 0.0
    np.clip(steps, -_LARGEST, _LARGEST, out=steps)
    packed = steps.astype(np.int16)
    packed[missing] = NODATA_INT16
    return packed, clipped


def unpack_int16(packed: NDArray[np.int16], *, step: float) -> FloatArray:
    """Return the physical values of the cube's integers.

    Parameters
    ----------
    packed : ndarray of int16
        `NODATA_INT16` where missing.
    step : float
        Physical value per step.

    Returns
    -------
    values : ndarray of float32
        NaN where missing.
    """
    values: FloatArray = packed.astype(np.float32)
    values *= np.float32(step)
    values[packed == NODATA_INT16] = np.nan
    return values


def to_db(power: FloatArray) -> FloatArray:
    """Convert linear power to decibel.

    Parameters
    ----------
    power : ndarray of float32
        NaN where missing.

    Returns
    -------
    level : ndarray of float32
        10 log10; NaN where `power` is missing or not positive (noise was over-subtracted).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        level: FloatArray = np.float32(10.0) * np.log10(power)
    level[~np.isfinite(level)] = np.nan
    return level


def from_db(level: FloatArray) -> FloatArray:
    """Convert decibel to linear power.

    Parameters
    ----------
    level : ndarray of float32
        NaN where missing.

    Returns
    -------
    power : ndarray of float32
        NaN where missing.
    """
    power: FloatArray = np.power(np.float32(10.0), level * np.float32(0.1))
    return power


def check_offset(
    red: FloatArray, nir: FloatArray, others: Sequence[FloatArray] = ()
) -> OffsetVerdict:
    """Hold a scene's reflectance against what vegetation and dark ground can look like.

    The difference of near infrared and red does not depend on an offset, so it
    picks vegetation whatever the offset is; there, red is 0.01 to 0.08. An
    offset of -0.1 applied to numbers that have lost it already makes most of it
    negative; one that was forgotten lifts all ground above 0.1, in every band.
    Thin cloud lifts red as well: leave cloudy pixels out where they are known.
    Scenes with hardly any vegetation are refused only where a fifth of all
    ground is well below zero.

    Parameters
    ----------
    red, nir : ndarray of float32
        Surface reflectance with the stated offset applied, NaN where missing or cloudy: a
        sample of the scene.
    others : sequence of ndarray of float32
        Further bands of the same sample, best blue and short-wave infrared: their floor must
        agree before an offset is called forgotten.

    Returns
    -------
    verdict : OffsetVerdict
        UNDECIDED below 2,000 valid pixels, or 400 of vegetation.

    Notes
    -----
    The rule is ours: vegetated (nir - red >= 0.2) red has a median below -0.02 (twice), or a
    1st percentile above 0.09 and a median below 0.2 while no other band has a 1st percentile
    below 0.09 (not subtracted).
    """
    valid = ~(np.isnan(red) | np.isnan(nir))
    red, nir = red[valid], nir[valid]
    if red.size < _MIN_VALID_PX:
        return OffsetVerdict.UNDECIDED
    vegetation = red[nir - red >= 0.2]
    if vegetation.size < _MIN_VEGETATION_PX:
        black = np.count_nonzero((red < -0.03) & (nir < 0.2)) > 0.2 * red.size
        return OffsetVerdict.TWICE if black else OffsetVerdict.UNDECIDED
    low, middle = np.percentile(vegetation, [1.0, 50.0])
    if middle < -0.02:
        return OffsetVerdict.TWICE
    if low <= _FLOOR or middle >= 0.2:
        return OffsetVerdict.CONSISTENT
    floors = [np.nanpercentile(other.ravel()[valid.ravel()], 1.0) for other in others]
    lifted = all(floor > _FLOOR for floor in floors)
    return OffsetVerdict.NOT_SUBTRACTED if lifted else OffsetVerdict.UNDECIDED
