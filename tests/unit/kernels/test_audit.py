"""The audit of a screen: sampling on populations whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.kernels.audit import Stratum, allocate, estimate_recall

POPULATIONS = {
    "as a screen leaves it": (300, (3000, 800, 300, 100), (0.004, 0.02, 0.06, 0.2)),
    "rare": (300, (6000, 800, 300, 100), (0.0005, 0.005, 0.02, 0.1)),
    "steep": (300, (3000, 800, 300, 100), (0.0, 0.0, 0.05, 0.5)),
    "large": (1000, (9000, 3000, 1000, 500), (0.002, 0.02, 0.06, 0.2)),
}
EXPECTED = (0.005, 0.02, 0.06, 0.2)


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_interval_covers_the_recall_as_often_as_it_says(name: str) -> None:
    """Drawn without replacement from finite strata; 200 windows are looked at each time."""
    found, sizes, shares = POPULATIONS[name]
    rng = np.random.default_rng(5)
    drawn = allocate(sizes, EXPECTED, 200)
    assert sum(drawn) == 200
    covered, halves, errors = [], [], []
    for _ in range(1200):
        changed = [int(rng.binomial(s, p)) for s, p in zip(sizes, shares, strict=True)]
        hits = [
            int(rng.hypergeometric(c, s - c, n))
            for c, s, n in zip(changed, sizes, drawn, strict=True)
        ]
        strata = [Stratum(*part) for part in zip(sizes, drawn, hits, strict=True)]
        estimate = estimate_recall(found, strata)
        truth = found / (found + sum(changed))
        covered.append(estimate.low <= truth <= estimate.high)
        halves.append((estimate.high - estimate.low) / 2)
        errors.append(estimate.recall - truth)
    assert 0.85 <= np.mean(covered) <= 0.95
    assert np.median(halves) <= 0.10
    assert abs(np.mean(errors)) < 0.02


def test_everything_looked_at_is_known() -> None:
    estimate = estimate_recall(6, [Stratum(40, 40, 2), Stratum(10, 10, 0)])
    assert (estimate.recall, estimate.low, estimate.high) == (0.75, 0.75, 0.75)
    assert estimate.missed == pytest.approx(2)


def test_nothing_looked_at_is_unknown() -> None:
    assert math.isnan(estimate_recall(6, [Stratum(40, 0, 0)]).recall)
    assert estimate_recall(6, []).recall == 1.0
    assert math.isnan(estimate_recall(0, [Stratum(40, 20, 0)]).recall)
    with pytest.raises(ValueError, match="hits <= drawn <= size"):
        Stratum(3, 4, 0)


@given(
    sizes=st.lists(st.integers(0, 500), min_size=1, max_size=5),
    total=st.integers(0, 900),
    data=st.data(),
)
def test_a_sample_is_shared_out_whole(sizes: list[int], total: int, data: st.DataObject) -> None:
    shares = data.draw(st.lists(st.floats(0, 1), min_size=len(sizes), max_size=len(sizes)))
    drawn = allocate(sizes, shares, total)
    assert sum(drawn) == min(total, sum(sizes))
    assert all(0 <= n <= size for n, size in zip(drawn, sizes, strict=True))
    if total >= 2 * len(sizes):
        assert all(n >= min(2, size) for n, size in zip(drawn, sizes, strict=True))
