"""The precision is decided per device, and nothing that is summed loses digits."""

from __future__ import annotations

import pytest
import torch

from terrascope.model.generation_terrascope import generate
from terrascope.model.precision import computing, resolve_precision
from terrascope.model.prompts import compose_query
from terrascope.model.tokenization_nano import NanoTokenizer

from .samples import random_masks, random_windows, tiny_model

CPU = torch.device("cpu")
TRACE = "<think>water Image: t_1[SEG] Image: t_1 to t_2[SEG]</think>"


def test_precision_is_what_was_asked_for() -> None:
    assert resolve_precision(CPU, "float32") is torch.float32
    assert resolve_precision(CPU, "bfloat16") is torch.bfloat16
    tiles = torch.cpu._is_amx_tile_supported()
    assert resolve_precision(CPU) is (torch.bfloat16 if tiles else torch.float32)
    with pytest.raises(ValueError, match="expected one of"):
        resolve_precision(CPU, "float16")


def test_losses_and_probabilities_are_float32_and_masks_hardly_move() -> None:
    tokenizer = NanoTokenizer()
    model = tiny_model(tokenizer)
    windows = random_windows([2, 2])
    queries = [compose_query(tokenizer, windows, n, "Where?", TRACE) for n in range(2)]
    found = {}
    for precision in ("float32", "bfloat16"):
        with torch.no_grad(), computing(CPU, precision):
            output = model(windows, queries, truth=random_masks(4))
            results = generate(model, windows, queries, text=tokenizer.text, max_new_tokens=0)
        assert {term.dtype for term in vars(output.terms).values()} == {torch.float32}
        events = [event for result in results for event in result.events]
        assert {event.probability.dtype for event in events} == {torch.float32}
        found[precision] = (float(output.loss), torch.stack([e.probability for e in events]))
    assert found["float32"][0] == pytest.approx(found["bfloat16"][0], rel=0.02)
    moved = (found["float32"][1] - found["bfloat16"][1]).abs()
    assert 0 < float(moved.mean()) < 0.02


def test_float32_changes_nothing() -> None:
    left, right = torch.randn(9, 9), torch.randn(9, 9)
    with computing(CPU, "float32") as dtype:
        inside = left @ right
    assert dtype is torch.float32
    assert torch.equal(inside, left @ right)
