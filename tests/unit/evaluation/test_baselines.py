"""Baselines: they learn what is learnable, measure what they are given, and come back from disk."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from terrascope.data.scenes import ANY_CHANGE, DESTROYED
from terrascope.evaluation.baselines.boosting import (
    BoostingPredictor,
    features_of,
    train_boosting,
)
from terrascope.evaluation.baselines.indices import IndexPredictor
from terrascope.evaluation.baselines.protocol import Labels, Predictor, labels_of, mask_of
from terrascope.evaluation.baselines.text_only import train_text_only
from terrascope.evaluation.baselines.unet import UNet, UNetPredictor, UNetSettings, train_unet
from terrascope.evaluation.items import BenchItem
from terrascope.evaluation.making import items_from
from terrascope.evaluation.outcomes import chance, summary
from terrascope.evaluation.pixels import run_predictor
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.sensors import S2_BANDS
from terrascope.vocabulary import CLASS_CODES

from .land import scenes

PROCESSOR = TerrascopeProcessor()


def batches(first: int, count: int, size: int = 4) -> list[Labels]:
    drawn = scenes(first)
    return [labels_of(list(itertools.islice(drawn, size)), PROCESSOR) for _ in range(count)]


def cover_accuracy(predictor: Predictor, labels: Labels) -> float:
    found = predictor.cover(labels.windows).argmax(2) + 1
    known = labels.cover > 0
    return float((found == labels.cover)[known].float().mean())


@pytest.fixture(scope="module")
def unet() -> UNetPredictor:
    settings = UNetSettings(width=16, steps=100, rate=1e-2)
    return train_unet(itertools.cycle(batches(500, 12, size=2)), settings)


@pytest.fixture(scope="module")
def boosting() -> BoostingPredictor:
    pytest.importorskip("lightgbm")
    return train_boosting(batches(500, 6), pixels_per_image=150, rounds=15, leaves=15)


def test_the_unet_learns_the_spectra(unet: UNetPredictor, tmp_path: Path) -> None:
    labels = batches(900, 1)[0]
    assert cover_accuracy(unet, labels) > 0.8
    probability = unet.cover(labels.windows)
    assert torch.allclose(probability.sum(2), torch.ones(()))
    unet.save(tmp_path / "unet.safetensors")
    again = UNetPredictor.load(tmp_path / "unet.safetensors", width=16)
    assert torch.equal(again.cover(labels.windows), probability)
    assert sum(p.numel() for p in UNet().parameters()) == pytest.approx(1.9e6, rel=0.05)


def test_boosting_learns_the_spectra_and_the_changes(
    boosting: BoostingPredictor, tmp_path: Path
) -> None:
    labels = batches(900, 1)[0]
    assert cover_accuracy(boosting, labels) > 0.95
    kinds = boosting.change(labels.windows, 0, 1).argmax(1)
    truth = torch.stack([kind for *_, kind in labels.changes])
    assert float((kinds == truth).float().mean()) > 0.97
    boosting.save(tmp_path)
    again = BoostingPredictor.load(tmp_path)
    assert torch.allclose(again.cover(labels.windows), boosting.cover(labels.windows))


def test_features_are_nan_where_a_sensor_is_missing() -> None:
    windows = batches(1, 1, size=1)[0].windows
    features = features_of(windows.without(radar=True))
    assert np.isnan(features[..., 12:14]).all()
    red, nir = (windows.optical[0, 0, list(S2_BANDS).index(name)] for name in ("red", "nir"))
    ndvi = ((nir - red) / (nir + red)).numpy()
    assert features[0, 0, ..., 14] == pytest.approx(ndvi, abs=1e-5)


def test_indices_know_water_and_trees_without_training() -> None:
    labels = batches(7, 1)[0]
    found = IndexPredictor().cover(labels.windows).argmax(2) + 1
    for name in ("water", "tree"):
        truth = labels.cover == CLASS_CODES[name]
        right = found == CLASS_CODES[name]
        assert float((truth & right).sum() / (truth | right).sum()) > 0.8


def test_masks_follow_from_the_maps() -> None:
    """A perfect map gives the true mask of every name, derived ones included."""
    scene = next(scenes(11))

    class Oracle:
        def cover(self, windows: object) -> torch.Tensor:
            hot = torch.nn.functional.one_hot(torch.from_numpy(scene.cover).long() - 1, 8)
            return hot.float().movedim(-1, 1)[None]

        def change(self, windows: object, before: int, date: int) -> torch.Tensor:
            kinds = torch.from_numpy(scene.changes[before, date]).long()
            return torch.nn.functional.one_hot(kinds, 8).float().movedim(-1, 0)[None]

    windows = PROCESSOR([scene.window])
    for name, dates in [
        *((name, (-1, date)) for name in ("water", "tree", "shrub") for date in (0, 1)),
        *((name, (0, 1)) for name in (ANY_CHANGE, DESTROYED, "vegetation loss", "other")),
    ]:
        probability, mask = mask_of(Oracle(), windows, name, dates)
        assert (mask[0].numpy() == scene.mask(name, dates)).all(), name
        assert ((probability[0] > 0.5).numpy() == scene.mask(name, dates)).all(), name
    with pytest.raises(ValueError, match="no class and no change"):
        mask_of(Oracle(), windows, "sand", (0, 1))


@pytest.fixture(scope="module")
def questions() -> tuple[list[BenchItem], list[BenchItem]]:
    train = items_from(itertools.islice(scenes(6000), 200), 300)
    return train, items_from(itertools.islice(scenes(), 60), 60)


def test_a_trained_baseline_beats_chance_at_the_bench(
    unet: UNetPredictor, questions: tuple[list[BenchItem], list[BenchItem]]
) -> None:
    outcomes = run_predictor(questions[1], unet, PROCESSOR)
    scores = summary(outcomes, draws=100)
    assert scores["mask_iou"]["value"] > 0.5
    assert scores["macro"]["value"] > scores["chance"] + 0.15


def test_text_alone_finds_a_leak_and_nothing_else(
    questions: tuple[list[BenchItem], list[BenchItem]],
) -> None:
    train, test = questions
    reader = train_text_only(train)
    fair = reader.run(test)
    right = np.mean([one.right for one in fair])
    error = np.sqrt(0.25 / len(fair))
    assert right < chance(fair) + 4 * error

    def leaking(item: BenchItem) -> BenchItem:
        """Let the truth always be the largest figure."""
        order = sorted(item.options, reverse=True)
        return dataclasses.replace(item, options=tuple(order), letter="A")

    figures = [item for item in train if item.task in ("CA", "AQ")]
    reader = train_text_only([leaking(item) for item in figures])
    told = reader.run([leaking(item) for item in test if item.task in ("CA", "AQ")])
    assert all(one.right for one in told)
