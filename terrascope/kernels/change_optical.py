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

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from terrascope.kernels.deviation import AXES, Deviation, OpticalPast
from terrascope.kernels.evidence import (
    STRONGEST_DEVIATION,
    Evidence,
    log_likelihood_ratio,
    observed_window,
)
from terrascope.kernels.indices import INDICES, index_value
from terrascope.kernels.persistence import latest_observed, persistent_anomaly
from terrascope.kernels.smoothing import gaussian_mean
from terrascope.types import BoolArray, ChangeKind, FloatArray

__all__ = [
    "OPTICAL_BANDS",
    "OPTICAL_HALO_M",
    "check_series",
    "name_kinds",
    "pieces",
    "screen_optical",
]

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
"""Sigma of the smoothing of deviations: dates are registered to about a pixel of 10 m [2], and
the short-wave infrared has pixels of 20 m."""

OPTICAL_HALO_M: Final = 60.0
"""How far the optical screen looks around a pixel: three sigma in whole pixels of up to 28 m."""

_BARE_NDVI: Final = 0.2
"""Bare soil stays below it, Carlson & Ripley (1997), doi:10.1016/S0034-4257(97)00104-1."""

_PIECE: Final = 1 << 15
"""Pixels that are compared at a time."""

_KIND_OF_AXIS: Final = np.array(
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
"""In order of `AXES`."""


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
    check_series(baseline, target, bands, baseline_months, target_months)
    red = list(bands).index("red")
    seen = _any_seen(baseline[:, red]) & _any_seen(target[:, red])
    window = observed_window(seen)
    old, new, seen = baseline[:, :, *window], target[:, :, *window], seen[window]
    shape = seen.shape
    scores = np.full((len(AXES), *shape), np.nan, dtype=np.float32)
    start = np.full((len(AXES), *shape), -1, dtype=np.int16)
    ndvi = np.full(shape, np.nan, dtype=np.float32)
    strongest = np.zeros(shape, dtype=np.uint8)
    deviation = np.full(shape, np.nan, dtype=np.float32)
    observations = np.zeros(shape, dtype=np.uint16)
    for here in pieces(seen):
        found = _compare(old[:, :, *here], new[:, :, *here], bands, baseline_months, target_months)
        scores[:, *here], start[:, *here], ndvi[here] = found.scores, found.start, found.ndvi
        strongest[here], deviation[here] = found.strongest, found.deviation
        observations[here] = found.observations
    scores = gaussian_mean(scores, sigma_m=_SMOOTHING_M, pixel_m=pixel_m)
    known = np.isfinite(scores)
    seen = _any_seen(scores)
    best = np.where(known, scores, -np.inf).argmax(axis=0)
    support = log_likelihood_ratio(np.take_along_axis(scores, best[None], axis=0)[0])
    evidence = Evidence(
        support=np.where(seen, support, np.float32(np.nan)),
        kind=np.where(seen, name_kinds(best, ndvi), ChangeKind.NONE).astype(np.uint8),
        observations=observations,
        detected_index=np.take_along_axis(start, best[None], axis=0)[0],
        strongest=strongest,
        deviation=deviation,
    )
    return evidence.placed(window, baseline.shape[2:])


@dataclasses.dataclass(frozen=True, eq=False)
class _Comparison:
    """What a piece of the block yields, pixel by pixel."""

    scores: FloatArray
    start: NDArray[np.int16]
    ndvi: FloatArray
    strongest: NDArray[np.uint8]
    deviation: FloatArray
    observations: NDArray[np.uint16]


def _any_seen(dates: FloatArray) -> BoolArray:
    return np.asarray(np.isfinite(dates).any(axis=0), dtype=np.bool_)


def pieces(seen: BoolArray) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Cut the observed pixels into pieces that fit a processor's cache.

    Parameters
    ----------
    seen : ndarray of bool, shape (y, x)
        True where observed.

    Yields
    ------
    rows, columns : ndarray of int64, shape (pixels,)
        Of at most 32,768 pixels.
    """
    rows, columns = np.nonzero(seen)
    for first in range(0, len(rows), _PIECE):
        yield rows[first : first + _PIECE], columns[first : first + _PIECE]


def _compare(
    baseline: FloatArray,
    target: FloatArray,
    bands: Sequence[str],
    baseline_months: Sequence[int],
    target_months: Sequence[int],
) -> _Comparison:
    """Compare pixels, arrays of shape (time, band, pixel), each on its own."""
    chosen = [i for i, band in enumerate(bands) if band in OPTICAL_BANDS]
    names = tuple(bands[i] for i in chosen)
    # Fancy indexing leaves the pixel axis strided.
    baseline = np.ascontiguousarray(baseline[:, chosen])
    target = np.ascontiguousarray(target[:, chosen])
    past = OpticalPast(baseline, names, baseline_months)
    spectra = [dict(zip(names, date, strict=True)) for date in target]
    repeated = len(target) > 1
    deviations = [
        past.compare(date, month, repeated=repeated)
        for date, month in zip(spectra, target_months, strict=True)
    ]
    scores, start = [], []
    for axis in AXES:
        lasting, first = persistent_anomaly(np.stack([one.axes[axis] for one in deviations]))
        scores.append(np.minimum(lasting, np.float32(STRONGEST_DEVIATION)))
        start.append(first)
    strongest, deviation = _strongest(deviations)
    observed = np.stack([np.isfinite(one.axes["loss"]) for one in deviations]).sum(axis=0)
    return _Comparison(
        scores=np.stack(scores),
        start=np.stack(start),
        ndvi=latest_observed([index_value(INDICES["ndvi"], date) for date in spectra]),
        strongest=strongest,
        deviation=deviation,
        observations=observed.astype(np.uint16),
    )


def check_series(
    baseline: FloatArray,
    target: FloatArray,
    bands: Sequence[str],
    baseline_months: Sequence[int],
    target_months: Sequence[int],
) -> None:
    """Check that shapes, months and bands fit together.

    Parameters
    ----------
    baseline, target : ndarray of float32, shape (time, band, y, x)
        Surface reflectance.
    bands : sequence of str
        Canonical band names.
    baseline_months, target_months : sequence of int
        Calendar month of each period.

    Raises
    ------
    ValueError
        If they do not, or red or near infrared is missing.
    """
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


def name_kinds(best: NDArray[np.intp], ndvi: FloatArray) -> NDArray[np.uint8]:
    """Name the change by its direction and the ground that it left.

    Parameters
    ----------
    best : ndarray of int64, shape (y, x)
        Index into `terrascope.kernels.deviation.AXES`.
    ndvi : ndarray of float32, shape (y, x)
        After the change.

    Returns
    -------
    kinds : ndarray of uint8, shape (y, x)
        `ChangeKind`.
    """
    kinds = _KIND_OF_AXIS[best]
    bare = (kinds == ChangeKind.VEGETATION_LOSS) & (ndvi < np.float32(_BARE_NDVI))
    return np.where(bare, np.uint8(ChangeKind.BARE), kinds)


def _strongest(deviations: Sequence[Deviation]) -> tuple[NDArray[np.uint8], FloatArray]:
    """Find the index that deviates most at the end of the target."""
    code: NDArray[np.uint8] | None = None
    value: FloatArray | None = None
    for name in deviations[0].indices:
        latest = latest_observed([one.indices[name] for one in deviations])
        if code is None or value is None:
            code, value = np.full(latest.shape, name, dtype=np.uint8), latest
            continue
        stronger = np.isfinite(latest) & ~(np.abs(latest) <= np.abs(value))
        code = np.where(stronger, np.uint8(name), code)
        value = np.where(stronger, latest, value)
    assert code is not None and value is not None  # noqa: S101, PT018  # NDVI is always there
    return np.where(np.isfinite(value), code, np.uint8(0)), value
