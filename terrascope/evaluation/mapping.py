"""The model as a map maker: every class on every date and every change, by forced traces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from terrascope.data.samples import indicator_of
from terrascope.data.scenes import ANY_CHANGE
from terrascope.evaluation.runner import Examinee
from terrascope.model.generation_terrascope import generate
from terrascope.model.precision import inference_precision
from terrascope.model.prompts import compose_query, text_of
from terrascope.model.sequences import DatePair
from terrascope.model.windows import Windows
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, LAND_COVER, Token

__all__ = ["ModelMapper"]

_QUESTION = "Where is {name} in {dates}?"


class ModelMapper:
    """The model behind the interface of the baselines.

    Parameters
    ----------
    examinee : Examinee
        The model.
    question : str
        With ``{name}`` and ``{dates}``: one question per mask, as training asks them.
    """

    def __init__(self, examinee: Examinee, question: str = _QUESTION) -> None:
        self.examinee, self.question = examinee, question

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
            Temperature applied.
        """
        model, tokenizer = self.examinee.model, self.examinee.tokenizer
        there = windows.to(model.device)
        with torch.inference_mode(), inference_precision(model.device, self.examinee.precision):
            encoded = model.encode(there)
        queries = [
            compose_query(
                tokenizer,
                there,
                window,
                self.question.format(name=name, dates=indicator_of(dates)),
                f"{Token.THINK}{name} {indicator_of(dates)}{Token.SEG}",
                present=encoded.present,
            )
            for window in range(len(there))
            for name, dates in names
        ]
        said = generate(
            model,
            there,
            queries,
            text=text_of(tokenizer),
            max_new_tokens=0,
            encoded=encoded,
            precision=self.examinee.precision,
        )
        found = torch.stack([one.events[0].probability for one in said])
        return found.reshape(len(there), len(names), *found.shape[1:]).float().cpu()

    def cover(self, windows: Windows) -> Tensor:
        """Map land cover; see `terrascope.evaluation.baselines.protocol.Predictor`.

        Parameters
        ----------
        windows : Windows
            B windows of T dates.

        Returns
        -------
        probability : Tensor of float32, shape (B, T, 8, H, W)
            Of each class.
        """
        maps = []
        for date in range(windows.optical.shape[1]):
            found = self.masks(windows, [(name, (-1, date)) for name in LAND_COVER])
            maps.append(found / found.sum(1, keepdim=True).clamp(min=1e-6))
        return torch.stack(maps, 1)

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
            The mask of any change, shared out among the kinds by their own masks.
        """
        kinds = [n for k, n in sorted(CHANGE_NAMES.items()) if k is not ChangeKind.NONE]
        names = [(name, (before, date)) for name in (ANY_CHANGE, *kinds)]
        found = self.masks(windows, names)
        some = found[:, :1]
        parts = found[:, 1:] / found[:, 1:].sum(1, keepdim=True).clamp(min=1e-6)
        return torch.cat([1 - some, some * parts], 1)
