"""The proof that the parts learn together: 32 samples of two dates and two sensors, by heart."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import pytest
import torch

from terrascope.model.modeling_terrascope import TerrascopeModel, TerrascopeOutput
from terrascope.model.tokenization_nano import NanoTokenizer

from .overfit import Scenes, answer, build, make_scenes, train

# Minutes on two free cores, a multiple of that on busy ones.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

STEPS = 262
CORES = 2


@dataclasses.dataclass(frozen=True)
class Trained:
    tokenizer: NanoTokenizer
    scenes: Scenes
    model: TerrascopeModel
    core_seconds: float


@pytest.fixture(scope="module")
def trained() -> Iterator[Trained]:
    """Train once, on two cores, and count the seconds the cores were busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    tokenizer = NanoTokenizer()
    scenes, model = make_scenes(tokenizer), build(tokenizer)
    start = time.process_time()
    train(model, scenes, steps=STEPS)
    yield Trained(tokenizer, scenes, model, time.process_time() - start)
    torch.set_num_threads(before)


def test_masks_and_answers_are_learnt_within_five_minutes(trained: Trained) -> None:
    """Said freely, from the question alone: nothing of the trace is given."""
    results, answers = answer(trained.model, trained.tokenizer, trained.scenes)
    ious = []
    for n, result in enumerate(results):
        truth = trained.scenes.truth(n)
        assert len(result.events) == len(truth), trained.tokenizer.text(result.ids)
        for event, mask in zip(result.events, truth, strict=True):
            found = trained.model.binary_mask(event.logits)
            union = int((found | mask).sum())
            ious.append(int((found & mask).sum()) / union if union else 1.0)
    print(f"mean IoU {sum(ious) / len(ious):.4f}, least {min(ious):.4f}")
    print(f"{trained.core_seconds / CORES:.0f} s on {CORES} cores")
    assert answers == trained.scenes.answers
    assert sum(ious) / len(ious) > 0.95


@pytest.fixture(scope="module")
def passed(trained: Trained) -> TerrascopeOutput:
    with torch.no_grad():
        return trained.model(
            trained.scenes.windows, trained.scenes.queries, truth=trained.scenes.masks
        )


def answer_scores(
    trained: Trained, output: TerrascopeOutput, embeddings: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (R, L - 1, V), and before which of them a token of the answer stands."""
    places = torch.arange(embeddings.shape[1]).expand(embeddings.shape[:2])
    hidden = trained.model.backbone.language(embeddings, places)
    logits = trained.model.backbone.logits(hidden[:, :-1])
    targets = output.layout.ids[:, 1:]
    encoder = trained.tokenizer.encoder
    after = (targets == encoder["<answer>"]).cumsum(1) > 0
    before_end = (targets == encoder["</answer>"]).cumsum(1) == 0
    inside = after & before_end & (targets != encoder["<answer>"])
    return logits, inside


def injected_places(output: TerrascopeOutput) -> torch.Tensor:
    """Return where visual tokens stand behind a mask, bool, shape (R, L)."""
    layout = output.layout
    first = torch.full((layout.ids.shape[0],), 10**6)
    for row, position in zip(layout.seg_row, layout.seg_position, strict=True):
        first[row] = torch.minimum(first[row], position)
    return (layout.source >= 0) & (torch.arange(layout.ids.shape[1]) > first[:, None])


def test_answers_have_a_gradient_to_the_injected_tokens(
    trained: Trained, passed: TerrascopeOutput
) -> None:
    layout = passed.layout
    embeddings = trained.model.embed(layout.ids, layout.source, passed.encoded.tokens)
    embeddings = embeddings.detach().requires_grad_()
    logits, inside = answer_scores(trained, passed, embeddings)
    torch.nn.functional.cross_entropy(logits[inside], layout.ids[:, 1:][inside]).backward()
    places = injected_places(passed)
    assert int(places.sum()) == sum(len(one.source) for one in passed.injections)
    norms = embeddings.grad.norm(dim=-1)[places]
    assert len(norms) > 300
    assert (norms > 0).all()


@torch.no_grad()
def test_removing_or_swapping_injected_tokens_changes_the_answers(
    trained: Trained, passed: TerrascopeOutput
) -> None:
    layout = passed.layout
    embeddings = trained.model.embed(layout.ids, layout.source, passed.encoded.tokens)
    said, inside = answer_scores(trained, passed, embeddings)
    places = injected_places(passed)
    has_tokens = places.any(1)
    rows = has_tokens.nonzero()[:, 0].tolist()
    swapped = embeddings.clone()
    for row, partner in zip(rows, rows[1:] + rows[:1], strict=True):
        own, other = places[row].nonzero()[:, 0], places[partner].nonzero()[:, 0]
        count = min(len(own), len(other))
        swapped[row, own[:count]] = embeddings[partner, other[:count]]
    said_swapped, _ = answer_scores(trained, passed, swapped)
    moved = ((said_swapped - said).abs().amax(-1) * inside).amax(1)
    # Every row answers at its own end: without the tokens a shorter sequence is laid out.
    removed = trained.model(trained.scenes.windows, trained.scenes.queries)
    bare = trained.model.embed(removed.layout.ids, removed.layout.source, removed.encoded.tokens)
    said_bare, inside_bare = answer_scores(trained, removed, bare)
    gone = torch.tensor(
        [
            float((said_bare[row][inside_bare[row]] - said[row][inside[row]]).abs().max())
            for row in range(len(embeddings))
        ]
    )
    print(f"swapped: median {moved[has_tokens].median():.4f}")
    print(f"removed: median {gone[has_tokens].median():.4f}")
    assert len(rows) >= 16
    assert (moved[has_tokens] > 1e-3).all()
    assert (gone[has_tokens] > 1e-2).all()
