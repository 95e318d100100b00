"""Compiled models say what eager ones say."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from terrascope.model.generation_terrascope import Generation, generate
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.prompts import compose_query
from terrascope.model.speed import compile_model
from terrascope.model.tokenization_nano import NanoTokenizer

from .samples import random_windows, tiny_model
from .tiny8b import tiny_8b

TRACE = "<think>water Image: t_1[SEG]"


def answers(model: TerrascopeModel, tokenizer: NanoTokenizer, tokens: int) -> list[Generation]:
    windows = random_windows([1, 1], seed=7)
    queries = [
        compose_query(tokenizer, windows, n, "Where is it? " * (n + 1), TRACE) for n in range(2)
    ]
    return generate(model, windows, queries, text=tokenizer.text, max_new_tokens=tokens)


def assert_same(a: list[Generation], b: list[Generation]) -> None:
    for one, other in zip(a, b, strict=True):
        assert one.ids == other.ids
        torch.testing.assert_close(
            torch.tensor(one.log_probabilities),
            torch.tensor(other.log_probabilities),
            rtol=1e-4,
            atol=1e-4,
        )
        for left, right in zip(one.events, other.events, strict=True):
            scale = float(left.logits.abs().max())
            torch.testing.assert_close(
                left.logits, right.logits, rtol=1e-4, atol=1e-4 * max(scale, 1)
            )


def test_graphs_without_cuda_and_blocks_of_nothing_are_refused() -> None:
    model = tiny_model(NanoTokenizer())
    with pytest.raises(ValueError, match="move it to a CUDA device first"):
        compile_model(model, cuda_graphs=True)
    with pytest.raises(ValueError, match="at least 1"):
        compile_model(model, history_block=0)
    assert model.history_block == 1


@pytest.mark.parametrize("make", [tiny_model, tiny_8b])
def test_histories_in_blocks_change_nothing(make: type) -> None:
    tokenizer = NanoTokenizer()
    model = make(tokenizer, seed=3)
    plain = answers(model, tokenizer, 24)
    model.history_block = 32
    assert_same(plain, answers(model, tokenizer, 24))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("make", [tiny_model, tiny_8b])
def test_compiled_equals_eager(make: type, backend: str) -> None:
    tokenizer = NanoTokenizer()
    model = make(tokenizer, seed=3)
    names = list(model.state_dict())
    eager = answers(model, tokenizer, 24)
    torch._dynamo.reset()
    counters.clear()
    compile_model(model, history_block=64, backend=backend)
    compiled = answers(model, tokenizer, 24)
    assert list(model.state_dict()) == names
    assert_same(eager, compiled)
    graphs = counters["stats"]["unique_graphs"]
    assert graphs >= 5
    assert_same(eager, answers(model, tokenizer, 24))
    assert counters["stats"]["unique_graphs"] == graphs
