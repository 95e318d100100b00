"""Fusing two probabilities: weights that come back, and evidence that is never turned around."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from terrascope.kernels.pooling import EVEN, LogOddsPool, fit_pool, log_odds


def drawn(
    count: int = 20_000, weights: tuple[float, float, float] = (-1.0, 0.7, 0.4)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    odds = rng.normal(0, 2, (2, count))
    total = weights[0] + weights[1] * odds[0] + weights[2] * odds[1]
    changed = rng.random(count) < 1 / (1 + np.exp(-total))
    screen, model = (1 / (1 + np.exp(-odds))).astype(np.float32)
    return screen, model, changed


def test_the_fit_is_the_likeliest_one() -> None:
    screen, model, changed = drawn()
    pool = fit_pool(screen, model, changed, version="test")
    design = np.stack([np.ones(len(changed)), log_odds(screen), log_odds(model)], 1)

    def cost(weights: np.ndarray) -> float:
        total = design @ weights
        likelihood = np.logaddexp(0, np.where(changed, -total, total)).sum()
        return float(likelihood + 0.5 * ((weights[1:] - 0.5) ** 2).sum())

    best = minimize(cost, np.zeros(3), method="BFGS").x
    np.testing.assert_allclose([pool.bias, pool.screen, pool.model], best, atol=1e-3)
    np.testing.assert_allclose(best, (-1.0, 0.7, 0.4), atol=0.08)


def test_a_pixel_counts_what_it_weighs_and_the_bias_may_be_left_out() -> None:
    screen, model, changed = drawn(4_000)
    twice = np.arange(len(changed)) % 3 == 0
    repeated = [np.concatenate([a, a[twice]]) for a in (screen, model, changed)]
    weighed = fit_pool(screen, model, changed, version="test", weight=1.0 + twice)
    again = fit_pool(*repeated, version="test")
    assert (weighed.bias, weighed.screen, weighed.model) == pytest.approx(
        (again.bias, again.screen, again.model), abs=1e-8
    )
    pool = fit_pool(screen, model, changed, version="test", weight=1.0 + twice, biased=False)
    design = np.stack([log_odds(repeated[0]), log_odds(repeated[1])], 1)

    def cost(weights: np.ndarray) -> float:
        total = design @ weights
        likelihood = np.logaddexp(0, np.where(repeated[2], -total, total)).sum()
        return float(likelihood + 0.5 * ((weights - 0.5) ** 2).sum())

    best = minimize(cost, np.zeros(2), method="BFGS").x
    assert pool.bias == 0.0
    np.testing.assert_allclose([pool.screen, pool.model], best, atol=1e-3)


def test_evidence_that_misleads_is_left_out() -> None:
    screen, model, changed = drawn(weights=(0.0, 1.0, -0.5))
    pool = fit_pool(screen, model, changed, version="test")
    assert pool.model == 0.0
    assert pool.screen > 0.5
    with pytest.raises(ValueError, match="pixels that changed"):
        fit_pool(screen, model, np.zeros_like(changed), version="test")


def test_where_the_model_did_not_look_the_screen_decides() -> None:
    screen = np.array([0.2, 0.9, np.nan, 0.5], np.float32)
    model = np.array([np.nan, 0.9, 0.8, 0.5], np.float32)
    fused = EVEN.fuse(screen, model)
    np.testing.assert_allclose(fused, [0.2, 0.9, np.nan, 0.5], atol=1e-6)
    sure = LogOddsPool(0.0, 1.0, 1.0, "sum").fuse(screen, model)
    assert sure[1] == pytest.approx(81 / 82, abs=1e-5)
    assert np.abs(log_odds(np.array([0.0, 1.0], np.float32))).max() == 10
