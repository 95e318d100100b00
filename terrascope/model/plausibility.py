"""Do the numbers look like what they are said to be? Bounds that real data never cross.

A wrong unit or a band under another's name gives no error anywhere else: the
model would answer, confidently and wrongly. Checks compare medians, or what most
observed pixels have in common, against limits far outside what land, water, snow,
cloud and fire have shown, so that a refusal is a certainty.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.types import FloatArray

__all__ = ["check_backscatter", "check_reflectance"]

_BRIGHTEST = 2.0
"""No median reflectance: cloud and snow stay near 1."""
_DARKEST = -0.15
"""No median reflectance: an offset of -0.1 that was applied twice reaches -0.2."""
_NEIGHBOURS = (
    ("coastal", "blue"),
    ("rededge3", "nir"),
    ("rededge3", "nir08"),
    ("nir", "nir08"),
)
"""Bands next to each other in the spectrum, between which no surface has an edge."""
_APART, _RATIO = 0.05, 1.7
"""Neighbours differ when their medians and most brighter pixels do, by this much and factor."""
_FEWEST = 16
"""Pixels below which a median says nothing about bands."""
_LOUDEST_DB, _QUIETEST_DB = 25.0, -60.0
_VH_ABOVE_VV_DB = 1.0


def check_reflectance(stored: NDArray[Any], values: FloatArray, bands: tuple[str, ...]) -> None:
    """Refuse what cannot be surface reflectance in the bands named.

    Parameters
    ----------
    stored : ndarray, shape (date, band, y, x)
        As the caller passed it; an integer type is refused.
    values : ndarray of float32, shape (date, band, y, x)
        NaN where missing.
    bands : tuple of str
        Canonical names of axis 1.

    Raises
    ------
    ValueError
        If the type or the numbers say otherwise.
    """
    if not np.issubdtype(stored.dtype, np.floating):
        raise ValueError(
            f"sentinel-2: values of type {stored.dtype} are digital numbers, not reflectance; "
            "multiply by the scale (1e-4) and add the offset that the item's metadata state"
        )
    seen = values[np.isfinite(values)]
    if not seen.size:
        return
    if not seen.any():
        raise ValueError(
            "sentinel-2: every value is exactly 0, so this is missing data stored as zero; write "
            "NaN where nothing was observed"
        )
    middle = float(np.median(seen))
    if middle > _BRIGHTEST:
        raise ValueError(
            f"sentinel-2: a median of {middle:.4g} is no reflectance (0 to about 1); it looks like "
            "digital numbers or percent: multiply by the scale (1e-4 or 1e-2) and add the offset"
        )
    if middle < _DARKEST:
        raise ValueError(
            f"sentinel-2: a median of {middle:.4g} is no reflectance (0 to about 1); it looks like "
            "dB, or like an offset that was applied twice"
        )
    _check_neighbours(values, bands)


def check_backscatter(stored: NDArray[Any], values: FloatArray, bands: tuple[str, ...]) -> None:
    """Refuse what cannot be backscatter in dB in the polarisations named.

    Parameters
    ----------
    stored : ndarray, shape (date, band, y, x)
        As the caller passed it; an integer type is refused.
    values : ndarray of float32, shape (date, band, y, x)
        NaN where missing.
    bands : tuple of str
        Canonical names of axis 1.

    Raises
    ------
    ValueError
        If the type or the numbers say otherwise.
    """
    if not np.issubdtype(stored.dtype, np.floating):
        raise ValueError(
            f"sentinel-1: values of type {stored.dtype} are stored numbers, not dB; apply scale "
            "and offset first, then 10 * log10"
        )
    seen = values[np.isfinite(values)]
    if not seen.size:
        return
    middle = float(np.median(seen))
    if seen.size >= _FEWEST and np.mean(seen >= 0.0) > 0.99:
        raise ValueError(
            f"sentinel-1: no value below 0 (median {middle:.4g}): this looks like linear power or "
            "amplitude, not dB; take 10 * log10 of power, 20 * log10 of amplitude"
        )
    if not _QUIETEST_DB < middle < _LOUDEST_DB:
        raise ValueError(
            f"sentinel-1: a median of {middle:.4g} is no backscatter in dB (about -30 to 5); it "
            "looks like stored integers: apply their scale first"
        )
    if {"vv", "vh"} <= set(bands):
        step = values[:, bands.index("vv")] - values[:, bands.index("vh")]
        step = step[np.isfinite(step)]
        if step.size >= _FEWEST and float(np.median(step)) < -_VH_ABOVE_VV_DB:
            raise ValueError(
                f"sentinel-1: VH is {-float(np.median(step)):.1f} dB above VV, which no surface "
                "shows: the order of the bands is wrong; expected the names in the array's order"
            )


def _check_neighbours(values: FloatArray, bands: tuple[str, ...]) -> None:
    """Refuse bands that are apart although they lie side by side in the spectrum."""
    place = {name: index for index, name in enumerate(bands)}
    for one, other in itertools.filterfalse(lambda p: not set(p) <= set(place), _NEIGHBOURS):
        a, b = values[:, place[one]], values[:, place[other]]
        both = np.isfinite(a) & np.isfinite(b)
        if np.count_nonzero(both) < _FEWEST:
            continue
        low, high = sorted((float(np.median(a[both])), float(np.median(b[both]))))
        if high - low > _APART and high > _RATIO * max(low, 0.0) and _most_differ(a[both], b[both]):
            raise ValueError(
                f"sentinel-2: {one} and {other} lie side by side in the spectrum, but their "
                f"medians are {float(np.median(a[both])):.3f} and {float(np.median(b[both])):.3f}: "
                "the order of the bands is wrong; expected the names in the array's order"
            )


def _most_differ(a: FloatArray, b: FloatArray) -> bool:
    """Tell whether one of two bands is the brighter one on most pixels that are not dark.

    Where a window is half water, medians of two bands may fall on different sides of the shore.
    """
    told = np.maximum(a, b) > 2 * _APART
    low, high = np.minimum(a, b)[told], np.maximum(a, b)[told]
    apart = (high - low > _APART) & (high > _RATIO * np.maximum(low, 0.0))
    upward = np.count_nonzero(apart & (b > a)[told])
    return bool(max(upward, np.count_nonzero(apart) - upward) > low.size / 2)
