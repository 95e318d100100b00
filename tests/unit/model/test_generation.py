"""The token by token loop against whole passes, one by one runs, forced traces."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from terrascope.model.generation_terrascope import Generation, MaskEvent, Sampling, generate
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.prompts import compose_query
from terrascope.model.sequences import Query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.windows import Windows

from .samples import random_windows, tiny_model
from .tiny8b import tiny_8b

TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-9}
"""In double precision nothing but the mechanism can make a difference."""
QUESTIONS = (
    "Is there water?",
    "How much tree is lost between the two dates, and where in the image?",
    "Which?",
    "Is it more than 12 % of the region?",
    "Any crop?",
    "Where is the largest field?",
    "How many buildings are there in the north and in the south?",
    "Is bare land close to water?",
)


class Few:
    """A small language of dates and masks, so that random weights tell a lively story."""

    START = (0, "")

    def __init__(self, tokenizer: NanoTokenizer) -> None:
        self.tokenizer = tokenizer
        self.seen: list[int] = []

    def allowed(self, state: tuple[int, str]) -> torch.Tensor:
        count, last = state
        if last == "Image:":
            names = [" t_1"] if count % 2 else [" t_1", " t_2", " t_3"]
        elif last == " t_1" and count % 2 == 0:
            names = [" to"]
        elif last == " to":
            names = [" t_2", " t_3"]
        elif last in (" t_1", " t_2"):
            names = ["[SEG]", " to"]
        else:
            names = ["Image:", "[SEG]", " water"] + ["<eos>"] * (count > 12)
        mask = torch.zeros(self.tokenizer.vocab_size, dtype=torch.bool)
        mask[[self.tokenizer.encoder[name] for name in names]] = True
        return mask

    def advance(self, state: tuple[int, str], token: int) -> tuple[int, str]:
        self.seen.append(token)
        return state[0] + 1, self.tokenizer.decoder[token]


def figures(events: Sequence[MaskEvent], earlier: Sequence[Sequence[MaskEvent]]) -> list[list[int]]:
    """Write how many cells were covered, and how many masks there were before."""
    tokenizer = NanoTokenizer()
    return [
        tokenizer.ids(f"<measure>{len(event.injection.cells)} {len(before)}</measure>")
        for event, before in zip(events, earlier, strict=True)
    ]


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return NanoTokenizer()


@pytest.fixture(
    scope="module",
    params=[(size, dtype) for size in ("nano", "internvl") for dtype in TOLERANCE],
    ids=lambda param: f"{param[0]}-{param[1]}".replace("torch.", ""),
)
def model(tokenizer: NanoTokenizer, request: pytest.FixtureRequest) -> TerrascopeModel:
    size, dtype = request.param
    made = (tiny_8b if size == "internvl" else tiny_model)(tokenizer, seed=4)
    return made.to(dtype)


@pytest.fixture(scope="module")
def batch(tokenizer: NanoTokenizer) -> tuple[Windows, list[Query]]:
    """Return eight questions of different lengths on windows of one to three dates."""
    windows = random_windows([2, 3, 1, 2, 2, 1, 3, 2], seed=7)
    gone = windows.without(radar=True)
    keep = torch.tensor([True, True, False, True, False, True, True, True])
    masks = {
        name: torch.where(keep.reshape(-1, *[1] * (value.ndim - 1)), value, getattr(gone, name))
        for name in ("radar", "radar_valid", "day_of_year", "days")
        if isinstance(value := getattr(windows, name), torch.Tensor)
    }
    windows = dataclasses.replace(windows, **masks)
    return windows, [compose_query(tokenizer, windows, i, q) for i, q in enumerate(QUESTIONS)]


def run(
    model: TerrascopeModel, windows: Windows, queries: list[Query], seed: int = 0, **more: Any
) -> list[Generation]:
    tokenizer = NanoTokenizer()
    settings: dict[str, Any] = {
        "text": tokenizer.text,
        "max_new_tokens": 24,
        "sampling": Sampling(temperature=1.0, seed=seed),
        "grammars": [(Few(tokenizer), Few.START) for _ in queries],
        "measurer": figures,
    }
    return generate(model, windows, queries, **(settings | more))


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    tolerance = TOLERANCE[a.dtype]
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def assert_same(a: Generation, b: Generation) -> None:
    assert a.ids == b.ids
    assert a.stopped == b.stopped
    assert_same_masks(a, b)
    assert a.sequence == b.sequence
    assert_close(torch.tensor(a.log_probabilities), torch.tensor(b.log_probabilities))


def assert_same_masks(a: Generation, b: Generation) -> None:
    assert len(a.events) == len(b.events)
    for first, second in zip(a.events, b.events, strict=True):
        assert_close(first.logits, second.logits)
        assert (first.before, first.date, first.order) == (second.before, second.date, second.order)
        assert first.injection.cells.tolist() == second.injection.cells.tolist()
        assert first.injection.sensors.tolist() == second.injection.sensors.tolist()


def test_the_story_is_lively(model: TerrascopeModel, batch: tuple[Windows, list[Query]]) -> None:
    """What the other tests compare must hold masks of all kinds, or they would prove nothing."""
    results = run(model, *batch)
    events = [event for result in results for event in result.events]
    assert len(events) >= 12
    assert {result.stopped for result in results} == {"end", "length"}
    assert any(event.before >= 0 for event in events)
    assert len({len(event.injection.cells) for event in events}) > 6
    used = torch.stack([event.injection.sensors for event in events])
    assert {-1, 0, 1} <= set(used.unique().tolist())
    assert len({len(result.sequence) for result in results}) > 4


def test_ragged_batch_equals_one_by_one(
    model: TerrascopeModel, batch: tuple[Windows, list[Query]]
) -> None:
    windows, queries = batch
    together = run(model, windows, queries)
    for query, result in zip(queries, together, strict=True):
        alone = run(model, windows.select([query.window]), [dataclasses.replace(query, window=0)])
        assert_same(result, alone[0])


def test_cached_steps_equal_one_full_pass(
    model: TerrascopeModel, tokenizer: NanoTokenizer, batch: tuple[Windows, list[Query]]
) -> None:
    windows, queries = batch
    few = Few(tokenizer)
    for query, result in zip(queries, run(model, windows, queries), strict=True):
        said = iter(result.ids)
        written = [token for token in result.sequence if token != tokenizer.pad_token_id]
        told = compose_query(tokenizer, windows, query.window, QUESTIONS[query.window], written)
        masks = torch.zeros(len(result.events), 32, 32, dtype=torch.bool)
        for k, event in enumerate(result.events):
            masks[k] = model.binary_mask(event.logits)
        with torch.no_grad():
            whole = model(windows, [told], injected=masks)
            logits, targets = model.taught_logits(whole.layout, whole.hidden)
        for k, event in enumerate(result.events):
            assert_close(whole.mask_logits[k], event.logits)
        assert targets.tolist() == list(said)
        state = Few.START
        for place, token in enumerate(result.ids):
            logits[place, ~few.allowed(state)] = -torch.inf
            state = few.advance(state, token)
        scores = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        assert_close(scores.float(), torch.tensor(result.log_probabilities))


def test_forced_trace_equals_the_same_trace_said_freely(
    model: TerrascopeModel, batch: tuple[Windows, list[Query]]
) -> None:
    windows, queries = batch
    free = run(model, windows, queries)
    told = [dataclasses.replace(q, response=r.ids) for q, r in zip(queries, free, strict=True)]
    for a, b in zip(free, run(model, windows, told, max_new_tokens=0), strict=True):
        assert a.ids == b.ids
        assert b.free == 0
        assert_same_masks(a, b)
    greedy = run(model, windows, queries, sampling=None)
    begun, grammars = [], []
    for query, result in zip(queries, greedy, strict=True):
        begun.append(dataclasses.replace(query, response=result.ids[:7]))
        few = Few(NanoTokenizer())
        state = Few.START
        for token in result.ids[:7]:
            state = few.advance(state, token)
        grammars.append((few, state))
    settings = {"sampling": None, "max_new_tokens": 17, "grammars": grammars}
    for a, b in zip(greedy, run(model, windows, begun, **settings), strict=True):
        assert (a.ids, a.stopped, b.free) == (b.ids, b.stopped, len(a.ids) - 7)
        assert_same_masks(a, b)


def test_optical_only_equals_both_with_radar_missing(
    model: TerrascopeModel, tokenizer: NanoTokenizer, batch: tuple[Windows, list[Query]]
) -> None:
    windows, _ = batch
    lacking = windows.without(radar=True)
    queries = [compose_query(tokenizer, lacking, i, q) for i, q in enumerate(QUESTIONS)]
    results = run(model, lacking, queries)
    assert not any((e.injection.sensors == 1).any() for r in results for e in r.events)
    only = dataclasses.replace(
        lacking, radar=torch.full_like(lacking.radar, 99.0)
    )  # what is missing is not read
    for a, b in zip(results, run(model, only, queries), strict=True):
        assert_same(a, b)
    mixed, alone = (
        run(model, windows, [compose_query(tokenizer, windows, 2, QUESTIONS[2])]),
        run(model, lacking.select([2]), [dataclasses.replace(queries[2], window=0)]),
    )
    assert_same(mixed[0], alone[0])


def test_many_questions_on_one_window_equal_each_alone_and_encode_it_once(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows = random_windows([2, 3], seed=9)
    queries = [compose_query(tokenizer, windows, i % 2, q) for i, q in enumerate(QUESTIONS)]
    images: list[int] = []
    fed: list[int] = []
    backbone = model.backbone
    if model.config.backbone == "nano":
        watched = [(backbone.pyramid, images, 1), (backbone.language_model, fed, 2)]
    else:
        parts = backbone.vision_language.model
        watched = [(parts.vision_tower, images, 1), (parts.language_model, fed, 2)]

    def watch(counts: list[int], axes: int) -> Any:
        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], __: Any) -> None:
            given = (*args, kwargs.get("pixel_values"), kwargs.get("inputs_embeds"))
            first = next(value for value in given if value is not None)
            counts.append(math.prod(first.shape[:axes]))

        return hook

    hooks = [
        module.register_forward_hook(watch(counts, axes), with_kwargs=True)
        for module, counts, axes in watched
    ]
    together = run(model, windows, queries)
    for hook in hooks:
        hook.remove()
    assert sum(images) == 10
    # The images' part is fed for two rows, not for eight.
    assert fed[0] == 2 * max(len(r) for r in _image_parts(queries, tokenizer))
    for query, result in zip(queries, together, strict=True):
        alone = run(model, windows.select([query.window]), [dataclasses.replace(query, window=0)])
        assert_same(result, alone[0])


def _image_parts(queries: list[Query], tokenizer: NanoTokenizer) -> list[list[int]]:
    """Prompts up to the last image, with 64 tokens for every image."""
    image = tokenizer.convert_tokens_to_ids("<image>")
    parts = []
    for query in queries:
        last = max(place for place, token in enumerate(query.prompt) if token == image)
        parts.append(
            [
                t
                for token in query.prompt[: last + 1]
                for t in [token] * (64 if token == image else 1)
            ]
        )
    return parts


def test_grammar_sees_what_is_said_and_figures_are_injected(
    model: TerrascopeModel, tokenizer: NanoTokenizer, batch: tuple[Windows, list[Query]]
) -> None:
    windows, queries = batch
    watchers = [Few(tokenizer) for _ in queries]
    results = run(model, windows, queries, grammars=[(watcher, Few.START) for watcher in watchers])
    plain = run(model, windows, queries, measurer=None)
    changed = 0
    for watcher, result, without in zip(watchers, results, plain, strict=True):
        assert watcher.seen == list(result.ids)
        text = tokenizer.text(result.sequence)
        for event in result.events:
            assert f"<measure>{len(event.injection.cells)} {event.order}</measure>" in text
        assert "<measure>" not in tokenizer.text(without.sequence)
        changed += (
            result.ids != without.ids or result.log_probabilities != without.log_probabilities
        )
    assert changed >= 4


def test_nothing_unsayable_is_said_and_a_dead_end_stops(
    model: TerrascopeModel, tokenizer: NanoTokenizer, batch: tuple[Windows, list[Query]]
) -> None:
    windows, queries = batch
    free = run(model, windows, queries, grammars=None, max_new_tokens=40, seed=3)
    never = {"<pad>", "<bos>", "<image>", "<measure>", "</measure>"}
    said = {token for result in free for token in result.ids}
    assert not {tokenizer.decoder[token] for token in said} & never

    class Dead(Few):
        def allowed(self, state: tuple[int, str]) -> torch.Tensor:
            return super().allowed(state) & (state[0] < 3)

    stopped = run(model, windows, queries[:2], grammars=[(Dead(tokenizer), Few.START)] * 2)
    assert all(r.stopped == "grammar" or r.ids[-1] == tokenizer.eos_token_id for r in stopped)
    assert all(len(result.ids) <= 3 for result in stopped)


def test_dates_come_from_the_indicator_else_from_the_count(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows = random_windows([3])
    trace = "Image: t_3[SEG] now Image: t_1 to t_3[SEG][SEG]Image: t_9[SEG]"
    query = compose_query(tokenizer, windows, 0, "Where?", trace)
    result = run(model, windows, [query], max_new_tokens=0)[0]
    assert [(e.before, e.date) for e in result.events] == [(-1, 2), (0, 2), (-1, 2), (-1, 0)]
    assert list(query.dates) == [(e.before, e.date) for e in result.events]
