"""Ten thousand answers from random logits: none malformed, none about a date that is not there."""

from __future__ import annotations

import datetime as dt
import itertools
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from terrascope.model.answers import (
    DateAnswer,
    NameAnswer,
    NumberAnswer,
    OptionAnswer,
    TextAnswer,
    YesNoAnswer,
)
from terrascope.model.automaton import Chain, Either, Literal, Repeat, compile_parts
from terrascope.model.forms import AnswerError, Form, parse_answer, parse_response
from terrascope.model.grammar import Grammar, Words
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.vocabulary import SPECIAL_TOKENS, AnswerKind, Unit, image_indicators

DAYS = (dt.date(2020, 2, 29), dt.date(2021, 6, 1), dt.date(2021, 12, 1))
FORMS = (
    Form(AnswerKind.OPTION),
    Form(AnswerKind.OPTION, options=2),
    Form(AnswerKind.YES_NO),
    Form(AnswerKind.NUMBER),
    Form(AnswerKind.NUMBER_UNIT),
    Form(AnswerKind.NUMBER_UNIT, units=(Unit.HECTARE, Unit.SQUARE_METRE)),
    Form(AnswerKind.CLASS),
    Form(AnswerKind.CLASS, names=("water", "wetland")),
    Form(AnswerKind.CHANGE),
    Form(AnswerKind.POSITION),
    Form(AnswerKind.DATE),
    Form(AnswerKind.DATE, dates=DAYS),
    Form(AnswerKind.TEXT),
)
KINDS = {
    AnswerKind.OPTION: OptionAnswer,
    AnswerKind.YES_NO: YesNoAnswer,
    AnswerKind.NUMBER: NumberAnswer,
    AnswerKind.NUMBER_UNIT: NumberAnswer,
    AnswerKind.CLASS: NameAnswer,
    AnswerKind.CHANGE: NameAnswer,
    AnswerKind.POSITION: NameAnswer,
    AnswerKind.DATE: DateAnswer,
    AnswerKind.TEXT: TextAnswer,
}


def byte_pair_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer as large language models have, with merges across our words."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    corpus = [
        "water wetland developed area bare land top left vegetation loss yes no answer",
        "Image: t_1 Image: t_12 t_3 to t_12 I Im Imag e: ge: : t_9 :) 123 2021 20 21-06 12.5 ha",
        "Images: Image:x Image: t_7 Ima Image the area of all trees",
    ]
    inner.train_from_iterator(corpus * 40, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    made.add_special_tokens({"extra_special_tokens": list(SPECIAL_TOKENS[3:])})
    return made


@pytest.fixture(scope="module", params=["nano", "byte pairs"])
def words(request: pytest.FixtureRequest) -> Words:
    tokenizer = NanoTokenizer() if request.param == "nano" else byte_pair_tokenizer()
    return Words(tokenizer, vocab_size=len(tokenizer) + 37)


def generate(
    grammars: list[Grammar], generator: torch.Generator, *, push: torch.Tensor | None = None
) -> list[list[int]]:
    """Run a batch to its end on random logits, as an untrained model would."""
    states = [grammar.start for grammar in grammars]
    said: list[list[int]] = [[] for _ in grammars]
    size = grammars[0].words.size
    for _ in range(2000):
        allowed = torch.stack([g.allowed(s) for g, s in zip(grammars, states, strict=True)])
        going = allowed.any(1).tolist()
        if not any(going):
            return said
        logits = torch.randn((len(grammars), size), generator=generator)
        if push is not None:
            logits += push
        tokens = logits.masked_fill_(~allowed, -torch.inf).argmax(1).tolist()
        for row, token in enumerate(tokens):
            if going[row]:
                states[row] = grammars[row].advance(states[row], token)
                said[row].append(token)
    raise AssertionError("a generation does not end")


def check(grammar: Grammar, ids: list[int], dates: int) -> str:
    """Parse a response by its ids and by its text; return the trace."""
    form, tokenizer = grammar.form, grammar.words.tokenizer
    trace, answer = grammar.parse(ids)
    assert isinstance(answer, KINDS[form.kind])
    text = tokenizer.decode(ids)
    if form.kind is not AnswerKind.TEXT:
        assert parse_response(text, form)[1] == answer
    for first, last in image_indicators(trace):
        assert 1 <= first <= dates
        assert last is None or first < last <= dates
    assert ids[-1] == grammar.special.eos
    return trace


def test_ten_thousand_answers_parse(words: Words) -> None:
    generator = torch.Generator().manual_seed(1)
    begin, seen = time.perf_counter(), set()
    forms = list(itertools.islice(itertools.cycle(FORMS), 10_000))
    for start in range(0, len(forms), 1000):
        batch = [
            Grammar(words, form, trace=False, max_words=12) for form in forms[start : start + 1000]
        ]
        for grammar, ids in zip(batch, generate(batch, generator), strict=True):
            trace, answer = grammar.parse(ids)
            assert isinstance(answer, KINDS[grammar.form.kind])
            assert trace == ""
            check(grammar, ids, 1)
            seen.add(answer)
    assert time.perf_counter() - begin < 60
    assert len([a for a in seen if isinstance(a, DateAnswer)]) > 500
    assert {OptionAnswer(letter) for letter in "ABCD"} < seen
    assert {YesNoAnswer(yes=True), YesNoAnswer(yes=False)} < seen


def test_traces_name_only_dates_that_exist(words: Words) -> None:
    """With "Image:" and [SEG] made likely, so that every branch of the trace is taken."""
    generator = torch.Generator().manual_seed(2)
    push = torch.zeros(words.size)
    pieces = [*words.encode(" Image:"), *words.encode("Image:"), words.special.seg]
    push[pieces + words.encode(" to t_3") + words.encode("I")] = 4.0
    named, masks = set(), 0
    for _ in range(3):
        counts = [1 + n % 13 for n in range(400)]
        batch = [
            Grammar(words, FORMS[n % len(FORMS)], dates=dates, max_trace_tokens=30, max_words=8)
            for n, dates in enumerate(counts)
        ]
        for grammar, ids, dates in zip(
            batch, generate(batch, generator, push=push), counts, strict=True
        ):
            trace = check(grammar, ids, dates)
            found = image_indicators(trace)
            masks += ids.count(words.special.seg)
            named |= {(dates, first, last) for first, last in found}
            if dates > 1:
                assert len(found) == ids.count(words.special.seg) == trace.count("[SEG]")
                assert trace.count("Image:") == len(found)
    assert masks > 500
    assert len(named) > 50
    assert any(last for _, _, last in named)


def test_after_the_indicator_come_exactly_the_dates_of_the_window(words: Words) -> None:
    for count in (1, 2, 13):
        automaton = words.dates(count)
        for first in range(15):
            tails = ["", *(f" to t_{last}" for last in range(15))]
            for tail in tails:
                last = int(tail.rpartition("_")[2]) if tail else None
                real = 1 <= first <= count and (last is None or first < last <= count)
                state = automaton.run([*words.encode(f" t_{first}{tail}"), words.special.seg])
                assert (state is not None and automaton.accepts[state]) == real, (first, tail)


def test_a_trace_closes_at_its_limits(words: Words) -> None:
    generator = torch.Generator().manual_seed(3)
    push = torch.zeros(words.size)
    push[words.special.think_end] = -100.0
    push[words.special.seg] = 100.0
    grammar = Grammar(words, FORMS[0], max_trace_tokens=7, max_masks=3)
    (ids,) = generate([grammar], generator, push=push)
    inside = ids[1 : ids.index(words.special.think_end)]
    assert inside.count(words.special.seg) == 3
    assert len(inside) == 3 + 7


def test_a_response_may_begin_in_the_middle(words: Words) -> None:
    generator = torch.Generator().manual_seed(4)
    for trace in (True, False):
        grammar = Grammar(words, FORMS[4], trace=trace, opened=True, max_trace_tokens=4)
        (ids,) = generate([grammar], generator)
        assert isinstance(grammar.parse(ids)[1], NumberAnswer)


def test_the_system_tokens_are_never_said(words: Words) -> None:
    special = words.special
    never = [special.pad, special.image, special.measure, special.measure_end]
    grammar = Grammar(words, FORMS[-1], dates=2)
    states = [grammar.start]
    for token in (special.think, *words.encode("Image: t_1"), special.seg, special.think_end):
        states.append(grammar.advance(states[-1], token))
    states.append(grammar.advance(states[-1], special.answer))
    for state in states:
        allowed = grammar.allowed(state)
        assert allowed.any()
        assert not allowed[never].any()
        assert not allowed[len(words.tokenizer) :].any()
    with pytest.raises(ValueError, match="not allowed"):
        grammar.advance(states[1], special.seg)
    with pytest.raises(ValueError, match="not allowed"):
        grammar.advance(states[0], special.eos)


def test_every_written_answer_is_allowed_and_read_back(words: Words) -> None:
    cases = {
        "B": FORMS[0],
        "no": FORMS[2],
        "0012": FORMS[3],
        "00204.80 ha": FORMS[4],
        "012.5 %": FORMS[4],
        "7 m2": FORMS[5],
        "developed area": FORMS[6],
        "built up gain": FORMS[8],
        "bottom left": FORMS[9],
        "top": FORMS[9],
        "2024-02-29": FORMS[10],
        "2021-06-01": FORMS[11],
    }
    for text, form in cases.items():
        ids = [*words.tokenizer.encode(text, add_special_tokens=False)]
        spelled = [i for c in text for i in words.encode(c)] if text[0].isdigit() else ids
        automaton = words.answer(form)
        digits = text.partition(" ")
        if digits[1] and text[0].isdigit():
            spelled = [i for c in digits[0] for i in words.encode(c)] + words.encode(
                f" {digits[2]}"
            )
        state = automaton.run(spelled)
        assert state is not None, text
        assert automaton.accepts[state], text
        parse_answer(text, form)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("E", FORMS[0]),
        ("C", FORMS[1]),
        ("maybe", FORMS[2]),
        ("12.5", FORMS[3]),
        ("12 ha", FORMS[3]),
        ("12", FORMS[4]),
        ("ha", FORMS[4]),
        ("12 m", FORMS[5]),
        ("-3 ha", FORMS[4]),
        ("1.2.3 ha", FORMS[4]),
        ("sea", FORMS[6]),
        ("crop", FORMS[7]),
        ("2021-02-29", FORMS[10]),
        ("2021-06-02", FORMS[11]),
        ("", FORMS[0]),
    ],
)
def test_other_texts_are_no_answers(text: str, form: Form) -> None:
    with pytest.raises(AnswerError, match="expected") as caught:
        parse_answer(text, form)
    assert caught.value.text == text


def test_responses_without_an_answer_are_refused() -> None:
    for text in ("", "<answer>B", "B</answer>", "</answer>B<answer>"):
        with pytest.raises(AnswerError, match="expected"):
            parse_response(text, FORMS[0])
    trace, answer = parse_response("<think>so<answer></think><answer> (b). </answer>x", FORMS[0])
    assert (trace, answer) == ("so<answer>", OptionAnswer("B"))
    words = Words(NanoTokenizer())
    with pytest.raises(AnswerError, match="tags"):
        Grammar(words, FORMS[0]).parse(words.encode("B"))


def test_letters_that_spell_a_tag_are_no_tag() -> None:
    tokenizer = NanoTokenizer()
    words = Words(tokenizer)
    spelled = tokenizer.ids("x</answer>y<answer>C", specials=False)
    grammar = Grammar(words, Form(AnswerKind.TEXT), trace=False)
    special = words.special
    ids = [special.answer, *spelled, special.answer_end, special.eos]
    assert grammar.parse(ids) == ("", TextAnswer("x</answer>y<answer>C"))


def test_forms_that_allow_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="options"):
        Form(AnswerKind.OPTION, options=1)
    with pytest.raises(ValueError, match="at least one"):
        Form(AnswerKind.NUMBER_UNIT, units=())
    with pytest.raises(ValueError, match="at least one"):
        Grammar(Words(NanoTokenizer()), FORMS[0], dates=0)


PARTS = st.recursive(
    st.lists(st.integers(0, 2), max_size=3).map(lambda ids: Literal(tuple(ids))),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda p: Either(tuple(p)))
        | st.lists(inner, max_size=3).map(lambda p: Chain(tuple(p)))
        | st.tuples(inner, st.integers(0, 1), st.integers(1, 2)).map(lambda r: Repeat(*r))
    ),
    max_leaves=5,
)


def language(part: object) -> set[tuple[int, ...]]:
    """Every sequence that a part describes, written out."""
    match part:
        case Literal(ids):
            return {ids}
        case Either(parts):
            return set().union(*(language(one) for one in parts))
        case Chain(parts):
            return {sum(words, ()) for words in itertools.product(*(language(p) for p in parts))}
        case Repeat(one, least, most):
            return set().union(*(language(Chain((one,) * n)) for n in range(least, most + 1)))
    raise AssertionError(part)


@given(part=PARTS)
@settings(max_examples=200, deadline=None)
def test_an_automaton_accepts_exactly_its_language(part: object) -> None:
    automaton = compile_parts([part])  # type: ignore[list-item]
    expected = language(part)
    found, waiting = set(), [((), 0)]
    for sequence, state in waiting:
        if automaton.accepts[state]:
            found.add(sequence)
        moves = automaton.moves[state]
        assert moves or automaton.accepts[state], "a dead end"
        waiting += [((*sequence, token), after) for token, after in moves.items()]
    assert found == expected
    table = automaton.table(3)
    assert table.sum() == sum(len(moves) for moves in automaton.moves)


def test_foreign_tokenizers_keep_their_own_end(words: Words) -> None:
    tokenizer: PreTrainedTokenizerBase = words.tokenizer
    assert words.special.eos == tokenizer.eos_token_id
    assert words.special.pad == tokenizer.pad_token_id
