"""The 8b's composition through the same loop: adapters learn, and fold into a plain model."""

from __future__ import annotations

from pathlib import Path

import torch

from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.train.recipe import recipe_of
from terrascope.train.records import read_records
from terrascope.train.run import train

from ..model.tiny8b import tiny_8b  # noqa: TID252
from .fields import TABLE, FieldSource


def test_adapters_learn_and_fold_into_the_model(tmp_path: Path) -> None:
    tokenizer = NanoTokenizer()
    begun = tiny_8b(tokenizer)
    start = tmp_path / "start"
    begun.save_pretrained(start)
    tokenizer.save_pretrained(start)
    TerrascopeProcessor(size_px=16).save_pretrained(start)
    stage = TABLE["stages"][1] | {"steps": 2, "rate": 1e-2, "warmup": 0, "batches": 1}
    recipe = recipe_of(
        {
            "name": "tiny-8b",
            "start": str(start),
            "window_px": 16,
            "adapters": {"rank": 2, "alpha": 4.0, "dropout": 0.0},
            "optimizer": {"mean_decay": 0.0, "precision": "float32"},
            "losses": {"contrastive": 0.0},
            "validation": {"every": 0, "batches": 1},
            "stages": [stage],
        }
    )
    out = train(recipe, tmp_path / "out", source=FieldSource(tokenizer), cpu=True)
    losses = [r["loss"] for r in read_records(out) if r["kind"] == "train"]
    assert len(losses) == 2
    assert (out / "adapters" / "adapters.safetensors").is_file()
    tuned = TerrascopeModel.from_pretrained(out, dtype=torch.float32).state_dict()
    before = begun.state_dict()
    assert tuned.keys() == before.keys()
    moved = {n for n in before if not torch.equal(before[n].bfloat16().float(), tuned[n])}
    assert any("q_proj" in name for name in moved)
    assert any("bridge" in name for name in moved)
    assert not any("vision_tower" in name or "vision_encoder" in name for name in moved)
