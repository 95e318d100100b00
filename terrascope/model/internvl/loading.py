"""The 8b model from its original checkpoints, and its sizes."""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedTokenizerBase,
    Sam2Config,
    Sam2Model,
)

from terrascope.model.configuration_terrascope import TerrascopeConfig
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.tokenization_nano import SpecialIds
from terrascope.vocabulary import SPECIAL_TOKENS

__all__ = ["compose", "config_8b", "special_token_settings"]


def special_token_settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    """Look up the ids that a configuration holds.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With the tokens of `terrascope.vocabulary.SPECIAL_TOKENS`.

    Returns
    -------
    settings : dict
        Keyword arguments of `TerrascopeConfig`.
    """
    ids = SpecialIds.of(tokenizer)
    return {
        "pad_token_id": ids.pad,
        "bos_token_id": ids.bos,
        "eos_token_id": ids.eos,
        "seg_token_id": ids.seg,
        "image_token_id": ids.image,
        "measure_token_id": ids.measure,
        "measure_end_token_id": ids.measure_end,
    }


def compose(
    vision_language: str | os.PathLike[str],
    mask_generator: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: torch.dtype = torch.bfloat16,
    **settings: Any,
) -> TerrascopeModel:
    """Put original checkpoints together.

    Parameters
    ----------
    vision_language : str or path
        Folder or hub name of an InternVL checkpoint in the format of transformers
        (``OpenGVLab/InternVL3-8B-hf``).
    mask_generator : str or path
        Likewise of SAM-2 (``facebook/sam2-hiera-large``).
    tokenizer : PreTrainedTokenizerBase
        Of the language model. Missing special tokens are added to it; save it beside the model.
    dtype : torch.dtype
        Of the weights.
    **settings : Any
        Of `TerrascopeConfig`.

    Returns
    -------
    model : TerrascopeModel
        Everything loaded, except the bridge and the rows of new tokens, which are to be trained.
    """
    language = InternVLForConditionalGeneration.from_pretrained(vision_language, dtype=dtype)
    masks = Sam2Model.from_pretrained(mask_generator, dtype=dtype)
    known = tokenizer.get_vocab()
    own = {tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token}
    framed = [tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token]
    wanted = [
        token
        for place, token in enumerate(SPECIAL_TOKENS)
        if token not in known and token not in own and (place > 2 or framed[place] is None)
    ]
    tokenizer.add_tokens(wanted, special_tokens=True)
    rows = int(language.get_input_embeddings().weight.size(0))  # type: ignore[operator]
    if len(tokenizer) > rows:
        language.resize_token_embeddings(len(tokenizer))
    config = TerrascopeConfig(
        backbone="internvl",
        vision_language_config=language.config,
        mask_config=masks.config,
        dtype=dtype,
        **(special_token_settings(tokenizer) | settings),
    )
    model = TerrascopeModel(config, vision_language=language, mask_generator=masks)
    model.to(dtype=dtype)  # type: ignore[call-arg]
    model.train(mode=False)
    return model


def config_8b(**settings: Any) -> TerrascopeConfig:
    """Return the sizes of terrascope-8b: InternVL3-8B and SAM-2 with Hiera-L.

    Parameters
    ----------
    **settings : Any
        Of `TerrascopeConfig`.

    Returns
    -------
    config : TerrascopeConfig
        Of 8.2 billion parameters.
    """
    language = InternVLConfig(
        vision_config={
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "image_size": [448, 448],
            "patch_size": [14, 14],
            "attention_bias": True,
            "norm_type": "layer_norm",
            "use_qk_norm": False,
            "layer_scale_init_value": 0.1,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 151674,
            "max_position_embeddings": 32768,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": False,
        },
        image_seq_length=256,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    masks = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 144,
                "num_attention_heads": 2,
                "blocks_per_stage": [2, 6, 36, 4],
                "embed_dim_per_stage": [144, 288, 576, 1152],
                "num_attention_heads_per_stage": [2, 4, 8, 16],
                "window_size_per_stage": [8, 4, 16, 8],
                "global_attention_blocks": [23, 33, 43],
            },
            "backbone_channel_list": [1152, 576, 288, 144],
        }
    )
    return TerrascopeConfig(
        backbone="internvl", vision_language_config=language, mask_config=masks, **settings
    )
