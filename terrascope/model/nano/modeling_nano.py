"""The nano backbone: the pieces put together behind the `Backbone` protocol."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.backbone import OPTICAL, RADAR, Encoded, MaskPrompts
from terrascope.model.cache import History
from terrascope.model.configuration_terrascope import NanoConfig
from terrascope.model.nano.language import NanoLanguageModel
from terrascope.model.nano.layers import RMSNorm, even_count, filled
from terrascope.model.nano.masks import MaskDecoder, SensorFusion
from terrascope.model.nano.vision import BandStem, Pyramid, Surroundings
from terrascope.model.windows import Windows

__all__ = ["NanoBackbone"]

IMAGES_PER_STEP = 4
"""On a processor: features of more images than this leave its caches between two layers."""


class NanoBackbone(nn.Module):
    """All bands, all dates, on two processor cores; see `terrascope.model.backbone.Backbone`.

    Parameters
    ----------
    config : NanoConfig
        Sizes.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        width = config.vision_size
        self.optical = BandStem(
            config.optical_bands, config.stem_channels, config.optical_mean, config.optical_scale
        )
        self.radar = BandStem(
            config.radar_bands, config.stem_channels, config.radar_mean, config.radar_scale
        )
        self.surroundings = Surroundings(width)
        self.pyramid = Pyramid(config)
        self.project_in = nn.Linear(width, config.hidden_size)
        self.project_out = nn.Linear(config.hidden_size, config.hidden_size)
        self.project_norm = RMSNorm(config.hidden_size)
        self.remember = nn.Linear(width, config.query_size)
        self.fusion = SensorFusion(config.pixel_size)
        self.masks = MaskDecoder(config)
        self.language_model = NanoLanguageModel(config)

    @property
    def hidden_size(self) -> int:
        """Size D of tokens and states."""
        return self.config.hidden_size

    @property
    def grid(self) -> int:
        """Cells per side of the configured window."""
        return self.config.window_size // self.config.patch_size

    def encode(self, windows: Windows) -> Encoded:
        """Run the image encoder on the images that exist.

        Parameters
        ----------
        windows : Windows
            B windows of the configured size.

        Returns
        -------
        encoded : Encoded
            Zero where an image is absent.

        Raises
        ------
        ValueError
            If the windows have another size than the model was made for.
        """
        side = self.config.window_size
        if windows.shape_yx != (side, side):
            raise ValueError(
                f"windows of {windows.shape_yx} pixels, the model takes {(side, side)}: "
                "cut or pad them in the processing"
            )
        present = windows.present  # (B, T, S)
        context = self.surroundings(windows.day_of_year, windows.days, windows.gsd_m)
        optical, radar = present[..., OPTICAL], present[..., RADAR]
        looks = self._look(
            self.optical,
            windows.optical[optical],
            windows.optical_valid[optical],
            context[:, :, OPTICAL][optical],
        )
        looks += self._look(
            self.radar,
            windows.radar[radar],
            windows.radar_valid[radar],
            context[:, :, RADAR][radar],
        )
        cells, content, pixels = (torch.cat(part) for part in zip(*looks, strict=True))
        tokens = self.project_norm(self.project_out(functional.gelu(self.project_in(cells))))
        parts = (tokens, content, self.remember(cells), pixels)
        spread = [_spread(part, present, int(optical.sum())) for part in parts]
        return Encoded(
            tokens=spread[0],
            present=present,
            content=spread[1],
            mask_features={"cells": spread[2], "pixels": self.fusion(spread[3], present)},
        )

    def _look(
        self, stem: BandStem, images: Tensor, valid: Tensor, context: Tensor
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Run one sensor's images through the pyramid, a few at a time on a processor."""
        real, device = len(images), images.device
        count = even_count(real, device)
        images, valid, context = (filled(part, count) for part in (images, valid, context))
        few = device.type == "cpu" and not torch.is_grad_enabled()
        step = IMAGES_PER_STEP if few else max(count, 1)
        looks = []
        for start in range(0, max(count, 1), step):
            at = slice(start, start + step)
            cells, content, pixels = self.pyramid(stem(images[at], valid[at]), context[at])
            left = max(real - start, 0)
            looks.append((cells[:left], content[:left], pixels[:left]))
        return looks

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
        return self.language_model.embed(ids)

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
        hidden: Tensor = self.language_model(embeddings, positions, mask, cache)
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
        return self.language_model.logits(hidden)

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
        logits: Tensor = self.masks(features["pixels"], features["cells"], encoded.present, prompts)
        return logits


def _spread(part: Tensor, present: Tensor, optical: int) -> Tensor:
    """Put images (optical ones first) to their places, (I, ...) -> (B, T, S, ...)."""
    out = part.new_zeros(*present.shape, *part.shape[1:])
    out[:, :, 0] = out[:, :, 0].index_put((present[..., 0],), part[:optical])
    out[:, :, 1] = out[:, :, 1].index_put((present[..., 1],), part[optical:])
    return out
