"""Scenes of the simulator by their numbers, whole or labels only, made ahead where that helps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

from torch.utils.data import DataLoader, Dataset

from terrascope.data.scenes import LabelledScene
from terrascope.data.views import View, label_scene
from terrascope.sim.alterations import Alter
from terrascope.sim.samples import sample_scene

__all__ = ["BENCH_VIEW", "DEMOLISHED", "LabelScenes", "Scenes", "bench_scenes", "in_turn"]

BENCH_VIEW = View(sensors=(1.0, 0.0, 0.0), hide_clouds=0.5, drop_image=0.0, drop_bands=0.0)
"""Both sensors, so that each can be taken away; clouds are masked in every second scene."""
DEMOLISHED = 3
"""In every so manieth scene of the benchmark, developed land is destroyed."""

_Result = TypeVar("_Result")


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
    for _, scene in in_turn(Scenes(split, size, view), itertools.count(seed), workers):
        if scene is not None:
            yield scene


class Scenes(Dataset[LabelledScene | None]):
    """Scenes by number; None where nothing was observed, or the input checks refuse the image.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Of the simulator.
    size : int
        Rows and columns.
    view : View
        What is shown of them.
    demolished : int
        In every so manieth scene developed land is destroyed; 0 for none.
    """

    def __init__(self, split: str, size: int, view: View = BENCH_VIEW, demolished: int = 0) -> None:
        self.split, self.size, self.view, self.demolished = split, size, view, demolished

    def __getitem__(self, number: int) -> LabelledScene | None:
        """Simulate one."""
        happening = _happening(number, self.demolished)
        sample = sample_scene(number, split=self.split, size=self.size, happening=happening)
        try:
            return label_scene(sample, view=self.view)
        except ValueError:
            return None


class LabelScenes(Dataset[LabelledScene]):
    """The labels of `Scenes`, nothing rendered: several times faster.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Of the simulator.
    size : int
        Rows and columns.
    demolished : int
        In every so manieth scene developed land is destroyed; 0 for none.
    """

    def __init__(self, split: str, size: int, demolished: int = 0) -> None:
        self.split, self.size, self.demolished = split, size, demolished

    def __getitem__(self, number: int) -> LabelledScene:
        """Simulate one: its radar image is a constant, so that everything counts as observed."""
        happening = _happening(number, self.demolished)
        raw = sample_scene(
            number, split=self.split, size=self.size, happening=happening, render=False
        )
        raw.radar[:] = -10.0
        return label_scene(raw)


def _happening(number: int, every: int) -> Alter | None:
    return Alter.DEMOLITION if every and number % every == every - 1 else None


def in_turn(
    made: Dataset[_Result], numbers: Iterable[int], workers: int
) -> Iterator[tuple[int, _Result]]:
    """Yield what belongs to numbers, made by processes that run ahead.

    Parameters
    ----------
    made : Dataset
        What is made of a number.
    numbers : iterable of int
        In any order; endless ones too.
    workers : int
        Processes; 0 for none.

    Yields
    ------
    number, result : tuple
        In the order of the numbers.
    """
    told, asked = itertools.tee(numbers)
    loader = DataLoader(
        made,
        batch_size=None,
        sampler=asked,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    yield from zip(told, loader, strict=False)
