"""What every baseline does: probabilities of classes and changes, from the model's own windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from terrascope.data.scenes import ANY_CHANGE, DESTROYED, LabelledScene
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.sequences import DatePair
from terrascope.model.windows import Windows
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, CLASS_CODES, LAND_COVER

__all__ = ["CHANGE_KINDS", "CLASSES", "Labels", "Predictor", "labels_of", "mask_of"]

CLASSES = len(LAND_COVER)
CHANGE_KINDS = len([kind for kind in ChangeKind if kind is not ChangeKind.OUTSIDE])
"""No change among them, at 0."""
_CODES = {name: int(kind) for kind, name in CHANGE_NAMES.items()}


class Predictor(Protocol):
    """Maps land cover on each date, and change between two."""

    def cover(self, windows: Windows) -> Tensor:
        """Map land cover.

        Parameters
        ----------
        windows : Windows
            B windows of T dates.

        Returns
        -------
        probability : Tensor of float32, shape (B, T, 8, H, W)
            Of each class in the order of `terrascope.vocabulary.LAND_COVER`; sums to 1. Without
            meaning where nothing was observed.
        """

    def change(self, windows: Windows, before: int, date: int) -> Tensor:
        """Map change between two dates.

        Parameters
        ----------
        windows : Windows
            B windows.
        before, date : int
            Earlier and later date, from 0.

        Returns
        -------
        probability : Tensor of float32, shape (B, 8, H, W)
            Of each `terrascope.types.ChangeKind`, no change first; sums to 1.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """What baselines are taught: windows with the true code of every pixel.

    Parameters
    ----------
    windows : Windows
        B windows.
    cover : Tensor of int64, shape (B, T, H, W)
        Class codes 1 to 8; 0 where unknown or not observed.
    changes : sequence of tuple
        Window, earlier date, date and kinds (Tensor of int64, shape (H, W), 255 unknown).
    """

    windows: Windows
    cover: Tensor
    changes: Sequence[tuple[int, int, int, Tensor]]


def labels_of(scenes: Sequence[LabelledScene], processor: TerrascopeProcessor) -> Labels:
    """Bring labels onto the pixels of a batch.

    Parameters
    ----------
    scenes : sequence of LabelledScene
        At least one.
    processor : TerrascopeProcessor
        Of the batch.

    Returns
    -------
    labels : Labels
        Unknown in the padding, and where no sensor saw the pixel.
    """
    windows = processor([scene.window for scene in scenes])
    observed = windows.observed
    cover = torch.zeros(observed.shape, dtype=torch.int64)
    changes = []
    for b, scene in enumerate(scenes):
        dates, rows, columns = scene.cover.shape
        given = torch.from_numpy(scene.cover.astype(np.int64))
        cover[b, :dates, :rows, :columns] = given
        for (before, date), kinds in scene.changes.items():
            full = torch.full(windows.shape_yx, int(ChangeKind.OUTSIDE), dtype=torch.int64)
            full[:rows, :columns] = torch.from_numpy(kinds.astype(np.int64))
            seen = observed[b, before] & observed[b, date]
            full[~seen] = int(ChangeKind.OUTSIDE)
            changes.append((b, before, date, full))
    return Labels(windows, cover * observed, changes)


def mask_of(
    predictor: Predictor, windows: Windows, name: str, dates: DatePair
) -> tuple[Tensor, Tensor]:
    """Return the mask that a baseline has for a name.

    Parameters
    ----------
    predictor : Predictor
        The baseline.
    windows : Windows
        B windows that have these dates.
    name : str
        As `terrascope.data.scenes.LabelledScene.mask` takes it.
    dates : DatePair
        Earlier date or -1, and date, from 0.

    Returns
    -------
    probability : Tensor of float32, shape (B, H, W)
        Of the mask.
    mask : Tensor of bool, shape (B, H, W)
        The likeliest class is this one; for any change: no change is less likely than change.

    Raises
    ------
    ValueError
        If the name is not known.
    """
    before, date = dates
    built = CLASS_CODES["developed area"] - 1
    if name == DESTROYED:
        cover = predictor.cover(windows)
        then, now = cover[:, before], cover[:, date]
        mask = (then.argmax(1) == built) & (now.argmax(1) != built)
        return then[:, built] * (1 - now[:, built]), mask
    if name in CLASS_CODES:
        cover = predictor.cover(windows)[:, date]
        code = CLASS_CODES[name] - 1
        return cover[:, code], cover.argmax(1) == code
    kinds = predictor.change(windows, before, date)
    if name == ANY_CHANGE:
        return 1 - kinds[:, 0], kinds[:, 0] < 0.5
    if name not in _CODES:
        raise ValueError(f"{name!r}: no class and no change of this name")
    return kinds[:, _CODES[name]], kinds.argmax(1) == _CODES[name]
