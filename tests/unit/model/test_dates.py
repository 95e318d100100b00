"""Masks of one date hear of the other dates; fresh weights change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from terrascope.model.nano.dates import DateExchange

WIDTH, SIDE = 8, 12


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(2, 4, WIDTH, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def exchange(*, learnt: bool) -> DateExchange:
    torch.manual_seed(2)
    module = DateExchange(WIDTH).eval()
    for parameter in module.out.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if learnt else 0.0)
    return module


@torch.no_grad()
def ask(module: DateExchange, pixels: Tensor, seen: list[list[int]], date: int) -> Tensor:
    """Ask for one date of the first window."""
    there = torch.zeros(pixels.shape[:2], dtype=torch.bool)
    for window, dates in enumerate(seen):
        there[window, dates] = True
    return module(pixels, there, torch.tensor([0]), torch.tensor([date]))[0]


def test_fresh_weights_hand_a_date_over_as_it_is(pixels: Tensor) -> None:
    heard = ask(exchange(learnt=False), pixels, [[0, 1, 2, 3], [0]], 1)
    assert torch.equal(heard, pixels[0, 1])


def test_the_order_of_the_other_dates_does_not_matter(pixels: Tensor) -> None:
    module = exchange(learnt=True)
    turned = pixels[:, [2, 1, 3, 0]]
    one = ask(module, pixels, [[0, 1, 2, 3], []], 1)
    other = ask(module, turned, [[0, 1, 2, 3], []], 1)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_only_dates_with_an_image_of_the_same_window_are_heard(pixels: Tensor) -> None:
    module = exchange(learnt=True)
    before = ask(module, pixels, [[1, 2], [0, 1, 2, 3]], 1)
    changed = pixels.clone()
    changed[0, [0, 3]] += 5
    changed[1] -= 5
    assert torch.equal(before, ask(module, changed, [[1, 2], [0, 1, 2, 3]], 1))
    changed[0, 2] += 5
    assert not torch.allclose(before, ask(module, changed, [[1, 2], [0, 1, 2, 3]], 1))


def test_several_dates_at_once_are_each_by_itself(pixels: Tensor) -> None:
    module = exchange(learnt=True)
    seen = torch.tensor([[True, True, True, False], [True, False, False, False]])
    window, date = torch.tensor([0, 1, 0]), torch.tensor([0, 0, 2])
    with torch.no_grad():
        together = module(pixels, seen, window, date)
        alone = [
            module(pixels, seen, window[n : n + 1], date[n : n + 1])[0] for n in range(len(date))
        ]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-5, atol=1e-6)


def test_a_date_alone_hears_nothing_of_others(pixels: Tensor) -> None:
    module = exchange(learnt=True)
    alone = ask(module, pixels, [[1], []], 1)
    assert torch.equal(alone, ask(module, pixels[:, 1:2], [[0], []], 0))


def test_a_date_without_an_image_hears_nothing(pixels: Tensor) -> None:
    pixels[0, 1] = 0
    assert not ask(exchange(learnt=True), pixels, [[0, 2, 3], []], 1).any()
