"""Grammar and measurement inside a generation, from random weights: nothing is malformed."""

from __future__ import annotations

import itertools

import pytest

from terrascope.model.generation_terrascope import Generation, Sampling, generate
from terrascope.model.grammar import Form, Grammar, Words
from terrascope.model.measurer import MaskMeasurer
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.prompts import compose_query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.windows import Windows
from terrascope.vocabulary import AnswerKind, Token, image_indicators

from .samples import random_windows, tiny_model

DATES = [1, 2, 3]


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return NanoTokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: NanoTokenizer) -> TerrascopeModel:
    return tiny_model(tokenizer, seed=1)


@pytest.fixture(scope="module")
def words(tokenizer: NanoTokenizer, model: TerrascopeModel) -> Words:
    """The vocabulary of the logits may be wider than the tokenizer's."""
    return Words(tokenizer, vocab_size=model.config.nano.vocab_size)


def answer(
    model: TerrascopeModel, windows: Windows, words: Words, count: int, seed: int
) -> tuple[list[tuple[Grammar, Generation]], MaskMeasurer]:
    """Ask questions of every kind; with one window in three the trace begins at an indicator."""
    tokenizer = words.tokenizer
    assert isinstance(tokenizer, NanoTokenizer)
    kinds = itertools.islice(itertools.cycle(AnswerKind), count)
    queries, grammars = [], []
    for number, kind in enumerate(kinds):
        window = number % len(DATES)
        grammar = Grammar(
            words, Form(kind), dates=DATES[window], max_trace_tokens=10, max_masks=2, max_words=5
        )
        forced = ["", "<think>", "<think>water Image:"][number // len(DATES) % 3]
        state = grammar.start
        for token in tokenizer.ids(forced):
            state = grammar.advance(state, token)
        queries.append(compose_query(tokenizer, windows, window, f"What {kind}?", forced))
        grammars.append((grammar, state))
    measurer = MaskMeasurer(windows, tokenizer.ids)
    said = generate(
        model,
        windows,
        queries,
        text=tokenizer.text,
        max_new_tokens=120,
        measurer=measurer,
        grammars=grammars,
        sampling=Sampling(temperature=1.0, seed=seed),
    )
    return list(zip((grammar for grammar, _ in grammars), said, strict=True)), measurer


def check(
    results: list[tuple[Grammar, Generation]], measurer: MaskMeasurer, tokenizer: NanoTokenizer
) -> int:
    masks = 0
    for row, (grammar, said) in enumerate(results):
        trace, _ = grammar.parse(said.ids)
        assert said.ids[-1] == tokenizer.eos_token_id
        dates = DATES[row % len(DATES)]
        named = image_indicators(trace)
        assert all(max(pair[0], pair[1] or 0) <= dates for pair in named)
        if dates > 1:
            assert [(b + 1 if b >= 0 else None, d + 1) for b, d in masks_of(said)] == [
                (first, last) if last else (None, first) for first, last in named
            ]
        written = tokenizer.text(said.sequence)
        assert written.count(Token.MEASURE) == len(said.events)
        for event in said.events:
            assert measurer.measurements[row, event.order].pixels >= 0
            masks += 1
    return masks


def masks_of(said: Generation) -> list[tuple[int, int]]:
    return [(event.before, event.date) for event in said.events]


def test_answers_parse_and_masks_are_measured(
    model: TerrascopeModel, words: Words, tokenizer: NanoTokenizer
) -> None:
    windows = random_windows(DATES, seed=5)
    results, measurer = answer(model, windows, words, 81, seed=0)
    assert check(results, measurer, tokenizer) > 15
    kinds = {type(grammar.parse(said.ids)[1]) for grammar, said in results}
    assert len(kinds) == 6


@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(4))
def test_ten_thousand_answers_from_random_weights_parse(
    quarter: int, words: Words, tokenizer: NanoTokenizer
) -> None:
    masks = 0
    for seed in range(5 * quarter, 5 * quarter + 5):
        model = tiny_model(tokenizer, seed=seed)
        windows = random_windows(DATES, seed=seed)
        results, measurer = answer(model, windows, words, 500, seed=seed)
        masks += check(results, measurer, tokenizer)
    assert masks > 250
