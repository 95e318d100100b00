"""InternVL and SAM-2 of transformers with tiny random weights, on disk and composed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedTokenizerFast,
    Sam2Config,
    Sam2Model,
)

from terrascope.model.configuration_terrascope import TerrascopeConfig
from terrascope.model.internvl.loading import special_token_settings
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.tokenization_nano import NanoTokenizer

IMAGE_SIDE = MASK_SIDE = 64


def language_config(vocab_size: int, **text: Any) -> InternVLConfig:
    """Return sizes with 64 tokens per image; untied like the 8B."""
    return InternVLConfig(
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "image_size": [IMAGE_SIDE, IMAGE_SIDE],
            "patch_size": [4, 4],
            "attention_bias": True,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": vocab_size,
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        }
        | text,
        image_seq_length=64,
        image_token_id=4,
        tie_word_embeddings=False,
    )


def mask_config() -> Sam2Config:
    """Return sizes with the levels of the real one: strides 4, 8 and 16."""
    return Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [MASK_SIDE, MASK_SIDE],
                "hidden_size": 8,
                "num_attention_heads": 1,
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [4, 2, 2, 2],
                "window_positional_embedding_background_size": [4, 4],
                "global_attention_blocks": [3],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={
            "hidden_size": 32,
            "image_size": MASK_SIDE,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )


def save_parts(folder: Path, vocab_size: int, seed: int = 0) -> tuple[Path, Path]:
    """Write both checkpoints as transformers' own classes write them."""
    torch.manual_seed(seed)
    language = InternVLForConditionalGeneration(language_config(vocab_size))
    masks = Sam2Model(mask_config())
    with torch.no_grad():
        masks.no_memory_embedding.normal_()
    language.save_pretrained(folder / "language")
    masks.save_pretrained(folder / "masks")
    return folder / "language", folder / "masks"


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer of the kind that language models come with."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: n for n, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    return fast


def tiny_8b(tokenizer: NanoTokenizer, seed: int = 0) -> TerrascopeModel:
    """Return a composed random model whose masks are neither empty nor full."""
    torch.manual_seed(seed)
    config = TerrascopeConfig(
        backbone="internvl",
        vision_language_config=language_config(tokenizer.vocab_size),
        mask_config=mask_config(),
        **special_token_settings(tokenizer),
    )
    model = TerrascopeModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # Fresh weights of the library are so small that every mask would be the same.
        for parameter in model.backbone.mask_generator.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.3 if parameter.ndim > 1 else 0.05))
        for parameter in model.backbone.vision_language.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.1 if parameter.ndim > 1 else 0.02))
    return model
