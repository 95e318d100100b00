"""The benchmark examined: reference masks score all, guessing scores chance, a model runs."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from terrascope.data.scenes import DESTROYED
from terrascope.evaluation import crew
from terrascope.evaluation.conditions import Conditions
from terrascope.evaluation.crew import crew_of
from terrascope.evaluation.items import BENCH_TASKS, BenchItem, Reference
from terrascope.evaluation.making import items_from
from terrascope.evaluation.naming import named_last
from terrascope.evaluation.outcomes import Outcome, chance, compare, outcome_of, summary
from terrascope.evaluation.pixels import run_masks
from terrascope.evaluation.runner import Examinee, run_bench, run_conditions
from terrascope.evaluation.simulated import bench_scenes

from .land import scenes
from .tiny import tiny_examinee

TASKS = [task for task in BENCH_TASKS if task != "DM"]


@pytest.fixture(scope="module")
def items() -> list[BenchItem]:
    return items_from(itertools.islice(scenes(), 300), 120)


@pytest.fixture(scope="module")
def examinee() -> Examinee:
    return tiny_examinee()


def test_every_task_is_asked_and_no_letter_is_likelier(items: list[BenchItem]) -> None:
    made = Counter(item.task for item in items)
    # So small a scene seldom has two classes that are far apart.
    assert made == dict.fromkeys(TASKS, 20)
    four = Counter(item.letter for item in items if len(item.options) == 4)
    assert max(four.values()) < 0.45 * sum(four.values())
    assert len({item.name for item in items}) == len(items)


def test_reference_masks_give_every_answer(items: list[BenchItem]) -> None:
    """Whoever draws the masks right is right: otherwise the question, not the model, is wrong."""

    def truth(item: BenchItem, reference: Reference) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.from_numpy(reference.mask)
        return mask.float(), mask

    outcomes = run_masks(items, truth)
    wrong = [(o.item, o.truth, o.said) for o in outcomes if not o.right]
    assert not wrong
    scores = summary(outcomes)
    assert scores["macro"]["value"] == scores["micro"]["value"] == 1.0
    assert scores["macro_of_masks"]["value"] == 1.0
    assert scores["mask_iou"]["value"] == scores["boundary_iou"]["value"] == 1.0
    assert scores["pixel_ece"] == 0.0


def test_guessed_letters_score_chance(items: list[BenchItem]) -> None:
    rng = np.random.default_rng(4)
    rounds = 40
    guessed = [
        outcome_of(
            dataclasses.replace(item, name=f"{item.name}-{n}"),
            "ABCD"[rng.integers(len(item.options))],
            [None] * len(item.references),
        )
        for n in range(rounds)
        for item in items
    ]
    scores = summary(guessed, draws=200)
    expected = chance(guessed)
    assert expected == pytest.approx((0.25 * 3 + 0.5 * 2) / 5)
    error = np.sqrt(0.25 / len(guessed))
    assert scores["macro"]["value"] == pytest.approx(expected, abs=4 * error)
    assert scores["mask_iou"]["value"] == 0.0  # missing masks count nothing
    assert scores["macro_of_masks"]["value"] == 0.0


def test_an_untrained_model_runs_through_and_is_the_same_alone(
    items: list[BenchItem], examinee: Examinee
) -> None:
    chosen = items[:8]
    said = run_bench(examinee, chosen, windows_per_batch=4)
    assert [one.item for one in said] == [item.name for item in chosen]
    assert all(one.said in "ABCD"[: one.options] for one in said if one.said)
    assert any(one.said for one in said)
    assert all(0 < one.letter_probability <= 1 for one in said if one.said)
    alone = run_bench(examinee, chosen[:3], windows_per_batch=1)
    assert [one.text for one in alone] == [one.text for one in said[:3]]


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(forced=True),
        Conditions(forced=True, measured=False, injection="none"),
        Conditions(forced=True, sensors="radar", injection="box"),
        Conditions(forced=True, sensors="optical", cloud=0.6, injection="random"),
        Conditions(sensors="none"),
    ],
    ids=lambda c: f"{c.sensors}-{c.injection}-{c.forced}",
)
def test_a_forced_trace_draws_every_reference(
    items: list[BenchItem], examinee: Examinee, conditions: Conditions
) -> None:
    chosen = list({item.task: item for item in items}.values())
    said = run_bench(examinee, chosen, conditions)
    for item, one in zip(chosen, said, strict=True):
        assert ("<measure>" in one.text) == conditions.measured or not conditions.forced
        if conditions.forced:
            assert len(one.ious) == len(item.references)
            assert None not in one.ious, (item.trace, one.text)
            assert all(text in one.text for text in item.trace)
    assert examinee.model.config.injection == "mask"


def test_conditions_that_share_an_encoding_answer_as_if_alone(
    items: list[BenchItem], examinee: Examinee
) -> None:
    conditions = {
        "as it is": Conditions(forced=True),
        "boxes": Conditions(forced=True, injection="box"),
        "radar": Conditions(forced=True, sensors="radar"),
    }
    chosen, told = items[:4], []
    both = run_conditions(
        examinee, chosen, conditions, progress=lambda *done: told.append(done), windows_per_batch=2
    )
    assert told[-1] == (12, 12)
    for name, one in conditions.items():
        alone = run_bench(examinee, chosen, one, windows_per_batch=2)
        assert [o.text for o in both[name]] == [o.text for o in alone]
        assert [o.ious for o in both[name]] == [o.ious for o in alone]
    assert examinee.model.config.injection == "mask"


def test_several_processes_answer_as_one(
    items: list[BenchItem], examinee: Examinee, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions = {"as it is": Conditions(), "radar": Conditions(sensors="radar", injection="box")}
    chosen, told = items[:12], []
    alone = run_conditions(examinee, chosen, conditions)
    monkeypatch.setattr(crew, "_TASKS", 1)  # fresh processes after every two batches
    with crew_of(examinee, 2) as several:
        found = several.run_conditions(chosen, conditions, lambda *done: told.append(done))
        assert [one.text for one in several.run(chosen[:3])] == [
            one.text for one in run_bench(examinee, chosen[:3])
        ]
    assert told[-1] == (24, 24)
    for name, outcomes in alone.items():
        assert [o.item for o in found[name]] == [item.name for item in chosen]
        assert [o.text for o in found[name]] == [o.text for o in outcomes]


def test_scenes_simulated_ahead_are_the_same() -> None:
    ahead, alone = (itertools.islice(bench_scenes(size=32, workers=n), 3) for n in (1, 0))
    for one, other in zip(ahead, alone, strict=True):
        assert one.image_id == other.image_id
        assert (one.cover == other.cover).all()
        optical = [scene.window.optical for scene in (one, other)]
        assert optical[0] is not None
        assert optical[1] is not None
        assert np.array_equal(optical[0].values, optical[1].values, equal_nan=True)


def test_runs_are_compared_item_by_item(items: list[BenchItem]) -> None:
    def run(letters: list[str | None]) -> list[Outcome]:
        return [
            outcome_of(item, letter, [None] * len(item.references))
            for item, letter in zip(items, letters, strict=True)
        ]

    right = run([item.letter for item in items])
    none = run([None] * len(items))
    assert compare(right, none).value == 1.0
    assert compare(right, right).low == compare(right, right).high == 0.0
    with pytest.raises(ValueError, match="different items"):
        compare(right, none[:-1])


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("tree Image: t_1", "tree"),
        (f" then {DESTROYED} Image: t_1 to t_2", DESTROYED),
        ("water 10.0 %, developed area Image: t_2", "developed area"),
        ("vegetation loss Image: t_1 to t_2", "vegetation loss"),
        ("the street Image: t_1", None),
    ],
)
def test_masks_are_named_by_what_was_said_last(words: str, name: str | None) -> None:
    assert named_last(words) == name
