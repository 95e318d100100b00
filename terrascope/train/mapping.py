"""One mask of whole scenes: overlapping windows, blended."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from terrascope.data.samples import indicator_of
from terrascope.data.scenes import PAIR_WITHIN_DAYS, LabelledScene
from terrascope.data.views import cut
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor, pair_dates
from terrascope.model.prompts import compose_query
from terrascope.model.sequences import DatePair
from terrascope.model.stacks import Window
from terrascope.train.validation import evaluating
from terrascope.types import FloatArray

__all__ = ["map_logits"]

_WINDOWS_PER_STEP = 8
_UNSEEN = -20.0


def map_logits(
    model: TerrascopeModel,
    tokenizer: PreTrainedTokenizerBase,
    processor: TerrascopeProcessor,
    windows: Sequence[Window],
    name: str,
    dates: DatePair,
    *,
    size_px: int,
) -> list[FloatArray]:
    """Map a class or change over scenes, the trace given.

    Parameters
    ----------
    model : TerrascopeModel
        Maps; for windows of `size_px`.
    tokenizer : PreTrainedTokenizerBase
        Its own.
    processor : TerrascopeProcessor
        Its own.
    windows : sequence of Window
        Scenes of any size.
    name : str
        Of the class or change.
    dates : DatePair
        Of the mask.
    size_px : int
        Side of the windows that the model sees; they overlap by half.

    Returns
    -------
    logits : list of ndarray of float32, shape (H, W)
        Before the temperature; the mean of the windows, a pixel counting less towards the edge
        of one; -20 where no window saw anything.
    """
    processor = dataclasses.replace(processor, size_px=size_px)
    places = [
        (n, top, left, part)
        for n, window in enumerate(windows)
        for top, left in _corners(window.geometry.shape_yx, size_px)
        if (part := _part(window, top, left, size_px)) is not None
    ]
    sums = [np.zeros(window.geometry.shape_yx, np.float64) for window in windows]
    weights = [np.zeros_like(one) for one in sums]
    ramp = 1 - np.abs((np.arange(size_px) + 0.5) / size_px * 2 - 1)
    hat = np.outer(ramp, ramp) + 1e-3
    where = indicator_of(dates)
    device = model.device
    with evaluating(model):
        for start in range(0, len(places), _WINDOWS_PER_STEP):
            group = places[start : start + _WINDOWS_PER_STEP]
            batch = processor([part for *_, part in group])
            queries = [
                compose_query(
                    tokenizer, batch, n, f"Map {name} in {where}.", f"<think>{name} {where}[SEG]"
                )
                for n in range(len(group))
            ]
            masks = torch.zeros(len(group), size_px, size_px, dtype=torch.bool, device=device)
            output = model(batch.to(device), queries, injected=masks, shared=True)
            for (n, top, left, _), found in zip(group, output.mask_logits, strict=True):
                rows, columns = (min(size_px, side) for side in sums[n].shape)
                at = (slice(top, top + rows), slice(left, left + columns))
                piece = found.float().cpu().numpy()[:rows, :columns]
                sums[n][at] += piece * hat[:rows, :columns]
                weights[n][at] += hat[:rows, :columns]
    return [
        np.where(w > 0, s / np.maximum(w, 1e-9), _UNSEEN).astype(np.float32)
        for s, w in zip(sums, weights, strict=True)
    ]


def _corners(shape_yx: tuple[int, int], size: int) -> Iterator[tuple[int, int]]:
    """Lay windows over a scene, each half over the one before, the last at the edge."""
    last = [max(side - size, 0) for side in shape_yx]
    for top in [*range(0, last[0], max(size // 2, 1)), last[0]]:
        for left in [*range(0, last[1], max(size // 2, 1)), last[1]]:
            yield top, left


def _part(window: Window, top: int, left: int, size: int) -> Window | None:
    """Cut a window out of a scene; None where it saw nothing. A smaller scene stays whole."""
    rows, columns = window.geometry.shape_yx
    if rows <= size and columns <= size:
        return window
    dates = len(pair_dates(window, PAIR_WITHIN_DAYS))
    whole = LabelledScene("scene", window, np.zeros((dates, rows, columns), np.uint8))
    try:
        return cut(whole, top, left, size).window
    except ValueError:  # nothing observed there
        return None
