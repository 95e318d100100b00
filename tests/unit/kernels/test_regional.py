"""Variances of regional totals, against sampling and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage, special, stats

from terrascope.kernels.prevalence import Reliability, fit_prevalence, posterior
from terrascope.kernels.regional import (
    Blocks,
    correlated_variance,
    total_interval,
    unseen_variance,
)


@pytest.mark.parametrize("length_px", [0.0, 1.0, 3.0])
def test_the_series_is_the_variance_of_sampled_masks(length_px: float) -> None:
    """Masks drawn through a Gaussian copula, one by one."""
    rng = np.random.default_rng(5)
    shape = (24, 30)
    probability = special.ndtr(2.0 * ndimage.gaussian_filter(rng.standard_normal(shape), 2) * 4 - 1)
    weight = rng.uniform(0.5, 1.5, shape) * (rng.random(shape) < 0.8)
    gap = np.arange(max(shape))[:, None] - np.arange(max(shape))
    if length_px:
        near = np.exp(-(gap**2) / (2 * length_px**2)) + 1e-9 * np.eye(max(shape))
    else:
        near = np.eye(max(shape))
    down, across = np.linalg.cholesky(near[:24, :24]), np.linalg.cholesky(near[:30, :30])
    fields = down @ rng.standard_normal((8000, *shape)) @ across.T
    sums = ((fields < special.ndtri(probability)) * weight).sum((1, 2))
    expected = correlated_variance(probability, weight, length_px)
    assert expected == pytest.approx(float(sums.var()), rel=0.06)


def test_sure_pixels_have_no_variance() -> None:
    assert correlated_variance(np.array([[0.0, 1.0]]), np.ones((1, 2)), 2.0) == 0.0
    assert correlated_variance(np.full((3, 3), 0.5), np.zeros((3, 3)), 2.0) == 0.0


def test_the_share_of_a_region_is_found_whatever_the_prior_was() -> None:
    """Two normal populations: the stated probabilities hold for 1 %, the region has 7 %."""
    rng = np.random.default_rng(2)
    changed = rng.random(200_000) < 0.07
    look = rng.standard_normal(200_000) + 3.0 * changed
    stated = special.expit(3.0 * look - 4.5 + math.log(0.01 / 0.99))
    ratio = Reliability(prior=0.01).log_ratio(stated)
    found = fit_prevalence(ratio, np.ones(200_000))
    assert stated.sum() < 0.8 * changed.sum()
    assert found.share == pytest.approx(changed.mean(), rel=0.02)
    assert posterior(ratio, found.share).mean() == pytest.approx(found.share, rel=1e-6)
    spread = found.share * (1 - found.share)
    p = posterior(ratio, found.share)
    assert found.sharpness == pytest.approx(1 - (p * (1 - p)).mean() / spread)


def test_the_variance_pays_for_the_estimated_share() -> None:
    errors, stated = [], []
    for seed in range(250):
        rng = np.random.default_rng(seed)
        changed = rng.random(3000) < 0.1
        ratio = 2.0 * (rng.standard_normal(3000) + 2.0 * changed) - 2.0
        fit = fit_prevalence(ratio, np.ones(3000))
        p = posterior(ratio, fit.share)
        errors.append(p.sum() - changed.sum())
        stated.append((p * (1 - p)).sum() / fit.sharpness)
    assert np.var(errors) == pytest.approx(np.mean(stated), rel=0.2)


def test_no_ground_and_no_change() -> None:
    assert fit_prevalence(np.zeros(0), np.zeros(0)).share == 0
    quiet = fit_prevalence(np.full(10, -5.0), np.ones(10), least=0.001)
    assert quiet.share == 0.001
    assert posterior(np.array([1.0, np.nan]), 0.0).tolist()[0] == 0.0


def _grid(found: np.ndarray, seen: np.ndarray, unseen: np.ndarray) -> Blocks:
    row, column = (index.ravel() for index in np.indices(found.shape))
    return Blocks(row, column, found.ravel(), seen.ravel(), unseen.ravel())


@pytest.mark.parametrize("clump", [0.0, 2.0])
def test_unseen_ground_costs_what_it_costs(clump: float) -> None:
    """Squares of change, independent or in clumps; whole squares are hidden."""
    errors, stated = [], []
    for seed in range(250):
        rng = np.random.default_rng(seed)
        field = rng.standard_normal((32, 32))
        if clump:
            field = ndimage.gaussian_filter(field, clump, mode="wrap") * 2 * clump * math.sqrt(3.1)
        truth = np.exp(0.5 * field)
        hidden = ndimage.gaussian_filter(rng.standard_normal((32, 32)), 2, mode="wrap") > 0.1
        seen, unseen = (~hidden).astype(float), hidden.astype(float)
        blocks = _grid(truth * seen, seen, unseen)
        errors.append((truth * seen).sum() / seen.sum() * unseen.sum() - (truth * unseen).sum())
        stated.append(unseen_variance(blocks))
    ratio = np.mean(stated) / np.var(errors)
    assert 0.8 < ratio < 1.7, "not less than it is, and not wildly more"


def test_nothing_unseen_and_nothing_seen() -> None:
    one = np.ones((2, 2))
    assert unseen_variance(_grid(one, one, 0 * one)) == 0
    assert math.isinf(unseen_variance(_grid(0 * one, 0 * one, one)))
    joined = Blocks.joined([_grid(one, one, one), _grid(one, one, one)])
    assert len(joined.row) == 8
    assert joined.coarser(2).found.tolist() == [8.0]


def test_intervals_are_those_of_a_gamma() -> None:
    found = total_interval(100.0, 400.0)
    expected = stats.gamma(25.0, scale=4.0).interval(0.9)
    assert (found.low, found.high) == pytest.approx(expected)
    assert total_interval(5.0, 0.0) == total_interval(5.0, 0.0, level=0.5)
    assert total_interval(0.0, 4.0).high == pytest.approx(1.6449 * 2, rel=1e-3)
    assert total_interval(3.0, math.inf, most=9.0).high == 9.0


def test_knots_turn_stated_ratios_into_true_ones() -> None:
    half_and_more = np.array([0.5, 0.01, 0.0, np.nan], np.float32)
    prior = Reliability(prior=0.5, knots=((0.0, -1.0), (2.0, 3.0)))
    assert prior.log_ratio(half_and_more)[:3] == pytest.approx([-1.0, -1.0, -1.0])
    assert prior.log_ratio(special.expit(np.array([1.0, 9.0]))) == pytest.approx([1.0, 3.0])
    assert np.isnan(prior.log_ratio(half_and_more)[3])
    with pytest.raises(ValueError, match="rising"):
        Reliability(knots=((0.0, 1.0), (1.0, 0.0)))
    with pytest.raises(ValueError, match="prior"):
        Reliability(prior=0.0)
