"""Stages, resume and processes: the same weights come out whatever happened on the way."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from terrascope.errors import ModelError
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.train.building import build_model
from terrascope.train.objective import TERMS, count_terms, shared_loss
from terrascope.train.records import read_records
from terrascope.train.run import train

from .fields import Fields, FieldSource, drawn, tiny_recipe

ROOT = Path(__file__).resolve().parents[3]
STEPS = 9
RUN = """
import importlib.util, os, signal, sys, torch
from pathlib import Path
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("fields", sys.argv[2])
fields = importlib.util.module_from_spec(spec)
sys.modules["fields"] = fields
spec.loader.exec_module(fields)
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.train import loop
from terrascope.train.run import train
die = int(sys.argv[3])
said = loop.Trainer._say
def say(self, stage, values, records):
    said(self, stage, values, records)
    if self.progress.total == die:
        os.kill(os.getpid(), signal.SIGKILL)
loop.Trainer._say = say
source = fields.FieldSource(NanoTokenizer())
alone = "RANK" not in os.environ  # torchrun says nothing of processors
train(fields.tiny_recipe(), Path(sys.argv[1]), resume=True, source=source, cpu=alone)
"""


def start(out: Path, *, die: int = 0, **environment: str) -> subprocess.Popen[str]:
    """Run the recipe in a process of its own, killed at a step."""
    fields = Path(__file__).with_name("fields.py")
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(out), str(fields), str(die)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> int:
    """Wait for a process; its complaints are shown where it failed by itself."""
    _, said = process.communicate(timeout=600)
    assert process.returncode in (0, -9), said[-3000:]
    return process.returncode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing stopped."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("train") / "whole"
    out = train(tiny_recipe(), folder, source=FieldSource(NanoTokenizer()), cpu=True)
    torch.set_num_threads(before)
    return out


def test_a_run_yields_a_folder_that_loads(whole: Path) -> None:
    model = TerrascopeModel.from_pretrained(whole)
    stored = load_file(whole / "model.safetensors")
    for name, parameter in model.named_parameters():
        assert parameter.dtype is torch.float32
        assert stored[name].dtype is torch.float16
        assert torch.equal(parameter, stored[name].float()), name
    assert NanoTokenizer.from_pretrained(whole).vocab_size == NanoTokenizer().vocab_size
    assert TerrascopeProcessor.from_pretrained(whole).size_px == 16
    assert model.config.boundary_weight == 0.5
    assert model.config.nano.window_size == 16
    assert {"curves.png", "recipe.toml"} <= {path.name for path in whole.iterdir()}
    facts = json.loads((whole / "training.json").read_text())
    assert facts["steps"] == STEPS
    assert set(facts["scores"]) == {"masks", "traces"}


def test_metrics_are_one_line_per_step_and_look(whole: Path) -> None:
    records = read_records(whole)
    steps = [record for record in records if record["kind"] == "train"]
    assert [record["step"] for record in steps] == list(range(1, STEPS + 1))
    looks = [record["step"] for record in records if record["kind"] == "validation"]
    assert looks == [2, 4, 5, 7, 9]
    assert all(0 <= record["mask_iou"] <= 1 for record in records if "mask_iou" in record)


def test_frozen_parts_stay_and_the_others_learn(whole: Path, tmp_path: Path) -> None:
    one = dataclasses.replace(tiny_recipe(), stages=tiny_recipe().stages[:1])
    fresh, _, _ = build_model(one)
    out = train(one, tmp_path, source=FieldSource(NanoTokenizer()), cpu=True)
    after = load_file(out / "model.safetensors")
    for name, parameter in fresh.named_parameters():
        same = torch.equal(parameter.to(torch.float16), after[name])
        if ".language_model." in name:
            assert same, name
    moved = [n for n, p in fresh.named_parameters() if not torch.equal(p.half(), after[n])]
    assert any("pyramid" in name for name in moved)
    assert any("masks" in name for name in moved)


def test_killed_twice_ends_bit_identical(whole: Path, tmp_path: Path) -> None:
    """Once in the first stage between checkpoints, once in the second."""
    out = tmp_path / "killed"
    assert finish(start(out, die=3)) == -9
    assert finish(start(out, die=8)) == -9
    assert finish(start(out)) == 0
    for file in ("weights", "mean"):
        last = f"checkpoints/step-{STEPS:07d}/{file}.safetensors"
        expected, found = load_file(whole / last), load_file(out / last)
        assert [n for n in expected if not torch.equal(expected[n], found[n])] == []
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    steps = [r["step"] for r in read_records(out) if r["kind"] == "train"]
    assert steps == list(range(1, STEPS + 1))


def test_two_processes_equal_one(whole: Path, tmp_path: Path) -> None:
    """Each takes one of the two batches of a step; their masks and tokens are unequally many."""
    out = tmp_path / "two"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"CUDA_VISIBLE_DEVICES": ""}
    both = [start(out, RANK=str(n), LOCAL_RANK=str(n), **shared) for n in range(2)]
    assert [finish(process) for process in both] == [0, 0]
    assert json.loads((out / "training.json").read_text())["processes"] == 2
    one = [r for r in read_records(whole) if r["kind"] == "train"]
    two = [r for r in read_records(out) if r["kind"] == "train"]
    for expected, found in zip(one, two, strict=True):
        for name in ("loss", "language", "dice", "norm", "masks", "tokens"):
            assert found[name] == pytest.approx(expected[name], rel=2e-2, abs=1e-3), name
    last = f"checkpoints/step-{STEPS:07d}/weights.safetensors"
    expected_weights, found_weights = load_file(whole / last), load_file(out / last)
    for name, tensor in expected_weights.items():
        torch.testing.assert_close(found_weights[name], tensor, rtol=0, atol=5e-4, msg=name)


def test_a_finished_folder_is_not_trained_over(whole: Path) -> None:
    source = FieldSource(NanoTokenizer())
    with pytest.raises(ModelError, match="--resume"):
        train(tiny_recipe(), whole, source=source, cpu=True)
    with pytest.raises(ModelError, match="another recipe"):
        train(tiny_recipe(seed=9), whole, source=source, resume=True, cpu=True)


def test_stages_that_did_not_begin_may_be_added(whole: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe()
    source = FieldSource(NanoTokenizer())
    begun = dataclasses.replace(recipe, stages=recipe.stages[:1])
    train(begun, tmp_path, source=source, cpu=True)
    train(recipe, tmp_path, source=source, resume=True, cpu=True)
    last = f"checkpoints/step-{STEPS:07d}/weights.safetensors"
    expected, found = load_file(whole / last), load_file(tmp_path / last)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_halves_weighed_by_their_counts_are_the_whole() -> None:
    """Gradients of two unequal batches, each by its share, add up to those of one large batch."""
    tokenizer = NanoTokenizer()
    recipe = tiny_recipe(nano={**tiny_recipe().nano, "dropout": 0.0})
    model, _, _ = build_model(recipe)
    model.eval()
    stage = dataclasses.replace(recipe.stages[1], batch=3)
    large = drawn(tokenizer, stage, 1)
    parts = [_select(large, [0]), _select(large, [1, 2])]
    total = count_terms(large, model.config)
    counts = [count_terms(part, model.config) for part in parts]
    assert torch.equal(sum(counts), total)
    assert counts[0].tolist() != counts[1].tolist()
    gradients = []
    for batches, shares in (([large], [total]), (parts, counts)):
        model.zero_grad()
        for batch, count in zip(batches, shares, strict=True):
            output = model(
                batch.windows,
                batch.queries,
                truth=batch.truth,
                truth_valid=batch.truth_valid,
                injected=batch.injected,
            )
            assert all(torch.isfinite(getattr(output.terms, name)) for name in TERMS)
            shared_loss(output.terms, model.config, count, total).backward()
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def _select(batch: Fields, index: list[int]) -> Fields:
    """Take some windows of a batch with all that belongs to them."""
    kept, queries, place = [], [], 0
    for query in batch.queries:
        masks = list(range(place, place + len(query.dates)))
        place += len(query.dates)
        if query.window in index:
            queries.append(dataclasses.replace(query, window=index.index(query.window)))
            kept += masks
    return Fields(
        batch.windows.select(index),
        queries,
        batch.truth[kept],
        batch.truth_valid[kept],
        batch.injected[kept],
    )
