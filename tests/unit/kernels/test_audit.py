"""The audit of a screen: sampling on populations whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.kernels.audit import Stratum, allocate, estimate_recall, least_half_width

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


def test_the_floor_is_the_spread_of_a_plain_random_sample_where_scores_say_nothing() -> None:
    """Of 1,425 windows 71 changed, 75 were found among as many: R = 0.51, p = 5 %."""
    found, size, changed, drawn = 75, 1425, 71, 200
    floor = least_half_width(found, [changed / size] * size, drawn)
    p, recall = changed / size, found / (found + changed)
    by_hand = 1.6449 * recall * (1 - recall) * math.sqrt((1 - p) / (drawn * p) * (1 - drawn / size))
    assert floor == pytest.approx(by_hand, rel=1e-3)
    assert floor == pytest.approx(0.118, abs=0.001)
    rng = np.random.default_rng(2)
    hits = rng.hypergeometric(changed, size - changed, drawn, 40_000)
    slope = recall * (1 - recall) / changed  # of the recall in what is missed
    assert 1.6449 * slope * np.std(hits / drawn * size) == pytest.approx(floor, rel=0.02)
    with pytest.raises(ValueError, match="more than none"):
        least_half_width(3, [0.0, 0.0], 10)


def test_skill_lowers_the_floor() -> None:
    even = least_half_width(100, [0.05] * 1000, 200)
    skilled = least_half_width(100, [0.23] * 200 + [0.005] * 800, 200)
    assert skilled < 0.8 * even
    assert least_half_width(100, [1.0] * 20 + [0.0] * 980, 20) == 0.0


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_a_screen_without_skill_is_known_as_well_as_can_be(share: float) -> None:
    """One stratum, half of all windows let through; below 7.8 % of change 0.10 is out of reach."""
    size, drawn = 3000, 200
    found = round(size * share)
    rng = np.random.default_rng(8)
    covered, halves, wanted = [], [], []
    for _ in range(1500):
        changed = int(rng.binomial(size, share))
        hits = int(rng.hypergeometric(changed, size - changed, drawn))
        estimate = estimate_recall(found, [Stratum(size, drawn, hits)])
        covered.append(estimate.low <= found / (found + changed) <= estimate.high)
        halves.append((estimate.high - estimate.low) / 2)
        wanted.append(estimate.wanted)
    floor = least_half_width(found, [share] * size, drawn)
    assert 0.85 <= np.mean(covered) <= 0.95
    assert np.median(halves) == pytest.approx(floor, rel=0.1)
    assert (floor > 0.10) == (share < 0.078)
    assert (np.median(wanted) > drawn) == (share < 0.078)


def test_an_audit_of_the_size_that_is_asked_for_is_narrow_enough() -> None:
    size, share, found = 3000, 0.05, 150
    rng = np.random.default_rng(4)

    def audit(drawn: int) -> tuple[float, int]:
        changed = round(size * share)
        hits = rng.hypergeometric(changed, size - changed, drawn, 400)
        said = [estimate_recall(found, [Stratum(size, drawn, int(h))]) for h in hits]
        halves = [(one.high - one.low) / 2 for one in said]
        return float(np.median(halves)), int(np.median([one.wanted for one in said]))

    wide, wanted = audit(200)
    assert wide > 0.11
    assert wanted > 200
    narrow, _ = audit(wanted)
    assert narrow == pytest.approx(0.10, rel=0.05)
