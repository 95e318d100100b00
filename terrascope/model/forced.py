"""Forced traces: masks that are named, not asked for in free words, for whole maps.

Every mask has a question of its own, as training asks them; the images of a window are run once
for all of them. Nothing is generated: the trace is given up to its ``[SEG]``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from terrascope.model.generation_terrascope import generate
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.precision import inference_precision
from terrascope.model.prompts import compose_query, text_of
from terrascope.model.sequences import DatePair
from terrascope.model.windows import Windows
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, LAND_COVER, Token, image_indicator

__all__ = ["ANY_CHANGE", "CHANGE_KINDS", "QUESTION", "forced_logits", "pair_masks"]

ANY_CHANGE = "change"
"""The mask of any change."""

CHANGE_KINDS = tuple(kind for kind in sorted(CHANGE_NAMES) if kind is not ChangeKind.NONE)
"""In the order of the masks of `pair_masks`."""

QUESTION = "Where is {name} in {dates}?"


def pair_masks() -> tuple[tuple[str, DatePair], ...]:
    """Return the masks that a map of two dates needs.

    Returns
    -------
    names : tuple of (str, tuple of int)
        Name and dates of each: the eight classes on the first date, on the second, any change,
        and `CHANGE_KINDS`.
    """
    cover = [(name, (-1, date)) for date in (0, 1) for name in LAND_COVER]
    kinds = [CHANGE_NAMES[kind] for kind in CHANGE_KINDS]
    return (*cover, *((name, (0, 1)) for name in (ANY_CHANGE, *kinds)))


def forced_logits(
    model: TerrascopeModel,
    tokenizer: PreTrainedTokenizerBase,
    windows: Windows,
    names: Sequence[tuple[str, DatePair]],
    *,
    precision: str = "auto",
) -> Tensor:
    """Decode named masks of every window.

    Parameters
    ----------
    model : TerrascopeModel
        In evaluation mode.
    tokenizer : PreTrainedTokenizerBase
        Its own.
    windows : Windows
        B windows that have these dates.
    names : sequence of (str, tuple of int)
        Name and dates of M masks, as from `pair_masks`.
    precision : str
        One of `terrascope.model.precision.PRECISIONS`.

    Returns
    -------
    logits : Tensor of float32, shape (B, M, H, W)
        On the CPU, divided by the calibrated temperature: their sigmoid is a probability.
    """
    there = windows.to(model.device)
    with torch.inference_mode(), inference_precision(model.device, precision):
        encoded = model.encode(there)
    queries = []
    for window, (name, (before, date)) in itertools.product(range(len(there)), names):
        first, last = (date, None) if before < 0 else (before, date)
        dates = image_indicator(first + 1, None if last is None else last + 1)
        queries.append(
            compose_query(
                tokenizer,
                there,
                window,
                QUESTION.format(name=name, dates=dates),
                f"{Token.THINK}{name} {dates}{Token.SEG}",
                present=encoded.present,
            )
        )
    said = generate(
        model,
        there,
        queries,
        text=text_of(tokenizer),
        max_new_tokens=0,
        encoded=encoded,
        precision=precision,
    )
    found = torch.stack([one.events[0].logits for one in said]).float().cpu()
    return found.reshape(len(there), len(names), *found.shape[1:]) / model.config.mask_temperature
