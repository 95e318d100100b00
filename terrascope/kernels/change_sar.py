"""Change evidence from radar backscatter within one relative orbit and coefficient.

The log-ratio of two dates [1]_ is free of the terrain and of the mean; what is
left is speckle, whose size follows from the number of looks, and the weather:
rain lifts whole regions by 2 dB and wind roughens water. The common shift is
taken off first (`fit_shift_node`, on the fixed blocks of the optical
normalisation), speckle is averaged in power over some tens of metres, and what
remains is measured against the variability of the pixel's own past.

References
----------
.. [1] Rignot & van Zyl (1993), doi:10.1109/36.239913; Conradsen et al. (2003),
   doi:10.1109/TGRS.2002.808066, for the likelihood ratio test of two dates.
.. [2] Oliver & Quegan (2004), Understanding SAR images: log-intensity, whose
   variance is trigamma(looks) because intensity is gamma distributed.
.. [3] ESA, Sentinel-1 Product Definition, S1-RS-MDA-52-7440: the interferometric
   wide swath.
.. [4] Vreugdenhil et al. (2018), doi:10.3390/rs10091396: forests vary little over
   time and crops much.
.. [5] Twele et al. (2016), doi:10.1080/01431161.2016.1192304: open water is what a
   threshold in dB separates.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from terrascope.kernels.cover import logistic
from terrascope.kernels.evidence import Evidence, log_likelihood_ratio, observed_window
from terrascope.kernels.normalise import MIN_SAMPLES, NodeFit, identity_fit
from terrascope.kernels.persistence import latest_observed, persistent_anomaly
from terrascope.kernels.seasonal import nan_median
from terrascope.kernels.smoothing import gaussian_mean
from terrascope.types import ChangeKind, FloatArray

__all__ = ["SAR_CODES", "SAR_HALO_M", "fit_shift_node", "screen_sar"]

SAR_CODES: Final = (101, 102)
"""Codes of VV and VH in the evidence layer."""

_MULTILOOK_M: Final = 15.0
"""Sigma of the averaging of power: its effective area, 4 pi sigma squared, holds 26 looks."""

SAR_HALO_M: Final = 90.0
"""How far the radar screen looks around a pixel: three sigma in whole pixels of up to 43 m."""

_CELL_M2: Final = 110.0
"""Ground of one look: 5 m in range at mid swath by 22 m in azimuth, the single-look resolution
[3]."""

_NATURAL_DB: Final = 1.5
"""Change of backscatter over unchanged land between two dates, 1 sigma, after the common shift: a
figure of ours between that of forests and that of crops [4]."""

_GEOMETRY_DB: Final = 2.5
"""Spread between orbits, 1 sigma: our 0.15 dB per degree over the swath's 29 to 46 degrees [3]."""

_WALL_DB: Final = 10.0
_WALL_VV: Final = (-5.0, 1.0)
"""Land that scatters by itself hardly exceeds -5 dB in VV (compare Ulaby & Dobson 1989); what is
brighter is a wall that faces the radar, and is taken to lose 10 dB where it does not."""

_PAST_WEIGHT: Final = 5.0
"""Dates of the past that weigh as much as `_NATURAL_DB`."""

_NOISE_FLOOR_DB: Final = -22.0
"""Specified noise-equivalent sigma nought [3]: a signal near it wanders with the noise."""

_WATER_VV: Final = (-16.0, 1.0)
_WATER_VH: Final = (-22.5, 1.0)
"""Open water is below both: where and over what distance, in dB; levels of ours, in the way of
[5]."""

_MAX_SHIFT_DB: Final = 6.0
"""Largest common shift that weather explains, a bound of ours: dry to soaked bare soil."""


def fit_shift_node(baseline_db: FloatArray, target_db: FloatArray) -> NodeFit:
    """Fit the shift in dB that a block's land shares.

    Parameters
    ----------
    baseline_db, target_db : ndarray of float32, shape (sample, polarisation)
        Backscatter of the same pixels in dB, VV first; NaN where not observed.

    Returns
    -------
    fit : NodeFit
        `offset` is what to add to the target, at most 6 dB; `gain` is 1. The
        identity where too few samples are land.
    """
    seen = np.isfinite(baseline_db).all(axis=1) & np.isfinite(target_db).all(axis=1)
    land = seen & ~(_is_water(baseline_db[:, 0], baseline_db[:, 1]) > 0.5)
    n = int(np.count_nonzero(land))
    n_bands = baseline_db.shape[1]
    if n < MIN_SAMPLES:
        return identity_fit(n_bands, n=n)
    difference = (baseline_db[land] - target_db[land]).astype(np.float64)
    shift = np.median(difference, axis=0)
    near = np.abs(difference - shift).max(axis=1) < 2 * _NATURAL_DB
    share = float(near.mean())
    offset = np.clip(shift, -_MAX_SHIFT_DB, _MAX_SHIFT_DB)
    return NodeFit(np.ones(n_bands), offset, n, share, ok=True)


def screen_sar(
    baseline_db: FloatArray,
    target_db: FloatArray,
    *,
    pixel_m: float,
    shift_db: NDArray[np.floating[Any]] | float = 0.0,
    one_geometry: bool = True,
) -> Evidence:
    """Weigh the evidence for change in backscatter.

    Parameters
    ----------
    baseline_db : ndarray of float32, shape (time, 2, y, x)
        VV and VH in dB before, one relative orbit and coefficient; NaN where not observed.
    target_db : ndarray of float32, shape (time, 2, y, x)
        The same after, in order of time.
    pixel_m : float
        Pixel size in metres on the ground.
    shift_db : ndarray or float, broadcastable to `target_db`
        Added to the target: the common shift of the weather, from `fit_shift_node`.
    one_geometry : bool
        False where the relative orbits are not known, so that dates may differ
        in incidence and look direction: differences then mean less.

    Returns
    -------
    evidence : Evidence
        True wherever the array reaches `SAR_HALO_M` further.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    if baseline_db.shape[1:] != target_db.shape[1:] or baseline_db.shape[1] != 2:
        raise ValueError(
            f"backscatter of shape {baseline_db.shape} and {target_db.shape}: "
            "expected (time, 2, y, x) with VV and VH"
        )
    shifted = (target_db + shift_db).astype(np.float32, copy=False)
    seen = np.isfinite(baseline_db).any(axis=(0, 1)) & np.isfinite(target_db).any(axis=(0, 1))
    window = observed_window(np.asarray(seen))
    evidence = _compare(
        baseline_db[:, :, *window], shifted[:, :, *window], pixel_m, one_geometry=one_geometry
    )
    return evidence.placed(window, baseline_db.shape[2:])


def _compare(
    baseline_db: FloatArray, shifted: FloatArray, pixel_m: float, *, one_geometry: bool
) -> Evidence:
    """Weigh the evidence of a window."""
    centre = nan_median(baseline_db)
    reference = _multilook(centre, pixel_m)
    natural = _natural_variance(baseline_db, centre)
    speckle = _speckle_variance(pixel_m)
    was_water = _is_water(reference[0], reference[1])
    falls, rises, scores, wet_after = [], [], [], []
    for date in shifted:
        power = _multilook(date, pixel_m)
        # Noise can lift a dark surface to the floor, not above it: the brighter date tells.
        floor = _floor_variance(np.maximum(reference, power))
        variance = natural + 2 * speckle + 2 * floor
        if not one_geometry:
            variance = variance + _geometry_variance(np.maximum(reference[0], power[0]))
        score = (power - reference) / np.sqrt(variance)
        is_water = _is_water(power[0], power[1])
        # Wind moves VV of water by 10 dB; only VH tells whether water went or came.
        dry = score[1] * (1 - logistic(power[1], *_falling(_WATER_VH)))
        # Both polarisations have to move: wind roughens VV alone. NaN (no VH) is passed over.
        rise = np.fmin(score[0], score[1])
        rises.append(rise + was_water * (dry - rise))
        falls.append(-np.fmax(score[0], score[1]) * (1 - was_water))
        scores.append(score)
        wet_after.append(is_water)
    fall, fall_start = persistent_anomaly(np.stack(falls))
    rise, rise_start = persistent_anomaly(np.stack(rises))
    seen = np.isfinite(fall) | np.isfinite(rise)
    down = np.isfinite(fall) & ~(rise > fall)
    latest, water_now = latest_observed(scores), latest_observed(wet_after)
    vh_leads = np.abs(latest[1]) > np.abs(latest[0])
    kind = _kinds(down, was_water, water_now, latest)
    return Evidence(
        support=np.where(
            seen, log_likelihood_ratio(np.where(down, fall, rise)), np.float32(np.nan)
        ),
        kind=np.where(seen, kind, ChangeKind.NONE).astype(np.uint8),
        observations=np.isfinite(np.stack(falls)).sum(axis=0).astype(np.uint16),
        detected_index=np.where(down, fall_start, rise_start),
        strongest=np.where(seen, np.where(vh_leads, SAR_CODES[1], SAR_CODES[0]), 0).astype(
            np.uint8
        ),
        deviation=np.where(seen, np.where(vh_leads, latest[1], latest[0]), np.float32(np.nan)),
    )


def _falling(boundary: tuple[float, float]) -> tuple[float, float]:
    return boundary[0], -boundary[1]


def _is_water(vv: FloatArray, vh: FloatArray) -> FloatArray:
    return logistic(vv, *_falling(_WATER_VV)) * logistic(vh, *_falling(_WATER_VH))


def _multilook(decibel: FloatArray, pixel_m: float) -> FloatArray:
    """Average in power, as looks are."""
    power = np.power(np.float32(10), decibel / np.float32(10), dtype=np.float32)
    smooth = gaussian_mean(power, sigma_m=_MULTILOOK_M, pixel_m=pixel_m)
    result: FloatArray = np.float32(10) * np.log10(np.maximum(smooth, np.float32(1e-6)))
    return result


def _speckle_variance(pixel_m: float) -> np.float32:
    """Variance in dB of one averaged date: trigamma of the looks on the ground it covers [2]."""
    looks = (4 * np.pi * _MULTILOOK_M**2 + pixel_m**2) / _CELL_M2
    return np.float32((10 / np.log(10)) ** 2 * special.polygamma(1, looks))


def _natural_variance(baseline_db: FloatArray, centre: FloatArray) -> FloatArray:
    """Weigh the pixel's own variance with what land does in general."""
    squared = np.square(baseline_db - centre)
    count = np.isfinite(squared).sum(axis=0).astype(np.float32)
    total = np.where(np.isfinite(squared), squared, np.float32(0)).sum(axis=0, dtype=np.float32)
    prior = np.float32(_PAST_WEIGHT * _NATURAL_DB**2)
    # One date holds no variance: its deviation from itself is not evidence of calm.
    weight = np.float32(_PAST_WEIGHT) + np.maximum(count - 1, 0)
    variance: FloatArray = (prior + total) / weight
    return variance


def _floor_variance(decibel: FloatArray) -> FloatArray:
    """Variance in dB that a noise floor of uncertain subtraction (half of it) adds."""
    ratio = np.power(np.float32(10), (np.float32(_NOISE_FLOOR_DB) - decibel) / np.float32(10))
    variance: FloatArray = np.square(np.float32(0.5 * 10 / np.log(10)) * ratio)
    return variance


def _geometry_variance(vv: FloatArray) -> FloatArray:
    """Variance in dB between unlike orbits: of land, and of the walls that face one of them."""
    wall = logistic(vv, *_WALL_VV)
    deviation = np.float32(_GEOMETRY_DB) + np.float32(_WALL_DB - _GEOMETRY_DB) * wall
    return deviation * deviation


def _kinds(
    down: NDArray[np.bool_], was_water: FloatArray, water_now: FloatArray, score: FloatArray
) -> NDArray[np.uint8]:
    """Name the change: darker to water or to lost canopy, brighter to walls or to growth."""
    fallen = np.where(water_now > 0.5, ChangeKind.WATER_GAIN, ChangeKind.VEGETATION_LOSS)
    # A wall returns VV most (double bounce), a growing canopy VH (volume).
    grown = np.where(score[0] >= score[1], ChangeKind.BUILT_UP_GAIN, ChangeKind.REGROWTH)
    risen = np.where(was_water > 0.5, ChangeKind.WATER_LOSS, grown)
    return np.where(down, fallen, risen).astype(np.uint8)
