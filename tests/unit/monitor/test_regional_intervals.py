"""Intervals of regional answers on drawn regions with known truth: the figures of the benchmark."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[3] / "benchmarks" / "regional_answers.py"


@pytest.fixture(scope="module")
def benchmark_file() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regional_answers", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_few_regions(benchmark_file: ModuleType) -> None:
    """Not enough for a rate: estimates are near the truth, and clear regions are answered."""
    for outcome in benchmark_file.examine(range(3000, 3003)):
        figure = outcome.figure
        assert figure.low_m2 <= figure.value_m2 <= figure.high_m2 < figure.asked_m2
        assert figure.value_m2 == pytest.approx(outcome.truth_m2, rel=0.5)
        assert outcome.told == (figure.seen_share >= 0.5)


@pytest.mark.slow
def test_two_hundred_regions(benchmark_file: ModuleType) -> None:
    outcomes = benchmark_file.examine(range(200))
    for verb in benchmark_file.VERBS:
        score = benchmark_file.Score.of([o for o in outcomes if o.verb == verb])
        assert 0.85 <= score.coverage <= 0.95
        assert score.half_width <= 0.15
        assert score.abstained_clear <= 0.2
