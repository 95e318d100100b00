"""Scores against counts made by hand and by a slow loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from terrascope.evaluation.metrics import Rate, best_threshold, confusion, rate


def test_a_confusion_counted_by_hand() -> None:
    predicted = np.array([1, 1, 0, 0, 1, 1, 0], bool)
    truth = np.array([1, 0, 1, 0, 1, 1, 1], bool)
    observed = np.array([1, 1, 1, 1, 1, 0, 0], bool)
    counts = confusion(predicted, truth, observed)
    assert (counts.hits, counts.false_alarms, counts.misses, counts.rejections) == (2, 1, 1, 1)
    assert counts.precision == counts.recall == counts.f1 == pytest.approx(2 / 3)
    assert counts.iou == 0.5
    assert (counts + counts).pixels == 10


def test_nothing_to_score_is_nan() -> None:
    nothing = np.zeros(4, bool)
    counts = confusion(nothing, nothing, ~nothing)
    assert math.isnan(counts.f1)
    assert math.isnan(counts.precision)
    assert math.isnan(rate(nothing, nothing).share)
    assert math.isnan(best_threshold(np.arange(4.0), nothing, ~nothing).threshold)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="expected the same"):
        confusion(np.zeros(3, bool), np.zeros(4, bool), np.zeros(4, bool))


def test_a_rate_keeps_its_counts() -> None:
    alarm, where = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 1], bool)
    assert rate(alarm, where) == Rate(1, 3)
    assert (Rate(1, 3) + Rate(2, 3)).share == 0.5


@settings(max_examples=60, deadline=None)
@given(
    score=hnp.arrays(np.float64, 30, elements=st.sampled_from([0.0, 0.5, 1.0, 2.0, np.nan, -1.0])),
    truth=hnp.arrays(np.bool_, 30),
    observed=hnp.arrays(np.bool_, 30),
)
def test_the_best_threshold_is_that_of_a_slow_loop(
    score: np.ndarray, truth: np.ndarray, observed: np.ndarray
) -> None:
    use = observed & np.isfinite(score)
    fit = best_threshold(score, truth, observed)
    if not (truth & use).any():
        assert math.isnan(fit.threshold)
        return
    tried = [confusion(score >= t, truth, use).f1 for t in np.unique(score[use])]
    assert fit.confusion.f1 == pytest.approx(max(tried))
    assert fit.confusion == confusion(score >= fit.threshold, truth, use)
