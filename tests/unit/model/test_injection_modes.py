"""The ways of injection that exist to be compared with: boxes, random cells, nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from terrascope.model.configuration_terrascope import TerrascopeConfig
from terrascope.model.generation_terrascope import generate
from terrascope.model.injection import choose_tokens
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.prompts import compose_query
from terrascope.model.tokenization_nano import NanoTokenizer

from .samples import random_masks, random_windows, tiny_config, tiny_model


@pytest.fixture(scope="module")
def model() -> TerrascopeModel:
    return tiny_model(NanoTokenizer())


def cells(model: TerrascopeModel, injection: str, masks: torch.Tensor) -> list[list[int]]:
    config = TerrascopeConfig(**{**model.config.to_dict(), "injection": injection})
    encoded = model.encode(random_windows([2, 2]))
    found = choose_tokens(
        config,
        model.backbone,
        encoded,
        masks=masks,
        window=torch.zeros(len(masks), dtype=torch.int64),
        date=torch.ones(len(masks), dtype=torch.int64),
        questions=[[5, 6]] * len(masks),
    )
    return [one.cells.tolist() for one in found]


def test_a_box_holds_every_cell_between_the_outermost(model: TerrascopeModel) -> None:
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, 4:8, 8:12] = masks[0, 16:20, 20:24] = True  # two cells of 4 pixels, apart
    expected = [row * 8 + column for row in range(1, 5) for column in range(2, 6)]
    assert cells(model, "box", masks) == [expected, []]
    assert cells(model, "mask", masks)[0] == [1 * 8 + 2, 4 * 8 + 5]


@torch.no_grad()
def test_random_cells_are_as_many_anywhere_and_the_same_again(model: TerrascopeModel) -> None:
    masks = random_masks(40, seed=2)
    true, drawn = cells(model, "mask", masks), cells(model, "random", masks)
    assert [len(one) for one in drawn] == [len(one) for one in true]
    assert drawn == cells(model, "random", masks)
    assert drawn == cells(model, "random", masks[:20]) + cells(model, "random", masks[20:])
    share = sum(len(one) for one in true) / (40 * 64)
    both = sum(len({*a} & {*b}) for a, b in zip(true, drawn, strict=True))
    assert both / (40 * 64) == pytest.approx(share**2, abs=0.06)


def test_none_injects_nothing_where_the_model_speaks() -> None:
    tokenizer = NanoTokenizer()
    model = tiny_model(tokenizer, mask_threshold=0.0)  # every pixel is in every mask
    bare = tiny_model(tokenizer, mask_threshold=0.0, injection="none")
    windows = random_windows([2])
    query = compose_query(tokenizer, windows, 0, "Which?", "<think>water Image: t_1[SEG]")
    said = {}
    for name, one in (("mask", model), ("none", bare)):
        said[name] = generate(one, windows, [query], text=tokenizer.text, max_new_tokens=0)[0]
    assert len(said["mask"].events[0].injection.cells) == 64
    assert said["none"].events[0].injection.source.numel() == 0
    assert len(said["none"].sequence) == len(query.response)
    again = dataclasses.replace(query, response=())
    assert generate(bare, windows, [again], text=tokenizer.text, max_new_tokens=3)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match="injection is one of"):
        tiny_config(NanoTokenizer(), injection="all")
