"""The model as a map maker: every class on every date and every change, by forced traces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from terrascope.evaluation.runner import Examinee
from terrascope.model.forced import ANY_CHANGE, CHANGE_KINDS, forced_logits
from terrascope.model.sequences import DatePair
from terrascope.model.windows import Windows
from terrascope.vocabulary import CHANGE_NAMES, LAND_COVER

__all__ = ["ModelMapper"]


class ModelMapper:
    """The model behind the interface of the baselines.

    Parameters
    ----------
    examinee : Examinee
        The model.
    """

    def __init__(self, examinee: Examinee) -> None:
        self.examinee = examinee

    def logits(self, windows: Windows, names: Sequence[tuple[str, DatePair]]) -> Tensor:
        """Decode named masks of every window, each asked for by a question of its own.

        Parameters
        ----------
        windows : Windows
            B windows that have these dates.
        names : sequence of tuple
            Name and dates of M masks.

        Returns
        -------
        logits : Tensor of float32, shape (B, M, H, W)
            Temperature applied.
        """
        examinee = self.examinee
        return forced_logits(
            examinee.model, examinee.tokenizer, windows, names, precision=examinee.precision
        )

    def masks(self, windows: Windows, names: Sequence[tuple[str, DatePair]]) -> Tensor:
        """Decode named masks of every window.

        Parameters
        ----------
        windows : Windows
            B windows that have these dates.
        names : sequence of tuple
            Name and dates of M masks.

        Returns
        -------
        probability : Tensor of float32, shape (B, M, H, W)
            Temperature applied; each mask by itself.
        """
        return torch.sigmoid(self.logits(windows, names))

    def cover(self, windows: Windows) -> Tensor:
        """Map land cover; see `terrascope.evaluation.baselines.protocol.Predictor`.

        Parameters
        ----------
        windows : Windows
            B windows of T dates.

        Returns
        -------
        probability : Tensor of float32, shape (B, T, 8, H, W)
            Of each class: the softmax of their masks, in which training lets them compete.
        """
        dates = range(windows.optical.shape[1])
        found = self.logits(windows, [(name, (-1, date)) for date in dates for name in LAND_COVER])
        maps = found.reshape(len(found), len(dates), len(LAND_COVER), *found.shape[2:])
        return torch.softmax(maps, 2)

    def change(self, windows: Windows, before: int, date: int) -> Tensor:
        """Map change; see `terrascope.evaluation.baselines.protocol.Predictor`.

        Parameters
        ----------
        windows : Windows
            B windows.
        before, date : int
            Earlier and later date, from 0.

        Returns
        -------
        probability : Tensor of float32, shape (B, 8, H, W)
            The mask of any change, shared out among the kinds by the softmax of theirs.
        """
        kinds = [CHANGE_NAMES[kind] for kind in CHANGE_KINDS]
        found = self.logits(windows, [(name, (before, date)) for name in (ANY_CHANGE, *kinds)])
        some = found[:, :1].sigmoid()
        return torch.cat([1 - some, some * found[:, 1:].softmax(1)], 1)
