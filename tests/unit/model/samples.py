"""Small random models and windows for the tests of the mechanism."""

from __future__ import annotations

import datetime as dt
from typing import Any

import torch

from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig
from terrascope.model.geometry import Geometry
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.tokenization_nano import NanoTokenizer, SpecialIds
from terrascope.model.windows import Windows

SIDE = 32


def tiny_config(tokenizer: NanoTokenizer, **settings: Any) -> TerrascopeConfig:
    """Return a model of 64 tokens per image that runs in milliseconds."""
    sizes: dict[str, Any] = {
        "window_size": SIDE,
        "patch_size": 4,
        "stem_channels": 8,
        "vision_size": 24,
        "vision_layers": 2,
        "vision_heads": 2,
        "pixel_size": 8,
        "query_size": 24,
        "query_layers": 2,
        "query_heads": 2,
        "hidden_size": 32,
        "layers": 2,
        "heads": 4,
        "mlp_size": 48,
    }
    ids = SpecialIds.of(tokenizer)
    return TerrascopeConfig(
        nano_config=NanoConfig(vocab_size=tokenizer.vocab_size, **sizes),
        pad_token_id=ids.pad,
        bos_token_id=ids.bos,
        eos_token_id=ids.eos,
        seg_token_id=ids.seg,
        image_token_id=ids.image,
        measure_token_id=ids.measure,
        measure_end_token_id=ids.measure_end,
        **settings,
    )


def tiny_model(tokenizer: NanoTokenizer, seed: int = 0, **settings: Any) -> TerrascopeModel:
    """Return a random model whose masks are neither empty nor full."""
    torch.manual_seed(seed)
    model = TerrascopeModel(tiny_config(tokenizer, **settings)).eval()
    with torch.no_grad():
        for parameter in model.backbone.masks.readers.parameters():
            parameter.mul_(6.0)
    return model


def random_windows(
    dates: list[int], seed: int = 0, side: int = SIDE, holes: float = 0.1
) -> Windows:
    """Return windows of different numbers of dates, both sensors, with patches missing."""
    g = torch.Generator().manual_seed(seed)
    batch, most = len(dates), max(dates)
    count = torch.tensor(dates)
    real = torch.arange(most) < count[:, None]

    def plane(bands: int, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
        coarse = torch.rand(batch * most, bands, side // 4, side // 4, generator=g)
        values = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
        values = low + (high - low) * values.unflatten(0, (batch, most))
        values = values + 0.05 * (high - low) * torch.randn(values.shape, generator=g)
        valid = torch.rand(batch, most, bands, side, side, generator=g) >= holes
        valid &= real[:, :, None, None, None]
        return torch.where(valid, values, torch.zeros(())), valid

    optical, optical_valid = plane(12, 0.02, 0.5)
    radar, radar_valid = plane(2, -22.0, -5.0)
    times = torch.arange(most)[None, :, None].expand(batch, most, 2)
    there = real[..., None]
    start = dt.date(2023, 3, 5)
    return Windows(
        optical=optical,
        optical_valid=optical_valid,
        radar=radar,
        radar_valid=radar_valid,
        day_of_year=torch.where(there, 64.0 + 30 * times, torch.zeros(())),
        days=torch.where(there, 30.0 * times, torch.zeros(())),
        gsd_m=torch.full((batch, 2), 10.0),
        date_count=count,
        inside=torch.ones(batch, side, side, dtype=torch.bool),
        dates=tuple(tuple(start + dt.timedelta(days=30 * i) for i in range(n)) for n in dates),
        geometry=tuple(Geometry.planar((side, side), 10.0) for _ in dates),
    )


def random_masks(count: int, seed: int = 0, side: int = SIDE) -> torch.Tensor:
    """Return masks of random blobs, bool, shape (count, side, side)."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, side // 8, side // 8, generator=g)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return smooth[:, 0] > 0.5
