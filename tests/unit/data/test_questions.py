"""Every maker of questions: answers from an independent reckoning, words, grammar, balance."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage, stats

from terrascope.data.batches import measure_masks
from terrascope.data.closings import response_text, stated_answer
from terrascope.data.facts import Facts
from terrascope.data.filters import (
    boundary_is_asked,
    compare_is_asked,
    coverage_is_asked,
    destroyed_count_is_asked,
    destroyed_share_is_asked,
    distance_is_asked,
)
from terrascope.data.finishing import Choice
from terrascope.data.gather import truths_of
from terrascope.data.language import DrawnFacts
from terrascope.data.making import make_samples
from terrascope.data.options import SEPARATION
from terrascope.data.priors import Priors
from terrascope.data.questions.registry import MAKERS
from terrascope.data.questions.segment import all_masks, segmentation_sample
from terrascope.data.rle import decode_mask
from terrascope.data.samples import TASKS, Sample
from terrascope.data.scenes import LabelledScene
from terrascope.model.answers import OptionAnswer, format_answer
from terrascope.model.grammar import Grammar, Words, parse_answer
from terrascope.model.measurer import MEASURED_FOR
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.readings import read_options
from terrascope.types import BoolArray
from terrascope.vocabulary import OPTION_LETTERS, AnswerKind, QuestionKind, Unit

from .ground import SIDE, TOKENIZER, make_scene

EIGHT = np.ones((3, 3), np.bool_)
UNITS = {"%": 100.0, "m2": 100.0, "ha": 0.01, "m": 10.0}
"""Of a share, of pixels and of pixel lengths."""


def scenes() -> list[LabelledScene]:
    return [make_scene(n, dates=1 + n % 4, classes=3 + n % 6) for n in range(24)]


@pytest.fixture(scope="module")
def asked() -> list[tuple[LabelledScene, Sample]]:
    rng = np.random.default_rng(3)
    choice = Choice(weights=dict.fromkeys(MAKERS, 1.0), priors=Priors())
    found = []
    for scene in scenes():
        found += [(scene, sample) for sample in make_samples(scene, rng, 30, choice=choice)]
    return found


def test_all_kinds_and_tasks_are_asked_about(asked: list[tuple[LabelledScene, Sample]]) -> None:
    assert {sample.kind for _, sample in asked} == set(QuestionKind)
    assert {sample.task for _, sample in asked} == set(TASKS)
    assert set(MEASURED_FOR) == set(QuestionKind)


def test_questions_come_once_and_the_same_for_the_same_seed() -> None:
    scene = make_scene(5, dates=2)
    choice = Choice(priors=Priors())
    one, other = (make_samples(scene, np.random.default_rng(2), 20, choice=choice) for _ in "ab")
    assert one == other
    assert len({(sample.asked, sample.steps) for sample in one}) == len(one)


def truth_of(sample: Sample) -> str:
    """Return the text of the true answer, whether it is a letter or not."""
    if isinstance(sample.answer, OptionAnswer):
        return sample.options[OPTION_LETTERS.index(sample.answer.letter)]
    return format_answer(sample.answer)


def body(mask: np.ndarray) -> np.ndarray:
    core = ndimage.binary_erosion(mask, EIGHT, border_value=1)
    return ndimage.binary_dilation(core, EIGHT) & mask if core.any() else mask


def way(a: np.ndarray, b: np.ndarray) -> float:
    return float(ndimage.distance_transform_edt(~body(a))[body(b)].min())


def touch(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((ndimage.binary_dilation(a, EIGHT) & b).any())


def reckon(scene: LabelledScene, sample: Sample) -> str | float | None:
    """Reckon the answer anew from the masks of the labels, as a reader of the question would."""
    masks = [scene.mask(step.name, step.dates) for step in sample.steps]
    names = [step.name for step in sample.steps]
    known = [scene.known(step.name, step.dates).sum() for step in sample.steps]
    shares = [mask.sum() / count for mask, count in zip(masks, known, strict=True)]
    yes_no = {True: "yes", False: "no"}
    match sample.kind, sample.task:
        case QuestionKind.COVERAGE, "CA":
            return shares[0] * 100
        case QuestionKind.COVERAGE, "L2":
            return max(shares) * 100
        case ((QuestionKind.AREA | QuestionKind.CHANGE_AREA), _):
            return masks[0].sum() * UNITS[sample.area_unit.value]
        case QuestionKind.COMPARE, "CR":
            return names[int(np.argmax(shares))]
        case QuestionKind.COMPARE, _:
            less = "less" in sample.question or "decreased" in sample.question
            return yes_no[bool((shares[1] < shares[0]) == less)]
        case ((QuestionKind.EXISTENCE | QuestionKind.CHANGE_EXISTENCE), _):
            return yes_no[bool(masks[0].any())]
        case ((QuestionKind.COUNT | QuestionKind.CHANGE_COUNT), _):
            return float(ndimage.label(masks[0], EIGHT)[1])
        case QuestionKind.BOUNDARY, ("BRD" | "L1"):
            return yes_no[touch(masks[0], masks[1])]
        case QuestionKind.BOUNDARY, _:
            return names[[touch(mask, masks[2]) for mask in masks[:2]].index(True)]
        case QuestionKind.DISTANCE, "DM":
            return way(masks[0], masks[1]) * 10
        case QuestionKind.DISTANCE, _:
            return names[int(np.argmin([way(mask, masks[2]) for mask in masks[:2]]))]
        case QuestionKind.CHANGE_SHARE, _:
            return (masks[0] & masks[1]).sum() / masks[1].sum() * 100
        case QuestionKind.CHANGE_CLASS, _:
            return names[int(np.argmax([(mask & masks[2]).sum() for mask in masks[:2]]))]
        case QuestionKind.CLASSIFY, _:
            return names[int(np.argmax(shares))]
        case QuestionKind.CHANGE_KIND, _:
            return names[1] if masks[0].any() else "none"
        case QuestionKind.CHANGE_DATE, _:
            first = [bool(mask.any()) for mask in masks].index(True)
            return scene.dates[first + 1].isoformat()
    return None


def test_answers_are_what_the_labels_say(asked: list[tuple[LabelledScene, Sample]]) -> None:
    checked = Counter()
    for scene, sample in asked:
        for step in sample.steps:
            np.testing.assert_array_equal(decode_mask(step.mask), scene.mask(step.name, step.dates))
        expected, said = reckon(scene, sample), truth_of(sample)
        if isinstance(expected, str):
            assert said == expected, (sample.question, sample.steps)
        elif expected is not None:
            number = said.partition(" ")[0]
            digits = len(number.partition(".")[2])
            assert abs(float(number) - expected) <= 0.5001 * 10.0**-digits, sample.question
        checked[sample.kind] += expected is not None
    assert all(
        checked[kind]
        for kind in QuestionKind
        if kind.value not in ("caption", "segment", "location")
    )


def test_captions_name_what_is_there(asked: list[tuple[LabelledScene, Sample]]) -> None:
    captions = [(s, a) for s, a in asked if a.kind is QuestionKind.CAPTION]
    for scene, sample in captions:
        text = format_answer(sample.answer)
        facts = Facts(scene)
        first = sample.steps[0]
        assert text.startswith(f"The ground is mostly {first.name}.")
        assert facts.largest(facts.classes(first.dates[1]), first.dates[1])[0] == first.name
        for step in sample.steps[1:]:
            place = facts.position((step.name, step.dates))
            assert f"{step.name} in the {place}." in text


def test_filters_are_those_that_were_published() -> None:
    assert [coverage_is_asked(share) for share in (0.049, 0.05)] == [False, True]
    assert compare_is_asked(0.2, 0.17)
    assert not compare_is_asked(0.2, 0.185)
    assert not compare_is_asked(0.04, 0.2)
    assert boundary_is_asked(0.03, 0.5, 5, 1)
    assert not boundary_is_asked(0.03, 0.5, 6, 1)
    assert not boundary_is_asked(0.029, 0.5, 1, 1)
    assert [distance_is_asked(px) for px in (None, 10.0, 10.05)] == [False, False, True]
    assert destroyed_share_is_asked(0.03, 0.05)
    assert not destroyed_share_is_asked(0.03, 0.04)
    assert destroyed_count_is_asked(4, 1)
    assert not destroyed_count_is_asked(3, 1)


def test_samples_of_the_tasks_keep_the_filters(asked: list[tuple[LabelledScene, Sample]]) -> None:
    for scene, sample in asked:
        masks = [scene.mask(step.name, step.dates) for step in sample.steps]
        known = [scene.known(step.name, step.dates).sum() for step in sample.steps]
        shares = [mask.sum() / count for mask, count in zip(masks, known, strict=True)]
        if sample.task in ("CA", "AQ"):
            assert shares[0] >= 0.05
        elif sample.task == "CR":
            assert min(shares) >= 0.05
            assert abs(shares[0] - shares[1]) > 0.1 * max(shares)
        elif sample.task == "BRD":
            assert min(shares) >= 0.03
            assert max(ndimage.label(mask, EIGHT)[1] for mask in masks) <= 5
        elif sample.task == "DM":
            assert way(masks[0], masks[1]) > 10


@pytest.fixture(scope="module")
def words() -> Words:
    return Words(TOKENIZER)


def test_every_response_is_in_the_vocabulary_and_the_grammar(
    asked: list[tuple[LabelledScene, Sample]], words: Words
) -> None:
    opening, closing = words.special.measure, words.special.measure_end
    grammars: dict[object, Grammar] = {}
    for scene, sample in asked[::4]:
        windows = TerrascopeProcessor(size_px=SIDE)([scene.window])
        masks = [decode_mask(step.mask) for step in sample.steps]
        figures = measure_masks(masks, sample.steps, windows, 0)
        text = response_text(sample, figures, ["<measure> 1</measure>"] * len(masks))
        for word in f"{sample.asked} {text}".replace("[SEG]", " ").split():
            pieces = [TOKENIZER.text([n]) for n in TOKENIZER.ids(word)]
            spelled = [p for p in pieces if len(p) == 1 and p.isalpha() and p not in "aABCDmEtT"]
            assert not spelled, (word, pieces)
        key = (sample.form, len(scene.dates))
        grammar = grammars.setdefault(key, Grammar(words, sample.form, dates=len(scene.dates)))
        state, inside, said = grammar.start, False, []
        for number in TOKENIZER.ids(text):
            inside = inside or number == opening
            if not inside:
                state = grammar.advance(state, number)
                said.append(number)
            inside = inside and number != closing
        assert grammar.parse(said)[1] == parse_answer(format_answer(sample.answer), sample.form)


def test_an_open_figure_is_the_one_that_was_measured(
    asked: list[tuple[LabelledScene, Sample]],
) -> None:
    done = 0
    for scene, sample in asked:
        if sample.form.kind is not AnswerKind.NUMBER_UNIT or sample.area_unit is not Unit.HECTARE:
            continue
        windows = TerrascopeProcessor(size_px=SIDE)([scene.window])
        wrong = [np.roll(decode_mask(step.mask), 3, 0) for step in sample.steps]
        wrong[0][:10] = False
        figures = measure_masks(wrong, sample.steps, windows, 0)
        text = response_text(sample, figures, [""] * len(wrong))
        said = format_answer(stated_answer(sample, figures))
        assert f"<answer>{said}</answer>" in text
        if sample.kind is QuestionKind.COVERAGE and sample.task == "CA":
            seen = scene.observed[sample.steps[0].dates[1]]
            expected = 100 * (wrong[0] & seen).sum() / seen.sum()
            assert float(said.partition(" ")[0]) == pytest.approx(expected, abs=0.0501)
            done += 1
    assert done > 5


def without_specks(mask: BoolArray) -> BoolArray:
    opened = ndimage.binary_opening(mask, np.ones((3, 3)))
    return opened if opened.any() else mask


def test_an_answer_follows_the_masks_not_the_truth(
    asked: list[tuple[LabelledScene, Sample]],
) -> None:
    followed = Counter()
    for scene, one in asked:
        options = ("005.0 %", "020.0 %", "045.0 %", "080.0 %") if one.task == "CA" else one.options
        if one.task not in ("CA", "CR", "BRD") or not options:
            continue
        truth = OptionAnswer("D") if one.task == "CA" else one.answer
        sample = dataclasses.replace(one, options=options, answer=truth)
        windows = TerrascopeProcessor(size_px=SIDE)([scene.window])
        drawn = [np.roll(decode_mask(step.mask), (5, 9), (0, 1)) for step in sample.steps]
        drawn[0][: SIDE // 2] = False
        figures = measure_masks(drawn, sample.steps, windows, 0)
        seen = scene.observed[sample.steps[0].dates[1]]
        shares = [float((mask & seen).sum() / seen.sum()) for mask in drawn]
        if sample.task == "CA":
            apart = [abs(float(o.partition(" ")[0]) / 100 - shares[0]) for o in sample.options]
            expected = sample.options[int(np.argmin(apart))]
        elif sample.task == "CR":
            expected = sample.steps[int(np.argmax(shares))].name
        else:
            masks = [without_specks(mask & seen) for mask in drawn]
            near = ndimage.binary_dilation(masks[0], np.ones((3, 3))) & masks[1]
            expected = "yes" if near.any() else "no"
        letter = OPTION_LETTERS[sample.options.index(expected)]
        assert stated_answer(sample, figures) == OptionAnswer(letter)
        followed[sample.task, stated_answer(sample, figures) == sample.answer] += 1
    assert len({task for task, _ in followed}) == 3
    assert sum(count for (_, is_true), count in followed.items() if not is_true) > 3


def test_segmentation_asks_for_what_is_there_and_a_little_that_is_not() -> None:
    rng = np.random.default_rng(0)
    facts = Facts(make_scene(3, dates=3, classes=5))
    counts = Counter()
    for _ in range(30):
        sample = segmentation_sample(facts, rng, 10)
        assert sample is not None
        assert len(sample.steps) <= 10
        assert len({(step.name, step.dates) for step in sample.steps}) == len(sample.steps)
        for step in sample.steps:
            counts[step.dates[0] >= 0, decode_mask(step.mask).any()] += 1
    assert all(counts[key] for key in itertools.product((True, False), repeat=2))
    assert counts[True, True] + counts[False, True] > 2 * (
        counts[True, False] + counts[False, False]
    )
    assert len(all_masks(facts)) == 3 * 8 + 3 * 9  # nine: what is destroyed, too


def test_segmentation_may_leave_changes_out() -> None:
    sample = segmentation_sample(
        Facts(make_scene(3, dates=3, classes=5)), np.random.default_rng(0), 99, 1.0, pairs=False
    )
    assert sample is not None
    assert {step.dates for step in sample.steps} == {(-1, 0), (-1, 1), (-1, 2)}


@pytest.fixture(scope="module")
def offered() -> list[Sample]:
    """Return many samples with options, of figures that are drawn: no pixel decides here."""
    rng = np.random.default_rng(11)
    truths = (truth for _ in range(900) for truth in truths_of(DrawnFacts(rng), rng))
    choice = Choice(options_share=1.0, priors=Priors.gather(truths))
    found: list[Sample] = []
    while len(found) < 6800:
        found += [s for s in make_samples(DrawnFacts(rng), rng, 8, choice=choice) if s.options]
    return found


def figures_of(sample: Sample) -> list[float]:
    return [float(option.partition(" ")[0]) for option in sample.options]


def test_masks_that_are_options_come_in_the_order_of_their_letters(offered: list[Sample]) -> None:
    turned = Counter()
    for sample in offered:
        if "{name:1}" in sample.closing:
            assert tuple(step.name for step in sample.steps[:2]) == sample.options
            turned[sample.options.index(min(sample.options))] += 1
    assert min(turned.values()) > 50


def test_letters_and_ranks_are_uniform(offered: list[Sample]) -> None:
    four = [s for s in offered if len(s.options) == 4]
    two = [s for s in offered if len(s.options) == 2]
    for group, count in ((four, 4), (two, 2)):
        letters = Counter(s.answer.letter for s in group)
        assert stats.chisquare([letters[a] for a in OPTION_LETTERS[:count]]).pvalue > 1e-3
    numbers = [s for s in four if read_options(s.options)]
    assert len(numbers) > 2000
    ranks = Counter(
        sorted(figures_of(s)).index(figures_of(s)[OPTION_LETTERS.index(s.answer.letter)])
        for s in numbers
    )
    assert stats.chisquare([ranks[n] for n in range(4)]).pvalue > 1e-3


def test_no_rule_about_the_options_beats_chance(offered: list[Sample]) -> None:
    numbers = [s for s in offered if read_options(s.options)]
    rules = {
        "first": lambda values: 0,
        "least": lambda values: int(np.argmin(values)),
        "greatest": lambda values: int(np.argmax(values)),
        "lower middle": lambda values: int(np.argsort(values)[1]),
        "upper middle": lambda values: int(np.argsort(values)[2]),
        "longest": lambda values: int(np.argmax([len(f"{v:g}") for v in values])),
        "roundest": lambda values: int(np.argmin([len(f"{v:g}") for v in values])),
    }
    for name, rule in rules.items():
        hits = [rule(figures_of(s)) == OPTION_LETTERS.index(s.answer.letter) for s in numbers]
        assert abs(np.mean(hits) - 0.25) < 0.03, name


@pytest.mark.parametrize("task", ["BRD", "CR"])
def test_no_class_is_the_likelier_answer(offered: list[Sample], task: str) -> None:
    """Learn from half of the questions how often each answer was right, and guess the others."""
    samples = [s for s in offered if s.task == task]
    assert len(samples) > 200

    def key(sample: Sample) -> tuple[str, ...]:
        return tuple(sorted(step.name for step in sample.steps))

    learnt = Counter((key(s), truth_of(s)) for s in samples[::2])
    hits = []
    for sample in samples[1::2]:
        guess = max(sample.options, key=lambda option: (learnt[key(sample), option], option))
        hits.append(guess == truth_of(sample))
    spread = 0.5 / np.sqrt(len(hits))
    assert np.mean(hits) < 0.5 + 3.5 * spread


def test_options_are_apart(offered: list[Sample]) -> None:
    for sample in offered:
        if read_options(sample.options):
            for a, b in itertools.combinations(figures_of(sample), 2):
                assert abs(a - b) >= (SEPARATION - 0.02) * max(a, b)


def test_the_published_scheme_multiplies_the_truth() -> None:
    rng = np.random.default_rng(4)
    choice = Choice(weights={"area": 1.0}, options_share=1.0, scheme="published", priors=Priors())
    samples = make_samples(make_scene(2, classes=4), rng, 4, choice=choice)
    assert samples
    for sample in samples:
        truth = float(truth_of(sample).partition(" ")[0])
        factors = sorted(value / truth for value in figures_of(sample))
        assert factors == pytest.approx([0.1, 0.5, 1.0, 2.0], rel=0.01)
