"""Scores of masks against slow loops and cases done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from terrascope.evaluation.overlap import boundary_iou, mask_iou, sample_iou

MASKS = hnp.arrays(np.bool_, (9, 7))


@settings(max_examples=50, deadline=None)
@given(predicted=MASKS, truth=MASKS, valid=MASKS)
def test_iou_is_that_of_sets(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> None:
    one = {tuple(place) for place in np.argwhere(predicted) if valid[tuple(place)]}
    other = {tuple(place) for place in np.argwhere(truth) if valid[tuple(place)]}
    expected = len(one & other) / len(one | other) if one | other else 1.0
    assert mask_iou(predicted, truth, valid) == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(predicted=MASKS, truth=MASKS, width=st.integers(1, 3))
def test_the_rim_is_what_lies_within_reach_of_the_outside(
    predicted: np.ndarray, truth: np.ndarray, width: int
) -> None:
    def rim(mask: np.ndarray) -> np.ndarray:
        found = np.zeros_like(mask)
        for row, column in np.argwhere(mask):
            near = mask[max(row - width, 0) : row + width + 1, max(column - width, 0) :]
            found[row, column] = not near[:, : width + 1 + min(column, width)].all()
        return found

    expected = mask_iou(rim(predicted), rim(truth))
    assert boundary_iou(predicted, truth, width_px=width) == pytest.approx(expected)


def test_a_shifted_square_has_a_worse_boundary_than_area() -> None:
    truth = np.zeros((40, 40), bool)
    truth[10:30, 10:30] = True
    moved = np.roll(truth, 1, axis=1)
    assert mask_iou(moved, truth) == pytest.approx(19 / 21)
    rim = 20 * 20 - 16 * 16
    # Of a rim two pixels wide, the sides along the shift keep all but the ends, the others half.
    assert boundary_iou(moved, truth) == pytest.approx((2 * 2 * 19 + 2 * 16) / (2 * rim - 108))


def test_a_window_that_is_all_mask_has_no_rim() -> None:
    full = np.ones((8, 8), bool)
    assert boundary_iou(full, full) == 1.0
    assert boundary_iou(full, ~full) == 1.0
    assert mask_iou(full, ~full) == 0.0


def test_missing_masks_count_nothing() -> None:
    assert sample_iou([0.5, None]) == 0.25
    assert sample_iou([1.0]) == 1.0
    assert math.isnan(sample_iou([]))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="same shape"):
        mask_iou(np.zeros((3, 3), bool), np.zeros((4, 4), bool))
