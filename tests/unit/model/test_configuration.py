"""The configuration survives its own file and refuses nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig


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
