"""A reader who never looks: everything that question and options give away, learnt from answers.

If this scores above chance, the benchmark can be gamed. A conditional logit over the options: every
option gets a score from what is special about it (its letter, its rank and size among the others,
its name, the words of the question beside it), and the softmax of the scores is the answer.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from terrascope.evaluation.items import BENCH_TASKS, BenchItem
from terrascope.evaluation.outcomes import Outcome, outcome_of
from terrascope.vocabulary import OPTION_LETTERS

__all__ = ["TextOnly", "read_across", "train_text_only"]

_HASHED = 512
"""Columns for pairs of task, option name and word of the question."""
_FIGURE = re.compile(r"^\d+(?:\.\d+)?")
_WORD = re.compile(r"[a-z]+")
_OPTIONS = 8
_OWN = 3 * _OPTIONS + 5


@dataclasses.dataclass(frozen=True, eq=False)
class TextOnly:
    """A fitted reader.

    Parameters
    ----------
    weights : ndarray of float64
        Of the features of an option.
    """

    weights: NDArray[np.float64]

    def answer(self, item: BenchItem) -> tuple[str, float]:
        """Choose an option.

        Parameters
        ----------
        item : BenchItem
            Its window is not looked at.

        Returns
        -------
        letter, probability : tuple
            The likeliest option.
        """
        scores = _features(item) @ self.weights
        chances = np.exp(scores - scores.max())
        best = int(np.argmax(scores))
        return OPTION_LETTERS[best], float(chances[best] / chances.sum())

    def run(self, items: Sequence[BenchItem]) -> list[Outcome]:
        """Answer items.

        Parameters
        ----------
        items : sequence of BenchItem
            Of a benchmark.

        Returns
        -------
        outcomes : list of Outcome
            Without masks.
        """
        found = []
        for item in items:
            letter, probability = self.answer(item)
            none = [None] * len(item.references)
            found.append(outcome_of(item, letter, none, letter_probability=probability))
        return found


def train_text_only(items: Sequence[BenchItem], *, penalty: float = 1.0) -> TextOnly:
    """Learn from answered questions.

    Parameters
    ----------
    items : sequence of BenchItem
        Others than those it will be examined on.
    penalty : float
        Of squared weights.

    Returns
    -------
    reader : TextOnly
        The likeliest weights under the penalty.

    References
    ----------
    McFadden, Conditional logit analysis of qualitative choice behavior, 1974.
    """
    by_count: dict[int, list[BenchItem]] = {}
    for item in items:
        by_count.setdefault(len(item.options), []).append(item)
    known = [
        (
            np.stack([_features(item) for item in group]),
            np.array([OPTION_LETTERS.index(item.letter) for item in group]),
        )
        for group in by_count.values()
    ]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total, slope = 0.5 * penalty * float(weights @ weights), penalty * weights
        for features, right in known:  # (n, options, columns), (n,)
            rows = np.arange(len(right))
            scores = features @ weights
            chances = np.exp(scores - scores.max(1, keepdims=True))
            chances /= chances.sum(1, keepdims=True)
            total -= float(np.log(np.maximum(chances[rows, right], 1e-12)).sum())
            chances[rows, right] -= 1
            slope = slope + np.tensordot(chances, features, 2)
        return total, slope

    columns = len(BENCH_TASKS) * _OWN + _HASHED
    fitted = optimize.minimize(loss, np.zeros(columns), jac=True, method="L-BFGS-B")
    return TextOnly(np.asarray(fitted.x))


def read_across(items: Sequence[BenchItem], folds: int = 5) -> list[Outcome]:
    """Let a reader answer items that it learnt the like of: cross-validated.

    Parameters
    ----------
    items : sequence of BenchItem
        Of a benchmark.
    folds : int
        Parts; each is answered by a reader of the others. A matched set is in one of them: who
        has learnt from a part of it takes the answers that are left for the wrong ones. Other
        items are divided by image.

    Returns
    -------
    outcomes : list of Outcome
        In the order of the items.
    """
    fold = [zlib.crc32((item.matched or item.image).encode()) % folds for item in items]
    found: dict[str, Outcome] = {}
    for n in range(folds):
        others = [item for item, of in zip(items, fold, strict=True) if of != n]
        mine = [item for item, of in zip(items, fold, strict=True) if of == n]
        reader = train_text_only(others)
        found |= {one.item: one for one in reader.run(mine)}
    return [found[item.name] for item in items]


def _features(item: BenchItem) -> NDArray[np.float64]:
    """Describe every option, (options, columns): by itself within its task, and with words."""
    count = len(item.options)
    values = _values(item.options)
    own = np.zeros((count, _OWN))
    own[np.arange(count), np.arange(count)] = 1.0  # the letter
    ranks = [""] * count
    if values is not None:
        own[:, _OPTIONS:] = _among_figures(values)
        ranks = [str(rank) for rank in _rank(values)]
    place = BENCH_TASKS.index(item.task)
    by_task = np.zeros((count, len(BENCH_TASKS) * _OWN))
    by_task[:, place * _OWN : (place + 1) * _OWN] = own
    hashed = np.zeros((count, _HASHED))
    words = sorted(set(_WORD.findall(item.question.partition("\n")[0].lower())))
    for n, option in enumerate(item.options):
        said = ranks[n] or option
        for word in ("", *words):
            key = f"{item.task}|{said}|{word}"
            hashed[n, zlib.crc32(key.encode()) % _HASHED] += 1.0
    return np.concatenate([by_task, hashed], 1)


def _values(options: Sequence[str]) -> NDArray[np.float64] | None:
    found = [_FIGURE.match(option) for option in options]
    return np.array([float(one[0]) for one in found if one]) if all(found) else None


def _rank(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def _among_figures(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Describe figures among each other: rank, nearness, size, and how round they are."""
    count = values.size
    size = np.log(values + 0.1 * values.mean() + 1e-9)
    apart = np.abs(size[:, None] - size)
    np.fill_diagonal(apart, np.inf)
    gap = apart.min(1)
    found = np.zeros((count, _OWN - _OPTIONS))
    found[np.arange(count), _rank(values)] = 1.0
    found[np.arange(count), _OPTIONS + _rank(gap)] = 1.0
    middle = size - size.mean()
    tenths = np.round(values * 10)
    found[:, -5:] = np.stack(
        [middle, middle**2, np.log(values + 1.0), gap, (tenths % 10 == 0).astype(np.float64)], 1
    )
    return found
