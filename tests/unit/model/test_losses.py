"""Every term against a slow loop; every switch; gradient where it belongs."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from terrascope.model.losses import (
    boundary_band,
    contrastive_loss,
    language_loss,
    mask_losses,
    total_loss,
)
from terrascope.model.modeling_terrascope import TerrascopeModel, TerrascopeOutput
from terrascope.model.nano.layers import ZeroConv
from terrascope.model.prompts import compose_query
from terrascope.model.tokenization_nano import NanoTokenizer

from .samples import random_masks, random_windows, tiny_model

RESPONSE = "<think>Image: t_1[SEG]water Image: t_1 to t_2[SEG]</think><answer>yes</answer><eos>"


def test_mask_terms_are_the_literal_formulas() -> None:
    rng = np.random.default_rng(2)
    logits, truth = rng.normal(size=(3, 7, 9)), rng.random((3, 7, 9)) < 0.4
    valid = rng.random((3, 7, 9)) < 0.8
    valid[1] = False
    truth[2] = False
    dice, entropy, boundary = [], [], []
    for m in (0, 2):
        p = 1 / (1 + np.exp(-logits[m]))
        pixels = [(y, x) for y in range(7) for x in range(9) if valid[m, y, x]]
        both = sum(p[i] * truth[m][i] for i in pixels)
        total = sum(p[i] for i in pixels) + sum(int(truth[m][i]) for i in pixels)
        if any(truth[m][i] for i in pixels):
            dice.append(1 - (2 * both + 1) / (total + 1))
        cost = {i: -math.log(p[i] if truth[m][i] else 1 - p[i]) for i in pixels}
        entropy.append(sum(cost.values()) / len(pixels))
        square = np.ones((3, 3))
        edge = ndimage.binary_dilation(truth[m], square) ^ ndimage.binary_erosion(
            truth[m], square, border_value=1
        )
        near = [cost[i] for i in pixels if edge[i]]
        if near:
            boundary.append(sum(near) / len(near))
    found = mask_losses(
        torch.tensor(logits), torch.tensor(truth), torch.tensor(valid), boundary_width=1
    )
    expected = [np.mean(dice), np.mean(entropy), np.mean(boundary)]
    assert len(dice) == len(boundary) == 1
    np.testing.assert_allclose([float(term) for term in found], expected, rtol=1e-5)


def test_boundary_band_is_scipys() -> None:
    truth = random_masks(4, seed=8)
    for width in (1, 2, 3):
        square = np.ones((2 * width + 1,) * 2)
        for mask, band in zip(truth.numpy(), boundary_band(truth, width).numpy(), strict=True):
            grown = ndimage.binary_dilation(mask, square)
            shrunk = ndimage.binary_erosion(mask, square, border_value=1)
            np.testing.assert_array_equal(band, grown ^ shrunk)
    assert not boundary_band(torch.ones(1, 9, 9, dtype=torch.bool), 2).any()


def test_language_loss_is_the_mean_log_probability() -> None:
    logits, targets = torch.randn(5, 11), torch.tensor([0, 3, 10, 3, 7])
    slow = [
        math.log(sum(math.exp(v) for v in row.tolist())) - float(row[t])
        for row, t in zip(logits, targets, strict=True)
    ]
    assert float(language_loss(logits, targets)) == pytest.approx(sum(slow) / 5, rel=1e-5)
    assert float(language_loss(logits[:0], targets[:0])) == 0


def test_contrastive_loss_is_the_literal_formula() -> None:
    generator = torch.Generator().manual_seed(3)
    content = torch.randn(2, 2, 2, 6, 5, generator=generator)
    present = torch.tensor([[[True, True], [True, False]], [[False, True], [True, True]]])
    terms = []
    for b, t in ((0, 0), (1, 1)):
        for one, other in ((0, 1), (1, 0)):
            for n in range(6):
                v = content[b, t, one, n]
                scores = [
                    float(torch.cosine_similarity(v, content[b, t, other, k], dim=0)) / 0.1
                    for k in range(6)
                ]
                terms.append(math.log(sum(math.exp(s) for s in scores)) - scores[n])
    found = contrastive_loss(content, present, temperature=0.1)
    assert float(found) == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    none = contrastive_loss(content, torch.zeros_like(present), temperature=0.1)
    assert float(none) == 0


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return NanoTokenizer()


def one_pass(
    tokenizer: NanoTokenizer, **settings: float
) -> tuple[TerrascopeModel, TerrascopeOutput]:
    """Run a fresh model whose masks are soft and whose branches all carry something."""
    model = tiny_model(tokenizer, **settings).train()
    with torch.no_grad():
        model.backbone.masks.readers.weight.mul_(0.05)
        for module in model.modules():
            if isinstance(module, ZeroConv):
                module.weight.fill_(0.01)
    windows = random_windows([2, 2], seed=12)
    queries = [compose_query(tokenizer, windows, i, "Is it?", RESPONSE) for i in range(2)]
    return model, model(windows, queries, truth=random_masks(4, seed=6))


ALL_ON = {"boundary_weight": 0.7, "contrastive_weight": 0.3}


def gradient(tokenizer: NanoTokenizer, **settings: float) -> torch.Tensor:
    model, output = one_pass(tokenizer, **settings)
    output.loss.backward()
    parts = [
        torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
        for p in model.parameters()
    ]
    return torch.cat(parts)


def test_loss_of_the_paper_by_default(tokenizer: NanoTokenizer) -> None:
    _, output = one_pass(tokenizer)
    terms = output.terms
    expected = terms.language + 0.5 * (terms.dice + terms.cross_entropy)
    torch.testing.assert_close(output.loss, expected)
    assert float(terms.boundary) == float(terms.contrastive) == 0


@pytest.mark.parametrize(
    "switch",
    [
        "language_weight",
        "dice_weight",
        "cross_entropy_weight",
        "boundary_weight",
        "contrastive_weight",
        "mask_weight",
    ],
)
def test_every_term_can_be_switched_off_and_changes_the_gradient(
    tokenizer: NanoTokenizer, switch: str
) -> None:
    full = gradient(tokenizer, **ALL_ON)
    less = gradient(tokenizer, **(ALL_ON | {switch: 0.0}))
    assert torch.isfinite(full).all()
    assert float((full - less).norm() / full.norm()) > 1e-3


def test_a_switched_off_term_brings_in_no_nan(tokenizer: NanoTokenizer) -> None:
    model, output = one_pass(tokenizer)
    broken = dataclasses.replace(output.terms, boundary=torch.tensor(torch.nan))
    assert torch.isfinite(total_loss(broken, model.config))


def test_gradient_reaches_every_parameter(tokenizer: NanoTokenizer) -> None:
    model, output = one_pass(tokenizer)
    output.loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_gradient_stays_out_of_frozen_parts(tokenizer: NanoTokenizer) -> None:
    model = tiny_model(tokenizer, **ALL_ON).train()
    model.backbone.pyramid.requires_grad_(False)
    windows = random_windows([2, 2], seed=12)
    queries = [compose_query(tokenizer, windows, i, "Is it?", RESPONSE) for i in range(2)]
    model(windows, queries, truth=random_masks(4, seed=6)).loss.backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith("backbone.pyramid.")
        assert (parameter.grad is None) == frozen, name


def test_words_after_a_mask_teach_the_encoder_through_the_injected_tokens(
    tokenizer: NanoTokenizer,
) -> None:
    """Only injected positions carry this gradient: the images of the prompt are cut off."""
    model = tiny_model(tokenizer)
    windows = random_windows([2], seed=12)
    query = compose_query(tokenizer, windows, 0, "Is it?", RESPONSE)
    masks = random_masks(2, seed=6)
    output = model(windows, [query], truth=masks)
    layout, tokens = output.layout, output.encoded.tokens.detach()
    embeddings = model.embed(layout.ids, layout.source, tokens).detach().requires_grad_()
    places = torch.arange(embeddings.shape[1])[None]
    hidden = model.backbone.language(embeddings, places)
    answer = layout.ids[0].tolist().index(tokenizer.encoder["yes"])
    logits = model.backbone.logits(hidden[0, answer - 1])
    torch.log_softmax(logits, -1)[tokenizer.encoder["yes"]].backward()
    first = int(layout.seg_position[0])
    injected = (layout.source[0] >= 0) & (torch.arange(len(layout.source[0])) > first)
    assert int(injected.sum()) == sum(len(i.source) for i in output.injections) > 0
    assert (embeddings.grad[0, injected].abs().amax(1) > 0).all()
