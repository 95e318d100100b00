"""Items of the benchmark from labelled rasters: fair questions, balanced over tasks and answers."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from terrascope.data.facts import Facts
from terrascope.data.finishing import Choice, finish
from terrascope.data.priors import Priors
from terrascope.data.questions.registry import MAKERS
from terrascope.data.scenes import LabelledScene
from terrascope.evaluation.items import BENCH_TASKS, BenchItem, item_of
from terrascope.evaluation.matching import FIGURES, Candidate, Matcher
from terrascope.evaluation.simulated import DEMOLISHED, LabelScenes, Scenes, in_turn

__all__ = ["candidates_of", "items_from", "make_items"]

_ASKED: Mapping[str, str] = MappingProxyType(
    {
        "coverage": "CA",
        "area": "AQ",
        "compare": "CR",
        "boundary": "BRD",
        "distance": "DM",
        "destroyed share": "BCE",
        "destroyed count": "BCE",
    }
)
"""Makers of questions whose questions the benchmark asks, and their tasks."""
_TRIES = 12
"""Proposals of each maker per scene."""
_SCANNED = 25
"""Scenes whose labels are looked through per item, at most: some tasks are rare."""
_CHUNK = 192
"""Scenes that are planned at a time."""

_Set = tuple[Candidate, ...]


def items_from(
    scenes: Iterable[LabelledScene], count: int, *, scheme: str = "main"
) -> list[BenchItem]:
    """Ask the six tasks about labelled rasters.

    Parameters
    ----------
    scenes : iterable of LabelledScene
        From the simulator or from real rasters; taken until all tasks are full.
    count : int
        Items, as many of each task, rounded up to whole sets of questions.
    scheme : {"main", "published"}
        Wrong options are the truths of other scenes, in sets (`terrascope.evaluation.matching`);
        or 0.1, 0.5 and 2 times the truth, which gives something away.

    Returns
    -------
    items : list of BenchItem
        Set by set; fewer of a task that the scenes seldom offer.
    """
    matcher = _matcher(count, scheme)
    there: dict[str, LabelledScene] = {}
    items: list[BenchItem] = []
    for number, scene in enumerate(scenes):
        there[scene.image_id] = scene
        waiting = candidates_of(scene, number, matcher.needed)
        while waiting:
            candidate = waiting.pop(0)
            members = matcher.add(candidate)
            written = _written(members, there, scheme)
            if members and not written:
                waiting += matcher.release(members, candidate)
            items += written
        if not matcher.needed:
            break
    return items


def make_items(
    count: int,
    *,
    split: str = "test",
    seed: int = 0,
    size: int = 128,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    keep: list[LabelledScene] | None = None,
) -> list[BenchItem]:
    """Make the generated benchmark: planned on labels alone, then rendered.

    Parameters
    ----------
    count : int
        Items, as many of each of the six tasks, rounded up to whole sets of questions.
    split : {"test", "validation"}
        Of the simulator: neither seeds nor, for test, layouts that training sees.
    seed : int
        Of the first scene: same seed, same items.
    size : int
        Rows and columns of the scenes.
    workers : int
        Processes that simulate; 0 for none. They do not change the items.
    progress : callable or None
        Told items and scenes that are done, of those wanted: each counts once when it is planned
        and once when it is there.
    keep : list of LabelledScene or None
        The scenes are added to it.

    Returns
    -------
    items : list of BenchItem
        Set by set; fewer where a task is too rare. In every third scene developed land is
        destroyed. What is asked about was seen by one of the sensors, all over the window.
    """
    plan = _Plan(count, split, seed, size, workers)
    scenes: dict[int, LabelledScene | None] = {}
    while True:
        plan.extend(progress)
        missing = sorted(plan.numbers - scenes.keys())
        if not missing:
            break
        made = in_turn(Scenes(split, size, demolished=DEMOLISHED), missing, workers)
        for done, (number, scene) in enumerate(made):
            scenes[number] = scene
            if progress is not None:
                progress(len(missing) + done + 1, 2 * len(missing))
        plan.drop(scenes)
    there = {scene.image_id: scene for scene in scenes.values() if scene is not None}
    items = [item for members in plan.sets for item in _written(members, there, "main")]
    if keep is not None:
        asked = {item.image for item in items}
        keep += [scene for image, scene in there.items() if image in asked]
    return items


class _Plan:
    """Sets of questions about scenes of which only the labels were made."""

    def __init__(self, count: int, split: str, seed: int, size: int, workers: int) -> None:
        self.split, self.size, self.workers = split, size, workers
        self.sets: list[_Set] = []
        self._matcher = _matcher(count, "main")
        self._ahead = iter(range(seed, seed + _SCANNED * count + _CHUNK))

    @property
    def numbers(self) -> set[int]:
        """Scenes that are asked about."""
        return {one.number for members in self.sets for one in members}

    def extend(self, progress: Callable[[int, int], None] | None) -> None:
        """Look through scenes until every task has enough, or there are no more."""
        wanted = sum(self._matcher.wanted.values())
        while needed := self._matcher.needed:
            chunk = list(itertools.islice(self._ahead, _CHUNK))
            if not chunk:
                break
            asked = _Questions(self.split, self.size, frozenset(needed))
            for _, candidates in in_turn(asked, chunk, self.workers):
                for candidate in candidates:
                    self._add(candidate)
            if progress is not None:
                progress(sum(self._matcher.made.values()), 2 * wanted)

    def drop(self, scenes: Mapping[int, LabelledScene | None]) -> None:
        """Take apart what cannot be asked: not all of the ground was seen, or no image is fair."""
        sets, self.sets = self.sets, []
        for members in sets:
            lost = [one for one in members if not _is_seen(one, scenes[one.number])]
            if not lost:
                self.sets.append(members)
                continue
            for one in self._matcher.release(members, lost[0]):
                if one not in lost:
                    self._add(one)

    def _add(self, candidate: Candidate) -> None:
        if members := self._matcher.add(candidate):
            self.sets.append(members)


def candidates_of(
    scene: LabelledScene, number: int, tasks: Collection[str] = BENCH_TASKS
) -> list[Candidate]:
    """Propose questions about a scene.

    Parameters
    ----------
    scene : LabelledScene
        Its images are not looked at, only where there are any.
    number : int
        Of the scene.
    tasks : collection of str
        What is asked.

    Returns
    -------
    candidates : list of Candidate
        None of them twice; those of a task do not depend on the other tasks.
    """
    facts = Facts(scene)
    found: list[Candidate] = []
    for name, task in _ASKED.items():
        propose = MAKERS[name].propose
        if task not in tasks or propose is None:
            continue
        rng = np.random.default_rng((2026, zlib.crc32(f"{scene.image_id} {name}".encode())))
        tried: set[tuple[str, object]] = set()
        for _ in range(_TRIES):
            proposal = propose(facts, rng)
            if proposal is None:
                continue
            same = (proposal.kind.value, tuple(sorted(proposal.steps)))
            if same in tried:
                continue
            tried.add(same)
            found.append(Candidate(scene.image_id, number, len(scene.dates), proposal))
    return found


def _matcher(count: int, scheme: str) -> Matcher:
    """Want as many whole sets of every task."""
    each = -(-count // len(BENCH_TASKS))
    sizes = {task: 2 if task in ("CR", "BRD") else FIGURES for task in BENCH_TASKS}
    alone = scheme != "main"
    return Matcher({t: -(-each // size) * size for t, size in sizes.items()}, alone=alone)


def _is_seen(candidate: Candidate, scene: LabelledScene | None) -> bool:
    """Tell whether what the labels say of a scene can be seen in all of it."""
    if scene is None or len(scene.dates) != candidate.dates:
        return False
    return all(scene.known(name, dates).all() for name, dates in candidate.proposal.steps)


def _written(members: _Set, scenes: Mapping[str, LabelledScene], scheme: str) -> list[BenchItem]:
    """Put a set into words; empty where one of its questions has no fair options."""
    items = []
    alike = [one.image for one in members] + [one.key for one in members[:1]]
    name = " and ".join(alike) if len(members) > 1 else ""
    for one in members:
        scene = scenes[one.image]
        said = f"{one.image}/{one.task}-{one.key}"
        rng = np.random.default_rng((2026, zlib.crc32(said.encode())))
        others = [m.figure for m in members if m is not one and m.answer is None]
        drawn = _Others({"": np.array(others)})
        choice = Choice(options_share=1.0, all_fields_share=0.0, scheme=scheme, priors=drawn)
        sample = finish(one.proposal, Facts(scene), rng, choice)
        if sample is None:
            return []
        items.append(dataclasses.replace(item_of(scene, sample, said), matched=name))
    return items


class _Others(Priors):
    """Wrong options that are given, not drawn: what is true in the other scenes of a set."""

    def draw_figures(self, key: str, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return them; see `terrascope.data.priors.Priors.draw_figures`."""
        return self.figures[""]


class _Questions(Dataset[list[Candidate]]):
    """Questions that the labels of scenes allow, by the number of the scene; nothing rendered."""

    def __init__(self, split: str, size: int, tasks: frozenset[str]) -> None:
        self.labels, self.tasks = LabelScenes(split, size, DEMOLISHED), tasks

    def __getitem__(self, number: int) -> list[Candidate]:
        """Ask about the labels of a scene."""
        return candidates_of(self.labels[number], number, self.tasks)
