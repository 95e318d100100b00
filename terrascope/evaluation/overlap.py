"""How well a mask matches its reference: intersection over union, of areas and of boundaries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from terrascope.types import BoolArray

__all__ = ["boundary_iou", "mask_iou", "sample_iou"]


def mask_iou(predicted: BoolArray, truth: BoolArray, valid: BoolArray | None = None) -> float:
    """Return the intersection over union of two masks.

    Parameters
    ----------
    predicted, truth : ndarray of bool, shape (y, x)
        The masks.
    valid : ndarray of bool or None
        Pixels that count: observed, with a known label; None for all.

    Returns
    -------
    iou : float
        0 to 1; 1 where both are empty.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    _same_shape(predicted, truth)
    if valid is not None:
        predicted, truth = predicted & valid, truth & valid
    union = int(np.count_nonzero(predicted | truth))
    return int(np.count_nonzero(predicted & truth)) / union if union else 1.0


def boundary_iou(
    predicted: BoolArray, truth: BoolArray, valid: BoolArray | None = None, *, width_px: int = 2
) -> float:
    """Return the intersection over union of the inner rims of two masks [1]_.

    Parameters
    ----------
    predicted, truth : ndarray of bool, shape (y, x)
        The masks.
    valid : ndarray of bool or None
        Pixels that count; None for all.
    width_px : int
        Width of a rim, inward from the outline; corners count as neighbours.

    Returns
    -------
    iou : float
        0 to 1; 1 where neither has a rim. The edge of the window is no outline: what a mask
        does beyond it is not known.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    .. [1] Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation,
       CVPR 2021. Their width is 2 % of the diagonal: 2 to 4 pixels of windows of 64 to 128.
    """
    _same_shape(predicted, truth)
    return mask_iou(_rim(predicted, width_px), _rim(truth, width_px), valid)


def sample_iou(ious: Sequence[float | None]) -> float:
    """Return the mask score of one answered question.

    Parameters
    ----------
    ious : sequence of float or None
        Of each reference mask of the question, in any order, against the mask that the answer
        drew for it; None where it drew none.

    Returns
    -------
    score : float
        Their mean, a missing mask counting 0; NaN without reference masks. The score of a
        benchmark is the mean of this over its questions.
    """
    if not ious:
        return float("nan")
    return sum(0.0 if iou is None else iou for iou in ious) / len(ious)


def _rim(mask: BoolArray, width_px: int) -> BoolArray:
    square = np.ones((3, 3), np.bool_)
    inner = ndimage.binary_erosion(mask, square, iterations=width_px, border_value=1)
    return np.asarray(mask & ~inner, np.bool_)


def _same_shape(predicted: BoolArray, truth: BoolArray) -> None:
    if predicted.shape != truth.shape:
        raise ValueError(f"masks of {predicted.shape} and {truth.shape}: expected the same shape")
