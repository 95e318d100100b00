"""The reader of the public parquet, on a file of the same layout that is written here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from terrascope.evaluation.published import PublishedError, read_published
from terrascope.vocabulary import QuestionKind

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def png(pixels: np.ndarray = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def row(**changed: Any) -> dict[str, Any]:
    return {
        "image": png(),
        "question": "<image>\nWhat percentage is covered by trees?",
        "candidates": ["A. 12.5%", "B. 25.0%", "C. 50.0%", "D. 2.5%"],
        "answer": "B",
        "task_type": "coverage percentage",
        **changed,
    }


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = folder / "bench.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def test_a_row_becomes_a_window_and_a_question(tmp_path: Path) -> None:
    (item,) = read_published(write(tmp_path, [row()]))
    assert (item.task, item.kind, item.letter) == ("CA", QuestionKind.COVERAGE, "B")
    assert item.options == ("12.5%", "25.0%", "50.0%", "2.5%")
    assert item.question.startswith("What percentage is covered by trees?\nOptions: A 12.5% B")
    stack = item.window.optical
    assert stack is not None
    assert item.window.radar is None
    assert tuple(stack.bands) == ("red", "green", "blue")
    assert stack.values.shape == (1, 3, 20, 30)
    assert stack.values[0, 1, 7, 11] == pytest.approx(PIXELS[7, 11, 1] / 255 * 0.3)


@pytest.mark.parametrize(
    ("changed", "task", "letter"),
    [
        ({"answer": "50.0%"}, "CA", "C"),
        ({"answer": "(D)"}, "CA", "D"),
        ({"answer": "A. 12.5%"}, "CA", "A"),
        ({"task_type": "Absolute Area Quantification"}, "AQ", "B"),
        ({"task_type": "comparative area ranking"}, "CR", "B"),
        ({"task_type": "boundary_relationship"}, "BRD", "B"),
        ({"task_type": "distance measurement"}, "DM", "B"),
        ({"task_type": "building change estimation"}, "BCE", "B"),
        ({"task_type": "BRD"}, "BRD", "B"),
        ({"candidates": "['yes', 'no']"}, "CA", "B"),
        ({"candidates": "A. yes\nB. no"}, "CA", "B"),
        ({"image": {"bytes": png(), "path": None}}, "CA", "B"),
    ],
)
def test_spellings_of_the_same(
    tmp_path: Path, changed: dict[str, Any], task: str, letter: str
) -> None:
    (item,) = read_published(write(tmp_path, [row(**changed)]))
    assert (item.task, item.letter) == (task, letter)


def test_two_pictures_are_two_dates(tmp_path: Path) -> None:
    pair = row(image=[png(), png(255 - PIXELS)], task_type="building change")
    (item,) = read_published(write(tmp_path, [pair]))
    stack = item.window.optical
    assert stack is not None
    assert stack.values.shape == (2, 3, 20, 30)
    assert stack.values.sum(0) == pytest.approx(np.full((3, 20, 30), 0.3), abs=1e-6)


def test_only_as_many_as_are_wanted_are_read(tmp_path: Path) -> None:
    file = write(tmp_path, [row(question=f"{n}?") for n in range(5)])
    assert [item.question[:2] for item in read_published(file, limit=2)] == ["0?", "1?"]
    assert len({item.name for item in read_published(file)}) == 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image": b"no picture"}, "neither PNG nor JPEG"),
        ({"image": [png(), png(PIXELS[:10])]}, "the same size"),
        ({"image": [png()] * 3}, "3 pictures"),
        ({"answer": "E"}, "expected a letter"),
        ({"task_type": "poetry"}, "task 'poetry'"),
        ({"candidates": ["one"]}, "2 to 8 options"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_row(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    listed = isinstance(changed.get("image"), list)  # a column holds one kind of picture
    first = row(image=[png()]) if listed else row()
    file = write(tmp_path, [first, row(**changed)])
    with pytest.raises(PublishedError, match="row 1: .*" + message):
        read_published(file)


def test_a_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    other = {name: value for name, value in row().items() if name != "candidates"}
    with pytest.raises(PublishedError, match=r"no column \['candidates'\]"):
        read_published(write(tmp_path, [other]))
