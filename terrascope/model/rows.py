"""The state of the sequences that are generated together, and what several of them share."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from terrascope.model.sequences import Query
from terrascope.model.traces import Generation, Grammar, MaskEvent

__all__ = ["Beginning", "Row", "split_beginnings"]


@dataclasses.dataclass
class Row:
    """The state of one sequence.

    Parameters
    ----------
    number : int
        Place in the batch.
    query : Query
        What is asked.
    question : list of int
        Its words alone.
    forced : list of int
        Tokens still to be said as they are.
    ids, source : list of int
        Positions waiting to be fed; as in `terrascope.model.sequences.Layout`.
    grammar : Grammar or None
        What may be said.
    grammar_state : object
        Where the grammar is.
    draws : torch.Generator or None
        Of its own, where tokens are drawn.
    said, scores, sequence, events, stopped : see `Generation`
        What came of it so far.
    """

    number: int
    query: Query
    question: list[int]
    forced: list[int]
    ids: list[int]
    source: list[int]
    grammar: Grammar | None = None
    grammar_state: Any = None
    draws: torch.Generator | None = None
    said: list[int] = dataclasses.field(default_factory=list)
    scores: list[float] = dataclasses.field(default_factory=list)
    sequence: list[int] = dataclasses.field(default_factory=list)
    events: list[MaskEvent] = dataclasses.field(default_factory=list)
    stopped: str = ""

    def queue(self, ids: Sequence[int], source: Sequence[int] | None = None) -> None:
        """Add positions that are given.

        Parameters
        ----------
        ids : sequence of int
            Token ids; padding where a visual token stands.
        source : sequence of int or None
            Places of visual tokens, -1 for text; None for text alone.
        """
        self.ids += ids
        self.source += [-1] * len(ids) if source is None else source
        self.sequence += ids

    def say(self, ids: Sequence[int]) -> None:
        """Add tokens that are said.

        Parameters
        ----------
        ids : sequence of int
            Token ids.
        """
        self.said += ids
        self.queue(ids)

    def result(self) -> Generation:
        """Return what it came to.

        Returns
        -------
        generation : Generation
            So far.
        """
        return Generation(
            ids=tuple(self.said),
            free=len(self.scores),
            log_probabilities=tuple(self.scores),
            events=tuple(self.events),
            sequence=tuple(self.sequence),
            stopped=self.stopped,
        )


@dataclasses.dataclass(frozen=True)
class Beginning:
    """What several sequences begin with: run by the leader, copied to the others.

    Parameters
    ----------
    leader : Row
        Its queue is the beginning alone.
    rest : tuple of list of int
        Queue of the leader behind the beginning: `Row.ids`, `Row.source`.
    others : tuple of int
        Numbers of the rows whose queues were cut already.
    """

    leader: Row
    rest: tuple[list[int], list[int]]
    others: tuple[int, ...]


def split_beginnings(rows: Sequence[Row]) -> list[Beginning]:
    """Cut off what questions on the same window have in common, up to its last image.

    Parameters
    ----------
    rows : sequence of Row
        With their prompts queued. The queues of rows that share a beginning are cut.

    Returns
    -------
    beginnings : list of Beginning
        One per window of which several questions begin alike.
    """
    groups: dict[tuple[int, ...], list[Row]] = defaultdict(list)
    for row in rows:
        images = [place for place, source in enumerate(row.source) if source >= 0]
        cut = images[-1] + 1 if images else 0
        groups[row.query.window, cut, *row.ids[:cut]].append(row)
    beginnings = []
    for (_, cut, *_), (leader, *others) in groups.items():
        if not others or cut == 0:
            continue
        rest = leader.ids[cut:], leader.source[cut:]
        leader.ids, leader.source = leader.ids[:cut], leader.source[:cut]
        for row in others:
            row.ids, row.source = row.ids[cut:], row.source[cut:]
        beginnings.append(Beginning(leader, rest, tuple(row.number for row in others)))
    return beginnings
