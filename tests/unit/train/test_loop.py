"""Stages, resume and processes: the same weights come out whatever happened on the way."""

from __future__ import annotations

from pathlib import Path

import torch

from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.train.records import read_records
from terrascope.train.run import train

from .fields import FieldSource, tiny_recipe


def test_a_run_yields_a_folder_that_loads(tmp_path: Path) -> None:
    out = train(tiny_recipe(), tmp_path / "run", source=FieldSource(NanoTokenizer()), cpu=True)
    model = TerrascopeModel.from_pretrained(out)
    assert next(model.parameters()).dtype is torch.float32
    assert NanoTokenizer.from_pretrained(out).vocab_size == NanoTokenizer().vocab_size
    assert TerrascopeProcessor.from_pretrained(out).size_px == 16
    records = read_records(out)
    assert [r["step"] for r in records if r["kind"] == "train"] == list(range(1, 10))
    assert {"curves.png", "training.json", "recipe.toml"} <= {p.name for p in out.iterdir()}
