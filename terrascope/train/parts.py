"""The parts of a model by name: what a stage freezes and what it lets learn."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import MappingProxyType

from torch import nn

from terrascope.errors import ConfigError

__all__ = ["PARTS", "freeze", "part_of"]

PARTS = MappingProxyType(
    {
        "vision": (
            "backbone.optical.",
            "backbone.radar.",
            "backbone.surroundings.",
            "backbone.pyramid.",
            "backbone.vision_language.model.vision_tower.",
            "backbone.mask_generator.vision_encoder.",
            "backbone.mask_generator.shared_image_embedding.",
        ),
        "projector": (
            "backbone.project_in.",
            "backbone.project_out.",
            "backbone.project_norm.",
            "backbone.vision_language.model.multi_modal_projector.",
        ),
        "dates": ("backbone.masks.dates.",),
        "masks": (
            "backbone.remember.",
            "backbone.fusion.",
            "backbone.masks.",
            "backbone.bridge.",
            "backbone.mask_generator.",
        ),
        "language": (
            "backbone.language_model.",
            "backbone.vision_language.model.language_model.",
            "backbone.vision_language.lm_head.",
        ),
    }
)
"""Beginnings of the names of parameters, for both backbones."""


def part_of(parameter: str) -> str | None:
    """Find the part that a parameter belongs to.

    Parameters
    ----------
    parameter : str
        Its name in the model.

    Returns
    -------
    part : str or None
        A key of `PARTS`; None for a parameter of none of them.
    """
    for part, beginnings in PARTS.items():
        if parameter.startswith(beginnings):
            return part
    return None


def freeze(model: nn.Module, frozen: Sequence[str], able: Collection[str] | None = None) -> int:
    """Let all parts learn but some.

    Parameters
    ----------
    model : Module
        Its parameters' `requires_grad` is set.
    frozen : sequence of str
        Keys of `PARTS`.
    able : collection of str or None
        Parameters that may learn at all, where adapters hold others; None for all.

    Returns
    -------
    learning : int
        Number of weights that learn.

    Raises
    ------
    ConfigError
        If there is no such part, the model has nothing of it, or nothing is left to learn.
    """
    if unknown := [part for part in frozen if part not in PARTS]:
        raise ConfigError(f"frozen part {unknown[0]!r}: expected some of {', '.join(PARTS)}")
    found: set[str | None] = set()
    learning = 0
    for name, parameter in model.named_parameters():
        part = part_of(name)
        found.add(part)
        learns = part not in frozen and (able is None or name in able)
        parameter.requires_grad_(learns)
        learning += parameter.numel() if learns else 0
    if missing := [part for part in frozen if part not in found]:
        raise ConfigError(f"frozen part {missing[0]!r}: this model has no such parameters")
    if not learning:
        raise ConfigError(f"frozen parts {', '.join(frozen)}: nothing is left to learn")
    return learning
