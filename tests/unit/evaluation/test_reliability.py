"""Calibration scores in closed form and against slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from terrascope.evaluation.reliability import reliability, risk_coverage

LEVELS = st.sampled_from([0.0, 0.07, 0.2, 0.5, 0.71, 1.0])


@settings(max_examples=50, deadline=None)
@given(
    probability=hnp.arrays(np.float64, 25, elements=LEVELS),
    happened=hnp.arrays(np.bool_, 25),
)
def test_ece_is_that_of_a_slow_loop(probability: np.ndarray, happened: np.ndarray) -> None:
    expected = 0.0
    for k in range(15):
        low, high = k / 15, (k + 1) / 15
        inside = (probability >= low) & ((probability < high) | ((k == 14) & (probability == 1)))
        if inside.any():
            gap = abs(probability[inside].mean() - happened[inside].mean())
            expected += gap * inside.sum() / 25
    assert reliability(probability, happened).ece == pytest.approx(expected)


def test_true_statements_have_no_error_and_sure_wrong_ones_have_it_all() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    assert reliability(p, rng.random(200_000) < p).ece < 0.005
    assert reliability(np.ones(10), np.zeros(10, bool)).ece == 1.0
    assert math.isnan(reliability(np.full(3, np.nan), np.ones(3, bool)).ece)


def test_batches_add_up() -> None:
    rng = np.random.default_rng(1)
    p, y = rng.random(100), rng.random(100) < 0.5
    parts = reliability(p[:40], y[:40]) + reliability(p[40:], y[40:])
    assert parts.ece == pytest.approx(reliability(p, y).ece)


def test_no_probability_is_above_one() -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        reliability(np.array([1.2]), np.array([True]))


@settings(max_examples=50, deadline=None)
@given(confidence=hnp.arrays(np.float64, 20, elements=LEVELS), right=hnp.arrays(np.bool_, 20))
def test_accuracy_of_the_surest_is_the_mean_over_orders_of_equals(
    confidence: np.ndarray, right: np.ndarray
) -> None:
    curve = risk_coverage(confidence, right)
    assert curve.accuracy_at(1.0) == pytest.approx(right.mean())
    kept = 8
    border = np.sort(confidence)[::-1][kept - 1]
    above, equal = confidence > border, confidence == border
    expected = right[above].sum() + right[equal].mean() * (kept - above.sum())
    assert curve.accuracy_at(kept / 20) == pytest.approx(expected / kept)


def test_a_perfect_order_loses_no_right_answer_until_they_are_used_up() -> None:
    right = np.arange(100) < 60
    curve = risk_coverage(np.linspace(1, 0, 100), right)
    assert curve.accuracy_at(0.6) == 1.0
    assert curve.accuracy_at(0.8) == pytest.approx(0.75)
    assert curve.area == pytest.approx(sum(max(0, n - 60) / n for n in range(1, 101)) / 100)
