"""The precision is decided per device, and nothing that is summed loses digits."""

from __future__ import annotations

import re

import pytest
import torch

from terrascope.model.generation_terrascope import Generation, generate
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.precision import computing, inference_precision, resolve_precision
from terrascope.model.prompts import compose_query
from terrascope.model.sequences import Query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.windows import Windows

from .samples import random_masks, random_windows, tiny_model

CPU = torch.device("cpu")
TRACE = "<think>water Image: t_1[SEG] Image: t_1 to t_2[SEG]</think>"
TOKENIZER = NanoTokenizer()


@pytest.fixture(scope="module")
def model() -> TerrascopeModel:
    return tiny_model(TOKENIZER)


@pytest.fixture(scope="module")
def batch() -> tuple[Windows, list[Query]]:
    windows = random_windows([2, 2])
    return windows, [compose_query(TOKENIZER, windows, n, "Where?", TRACE) for n in range(2)]


def probabilities(results: list[Generation]) -> torch.Tensor:
    events = [event for result in results for event in result.events]
    assert {event.probability.dtype for event in events} == {torch.float32}
    return torch.stack([event.probability for event in events])


def settings() -> tuple[str, str, bool]:
    kinds = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    return kinds[0].fp32_precision, kinds[1].fp32_precision, torch.is_autocast_enabled("cpu")


def test_precision_is_what_was_asked_for() -> None:
    assert resolve_precision(CPU, "float32") is torch.float32
    assert resolve_precision(CPU, "bfloat16") is torch.bfloat16
    tiles = torch.cpu._is_amx_tile_supported()
    assert resolve_precision(CPU) is (torch.bfloat16 if tiles else torch.float32)
    with pytest.raises(ValueError, match="expected one of"):
        resolve_precision(CPU, "float16")


def test_losses_and_probabilities_are_float32_and_masks_hardly_move(
    model: TerrascopeModel, batch: tuple[Windows, list[Query]]
) -> None:
    windows, queries = batch
    found = {}
    for precision in ("float32", "bfloat16"):
        with torch.no_grad(), computing(CPU, precision):
            output = model(windows, queries, truth=random_masks(4))
            results = generate(model, windows, queries, text=TOKENIZER.text, max_new_tokens=0)
        assert {term.dtype for term in vars(output.terms).values()} == {torch.float32}
        found[precision] = (float(output.loss), probabilities(results))
    assert found["float32"][0] == pytest.approx(found["bfloat16"][0], rel=0.02)
    moved = (found["float32"][1] - found["bfloat16"][1]).abs()
    assert 0 < float(moved.mean()) < 0.02


def test_answers_in_bfloat16_are_close_and_float32_is_the_default(
    model: TerrascopeModel, batch: tuple[Windows, list[Query]]
) -> None:
    windows, queries = batch
    found = {
        precision: generate(
            model, windows, queries, text=TOKENIZER.text, max_new_tokens=8, precision=precision
        )
        for precision in (None, "float32", "bfloat16")
    }
    plain, exact, short = (probabilities(results) for results in found.values())
    assert torch.equal(plain, exact)
    assert [result.ids for result in found[None]] == [result.ids for result in found["float32"]]
    moved = (plain - short).abs()
    assert float(moved.mean()) < 0.02
    assert float(((plain > 0.5) != (short > 0.5)).float().mean()) < 0.02
    for a, b in zip(found[None], found["bfloat16"], strict=True):
        assert a.log_probabilities[0] == pytest.approx(b.log_probabilities[0], abs=0.05)


def test_bfloat16_multiplies_rounded_numbers_and_sums_in_float32() -> None:
    generator = torch.Generator().manual_seed(1)
    left, right = torch.randn(2, 512, 512, generator=generator).unbind()
    rounded = left.bfloat16().double() @ right.bfloat16().double()
    with inference_precision(CPU, "bfloat16") as dtype:
        inside = left @ right
    assert dtype is torch.bfloat16
    # With tiles the sums stay float32; under autocast they are rounded once at the end.
    tolerance = 1e-4 if inside.dtype is torch.float32 else 2**-8
    torch.testing.assert_close(inside.double(), rounded, rtol=tolerance, atol=1e-3)
    assert float((inside - left @ right).abs().max()) > 1e-2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_settings_come_back_also_after_an_exception(
    precision: str, model: TerrascopeModel, batch: tuple[Windows, list[Query]]
) -> None:
    before = settings()

    def fail() -> None:
        with inference_precision(CPU, precision):
            outer = settings()
            with inference_precision(CPU, "float32"):
                assert settings() == ("ieee", "ieee", False)
            assert settings() == outer
            raise KeyError(outer)

    with pytest.raises(KeyError) as caught:
        fail()
    inside = caught.value.args[0]
    tiles = torch.cpu._is_amx_tile_supported()
    kind = "bf16" if precision == "bfloat16" and tiles else "ieee"
    assert inside == (kind, kind, precision == "bfloat16" and not tiles)
    assert settings() == before

    def broken(ids: list[int]) -> str:
        raise LookupError(settings())

    windows, queries = batch
    with pytest.raises(LookupError, match=re.escape(str(inside))):
        generate(model, windows, queries, text=broken, max_new_tokens=0, precision=precision)
    assert settings() == before


def test_float32_changes_nothing() -> None:
    left, right = torch.randn(9, 9), torch.randn(9, 9)
    for context in (computing, inference_precision):
        with context(CPU, "float32") as dtype:
            inside = left @ right
        assert dtype is torch.float32
        assert torch.equal(inside, left @ right)
