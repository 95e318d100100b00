"""SAM-2's mask decoder prompted by the language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Sam2Model

from terrascope.model.backbone import MaskPrompts
from terrascope.model.nano.layers import ZeroConv

__all__ = ["Bridge", "decode", "image_features"]


class Bridge(nn.Module):
    """What stands between the two models: the state of ``[SEG]`` becomes a prompt.

    Parameters
    ----------
    hidden_size : int
        Of the language model.
    prompt_size : int
        Of SAM-2's prompts.
    """

    def __init__(self, hidden_size: int, prompt_size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(hidden_size, hidden_size)
        self.outer = nn.Linear(hidden_size, prompt_size)
        self.change = ZeroConv(2 * prompt_size, prompt_size, 1)

    def forward(self, states: Tensor) -> Tensor:
        """Translate states.

        Parameters
        ----------
        states : Tensor of float, shape (M, D)
            At ``[SEG]``, after the final normalisation.

        Returns
        -------
        prompts : Tensor, shape (M, prompt size)
            Linear, ReLU, linear [1]_.

        References
        ----------
        .. [1] Shu et al. (2026). TerraScope. arXiv:2603.19039, section 3.
        """
        prompts: Tensor = self.outer(functional.relu(self.inner(states)))
        return prompts

    def of_change(self, before: Tensor, after: Tensor) -> Tensor:
        """Mix the features of two dates.

        Parameters
        ----------
        before, after : Tensor of float, shape (U, prompt size, h, w)
            Coarsest features of SAM-2.

        Returns
        -------
        features : Tensor, same shape
            Those of the later date and what the convolution adds; it starts at zero, so that an
            untrained change mask is the mask of the later date.
        """
        mixed: Tensor = after + self.change(torch.cat([before, after], 1))
        return mixed


def image_features(sam: Sam2Model, images: Tensor) -> list[Tensor]:
    """Run SAM-2's image encoder.

    Parameters
    ----------
    sam : Sam2Model
        The library's; its own `get_image_embeddings` does the same without a gradient, which
        the decoder's convolutions on the fine levels need.
    images : Tensor of float, shape (I, 3, side, side)
        Pictures.

    Returns
    -------
    levels : list of Tensor, shape (I, C, h, w)
        Fine to coarse; the fine ones already through the decoder's convolutions.
    """
    levels = list(sam.get_image_features(images, return_dict=True).fpn_hidden_states)
    levels[-1] = levels[-1] + sam.no_memory_embedding
    sizes = sam.backbone_feature_sizes
    return [
        level.permute(1, 2, 0).reshape(images.shape[0], -1, *size)
        for level, size in zip(levels, sizes, strict=True)
    ]


def decode(
    sam: Sam2Model,
    bridge: Bridge,
    levels: list[Tensor],
    prompts: MaskPrompts,
    size_yx: tuple[int, int],
) -> Tensor:
    """Decode masks; those of one image in one call.

    Parameters
    ----------
    sam : Sam2Model
        The library's.
    bridge : Bridge
        States to prompts.
    levels : list of Tensor, shape (B, T, C, h, w)
        From `image_features`.
    prompts : MaskPrompts
        M masks.
    size_yx : tuple of int
        Pixels of the window.

    Returns
    -------
    logits : Tensor of float, shape (M, H, W)
        Low-resolution masks of SAM-2, interpolated bilinearly.
    """
    keys = torch.stack([prompts.window, prompts.before, prompts.date], 1)
    images, image = torch.unique(keys, dim=0, return_inverse=True)
    window, before, date = images.unbind(1)
    coarse = levels[-1][window, date]  # (U, C, h, w)
    change = before >= 0
    if bool(change.any()):
        mixed = bridge.of_change(levels[-1][window, before.clamp(min=0)], coarse)
        coarse = torch.where(change[:, None, None, None], mixed, coarse)
    place, most = _places(image, len(images))
    words = bridge(prompts.states)
    language = words.new_zeros(len(images), most, words.shape[-1])
    language = language.index_put((image, place), words)[:, :, None]  # (U, P, 1, C)
    points = language.new_zeros(len(images), most, 1, 2)
    labels = torch.full(points.shape[:3], -1, dtype=torch.int32, device=points.device)
    sparse, dense = sam.prompt_encoder(
        input_points=points, input_labels=labels, input_boxes=None, input_masks=None
    )
    masks, *_ = sam.mask_decoder(
        image_embeddings=coarse,
        image_positional_embeddings=sam.get_image_wide_positional_embeddings().repeat(
            len(images), 1, 1, 1
        ),
        sparse_prompt_embeddings=torch.cat([sparse, language], 2),
        dense_prompt_embeddings=dense,
        multimask_output=False,
        high_resolution_features=[level[window, date] for level in levels[:-1]],
    )
    low = masks[image, place]  # (M, 1, h, w)
    return functional.interpolate(low, size=size_yx, mode="bilinear", align_corners=False)[:, 0]


def _places(image: Tensor, images: int) -> tuple[Tensor, int]:
    """Give the masks of each image numbers, and count those of the image that has most."""
    same = functional.one_hot(image, images).cumsum(0)
    place = same.gather(1, image[:, None])[:, 0] - 1
    return place, int(place.max()) + 1
