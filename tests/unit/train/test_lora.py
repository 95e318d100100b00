"""Adapters on a tiny composed model: what learns, what stays, what is saved and merged."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from terrascope.model.modeling_terrascope import TerrascopeModel, TerrascopeOutput
from terrascope.model.prompts import compose_query
from terrascope.model.sequences import Query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.windows import Windows
from terrascope.train.lora import (
    LoraSettings,
    add_adapters,
    load_adapters,
    merge_adapters,
    new_tokens,
    save_adapters,
    train_parts,
)
from terrascope.vocabulary import SPECIAL_TOKENS

from ..model.samples import random_masks, random_windows, tiny_model  # noqa: TID252
from ..model.tiny8b import byte_tokenizer, tiny_8b  # noqa: TID252

SETTINGS = LoraSettings(rank=4, alpha=8.0, dropout=0.2)
RESPONSE = "<think>Image: t_1[SEG]water Image: t_1 to t_2[SEG]</think><answer>yes</answer><eos>"
LANGUAGE = "backbone.vision_language.model.language_model."
EMBEDDING, HEAD = f"{LANGUAGE}embed_tokens", "backbone.vision_language.lm_head"
LEARNS = (
    "backbone.vision_language.model.multi_modal_projector.",
    "backbone.mask_generator.mask_decoder.",
    "backbone.bridge.",
)


@dataclasses.dataclass(frozen=True)
class Task:
    windows: Windows
    queries: list[Query]
    truth: Tensor

    def run(self, model: TerrascopeModel) -> TerrascopeOutput:
        return model(self.windows, self.queries, truth=self.truth)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small are multiplied faster alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return NanoTokenizer()


@pytest.fixture(scope="module")
def task(tokenizer: NanoTokenizer) -> Task:
    windows = random_windows([2, 2], seed=12)
    queries = [compose_query(tokenizer, windows, i, "Is it?", RESPONSE) for i in range(2)]
    return Task(windows, queries, random_masks(4, seed=6))


def adapted(tokenizer: NanoTokenizer) -> TerrascopeModel:
    model = tiny_8b(tokenizer)
    add_adapters(model, new_tokens(tokenizer), SETTINGS)
    return model


def seg_loss(model: TerrascopeModel, output: TerrascopeOutput) -> float:
    """How hard it is to say [SEG] where it belongs."""
    logits, targets = model.taught_logits(output.layout, output.hidden)
    at = targets == model.config.seg_token_id
    assert int(at.sum()) == 4
    return float(torch.nn.functional.cross_entropy(logits[at], targets[at]))


def train(model: TerrascopeModel, task: Task, steps: int) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        task.run(model).loss.backward()
        optimizer.step()
    model.eval()


@pytest.fixture(scope="module")
def taught(tokenizer: NanoTokenizer, task: Task) -> TerrascopeModel:
    model = adapted(tokenizer)
    train(model, task, 20)
    return model


@pytest.fixture(scope="module")
def merged(taught: TerrascopeModel) -> TerrascopeModel:
    model = copy.deepcopy(taught)
    merge_adapters(model)
    return model


def test_fresh_adapters_change_nothing(tokenizer: NanoTokenizer, task: Task) -> None:
    with torch.no_grad():
        plain, model = (task.run(m) for m in (tiny_8b(tokenizer), adapted(tokenizer)))
    assert torch.equal(plain.hidden, model.hidden)
    assert torch.equal(plain.mask_logits, model.mask_logits)
    assert torch.equal(plain.loss, model.loss)


@torch.no_grad()
def test_seg_is_learnt_and_so_are_the_masks(
    tokenizer: NanoTokenizer, task: Task, taught: TerrascopeModel
) -> None:
    before = tiny_8b(tokenizer)
    first, last = task.run(before), task.run(taught)
    assert seg_loss(taught, last) < 0.5 * seg_loss(before, first)
    assert last.terms.dice + last.terms.cross_entropy < first.terms.dice + first.terms.cross_entropy


def test_rows_of_new_tokens_learn_and_no_other_row(
    tokenizer: NanoTokenizer, merged: TerrascopeModel
) -> None:
    """In the embedding and in the head, which is another matrix here."""
    before, after = tiny_8b(tokenizer).state_dict(), merged.state_dict()
    new = torch.zeros(tokenizer.vocab_size, dtype=torch.bool)
    new[list(new_tokens(tokenizer))] = True
    assert int(new.sum()) == len(SPECIAL_TOKENS)
    for name in (f"{EMBEDDING}.weight", f"{HEAD}.weight"):
        moved = (before[name] - after[name]).abs().amax(1)
        assert moved[tokenizer.encoder["[SEG]"]] > 1e-3, name
        assert not moved[~new].any(), name
    assert not torch.equal(after[f"{EMBEDDING}.weight"], after[f"{HEAD}.weight"])


def test_what_is_frozen_stays_bit_for_bit(
    tokenizer: NanoTokenizer, merged: TerrascopeModel, taught: TerrascopeModel
) -> None:
    before, after = tiny_8b(tokenizer).state_dict(), merged.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    linear = {
        name.removesuffix(".base_layer.weight") + ".weight"
        for name, _ in taught.named_parameters()
        if name.endswith("_proj.base_layer.weight")
    }
    assert len(linear) == 2 * 7  # layers of the tiny model times target modules
    rest = {name for name in changed - linear if not name.startswith(LEARNS)}
    assert linear <= changed
    assert rest == {f"{EMBEDDING}.weight", f"{HEAD}.weight"}
    assert not any(
        name.startswith("backbone.vision_language.model.vision_tower") for name in linear
    )


def test_gradient_reaches_everything_that_is_trained(task: Task, taught: TerrascopeModel) -> None:
    """Not at the first step: one factor of a fresh adapter is zero, and so is the change mask's."""
    model = copy.deepcopy(taught)
    model.zero_grad()
    task.run(model).loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None or not p.grad.any()] == []
    for start in LEARNS:
        assert any(name.startswith(start) for name in trained), start
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    seg = sorted(new_tokens(NanoTokenizer())).index(model.config.seg_token_id)
    for place in (EMBEDDING, HEAD):
        rows = trained[f"{place}.token_adapter.trainable_tokens_delta.default"]
        assert rows.grad[seg].any(), place


@torch.no_grad()
def test_merged_weights_compute_what_the_adapters_do(
    tokenizer: NanoTokenizer, task: Task, taught: TerrascopeModel, merged: TerrascopeModel
) -> None:
    one, other = task.run(taught), task.run(merged)
    tolerance = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(one.hidden, other.hidden, **tolerance)
    torch.testing.assert_close(one.mask_logits, other.mask_logits, **tolerance)
    for a, b in zip(
        taught.taught_logits(one.layout, one.hidden),
        merged.taught_logits(other.layout, other.hidden),
        strict=True,
    ):
        torch.testing.assert_close(a, b, **tolerance)
    # The formula of the paper, on one layer.
    state, name = taught.state_dict(), f"{LANGUAGE}layers.1.mlp.up_proj"
    wide, narrow = (state[f"{name}.lora_{side}.default.weight"] for side in "BA")
    expected = tiny_8b(tokenizer).state_dict()[f"{name}.weight"] + (8.0 / 4) * wide @ narrow
    torch.testing.assert_close(merged.state_dict()[f"{name}.weight"], expected)


@torch.no_grad()
def test_adapters_and_merged_model_come_back_from_disk(
    tmp_path: Path,
    tokenizer: NanoTokenizer,
    task: Task,
    taught: TerrascopeModel,
    merged: TerrascopeModel,
) -> None:
    folder = save_adapters(taught, tmp_path / "adapters")
    assert {file.name for file in folder.iterdir()} == {"adapters.json", "adapters.safetensors"}
    model = tiny_8b(tokenizer)
    load_adapters(model, folder)
    assert torch.equal(task.run(model).mask_logits, task.run(taught).mask_logits)
    assert torch.equal(task.run(model).loss, task.run(taught).loss)
    merged.save_pretrained(tmp_path / "whole")
    back = TerrascopeModel.from_pretrained(tmp_path / "whole").eval()
    assert torch.equal(task.run(back).loss, task.run(merged).loss)


def test_adapters_of_another_model_are_refused(
    tmp_path: Path, tokenizer: NanoTokenizer, taught: TerrascopeModel
) -> None:
    save_adapters(taught, tmp_path)
    facts = (tmp_path / "adapters.json").read_text()
    (tmp_path / "adapters.json").write_text(facts.replace('"rank": 4', '"rank": 2'))
    with pytest.raises(ValueError, match="adapters of another model"):
        load_adapters(tiny_8b(tokenizer), tmp_path)


def test_a_model_of_16_bit_is_trained_in_32(tokenizer: NanoTokenizer, task: Task) -> None:
    model = tiny_8b(tokenizer).to(torch.bfloat16)
    add_adapters(model, new_tokens(tokenizer), SETTINGS)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    rows = model.get_parameter(f"{HEAD}.token_adapter.trainable_tokens_delta.default")
    optimizer = torch.optim.AdamW([rows], lr=4e-5)
    before = rows.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.run(model).loss
    loss.backward()
    optimizer.step()
    seg = sorted(new_tokens(tokenizer)).index(model.config.seg_token_id)
    assert not torch.equal(before[seg], rows[seg])
    merge_adapters(model)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert torch.isfinite(task.run(model).loss)


def test_stage_one_trains_tokens_mask_decoder_and_bridge(tokenizer: NanoTokenizer) -> None:
    model = adapted(tokenizer)
    train_parts(model, ["tokens", "mask_decoder", "bridge"])
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(name.startswith(LEARNS[1:]) or "trainable_tokens" in name for name in trained)
    assert sum("trainable_tokens" in name for name in trained) == 2
    with pytest.raises(ValueError, match=r"no part \['decoder'\]"):
        train_parts(model, ["decoder"])


def test_new_tokens_are_those_that_had_to_be_added() -> None:
    """A tokenizer that ends and pads text its own way keeps the rows of those marks."""
    tokenizer = byte_tokenizer()
    assert new_tokens(tokenizer) == ()
    tokenizer.add_tokens(["[SEG]", "<think>"], special_tokens=True)
    assert new_tokens(tokenizer) == tuple(tokenizer.convert_tokens_to_ids(["[SEG]", "<think>"]))


def test_what_cannot_be_adapted_is_refused(tokenizer: NanoTokenizer) -> None:
    model, tokens = adapted(tokenizer), new_tokens(tokenizer)
    with pytest.raises(ValueError, match="has adapters already"):
        add_adapters(model, tokens, SETTINGS)
    with pytest.raises(ValueError, match="'nano' model is trained whole"):
        add_adapters(tiny_model(tokenizer), tokens, SETTINGS)
    with pytest.raises(ValueError, match=r"no linear layer \['qkv'\]"):
        add_adapters(tiny_8b(tokenizer), tokens, LoraSettings(target_modules=("q_proj", "qkv")))
    with pytest.raises(ValueError, match="expected ids from 0 to"):
        add_adapters(tiny_8b(tokenizer), [tokenizer.vocab_size], SETTINGS)
    with pytest.raises(ValueError, match="rank 0"):
        LoraSettings(rank=0)
    with pytest.raises(ValueError, match="target_modules is empty"):
        LoraSettings(target_modules=())
