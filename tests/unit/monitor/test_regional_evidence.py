"""What sentences about drawn regions rest on, and that a loss of it is noticed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from terrascope.products.answers import unresolved

FILE = Path(__file__).parents[3] / "benchmarks" / "regional_evidence.py"


@pytest.fixture(scope="module")
def benchmark_file() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regional_evidence", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_evidence_is_there_and_its_loss_is_noticed(
    benchmark_file: ModuleType, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    followed, lost = benchmark_file.examine(3000, out)
    assert lost == []
    assert followed["sentences"] == len(benchmark_file.QUESTIONS) + 2  # two clauses, two districts
    assert followed["events"] > 0
    rows = pq.read_table(out / "answers.parquet").to_pylist()
    assert {row["form"] for row in rows} == {
        "amount", "largest", "share", "count", "exists", "kinds", "rank", "touch"
    }  # fmt: skip
    told = benchmark_file.ask_output(out, benchmark_file.QUESTIONS[0])[0].answer
    assert unresolved(out, told) == ()
    mask, event = told.evidence.masks[0], told.evidence.events[0]
    (out / mask).unlink()
    events = pq.read_table(out / "events.parquet")
    keep = [name != event for name in events["event_id"].to_pylist()]
    pq.write_table(events.filter(keep), out / "events.parquet")
    assert unresolved(out, told) == (mask, event)
    assert {f"{mask}: is no file", event} <= set(benchmark_file.look_up(out, rows[0])[1])


@pytest.mark.slow
def test_two_hundred_regions(benchmark_file: ModuleType, tmp_path: Path) -> None:
    lost = [
        what
        for seed in range(200)
        for what in benchmark_file.examine(seed, tmp_path / str(seed))[1]
    ]
    assert lost == []
