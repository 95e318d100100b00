"""The nano tokenizer: every string comes back, digits stand alone, pieces concatenate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.model.tokenization_nano import DATE_TOKENS, WORDS, NanoTokenizer, SpecialIds
from terrascope.vocabulary import (
    ANSWER_OF,
    CHANGE_NAMES,
    CLASS_CODES,
    LAND_COVER,
    POSITIONS,
    SPECIAL_TOKENS,
    QuestionKind,
    image_indicator,
    image_indicators,
    last_indicator,
)

TOKENIZER = NanoTokenizer()
MADE_OF = (
    *" \n.,%70é",
    "t_1",
    "t_33",
    "Image:",
    "m2",
    "km2",
    "ha",
    "m",
    "waterfall",
    "[SEG",
    "<0x41>",
)
TASK_TEXT = st.lists(
    st.sampled_from((*MADE_OF, *SPECIAL_TOKENS[:8], *WORDS[40:80])), max_size=30
).map("".join)
ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=40)


@given(text=st.one_of(TASK_TEXT, ANY_TEXT))
@settings(max_examples=400, deadline=None)
def test_any_string_comes_back(text: str) -> None:
    assert TOKENIZER.text(TOKENIZER.ids(text)) == text
    plain = TOKENIZER.ids(text, specials=False)
    assert TOKENIZER.text(plain) == text
    assert min(plain, default=99) >= len(SPECIAL_TOKENS)


@given(text=st.one_of(TASK_TEXT, ANY_TEXT))
@settings(max_examples=200, deadline=None)
def test_the_interface_of_transformers_gives_the_same_ids(text: str) -> None:
    ids = TOKENIZER.ids(text)
    assert TOKENIZER.encode(text) == ids
    assert TOKENIZER.convert_tokens_to_ids(TOKENIZER.convert_ids_to_tokens(ids)) == ids
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER(text, split_special_tokens=True)["input_ids"] == TOKENIZER.ids(
        text, specials=False
    )


@given(left=TASK_TEXT, right=TASK_TEXT)
@settings(max_examples=100, deadline=None)
def test_text_is_the_concatenation_of_its_tokens(left: str, right: str) -> None:
    assert TOKENIZER.text(TOKENIZER.ids(left) + TOKENIZER.ids(right)) == left + right


@given(number=st.decimals(0, 10**9, places=3))
@settings(max_examples=50, deadline=None)
def test_digits_are_one_token_each(number: object) -> None:
    text = f"area {number:012.3f} ha"
    pieces = TOKENIZER.tokenize(text)
    assert pieces[:2] == ["area", " "]
    assert pieces[-1] == " ha"
    assert pieces[2:-1] == list(f"{number:012.3f}")


def test_the_words_of_the_task_are_single_tokens() -> None:
    names = [*LAND_COVER, *CHANGE_NAMES.values(), *POSITIONS]
    for word in " ".join(names).split():
        assert len(TOKENIZER.ids(word)) == 1, word
        assert len(TOKENIZER.ids(f" {word}")) == 1, word
    for token in SPECIAL_TOKENS:
        assert len(TOKENIZER.ids(token)) == 1
    for number in range(1, DATE_TOKENS + 1):
        assert len(TOKENIZER.ids(image_indicator(number))) == 2
    assert len(TOKENIZER.ids("Image: t_133")) == 1 + len(" t_133")


def test_small_enough_for_the_nano_model() -> None:
    assert len(TOKENIZER) == TOKENIZER.vocab_size < 1500
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(len(TOKENIZER)))


def test_broken_bytes_become_the_replacement_character() -> None:
    euro = TOKENIZER.ids("€")
    assert len(euro) == 3
    assert "�" in TOKENIZER.text(euro[:2])
    assert TOKENIZER.text([*euro, TOKENIZER.eos_token_id], specials=False) == "€"
    with pytest.raises(KeyError):
        TOKENIZER.text([len(TOKENIZER)])


def test_a_batch_is_padded() -> None:
    batch = TOKENIZER(["water", "a wetland"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist()[0][1] == TOKENIZER.pad_token_id
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]


def test_saved_and_loaded(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = NanoTokenizer.from_pretrained(tmp_path)
    text = "<think>Identify all water Image: t_2[SEG] 012.5 % Größe</think><answer>B</answer>"
    assert loaded.ids(text) == loaded(text)["input_ids"] == TOKENIZER.ids(text)
    assert SpecialIds.of(loaded) == SpecialIds.of(TOKENIZER)
    # An older vocabulary keeps its ids: what it lacks is spelled.
    older = {k: v for k, v in TOKENIZER.get_vocab().items() if k != " wetland"}
    (tmp_path / "vocab.json").write_text(json.dumps(older))
    old = NanoTokenizer.from_pretrained(tmp_path)
    assert old.text(old.ids("a wetland")) == "a wetland"
    assert len(old.ids("a wetland")) == 3


def test_a_vocabulary_without_bytes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "vocab.json"
    file.write_text(json.dumps({"<pad>": 0}))
    with pytest.raises(ValueError, match="lacks"):
        NanoTokenizer(str(file))


def test_special_ids_name_what_is_missing() -> None:
    ids = SpecialIds.of(TOKENIZER)
    assert (ids.pad, ids.bos, ids.eos, ids.seg) == (0, 1, 2, 3)
    assert len(set(vars(ids).values())) == len(SPECIAL_TOKENS)

    class Foreign:
        pad_token_id, bos_token_id, eos_token_id = 7, None, 7

        def get_vocab(self) -> dict[str, int]:
            return {"<think>": 0}

    with pytest.raises(ValueError, match=r"no \[SEG\]"):
        SpecialIds.of(Foreign())  # type: ignore[arg-type]


def test_date_indicators_are_written_and_read() -> None:
    text = f"water {image_indicator(2)}[SEG] then {image_indicator(1, 12)}[SEG] image: t_9"
    assert image_indicators(text) == [(2, None), (1, 12)]
    assert last_indicator(text) == (1, 12)
    assert last_indicator("nothing") is None
    for first, last in ((0, None), (2, 2), (3, 1)):
        with pytest.raises(ValueError, match="in order"):
            image_indicator(first, last)


def test_class_codes_and_answers_are_complete() -> None:
    assert CLASS_CODES["water"] == 1
    assert CLASS_CODES["wetland"] == 8
    assert set(ANSWER_OF) == set(QuestionKind)
