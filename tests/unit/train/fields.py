"""A source of small drawn fields, quick enough to train on in a test."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from terrascope.model.geometry import Geometry
from terrascope.model.prompts import compose_query
from terrascope.model.sequences import Query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.windows import Windows
from terrascope.train.recipe import Recipe, recipe_of
from terrascope.train.settings import Stage

TINY = {
    "patch_size": 4,
    "stem_channels": 8,
    "vision_size": 24,
    "vision_layers": 1,
    "vision_heads": 2,
    "pixel_size": 8,
    "query_size": 24,
    "query_layers": 1,
    "query_heads": 2,
    "hidden_size": 32,
    "layers": 2,
    "heads": 4,
    "mlp_size": 48,
}
"""A nano that makes a step in milliseconds."""

TABLE: dict[str, Any] = {
    "name": "fields",
    "seed": 3,
    "window_px": 16,
    "workers": 0,
    "nano": TINY | {"dropout": 0.1},
    "validation": {"every": 2, "batches": 2},
    "checkpoints": {"every": 2, "keep": 2},
    "optimizer": {"mean_decay": 0.9},
    "stages": [
        {"name": "masks", "source": "segmentation", "steps": 5, "rate": 1e-3, "batch": 2}
        | {"batches": 2, "window_px": 16, "warmup": 2, "frozen": ["language"]},
        {"name": "traces", "source": "cot", "steps": 4, "rate": 1e-3, "batch": 2}
        | {"batches": 2, "window_px": 16, "warmup": 1},
    ],
}


def tiny_recipe(**changes: Any) -> Recipe:
    """Return a recipe of two short stages."""
    return recipe_of(TABLE | changes)


@dataclasses.dataclass(frozen=True)
class Fields:
    """A batch."""

    windows: Windows
    queries: list[Query]
    truth: Tensor
    truth_valid: Tensor
    injected: Tensor


def drawn(tokenizer: NanoTokenizer, stage: Stage, number: int) -> Fields:
    """Draw water and land; the more water there is in a batch, the more it is asked about."""
    g = torch.Generator().manual_seed(number)
    side, batch = stage.window_px, stage.batch
    coarse = torch.randn(batch, 2, 3, 3, generator=g)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    water = smooth[:, 0] > smooth[:, 1]
    optical = torch.where(water[:, None, None], 0.02, 0.3).expand(batch, 1, 12, side, side)
    optical = optical + 0.02 * torch.randn(batch, 1, 12, side, side, generator=g)
    radar = torch.where(water[:, None, None], -22.0, -10.0).expand(batch, 1, 2, side, side)
    seen = torch.rand(batch, 1, 2, side, side, generator=g) > 0.05
    windows = Windows(
        optical=optical,
        optical_valid=torch.ones(optical.shape, dtype=torch.bool),
        radar=torch.where(seen, radar, torch.zeros(())),
        radar_valid=seen,
        day_of_year=torch.full((batch, 1, 2), 150.0),
        days=torch.zeros(batch, 1, 2),
        gsd_m=torch.full((batch, 2), 10.0),
        date_count=torch.ones(batch, dtype=torch.int64),
        inside=torch.ones(batch, side, side, dtype=torch.bool),
        dates=((dt.date(2023, 5, 30),),) * batch,
        geometry=(Geometry.planar((side, side), 10.0),) * batch,
    )
    queries, masks = [], []
    for n in range(batch):
        named = ["water", "tree", "water"][: 1 + (number + n) % 3]
        trace = "".join(f" {name} Image: t_1[SEG]" for name in named)
        answer = "yes" if float(water[n].float().mean()) > 0.5 else "no"
        response = f"<think>{trace}</think><answer>{answer}</answer><eos>"
        if stage.source == "segmentation":
            response = trace
        queries.append(compose_query(tokenizer, windows, n, "Is there more water?", response))
        masks += [water[n] if name == "water" else ~water[n] for name in named]
    truth = torch.stack(masks)
    valid = torch.ones_like(truth)
    valid[::4, : side // 2] = False
    injected = torch.zeros_like(truth) if stage.source == "segmentation" else truth
    return Fields(windows, queries, truth, valid, injected)


@dataclasses.dataclass(frozen=True)
class FieldSource:
    """A `terrascope.train.loop.Source`."""

    tokenizer: NanoTokenizer

    def __call__(self, stage: Stage, *, split: str, start: int, stride: int) -> Iterator[Fields]:
        number = start + (1_000_000 if split == "validation" else 0)
        while True:
            yield drawn(self.tokenizer, stage, number)
            number += stride
