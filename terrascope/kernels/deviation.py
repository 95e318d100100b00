"""How far an optical observation departs from what the pixel's own past predicts.

Each index' difference from the prediction is divided by its noise: sensor,
one part of natural variability, and distance in season. Standardised
differences are averaged over the indices that see the same substance, not
added in squares: they share bands and errors, so three indices are not three
witnesses. Where two substances must both have changed, the weaker witness
decides: a drought shows in leaf water alone, haze in pigments alone, a felled
stand in both.

Land with a cycle of its own (crops, meadows) departs only where it leaves the
range of that cycle; permanent cover (trees, water) departs as soon as it
leaves its seasonal course.

References
----------
.. [1] Key & Benson (2006), Landscape Assessment, RMRS-GTR-164: the unburned
   class of dNBR, -0.1 to 0.1.
.. [2] Zhang et al. (2003), doi:10.1016/S0034-4257(02)00135-9: phenology.
.. [3] Zhang et al. (2002), Haze Optimized Transformation,
   doi:10.1016/S0034-4257(02)00034-2, with the slope of 0.5 that Zhu & Woodcock
   (2012), doi:10.1016/j.rse.2011.10.028, use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from terrascope.kernels.cover import (
    crop_cycle_range,
    logistic,
    tree_probability,
    water_probability,
)
from terrascope.kernels.indices import Index, available_indices, index_value, index_variance
from terrascope.kernels.seasonal import month_distance, seasonal_reference
from terrascope.types import FloatArray

__all__ = ["AXES", "Deviation", "OpticalPast"]

AXES: Final = ("loss", "burn", "gain", "wet", "dry", "sealed")
"""Directions in which land changes: green vegetation lost, burnt or gained, water come or gone,
and mineral surfaces that no field shows (roofs, asphalt, quarries)."""

_STABILITY: Final = 0.05
"""Difference of an index between two years over unchanged land, 1 sigma: the unburned class of
dNBR [1], read as two sigma."""

_RELATIVE_STABILITY: Final = 0.1
"""The same for a plain band: what moves a normalised difference by 0.05 moves a band by 10 %."""

_EXPECTED_WEIGHT: Final = 4.0
"""Residuals of a pixel's own series that weigh as much as the general expectation: ten of them, a
quiet year, bring the noise down to about half of it."""

_SEASONAL_SLOPE: Final = 0.05
"""Further standard deviation of an index per month between baseline and target; a figure of ours:
the NDVI of deciduous trees comes and goes within a few months [2], and rests in between."""

_VEIL_SLOPES: Final = MappingProxyType(
    {"blue": (0.5, 0.75), "coastal": (0.5, 0.75), "green": (0.6, 0.85)}
)
"""Rise of a band over that of the red: along the line of clear surfaces (blue [3]; green a little
steeper), and the least that a thin cloud adds, a figure of ours. At the top of the atmosphere that
would be 1; a correction takes path radiance off the short waves. The least explains most away."""

_VEIL_SWIR: Final = 0.6
"""Reflectance of thick cloud at 1.6 and 2.2 um over that at 0.66 um: droplets absorb."""

_FULL_YEAR: Final = 8
"""Observed baseline periods from which a pixel's own range says what it never was."""

_GREEN_NDVI: Final = (0.3, 0.05)
"""Ground whose NDVI never exceeds it bears no vegetation, Carlson & Ripley (1997)."""

# Signs along the axes. Pigment and leaf water are two witnesses of equal weight.
_PIGMENT: Final = MappingProxyType({"ndvi": -1, "grvi": -1, "red": 1})
_LEAF_WATER: Final = MappingProxyType({"nbr": -1, "ndmi": -1, "swir": 1})
_FLATNESS: Final = MappingProxyType({"ndwi": 1, "mndwi": 1})
_LEAF_STRUCTURE: Final = MappingProxyType({"ndvi": -1, "nir": -1})
_DARKNESS: Final = MappingProxyType({"nir": -1, "swir": -1})


@dataclasses.dataclass(frozen=True, eq=False)
class Deviation:
    """One target period against its prediction; NaN where either is missing.

    Parameters
    ----------
    indices : mapping of int to ndarray of float32, shape (y, x)
        Signed standardised deviation by code of the index.
    axes : mapping of str to ndarray of float32, shape (y, x)
        Standard deviations in the direction of each of `AXES`.
    """

    indices: Mapping[int, FloatArray]
    axes: Mapping[str, FloatArray]


class OpticalPast:
    """The baseline of a block of pixels, asked for one target period after the other.

    Parameters
    ----------
    baseline : ndarray of float32, shape (time, band, y, x)
        Surface reflectance, NaN where not observed.
    bands : sequence of str
        Canonical band names; red and a near infrared band at least.
    months : sequence of int
        Calendar month of each period, 1 to 12.
    """

    def __init__(self, baseline: FloatArray, bands: Sequence[str], months: Sequence[int]) -> None:
        self._baseline = baseline
        self._bands = tuple(bands)
        self._months = tuple(months)
        self._indices = available_indices(self._bands)
        self._low: dict[str, FloatArray] = {}
        self._high: dict[str, FloatArray] = {}
        self._jitter = {index.name: _Jitter(index) for index in self._indices}
        self._seasons: dict[int, dict[str, tuple[FloatArray, FloatArray]]] = {}
        self._permanence = self._survey()

    def _survey(self) -> FloatArray:
        """Measure each index' range, and how permanent the cover is, over all dates."""
        trees = np.zeros(self._baseline.shape[2:], dtype=np.float32)
        water, count = np.zeros_like(trees), np.zeros_like(trees)
        for date in self._baseline:
            spectra = dict(zip(self._bands, date, strict=True))
            tree, seen = tree_probability(spectra), np.isfinite(date).all(axis=0)
            trees += np.where(seen, tree, np.float32(0))
            water += np.where(seen, water_probability(spectra), np.float32(0))
            count += seen
            for index in self._indices:
                value = index_value(index, spectra)
                self._jitter[index.name].add(value)
                low = self._low.get(index.name, value)
                high = self._high.get(index.name, value)
                self._low[index.name] = np.fmin(low, value)
                self._high[index.name] = np.fmax(high, value)
        permanence = np.maximum(trees, water) / np.maximum(count, np.float32(1))
        barren = logistic(self._high["ndvi"], _GREEN_NDVI[0], -_GREEN_NDVI[1])
        # Over a year the seasons bear each other out: the odds of four of them multiply.
        certain = np.maximum(permanence, barren)
        doubt = (1 - certain) * (1 - certain)
        certain, doubt = certain * certain * certain * certain, doubt * doubt
        certain = certain / (certain + doubt)
        return np.where(count >= _FULL_YEAR, certain, permanence)

    def compare(
        self,
        target: Mapping[str, FloatArray],
        month: int,
        *,
        repeated: bool,
        seasonal_range: bool = False,
    ) -> Deviation:
        """Compare one target period with its prediction.

        Parameters
        ----------
        target : mapping of str to ndarray of float32, shape (y, x)
            Surface reflectance by band, NaN where not observed.
        month : int
            Calendar month, 1 to 12.
        repeated : bool
            Whether other target periods can confirm this one.
        seasonal_range : bool
            Whether only what leaves the range of the baseline's values within one month of the
            target's departs at all: for single dates, which may fall anywhere in a spring or
            an autumn that comes early or late.

        Returns
        -------
        deviation : Deviation
            By index and by axis.
        """
        predicted, reach = seasonal_reference(self._baseline, self._months, month)
        before = dict(zip(self._bands, predicted, strict=True))
        season = np.float32(_SEASONAL_SLOPE) * np.maximum(reach[0].astype(np.float32) - 1, 0)
        # A roof whitens like a cloud: only a second date tells them apart.
        clear = target if repeated else _without_veil(before, target)
        ranges = self._season(month) if seasonal_range else {}
        scores = {
            index.name: self._score(index, before, clear, season, ranges.get(index.name))
            for index in self._indices
        }
        axes = self._axes(scores, before, clear)
        return Deviation({i.code: scores[i.name] for i in self._indices}, axes)

    def _score(
        self,
        index: Index,
        before: Mapping[str, FloatArray],
        after: Mapping[str, FloatArray],
        season: FloatArray,
        span: tuple[FloatArray, FloatArray] | None,
    ) -> FloatArray:
        """Divide an index' departure by its noise."""
        old, new = index_value(index, before), index_value(index, after)
        natural = np.float32(_STABILITY) if index.minus else np.float32(_RELATIVE_STABILITY) * old
        seasonal = season if index.minus else 2 * season * old
        variance = index_variance(index, before) + index_variance(index, after)
        variance = self._jitter[index.name].shrink(variance + natural * natural)
        variance = variance + seasonal * seasonal
        score: FloatArray = self._departure(index, old, new, span) / np.sqrt(variance)
        return score

    def _season(self, month: int) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Return the range of each index over the baseline within one month of a month."""
        if month in self._seasons:
            return self._seasons[month]
        ranges: dict[str, tuple[FloatArray, FloatArray]] = {}
        for date, other in zip(self._baseline, self._months, strict=True):
            if month_distance(month, other) > 1:
                continue
            spectra = dict(zip(self._bands, date, strict=True))
            for index in self._indices:
                value = index_value(index, spectra)
                low, high = ranges.get(index.name, (value, value))
                ranges[index.name] = np.fmin(low, value), np.fmax(high, value)
        self._seasons[month] = ranges
        return ranges

    def _departure(
        self,
        index: Index,
        old: FloatArray,
        new: FloatArray,
        span: tuple[FloatArray, FloatArray] | None,
    ) -> FloatArray:
        """Mean of the departures from the seasonal course and from the cycle, by permanence."""
        low, high = crop_cycle_range(index, self._bands)
        lowest = np.minimum(np.fmin(self._low[index.name], np.float32(low)), old)
        highest = np.maximum(np.fmax(self._high[index.name], np.float32(high)), old)
        beyond = new - np.minimum(np.maximum(new, lowest), highest)
        moved = new - old
        if span is not None:
            moved = new - np.minimum(np.maximum(new, np.fmin(span[0], old)), np.fmax(span[1], old))
        return beyond + self._permanence * (moved - beyond)

    def _axes(
        self,
        scores: Mapping[str, FloatArray],
        before: Mapping[str, FloatArray],
        target: Mapping[str, FloatArray],
    ) -> dict[str, FloatArray]:
        """Average the scores along each axis, where the state after fits the axis."""
        pigment, water = _signed(scores, _PIGMENT), _signed(scores, _LEAF_WATER)
        flat, dark = _signed(scores, _FLATNESS), _signed(scores, _DARKNESS)
        assert pigment is not None and dark is not None  # noqa: S101, PT018  # red and nir are there
        structure = _signed(scores, _LEAF_STRUCTURE)
        assert structure is not None  # noqa: S101
        if water is None:
            water, structure = pigment, np.minimum(pigment, structure)
        flat = np.full_like(pigment, np.nan) if flat is None else flat
        was, is_water = water_probability(before), water_probability(target)
        ndvi = index_value(self._indices[0], target)
        bare = logistic(ndvi, _GREEN_NDVI[0], -_GREEN_NDVI[1])
        return {
            "loss": np.minimum(pigment, water),
            # Char is as dark in the red as leaves are: leaf structure stands in for pigment.
            "burn": np.minimum(structure, water),
            "gain": -np.maximum(pigment, water),
            "wet": np.minimum(flat, dark) * np.minimum(2 * is_water, np.float32(1)) * (1 - was),
            "dry": -np.maximum(flat, dark) * np.minimum(2 * was, np.float32(1)),
            "sealed": flat * (1 - is_water) * bare,
        }


class _Jitter:
    """Noise from date to date of one index, gathered over a series as it passes.

    The difference of a date from the mean of its neighbours has 1.5 times the
    variance of one date, which is also that of a target's difference from a
    median of three.
    """

    def __init__(self, index: Index) -> None:
        self._relative = not index.minus
        self._last: list[FloatArray] = []
        self._total: FloatArray | None = None
        self._count: FloatArray | None = None

    def add(self, value: FloatArray) -> None:
        """Take the next date."""
        self._last.append(value)
        if len(self._last) < 3:
            return
        before, middle, after = self._last
        del self._last[0]
        residual = middle - (before + after) / 2
        # A missed cloud or a harvest is no noise: three sigma of natural change at most.
        limit = 3 * _RELATIVE_STABILITY if self._relative else 3 * _STABILITY
        scale = np.abs(middle) if self._relative else np.float32(1)
        residual = np.minimum(np.abs(residual), np.float32(limit) * scale)
        seen = np.isfinite(residual)
        squared = np.where(seen, residual * residual, np.float32(0))
        self._total = squared if self._total is None else self._total + squared
        count = seen.astype(np.float32)
        self._count = count if self._count is None else self._count + count

    def shrink(self, expected: FloatArray) -> FloatArray:
        """Weigh the variance that is expected of any pixel with what was seen of this one."""
        if self._total is None or self._count is None:
            return expected
        weight = np.float32(_EXPECTED_WEIGHT)
        return (weight * expected + self._total) / (weight + self._count)


def _signed(scores: Mapping[str, FloatArray], signs: Mapping[str, int]) -> FloatArray | None:
    """Mean of the scores that are there, signed; None where none is."""
    present = [sign * scores[name] for name, sign in signs.items() if name in scores]
    if not present:
        return None
    total = present[0]
    for part in present[1:]:
        total = total + part
    return total / np.float32(len(present))


def _without_veil(
    before: Mapping[str, FloatArray], target: Mapping[str, FloatArray]
) -> Mapping[str, FloatArray]:
    """Take off what a thin cloud added since, or give what one added before.

    Clear surfaces move along a line, blue = red / 2; how far the blue band moved
    beyond it is the haze optimised transformation, which only a veil raises
    much, and the green band tells the same. The red band is never moved past
    its value before: a veil explains a difference away, it does not make one.
    """
    moved, zero = target["red"] - before["red"], np.float32(0)
    low, high = np.minimum(moved, zero), np.maximum(moved, zero)
    witnesses = ["blue" if "blue" in target else "coastal", "green"]
    veil: FloatArray | None = None
    for band in witnesses:
        if band not in target:
            continue
        clear, cloudy = _VEIL_SLOPES[band]
        beyond = (target[band] - before[band]) - np.float32(clear) * moved
        beyond = np.minimum(np.maximum(beyond / np.float32(cloudy - clear), low), high)
        if veil is not None:
            beyond = np.where(np.abs(beyond) > np.abs(veil), beyond, veil)
        veil = beyond
    if veil is None:
        return target
    return {
        name: value - veil * np.float32(_VEIL_SWIR if name.startswith("swir") else 1)
        for name, value in target.items()
    }
