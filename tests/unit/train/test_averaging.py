"""The mean of two models, weight by weight; what does not match is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from terrascope.cli import app
from terrascope.errors import ConfigError
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.train.averaging import average_models
from terrascope.train.building import build_model, save_model

from .fields import tiny_recipe


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in ("start", "tuned")]
    for folder, shift in zip(folders, (0.0, 0.5), strict=True):
        model, tokenizer, processor = build_model(tiny_recipe())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(shift)
        model.config.mask_temperature = 1.0 + shift
        save_model(folder, model, tokenizer, processor)
    return folders


def test_every_weight_is_the_mean(models: list[Path], tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["average", *map(str, models), "--out", str(tmp_path / "out"), "--share", "0.25"]
    )
    assert done.exception is None, done.output
    start, tuned = (load_file(folder / "model.safetensors") for folder in models)
    mean = load_file(tmp_path / "out" / "model.safetensors")
    for name, value in mean.items():
        expected = 0.75 * start[name].double() + 0.25 * tuned[name].double()
        torch.testing.assert_close(value.double(), expected, rtol=1e-3, atol=1e-6)
    loaded = TerrascopeModel.from_pretrained(tmp_path / "out")
    assert loaded.config.mask_temperature == 1.0


def test_what_does_not_match_is_refused(models: list[Path], tmp_path: Path) -> None:
    model, tokenizer, processor = build_model(tiny_recipe(nano={"hidden_size": 32}))
    save_model(tmp_path / "other", model, tokenizer, processor)
    with pytest.raises(ConfigError, match="differ at backbone"):
        average_models(models[0], tmp_path / "other", tmp_path / "out")
    with pytest.raises(ConfigError, match="holds no model"):
        average_models(models[0], tmp_path / "absent", tmp_path / "out")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        average_models(*models, tmp_path / "out", share=2)
    (tmp_path / "tuned" / "config.json").write_text('{"backbone": "internvl"}')
    with pytest.raises(ConfigError, match="the mean is of nanos"):
        average_models(*models, tmp_path / "out")
    assert not (tmp_path / "out").exists()
