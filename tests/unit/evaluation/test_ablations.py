"""The ablations: every arm lacks what it says and nothing else, and differences are paired."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from terrascope.evaluation.items import BenchItem
from terrascope.evaluation.making import items_from
from terrascope.evaluation.outcomes import Outcome, outcome_of, summary
from terrascope.train.recipe import Recipe, recipe_of

from .land import scenes

FILE = Path(__file__).parents[3] / "benchmarks" / "bench_ablations.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_ablations", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def recipe(bench: ModuleType, name: str) -> Recipe:
    arm = bench.Arm(name, Path("model"), 150, 3, Path("items"), Path("out"))
    return recipe_of(bench.recipe_table(arm))


def test_arms_differ_in_what_they_lack_alone(bench: ModuleType) -> None:
    whole = recipe(bench, "injection, figures")
    assert whole.mechanism.injection == "mask"
    assert whole.mechanism.measured
    for name, lacks in bench.LANGUAGE.items():
        found = recipe(bench, name)
        assert found.stages == whole.stages
        assert found.steps == 150
        assert all(stage.frozen == ("vision", "masks") for stage in found.stages)
        assert found.mechanism == dataclasses.replace(whole.mechanism, **lacks)
        assert dataclasses.replace(found, name="", mechanism=whole.mechanism) == (
            dataclasses.replace(whole, name="")
        )
    sight = recipe(bench, "sight")
    assert sight.losses.boundary > 0
    assert sight.losses.contrastive > 0
    for name, lacks in bench.SIGHT.items():
        found = recipe(bench, name)
        assert found.losses == dataclasses.replace(sight.losses, **lacks)
        assert found.stages == sight.stages
    arms = {arm for _, *pair in (*bench.GAINS, *bench.MASK_GAINS) for arm in pair}
    assert arms == {*bench.LANGUAGE, *bench.SIGHT}


@pytest.fixture(scope="module")
def items() -> list[BenchItem]:
    return items_from(itertools.islice(scenes(400), 60), 24)


def outcomes(items: list[BenchItem], right: set[str]) -> list[Outcome]:
    """Answer items of some tasks, and draw their masks; leave the others out."""
    found = []
    for item in items:
        is_right = item.task in right
        masks = [
            (one.mask.astype(np.float32), one.mask) if is_right else None for one in item.references
        ]
        found.append(outcome_of(item, item.letter if is_right else None, masks))
    return found


def test_gains_are_paired_and_told(bench: ModuleType, items: list[BenchItem]) -> None:
    tasks = {item.task for item in items}
    both, none = outcomes(items, {"CA", "AQ"}), outcomes(items, set())
    runs = {
        "injection, figures": {"both": both},
        "injection": {"both": none},
        "sight": {"both": both, "radar only": both},
        "sight without alignment loss": {"both": both, "radar only": none},
    }
    found = bench.gains(runs)
    assert set(found) == {"figures, with injection", "alignment loss"}
    figures = found["figures, with injection"]
    assert figures["macro"].value == pytest.approx(2 / len(tasks))
    assert figures["CA + AQ"].value == figures["CA + AQ"].low == 1.0
    share = np.mean([item.task in ("CA", "AQ") for item in items])
    assert found["alignment loss"]["mask IoU"].value == 0.0
    assert found["alignment loss"]["mask IoU, radar only"].value == pytest.approx(share)
    scores = {name: summary(one["both"], draws=50) for name, one in runs.items()}
    text = bench.table_lines(scores, found)
    assert "| figures, with injection | CA + AQ | 100.0 [100.0, 100.0] |" in text
    assert sum(line.startswith("| injection") for line in text) == 2
