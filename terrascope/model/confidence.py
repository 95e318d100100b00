"""How sure an answer is, from what the language model and the measured masks each say of it.

Both are known when an answer is given: the probability of the letter among those offered, and the
support of the masks behind it (`terrascope.model.judgement`). Neither can be believed as it is; a
logistic regression on answers with known truth, a handful of numbers saved in the model's
configuration, turns them into a probability that holds. Masks are worth more to one kind of
question than to another (an area is as good as its mask; a distance hangs on a few pixels of two),
so that their weight has a part of its own for every kind.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.vocabulary import QuestionKind

__all__ = ["AnswerConfidence", "fit_answer_confidence"]

_EDGE = 1e-3
"""Probabilities are kept this far from 0 and 1 before their log odds are taken."""


@dataclasses.dataclass(frozen=True)
class AnswerConfidence:
    """What turns two opinions into one probability.

    Parameters
    ----------
    base : float
        Log odds of an answer of which nothing is known.
    letter : float
        Weight of the log odds of the letter.
    support : float
        Weight of the log odds of the masks.
    unsupported : float
        Added where the masks say nothing.
    kinds : mapping of str to float
        Added for a kind of question; 0 for one that is not listed.
    supports : mapping of str to float
        Added to the weight of the masks for a kind of question; likewise.
    """

    base: float = 0.0
    letter: float = 1.0
    support: float = 0.0
    unsupported: float = 0.0
    kinds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    supports: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __call__(self, kind: QuestionKind, letter: float, support: float) -> float:
        """Return the probability that an answer is right.

        Parameters
        ----------
        kind : QuestionKind
            What was asked.
        letter : float
            Probability of the letter among those offered.
        support : float
            Of the masks; NaN where they say nothing.

        Returns
        -------
        confidence : float
            0 to 1; NaN where there is no letter.
        """
        if not math.isfinite(letter):
            return math.nan
        odds = self.base + self.letter * _log_odds(letter) + self.kinds.get(kind.value, 0.0)
        weight = self.support + self.supports.get(kind.value, 0.0)
        odds += weight * _log_odds(support) if math.isfinite(support) else self.unsupported
        return 1 / (1 + math.exp(-odds))

    def to_dict(self) -> dict[str, Any]:
        """Return it for a configuration file.

        Returns
        -------
        settings : dict
            Of JSON types.
        """
        return {
            **dataclasses.asdict(self),
            "kinds": dict(self.kinds),
            "supports": dict(self.supports),
        }


def fit_answer_confidence(
    kinds: Sequence[QuestionKind],
    letter: Sequence[float],
    support: Sequence[float],
    right: Sequence[bool],
) -> AnswerConfidence:
    """Fit the weights on answers whose truth is known.

    Parameters
    ----------
    kinds : sequence of QuestionKind
        What was asked.
    letter, support : sequence of float
        As `AnswerConfidence` takes them; answers without a letter are left out.
    right : sequence of bool
        Whether the answer was right.

    Returns
    -------
    confidence : AnswerConfidence
        Penalised lightly, the kinds more: a kind with few answers keeps near 0.

    Raises
    ------
    ValueError
        If there is no answer with a letter.

    References
    ----------
    Platt, Probabilistic Outputs for Support Vector Machines, 1999; here with two opinions.
    """
    said = np.isfinite(np.asarray(letter, np.float64))
    if not said.any():
        raise ValueError("no answer with a letter to fit the confidence on")
    p, q = np.asarray(letter, np.float64)[said], np.asarray(support, np.float64)[said]
    names = sorted({kind.value for kind, use in zip(kinds, said, strict=True) if use})
    given = [kind.value for kind, use in zip(kinds, said, strict=True) if use]
    known = np.isfinite(q)
    letters = np.array([_log_odds(value) for value in p])
    masks = np.array(
        [_log_odds(value) if there else 0.0 for value, there in zip(q, known, strict=True)]
    )
    is_kind = np.array([[one == name for name in names] for one in given], np.float64)
    inputs = np.column_stack(
        [np.ones(len(p)), letters, masks, ~known, is_kind, is_kind * masks[:, None]]
    )
    n = len(names)
    penalty = np.array([0.0, 0.1, 0.1, 1.0, *[2.0] * n, *[2.0] * n])
    weights = _logistic(inputs, np.asarray(right, np.float64)[said], penalty).tolist()
    base, of_letter, of_support, unsupported, *of_kinds = weights
    kinds_of, supports = (
        dict(zip(names, part, strict=True)) for part in (of_kinds[:n], of_kinds[n:])
    )
    return AnswerConfidence(base, of_letter, of_support, unsupported, kinds_of, supports)


def _logistic(
    inputs: NDArray[np.float64], truth: NDArray[np.float64], penalty: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find the weights of a penalised logistic regression, by Newton's method with halved steps."""
    weights = np.zeros(inputs.shape[1])
    ridge = np.maximum(penalty, 1e-6)

    def loss(at: NDArray[np.float64]) -> float:
        odds = inputs @ at
        return float(np.logaddexp(0, odds).sum() - truth @ odds + 0.5 * (ridge * at**2).sum())

    for _ in range(100):
        p = 1 / (1 + np.exp(-(inputs @ weights)))
        gradient = inputs.T @ (p - truth) + ridge * weights
        curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while loss(weights - size * step) > loss(weights) and size > 1e-6:
            size /= 2
        weights = weights - size * step
        if float(np.abs(size * step).max()) < 1e-9:
            break
    return weights


def _log_odds(probability: float) -> float:
    p = min(max(probability, _EDGE), 1 - _EDGE)
    return math.log(p / (1 - p))
