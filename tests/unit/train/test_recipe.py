"""Recipes: what is wrong is named; what is written comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from terrascope.errors import ConfigError
from terrascope.train.building import build_model
from terrascope.train.parts import freeze
from terrascope.train.recipe import PACKAGED, read_recipe, recipe_of
from terrascope.train.run import write_recipe

from .fields import TABLE, tiny_recipe


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_recipes_are_read_and_come_back_as_written(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(name)
    write_recipe(recipe, tmp_path / "recipe.toml")
    again = read_recipe(tmp_path / "recipe.toml")
    assert again == recipe
    assert again.digest == recipe.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lerning_rate": 1}, "unknown key 'lerning_rate' at the top"),
        ({"optimizer": {"decay": 0.1}}, r"unknown key 'decay' in \[optimizer\]"),
        ({"stages": [{"name": "a", "source": "cot", "steps": 1}]}, "lacks the key 'rate'"),
        ({"stages": []}, "at least one"),
        ({"seed": "one"}, "seed: expected int"),
        ({"seed": True}, "seed: expected int"),
        ({"mechanism": {"injection": "all"}}, "'all': expected one of mask, none, random, box"),
        ({"mechanism": {"perturbed": 1.5}}, "perturbed 1.5: expected between 0 and 1"),
        ({"losses": {"boundary": -1}}, "boundary -1.0: expected at least 0"),
        ({"stages": TABLE["stages"] + TABLE["stages"][:1]}, "different names"),
        ({"checkpoints": 3}, "checkpoints: expected a table"),
    ],
)
def test_a_wrong_recipe_names_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_recipe(**change)


def test_a_missing_file_and_broken_toml_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such recipe"):
        read_recipe(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        read_recipe(broken)


def test_a_wrong_setting_of_the_nano_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown key 'layerz'"):
        build_model(tiny_recipe(nano={"layerz": 2}))
    with pytest.raises(ConfigError, match="power of 2"):
        build_model(tiny_recipe(nano={"patch_size": 6}))


def test_frozen_parts_are_those_named() -> None:
    model, _, _ = build_model(tiny_recipe())
    everything = sum(p.numel() for p in model.parameters())
    assert freeze(model, ()) == everything
    left = freeze(model, ("vision", "language"))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert left == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert not any("pyramid" in name or "language_model" in name for name in learning)
    assert any("masks" in name for name in learning)
    freeze(model, ("vision", "projector", "masks", "language"))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning
    assert all(".dates." in name for name in learning)
    with pytest.raises(ConfigError, match="'eyes': expected some of vision"):
        freeze(model, ("eyes",))
    with pytest.raises(ConfigError, match="nothing is left"):
        freeze(model, ("vision", "projector", "dates", "masks", "language"))


def test_the_digest_is_of_what_decides_the_weights() -> None:
    recipe = recipe_of(TABLE)
    assert tiny_recipe(workers=3).digest == recipe.digest
    assert tiny_recipe(checkpoints={"every": 7}).digest == recipe.digest
    assert tiny_recipe(seed=4).digest != recipe.digest
