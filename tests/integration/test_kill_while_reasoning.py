"""Runs with a model that are killed with SIGKILL while it reasons end in the same bytes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from terrascope.store import Store

from ..unit.monitor.tiny_nano import write_nano  # noqa: TID252
from .archive import Runner, write_archive, write_monitor
from .test_kill_and_resume import assert_same, commits, kill_once, stages

Steps = list[tuple[str, float]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill-model")
    write_archive(folder / "archive", radar=False)
    write_nano(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = Runner(silence_s=350)  # a step of the model is a tile or more
    yield runner
    runner.close()


def monitor(root: Path, name: str) -> Path:
    """Two tiles, one in each zone, with the clearing in both."""
    return write_monitor(
        root / name,
        "../archive/catalog.json",
        radar=False,
        area={"bbox": [17.94, 49.83, 18.06, 49.87]},
        model={"name": "../tiny", "audit": 8},
    )


@pytest.fixture(scope="module")
def undisturbed(root: Path, runner: Runner) -> tuple[Path, Steps]:
    """The output of a run that nobody disturbs, and how long each of its steps takes."""
    file = monitor(root, "undisturbed")
    steps = runner.attempt(file)
    assert steps[-1][0] == "done"
    return file.parent / "out", steps


def reasoned(out: Path) -> Counter[str]:
    """Tiles that the model has done, by result group."""
    store = Store.open(str(out / "cube"), create=False)
    groups = [group for group in store.groups() if group.endswith("_model")]
    return Counter({g: sum(r.done for r in store.records(g).values()) for g in groups})


@pytest.mark.slow
def test_killed_in_every_step_of_the_model(
    root: Path, runner: Runner, undisturbed: tuple[Path, Steps]
) -> None:
    expected, steps = undisturbed
    left = {step: s for step, s in steps if step.startswith(("reason", "products"))}
    assert len([step for step in left if step.startswith("reason")]) == 2
    rng = random.Random(5)
    file = monitor(root, "killed")
    out = file.parent / "out"
    kills = 0
    last: Steps = []
    before = Counter[str]()
    while not last or last[-1][0] != "done":
        before = reasoned(out) if (out / "cube").exists() else before
        last = runner.attempt(file, kill=kill_once(left, rng.uniform(0.05, 0.6)))
        kills += last[-1][0] != "done"
    assert kills >= 3
    told = stages(out)["reason"]
    assert told["skipped"] == sum(before.values())
    assert told["done"] + told["skipped"] == told["planned"] == sum(reasoned(out).values())
    assert set(commits(out).values()) == {1}
    assert_same(out, expected)
