"""Sets of questions that read alike and have every answer once: the text alone is worth nothing.

Who reads only the question knows what is asked and of which classes. If water and trees mostly
touch, "yes" is the better guess, and a benchmark of such questions can be gamed. So questions of
one wording enter in sets, one of every answer, each about another scene: of two, one is yes and
the other no; of four, each has the same four figures to choose from, and another one is true.
Whatever is made of question and options, it is right once in every set.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping

from terrascope.data.options import are_apart
from terrascope.data.proposals import Proposal
from terrascope.vocabulary import Unit

__all__ = ["FIGURES", "Candidate", "Matcher"]

FIGURES = 4
"""Questions of a set whose answer is a figure, and options of each."""

_CLASS_WORDS = ("a", "b", "c")
_OF_GROUND = (Unit.PERCENT, Unit.HECTARE, Unit.SQUARE_METRE)
_GAP_SHARE, _GAP = 0.0101, 1.01
"""Least difference of two figures: of a hundredth of the ground, of a pixel, of one; a hair more
than `terrascope.data.finishing` asks for, so that rounding to pixels keeps them apart."""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A question that may become an item.

    Parameters
    ----------
    image : str
        Of the scene.
    number : int
        Of the scene, for whoever makes it again.
    dates : int
        Of the scene.
    proposal : Proposal
        What is asked, and what is true.
    """

    image: str
    number: int
    dates: int
    proposal: Proposal

    @property
    def task(self) -> str:
        """Task of the benchmark."""
        return self.proposal.task

    @property
    def key(self) -> str:
        """All that a reader of the question knows: wording, unit and classes in any order."""
        words = [self.proposal.words[w] for w in _CLASS_WORDS if w in self.proposal.words]
        unit = self.proposal.unit
        return " / ".join([self.proposal.wording, unit.value if unit else "", *sorted(words)])

    @property
    def answer(self) -> str | None:
        """Answer of a question that has a few; None of one that asks for a figure."""
        truth = self.proposal.truth
        return self.proposal.said if isinstance(truth, bool | str) else None

    @property
    def answers(self) -> tuple[str, ...]:
        """All answers of a question that has a few."""
        return ("yes", "no") if isinstance(self.proposal.truth, bool) else self.proposal.names

    @property
    def figure(self) -> float:
        """The true figure, whatever the size of the window: a share, pixels or a count.

        Raises
        ------
        ValueError
            If it is none.
        """
        found = self.proposal.truth if self.proposal.prior is None else self.proposal.prior
        if isinstance(found, bool | str):
            raise ValueError(f"{self.image}: {found!r} is no figure")
        return float(found)

    @property
    def gap(self) -> float:
        """Least difference of two figures that are offered together."""
        return _GAP_SHARE if self.proposal.unit in _OF_GROUND else _GAP


class Matcher:
    """Lets candidates wait until they make a set.

    Parameters
    ----------
    wanted : mapping of str to int
        Items of every task; the last set of a task may go beyond.
    per_image : int
        Items of one task about one scene, at most.
    alone : bool
        Questions for figures do not wait: their wrong options come from elsewhere.
    """

    def __init__(
        self, wanted: Mapping[str, int], *, per_image: int = 2, alone: bool = False
    ) -> None:
        self.wanted, self.per_image, self.alone = dict(wanted), per_image, alone
        self.made: Counter[str] = Counter()
        self._waiting: dict[str, list[Candidate]] = {}
        self._taken: Counter[tuple[str, str]] = Counter()
        self._images: Counter[str] = Counter()

    @property
    def needed(self) -> set[str]:
        """Tasks that want more items."""
        return {task for task, count in self.wanted.items() if self.made[task] < count}

    def add(self, candidate: Candidate) -> tuple[Candidate, ...]:
        """Take a candidate in.

        Parameters
        ----------
        candidate : Candidate
            Of any task.

        Returns
        -------
        members : tuple of Candidate
            The set that it completes; empty where it has to wait, or is not wanted.
        """
        if candidate.task not in self.needed or not self._has_room(candidate):
            return ()
        waiting = [one for one in self._waiting.get(candidate.key, []) if self._has_room(one)]
        self._waiting[candidate.key] = waiting
        # Scenes that are asked about anyway first: fewer have to be looked at.
        members = self._joined(candidate, sorted(waiting, key=self._is_new))
        if not members:
            waiting.append(candidate)
            return ()
        for one in members:
            if one is not candidate:
                waiting.remove(one)
            self._count(one, 1)
        return members

    def release(self, members: Iterable[Candidate], lost: Candidate) -> tuple[Candidate, ...]:
        """Take a set apart, one of which cannot be asked after all.

        Parameters
        ----------
        members : iterable of Candidate
            As `add` gave them.
        lost : Candidate
            The one that is dropped.

        Returns
        -------
        others : tuple of Candidate
            To be added again.
        """
        members = tuple(members)
        for one in members:
            self._count(one, -1)
        return tuple(one for one in members if one is not lost)

    def _joined(self, candidate: Candidate, waiting: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """Find the rest of a set; empty where there is none yet."""
        members = [candidate]
        if candidate.answer is None:
            size = 1 if self.alone else FIGURES
        else:
            size = len(candidate.answers)
        for one in waiting:
            if len(members) == size:
                break
            if one.image not in {m.image for m in members} and _fits(one, members):
                members.append(one)
        return tuple(members) if len(members) == size else ()

    def _has_room(self, candidate: Candidate) -> bool:
        """Tell whether the scene may be asked: not too often, and not the same twice."""
        few = self._taken[candidate.image, candidate.task] < self.per_image
        return few and not self._taken[candidate.image, candidate.key]

    def _is_new(self, candidate: Candidate) -> bool:
        return candidate.image not in self._images

    def _count(self, candidate: Candidate, by: int) -> None:
        self.made[candidate.task] += by
        self._images[candidate.image] += by
        if not self._images[candidate.image]:
            del self._images[candidate.image]
        for what in (candidate.task, candidate.key):
            self._taken[candidate.image, what] += by


def _fits(one: Candidate, members: list[Candidate]) -> bool:
    """Tell whether a candidate has another answer than the members, well apart from theirs."""
    if one.answer is not None:
        return one.answer not in {m.answer for m in members}
    return are_apart([one.figure, *(m.figure for m in members)], one.gap)
