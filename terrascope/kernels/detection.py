"""Detection on single dates: whether what one clear look shows is an anomaly.

Every date is compared with what the pixel itself showed in the same season of the past: in the
baseline's observations within one month of it, in any year, as OPERA's DIST-ALERT compares with
the same weeks of the years before [1]_. What leaves their range is divided by its noise, and the
likelihood ratio is weighed against the prior of the screen. It is the range and not the middle,
because spring and autumn come early or late by weeks, and a single date may fall anywhere.
Dates know nothing of each other: they may be computed in any order. What they add up to is
the fold's business (`terrascope.kernels.alerts`), which also takes the place of the screen's
smoothing over neighbours: errors of registration differ from date to date.

Optical and radar are detected separately, and radar within one relative orbit.

References
----------
.. [1] OPERA, Land Surface Disturbance Alert from HLS (DIST-ALERT), product specification, NASA/JPL:
   the baseline are the same weeks of the three years before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.kernels.change_optical import (
    OPTICAL_BANDS,
    check_series,
    name_kinds,
    pieces,
)
from terrascope.kernels.change_sar import screen_sar
from terrascope.kernels.deviation import AXES, OpticalPast
from terrascope.kernels.evidence import (
    PRIOR_LOG_ODDS,
    STRONGEST_DEVIATION,
    log_likelihood_ratio,
)
from terrascope.kernels.indices import INDICES, index_value
from terrascope.types import ChangeKind, FloatArray

__all__ = ["Detections", "anomaly_probability", "detect_optical", "detect_sar"]


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """What each date says on its own.

    Parameters
    ----------
    probability : ndarray of float32, shape (time, y, x)
        Of an anomaly; NaN where the date or the baseline did not see the pixel.
    kind : ndarray of uint8, shape (time, y, x)
        `ChangeKind` of the likeliest change, 0 where not observed.
    """

    probability: FloatArray
    kind: NDArray[np.uint8]


def anomaly_probability(support: FloatArray) -> FloatArray:
    """Weigh evidence against the screen's prior.

    Parameters
    ----------
    support : ndarray of float32
        Log-likelihood ratio, NaN where not observed.

    Returns
    -------
    probability : ndarray of float32
        0.5 where the evidence balances the prior, at 3.03 standard deviations.
    """
    odds = support + np.float32(PRIOR_LOG_ODDS)
    probability: FloatArray = np.float32(0.5) + np.float32(0.5) * np.tanh(odds / 2)
    return probability


def detect_optical(
    baseline: FloatArray,
    dates: FloatArray,
    *,
    bands: Sequence[str],
    baseline_months: Sequence[int],
    date_months: Sequence[int],
) -> Detections:
    """Compare single dates of surface reflectance with the same season of the past.

    Pixels are judged on their own; the past is read once for all dates.

    Parameters
    ----------
    baseline : ndarray of float32, shape (time, band, y, x)
        Surface reflectance before, NaN where not observed.
    dates : ndarray of float32, shape (time, band, y, x)
        Dates to judge, normalised to the baseline.
    bands : sequence of str
        Canonical band names.
    baseline_months, date_months : sequence of int
        Calendar month of each, 1 to 12.

    Returns
    -------
    detections : Detections
        Of each date.

    Raises
    ------
    ValueError
        If shapes, months and bands do not fit together, or red or near infrared is missing.
    """
    check_series(baseline, dates, bands, baseline_months, date_months)
    chosen = [i for i, band in enumerate(bands) if band in OPTICAL_BANDS]
    names = tuple(bands[i] for i in chosen)
    red = names.index("red")
    shape = (len(dates), *dates.shape[2:])
    scores = np.full((len(dates), len(AXES), *shape[1:]), np.nan, dtype=np.float32)
    ndvi = np.full(shape, np.nan, dtype=np.float32)
    baseline, dates = baseline[:, chosen], dates[:, chosen]
    known = np.isfinite(baseline[:, red]).any(axis=0) & np.isfinite(dates[:, red]).any(axis=0)
    for here in pieces(np.asarray(known)):
        past = OpticalPast(np.ascontiguousarray(baseline[:, :, *here]), names, baseline_months)
        for i, month in enumerate(date_months):
            spectra = dict(zip(names, np.ascontiguousarray(dates[i][:, *here]), strict=True))
            if not np.isfinite(spectra["red"]).any():
                continue
            axes = past.compare(spectra, month, repeated=True, seasonal_range=True).axes
            for j, axis in enumerate(AXES):
                scores[i, j, *here] = np.minimum(axes[axis], np.float32(STRONGEST_DEVIATION))
            ndvi[i, *here] = index_value(INDICES["ndvi"], spectra)
    probability = np.full(shape, np.nan, dtype=np.float32)
    kind = np.zeros(shape, dtype=np.uint8)
    for i, one in enumerate(scores):
        seen = np.isfinite(one)
        best = np.where(seen, one, -np.inf).argmax(axis=0)
        support = log_likelihood_ratio(np.take_along_axis(one, best[None], axis=0)[0])
        probability[i] = np.where(seen.any(axis=0), anomaly_probability(support), np.nan)
        kind[i] = np.where(seen.any(axis=0), name_kinds(best, ndvi[i]), ChangeKind.NONE)
    return Detections(probability, kind)


def detect_sar(
    baseline_db: FloatArray,
    dates_db: FloatArray,
    *,
    pixel_m: float,
    shift_db: NDArray[np.floating[Any]] | float = 0.0,
    one_geometry: bool = True,
) -> Detections:
    """Compare single dates of backscatter with the past of the same orbit.

    Parameters
    ----------
    baseline_db : ndarray of float32, shape (time, 2, y, x)
        VV and VH in dB before, NaN where not observed.
    dates_db : ndarray of float32, shape (time, 2, y, x)
        Dates to judge.
    pixel_m : float
        Pixel size in metres on the ground.
    shift_db : ndarray or float, broadcastable to `dates_db`
        Added to the dates: the common shift of the weather.
    one_geometry : bool
        False where the relative orbits are not known.

    Returns
    -------
    detections : Detections
        True wherever the arrays reach `SAR_HALO_M` further.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    shifted = (dates_db + shift_db).astype(np.float32, copy=False)
    found = [
        screen_sar(baseline_db, shifted[i : i + 1], pixel_m=pixel_m, one_geometry=one_geometry)
        for i in range(len(shifted))
    ]
    shape = (len(shifted), *shifted.shape[2:])
    return Detections(
        np.stack([anomaly_probability(one.support) for one in found]).reshape(shape),
        np.stack([one.kind for one in found]).reshape(shape),
    )
