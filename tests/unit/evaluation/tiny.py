"""A small untrained model that can be examined."""

from __future__ import annotations

from typing import Any

import torch

from terrascope.evaluation.runner import Examinee
from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.tokenization_nano import NanoTokenizer, SpecialIds

from .land import SIDE


def tiny_examinee(side: int = SIDE) -> Examinee:
    """Return a model of 144 tokens per image, for windows of `land`."""
    tokenizer = NanoTokenizer()
    ids = SpecialIds.of(tokenizer)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vision_size": 24, "vision_layers": 1, "vision_heads": 2}
    sizes |= {"query_size": 24, "query_layers": 1, "query_heads": 2, "pixel_size": 8}
    sizes |= {"layers": 2, "heads": 4, "mlp_size": 48, "hidden_size": 32}
    sizes |= {"patch_size": 4 if side < 64 else 8, "stem_channels": 8}
    nano = NanoConfig(vocab_size=tokenizer.vocab_size, window_size=side, **sizes)
    config = TerrascopeConfig(
        nano_config=nano,
        pad_token_id=ids.pad,
        bos_token_id=ids.bos,
        eos_token_id=ids.eos,
        seg_token_id=ids.seg,
        image_token_id=ids.image,
        measure_token_id=ids.measure,
        measure_end_token_id=ids.measure_end,
    )
    model = TerrascopeModel(config).eval()
    return Examinee(model, tokenizer, TerrascopeProcessor(), max_new_tokens=40)
