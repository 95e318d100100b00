"""Confidence, faults and abstention."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
import torch
from scipy import stats

from terrascope.model.answers import NumberAnswer
from terrascope.model.geometry import Geometry
from terrascope.model.judgement import (
    Abstention,
    count_confidence,
    distance_confidence,
    find_fault,
    judge,
    larger_confidence,
    option_confidence,
    presence_confidence,
)
from terrascope.model.measure import Figure, Measurement, measure
from terrascope.vocabulary import QuestionKind, Unit


def figure(samples: np.ndarray) -> Figure:
    low, high = np.quantile(samples, [0.05, 0.95])
    middle = float(np.median(samples))
    return Figure(middle, middle, float(low), float(high), 0.9, samples)


def normal(mean: float, deviation: float, n: int = 999) -> np.ndarray:
    return np.asarray(stats.norm.ppf((np.arange(n) + 0.5) / n, mean, deviation))


def measured(chances: tuple[float, ...]) -> Measurement:
    """One square of 4 x 4 pixels per chance, in a row."""
    p = torch.zeros(10, 8 * len(chances))
    for k, chance in enumerate(chances):
        p[3:7, 8 * k + 2 : 8 * k + 6] = chance
    valid = torch.ones(p.shape, dtype=torch.bool)
    return measure(p, valid, Geometry.planar(tuple(p.shape), 10.0))  # type: ignore[arg-type]


def test_options_far_apart_are_certain_and_close_ones_are_not() -> None:
    sure = option_confidence(figure(normal(100, 2)), [10, 50, 100, 200])
    assert sure[2] > 0.99
    assert sum(sure) == pytest.approx(1.0)
    close = option_confidence(figure(normal(100, 10)), [95, 100, 105, 110])
    assert max(close) < 0.5
    # The option's cell by hand: from 97.5 to 102.5.
    expected = stats.norm.cdf(0.25) - stats.norm.cdf(-0.25)
    assert close[1] == pytest.approx(expected, abs=0.01)
    with pytest.raises(ValueError, match="no option"):
        option_confidence(figure(normal(1, 1)), [])


def test_rungs_speak_for_options_of_their_length() -> None:
    ladder, options = (20.0, 20.0, 150.0, 700.0, 720.0), (140.0, 710.0, 1100.0)
    found = distance_confidence(ladder, options)
    density = [
        sum(stats.t.pdf(np.log(rung / option) / 0.1, df=3) for rung in ladder) for option in options
    ]
    assert found == pytest.approx([one / sum(density) for one in density])
    assert found.index(max(found)) == 1
    # As drawn, at the second threshold, the nearest one would be the first.
    assert min(options, key=lambda option: abs(option - ladder[1])) == 140.0
    assert sum(distance_confidence((0.0,), (0.0, 50.0))) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="none to compare"):
        distance_confidence((), options)
    with pytest.raises(ValueError, match="none to compare"):
        distance_confidence(ladder, ())


def test_the_larger_of_two_by_hand() -> None:
    one, other = figure(normal(10, 3)), figure(normal(14, 4))
    expected = stats.norm.cdf((10 - 14) / 5)
    assert larger_confidence(one, other) == pytest.approx(expected, abs=0.01)
    assert larger_confidence(other, one) == pytest.approx(1 - expected, abs=0.01)
    assert larger_confidence(one, one) == pytest.approx(0.5)


def test_parts_are_counted_with_their_doubts() -> None:
    chances = (0.9, 0.8, 0.6)
    found = measured(chances)
    assert found.parts == 3
    truth = {0: 0.1 * 0.2 * 0.4, 3: 0.9 * 0.8 * 0.6}
    for count, expected in truth.items():
        assert count_confidence(found, count) == pytest.approx(expected, rel=1e-5)
    assert sum(count_confidence(found, k) for k in range(4)) == pytest.approx(1.0)
    assert count_confidence(found, 4) == count_confidence(found, -1) == 0.0


def test_presence() -> None:
    assert presence_confidence(measured((1.0, 1.0))) > 0.99
    assert presence_confidence(measured((0.0, 0.0))) < 0.01
    assert 0.2 < presence_confidence(measured((0.3,)), 0.05) < 0.8


def test_faults_are_found() -> None:
    found = measured((1.0, 0.8))  # 32 pixels drawn, 28.8 expected, of 160
    area, coverage = QuestionKind.AREA, QuestionKind.COVERAGE

    def fault(value: str, unit: Unit | None, kind: QuestionKind) -> bool:
        return find_fault(NumberAnswer(Decimal(value), unit), found, kind) is not None

    assert not fault("0.32", Unit.HECTARE, area)
    assert not fault("3200", Unit.SQUARE_METRE, area)
    assert not fault("0.29", Unit.HECTARE, area)
    assert fault("0.30", Unit.HECTARE, area)
    assert fault("32", Unit.HECTARE, area)
    assert not fault("20.0", Unit.PERCENT, coverage)
    assert fault("21.0", Unit.PERCENT, coverage)
    assert fault("0.32", Unit.HECTARE, coverage)
    assert not fault("2", None, QuestionKind.COUNT)
    assert fault("3", None, QuestionKind.COUNT)
    assert not fault("3", Unit.METRE, QuestionKind.DISTANCE)  # nothing of the kind was measured
    wrong = find_fault(NumberAnswer(Decimal(1), Unit.HECTARE), found, area)
    assert wrong is not None
    assert wrong.stated == 1e4
    assert wrong.measured == pytest.approx((3200.0, 2880.0))


def test_distances_are_checked_against_both_measured_ones() -> None:
    p, q = torch.zeros(30, 30), torch.zeros(30, 30)
    p[2:8, 2:8] = q[20:26, 2:8] = p[18, 4] = 1.0
    everywhere = torch.ones(30, 30, dtype=torch.bool)
    found = measure(p, everywhere, Geometry.planar((30, 30), 10.0), earlier=[q])
    for metres, wrong in ((20, False), (130, False), (75, True)):
        stated = NumberAnswer(Decimal(metres), Unit.METRE)
        assert (find_fault(stated, found, QuestionKind.DISTANCE) is not None) == wrong


def test_answers_that_do_not_stand_say_why() -> None:
    good = judge(0.9, QuestionKind.AREA, observed=0.95)
    assert (good.confidence, good.abstained) == (0.9, None)
    hidden = judge(0.9, QuestionKind.AREA, observed=0.2)
    assert (hidden.confidence, hidden.abstained) == (0.0, Abstention.NOT_OBSERVED)
    assert judge(0.3, QuestionKind.AREA, observed=1.0, options=True).abstained is (
        Abstention.OPTIONS_TOO_CLOSE
    )
    assert judge(0.3, QuestionKind.COMPARE, observed=1.0).abstained is Abstention.CLASSES_TOO_CLOSE
    assert judge(0.3, QuestionKind.COUNT, observed=1.0).abstained is Abstention.UNCERTAIN
    assert judge(float("nan"), QuestionKind.COUNT, observed=1.0).abstained is (
        Abstention.NOT_OBSERVED
    )
