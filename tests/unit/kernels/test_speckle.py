"""The speckle filter: unbiased, smoother on even ground, faithful to edges, local."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve

from terrascope.kernels.speckle import LEE_REACH, LOOKS, box_sum, lee_filter


def speckled(mean: np.ndarray, looks: float, seed: int = 0) -> np.ndarray:
    """Multiply by gamma-distributed speckle."""
    rng = np.random.default_rng(seed)
    return (mean * rng.gamma(looks, 1 / looks, mean.shape)).astype(np.float32)


def test_box_sum_equals_a_convolution() -> None:
    values = np.random.default_rng(1).random((17, 23), np.float32)
    truth = convolve(values.astype(float), np.ones((5, 5)), mode="constant")
    np.testing.assert_allclose(box_sum(values), truth, rtol=1e-6)


def test_even_ground_gets_smoother_without_bias() -> None:
    power = speckled(np.full((200, 200), 0.1), LOOKS)
    filtered = lee_filter(power, LOOKS)
    assert abs(filtered.mean() / power.mean() - 1) < 0.01
    assert filtered.std() < 0.5 * power.std()


def test_edges_and_bright_targets_stay() -> None:
    mean = np.full((60, 60), 0.02)
    mean[:, 30:] = 0.5
    mean[20, 10] = 40.0
    filtered = lee_filter(speckled(mean, LOOKS), np.float32(LOOKS))
    assert filtered[20, 10] > 20
    assert filtered[:, 24].mean() < 0.03
    assert filtered[5:15, 36].mean() > 0.35


def test_missing_stays_missing_and_does_not_spread() -> None:
    power = speckled(np.full((30, 30), 0.1), LOOKS)
    power[10:14, 5:9] = np.nan
    filtered = lee_filter(power, LOOKS)
    np.testing.assert_array_equal(np.isnan(filtered), np.isnan(power))
    assert 0.02 < filtered[9, 5] < 0.4


def test_a_pixel_knows_only_its_neighbourhood() -> None:
    power = speckled(np.full((40, 50), 0.1), LOOKS)
    whole = lee_filter(power, LOOKS)
    part = lee_filter(power[5:31, 9:44], LOOKS)
    inner = slice(LEE_REACH, -LEE_REACH), slice(LEE_REACH, -LEE_REACH)
    np.testing.assert_array_equal(part[inner], whole[5:31, 9:44][inner])
