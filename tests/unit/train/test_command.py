"""The command: a recipe or labels, one of the two; what is wrong is said before anything runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from terrascope.cli import app
from terrascope.errors import ConfigError, ReadError, TerrascopeError
from terrascope.train.building import build_model, save_model
from terrascope.train.command import data_table, model_folder, outcome_lines, tune_folder
from terrascope.train.finetune import Outcome

from .fields import tiny_recipe
from .test_finetune import scenes, write_folder


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], ConfigError, "one of the two"),
        (["nano", "--labels", "masks"], ConfigError, "one of the two"),
        (["absent.toml"], ConfigError, "no such recipe"),
        (["--labels", "absent"], ReadError, "mask.tif"),
    ],
)
def test_wrong_commands_are_refused(
    arguments: list[str], error: type[TerrascopeError], message: str
) -> None:
    done = CliRunner().invoke(app, ["train", *arguments])
    assert isinstance(done.exception, error)
    assert message in str(done.exception)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no model"):
        model_folder(str(tmp_path))


def test_the_first_batches_are_shown_before_training() -> None:
    table = data_table("smoke").splitlines()
    assert [row.split(" | ")[1] for row in table[2:]] == ["segmentation", "cot"]
    assert all(int(row.rstrip(" |").split(" | ")[-2]) > 0 for row in table[2:])


def test_masks_in_folders_tune_a_model(tmp_path: Path) -> None:
    """From the command line to the model folder, without cross-validation."""
    model, tokenizer, processor = build_model(tiny_recipe(window_px=16))
    save_model(tmp_path / "start", model, tokenizer, processor)
    for n, scene in enumerate(scenes(2)):
        write_folder(tmp_path / "labels", scene, 400_000.0 + 7000 * n)
    arguments = ["train", "--from", str(tmp_path / "start"), "--labels", str(tmp_path / "labels")]
    arguments += ["--out", str(tmp_path / "out"), "--folds", "0", "--steps", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None, done.output
    assert f"model: {tmp_path / 'out'}" in done.output
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_too_few_blocks_are_said(tmp_path: Path) -> None:
    model, tokenizer, processor = build_model(tiny_recipe(window_px=16))
    save_model(tmp_path / "start", model, tokenizer, processor)
    with pytest.raises(ConfigError, match="1 blocks of 5000 m for 2 folds"):
        tune_folder(
            str(tmp_path / "start"),
            scenes(2),
            np.zeros((2, 2)),
            tmp_path / "out",
            name="vegetation loss",
            folds=2,
            block_m=5000.0,
            steps=1,
        )


def test_without_folds_there_is_no_score_to_tell() -> None:
    assert outcome_lines(Outcome(Path("out"), None, None, {})) == ["model: out"]
