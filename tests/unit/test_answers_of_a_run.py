"""Questions in a monitor file, from the file to the report, and `terrascope ask` afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from terrascope.cli import app
from terrascope.cube.executor import ThreadExecutor
from terrascope.errors import QuestionError
from terrascope.products.answers import ask_output, unresolved
from terrascope.products.publish import check_published
from terrascope.watch import MonitorRun

QUESTION = "How much was lost, and where is the largest loss?"


def with_questions(file: Path, *questions: str) -> Path:
    """Add questions to a monitor file."""
    tables = "".join(f"\n[[questions]]\ntext = {json.dumps(text)}\n" for text in questions)
    file.write_text(file.read_text(encoding="utf-8") + tables, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def out(tiny_archive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run without Prefect and Dask."""
    file = tiny_archive.monitor_file(tmp_path_factory.mktemp("asked"))
    run = MonitorRun.open(with_questions(file, QUESTION, "Does water gain touch water loss?"))
    executor = ThreadExecutor(1)
    with run.logged():
        run.search()
        for sensor, index in run.pending_cube_batches():
            run.build_cube(sensor, index, executor)
        for index in run.pending_screen_batches():
            run.screen(index, executor)
        run.publish()
    return run.output


def test_answers_are_products(out: Path) -> None:
    rows = pq.read_table(out / "answers.parquet").to_pylist()
    assert [row["form"] for row in rows] == ["amount", "largest", "touch"]
    amount, largest, touch = rows
    felled_ha = 20 * 25 * 0.36
    assert amount["low"] <= felled_ha <= amount["high"]
    assert amount["mapped"] == pytest.approx(felled_ha, rel=0.15)
    assert amount["observed_share"] == pytest.approx(1.0)
    assert largest["events"] == pq.read_table(out / "events.parquet")["event_id"].to_pylist()
    assert largest["items"]
    assert touch["answer"] == "no"
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [row["answer"]["text"] for row in report["answers"]] == [row["text"] for row in rows]
    assert amount["text"] in (out / "report.html").read_text(encoding="utf-8")
    assert not check_published(out)


def test_asking_afterwards_says_the_same(out: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    rows = ask_output(out, QUESTION)
    stored = pq.read_table(out / "answers.parquet").to_pylist()
    assert [row.answer.text for row in rows] == [row["text"] for row in stored[:2]]
    assert not any(unresolved(out, row.answer) for row in rows)
    done = CliRunner().invoke(app, ["ask", str(out), QUESTION, "--evidence"])
    assert done.exit_code == 0
    assert rows[0].answer.text in done.stdout
    assert rows[0].answer.evidence.items[0] in done.stdout
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before


def test_a_question_that_is_not_understood_is_refused_first(
    tiny_archive: Any, tmp_path: Path
) -> None:
    file = with_questions(tiny_archive.monitor_file(tmp_path), "How happy is the forest?")
    with pytest.raises(QuestionError, match=r"questions\.0\.text.*cannot answer"):
        MonitorRun.open(file)
