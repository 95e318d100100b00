"""Confidence of answers: fitted weights against a known law, and what no opinion means."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from terrascope.model.confidence import AnswerConfidence, fit_answer_confidence
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.vocabulary import QuestionKind

from .samples import tiny_config

KINDS = (QuestionKind.AREA, QuestionKind.COMPARE)


def answers(count: int, seed: int = 0):
    """Draw answers that are right by a known law of both opinions."""
    rng = np.random.default_rng(seed)
    letter, support = rng.uniform(0.3, 0.99, count), rng.uniform(0.05, 0.99, count)
    support[rng.random(count) < 0.2] = np.nan
    kinds = [KINDS[n] for n in rng.integers(0, 2, count)]
    law = AnswerConfidence(
        -0.4, 0.5, 0.8, -0.3, {"area": 0.6, "compare": -0.6}, {"area": 0.5, "compare": -0.5}
    )
    p = np.array([law(k, a, b) for k, a, b in zip(kinds, letter, support, strict=True)])
    return kinds, letter, support, rng.random(count) < p, p


def test_the_law_behind_the_answers_is_found() -> None:
    kinds, letter, support, right, p = answers(20_000)
    fitted = fit_answer_confidence(kinds, letter, support, right)
    assert fitted.letter == pytest.approx(0.5, abs=0.06)
    of_area = fitted.support + fitted.supports["area"]
    of_compare = fitted.support + fitted.supports["compare"]
    assert (of_area, of_compare) == pytest.approx((1.3, 0.3), abs=0.06)
    found = np.array([fitted(*one) for one in zip(kinds, letter, support, strict=True)])
    assert np.abs(found - p).max() < 0.05


def test_weights_are_those_of_another_optimiser() -> None:
    kinds, letter, support, right, _ = answers(300, seed=1)
    fitted = fit_answer_confidence(kinds, letter, support, right)

    def loss(w: np.ndarray) -> float:
        offsets = {"area": w[4], "compare": w[5]}
        law = AnswerConfidence(*w[:4], offsets, {"area": w[6], "compare": w[7]})
        p = np.array([law(*one) for one in zip(kinds, letter, support, strict=True)])
        fit = -np.log(np.where(right, p, 1 - p)).sum()
        return fit + 0.05 * (w[1] ** 2 + w[2] ** 2) + 0.5 * w[3] ** 2 + (w[4:] ** 2).sum()

    start = np.array([0.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0])
    other = optimize.minimize(loss, start, method="BFGS").x
    mine = [fitted.base, fitted.letter, fitted.support, fitted.unsupported]
    mine += [fitted.kinds["area"], fitted.kinds["compare"]]
    mine += [fitted.supports["area"], fitted.supports["compare"]]
    assert mine == pytest.approx(other, abs=2e-3)


def test_no_letter_has_no_confidence_and_no_masks_are_no_zero() -> None:
    confidence = AnswerConfidence(0.0, 1.0, 1.0, 0.0)
    assert math.isnan(confidence(QuestionKind.AREA, math.nan, 0.9))
    assert confidence(QuestionKind.AREA, 0.7, math.nan) == pytest.approx(0.7)
    assert confidence(QuestionKind.AREA, 0.7, 0.5) == pytest.approx(0.7)
    deaf = AnswerConfidence(0.0, 1.0, 1.0, 0.0, supports={"distance": -1.0})
    assert deaf(QuestionKind.DISTANCE, 0.7, 0.99) == pytest.approx(0.7)
    assert deaf(QuestionKind.AREA, 0.7, 0.99) > 0.99
    assert 0.5 < confidence(QuestionKind.AREA, 1.0, 1.0) <= 1.0
    with pytest.raises(ValueError, match="no answer"):
        fit_answer_confidence([QuestionKind.AREA], [math.nan], [0.5], [True])


def test_it_travels_with_the_configuration(tmp_path: Path) -> None:
    fitted = AnswerConfidence(-0.4, 0.5, 0.8, -0.3, {"area": 0.6}, {"area": 0.2})
    config = tiny_config(NanoTokenizer(), answer_confidence=fitted.to_dict())
    config.save_pretrained(tmp_path)
    read = type(config).from_pretrained(tmp_path)
    assert AnswerConfidence(**read.answer_confidence) == fitted
