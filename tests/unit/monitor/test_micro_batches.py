"""Windows go to the model in groups, each once, and in smaller ones where memory does not do."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pytest

from terrascope.model.geometry import Geometry
from terrascope.model.stacks import Stack, Window
from terrascope.monitor.reason.inference import MicroBatches


def windows(count: int) -> list[Window]:
    """Windows that are told apart by their reflectance."""
    dates = (dt.date(2019, 9, 16), dt.date(2020, 9, 16))
    return [
        Window(
            Geometry.planar((8, 8), 10.0),
            Stack(
                "sentinel-2",
                np.full((2, 1, 8, 8), 0.01 * (n + 1), np.float32),
                ("nir",),
                dates,
                "reflectance",
            ),
            None,
        )
        for n in range(count)
    ]


class Model:
    """Says of each window how bright it is; has memory for so many at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.groups: list[int] = []

    def __call__(self, group: Sequence[Window]) -> np.ndarray:
        if len(group) > self.room:
            raise MemoryError
        self.groups.append(len(group))
        return np.stack([one.optical.values[:1, 0] for one in group]).astype(np.float32)


def test_every_window_is_run_once() -> None:
    model = Model(room=4)
    run = MicroBatches(model, 4)
    some = windows(3)
    np.testing.assert_allclose(run(some)[:, 0, 0, 0], [0.01, 0.02, 0.03], rtol=1e-6)
    assert model.groups == [3]


def test_groups_are_halved_until_they_fit_and_stay_so() -> None:
    model = Model(room=3)
    run = MicroBatches(model, 8)
    some = windows(7)
    expected = [0.01 * (n + 1) for n in range(7)]
    np.testing.assert_allclose(run(some)[:, 0, 0, 0], expected, rtol=1e-6)
    assert model.groups == [2, 2, 2, 1]
    run(some[:2])
    assert (run.size, model.groups[4:]) == (2, [2])


def test_a_single_window_that_is_too_much_is_an_error() -> None:
    with pytest.raises(MemoryError):
        MicroBatches(Model(room=0), 4)(windows(2))
