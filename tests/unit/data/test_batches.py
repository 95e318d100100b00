"""Batches: what is taught, injected and measured, and that the model takes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from terrascope.data.batches import INJECTIONS, collate, injected_mask, measure_masks
from terrascope.data.facts import Facts
from terrascope.data.finishing import Choice
from terrascope.data.language import language_batch
from terrascope.data.making import make_samples
from terrascope.data.perturb import Perturbation, perturb
from terrascope.data.priors import Priors
from terrascope.data.questions.segment import segmentation_sample
from terrascope.data.rle import decode_mask
from terrascope.data.samples import Sample
from terrascope.data.scenes import LabelledScene
from terrascope.model.measure import measure
from terrascope.model.measurer import MaskMeasurer, valid_pixels
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.readings import reading_texts
from terrascope.model.uncertainty import Calibration

from .ground import SIDE, TOKENIZER, make_scene, tiny_model

PROCESSOR = TerrascopeProcessor(size_px=SIDE)
Items = Sequence[tuple[LabelledScene, list[Sample]]]


@pytest.fixture(scope="module")
def items() -> Items:
    rng = np.random.default_rng(1)
    scenes = [make_scene(seed, dates=1 + seed % 3) for seed in range(3)]
    choice = Choice(priors=Priors())
    return [(scene, make_samples(scene, rng, 6, choice=choice)) for scene in scenes]


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("measured", [True, False])
def test_the_model_takes_a_batch(items: Items, injection: str, measured: bool) -> None:
    batch = collate(
        items,
        PROCESSOR,
        TOKENIZER,
        measured=measured,
        perturbation=Perturbation(),
        injection=injection,
    )
    output = tiny_model()(
        batch.windows,
        batch.queries,
        truth=batch.truth,
        truth_valid=batch.truth_valid,
        injected=batch.injected,
    )
    assert torch.isfinite(output.loss)
    assert len(batch.samples) == len(batch.queries) == sum(len(s) for _, s in items)
    assert any(len(i.source) for i in output.injections) == (injection != "none")
    shown = any("<measure>" in TOKENIZER.text(query.response) for query in batch.queries)
    assert shown == measured


def test_masks_and_dates_follow_the_steps(items: Items) -> None:
    batch = collate(items, PROCESSOR, TOKENIZER)
    row = 0
    for query, sample in zip(batch.queries, batch.samples, strict=True):
        scene = items[query.window][0]
        assert query.dates == [step.dates for step in sample.steps]
        asked = TOKENIZER.text(query.prompt[slice(*query.question)])
        assert asked == sample.asked
        for step in sample.steps:
            expected = scene.mask(step.name, step.dates)
            np.testing.assert_array_equal(batch.truth[row], expected)
            np.testing.assert_array_equal(batch.injected[row], expected)
            known = scene.known(step.name, step.dates)
            np.testing.assert_array_equal(batch.truth_valid[row], known)
            row += 1
    assert row == len(batch.truth)


def test_smaller_windows_are_padded(items: Items) -> None:
    batch = collate(items[:1], TerrascopeProcessor(size_px=SIDE + 16), TOKENIZER)
    plain = collate(items[:1], PROCESSOR, TOKENIZER)
    assert not batch.truth_valid[:, SIDE:].any()
    assert not batch.truth[:, :, SIDE:].any()
    assert torch.equal(batch.truth[:, :SIDE, :SIDE], plain.truth)
    assert [q.response for q in batch.queries] == [q.response for q in plain.queries]


def test_the_same_figures_are_taught_as_are_said_when_answering(items: Items) -> None:
    """Measure drawn masks here and with the measurer of a generation."""
    batch = collate(items, PROCESSOR, TOKENIZER)
    rng = np.random.default_rng(5)
    for row, (query, sample) in enumerate(zip(batch.queries, batch.samples, strict=True)):
        if not sample.fields:
            continue
        drawn = [perturb(decode_mask(s.mask), Perturbation(), rng) for s in sample.steps]
        figures = measure_masks(drawn, sample.steps, batch.windows, query.window)
        taught = reading_texts(
            figures, area_unit=sample.area_unit, fields=sample.fields, options=sample.options
        )
        measurer = MaskMeasurer(
            batch.windows,
            TOKENIZER.ids,
            calibration=Calibration(samples=39),
            area_units=[s.area_unit for s in batch.samples],
            fields=[s.fields for s in batch.samples],
            options=[s.options for s in batch.samples],
        )
        events = [
            Event(row, query.window, n, *step.dates, torch.from_numpy(drawn[n]))
            for n, step in enumerate(sample.steps)
        ]
        for n, event in enumerate(events):
            (said,) = measurer([event], [events[:n]])
            assert TOKENIZER.text(said) == taught[n]


class Event:
    """A decoded mask, with what a measurer reads of it."""

    def __init__(
        self, row: int, window: int, order: int, before: int, date: int, probability: torch.Tensor
    ) -> None:
        self.row, self.window, self.order = row, window, order
        self.before, self.date, self.probability = before, date, probability


def test_figures_of_a_wrong_mask_are_measured_on_it(items: Items) -> None:
    rng = np.random.default_rng(9)
    settings = Perturbation(share=1.0)
    batch = collate(
        items, PROCESSOR, TOKENIZER, perturbation=settings, rng=np.random.default_rng(9)
    )
    row = 0
    for query, sample in zip(batch.queries, batch.samples, strict=True):
        drawn = [perturb(decode_mask(s.mask), settings, rng) for s in sample.steps]
        text = TOKENIZER.text(query.response)
        for step, probability in zip(sample.steps, drawn, strict=True):
            np.testing.assert_array_equal(batch.injected[row], probability > 0.5)
            row += 1
            if "share" in sample.fields:
                before, date = step.dates
                figure = measure(
                    torch.from_numpy(probability),
                    valid_pixels(batch.windows, query.window, date, before),
                    batch.windows.geometry[query.window],
                )
                assert f"share {100 * figure.share.thresholded:05.1f} %" in text
                assert f"expected {100 * figure.share.expected:05.1f} %" in text


def test_random_cells_and_boxes() -> None:
    mask = np.zeros((32, 32), np.bool_)
    mask[3:20, 9:27] = True
    box = injected_mask(mask, "box", 8, np.random.default_rng(0))
    np.testing.assert_array_equal(box, mask)
    mask[3, 9] = False
    cells = injected_mask(mask, "random", 8, np.random.default_rng(0))
    covered = cells.reshape(4, 8, 4, 8).mean((1, 3))
    assert set(covered.ravel().tolist()) == {0.0, 1.0}
    assert covered.sum() == (mask.reshape(4, 8, 4, 8).mean((1, 3)) > 0.5).sum()
    assert not injected_mask(mask, "none", 8, np.random.default_rng(0)).any()
    with pytest.raises(ValueError, match="injection"):
        collate([], PROCESSOR, TOKENIZER, injection="some")


def test_many_masks_of_one_window_in_one_sample() -> None:
    scene = make_scene(4, dates=2)
    sample = segmentation_sample(Facts(scene), np.random.default_rng(0), 12)
    assert sample is not None
    batch = collate([(scene, [sample])], PROCESSOR, TOKENIZER)
    assert len(batch.truth) == len(sample.steps) > 8
    assert "<measure>" not in TOKENIZER.text(batch.queries[0].response)


def test_text_alone_is_a_batch_too() -> None:
    batch = language_batch(TOKENIZER, np.random.default_rng(0), 40, window_px=SIDE)
    assert len(batch.queries) == 40
    assert not batch.windows.present.any()
    image = TOKENIZER.ids("<image>")[0]
    assert all(image not in query.prompt for query in batch.queries)
    model = tiny_model()
    output = model(
        batch.windows,
        batch.queries,
        truth=batch.truth,
        truth_valid=batch.truth_valid,
        injected=batch.injected,
    )
    assert torch.isfinite(output.loss)
    assert output.loss.item() == pytest.approx(output.terms.language.item(), rel=1e-5)
    assert not any(len(injection.source) for injection in output.injections)
    again = language_batch(TOKENIZER, np.random.default_rng(0), 40, window_px=SIDE)
    assert [q.response for q in again.queries] == [q.response for q in batch.queries]
