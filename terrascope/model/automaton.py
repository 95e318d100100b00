"""Regular expressions over token ids, and the table of states that they compile to.

An answer is short and its form is known, so everything that may come next fits
in a small deterministic automaton: one row per state, one column per token.
Choosing the allowed tokens of a whole batch is then one gather.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

__all__ = ["Automaton", "Chain", "Either", "Literal", "Part", "Repeat", "compile_parts"]


@dataclasses.dataclass(frozen=True)
class Literal:
    """These tokens, in this order.

    Parameters
    ----------
    ids : tuple of int
        May be empty: then nothing.
    """

    ids: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Chain:
    """One part after the other.

    Parameters
    ----------
    parts : tuple of Part
        In order.
    """

    parts: tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class Either:
    """One of several parts.

    Parameters
    ----------
    parts : tuple of Part
        At least one.
    """

    parts: tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class Repeat:
    """A part several times.

    Parameters
    ----------
    part : Part
        What is repeated.
    least, most : int
        How often.
    """

    part: Part
    least: int
    most: int


Part = Literal | Chain | Either | Repeat


@dataclasses.dataclass(frozen=True, eq=False)
class Automaton:
    """A deterministic automaton over token ids; state 0 is the start.

    Parameters
    ----------
    moves : tuple of dict
        For each state, the next state by token id; no state is a dead end.
    accepts : tuple of bool
        Whether the text may end in a state.
    """

    moves: tuple[dict[int, int], ...]
    accepts: tuple[bool, ...]

    def run(self, ids: Iterable[int]) -> int | None:
        """Follow tokens from the start.

        Parameters
        ----------
        ids : iterable of int
            Tokens.

        Returns
        -------
        state : int or None
            None where they leave the automaton.
        """
        state: int | None = 0
        for number in ids:
            state = None if state is None else self.moves[state].get(int(number))
        return state

    def table(self, vocabulary: int) -> Tensor:
        """Return what each state allows.

        Parameters
        ----------
        vocabulary : int
            Number of token ids.

        Returns
        -------
        allowed : Tensor of bool, shape (states, vocabulary)
            On the CPU.
        """
        allowed = torch.zeros((len(self.moves), vocabulary), dtype=torch.bool)
        for state, moves in enumerate(self.moves):
            allowed[state, list(moves)] = True
        return allowed


class _Net:
    """Thompson's construction: states with moves by token and silent moves."""

    def __init__(self) -> None:
        self.moves: list[list[tuple[int, int]]] = []
        self.silent: list[list[int]] = []

    def state(self) -> int:
        self.moves.append([])
        self.silent.append([])
        return len(self.moves) - 1

    def add(self, part: Part, start: int) -> int:
        """Lay a part from a state on; return the state where it ends."""
        match part:
            case Literal(ids):
                for number in ids:
                    after = self.state()
                    self.moves[start].append((number, after))
                    start = after
                return start
            case Chain(parts):
                for one in parts:
                    start = self.add(one, start)
                return start
            case Either(parts):
                end = self.state()
                for one in parts:
                    begin = self.state()
                    self.silent[start].append(begin)
                    self.silent[self.add(one, begin)].append(end)
                return end
            case Repeat(one, least, most):
                end = self.state()
                for count in range(most):
                    if count >= least:
                        self.silent[start].append(end)
                    start = self.add(one, start)
                self.silent[start].append(end)
                return end

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """Add whatever silent moves reach."""
        found, waiting = set(states), list(states)
        while waiting:
            for state in self.silent[waiting.pop()]:
                if state not in found:
                    found.add(state)
                    waiting.append(state)
        return frozenset(found)


def compile_parts(parts: Sequence[Part]) -> Automaton:
    """Compile parts that follow each other.

    Parameters
    ----------
    parts : sequence of Part
        In order.

    Returns
    -------
    automaton : Automaton
        Accepts exactly the token sequences that the parts describe.
    """
    net = _Net()
    start = net.state()
    end = net.add(Chain(tuple(parts)), start)
    first = net.closure([start])
    number: dict[frozenset[int], int] = {first: 0}
    waiting, moves = [first], []
    for states in waiting:
        by_token: dict[int, set[int]] = {}
        for state in states:
            for token, after in net.moves[state]:
                by_token.setdefault(token, set()).add(after)
        row = {}
        for token, after_all in by_token.items():
            target = net.closure(after_all)
            if target not in number:
                number[target] = len(number)
                waiting.append(target)
            row[token] = number[target]
        moves.append(row)
    return Automaton(tuple(moves), tuple(end in states for states in number))
