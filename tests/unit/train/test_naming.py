"""Masks asked for by their names: what names are, and how they compete for pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from terrascope.data.batches import Batch
from terrascope.data.language import language_batch
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.train.building import build_model, trace_ids
from terrascope.train.naming import TextAlone, competition, mask_names, name_states
from terrascope.train.recipe import read_recipe


def test_names_of_a_trace() -> None:
    tokenizer = NanoTokenizer()
    ids = trace_ids(tokenizer)
    trace = (
        "<think>developed area Image: t_2[SEG]<measure> share 012.0 %</measure>"
        "change Image: t_1 to t_2[SEG]tree Image: t_1[SEG]"
    )
    names = mask_names(tokenizer.ids(trace), tokenizer.encoder["[SEG]"], ids)
    assert [tokenizer.text(name) for name in names] == ["developed area", "change", "tree"]
    assert [tuple(name) in ids.whole for name in names] == [False, True, False]
    with pytest.raises(ValueError, match="mask 0 of a trace has no name"):
        mask_names(tokenizer.ids("<think>Image: t_1[SEG]"), tokenizer.encoder["[SEG]"], ids)


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
            losses.append(sum(wrong) / len(wrong) * (4 if group[1] >= 0 else 1))
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


@pytest.fixture
def text() -> tuple[TerrascopeModel, TextAlone, Batch]:
    torch.manual_seed(5)
    model, tokenizer, _ = build_model(read_recipe("smoke"))
    batch = language_batch(tokenizer, np.random.default_rng(2), 19, window_px=16)
    return model.eval(), TextAlone(model, trace_ids(tokenizer)), batch


def test_text_alone_equals_text_by_text(text: tuple[TerrascopeModel, TextAlone, Batch]) -> None:
    model, alone, batch = text
    output = alone(batch.windows, batch.queries)
    wrong = far = 0.0
    tokens = 0
    for query in batch.queries:
        ids = torch.tensor([[*query.prompt, *query.response]])
        places = torch.arange(ids.shape[1])[None]
        states = model.backbone.language(model.backbone.embed(ids), places)[0]
        figures = False
        for at, token in enumerate(query.response, start=len(query.prompt)):
            figures |= token == model.config.measure_token_id
            if not figures:
                score = model.backbone.logits(states[at - 1])
                wrong -= float(functional.log_softmax(score, -1)[token].detach())
                tokens += 1
            figures &= token != model.config.measure_end_token_id
        names = iter(mask_names(query.response, model.config.seg_token_id, alone.ids))
        for at, token in enumerate(query.response, start=len(query.prompt)):
            if token == model.config.seg_token_id:
                wanted = name_states(model, [next(names)])[0]
                far += float((states[at] - wanted).square().mean().detach())
    assert float(output.terms.language.detach()) == pytest.approx((wrong + 2 * far) / tokens, 1e-4)


def test_text_alone_teaches_states_and_holds_names(
    text: tuple[TerrascopeModel, TextAlone, Batch],
) -> None:
    model, alone, batch = text
    words = sorted(alone.ids.words)
    others = [row for row in range(model.config.token_rows) if row not in alone.ids.words]
    before = model.get_parameter("backbone.language_model.words.weight").detach().clone()
    optimizer = torch.optim.AdamW(model.backbone.language_model.parameters(), lr=3e-3)
    first = last = 0.0
    with alone.held():
        for step in range(12):
            loss = alone(batch.windows, batch.queries).terms.language
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            first, last = (float(loss.detach()) if step == 0 else first), float(loss.detach())
    after = model.get_parameter("backbone.language_model.words.weight").detach()
    assert last < 0.7 * first
    assert not torch.equal(after[others], before[others])
    assert torch.allclose(after[words], before[words], rtol=1e-3)  # but for weight decay
    alone(batch.windows, batch.queries).terms.language.backward()
    table = model.get_parameter("backbone.language_model.words.weight")
    assert table.grad is not None
    assert table.grad[words].any()
