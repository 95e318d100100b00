"""Attention that is written out equals the library's, and so do its gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from terrascope.model.nano.layers import attend


@pytest.mark.parametrize("kind", ["free", "causal", "mask"])
def test_attention_written_out_equals_the_fused_one(kind: str) -> None:
    g = torch.Generator().manual_seed(4)
    mask = None
    if kind == "mask":
        mask = torch.rand(2, 1, 7, 7, generator=g) > 0.4
        mask[..., 0] = True
    results = []
    for fused in (True, False):
        g.manual_seed(5)
        inputs = [torch.randn(2, 3, 7, 8, generator=g).requires_grad_() for _ in range(3)]
        queries, keys, values = inputs
        if fused:
            mixed = functional.scaled_dot_product_attention(
                queries, keys, values, mask, is_causal=kind == "causal"
            )
        else:
            mixed = attend(queries, keys, values, mask, causal=kind == "causal")
        weight = torch.arange(mixed.numel()).reshape(mixed.shape) % 5
        results.append((mixed, *torch.autograd.grad((mixed * weight).sum(), inputs)))
    for written, fused_one in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(written, fused_one, rtol=1e-5, atol=1e-5)


def test_dropout_drops_weights_and_keeps_their_mean() -> None:
    torch.manual_seed(1)
    queries = torch.zeros(1, 1, 4, 8, requires_grad=True)
    values = torch.ones(1, 1, 400, 8)
    mixed = attend(queries, torch.zeros(1, 1, 400, 8), values, dropout=0.25)
    assert float(mixed.detach().std()) > 0
    assert float(mixed.detach().mean()) == pytest.approx(1.0, abs=0.1)
