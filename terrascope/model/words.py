"""What a grammar needs to know of a tokenizer: which tokens are text, and what each adds to one."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from terrascope.model.automaton import (
    Automaton,
    Chain,
    Either,
    Literal,
    Part,
    Repeat,
    compile_parts,
)
from terrascope.model.forms import Form, answer_part
from terrascope.model.tokenization_nano import SpecialIds
from terrascope.vocabulary import image_indicator

__all__ = ["TRIGGER", "Words"]

TRIGGER = "Image:"
"""After it a trace names a date, and nothing else."""


class Words:
    """What a grammar needs to know of a tokenizer; made once and shared.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        `NanoTokenizer`, or another with the special tokens of
        `terrascope.vocabulary` added and a token for every digit.
    vocab_size : int or None
        Columns of the model's logits, where they are more than the tokenizer has
        tokens; the rest is never allowed.

    Raises
    ------
    ValueError
        If the tokenizer lacks a special token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocab_size: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.special = SpecialIds.of(tokenizer)
        self.size = max(vocab_size or 0, len(tokenizer))
        self.hidden = set(tokenizer.all_special_ids) | set(dataclasses.astuple(self.special))
        self.texts = self._texts()
        self.plain = torch.tensor([text is not None for text in self.texts])
        self.progress = torch.stack([self._progress(k) for k in range(len(TRIGGER))])
        self._dates: dict[int, Automaton] = {}
        self._answers: dict[Form, Automaton] = {}

    def encode(self, text: str) -> list[int]:
        """Tokenize text, checking that it comes back.

        Parameters
        ----------
        text : str
            A part of an answer.

        Returns
        -------
        ids : list of int
            Nothing is added.

        Raises
        ------
        ValueError
            If the tokenizer cannot write this text.
        """
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        if "".join(self.texts[number] or "" for number in ids) != text:
            raise ValueError(f"the tokenizer cannot write {text!r}: it gives {ids}")
        return ids

    def dates(self, count: int) -> Automaton:
        """Return what may follow ``Image:``: the dates of a window, and then ``[SEG]``.

        Parameters
        ----------
        count : int
            Dates of the window.

        Returns
        -------
        automaton : Automaton
            Made once per count.
        """
        if count not in self._dates:
            self._dates[count] = compile_parts(
                [self._some_date(count), Literal((self.special.seg,))]
            )
        return self._dates[count]

    def answer(self, form: Form) -> Automaton:
        """Return what an answer may be.

        Parameters
        ----------
        form : Form
            Not free text.

        Returns
        -------
        automaton : Automaton
            Made once per form.
        """
        if form not in self._answers:
            self._answers[form] = compile_parts([answer_part(form, self.encode)])
        return self._answers[form]

    def _some_date(self, count: int) -> Part:
        """Return one date, or an earlier and a later one."""
        choices: list[Part] = []
        for first in range(1, count + 1):
            alone = image_indicator(first).removeprefix(TRIGGER)
            later = [
                image_indicator(first, last).removeprefix(TRIGGER + alone)
                for last in range(first + 1, count + 1)
            ]
            tail = Either(tuple(Literal(tuple(self.encode(text))) for text in later or [""]))
            choices.append(Chain((Literal(tuple(self.encode(alone))), Repeat(tail, 0, 1))))
        return Either(tuple(choices))

    def _texts(self) -> list[str | None]:
        """Return the text of every token within a text; None for those that are no text."""
        anchor = self.tokenizer.encode("a", add_special_tokens=False)
        start = len(self.tokenizer.decode(anchor))
        pairs = [[*anchor, number] for number in range(len(self.tokenizer))]
        written = self.tokenizer.batch_decode(pairs, clean_up_tokenization_spaces=False)
        texts = [
            None if number in self.hidden else text[start:] for number, text in enumerate(written)
        ]
        return texts + [None] * (self.size - len(texts))

    def _progress(self, k: int) -> Tensor:
        """Return how much of the trigger is written after each token; -1 where it lies within."""
        after = torch.zeros(self.size, dtype=torch.int8)
        for number, text in enumerate(self.texts):
            if not text or ("I" not in text and (k == 0 or text[0] != TRIGGER[k])):
                continue
            done = k
            for place, character in enumerate(text, start=1):
                # All characters of the trigger differ, so a failed match restarts at its first.
                done = done + 1 if character == TRIGGER[done] else int(character == TRIGGER[0])
                if done == len(TRIGGER):
                    done = done if place == len(text) else -1
                    break
            after[number] = done
        return after
