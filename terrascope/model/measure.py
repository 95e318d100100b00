"""Measure a mask on the ground: area, share, parts, place, and how it lies to another mask.

The figures are what a careful person with a ruler would find in the mask, with
the window's own pixel geometry; pixels that were not observed never enter.
Definitions are those of the benchmark: areas over observed ground, parts
8-connected, adjacency by a 3x3 dilation, distance between the centres of the
two nearest pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terrascope.model.figure import Figure, fields_for
from terrascope.model.geometry import Geometry
from terrascope.model.relation import Relation, relate
from terrascope.model.shapes import count_parts
from terrascope.model.uncertainty import Calibration, interval, sampled_sums
from terrascope.types import BoolArray
from terrascope.vocabulary import POSITIONS

__all__ = [
    "Figure",
    "Measurement",
    "Relation",
    "measure",
    "position_words",
    "relate",
]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured on one mask.

    Parameters
    ----------
    observed : float
        Share of the window's ground that was observed; the rest enters nothing.
    observed_m2 : float
        That ground in square metres.
    pixels : int
        Pixels of the mask.
    area_m2 : Figure
        In square metres.
    share : Figure
        Of the observed ground, 0 to 1; NaN where nothing was observed.
    parts : int
        8-connected components.
    part_probabilities : tuple of float
        Mean probability of each part's pixels, largest part first.
    centroid_yx : tuple of float or None
        Of the mask, as fractions of the window's height and width from the top
        left; None where it is empty.
    position : str or None
        One of `terrascope.vocabulary.POSITIONS`; None where the mask is empty.
    relations : tuple of Relation
        To earlier masks.
    """

    observed: float
    observed_m2: float
    pixels: int
    area_m2: Figure
    share: Figure
    parts: int
    part_probabilities: tuple[float, ...]
    centroid_yx: tuple[float, float] | None
    position: str | None
    relations: tuple[Relation, ...] = ()


def measure(
    probability: Tensor,
    valid: Tensor,
    geometry: Geometry,
    *,
    calibration: Calibration | None = None,
    threshold: float = 0.5,
    earlier: Sequence[Tensor] = (),
    touching: bool = True,
    ladder: bool = False,
) -> Measurement:
    """Measure a mask.

    Parameters
    ----------
    probability : Tensor of float, shape (H, W)
        Of each pixel of the window, temperature applied; not modified. What it says
        where `valid` is False, NaN included, has no influence.
    valid : Tensor of bool, shape (H, W)
        Observed on the date of the mask (on both dates of a change) and inside the
        window.
    geometry : Geometry
        Of the same H x W.
    calibration : Calibration or None
        Of the intervals; None for the defaults. Its temperature is not applied again.
    threshold : float
        A pixel is in the mask where its probability is above this.
    earlier : sequence of Tensor of float, shape (H, W)
        Probabilities of earlier masks of the same window, to which this one is
        related; 0 or NaN where they were not observed (their date may be another).
    touching, ladder : bool
        As in `terrascope.model.relation.relate`.

    Returns
    -------
    measurement : Measurement
        In metres and square metres.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    calibration = calibration or Calibration()
    shape = tuple(probability.shape)
    if shape != geometry.shape_yx or tuple(valid.shape) != shape:
        raise ValueError(
            f"a mask of shape {shape} and valid pixels of {tuple(valid.shape)} for a window of "
            f"{geometry.shape_yx}: bring the mask onto the window's pixels first"
        )
    with torch.no_grad():
        p = torch.where(valid, probability.float(), 0.0)
        fields = fields_for(geometry, calibration, p.device)
        seen = valid.cpu().numpy()
        mask = (p > threshold).cpu().numpy()
        inside_m2 = float(geometry.area_map_m2[geometry.inside].sum())
        weight = geometry.area_map_m2 * seen
        area = _area(p, mask, weight, fields, calibration.level)
        observed_m2 = float(weight.sum())
        parts, labels = count_parts(mask)
        others = [torch.nan_to_num(other.float(), nan=0.0) for other in earlier]
        relations = tuple(
            relate(
                p,
                other,
                geometry,
                fields=fields,
                threshold=threshold,
                number=number,
                touching=touching,
                ladder=ladder,
            )
            for number, other in enumerate(others, start=1)
        )
    centre = _centroid(mask, geometry.inside)
    return Measurement(
        observed=observed_m2 / inside_m2,
        observed_m2=observed_m2,
        pixels=int(np.count_nonzero(mask)),
        area_m2=area,
        share=area.scaled(1 / observed_m2 if observed_m2 else float("nan")),
        parts=parts,
        part_probabilities=_part_probabilities(p.cpu().numpy(), labels, parts),
        centroid_yx=centre,
        position=None if centre is None else position_words(*centre),
        relations=relations,
    )


def position_words(down: float, across: float) -> str:
    """Name a place in a window.

    Parameters
    ----------
    down, across : float
        Fractions of height and width from the top left, 0 to 1.

    Returns
    -------
    words : str
        One of `terrascope.vocabulary.POSITIONS`, by thirds.
    """
    row, column = (min(int(value * 3), 2) for value in (down, across))
    return POSITIONS[3 * row + column]


def _area(
    p: Tensor, mask: BoolArray, weight: NDArray[np.float64], fields: Tensor, level: float
) -> Figure:
    ground = torch.from_numpy(weight).to(p.device)
    samples = sampled_sums(p, ground, fields)
    low, high = interval(samples, level)
    return Figure(
        thresholded=float(weight[mask].sum()),
        expected=float((p.double() * ground).sum()),
        low=low,
        high=high,
        level=level,
        samples=samples.numpy(),
    )


def _part_probabilities(
    p: NDArray[np.float32], labels: NDArray[np.int64], parts: int
) -> tuple[float, ...]:
    """Return the mean probability within each part, the largest part first."""
    if not parts:
        return ()
    size = np.bincount(labels.ravel(), minlength=parts + 1)[1:]
    total = np.bincount(labels.ravel(), weights=p.ravel(), minlength=parts + 1)[1:]
    order = np.argsort(-size, kind="stable")
    return tuple((total / size)[order].tolist())


def _centroid(mask: BoolArray, inside: tuple[slice, slice]) -> tuple[float, float] | None:
    """Return the centroid as fractions of the real window, padding apart."""
    rows, columns = np.nonzero(mask[inside])
    if not rows.size:
        return None
    height, width = mask[inside].shape
    return (float(rows.mean()) + 0.5) / height, (float(columns.mean()) + 0.5) / width
