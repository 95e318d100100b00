"""Wrong masks: how wrong they are, that figures follow them, and what is exact."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from terrascope.data.perturb import Perturbation, perturb


def disc(radius: float = 14.0, side: int = 64) -> np.ndarray:
    down, across = np.mgrid[:side, :side]
    return (down - 30.0) ** 2 + (across - 27.0) ** 2 < radius**2


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_nothing_is_wrong_where_nothing_is_to_be() -> None:
    exact = perturb(disc(), Perturbation(share=0.0), np.random.default_rng(0))
    assert exact.dtype == np.float32
    np.testing.assert_array_equal(exact, disc())


def test_masks_are_a_little_wrong_and_soft_only_at_the_rim() -> None:
    settings = Perturbation(share=1.0, gross_share=0.0, blobs=0.0)
    rim = ndimage.binary_dilation(disc(), iterations=6) & ~ndimage.binary_erosion(
        disc(), iterations=6
    )
    found, haze = [], []
    for seed in range(60):
        probability = perturb(disc(), settings, np.random.default_rng(seed))
        assert probability.min() >= 0
        assert probability.max() <= 1
        soft = (probability > 0.001) & (probability < 0.999)
        assert soft.any()
        haze.append(float((soft & ~rim).mean()))
        found.append(overlap(probability > 0.5, disc()))
    assert 0.75 < np.median(found) < 0.99
    assert np.std(found) > 0.01
    assert np.median(haze) == 0
    assert np.mean(haze) < 0.01


def test_growth_and_shrinkage_are_as_likely() -> None:
    settings = Perturbation(share=1.0, gross_share=0.0)
    areas = [
        float(perturb(disc(), settings, np.random.default_rng(seed)).sum()) for seed in range(200)
    ]
    larger = np.mean(np.array(areas) > disc().sum())
    assert 0.3 < larger < 0.7
    assert np.mean(areas) == pytest.approx(disc().sum(), rel=0.06)


def test_some_are_of_something_else_altogether() -> None:
    rng = np.random.default_rng(1)
    settings = Perturbation(share=1.0, gross_share=1.0)
    found = [overlap(perturb(disc(), settings, rng) > 0.5, disc()) for _ in range(20)]
    assert np.median(found) < 0.4


def test_an_empty_mask_may_get_a_blob_but_seldom() -> None:
    empty = np.zeros((48, 48), np.bool_)
    rng = np.random.default_rng(2)
    filled = [bool((perturb(empty, Perturbation(), rng) > 0.5).any()) for _ in range(200)]
    assert 0.02 < np.mean(filled) < 0.5


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="expected shares"):
        Perturbation(share=1.5)
    with pytest.raises(ValueError, match="expected shares"):
        Perturbation(softness=(0.0, 1.0))
