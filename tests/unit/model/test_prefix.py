"""Shared beginnings: the numbers of whole sequences, and their gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from terrascope.model.modeling_terrascope import TerrascopeModel, TerrascopeOutput
from terrascope.model.prompts import compose_query
from terrascope.model.sequences import Query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.windows import Windows

from .samples import random_masks, random_windows, tiny_model

RESPONSES = (
    (0, "<think>water Image: t_1[SEG]</think><answer>A</answer><eos>"),
    (2, "<think>tree Image: t_1 to t_2[SEG] and Image: t_2[SEG]</think><answer>no</answer><eos>"),
    (0, "<think>crop Image: t_1[SEG]<measure> share 3 %</measure></think><answer>B</answer><eos>"),
    (1, "<think>nothing</think><answer>yes</answer><eos>"),
    (2, "<answer>12 ha</answer><eos>"),
)


def asked(tokenizer: NanoTokenizer, windows: Windows) -> list[Query]:
    return [
        compose_query(tokenizer, windows, window, f"Which class{'es' * n}?", response)
        for n, (window, response) in enumerate(RESPONSES)
    ]


def run(
    model: TerrascopeModel, windows: Windows, queries: list[Query], *, shared: bool
) -> tuple[TerrascopeOutput, dict[str, torch.Tensor]]:
    masks = random_masks(sum(len(query.dates) for query in queries))
    model.zero_grad()
    output = model(windows, queries, truth=masks, shared=shared)
    assert output.loss is not None
    output.loss.backward()
    return output, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("images", [True, False])
def test_sharing_changes_no_number(images: bool) -> None:
    tokenizer = NanoTokenizer()
    model = tiny_model(tokenizer)
    windows = random_windows([1, 3, 2])
    queries = asked(tokenizer, windows)
    if not images:
        queries = [
            dataclasses.replace(q, prompt=list(q.prompt)[q.question[0] :], question=(0, 3))
            for q in queries
        ]
    whole, expected = run(model, windows, queries, shared=False)
    shared, found = run(model, windows, queries, shared=True)
    torch.testing.assert_close(shared.loss, whole.loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shared.mask_logits, whole.mask_logits, rtol=1e-3, atol=1e-4)
    for one, other in zip(
        model.taught_logits(shared.layout, shared.hidden),
        model.taught_logits(whole.layout, whole.hidden),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


def test_a_beginning_is_run_once_per_window() -> None:
    tokenizer = NanoTokenizer()
    model = tiny_model(tokenizer)
    windows = random_windows([1, 3, 2])
    queries = asked(tokenizer, windows)
    output, _ = run(model, windows, queries, shared=True)
    whole, _ = run(model, windows, queries, shared=False)
    assert output.layout.ids.shape[0] == len(queries)
    images = int(windows.present[2].sum()) * 64
    assert output.layout.ids.shape[1] < whole.layout.ids.shape[1] - images
