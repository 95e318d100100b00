"""Baselines at the benchmark: their masks are measured by the ruler, which picks the letter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from terrascope.evaluation.baselines.protocol import Predictor, mask_of
from terrascope.evaluation.conditions import Conditions, apply_conditions
from terrascope.evaluation.items import BenchItem, Reference
from terrascope.evaluation.outcomes import Outcome, outcome_of
from terrascope.evaluation.ruler import support
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.sequences import DatePair
from terrascope.model.windows import Windows

__all__ = ["MaskSource", "run_masks", "run_predictor"]

MaskSource = Callable[[BenchItem, Reference], tuple[Tensor, Tensor]]
"""Probability and binary mask, both of shape (H, W), for a reference of an item."""


def run_masks(items: Sequence[BenchItem], source: MaskSource) -> list[Outcome]:
    """Answer items from masks alone.

    Parameters
    ----------
    items : sequence of BenchItem
        With references: they name the masks.
    source : callable
        Where the masks come from.

    Returns
    -------
    outcomes : list of Outcome
        The letter is the option that the masks, as drawn, support most.
    """
    return [_answer(item, source) for item in items]


def run_predictor(
    items: Sequence[BenchItem],
    predictor: Predictor,
    processor: TerrascopeProcessor,
    conditions: Conditions | None = None,
) -> list[Outcome]:
    """Let a baseline answer items.

    Parameters
    ----------
    items : sequence of BenchItem
        With references.
    predictor : Predictor
        The baseline.
    processor : TerrascopeProcessor
        Of the windows.
    conditions : Conditions or None
        Sensors and cloud; the rest does not apply.

    Returns
    -------
    outcomes : list of Outcome
        In the order of the items.
    """
    chosen = conditions or Conditions()
    seen: dict[str, Windows] = {}
    known: dict[tuple[str, str, DatePair], tuple[Tensor, Tensor]] = {}

    def source(item: BenchItem, reference: Reference) -> tuple[Tensor, Tensor]:
        if item.image not in seen:
            windows = processor([item.window])
            seen[item.image] = apply_conditions(windows, [item.image], chosen)
        key = (item.image, reference.name, reference.dates)
        if key not in known:
            found = mask_of(predictor, seen[item.image], reference.name, reference.dates)
            known[key] = (found[0][0], found[1][0])
        return known[key]

    return run_masks(items, source)


def _answer(item: BenchItem, source: MaskSource) -> Outcome:
    drawn, masks = {}, []
    for reference in item.references:
        probability, mask = source(item, reference)
        rows, columns = reference.mask.shape
        probability, mask = probability[:rows, :columns], mask[:rows, :columns]
        valid = torch.from_numpy(reference.valid)
        drawn[reference.name, reference.dates] = (mask.float(), valid)
        masks.append((probability.numpy(), mask.numpy()))
    supported = support(item, drawn)
    said = None if supported is None else "ABCDEFGH"[int(np.argmax(supported))]
    return outcome_of(item, said, masks, support=max(supported) if supported else float("nan"))
