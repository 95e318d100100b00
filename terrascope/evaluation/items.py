"""Items of the benchmark: a window, a question with options, the right letter, reference masks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

from terrascope.data.rle import decode_mask
from terrascope.data.samples import Sample
from terrascope.data.scenes import LabelledScene
from terrascope.model.answers import OptionAnswer
from terrascope.model.measurer import MEASURED_FOR
from terrascope.model.sequences import DatePair
from terrascope.model.stacks import Window
from terrascope.types import BoolArray
from terrascope.vocabulary import OPTION_LETTERS, QuestionKind, Unit

__all__ = ["BENCH_TASKS", "BenchItem", "Reference", "first_of_each", "image_batches", "item_of"]

BENCH_TASKS = ("CA", "AQ", "CR", "BRD", "DM", "BCE")
"""Coverage, area, comparison, boundary, distance, change of built-up land."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """A mask that a right answer rests on.

    Parameters
    ----------
    name : str
        Of the class or the change, as `terrascope.data.scenes.LabelledScene.mask` takes it.
    dates : DatePair
        Earlier date or -1, and date, from 0.
    mask : ndarray of bool, shape (H, W)
        The truth.
    valid : ndarray of bool, shape (H, W)
        Pixels that are observed and labelled; no other pixel is scored.
    """

    name: str
    dates: DatePair
    mask: BoolArray
    valid: BoolArray


@dataclasses.dataclass(frozen=True, eq=False)
class BenchItem:
    """One question of the benchmark.

    Parameters
    ----------
    name : str
        Unique among the items of a benchmark.
    image : str
        Of the window; items of one image are drawn together in a bootstrap.
    task : str
        One of `BENCH_TASKS`.
    kind : QuestionKind
        What is asked.
    window : Window
        What is looked at.
    question : str
        As the model reads it, options included.
    options : tuple of str
        In the order of their letters.
    letter : str
        The right one.
    references : tuple of Reference
        In the order of the reference trace; empty where none are published.
    trace : tuple of str
        What the reference trace says before each of its masks.
    area_unit : Unit
        Of areas.
    matched : str
        Name of the set of items that read alike and have every answer once
        (`terrascope.evaluation.matching`); empty where there is none.

    Raises
    ------
    ValueError
        If the letter is none of the options.
    """

    name: str
    image: str
    task: str
    kind: QuestionKind
    window: Window
    question: str
    options: tuple[str, ...]
    letter: str
    references: tuple[Reference, ...] = ()
    trace: tuple[str, ...] = ()
    area_unit: Unit = Unit.HECTARE
    matched: str = ""

    def __post_init__(self) -> None:
        if self.letter not in OPTION_LETTERS[: len(self.options)]:
            raise ValueError(f"{self.name}: letter {self.letter!r} of options {self.options}")

    @property
    def fields(self) -> tuple[str, ...]:
        """Figures of a mask that are shown for this kind of question."""
        return MEASURED_FOR[self.kind]


def item_of(scene: LabelledScene, sample: Sample, name: str) -> BenchItem:
    """Make an item of a Terra-CoT sample.

    Parameters
    ----------
    scene : LabelledScene
        That the sample is about.
    sample : Sample
        With options.
    name : str
        Of the item.

    Returns
    -------
    item : BenchItem
        With a reference for every step of the trace.

    Raises
    ------
    ValueError
        If the sample offers no options.
    """
    if not isinstance(sample.answer, OptionAnswer):
        raise ValueError(f"{name}: a question of the benchmark has options, not {sample.answer}")
    references = tuple(
        Reference(step.name, step.dates, decode_mask(step.mask), scene.known(step.name, step.dates))
        for step in sample.steps
    )
    return BenchItem(
        name=name,
        image=scene.image_id,
        task=sample.task,
        kind=sample.kind,
        window=scene.window,
        question=sample.asked,
        options=sample.options,
        letter=sample.answer.letter,
        references=references,
        trace=tuple(step.text for step in sample.steps),
        area_unit=sample.area_unit,
    )


def first_of_each(items: Sequence[BenchItem], count: int) -> list[BenchItem]:
    """Take the first items of every task, for a shorter run over the same items each time.

    Parameters
    ----------
    items : sequence of BenchItem
        Of a benchmark.
    count : int
        Wanted in all.

    Returns
    -------
    chosen : list of BenchItem
        In their order; as many of each task, where there are so many, and whole sets of those
        that are matched.
    """
    each = -(-count // max(len({item.task for item in items}), 1))
    made: Counter[str] = Counter()
    begun: set[str] = set()
    chosen = []
    for item in items:
        if made[item.task] < each or item.matched in begun:
            made[item.task] += 1
            begun |= {item.matched} - {""}
            chosen.append(item)
    return chosen


def image_batches(items: Sequence[BenchItem], windows: int = 8) -> Iterator[list[BenchItem]]:
    """Take images with all their questions.

    Parameters
    ----------
    items : sequence of BenchItem
        In any order.
    windows : int
        Images of a batch.

    Yields
    ------
    batch : list of BenchItem
        Image by image, in the order in which they come first.
    """
    by_image: dict[str, list[BenchItem]] = {}
    for item in items:
        by_image.setdefault(item.image, []).append(item)
    images = list(by_image.values())
    for start in range(0, len(images), windows):
        yield [item for image in images[start : start + windows] for item in image]
