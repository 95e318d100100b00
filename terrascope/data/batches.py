"""Samples and scenes put together for one step of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from terrascope.data.closings import response_text
from terrascope.data.perturb import Perturbation, perturb
from terrascope.data.rle import decode_mask
from terrascope.data.samples import Sample, Step
from terrascope.data.scenes import LabelledScene
from terrascope.model.geometry import Geometry
from terrascope.model.measure import Measurement, measure
from terrascope.model.measurer import valid_pixels
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.prompts import compose_query
from terrascope.model.readings import reading_texts
from terrascope.model.sequences import DatePair, Query
from terrascope.model.uncertainty import Calibration
from terrascope.model.windows import Windows
from terrascope.types import BoolArray, FloatArray

__all__ = ["INJECTIONS", "Batch", "collate", "injected_mask", "measure_masks"]

INJECTIONS = ("mask", "none", "random", "box")
"""What follows a mask: its own cells, nothing, as many cells anywhere, or those of its box."""

_Kind = TypeVar("_Kind", np.bool_, np.float32)
_RELATED = 2
"""Earlier masks that a mask is related to, as `terrascope.model.measurer.MaskMeasurer` has it."""
_CALIBRATION = Calibration(samples=39)
"""Fewer sampled masks than when answering: intervals of the same level, a little less steady."""


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """One step of training.

    Parameters
    ----------
    windows : Windows
        B windows.
    queries : list of Query
        Questions with their responses; several may be of one window.
    truth, truth_valid : Tensor of bool, shape (K, H, W)
        True mask of every ``[SEG]``, query by query, and where it is known.
    injected : Tensor of bool, shape (K, H, W)
        Masks whose visual tokens are injected.
    samples : list of Sample
        Behind the queries.
    """

    windows: Windows
    queries: list[Query]
    truth: Tensor
    truth_valid: Tensor
    injected: Tensor
    samples: list[Sample]

    def pin_memory(self) -> Batch:
        """Copy the tensors to where a GPU fetches them from; torch's loader calls it.

        Returns
        -------
        batch : Batch
            In page-locked memory.
        """
        return dataclasses.replace(
            self,
            windows=self.windows.pin_memory(),
            truth=self.truth.pin_memory(),
            truth_valid=self.truth_valid.pin_memory(),
            injected=self.injected.pin_memory(),
        )


def collate(
    items: Sequence[tuple[LabelledScene, Sequence[Sample]]],
    processor: TerrascopeProcessor,
    tokenizer: PreTrainedTokenizerBase,
    *,
    measured: bool = True,
    perturbation: Perturbation | None = None,
    rng: np.random.Generator | None = None,
    injection: str = "mask",
    cell_px: int = 8,
) -> Batch:
    """Build a batch.

    Parameters
    ----------
    items : sequence of tuple
        Scenes with the samples that are asked of them.
    processor : TerrascopeProcessor
        Of the windows.
    tokenizer : PreTrainedTokenizerBase
        Of the text.
    measured : bool
        Whether the traces show measured figures. Without, the figures in the trace are those
        of the true masks, for the language model to count by itself.
    perturbation : Perturbation or None
        Errors of the masks that are injected and measured; None for true masks.
    rng : numpy.random.Generator or None
        Of the errors; None for a fixed one.
    injection : str
        One of `INJECTIONS`.
    cell_px : int
        Side of the cell of a visual token, for random cells.

    Returns
    -------
    batch : Batch
        On the CPU; queries in the order of the samples.

    Raises
    ------
    ValueError
        If `injection` is unknown.
    """
    if injection not in INJECTIONS:
        raise ValueError(f"injection {injection!r}: expected one of {INJECTIONS}")
    rng = np.random.default_rng(0) if rng is None else rng
    windows = processor([scene.window for scene, _ in items])
    present = windows.present
    masks: list[tuple[BoolArray, BoolArray, BoolArray]] = []
    queries: list[Query] = []
    for number, (scene, samples) in enumerate(items):
        for sample in samples:
            drawn = _drawn_masks(sample, windows.shape_yx, perturbation, rng)
            response = _response(sample, drawn, windows, number, measured=measured)
            queries.append(
                compose_query(tokenizer, windows, number, sample.asked, response, present=present)
            )
            for step, (true, probability) in zip(sample.steps, drawn, strict=True):
                injected = injected_mask(probability > 0.5, injection, cell_px, rng)
                known = _padded(scene.known(step.name, step.dates), windows.shape_yx)
                masks.append((true, known, injected))
    truth, valid, injected_masks = (_stacked(masks, n, windows.shape_yx) for n in range(3))
    asked = [sample for _, samples in items for sample in samples]
    return Batch(windows, queries, truth, valid, injected_masks, asked)


def measure_masks(
    masks: Sequence[FloatArray | BoolArray],
    steps: Sequence[Step],
    windows: Windows,
    window: int,
    *,
    related: bool = True,
) -> list[Measurement]:
    """Measure the masks of one trace as they are measured when a model answers.

    Parameters
    ----------
    masks : sequence of ndarray, shape (H, W)
        Probabilities, or booleans.
    steps : sequence of Step
        Of the trace.
    windows : Windows
        The batch.
    window : int
        Which one.
    related : bool
        Whether each mask is related to the two before it.

    Returns
    -------
    figures : list of Measurement
        One per mask; how likely masks touch is not sampled.
    """
    geometry: Geometry = windows.geometry[window]
    found: list[Measurement] = []
    earlier: list[Tensor] = []
    seen: dict[DatePair, Tensor] = {}
    for mask, step in zip(masks, steps, strict=True):
        before, date = step.dates
        if step.dates not in seen:
            seen[step.dates] = valid_pixels(windows, window, date, before)
        valid = seen[step.dates]
        probability = torch.from_numpy(np.ascontiguousarray(mask)).float()
        others = earlier[-_RELATED:] if related else []
        figure = measure(
            probability,
            valid,
            geometry,
            calibration=_CALIBRATION,
            earlier=others,
            touching=False,
        )
        shift = len(earlier) - len(others)
        relations = tuple(
            dataclasses.replace(one, mask=one.mask + shift) for one in figure.relations
        )
        found.append(dataclasses.replace(figure, relations=relations))
        earlier.append(torch.where(valid, probability, 0.0))
    return found


def injected_mask(
    mask: BoolArray, injection: str, cell_px: int, rng: np.random.Generator
) -> BoolArray:
    """Return the mask whose visual tokens are injected.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        As drawn.
    injection : str
        One of `INJECTIONS`.
    cell_px : int
        Side of the cell of a visual token.
    rng : numpy.random.Generator
        Of random cells.

    Returns
    -------
    mask : ndarray of bool, shape (H, W)
        The mask itself, an empty one, its bounding box, or as many cells as it covers for
        more than half, anywhere.
    """
    if injection == "mask":
        return mask
    other = np.zeros_like(mask)
    if injection == "none" or not mask.any():
        return other
    if injection == "box":
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        other[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        return other
    grid = (mask.shape[0] // cell_px, mask.shape[1] // cell_px)
    cells = mask[: grid[0] * cell_px, : grid[1] * cell_px]
    cover = cells.reshape(grid[0], cell_px, grid[1], cell_px).mean(axis=(1, 3))
    count = int(np.count_nonzero(cover > 0.5))
    chosen = np.zeros(grid[0] * grid[1], np.bool_)
    chosen[rng.choice(chosen.size, count, replace=False)] = True
    wide = np.kron(chosen.reshape(grid), np.ones((cell_px, cell_px), np.bool_))
    other[: wide.shape[0], : wide.shape[1]] = wide
    return other


def _drawn_masks(
    sample: Sample,
    shape_yx: tuple[int, int],
    perturbation: Perturbation | None,
    rng: np.random.Generator,
) -> list[tuple[BoolArray, FloatArray]]:
    """Return the true and the drawn mask of every step, on the pixels of the batch."""
    found: list[tuple[BoolArray, FloatArray]] = []
    for step in sample.steps:
        true = decode_mask(step.mask)
        exact = Perturbation(share=0.0) if perturbation is None else perturbation
        drawn = perturb(true, exact, rng)
        found.append((_padded(true, shape_yx), _padded(drawn, shape_yx)))
    return found


def _response(
    sample: Sample,
    drawn: Sequence[tuple[BoolArray, FloatArray]],
    windows: Windows,
    window: int,
    *,
    measured: bool,
) -> str:
    """Write the response with the figures of the drawn masks, or of the true ones."""
    shown = measured and bool(sample.fields)
    if not (shown or sample.closing):
        return response_text(sample, ())
    masks: list[FloatArray | BoolArray] = [
        probability if measured else true for true, probability in drawn
    ]
    # The closing itself may speak of relations although they are not shown.
    related = "/" in sample.closing or (shown and "relations" in sample.fields)
    figures = measure_masks(masks, sample.steps, windows, window, related=related)
    if not shown:
        return response_text(sample, figures)
    said = reading_texts(
        figures, area_unit=sample.area_unit, fields=sample.fields, options=sample.options
    )
    return response_text(sample, figures, said)


def _padded(mask: NDArray[_Kind], shape_yx: tuple[int, int]) -> NDArray[_Kind]:
    if mask.shape == shape_yx:
        return mask
    wide = np.zeros(shape_yx, mask.dtype)
    wide[: mask.shape[0], : mask.shape[1]] = mask
    return wide


def _stacked(
    masks: Sequence[tuple[BoolArray, BoolArray, BoolArray]], which: int, shape: tuple[int, int]
) -> Tensor:
    if not masks:
        return torch.zeros((0, *shape), dtype=torch.bool)
    return torch.from_numpy(np.stack([one[which] for one in masks]).astype(np.bool_))
