"""Items of the benchmark from labelled rasters: fair questions, balanced over the tasks."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from terrascope.data.facts import Facts
from terrascope.data.finishing import Choice, finish
from terrascope.data.priors import Priors
from terrascope.data.questions.registry import MAKERS
from terrascope.data.samples import Sample
from terrascope.data.scenes import LabelledScene
from terrascope.data.views import View, label_scene
from terrascope.evaluation.items import BENCH_TASKS, BenchItem, item_of
from terrascope.sim.samples import sample_scene

__all__ = ["BENCH_VIEW", "bench_scenes", "gather_priors", "items_from", "make_items"]

BENCH_VIEW = View(sensors=(1.0, 0.0, 0.0), hide_clouds=0.5, drop_image=0.0, drop_bands=0.0)
"""Both sensors, so that each can be taken away; clouds are masked in every second scene."""

_TRIES = 12
"""Proposals of each kind per scene."""
_PER_TASK = 2
"""Items of one task about one scene, at most."""


def bench_scenes(
    *, split: str = "test", seed: int = 0, size: int = 128, view: View = BENCH_VIEW
) -> Iterator[LabelledScene]:
    """Simulate scenes to examine a model with, without end.

    Parameters
    ----------
    split : {"test", "validation"}
        Of the simulator: neither seeds nor, for test, layouts that training sees.
    seed : int
        Of the first scene; the others follow.
    size : int
        Rows and columns.
    view : View
        What is shown of them.

    Yields
    ------
    scene : LabelledScene
        Scenes of which nothing was observed are left out.
    """
    number = seed
    while True:
        sample = sample_scene(number, split=split, size=size)
        number += 1
        try:
            yield label_scene(sample, view=view)
        except ValueError:  # nothing was observed
            continue


def items_from(
    scenes: Iterable[LabelledScene],
    count: int,
    *,
    scheme: str = "main",
    priors: Priors | None = None,
    most_scenes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
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
        What truths look like in scenes such as these (`gather_priors`); None for the training
        scenes'.
    most_scenes : int or None
        Scenes after which tasks that are not full stay so; None for ten per item.
    progress : callable or None
        Told items made and wanted.

    Returns
    -------
    items : list of BenchItem
        Scene by scene.
    """
    wanted = {task: count // 6 + (n < count % 6) for n, task in enumerate(BENCH_TASKS)}
    choice = Choice(options_share=1.0, all_fields_share=0.0, scheme=scheme, priors=priors)
    made: Counter[str] = Counter()
    items: list[BenchItem] = []
    for scene in islice(scenes, most_scenes or 10 * max(count, 1)):
        for sample in _samples(scene, choice):
            if made[sample.task] < wanted[sample.task]:
                made[sample.task] += 1
                name = f"{scene.image_id}/{sample.task}-{made[sample.task]:04d}"
                items.append(item_of(scene, sample, name))
        if progress is not None:
            progress(len(items), count)
        if len(items) == count:
            break
    return items


def make_items(
    count: int,
    *,
    split: str = "test",
    scheme: str = "main",
    seed: int = 0,
    size: int = 128,
    prior_scenes: int = 150,
    progress: Callable[[int, int], None] | None = None,
) -> list[BenchItem]:
    """Make the generated benchmark.

    Parameters
    ----------
    count : int
        Items, as many of each of the six tasks.
    split : {"test", "validation"}
        Of the simulator.
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
    progress : callable or None
        Told items made and wanted.

    Returns
    -------
    items : list of BenchItem
        Fewer where a task is too rare.
    """
    priors = None
    if prior_scenes:
        others = bench_scenes(split=split, seed=seed + 500_000, size=size)
        priors = gather_priors(islice(others, prior_scenes))
    scenes = bench_scenes(split=split, seed=seed, size=size)
    return items_from(scenes, count, scheme=scheme, priors=priors, progress=progress)


def gather_priors(scenes: Iterable[LabelledScene]) -> Priors:
    """Collect what the answers to the six tasks are like.

    Parameters
    ----------
    scenes : iterable of LabelledScene
        Other scenes than those that are asked about.

    Returns
    -------
    priors : Priors
        For `items_from`.
    """
    truths: list[tuple[str, float | str | bool]] = []
    for scene in scenes:
        facts, rng = Facts(scene), _generator(scene)
        for maker in MAKERS.values():
            for _ in range(_TRIES if maker.propose else 0):
                proposal = maker.propose(facts, rng) if maker.propose else None
                if proposal is None:
                    continue
                if proposal.task not in BENCH_TASKS:
                    break
                figure = proposal.truth if proposal.prior is None else proposal.prior
                truths.append((proposal.key, figure if _is_figure(figure) else proposal.said))
    return Priors.gather(truths)


def _is_figure(truth: object) -> bool:
    return isinstance(truth, float | int) and not isinstance(truth, bool)


def _samples(scene: LabelledScene, choice: Choice) -> list[Sample]:
    """Make at most two samples of each task, none twice."""
    facts, rng = Facts(scene), _generator(scene)
    found: dict[str, Sample] = {}
    made: Counter[str] = Counter()
    for maker in MAKERS.values():
        for _ in range(_TRIES if maker.propose else 0):
            proposal = maker.propose(facts, rng) if maker.propose else None
            if proposal is None:
                continue
            if proposal.task not in BENCH_TASKS:
                break
            sample = finish(proposal, facts, rng, choice)
            if sample is None or sample.asked in found or made[sample.task] >= _PER_TASK:
                continue
            if any(_alike(sample, other) for other in found.values()):
                continue
            found[sample.asked] = sample
            made[sample.task] += 1
    return list(found.values())


def _alike(one: Sample, other: Sample) -> bool:
    """Tell whether two questions rest on the same masks in the same way."""
    masks = [{(step.name, step.dates) for step in sample.steps} for sample in (one, other)]
    return one.kind is other.kind and masks[0] == masks[1]


def _generator(scene: LabelledScene) -> np.random.Generator:
    return np.random.default_rng((2026, zlib.crc32(scene.image_id.encode())))
