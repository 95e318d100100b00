"""Compiled encoders, language steps and mask decoder, for long runs."""

from __future__ import annotations

from typing import Any

import torch

from terrascope.model.modeling_terrascope import TerrascopeModel

__all__ = ["HISTORY_BLOCK", "compile_model"]

HISTORY_BLOCK = 256
"""Positions by which histories grow under a compiled language model."""


def compile_model(
    model: TerrascopeModel,
    *,
    cuda_graphs: bool = False,
    history_block: int = HISTORY_BLOCK,
    backend: str = "inductor",
) -> None:
    """Compile a model for generation, in place.

    Parameters
    ----------
    model : TerrascopeModel
        In evaluation mode, where it is to run. Its weights, their names and its numbers (to
        rounding) stay; only the parts named below run differently.
    cuda_graphs : bool
        Also record the steps of the language model as CUDA graphs: a step is one launch
        instead of hundreds, which is most of the time of a small batch on a GPU.
    history_block : int
        Histories of generations grow by so many positions. Every size is compiled or recorded
        once; larger blocks are fewer sizes, and more empty positions looked at.
    backend : str
        Of ``torch.compile``. ``"aot_eager"`` traces in seconds and compiles nothing: to see
        whether a changed model still can be traced.

    Raises
    ------
    ValueError
        If CUDA graphs are asked for and the model is not on a CUDA device.

    Notes
    -----
    Compiled are the image encoders, the mask decoder and the language model for steps of one
    token per row, by ``torch.compile``. Prompts, whose lengths differ, and the bookkeeping of
    the history run as before. The first calls take minutes, and need a C++ compiler (on a GPU,
    Triton): worth it for maps of thousands of windows, not for one question. A copy of a
    compiled model still calls the original: copy first.
    """
    device = model.device
    if cuda_graphs and device.type != "cuda":
        raise ValueError(
            f"CUDA graphs of a model on {device.type!r}: move it to a CUDA device first, or "
            "leave cuda_graphs out"
        )
    if history_block < 1:
        raise ValueError(f"history_block is at least 1, not {history_block}")
    around, language = _parts(model)
    for part in around:
        part.compile(backend=backend)
    language.forward = _stepwise(language.forward, backend, cuda_graphs=cuda_graphs)
    model.history_block = history_block


def _parts(model: TerrascopeModel) -> tuple[list[Any], Any]:
    """Name what is compiled whole, and the language model."""
    backbone: Any = model.backbone
    if model.config.backbone == "nano":
        around = [backbone.optical, backbone.radar, backbone.pyramid, backbone.fusion]
        return [*around, backbone.masks], backbone.language_model
    reader, masks = backbone.vision_language.model, backbone.mask_generator
    around = [reader.vision_tower, reader.multi_modal_projector, masks.vision_encoder]
    return [*around, masks.mask_decoder], reader.language_model


def _stepwise(eager: Any, backend: str, *, cuda_graphs: bool) -> Any:
    """Compile calls with one position per row; leave the others."""
    compiled: Any = torch.compile(
        eager, backend=backend, mode="reduce-overhead" if cuda_graphs else None
    )

    def forward(*args: Any, **settings: Any) -> Any:
        embeddings = args[0] if args else settings["inputs_embeds"]
        if embeddings.shape[1] > 1:
            return eager(*args, **settings)
        if cuda_graphs:
            # What a graph returned is overwritten by the next one; the loop copies it before.
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return compiled(*args, **settings)

    return forward
