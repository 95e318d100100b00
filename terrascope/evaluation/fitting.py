"""Calibration on validation data: three things are fitted, and saved in the model's folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from terrascope.evaluation.conditions import Conditions
from terrascope.evaluation.items import BenchItem, first_of_each
from terrascope.evaluation.outcomes import summary
from terrascope.evaluation.reliability import reliability
from terrascope.evaluation.runner import Examinee, Progress, run_bench
from terrascope.model.calibration import Judged, coverage, fit_correlation_length, fit_temperature
from terrascope.model.confidence import fit_answer_confidence
from terrascope.model.generation_terrascope import MaskEvent
from terrascope.model.sequences import DatePair
from terrascope.model.uncertainty import Calibration

__all__ = ["fit_calibration"]

_PIXELS_PER_MASK = 2000
_JUDGED = 240
"""Masks that the correlation length is fitted on."""
_FORCED = 240
"""Items whose reference traces give the masks that the temperature is fitted on."""


@dataclasses.dataclass(eq=False)
class _Collected:
    """Mask logits with their truth, gathered while a model answers."""

    rng: np.random.Generator
    logits: list[Tensor] = dataclasses.field(default_factory=list)
    truth: list[Tensor] = dataclasses.field(default_factory=list)
    masks: list[tuple[Tensor, Judged]] = dataclasses.field(default_factory=list)

    def __call__(self, item: BenchItem, named: Mapping[tuple[str, DatePair], MaskEvent]) -> None:
        for reference in item.references:
            event = named.get((reference.name, reference.dates))
            valid = np.flatnonzero(reference.valid)
            if event is None or not valid.size:
                continue
            rows, columns = reference.mask.shape
            logits = event.logits[:rows, :columns].float().cpu()
            chosen = self.rng.choice(valid, min(_PIXELS_PER_MASK, valid.size), replace=False)
            self.logits.append(logits.flatten()[chosen])
            self.truth.append(torch.from_numpy(reference.mask.ravel()[chosen]))
            if len(self.masks) < _JUDGED:
                judged = Judged(
                    torch.zeros(0),
                    torch.from_numpy(reference.mask),
                    torch.from_numpy(reference.valid),
                    item.window.geometry,
                )
                self.masks.append((logits, judged))


def fit_calibration(
    examinee: Examinee,
    items: Sequence[BenchItem],
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fit temperature, correlation length and the confidence of answers.

    Parameters
    ----------
    examinee : Examinee
        Its configuration is changed.
    items : sequence of BenchItem
        From scenes that neither trained the model nor test it.
    folder : Path or None
        Of the model: its configuration is written there; None changes it in memory only.
    progress : callable or None
        Told items done and in all, of each of the two passes.

    Returns
    -------
    fitted : dict
        ``mask_temperature``, ``correlation_length_m``, ``interval_coverage`` (of a stated 90 %),
        ``answer_confidence``, the ``pixel_ece`` before and after, and the ``validation`` scores.

    Raises
    ------
    ValueError
        If no item has a reference mask.

    Notes
    -----
    Temperature and length are fitted on reference traces of some items (half a million pixels are
    plenty for one number), where every mask is asked for. The
    temperature decides the figures that are shown, so answers are given anew, under it,
    before their confidence is fitted.
    """
    config = examinee.model.config
    config.mask_temperature, config.answer_confidence = 1.0, None
    examinee.refresh()
    if not any(item.references for item in items):
        raise ValueError("calibration needs items with reference masks")
    collected = _Collected(np.random.default_rng(0))
    some = first_of_each([item for item in items if item.references], _FORCED)
    run_bench(examinee, some, Conditions(forced=True), progress=progress, watch=collected)
    logits, truth = torch.cat(collected.logits), torch.cat(collected.truth)
    config.mask_temperature = fit_temperature(logits, truth, torch.ones_like(truth))
    held = _fit_length(examinee, collected)
    examinee.refresh()
    again = run_bench(examinee, items, Conditions(), progress=progress)
    fitted = fit_answer_confidence(
        [item.kind for item in items],
        [one.letter_probability for one in again],
        [one.support for one in again],
        [one.right for one in again],
    )
    config.answer_confidence = fitted.to_dict()
    examinee.refresh()
    stated = [
        dataclasses.replace(one, confidence=fitted(item.kind, one.letter_probability, one.support))
        for item, one in zip(items, again, strict=True)
    ]
    if folder is not None:
        config.save_pretrained(folder)
    return {
        "mask_temperature": config.mask_temperature,
        "correlation_length_m": config.correlation_length_m,
        "interval_coverage": held,
        "answer_confidence": config.answer_confidence,
        "pixel_ece": {
            "before": _ece(logits, truth, 1.0),
            "after": _ece(logits, truth, config.mask_temperature),
        },
        "validation": summary(stated, draws=200),
    }


def _ece(logits: Tensor, truth: Tensor, temperature: float) -> float:
    return reliability(torch.sigmoid(logits / temperature).numpy(), truth.numpy()).ece


def _fit_length(examinee: Examinee, collected: _Collected) -> float:
    """Fit the correlation length in the configuration; return what intervals then cover."""
    config = examinee.model.config
    masks = [
        dataclasses.replace(judged, probability=torch.sigmoid(logits / config.mask_temperature))
        for logits, judged in collected.masks
    ]
    settings = Calibration(samples=99)
    chosen = fit_correlation_length(masks, settings)
    config.correlation_length_m = chosen.correlation_length_m
    return coverage(masks, chosen)
