"""The configuration survives its own file and refuses nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig
from terrascope.model.generation_terrascope import generate
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.prompts import compose_query
from terrascope.model.tokenization_nano import NanoTokenizer

from .samples import random_windows, tiny_config, tiny_model
from .tiny8b import language_config


def test_round_trip_keeps_nested_sizes(tmp_path: Path) -> None:
    nano = NanoConfig(hidden_size=64, heads=4, vocab_size=99, window_size=64)
    config = TerrascopeConfig(nano_config=nano, mask_temperature=1.7, token_cap=9)
    config.save_pretrained(tmp_path)
    back = TerrascopeConfig.from_pretrained(tmp_path)
    assert isinstance(back.nano_config, NanoConfig)
    assert back.nano.to_dict() == nano.to_dict()
    assert (back.mask_temperature, back.token_cap) == (1.7, 9)


def test_defaults_of_the_mechanism_are_the_papers() -> None:
    config = TerrascopeConfig()
    assert (config.token_cap, config.cell_threshold, config.mask_threshold) == (128, 0.5, 0.5)
    assert (config.mask_weight, config.dice_weight, config.cross_entropy_weight) == (0.5, 1, 1)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"backbone": "tiny"}, "backbone"),
        ({"token_cap": 0}, "token_cap"),
        ({"cell_threshold": 1.0}, "cell_threshold"),
        ({"mask_temperature": 0.0}, "mask_temperature"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        TerrascopeConfig(**settings)


@pytest.mark.parametrize(
    "settings", [{"patch_size": 6}, {"window_size": 100}, {"hidden_size": 60, "heads": 8}]
)
def test_sizes_that_do_not_fit_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"power of 2|multiple|heads"):
        NanoConfig(**settings)


def test_an_8b_configuration_has_no_nano_sizes() -> None:
    with pytest.raises(ValueError, match="no nano_config"):
        _ = TerrascopeConfig(backbone="internvl").nano


def test_a_nano_is_not_built_without_the_size_of_its_vocabulary() -> None:
    with pytest.raises(ValueError, match="vocab_size is not set"):
        TerrascopeModel(TerrascopeConfig(nano_config=NanoConfig()))


def test_the_tokenizer_must_be_the_models_own() -> None:
    tokenizer = NanoTokenizer()
    config = tiny_config(tokenizer)
    config.check_tokenizer(tokenizer)
    config.nano.vocab_size = 1024
    with pytest.raises(ValueError, match=f"{len(tokenizer)} tokens for a model of 1024"):
        config.check_tokenizer(tokenizer)
    config.nano.vocab_size = len(tokenizer) + 1
    with pytest.raises(ValueError, match="vocab_size=len"):
        config.check_tokenizer(tokenizer)
    config = tiny_config(tokenizer)
    config.seg_token_id = 99
    with pytest.raises(ValueError, match="seg_token_id is 99"):
        config.check_tokenizer(tokenizer)


def test_a_large_model_may_have_rows_to_spare() -> None:
    tokenizer = NanoTokenizer()
    ids = {
        name: value
        for name, value in tiny_config(tokenizer).to_dict().items()
        if name.endswith("_token_id")
    }
    for spare, fits in ((0, True), (60, True), (-1, False)):
        config = TerrascopeConfig(
            backbone="internvl",
            vision_language_config=language_config(len(tokenizer) + spare),
            **ids,
        )
        if fits:
            config.check_tokenizer(tokenizer)
        else:
            with pytest.raises(ValueError, match="load both from the same folder"):
                config.check_tokenizer(tokenizer)


def test_ids_of_another_tokenizer_are_refused_before_anything_runs() -> None:
    tokenizer = NanoTokenizer()
    windows = random_windows([1])
    query = compose_query(tokenizer, windows, 0, "Where?")
    model = tiny_model(tokenizer)
    model.config.nano.vocab_size = max(query.prompt)
    with pytest.raises(ValueError, match="use the tokenizer that was saved with it"):
        generate(model, windows, [query], text=tokenizer.text)
