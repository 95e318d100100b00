"""Fitting screen and model together: what is collected, what is written, and who reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from terrascope.errors import ModelError
from terrascope.evaluation.agreement import Pixels, collect
from terrascope.evaluation.fusion import fit_fusion, reliability_of_pool, scores_of
from terrascope.evaluation.runner import Examinee
from terrascope.kernels.pooling import COMBINATIONS, EVEN, LogOddsPool
from terrascope.kernels.prevalence import AS_STATED
from terrascope.model.weights import weights_digest
from terrascope.monitor.reason.fusion import fusion_note, fusion_of, reliability_of

from ..monitor.tiny_nano import write_nano  # noqa: TID252

SEED = 2_000_000


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit a random nano on a few windows."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("nano")
    write_nano(folder)
    assert fusion_of(str(folder), ["sentinel-2"]) == EVEN
    assert "without fusion.json" in str(fusion_note(str(folder)))
    fit_fusion(Examinee.load(folder), folder, windows=9, seed=SEED)
    return folder


def test_pixels_are_those_of_windows_that_the_screen_asks_for(fitted: Path) -> None:
    found = collect(Examinee.load(fitted), 4, split="test", seed=SEED)
    assert set(found) <= set(COMBINATIONS)
    for pixels in found.values():
        for number in np.unique(pixels.window):
            here = pixels.window == number
            assert 0 < here.sum() <= 2000
            assert np.isfinite(pixels.screen[here]).all()
            assert ((pixels.model[here] >= 0) & (pixels.model[here] <= 1)).all()
    again = collect(Examinee.load(fitted), 4, split="test", seed=SEED)
    np.testing.assert_array_equal(found["both"].screen, again["both"].screen)
    np.testing.assert_array_equal(found["both"].changed, again["both"].changed)


def test_a_run_reads_what_was_fitted_for_its_sensors(fitted: Path, tmp_path: Path) -> None:
    document = json.loads((fitted / "fusion.json").read_text(encoding="utf-8"))
    assert document["fitted"]["weights"] == weights_digest(fitted)
    assert fusion_note(str(fitted)) is None
    assert {"optical", "both"} <= set(document)
    for name, sensors in COMBINATIONS.items():
        pool = fusion_of(str(fitted), sensors[::-1])
        assert pool == (LogOddsPool(**document[name]) if name in document else EVEN)
        worth = reliability_of(str(fitted), sensors)
        assert worth.version == (pool.version if name in document else AS_STATED.version)
    assert reliability_of(str(tmp_path), ["sentinel-1"]) == AS_STATED
    other = tmp_path / "other"
    shutil.copytree(fitted, other)
    with (other / "model.safetensors").open("ab") as weights:
        weights.write(b" ")
    assert "other weights" in str(fusion_note(str(other)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "found list, expected an object"),
        ("{", "expected JSON"),
        ('{"bias": 0.0, "screen": 0.5, "model": 0.5, "version": "flat"}', "optical: found None"),
        ('{"optical": {"bias": 0.0}}', r"optical: found \['bias'\], expected an object with"),
        (
            '{"optical": {"bias": 0, "screen": -1, "model": 1, "version": ""}}',
            "expected weights of 0 or more",
        ),
        (
            '{"optical": {"bias": null, "screen": 1, "model": 1, "version": ""}}',
            "expected numbers",
        ),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "fusion.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=said):
        fusion_of(str(tmp_path), ["sentinel-2"])


def test_knots_bring_stated_odds_back_to_the_true_ones() -> None:
    """Calibrated probabilities are stated twice too surely: the knots halve their odds."""
    rng = np.random.default_rng(2)
    true = rng.normal(-2, 2, 400_000)
    changed = rng.random(len(true)) < expit(true)
    stated = expit(np.clip(2 * true, -9, 9)).astype(np.float32)
    pixels = Pixels(stated, stated, changed, np.ones(len(true), np.int64))
    pool = LogOddsPool(0.0, 1.0, 0.0, "overstated")
    worth = reliability_of_pool(pixels, pool, length_m=100.0, version="test")
    share = changed.mean()
    assert worth.prior == pytest.approx(share, abs=1e-4)
    assert (worth.length_m, worth.version) == (100.0, "test")
    some = (true > -2) & (true < 3)
    found = worth.log_ratio(stated[some]) + np.log(share / (1 - share))
    assert np.abs(found - true[some]).mean() < 0.15


def test_scores_are_those_of_a_hand_made_case() -> None:
    """Odds are drawn; the truth follows the weights, so no other weights can be likelier."""
    rng = np.random.default_rng(1)
    odds = rng.normal(0, 2, (2, 40_000))
    pool = LogOddsPool(-1.0, 1.2, 0.3, "truth")
    changed = rng.random(40_000) < expit(-1.0 + 1.2 * odds[0] + 0.3 * odds[1])
    screen, model = expit(odds).astype(np.float32)
    pixels = Pixels(screen, model, changed, np.zeros(40_000, np.int64))
    scores = scores_of(pixels, pool)
    assert min(scores, key=lambda name: scores[name]["log_loss"]) == "fused"
    p = np.clip(screen.astype(np.float64), expit(-10), expit(10))
    loss = -np.where(changed, np.log(p), np.log1p(-p)).mean()
    assert scores["screen"]["log_loss"] == pytest.approx(loss, abs=2e-4)
    said = -1.0 + 1.2 * logit(p) + 0.3 * odds[1] >= 0
    f1 = 2 * (said & changed).sum() / (said.sum() + changed.sum())
    assert scores["fused"]["f1"] == pytest.approx(f1, abs=2e-3)
