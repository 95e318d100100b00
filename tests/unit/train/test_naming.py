"""Masks asked for by their names: what names are, and how they compete for pixels."""

from __future__ import annotations

import math

import pytest
import torch

from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.train.building import trace_ids
from terrascope.train.naming import competition, mask_names


def test_names_of_a_trace() -> None:
    tokenizer = NanoTokenizer()
    ids = trace_ids(tokenizer)
    trace = "<think>developed area Image: t_2[SEG]change Image: t_1 to t_2[SEG]tree Image: t_1[SEG]"
    names = mask_names(tokenizer.ids(trace), tokenizer.encoder["[SEG]"], ids.indicator)
    assert [tokenizer.text(name) for name in names] == ["developed area", "change", "tree"]
    assert [tuple(name) in ids.whole for name in names] == [False, True, False]
    with pytest.raises(ValueError, match="mask 0 of a trace has no name"):
        mask_names(
            tokenizer.ids("<think>Image: t_1[SEG]"), tokenizer.encoder["[SEG]"], ids.indicator
        )


def literal(
    logits: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor, dates: list[tuple[int, ...]]
) -> float:
    """Pixel by pixel, mask by mask."""
    losses = []
    for group in sorted(set(dates)):
        members = [k for k, own in enumerate(dates) if own == group]
        if len(members) < 2:
            continue
        wrong = []
        for y in range(logits.shape[1]):
            for x in range(logits.shape[2]):
                scores = [float(logits[k, y, x]) for k in members]
                mine = [n for n, k in enumerate(members) if truth[k, y, x]]
                if not all(valid[k, y, x] for k in members) or (group[1] < 0 and not mine):
                    continue
                if group[1] >= 0:
                    mine = mine or [len(scores)]
                    scores = [*scores, 0.0]
                wrong.append(math.log(sum(map(math.exp, scores))) - scores[mine[0]])
        if wrong:
            losses.append(sum(wrong) / len(wrong))
    return sum(losses) / len(losses) if losses else 0.0


def test_competition_equals_the_literal_sum() -> None:
    g = torch.Generator().manual_seed(3)
    dates = [(0, -1, 0), (0, -1, 0), (0, -1, 0), (0, 0, 1), (0, 0, 1), (1, -1, 0), (2, -1, 1)]
    dates += [(2, -1, 1)]
    logits = torch.randn(len(dates), 5, 4, generator=g)
    truth = torch.zeros(len(dates), 5, 4, dtype=torch.bool)
    cover = torch.randint(0, 4, (5, 4), generator=g)  # 3: none of the three
    for k in range(3):
        truth[k] = cover == k
    truth[3] = torch.rand(5, 4, generator=g) < 0.3
    truth[4] = ~truth[3] & (torch.rand(5, 4, generator=g) < 0.3)
    valid = torch.rand(len(dates), 5, 4, generator=g) < 0.9
    valid[6:] = False
    found = competition(logits, truth, valid, torch.tensor(dates))
    assert found.item() == pytest.approx(literal(logits, truth, valid, dates), rel=1e-5)


def test_masks_without_rivals_have_no_competition() -> None:
    logits = torch.randn(2, 4, 4, requires_grad=True)
    truth = torch.ones(2, 4, 4, dtype=torch.bool)
    loss = competition(logits, truth, truth, torch.tensor([[0, -1, 0], [0, -1, 1]]))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()
