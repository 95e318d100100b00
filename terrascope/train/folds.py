"""Folds by blocks of ground, and what is fitted across them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from terrascope.errors import ConfigError
from terrascope.model.calibration import fit_temperature
from terrascope.types import BoolArray, FloatArray

__all__ = ["cross_calibrated", "spatial_folds"]


def spatial_folds(
    centres_m: NDArray[np.float64], folds: int, block_m: float, seed: int = 0
) -> NDArray[np.int64]:
    """Hold scenes out by blocks of ground.

    Parameters
    ----------
    centres_m : ndarray of float64, shape (N, 2)
        Of the scenes, y and x in metres.
    folds : int
        Parts.
    block_m : float
        Side of a block; wider than what makes neighbours alike.
    seed : int
        Of the order in which equally large blocks are dealt out.

    Returns
    -------
    fold : ndarray of int64, shape (N,)
        Scenes of one block share one; folds are as even as whole blocks allow.

    Raises
    ------
    ConfigError
        If there are fewer blocks than folds.
    """
    blocks = np.floor(centres_m / block_m).astype(np.int64)
    _, which = np.unique(blocks, axis=0, return_inverse=True)
    sizes = np.bincount(which.ravel())
    if len(sizes) < folds:
        raise ConfigError(
            f"{len(sizes)} blocks of {block_m:.0f} m for {folds} folds: take smaller blocks or "
            "fewer folds"
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    load = np.zeros(folds, np.int64)
    fold_of = np.zeros(len(sizes), np.int64)
    for block in order:
        fold_of[block] = int(load.argmin())
        load[fold_of[block]] += sizes[block]
    return fold_of[which.ravel()]


def cross_calibrated(
    fold: NDArray[np.int64],
    logits: Sequence[FloatArray],
    truth: Sequence[BoolArray],
    known: Sequence[BoolArray],
) -> tuple[dict[int, float], list[FloatArray]]:
    """Fit the temperature of every fold on the held-out maps of the others, and apply it.

    Parameters
    ----------
    fold : ndarray of int64, shape (N,)
        In which fold each scene was held out. With a single fold, its own maps are all there is
        to fit on.
    logits : sequence of ndarray of float32, shape (H, W)
        Of the scenes, each by the model that has not seen it.
    truth, known : sequence of ndarray of bool, shape (H, W)
        What is there, and where that is known.

    Returns
    -------
    temperatures : dict of int to float
        By fold.
    probabilities : list of ndarray of float32, shape (H, W)
        Of the scenes.
    """
    found: dict[int, float] = {}
    numbers = sorted({int(one) for one in fold})
    for number in numbers:
        others = [n for n in range(len(logits)) if fold[n] != number or len(numbers) == 1]
        score = np.concatenate([logits[n][known[n]] for n in others])
        real = np.concatenate([truth[n][known[n]] for n in others])
        valid = torch.ones(len(score), dtype=torch.bool)
        found[number] = fit_temperature(torch.from_numpy(score), torch.from_numpy(real), valid)
    probabilities = []
    for n, values in enumerate(logits):
        scaled = torch.from_numpy(values) / found[int(fold[n])]
        probabilities.append(torch.sigmoid(scaled).numpy())
    return found, probabilities
