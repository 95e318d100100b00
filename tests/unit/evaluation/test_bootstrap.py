"""Intervals against closed forms, and tables against slow sums."""

from __future__ import annotations

import math

import numpy as np
import pytest

from terrascope.evaluation.bootstrap import (
    bootstrap,
    grouped,
    macro_accuracy,
    mean_of_ratio,
)


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, 900)
    tables = grouped(range(900), ["all"] * 900, values)
    found = bootstrap(tables, mean_of_ratio, draws=4000)
    error = values.std() / math.sqrt(900)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_questions_that_share_an_image_do_not_count_as_many() -> None:
    """Ten copies of every value, drawn by image, are no more certain than one."""
    values = np.random.default_rng(1).random(100)
    once = bootstrap(grouped(range(100), ["a"] * 100, values), mean_of_ratio)
    copies = np.repeat(values, 10)
    images = np.repeat(np.arange(100), 10).tolist()
    again = bootstrap(grouped(images, ["a"] * 1000, copies), mean_of_ratio)
    assert (once.low, once.high) == pytest.approx((again.low, again.high))


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    rng = np.random.default_rng(2)
    hard = rng.random(400)
    one = (hard < 0.6).astype(float)
    other = (hard < 0.65).astype(float)  # right wherever the first is, and sometimes more
    tables = grouped(range(400), ["a"] * 400, np.stack([one, other], 1))

    def gain(sums: np.ndarray) -> np.ndarray:
        score = macro_accuracy(sums)  # (n, systems)
        return score[:, 1] - score[:, 0]

    paired = bootstrap(tables, gain)
    share = float((other - one).mean())
    error = math.sqrt(share * (1 - share) / 400)
    assert paired.low > 0
    assert paired.high - paired.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_macro_is_the_mean_of_tasks_and_micro_of_items() -> None:
    tasks = ["CA"] * 3 + ["BRD"] * 1
    tables = grouped(range(4), tasks, np.array([1.0, 0.0, 0.0, 1.0]))
    assert macro_accuracy(tables.sum(0)) == pytest.approx((1 / 3 + 1) / 2)
    assert mean_of_ratio(tables.sum(0)) == 0.5


def test_tables_sum_what_a_loop_sums_and_leave_nan_out() -> None:
    rng = np.random.default_rng(3)
    images, tasks = rng.integers(0, 5, 60).tolist(), rng.choice(["x", "y", "z"], 60).tolist()
    values = np.where(rng.random(60) < 0.2, np.nan, rng.random(60))
    tables = grouped(images, tasks, values)
    order = list(dict.fromkeys(images))
    for u, image in enumerate(order):
        for c, task in enumerate(["x", "y", "z"]):
            mine = [
                v
                for i, t, v in zip(images, tasks, values, strict=True)
                if i == image and t == task and math.isfinite(v)
            ]
            assert tables[u, c, 0] == pytest.approx(sum(mine))
            assert tables[u, c, 1] == len(mine)
    assert math.isnan(float(macro_accuracy(np.zeros((3, 2)))))


def test_nothing_to_draw_from_is_said() -> None:
    with pytest.raises(ValueError, match="no unit"):
        bootstrap(np.zeros((0, 1, 2)), mean_of_ratio)
