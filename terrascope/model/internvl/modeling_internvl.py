"""The 8b backbone: InternVL3 and SAM-2 of transformers behind the `Backbone` protocol."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import InternVLConfig, InternVLForConditionalGeneration, Sam2Config, Sam2Model

from terrascope.model.backbone import OPTICAL, RADAR, Encoded, MaskPrompts
from terrascope.model.cache import History
from terrascope.model.configuration_terrascope import TerrascopeConfig
from terrascope.model.internvl.masks import Bridge, decode, image_features
from terrascope.model.pictures import to_pictures
from terrascope.model.windows import Windows

__all__ = ["InternVLBackbone"]


class InternVLBackbone(nn.Module):
    """InternVL for tokens and language, SAM-2 for masks; see `terrascope.model.backbone.Backbone`.

    Parameters
    ----------
    config : TerrascopeConfig
        With `vision_language_config` and `mask_config`.
    vision_language : InternVLForConditionalGeneration or None
        Loaded weights; None for fresh ones.
    mask_generator : Sam2Model or None
        Likewise.

    Raises
    ------
    ValueError
        If a part of the configuration is missing, or SAM-2 takes images of another size than
        its prompts.
    """

    def __init__(
        self,
        config: TerrascopeConfig,
        vision_language: InternVLForConditionalGeneration | None = None,
        mask_generator: Sam2Model | None = None,
    ) -> None:
        super().__init__()
        language, masks = _parts(config)
        # The same masks in training and in evaluation.
        masks.mask_decoder_config.dynamic_multimask_via_stability = False
        self.composite = config.optical_composite
        self.image_side = _side(language.vision_config.image_size)
        self.mask_side = _side(masks.vision_config.backbone_config.image_size)
        if self.mask_side != masks.prompt_encoder_config.image_size:
            raise ValueError(
                f"SAM-2 encodes {self.mask_side} pixels, but is prompted for "
                f"{masks.prompt_encoder_config.image_size}: set both alike"
            )
        patch = _side(language.vision_config.patch_size)
        self._grid = int(self.image_side // patch * language.downsample_ratio)
        self.vision_language = vision_language or InternVLForConditionalGeneration(language)
        self.mask_generator = mask_generator or Sam2Model(masks)
        self.mask_generator.mask_decoder.dynamic_multimask_via_stability = False
        self.bridge = Bridge(self.hidden_size, masks.prompt_encoder_config.hidden_size)

    @property
    def hidden_size(self) -> int:
        """Size D of tokens and states."""
        return int(self.vision_language.config.get_text_config().hidden_size)

    @property
    def grid(self) -> int:
        """Cells per side of an image."""
        return self._grid

    def freeze_encoders(self) -> None:
        """Keep both image encoders as they are; everything else stays trainable."""
        self.vision_language.model.vision_tower.requires_grad_(requires_grad=False)
        self.mask_generator.vision_encoder.requires_grad_(requires_grad=False)
        self.mask_generator.shared_image_embedding.requires_grad_(requires_grad=False)

    def encode(self, windows: Windows) -> Encoded:
        """Run the image encoders on the images that exist.

        Parameters
        ----------
        windows : Windows
            B windows.

        Returns
        -------
        encoded : Encoded
            An image is present where a pixel has all bands of its picture. Masks are decoded on
            the optical image of a date, on the radar image where there is none.
        """
        names = (self.composite, "radar")
        pictures, present = to_pictures(windows, self.image_side, names)
        tokens = self._tokens(pictures, present)
        date_seen = present.any(-1)
        large, _ = to_pictures(windows, self.mask_side, names)
        optical = present[:, :, OPTICAL, None, None, None]
        picture = torch.where(optical, large[:, :, OPTICAL], large[:, :, RADAR])[date_seen]
        dtype = self.mask_generator.no_memory_embedding.dtype
        levels = image_features(self.mask_generator, picture.to(dtype))
        features = {
            f"level{number}": level.new_zeros(*date_seen.shape, *level.shape[1:]).index_put(
                (date_seen,), level
            )
            for number, level in enumerate(levels)
        }
        features["size_yx"] = torch.tensor([windows.shape_yx] * len(windows))
        return Encoded(tokens=tokens, present=present, content=tokens, mask_features=features)

    def _tokens(self, pictures: Tensor, present: Tensor) -> Tensor:
        """Visual tokens of the images that exist, zero elsewhere, shape (B, T, S, N, D)."""
        found = self.vision_language.model.get_image_features(
            pixel_values=pictures[present], return_dict=True
        ).pooler_output
        tokens: Tensor = found.new_zeros(*present.shape, *found.shape[1:])
        return tokens.index_put((present,), found)

    def embed(self, ids: Tensor) -> Tensor:
        """Embed text tokens.

        Parameters
        ----------
        ids : Tensor of int64, shape (...)
            Token ids.

        Returns
        -------
        embeddings : Tensor of float, shape (..., D)
            In the space of the visual tokens.
        """
        embeddings: Tensor = self.vision_language.get_input_embeddings()(ids)
        return embeddings

    def language(
        self,
        embeddings: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        cache: History | None = None,
    ) -> Tensor:
        """Run the language model over new positions.

        Parameters
        ----------
        embeddings : Tensor of float, shape (R, L, D)
            Text and visual tokens.
        positions : Tensor of int64, shape (R, L)
            In their own sequence.
        mask : Tensor of bool or None, shape (R, 1, L, K)
            True where a token may look; None: at its past and itself, which with a
            history is said of one token only.
        cache : History or None
            History, with an open step.

        Returns
        -------
        hidden : Tensor of float, shape (R, L, D)
            After the final normalisation.
        """
        # As a mapping the library takes masks as they are, None for "plainly causal" included.
        masks = {"full_attention": mask, "sliding_attention": mask}
        hidden: Tensor = self.vision_language.model.language_model(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=masks,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Score the next token.

        Parameters
        ----------
        hidden : Tensor of float, shape (..., D)
            From `language`.

        Returns
        -------
        logits : Tensor of float, shape (..., V)
            Over the vocabulary.
        """
        logits: Tensor = self.vision_language.lm_head(hidden)
        return logits

    def decode_masks(self, encoded: Encoded, prompts: MaskPrompts) -> Tensor:
        """Decode masks from the states of ``[SEG]``.

        Parameters
        ----------
        encoded : Encoded
            From `encode`.
        prompts : MaskPrompts
            M masks.

        Returns
        -------
        logits : Tensor of float, shape (M, H, W)
            On the pixels of the window.
        """
        features = encoded.mask_features
        height, width = features["size_yx"][0].tolist()
        if not len(prompts.date):
            return prompts.states.new_zeros(0, height, width)
        levels = [features[f"level{n}"] for n in range(len(features) - 1)]
        return decode(self.mask_generator, self.bridge, levels, prompts, (height, width))


def _parts(config: TerrascopeConfig) -> tuple[Any, Any]:
    """Return both configurations; transformers types their fields as "dict or configuration"."""
    language, masks = config.vision_language_config, config.mask_config
    if not isinstance(language, InternVLConfig) or not isinstance(masks, Sam2Config):
        raise ValueError(
            "an 'internvl' backbone needs vision_language_config (InternVLConfig) and "
            f"mask_config (Sam2Config), not {type(language).__name__}, {type(masks).__name__}"
        )
    return language, masks


def _side(size: int | list[int] | tuple[int, int]) -> int:
    """Return the side of a square given as a number or as a pair."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ValueError(f"images of {size} pixels: expected a square")
    return int(sides.pop())
