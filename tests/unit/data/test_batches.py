"""Batches: what is taught, what is injected, what is measured, and that the model takes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from terrascope.data.batches import INJECTIONS, collate
from terrascope.data.making import make_samples
from terrascope.data.perturb import Perturbation
from terrascope.model.processing_terrascope import TerrascopeProcessor

from .ground import SIDE, TOKENIZER, make_scene, tiny_model


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(1)
    scenes = [make_scene(seed, dates=1 + seed % 3) for seed in range(3)]
    return [(scene, make_samples(scene, rng, 6)) for scene in scenes]


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("measured", [True, False])
def test_the_model_takes_a_batch(items, injection: str, measured: bool) -> None:
    batch = collate(
        items,
        TerrascopeProcessor(size_px=SIDE),
        TOKENIZER,
        measured=measured,
        perturbation=Perturbation(),
        injection=injection,
    )
    model = tiny_model()
    output = model(
        batch.windows,
        batch.queries,
        truth=batch.truth,
        truth_valid=batch.truth_valid,
        injected=batch.injected,
    )
    assert torch.isfinite(output.loss)
    assert len(batch.samples) == len(batch.queries) == sum(len(s) for _, s in items)
    assert any(len(i.source) for i in output.injections) == (injection != "none")
    shown = any("<measure>" in TOKENIZER.text(query.response) for query in batch.queries)
    assert shown == measured
