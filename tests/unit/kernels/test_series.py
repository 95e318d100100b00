"""Seasonal reference, persistence and smoothing against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from terrascope.kernels.persistence import persistent_anomaly
from terrascope.kernels.seasonal import month_distance, nan_median, seasonal_reference
from terrascope.kernels.smoothing import gaussian_mean

VALUES = st.one_of(
    st.just(np.nan), st.floats(-8, 8, width=16, allow_nan=False, allow_infinity=False)
)
SERIES = st.integers(1, 7).flatmap(lambda n: hnp.arrays(np.float32, (n, 2, 3), elements=VALUES))


@given(SERIES)
@settings(deadline=None, max_examples=60)
def test_median_skips_what_is_missing(stack):
    result = nan_median(stack)
    for at in np.ndindex(stack.shape[1:]):
        seen = [v for v in stack[(slice(None), *at)] if np.isfinite(v)]
        if seen:
            assert result[at] == pytest.approx(np.median(seen), abs=1e-6)
        else:
            assert np.isnan(result[at])


def test_month_distance_runs_around_the_year():
    assert [month_distance(1, m) for m in (12, 1, 2, 7, 8)] == [1, 0, 1, 6, 5]


def test_reference_takes_the_nearest_months_that_were_seen():
    baseline = np.arange(12, dtype=np.float32).reshape(12, 1, 1) * np.ones((12, 1, 3), np.float32)
    baseline[4:9, 0, 1] = np.nan
    baseline[:, 0, 2] = np.nan
    months = list(range(1, 13))
    reference, reach = seasonal_reference(baseline, months, 7)
    assert reference[0, 0] == 6
    # June to August are missing, May and September too: any month then.
    assert reference[0, 1] == np.median([0, 1, 2, 3, 9, 10, 11])
    assert reach[0, 1] > 2
    assert np.isnan(reference[0, 2])


def _slow_persistent(series):
    """Best suffix: lower median of what was seen, times the agreement of its periods."""
    seen = [i for i, v in enumerate(series) if np.isfinite(v)]
    if not seen:
        return np.nan, -1
    needed = min(len(seen), max(2, -(-len(seen) // 4)))
    best, start = -np.inf, -1
    for i in reversed(seen):
        tail = sorted(v for v in series[i:] if np.isfinite(v))
        if len(tail) < needed:
            continue
        middle = tail[(len(tail) - 1) // 2]
        if series[i] < min(middle, middle / 2):
            continue
        value = middle * np.sqrt(2 * len(tail) / (len(tail) + 1))
        if value > best:
            best, start = value, i
    return best, start


@given(SERIES)
@settings(deadline=None, max_examples=80)
def test_persistence_agrees_with_its_definition(stack):
    value, start = persistent_anomaly(stack)
    for at in np.ndindex(stack.shape[1:]):
        best, first = _slow_persistent(stack[(slice(None), *at)].astype(np.float64))
        if first < 0:
            assert np.isnan(value[at])
            assert start[at] == -1
        else:
            assert value[at] == pytest.approx(best, abs=1e-4)
            tail = stack[(slice(start[at], None), *at)].astype(np.float64)
            tail = np.sort(tail[np.isfinite(tail)])
            agreement = np.sqrt(2 * len(tail) / (len(tail) + 1))
            assert tail[(len(tail) - 1) // 2] * agreement == pytest.approx(best, abs=1e-4)


def test_one_missed_cloud_is_no_change():
    stack = np.array([0.1, 9.0, 0.2], np.float32).reshape(3, 1, 1)
    value, _ = persistent_anomaly(stack)
    assert value[0, 0] < 1


def test_smoothing_agrees_with_a_loop_and_keeps_gaps():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((9, 11)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    result = gaussian_mean(values, sigma_m=10, pixel_m=10)
    assert (np.isnan(result) == np.isnan(values)).all()
    for y, x in np.argwhere(np.isfinite(values)):
        total = weight = 0.0
        for v, u in np.argwhere(np.isfinite(values)):
            if max(abs(v - y), abs(u - x)) <= 3:
                w = np.exp(-0.5 * ((v - y) ** 2 + (u - x) ** 2))
                total, weight = total + w * values[v, u], weight + w
        assert result[y, x] == pytest.approx(total / weight, abs=1e-5)
    assert gaussian_mean(values, sigma_m=10, pixel_m=120) is values
