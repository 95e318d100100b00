"""A step of every stage away from the processor: all that meets is in one place, losses agree."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from terrascope.model.nano.layers import attend
from terrascope.train.building import answer_ids, build_model, trace_ids
from terrascope.train.naming import NamedMasks, TextAlone
from terrascope.train.objective import Placed, count_terms, shared_loss
from terrascope.train.recipe import read_recipe
from terrascope.train.settings import Stage
from terrascope.train.sources import open_source
from terrascope.train.validation import validate

from .elsewhere import DEVICE, Elsewhere, elsewhere

STAGES = [
    Stage("named", "segmentation", 1, 1e-3, batch=2, window_px=32, named=True, samples=16, dates=3),
    Stage("text", "language", 1, 1e-3, batch=3, window_px=16),
    Stage("whole", "cot", 1, 1e-3, batch=2, window_px=32, samples=2, dates=2),
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_step_stays_on_the_device_of_the_model(stage: Stage) -> None:
    recipe = dataclasses.replace(read_recipe("smoke"), window_px=stage.window_px)
    model, tokenizer, _ = build_model(recipe)
    ids, config = trace_ids(tokenizer), model.config
    runs = {"named": NamedMasks(model, ids), "text": TextAlone(model, ids)}.get(stage.name, model)
    batch = next(open_source(recipe, tokenizer)(stage, split="train", start=0, stride=1))
    scores, losses, norms = [], [], []
    for device in (torch.device("cpu"), DEVICE):
        with contextlib.ExitStack() as played:
            if device == DEVICE:
                played.enter_context(elsewhere())
                model.to(device)
                assert isinstance(next(model.parameters()), Elsewhere)
            placed = Placed.of(batch, device)
            counts = count_terms(placed, config).cpu()
            output = placed.run(runs)
            loss = shared_loss(output.terms, config, counts, counts)
            model.zero_grad()
            loss.backward()
            losses.append(float(loss.detach()))
            slopes = [p.grad.square().sum() for p in model.parameters() if p.grad is not None]
            norms.append(sum(float(slope) for slope in slopes) ** 0.5)
            scores.append(validate(model, [batch], answer_ids(tokenizer), runs).means())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert norms[1] == pytest.approx(norms[0], rel=1e-2)
    assert norms[0] > 0
    assert scores[1] == pytest.approx(scores[0], rel=1e-3, abs=1e-3)


def test_a_sensor_without_images_never_meets_the_fused_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fused = functional.scaled_dot_product_attention

    def like_a_gpu(queries: Tensor, *args: Any, **more: Any) -> Tensor | None:
        # torch 2.11 on CUDA, seen with windows that had no radar image.
        return fused(queries, *args, **more) if queries.numel() else None

    monkeypatch.setattr(functional, "scaled_dot_product_attention", like_a_gpu)
    with elsewhere():
        none = torch.zeros(0, 2, 4, 8, requires_grad=True).to(DEVICE)
        mixed = attend(none, none, none, None)
        assert mixed.shape == (0, 2, 4, 8)
        mixed.sum().backward()


def test_what_was_not_moved_is_found() -> None:
    with elsewhere():
        there = torch.ones(3).to(DEVICE)
        assert float((there + 1).sum()) == 6
        assert torch.equal(there.cpu(), torch.ones(3))
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.ones(3)
