"""Blending: windows that agree leave no trace, and the sum is that of a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.kernels.blend import Mosaic, first_and_last, reasoned, taper, total_weight


@given(
    start=st.integers(-50, 5000),
    length=st.integers(1, 200),
    size=st.integers(1, 64),
    data=st.data(),
)
def test_windows_that_touch_a_span(start: int, length: int, size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size))
    first, last = first_and_last(start, start + length, size, stride)
    touching = [
        i
        for i in range(first - 3, last + 4)
        if i * stride < start + length and i * stride + size > start
    ]
    assert touching == list(range(first, last + 1))


@settings(max_examples=30)
@given(start=st.integers(0, 300), size=st.integers(4, 16), seed=st.integers(0, 99), data=st.data())
def test_the_mosaic_is_the_weighted_mean(
    start: int, size: int, seed: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(size // 2, size))
    rng = np.random.default_rng(seed)
    side = 23
    first, last = first_and_last(start, start + side, size, stride)
    mosaic = Mosaic(side, side, 2, size=size, stride=stride)
    weight = taper(size, size - stride)
    total, share = np.zeros((2, side, side)), np.zeros((side, side))
    parts: list[tuple[np.ndarray, np.ndarray]] = []

    def take(until: int) -> None:
        while mosaic.top < until:
            parts.append(mosaic.take(min(size, until - mosaic.top)))

    for i in range(first, last + 1):
        for j in range(first, last + 1):
            if rng.random() < 0.3:
                continue
            maps = rng.normal(size=(2, size, size)).astype(np.float32)
            row, column = i * stride - start, j * stride - start
            take(max(row, 0))
            mosaic.add(row, column, maps)
            for y in range(size):
                for x in range(size):
                    if 0 <= row + y < side and 0 <= column + x < side:
                        total[:, row + y, column + x] += weight[y, x] * maps[:, y, x]
                        share[row + y, column + x] += weight[y, x]
    take(side)
    found = np.concatenate([maps for maps, _ in parts], 1)
    weights = np.concatenate([some for _, some in parts])
    np.testing.assert_allclose(weights, share, atol=1e-5)
    there = share > 0
    assert np.isnan(found[:, ~there]).all()
    np.testing.assert_allclose(found[:, there], total[:, there] / share[there], atol=1e-3)


def test_the_weight_of_all_windows_is_that_of_their_sum() -> None:
    size, stride, start, length = 12, 8, 30, 25
    first, last = first_and_last(start, start + length, size, stride)
    mosaic = Mosaic(size, length, 1, size=size, stride=stride)
    flat = np.zeros((1, size, size), np.float32)
    for j in range(first, last + 1):
        mosaic.add(0, j * stride - start, flat)
    weight = mosaic.take(size)[1]
    np.testing.assert_allclose(
        weight[size // 2], total_weight(start, length, size, stride), atol=1e-6
    )


def test_the_line_beside_a_window_left_out_lies_in_the_middle_of_the_overlap() -> None:
    size, stride = 16, 12
    line = total_weight(0, 28, size, stride)
    mosaic = Mosaic(16, 28, 1, size=size, stride=stride)
    mosaic.add(0, 0, np.zeros((1, size, size), np.float32))
    weight = mosaic.take(16)[1]
    complete = np.broadcast_to(taper(size, size - stride)[:, 8:9] * line, weight.shape)
    row = reasoned(weight, complete.astype(np.float32))[8]
    assert row[2:14].all()
    assert not row[14:].any()


def test_rows_that_were_taken_are_gone() -> None:
    mosaic = Mosaic(8, 8, 1, size=4, stride=3)
    mosaic.take(2)
    with pytest.raises(ValueError, match="were taken"):
        mosaic.add(1, 0, np.zeros((1, 4, 4), np.float32))
    with pytest.raises(ValueError, match="expected 1 to 4"):
        first_and_last(0, 8, 4, 5)
