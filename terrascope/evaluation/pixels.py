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
from terrascope.model.windows import Windows
from terrascope.vocabulary import OPTION_LETTERS

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
    maps = _Maps(predictor)
    seen: tuple[str, Windows] | None = None

    def source(item: BenchItem, reference: Reference) -> tuple[Tensor, Tensor]:
        nonlocal seen
        if seen is None or seen[0] != item.image:
            windows = processor([item.window])
            seen = (item.image, apply_conditions(windows, [item.image], chosen))
        found = mask_of(maps, seen[1], reference.name, reference.dates)
        return found[0][0], found[1][0]

    return run_masks(items, source)


class _Maps:
    """A predictor that maps a batch of windows once, however many masks of it are wanted."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._windows: Windows | None = None
        self._known: dict[tuple[int, ...], Tensor] = {}

    def cover(self, windows: Windows) -> Tensor:
        """Map land cover; see `terrascope.evaluation.baselines.protocol.Predictor`."""
        return self._once(windows, (), lambda: self.predictor.cover(windows))

    def change(self, windows: Windows, before: int, date: int) -> Tensor:
        """Map change; see `terrascope.evaluation.baselines.protocol.Predictor`."""
        key = (before, date)
        return self._once(windows, key, lambda: self.predictor.change(windows, before, date))

    def _once(self, windows: Windows, key: tuple[int, ...], made: Callable[[], Tensor]) -> Tensor:
        if windows is not self._windows:
            self._windows, self._known = windows, {}
        if key not in self._known:
            self._known[key] = made()
        return self._known[key]


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
    said = None if supported is None else OPTION_LETTERS[int(np.argmax(supported))]
    backed = max(supported) if supported else float("nan")
    return outcome_of(item, said, masks, support=backed, supported=said)
