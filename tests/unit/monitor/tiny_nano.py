"""A random nano that runs in milliseconds, saved as a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.tokenization_nano import NanoTokenizer, SpecialIds
from terrascope.train.building import save_model

SIDE = 32
"""Of its windows, in pixels."""


def write_nano(folder: Path) -> None:
    """Draw its weights, always the same, and save it."""
    torch.manual_seed(3)
    tokenizer = NanoTokenizer()
    ids = SpecialIds.of(tokenizer)
    sizes: dict[str, Any] = {
        "window_size": SIDE,
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
        "layers": 1,
        "heads": 4,
    }
    config = TerrascopeConfig(
        nano_config=NanoConfig(vocab_size=tokenizer.vocab_size, mlp_size=48, **sizes),
        pad_token_id=ids.pad,
        bos_token_id=ids.bos,
        eos_token_id=ids.eos,
        seg_token_id=ids.seg,
        image_token_id=ids.image,
        measure_token_id=ids.measure,
        measure_end_token_id=ids.measure_end,
    )
    model = TerrascopeModel(config)
    with torch.no_grad():
        for parameter in model.backbone.masks.readers.parameters():
            parameter.mul_(6.0)
    save_model(folder, model, tokenizer, TerrascopeProcessor(size_px=SIDE))
