"""Items of the benchmark: the text alone gives nothing away, and the masks give every answer."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from terrascope.data.proposals import Proposal
from terrascope.evaluation.baselines.text_only import read_across
from terrascope.evaluation.items import BENCH_TASKS, BenchItem, Reference, first_of_each
from terrascope.evaluation.making import items_from, make_items
from terrascope.evaluation.matching import Candidate, Matcher
from terrascope.evaluation.outcomes import Outcome
from terrascope.evaluation.pixels import run_masks
from terrascope.evaluation.simulated import DEMOLISHED, LabelScenes
from terrascope.vocabulary import AnswerKind, QuestionKind, Unit

FEW = ("CR", "BRD")
"""Tasks whose answer is one of two."""


@pytest.fixture(scope="module")
def scenes() -> list:
    """Labels of the simulator alone: windows small enough to hold classes of few parts."""
    made = LabelScenes("validation", 64, DEMOLISHED)
    return [made[number] for number in range(150)]


@pytest.fixture(scope="module")
def items(scenes: list) -> list[BenchItem]:
    return items_from(scenes, 1200)


def figures(item: BenchItem) -> list[float]:
    return [float(re.match(r"[\d.]+", option)[0]) for option in item.options]  # type: ignore[index]


def rank_of_truth(item: BenchItem) -> int:
    values = figures(item)
    return sorted(values).index(values["ABCD".index(item.letter)])


def by_set(items: Sequence[BenchItem]) -> list[list[BenchItem]]:
    sets: dict[str, list[BenchItem]] = defaultdict(list)
    for item in items:
        sets[item.matched].append(item)
    return list(sets.values())


def excess(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """How far above chance answers are, and the standard error of that under guessing."""
    expected = np.array([1 / one.options for one in outcomes])
    right = np.array([one.right for one in outcomes], np.float64)
    error = np.sqrt((expected * (1 - expected)).sum()) / len(outcomes)
    return float((right - expected).mean()), float(error)


def test_every_answer_is_true_once_in_every_set(items: list[BenchItem]) -> None:
    made = Counter(item.task for item in items)
    assert set(made) == set(BENCH_TASKS), made
    assert min(made.values()) >= 4, made
    for members in by_set(items):
        assert len({item.image for item in members}) == len(members)
        assert len({item.kind for item in members}) == 1
        if members[0].task in FEW:
            assert len(members) == 2
            first, other = (dict(zip("AB", item.options, strict=True)) for item in members)
            assert sorted(first.values()) == sorted(other.values())
            assert first[members[0].letter] != other[members[1].letter]
        else:
            assert sorted(rank_of_truth(item) for item in members) == [0, 1, 2, 3]
            if members[0].task == "CA":  # of shares, windows of any size have the same
                assert len({tuple(sorted(item.options)) for item in members}) == 1


def test_no_image_is_asked_too_often(items: list[BenchItem]) -> None:
    asked = Counter((item.image, item.task) for item in items)
    assert max(asked.values()) == 2
    assert len({item.name for item in items}) == len(items)


def test_a_trained_reader_of_the_text_cannot_beat_chance(
    scenes: list, items: list[BenchItem]
) -> None:
    """Figures and names apart, and both against options that are known to leak."""
    names = [item for item in items if item.task in FEW]
    for part in (names, [item for item in items if item.task not in FEW]):
        gain, error = excess(read_across(part))
        assert gain < 3 * error, (gain, error)
    published = items_from(scenes, 600, scheme="published")
    gain, error = excess(read_across([item for item in published if item.task not in FEW]))
    assert gain > 5 * error, (gain, error)


def test_fewer_items_are_whole_sets(items: list[BenchItem]) -> None:
    for count in (12, 50, 144):
        chosen = first_of_each(items, count)
        whole = Counter(item.matched for item in items)
        assert all(whole[name] == n for name, n in Counter(i.matched for i in chosen).items())
        made = Counter(item.task for item in chosen)
        each = -(-count // 6)
        there = Counter(item.task for item in items)
        assert all(min(each, there[task]) <= made[task] < each + 4 for task in BENCH_TASKS)


def test_the_benchmark_is_the_same_each_time_and_its_masks_say_the_truth() -> None:
    kept: list = []
    items = make_items(12, split="validation", seed=7_000, size=32, keep=kept)
    again = make_items(12, split="validation", seed=7_000, size=32, workers=2)
    assert [(i.name, i.question, i.letter) for i in items] == [
        (i.name, i.question, i.letter) for i in again
    ]
    made = Counter(item.task for item in items)
    assert {made[task] for task in FEW} == {2}
    assert {made[task] for task in ("CA", "AQ")} == {4}
    assert {scene.image_id for scene in kept} == {item.image for item in items}
    assert all(reference.valid.all() for item in items for reference in item.references)
    assert all(item.window.optical is not None or item.window.radar is not None for item in items)

    def truth(item: BenchItem, reference: Reference) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.from_numpy(reference.mask)
        return mask.float(), mask

    assert all(one.right for one in run_masks(items, truth))


def candidate(image: str, truth: float | str | bool, unit: Unit | None = None) -> Candidate:
    """A question about water, or about water and trees."""
    figure = isinstance(truth, float)
    return Candidate(
        image,
        int(image[1:]),
        2,
        Proposal(
            kind=QuestionKind.COVERAGE if figure else QuestionKind.BOUNDARY,
            task="CA" if figure else "BRD",
            wording="coverage" if figure else "boundary",
            words={"a": "water", "t": "Image: t_1"} | ({} if figure else {"b": "tree"}),
            key="",
            truth=truth,
            answer=AnswerKind.NUMBER_UNIT if figure else AnswerKind.YES_NO,
            steps=(),
            unit=unit,
        ),
    )


def test_candidates_wait_for_every_other_answer() -> None:
    matcher = Matcher({"BRD": 4})
    first, second, no = candidate("i1", True), candidate("i2", True), candidate("i3", False)
    assert matcher.add(first) == ()
    assert matcher.add(candidate("i1", False)) == ()  # of the same scene
    members = matcher.add(no)
    assert members == (no, first)
    assert matcher.add(second) == ()  # that scene has been asked
    assert matcher.needed == {"BRD"}
    # It turns out that the first one cannot be asked: the other waits again, for the second.
    assert matcher.release(members, first) == (no,)
    assert matcher.add(no) == (no, second)
    swapped = dataclasses.replace(second.proposal, words={"a": "tree", "b": "water"})
    assert matcher.add(Candidate("i4", 4, 2, swapped)) == ()
    last = matcher.add(candidate("i5", False))  # the same in any order of the names
    assert [one.image for one in last] == ["i5", "i4"]
    assert matcher.needed == set()
    assert matcher.add(candidate("i6", True)) == ()


def test_figures_of_a_set_are_apart() -> None:
    matcher = Matcher({"CA": 4})
    for n, share in enumerate((0.10, 0.11, 0.20, 0.205)):
        assert matcher.add(candidate(f"i{n}", share, Unit.PERCENT)) == ()
    assert matcher.add(candidate("i8", 0.30)) == ()  # in another unit: it reads differently
    assert matcher.add(candidate("i5", 0.50, Unit.PERCENT)) == ()
    members = matcher.add(candidate("i6", 0.40, Unit.PERCENT))
    assert sorted(one.figure for one in members) == [0.10, 0.20, 0.40, 0.50]
    assert not matcher.needed
