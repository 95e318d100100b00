"""Items of the benchmark from labelled rasters: fair questions, balanced over the tasks."""

from __future__ import annotations

import functools
import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from torch.utils.data import DataLoader, Dataset

from terrascope.data.facts import Facts
from terrascope.data.finishing import Choice, finish
from terrascope.data.gather import gather_priors, label_only_scenes
from terrascope.data.priors import Priors
from terrascope.data.proposals import Proposal
from terrascope.data.questions.registry import MAKERS
from terrascope.data.samples import Sample
from terrascope.data.scenes import LabelledScene
from terrascope.data.views import View, label_scene
from terrascope.evaluation.items import BENCH_TASKS, BenchItem, item_of
from terrascope.sim.alterations import Alter
from terrascope.sim.samples import sample_scene

__all__ = ["BENCH_VIEW", "ItemMaker", "bench_scenes", "items_from", "make_items", "split_priors"]

BENCH_VIEW = View(sensors=(1.0, 0.0, 0.0), hide_clouds=0.5, drop_image=0.0, drop_bands=0.0)
"""Both sensors, so that each can be taken away; clouds are masked in every second scene."""

_TRIES = 12
"""Proposals of each kind per scene."""
_PER_TASK = 2
"""Items of one task about one scene, at most."""
_SCANNED = 20
"""Scenes that are looked through per item, at most: some tasks are rare."""


class ItemMaker:
    """Makes items until every task has enough.

    Parameters
    ----------
    count : int
        Items in all, as many of each task.
    scheme : {"main", "published"}
        Wrong options drawn like truths, or 0.1, 0.5 and 2 times the truth.
    priors : Priors or None
        What truths look like in scenes such as these; None for the training scenes'.

    Attributes
    ----------
    items : list of BenchItem
        Made so far.
    scenes : list of LabelledScene
        That they are about.
    """

    def __init__(self, count: int, scheme: str = "main", priors: Priors | None = None) -> None:
        self.wanted = {task: count // 6 + (n < count % 6) for n, task in enumerate(BENCH_TASKS)}
        self.choice = Choice(options_share=1.0, all_fields_share=0.0, scheme=scheme, priors=priors)
        self.made: Counter[str] = Counter()
        self.items: list[BenchItem] = []
        self.scenes: list[LabelledScene] = []

    @property
    def needed(self) -> set[str]:
        """Tasks that want more items."""
        return {task for task, count in self.wanted.items() if self.made[task] < count}

    def add(self, scene: LabelledScene) -> None:
        """Ask about a scene what is needed.

        Parameters
        ----------
        scene : LabelledScene
            With its images.
        """
        before = len(self.items)
        for sample in _samples(scene, self.choice, self.needed):
            if self.made[sample.task] < self.wanted[sample.task]:
                self.made[sample.task] += 1
                name = f"{scene.image_id}/{sample.task}-{self.made[sample.task]:04d}"
                self.items.append(item_of(scene, sample, name))
        if len(self.items) > before:
            self.scenes.append(scene)


def items_from(
    scenes: Iterable[LabelledScene],
    count: int,
    *,
    scheme: str = "main",
    priors: Priors | None = None,
) -> list[BenchItem]:
    """Ask the six tasks about labelled rasters.

    Parameters
    ----------
    scenes : iterable of LabelledScene
        From the simulator or from real rasters; taken until all tasks are full.
    count : int
        Items, as many of each task.
    scheme : {"main", "published"}
        Wrong options drawn like truths, or 0.1, 0.5 and 2 times the truth.
    priors : Priors or None
        What truths look like in scenes such as these (`terrascope.data.gather`); None for the
        training scenes'.

    Returns
    -------
    items : list of BenchItem
        Scene by scene; fewer of a task that the scenes seldom offer.
    """
    maker = ItemMaker(count, scheme, priors)
    for scene in scenes:
        maker.add(scene)
        if not maker.needed:
            break
    return maker.items


def make_items(
    count: int,
    *,
    split: str = "test",
    scheme: str = "main",
    seed: int = 0,
    size: int = 128,
    prior_scenes: int = 300,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    keep: list[LabelledScene] | None = None,
) -> list[BenchItem]:
    """Make the generated benchmark.

    Parameters
    ----------
    count : int
        Items, as many of each of the six tasks.
    split : {"test", "validation"}
        Of the simulator: neither seeds nor, for test, layouts that training sees.
    scheme : {"main", "published"}
        Of the wrong options.
    seed : int
        Of the first scene: same seed, same items.
    size : int
        Rows and columns of the scenes.
    prior_scenes : int
        Further scenes of the split, from which wrong options are drawn and the balance of
        answers is learnt: the text alone then says nothing here either; 0 for the table of the
        training scenes.
    workers : int
        Processes that simulate ahead; 0 for none. They do not change the items.
    progress : callable or None
        Told items made and wanted.
    keep : list of LabelledScene or None
        The scenes are added to it.

    Returns
    -------
    items : list of BenchItem
        Fewer where a task is too rare. In every third scene developed land is destroyed.
    """
    priors = split_priors(split, size, prior_scenes) if prior_scenes else None
    maker = ItemMaker(count, scheme, priors)
    numbers = range(seed, seed + _SCANNED * count + 50)
    for scene in _simulated(_Scenes(split, size, BENCH_VIEW, demolished=3), numbers, workers):
        maker.add(scene)
        if progress is not None:
            progress(len(maker.items), count)
        if not maker.needed:
            break
    if keep is not None:
        keep += maker.scenes
    return maker.items


def bench_scenes(
    *,
    split: str = "test",
    seed: int = 0,
    size: int = 128,
    view: View = BENCH_VIEW,
    workers: int = 0,
) -> Iterator[LabelledScene]:
    """Simulate scenes, without end.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Of the simulator.
    seed : int
        Of the first scene; the others follow.
    size : int
        Rows and columns.
    view : View
        What is shown of them.
    workers : int
        Processes that simulate ahead; 0 for none.

    Yields
    ------
    scene : LabelledScene
        Scenes of which nothing was observed are left out, as are those so hazy that the checks of
        inputs take their image for a mistake.
    """
    yield from _simulated(_Scenes(split, size, view), itertools.count(seed), workers)


class _Scenes(Dataset[LabelledScene | None]):
    """Scenes by number; None where nothing was observed, or the input checks refuse the image."""

    def __init__(self, split: str, size: int, view: View, demolished: int = 0) -> None:
        self.split, self.size, self.view, self.demolished = split, size, view, demolished

    def __getitem__(self, number: int) -> LabelledScene | None:
        """Simulate one; in every `demolished`-th, developed land is destroyed."""
        altered = self.demolished and number % self.demolished == self.demolished - 1
        happening = Alter.DEMOLITION if altered else None
        sample = sample_scene(number, split=self.split, size=self.size, happening=happening)
        try:
            return label_scene(sample, view=self.view)
        except ValueError:
            return None


def _simulated(scenes: _Scenes, numbers: Iterable[int], workers: int) -> Iterator[LabelledScene]:
    loader = DataLoader(
        scenes,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    return (scene for scene in loader if scene is not None)


@functools.lru_cache(maxsize=4)
def split_priors(split: str, size: int, scenes: int) -> Priors:
    """Collect what truths look like in a split of the simulator; kept for the process.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Of the simulator.
    size : int
        Rows and columns.
    scenes : int
        Label-only scenes, others than those of the items.

    Returns
    -------
    priors : Priors
        For `items_from`.
    """
    return gather_priors(label_only_scenes(scenes, seed=500_000, split=split, size=size))


def _proposals(
    facts: Facts, rng: np.random.Generator, tasks: set[str]
) -> Iterator[tuple[str, Proposal]]:
    """Propose questions of some tasks, maker by maker."""
    for name, maker in MAKERS.items():
        for _ in range(_TRIES if maker.propose else 0):
            proposal = maker.propose(facts, rng) if maker.propose else None
            if proposal is None:
                continue
            if proposal.task not in tasks:
                break
            yield name, proposal


def _samples(scene: LabelledScene, choice: Choice, tasks: set[str]) -> list[Sample]:
    """Make at most two samples of each task, none of them twice."""
    facts = Facts(scene)
    rng = np.random.default_rng((2026, zlib.crc32(scene.image_id.encode())))
    found: list[Sample] = []
    made: Counter[str] = Counter()
    tried: set[tuple[str, object]] = set()
    for _, proposal in _proposals(facts, rng, tasks):
        # A question is tried once: trying again until it is asked would undo the balance.
        same = (proposal.kind.value, tuple(sorted(proposal.steps)))
        if same in tried or made[proposal.task] >= _PER_TASK:
            continue
        tried.add(same)
        sample = finish(proposal, facts, rng, choice)
        if sample is not None:
            found.append(sample)
            made[sample.task] += 1
    return list(islice(found, len(BENCH_TASKS) * _PER_TASK))
