"""The model as a map maker: the masks of its own traces, put together as maps."""

from __future__ import annotations

import dataclasses

import torch

from terrascope.evaluation.mapping import ModelMapper
from terrascope.model.generation_terrascope import generate
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.prompts import compose_query, text_of
from terrascope.vocabulary import LAND_COVER

from .land import SIDE, scene
from .tiny import tiny_examinee


def test_maps_are_the_masks_of_single_questions() -> None:
    examinee = tiny_examinee()
    mapper = ModelMapper(examinee)
    windows = TerrascopeProcessor()([scene(0).window, scene(1).window])
    found = mapper.masks(windows, [("tree", (-1, 1)), ("vegetation loss", (0, 1))])
    assert found.shape == (2, 2, SIDE, SIDE)
    query = compose_query(
        examinee.tokenizer,
        windows,
        1,
        "Where is vegetation loss in Image: t_1 to t_2?",
        "<think>vegetation loss Image: t_1 to t_2[SEG]",
    )
    text = text_of(examinee.tokenizer)
    alone = generate(examinee.model, windows, [query], text=text, max_new_tokens=0)[0]
    assert (alone.events[0].before, alone.events[0].date) == (0, 1)
    assert torch.allclose(found[1, 1], alone.events[0].probability, atol=2e-2)  # bf16 and float32

    cover = mapper.cover(windows)
    assert cover.shape == (2, 2, len(LAND_COVER), SIDE, SIDE)
    assert torch.allclose(cover.sum(2), torch.ones(()), atol=1e-5)
    mapper = ModelMapper(dataclasses.replace(examinee, precision="float32"))
    change = mapper.change(windows, 0, 1)
    assert change.shape == (2, 8, SIDE, SIDE)
    assert torch.allclose(change.sum(1), torch.ones(()), atol=1e-5)
    anything = mapper.masks(windows, [("change", (0, 1))])[:, 0]
    assert torch.allclose(1 - change[:, 0], anything, atol=1e-5)
