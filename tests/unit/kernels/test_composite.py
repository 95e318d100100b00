"""Composites against the slow way, pixel by pixel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from terrascope.kernels.composite import (
    first_composite,
    greenest_composite,
    mean_composite,
    median_composite,
    medoid_composite,
    select,
    sorting_network,
)
from terrascope.types import NODATA_INT16

STACKS = st.integers(1, 9).flatmap(
    lambda depth: arrays(
        np.int16,
        (depth, 3, 4),
        elements=st.one_of(st.just(NODATA_INT16), st.integers(-32767, 32767)),
    )
)


@pytest.mark.parametrize("size", range(1, 12))
def test_network_sorts(size: int) -> None:
    """By the zero-one principle (Knuth 5.3.4 Z): sorts all bits, so sorts everything."""
    network = sorting_network(size)
    for bits in itertools.product((0, 1), repeat=size):
        line = list(bits)
        for i, j in network:
            line[i], line[j] = min(line[i], line[j]), max(line[i], line[j])
        assert line == sorted(line)


def slow(stack: np.ndarray, statistic: str) -> np.ndarray:
    values = np.where(stack == NODATA_INT16, np.nan, stack.astype(float))
    result = np.full(stack.shape[1:], NODATA_INT16, np.int16)
    for place in np.ndindex(*stack.shape[1:]):
        seen = values[:, place[0], place[1]]
        seen = seen[~np.isnan(seen)]
        if seen.size:
            result[place] = np.floor(getattr(np, statistic)(seen) + 0.5)
    return result


@given(STACKS)
def test_median_equals_nanmedian(stack: np.ndarray) -> None:
    before = stack.copy()
    np.testing.assert_array_equal(median_composite(stack), slow(stack, "median"))
    np.testing.assert_array_equal(stack, before)


@given(STACKS)
def test_mean_equals_nanmean(stack: np.ndarray) -> None:
    np.testing.assert_array_equal(mean_composite(stack), slow(stack, "mean"))


def test_large_planes_are_cut_into_strips() -> None:
    rng = np.random.default_rng(0)
    stack = rng.integers(-100, 9000, (7, 400, 300), dtype=np.int16)
    stack[rng.random(stack.shape) < 0.4] = NODATA_INT16
    values = np.where(stack == NODATA_INT16, np.nan, stack)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="All-NaN"):
        truth = np.floor(np.nanmedian(values, axis=0) + 0.5)
    median = median_composite(stack).astype(float)
    np.testing.assert_array_equal(np.where(median == NODATA_INT16, np.nan, median), truth)


def test_medoid_is_nearest_to_the_others() -> None:
    rng = np.random.default_rng(1)
    stack = rng.integers(0, 5000, (6, 3, 5, 7), dtype=np.int16)
    stack[rng.random((6, 5, 7)).repeat(3, 0).reshape(6, 3, 5, 7) < 0.1] = NODATA_INT16
    chosen = medoid_composite(stack)
    for y, x in np.ndindex(5, 7):
        spectra = stack[:, :, y, x].astype(float)
        whole = [i for i in range(6) if (stack[i, :, y, x] != NODATA_INT16).all()]
        cost = {i: sum(np.linalg.norm(spectra[i] - spectra[j]) for j in whole) for i in whole}
        assert chosen[y, x] in whole
        assert cost[int(chosen[y, x])] == pytest.approx(min(cost.values()))


def test_first_and_greenest() -> None:
    missing = NODATA_INT16
    stack = np.array([[[[missing, 5]], [[missing, 6]]], [[[7, 1]], [[8, 9]]]], np.int16)
    np.testing.assert_array_equal(select(stack, first_composite(stack))[:, 0], [[7, 5], [8, 6]])
    np.testing.assert_array_equal(greenest_composite(stack[:, 0], stack[:, 1]), [[1, 1]])
