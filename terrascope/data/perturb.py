"""Wrong masks as a model draws them: moved, grown, shrunk, with blobs, soft at the rim."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.types import BoolArray, FloatArray

__all__ = ["Perturbation", "perturb"]


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """How wrong masks are.

    Parameters
    ----------
    share : float
        Of the masks that are changed at all; the others stay exact, 0 and 1.
    shift_px : float
        Greatest shift along each axis, in pixels.
    bias : float
        Spread (standard deviation) of growth and shrinkage: a third moves a straight rim by a
        pixel.
    wobble : float
        Spread of the same from place to place.
    blobs : float
        Mean number of blobs that are added or removed.
    gross_share : float
        Of the masks, the share that is of something else altogether.
    softness : tuple of float
        Least and greatest width of the rim, as a factor of a pixel: probabilities are between
        0 and 1 there.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    share: float = 0.8
    shift_px: float = 1.0
    bias: float = 0.07
    wobble: float = 0.1
    blobs: float = 0.5
    gross_share: float = 0.02
    softness: tuple[float, float] = (0.3, 1.2)

    def __post_init__(self) -> None:
        shares = (self.share, self.gross_share)
        spreads = (self.shift_px, self.bias, self.wobble, self.blobs, self.softness[0])
        if not all(0 <= s <= 1 for s in shares) or min(spreads) < 0 or self.softness[0] == 0:
            raise ValueError(f"{self}: expected shares of 0 to 1 and widths of 0 or more")


def perturb(mask: BoolArray, settings: Perturbation, rng: np.random.Generator) -> FloatArray:
    """Draw a wrong version of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
        The true one; not modified.
    settings : Perturbation
        How wrong.
    rng : numpy.random.Generator
        Of the errors.

    Returns
    -------
    probability : ndarray of float32, shape (y, x)
        Of each pixel, as if a model had drawn it.

    Notes
    -----
    The mask is smoothed over 3 pixels, and a level cut through the slope at its rim. A level that
    is not one half grows or shrinks it; one that varies from place to place moves the rim to and
    fro; a steep hill or hollow in it makes a blob. Specks are lost as they are in a decoder.
    """
    exact = mask.astype(np.float32)
    if rng.random() >= settings.share:
        return exact
    shape = (mask.shape[0], mask.shape[1])
    if rng.random() < settings.gross_share:
        exact = (_relief(shape, 6, rng) > rng.normal()).astype(np.float32)
    moved = _shifted(exact, rng.uniform(-1, 1, 2) * settings.shift_px)
    slope = ndimage.uniform_filter(moved, 3, mode="nearest") - 0.5
    level = slope + np.float32(settings.bias * rng.normal())
    level += np.float32(settings.wobble) * _relief(shape, 12, rng)
    for _ in range(rng.poisson(settings.blobs)):
        level += _blob(shape, rng)
    # Far from the rim a decoder is sure: the slope grows, so that no haze of small probabilities
    # is summed up over the window.
    gain = np.float32(12.0 / rng.uniform(*settings.softness))
    logits = np.clip(gain * level * (1 + 6 * np.abs(level)), -30, 30)
    probability: FloatArray = np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)
    return probability


def _shifted(values: FloatArray, by: NDArray[np.float64]) -> FloatArray:
    """Move by whole pixels; what comes in from outside repeats the edge."""
    rows, columns = (np.arange(size) for size in values.shape)
    down, across = np.round(by).astype(np.int64)
    if not (down or across):
        return values
    rows = np.clip(rows - down, 0, values.shape[0] - 1)
    columns = np.clip(columns - across, 0, values.shape[1] - 1)
    return values[np.ix_(rows, columns)]


def _relief(shape: tuple[int, int], knots: int, rng: np.random.Generator) -> FloatArray:
    """Draw smooth noise of unit variance at its knots."""
    noise = rng.standard_normal((knots, knots), dtype=np.float32)
    relief = _spread(shape[0], knots) @ noise @ _spread(shape[1], knots).T
    return np.asarray(relief, np.float32)


@lru_cache(maxsize=16)
def _spread(size: int, knots: int) -> FloatArray:
    """Return weights of linear interpolation from knots to pixels, shape (size, knots)."""
    place = np.linspace(0, knots - 1, size)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(knots)))
    return np.asarray(weights, np.float32)


def _blob(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return a hill or a hollow, high enough to cut through the mask."""
    radius = np.exp(rng.uniform(np.log(1.5), np.log(max(shape) / 8)))
    profiles = [
        np.exp(-0.5 * ((np.arange(size) - rng.uniform(0, size)) / radius) ** 2) for size in shape
    ]
    height = rng.choice((-1.0, 1.0)) * rng.uniform(0.7, 1.5)
    hill: FloatArray = (height * np.outer(*profiles)).astype(np.float32)
    return hill
