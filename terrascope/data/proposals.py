"""A question before it has its words and its options: what is asked, and what is true."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from terrascope.data.facts import Named
from terrascope.vocabulary import AnswerKind, QuestionKind, Unit

__all__ = ["Proposal"]


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What is asked, and what is true.

    Parameters
    ----------
    kind : QuestionKind
        Of the question.
    task : str
        One of `terrascope.data.samples.TASKS`.
    wording : str
        Key of `terrascope.data.wording.QUESTIONS`.
    words : mapping of str to str
        For its places.
    key : str
        What a reader of the question alone knows; see `terrascope.data.priors`.
    truth : float, str or bool
        Figures in base units (share 0 to 1, square metres, metres) or a count.
    answer : AnswerKind
        Of the open form.
    steps : tuple of Named
        Masks of the trace.
    closing : str
        Template of what the trace says after them.
    stated : str
        Figure of the trace that an open answer repeats, as ``share:1``; empty for none.
    names : tuple of str
        All that the answer may be, where it is one of a few; empty otherwise.
    unit : Unit or None
        Of the answer.
    prior : float or None
        The figure as `key` has it, independent of the size of the window: the share of the
        window for an area, pixels for a length. None for `truth` itself.
    outcome : str
        The truth as `key` counts it, where that is not the truth itself: the number of a date.
    """

    kind: QuestionKind
    task: str
    wording: str
    words: Mapping[str, str]
    key: str
    truth: float | str | bool
    answer: AnswerKind
    steps: tuple[Named, ...]
    closing: str = ""
    stated: str = ""
    names: tuple[str, ...] = ()
    unit: Unit | None = None
    prior: float | None = None
    outcome: str = ""

    @property
    def said(self) -> str:
        """The truth as `terrascope.data.priors.Priors` counts it."""
        if self.outcome:
            return self.outcome
        if isinstance(self.truth, bool):
            return "yes" if self.truth else "no"
        return str(self.truth)
