"""Change evidence from optical reflectance, for two dates as for a series.

Each target period is compared with what the pixel's own past predicts for that
month (`terrascope.kernels.deviation`). The anomaly has to last to the end of
the target, the deviations are smoothed over the registration error, and the
strongest direction becomes a likelihood ratio and a kind of change.

References
----------
.. [1] Zhu & Woodcock (2014), CCDC, doi:10.1016/j.rse.2014.01.011: a change is
   an anomaly that several consecutive observations confirm.
.. [2] Gascon et al. (2017), doi:10.3390/rs9060584: multi-temporal registration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from terrascope.kernels.deviation import AXES, Deviation, OpticalPast
from terrascope.kernels.evidence import STRONGEST_DEVIATION, Evidence, log_likelihood_ratio
from terrascope.kernels.indices import INDICES, index_value
from terrascope.kernels.persistence import persistent_anomaly
from terrascope.kernels.smoothing import gaussian_mean
from terrascope.types import BoolArray, ChangeKind, FloatArray

__all__ = ["OPTICAL_BANDS", "OPTICAL_HALO_M", "screen_optical"]

OPTICAL_BANDS: Final = (
    "coastal",
    "blue",
    "green",
    "red",
    "nir",
    "nir08",
    "swir16",
    "swir22",
)
"""Bands that the screen uses where they are there; red and one of nir, nir08 it needs."""

_SMOOTHING_M: Final = 10.0
"""Sigma of the smoothing of deviations: dates are registered to about 12 m [2], and the
short-wave infrared has pixels of 20 m."""

OPTICAL_HALO_M: Final = 60.0
"""How far the optical screen looks around a pixel: three sigma in whole pixels of up to 28 m."""

_BARE_NDVI: Final = 0.2
"""Bare soil stays below it, Carlson & Ripley (1997), doi:10.1016/S0034-4257(97)00104-1."""


def screen_optical(
    baseline: FloatArray,
    target: FloatArray,
    *,
    bands: Sequence[str],
    baseline_months: Sequence[int],
    target_months: Sequence[int],
    pixel_m: float,
) -> Evidence:
    """Weigh the evidence for change in optical reflectance.

    Parameters
    ----------
    baseline : ndarray of float32, shape (time, band, y, x)
        Surface reflectance before, NaN where not observed. One period is enough.
    target : ndarray of float32, shape (time, band, y, x)
        Surface reflectance after, in order of time, normalised to the baseline.
    bands : sequence of str
        Canonical band names; others than `OPTICAL_BANDS` are not looked at.
    baseline_months, target_months : sequence of int
        Calendar month of each period, 1 to 12.
    pixel_m : float
        Pixel size in metres on the ground.

    Returns
    -------
    evidence : Evidence
        True wherever the array reaches `OPTICAL_HALO_M` further.

    Raises
    ------
    ValueError
        If shapes, months and bands do not fit together, or red or near infrared is missing.
    """
    _check(baseline, target, bands, baseline_months, target_months)
    chosen = [i for i, band in enumerate(bands) if band in OPTICAL_BANDS]
    names = tuple(bands[i] for i in chosen)
    past = OpticalPast(baseline[:, chosen], names, baseline_months)
    spectra = [dict(zip(names, date[chosen], strict=True)) for date in target]
    deviations = [
        past.compare(date, month, repeated=len(target) > 1)
        for date, month in zip(spectra, target_months, strict=True)
    ]
    persistent, start = [], []
    for axis in AXES:
        lasting, first = persistent_anomaly(np.stack([one.axes[axis] for one in deviations]))
        bounded = np.minimum(lasting, np.float32(STRONGEST_DEVIATION))
        persistent.append(gaussian_mean(bounded, sigma_m=_SMOOTHING_M, pixel_m=pixel_m))
        start.append(first)
    scores = np.stack(persistent)
    seen: BoolArray = np.asarray(np.isfinite(scores).any(axis=0))
    best = np.where(np.isfinite(scores), scores, -np.inf).argmax(axis=0)
    support = log_likelihood_ratio(np.take_along_axis(scores, best[None], axis=0)[0])
    strongest, deviation = _strongest(deviations, seen)
    observed = np.stack([np.isfinite(one.axes["loss"]) for one in deviations]).sum(axis=0)
    return Evidence(
        support=np.where(seen, support, np.float32(np.nan)),
        kind=np.where(seen, _kinds(best, spectra), ChangeKind.NONE).astype(np.uint8),
        observations=observed.astype(np.uint16),
        detected_index=np.take_along_axis(np.stack(start), best[None], axis=0)[0],
        strongest=strongest,
        deviation=deviation,
    )


def _check(
    baseline: FloatArray,
    target: FloatArray,
    bands: Sequence[str],
    baseline_months: Sequence[int],
    target_months: Sequence[int],
) -> None:
    expected = (len(bands), *baseline.shape[2:])
    if baseline.shape != (len(baseline_months), *expected) or not baseline_months:
        raise ValueError(
            f"baseline of shape {baseline.shape}: expected {len(baseline_months)} months and "
            f"{len(bands)} bands, at least one of each"
        )
    if target.shape != (len(target_months), *expected) or not target_months:
        raise ValueError(
            f"target of shape {target.shape}: expected {(len(target_months), *expected)}"
        )
    if "red" not in bands or not {"nir", "nir08"} & set(bands):
        raise ValueError(f"bands {tuple(bands)}: the screen needs red and one of nir, nir08")


def _latest(values: Sequence[FloatArray]) -> FloatArray:
    """Take each pixel's last observed value."""
    latest = values[0]
    for value in values[1:]:
        latest = np.where(np.isfinite(value), value, latest)
    return latest


def _kinds(
    best: NDArray[np.intp], spectra: Sequence[Mapping[str, FloatArray]]
) -> NDArray[np.uint8]:
    """Name the change by its direction and the ground that it left."""
    ndvi = _latest([index_value(INDICES["ndvi"], date) for date in spectra])
    by_axis = np.array(
        [
            ChangeKind.VEGETATION_LOSS,
            ChangeKind.VEGETATION_LOSS,
            ChangeKind.REGROWTH,
            ChangeKind.WATER_GAIN,
            ChangeKind.WATER_LOSS,
            ChangeKind.BUILT_UP_GAIN,
        ],
        dtype=np.uint8,
    )
    kinds = by_axis[best]
    bare = (kinds == ChangeKind.VEGETATION_LOSS) & (ndvi < np.float32(_BARE_NDVI))
    return np.where(bare, np.uint8(ChangeKind.BARE), kinds)


def _strongest(
    deviations: Sequence[Deviation], seen: BoolArray
) -> tuple[NDArray[np.uint8], FloatArray]:
    """Find the index that deviates most at the end of the target."""
    code = np.zeros(seen.shape, dtype=np.uint8)
    value = np.full(seen.shape, np.nan, dtype=np.float32)
    for name in deviations[0].indices:
        latest = _latest([one.indices[name] for one in deviations])
        with np.errstate(invalid="ignore"):
            stronger = seen & ~(np.abs(latest) <= np.abs(value)) & np.isfinite(latest)
        code[stronger] = name
        value = np.where(stronger, latest, value)
    return code, value
