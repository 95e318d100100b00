"""Whole sequences at once: padding, prefixes, cached steps, round trip, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from terrascope.model.backbone import Backbone
from terrascope.model.cache import RaggedCache
from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.prompts import compose_query
from terrascope.model.sequences import Query
from terrascope.model.tokenization_nano import NanoTokenizer

from .samples import random_masks, random_windows, tiny_config, tiny_model

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
RESPONSES = (
    "<think>Image: t_1[SEG]water</think><answer>yes</answer><eos>",
    "<think>Image: t_2[SEG]<measure>12.5 %</measure> then Image: t_1 to t_2[SEG]more</think><eos>",
    "<answer>A</answer><eos>",
    "<think>[SEG][SEG]</think><answer>no</answer><eos>",
)


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return NanoTokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: NanoTokenizer) -> TerrascopeModel:
    return tiny_model(tokenizer)


def ragged(tokenizer: NanoTokenizer):
    """Return four windows, five questions of different lengths, and masks for their [SEG]s."""
    windows = random_windows([2, 3, 2, 2])
    questions = ["Is there water?", "How much tree is lost, and where?", "Which?", "Is it more?"]
    queries = [
        compose_query(tokenizer, windows, i, question, response)
        for i, (question, response) in enumerate(zip(questions, RESPONSES, strict=True))
    ]
    queries.append(compose_query(tokenizer, windows, 1, "Any crop?", RESPONSES[0]))
    return windows, queries, random_masks(6, seed=3)


@torch.no_grad()
def test_a_padded_batch_gives_what_each_sequence_gives_alone(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows, queries, masks = ragged(tokenizer)
    together = model(windows, queries, truth=masks)
    first = 0
    for row, query in enumerate(queries):
        own = masks[first : first + len(query.dates)]
        alone = model(
            windows.select([query.window]), [dataclasses.replace(query, window=0)], truth=own
        )
        length = int(together.layout.lengths[row])
        torch.testing.assert_close(together.hidden[row, :length], alone.hidden[0], **TOLERANCE)
        torch.testing.assert_close(
            together.mask_logits[first : first + len(own)], alone.mask_logits, **TOLERANCE
        )
        for a, b in zip(together.injections[first:], alone.injections, strict=False):
            assert a.cells.tolist() == b.cells.tolist()
            assert a.sensors.tolist() == b.sensors.tolist()
        first += len(own)
    assert any(len(injection.cells) for injection in together.injections)


@torch.no_grad()
def test_cached_steps_of_any_width_equal_one_pass(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows, queries, masks = ragged(tokenizer)
    output = model(windows, queries, truth=masks)
    layout = output.layout
    embeddings = model.embed(layout.ids, layout.source, output.encoded.tokens)
    lengths = layout.lengths.tolist()
    cache = RaggedCache(len(queries))
    generator = torch.Generator().manual_seed(11)
    while any(cache.lengths[row] < lengths[row] for row in range(len(queries))):
        open_rows = [row for row in range(len(queries)) if cache.lengths[row] < lengths[row]]
        picks = torch.randint(0, 2, (len(open_rows),), generator=generator).tolist()
        rows = [row for row, pick in zip(open_rows, picks, strict=True) if pick] or open_rows[:1]
        counts = [
            min(
                int(torch.randint(1, 200, (1,), generator=generator)), lengths[r] - cache.lengths[r]
            )
            for r in rows
        ]
        width = max(counts)
        starts = [cache.lengths[row] for row in rows]
        positions, mask = cache.begin(width, embeddings.device, rows)
        places = positions.clamp(max=embeddings.shape[1] - 1)
        new = embeddings[torch.tensor(rows)[:, None], places]
        hidden = model.backbone.language(new, positions, mask, cache)
        cache.commit(counts)
        for place, (row, start, count) in enumerate(zip(rows, starts, counts, strict=True)):
            expected = output.hidden[row, start : start + count]
            torch.testing.assert_close(hidden[place, :count], expected, **TOLERANCE)


@torch.no_grad()
def test_optical_only_equals_both_with_radar_missing(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows = random_windows([2, 2], seed=5)
    lacking = windows.without(radar=True)
    mixed = dataclasses.replace(
        windows,
        radar=torch.cat([lacking.radar[:1], windows.radar[1:]]),
        radar_valid=torch.cat([lacking.radar_valid[:1], windows.radar_valid[1:]]),
        day_of_year=torch.cat([lacking.day_of_year[:1], windows.day_of_year[1:]]),
        days=torch.cat([lacking.days[:1], windows.days[1:]]),
    )
    masks = random_masks(2, seed=1)
    responses = RESPONSES[3]
    in_batch = [compose_query(tokenizer, mixed, i, "Is it?", responses) for i in range(2)]
    alone = compose_query(tokenizer, lacking.select([0]), 0, "Is it?", responses)
    both = model(mixed, in_batch, truth=masks.repeat(2, 1, 1))
    optical = model(lacking.select([0]), [alone], truth=masks)
    length = int(both.layout.lengths[0])
    torch.testing.assert_close(both.hidden[0, :length], optical.hidden[0], **TOLERANCE)
    torch.testing.assert_close(both.mask_logits[:2], optical.mask_logits, **TOLERANCE)
    assert not any((injection.sensors == 1).any() for injection in optical.injections)
    assert any((injection.sensors == 1).any() for injection in both.injections[2:])


def test_round_trip_is_exact(
    model: TerrascopeModel, tokenizer: NanoTokenizer, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    back = TerrascopeModel.from_pretrained(tmp_path).eval()
    own = model.state_dict()
    assert own.keys() == back.state_dict().keys()
    for name, value in back.state_dict().items():
        assert torch.equal(value, own[name]), name
    windows, queries, masks = ragged(tokenizer)
    with torch.no_grad():
        first = model(windows, queries, truth=masks)
        second = back(windows, queries, truth=masks)
    assert torch.equal(first.hidden, second.hidden)
    assert torch.equal(first.mask_logits, second.mask_logits)


def test_half_precision_is_stored_and_evaluated_as_stored(
    tokenizer: NanoTokenizer, tmp_path: Path
) -> None:
    model = tiny_model(tokenizer).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    back = TerrascopeModel.from_pretrained(tmp_path, dtype="auto").eval()
    assert {parameter.dtype for parameter in back.parameters()} == {torch.bfloat16}
    windows, queries, masks = ragged(tokenizer)
    with torch.no_grad():
        a, b = model(windows, queries, truth=masks), back(windows, queries, truth=masks)
    assert torch.isfinite(a.hidden).all()
    assert torch.equal(a.hidden, b.hidden)


def test_nano_has_at_most_eight_million_parameters(tokenizer: NanoTokenizer) -> None:
    with torch.device("meta"):
        config = TerrascopeConfig(nano_config=NanoConfig(vocab_size=tokenizer.vocab_size))
        model = TerrascopeModel(config)
    assert isinstance(model.backbone, Backbone)
    assert 5e6 < sum(parameter.numel() for parameter in model.parameters()) <= 8e6


def test_what_is_observed_nowhere_changes_nothing(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows, queries, masks = ragged(tokenizer)
    other = dataclasses.replace(
        windows,
        optical=torch.where(windows.optical_valid, windows.optical, torch.full((), 0.37)),
        radar=torch.where(windows.radar_valid, windows.radar, torch.full((), 3.0)),
    )
    with torch.no_grad():
        a, b = model(windows, queries, truth=masks), model(other, queries, truth=masks)
    assert torch.equal(a.hidden, b.hidden)
    assert torch.equal(a.mask_logits, b.mask_logits)


def test_date_bands_and_injected_masks_matter(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows, queries, masks = ragged(tokenizer)
    with torch.no_grad():
        base = model(windows, queries, truth=masks)
        later = dataclasses.replace(windows, days=windows.days * 3)
        fewer = windows.optical_valid.clone()
        fewer[:, :, 7] = False
        variants = [
            model(later, queries, truth=masks),
            model(dataclasses.replace(windows, optical_valid=fewer), queries, truth=masks),
            model(windows, queries, truth=masks, injected=~masks),
        ]
        nothing = model(windows, queries)
    ends = base.layout.lengths - 1
    last = base.hidden[torch.arange(len(ends)), ends]
    for variant in variants:
        ends = variant.layout.lengths - 1
        difference = (variant.hidden[torch.arange(len(ends)), ends] - last).abs().amax(1)
        assert difference[0] > 1e-3
    assert nothing.loss is None
    assert int(nothing.layout.lengths[0]) < int(base.layout.lengths[0])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"dates": ()}, "0 dates for 1"),
        ({"dates": ((-1, 2),)}, "2 dates"),
        ({"prompt": (5, 4, 6), "question": (0, 1)}, "1 <image>"),
    ],
)
def test_sequences_that_contradict_the_window_are_refused(
    model: TerrascopeModel, tokenizer: NanoTokenizer, change: dict[str, object], match: str
) -> None:
    windows = random_windows([2])
    query = compose_query(tokenizer, windows, 0, "Is it?", RESPONSES[0])
    with pytest.raises(ValueError, match=match):
        model(windows, [dataclasses.replace(query, **change)])


def test_other_faults_are_refused(model: TerrascopeModel, tokenizer: NanoTokenizer) -> None:
    windows = random_windows([2], side=64)
    query = compose_query(tokenizer, windows, 0, "Is it?", RESPONSES[0])
    with pytest.raises(ValueError, match="cut or pad"):
        model(windows, [query])
    with pytest.raises(ValueError, match="3 truth masks for 1"):
        model(random_windows([2]), [query], truth=random_masks(3))
    with pytest.raises(ValueError, match="question"):
        Query(0, [1, 2], (1, 3))
    with pytest.raises(ValueError, match="taught"):
        Query(0, [1, 2], (0, 1), [4, 5], [True])


def test_figures_are_read_not_taught(model: TerrascopeModel, tokenizer: NanoTokenizer) -> None:
    windows = random_windows([2])
    query = compose_query(tokenizer, windows, 0, "Is it?", RESPONSES[1])
    with torch.no_grad():
        output = model(windows, [query], truth=random_masks(2))
    _, targets = model.taught_logits(output.layout, output.hidden)
    taught = tokenizer.text(targets.tolist())
    assert taught == RESPONSES[1].replace("<measure>12.5 %</measure>", "")
    assert tiny_config(tokenizer).measure_token_id is not None
