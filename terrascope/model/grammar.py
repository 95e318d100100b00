"""What may be said next: traces that name only real dates, and answers that always parse.

A response is ``<think>`` trace ``</think><answer>`` answer ``</answer>``, then the
end. The trace is free text in which a mask can only be asked for of a date that
the window has; the answer follows the form of the question. Nothing here looks
at a model: a state goes in, the allowed tokens come out.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from terrascope.model.answers import Answer, TextAnswer
from terrascope.model.automaton import (
    Automaton,
)
from terrascope.model.forms import (
    AnswerError,
    Form,
    parse_answer,
    parse_response,
)
from terrascope.model.words import TRIGGER, Words
from terrascope.vocabulary import AnswerKind

__all__ = ["AnswerError", "Form", "Grammar", "State", "Words", "parse_answer", "parse_response"]


class _Mode(enum.IntEnum):
    OPEN = 0
    """Before ``<think>``."""
    TRACE = 1
    """In the trace; `State.inner` counts how much of ``Image:`` was just written."""
    DATE = 2
    """Right after ``Image:``; a state of the automaton of dates."""
    CLOSED = 3
    """Between ``</think>`` and ``<answer>``."""
    ANSWER = 4
    """In an answer with a form; a state of its automaton."""
    WORDS = 5
    """In an answer of free words; counts its tokens."""
    SAID = 6
    """After ``</answer>``: only the end may follow."""
    END = 7


class State(NamedTuple):
    """Where a response stands.

    Parameters
    ----------
    mode : int
        Part of the response.
    inner : int
        Place within that part.
    used : int
        Tokens of the trace so far.
    masks : int
        Masks asked for so far.
    """

    mode: int
    inner: int = 0
    used: int = 0
    masks: int = 0


class Grammar:
    """What one response may say, token by token.

    Parameters
    ----------
    words : Words
        Of the tokenizer.
    form : Form
        Of the answer.
    dates : int
        Dates of the window; with one, a mask may be asked for without naming it.
    trace : bool
        Whether the response begins with a trace.
    opened : bool
        Whether ``<think>`` (with a trace) or ``<answer>`` (without) was already given.
    max_trace_tokens : int
        Free tokens after which the trace must close.
    max_masks : int
        Masks that may be asked for.
    max_words : int
        Tokens of an answer of free words.

    Attributes
    ----------
    start : State
        Before the first token.

    Raises
    ------
    ValueError
        If there is no date, or the tokenizer cannot write the form.
    """

    def __init__(
        self,
        words: Words,
        form: Form,
        *,
        dates: int = 1,
        trace: bool = True,
        opened: bool = False,
        max_trace_tokens: int = 256,
        max_masks: int = 16,
        max_words: int = 128,
    ) -> None:
        if dates < 1:
            raise ValueError(f"{dates} dates: expected at least one")
        self.words, self.form, self.special = words, form, words.special
        self.bare = dates == 1
        self.limits = (max_trace_tokens, max_masks, max_words)
        self._date = words.dates(dates)
        free = form.kind is AnswerKind.TEXT
        self._answer = Automaton((), ()) if free else words.answer(form)
        self._first = _Mode.WORDS if free else _Mode.ANSWER
        if trace:
            self.start = State(_Mode.TRACE if opened else _Mode.OPEN)
        else:
            self.start = State(self._first if opened else _Mode.CLOSED)
        self._known: dict[tuple[int, ...], Tensor] = {}

    def allowed(self, state: State) -> Tensor:
        """Return the tokens that may follow.

        Parameters
        ----------
        state : State
            From `start` and `advance`.

        Returns
        -------
        allowed : Tensor of bool, shape (V,)
            On the CPU; do not write to it. All False after the end.
        """
        key = self._key(state)
        if key not in self._known:
            self._known[key] = self._allowed(key)
        return self._known[key]

    def allowed_batch(self, states: Sequence[State]) -> Tensor:
        """Return the tokens that may follow, for many responses.

        Parameters
        ----------
        states : sequence of State
            One per response.

        Returns
        -------
        allowed : Tensor of bool, shape (B, V)
            New.
        """
        return torch.stack([self.allowed(state) for state in states])

    def advance(self, state: State, token: int) -> State:
        """Return the state after a token.

        Parameters
        ----------
        state : State
            Before it.
        token : int
            One that is allowed. Injected visual tokens and figures are not said,
            and do not count.

        Returns
        -------
        state : State
            After it.

        Raises
        ------
        ValueError
            If the token is not allowed.
        """
        if not bool(self.allowed(state)[token]):
            raise ValueError(f"token {token} is not allowed in {state}")
        mode, inner, used, masks = state
        if mode == _Mode.TRACE:
            return self._after_trace(state, token)
        if token == self.special.seg:
            return State(_Mode.TRACE, 0, used, masks + 1)
        if token == self.special.answer_end:
            return State(_Mode.SAID, 0, used, masks)
        following = {
            _Mode.OPEN: (_Mode.TRACE, 0),
            _Mode.CLOSED: (self._first, 0),
            _Mode.SAID: (_Mode.END, 0),
            _Mode.WORDS: (_Mode.WORDS, inner + 1),
        }
        if mode in (_Mode.DATE, _Mode.ANSWER):
            automaton = self._date if mode == _Mode.DATE else self._answer
            return state._replace(inner=automaton.moves[inner][token])
        after, place = following[_Mode(mode)]
        return State(after, place, used, masks)

    def parse(self, ids: Sequence[int]) -> tuple[str, Answer]:
        """Read a response by its tokens: letters that happen to spell a tag are no tag.

        Parameters
        ----------
        ids : sequence of int
            Of the response, from `start` on; a response that begins after ``<answer>``
            too. Tokens after ``</answer>`` do not matter.

        Returns
        -------
        trace : str
            Without its tags.
        answer : Answer
            Of the form.

        Raises
        ------
        AnswerError
            If there is no answer, or it is not of the form.
        """
        said = list(ids)
        opened = self.start.mode == self._first
        if self.special.answer_end not in said or not (opened or self.special.answer in said):
            raise AnswerError("expected an answer between its tags", self._text(said))
        begin = 0 if opened else said.index(self.special.answer) + 1
        end = said.index(self.special.answer_end, begin)
        inside = self._text(said[begin:end])
        tags = (self.special.think, self.special.think_end)
        trace = self._text([n for n in said[: max(begin - 1, 0)] if n not in tags])
        if self.form.kind is AnswerKind.TEXT:
            return trace, TextAnswer(inside)
        return trace, parse_answer(inside, self.form)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.words.tokenizer.decode(list(ids)))

    def _after_trace(self, state: State, token: int) -> State:
        _, inner, used, masks = state
        if token == self.special.think_end:
            return State(_Mode.CLOSED, 0, used, masks)
        if token == self.special.seg:
            return State(_Mode.TRACE, 0, used, masks + 1)
        done = int(self.words.progress[inner, token])
        mode = _Mode.DATE if done == len(TRIGGER) else _Mode.TRACE
        return State(mode, 0 if mode == _Mode.DATE else done, used + 1, masks)

    def _key(self, state: State) -> tuple[int, ...]:
        """Keep of a state what decides about the next token."""
        mode, inner, used, masks = state
        most_tokens, most_masks, most_words = self.limits
        if mode == _Mode.TRACE:
            return (mode, inner, used >= most_tokens, masks >= most_masks)
        if mode == _Mode.WORDS:
            return (mode, min(inner, 1), inner >= most_words)
        return (mode, inner)

    def _allowed(self, key: tuple[int, ...]) -> Tensor:
        mode, inner = key[:2]
        ids = torch.zeros(self.words.size, dtype=torch.bool)
        match mode:
            case _Mode.OPEN:
                ids[self.special.think] = True
            case _Mode.TRACE:
                ids[self.special.think_end] = True
                full, spent = key[2:]
                if not full:
                    done = self.words.progress[inner]
                    ids |= self.words.plain & (done >= 0)
                    if spent:
                        ids &= done != len(TRIGGER)
                    ids[self.special.seg] = self.bare and not spent
            case _Mode.DATE:
                ids[list(self._date.moves[inner])] = True
            case _Mode.CLOSED:
                ids[self.special.answer] = True
            case _Mode.ANSWER:
                ids[list(self._answer.moves[inner])] = True
                ids[self.special.answer_end] = self._answer.accepts[inner]
            case _Mode.WORDS:
                ids |= self.words.plain & (not key[2])
                ids[self.special.answer_end] = inner > 0
            case _Mode.SAID:
                ids[self.special.eos] = True
        return ids
