"""The published TerraScope-Bench file: one parquet of pictures, questions, candidates, answers."""

from __future__ import annotations

import ast
import datetime as dt
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from terrascope.evaluation.items import BENCH_TASKS, BenchItem
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import Stack, Window
from terrascope.types import FloatArray
from terrascope.vocabulary import OPTION_LETTERS, QuestionKind

__all__ = ["COLUMNS", "PublishedError", "read_published"]

COLUMNS = ("image", "question", "candidates", "answer", "task_type")
_STRETCH = 0.3
"""Reflectance that is shown white: pictures of Sentinel-2 are commonly stretched from 0 to 0.3."""
_PIXEL_M = 10.0
_DATES = (dt.date(2021, 6, 30), dt.date(2022, 6, 30))
"""The file states none; the model is told these, a year apart where there are two pictures."""

_TASK = {
    "coverage": "CA",
    "area": "AQ",
    "rank": "CR",
    "compar": "CR",
    "boundary": "BRD",
    "distance": "DM",
    "building": "BCE",
    "change": "BCE",
}
"""Parts of a task's name to its letters; the first that occurs, in this order of precedence."""
_KIND = {
    "CA": QuestionKind.COVERAGE,
    "AQ": QuestionKind.AREA,
    "CR": QuestionKind.COMPARE,
    "BRD": QuestionKind.BOUNDARY,
    "DM": QuestionKind.DISTANCE,
    "BCE": QuestionKind.CHANGE_COUNT,
}
_LABEL = re.compile(r"^\s*\(?([A-H])[).:]\s*")


class PublishedError(ValueError):
    """A file is not the published benchmark, or a row of it cannot be read.

    Parameters
    ----------
    message : str
        What was found, and expected.
    """


def read_published(file: Path, *, limit: int | None = None) -> list[BenchItem]:
    """Read the public parquet file.

    Parameters
    ----------
    file : Path
        With the columns `COLUMNS`. A picture is encoded bytes (PNG or JPEG), a mapping with
        ``bytes``, or a list of these: one per date.
    limit : int or None
        Items to read; None for all.

    Returns
    -------
    items : list of BenchItem
        Pictures become reflectance of red, green and blue (white is 0.3), on pixels of 10 m and
        on dates that are made up, because the file has none. There are no reference masks.

    Raises
    ------
    PublishedError
        If a column is missing, or a row is not what was said.
    """
    table = pq.ParquetFile(file)
    missing = [name for name in COLUMNS if name not in table.schema_arrow.names]
    if missing:
        raise PublishedError(
            f"{file.name}: no column {missing}; found {table.schema_arrow.names}, expected the "
            f"columns {list(COLUMNS)} of the published benchmark"
        )
    items: list[BenchItem] = []
    for batch in table.iter_batches(batch_size=64, columns=list(COLUMNS)):
        for row in batch.to_pylist():
            if limit is not None and len(items) >= limit:
                return items
            try:
                items.append(_item(row, len(items)))
            except ValueError as cause:
                raise PublishedError(f"{file.name}, row {len(items)}: {cause}") from cause
    return items


def _item(row: dict[str, Any], number: int) -> BenchItem:
    task = _task(str(row["task_type"]))
    options = _options(row["candidates"])
    said = " ".join(f"{a} {b}" for a, b in zip(OPTION_LETTERS, options, strict=False))
    question = str(row["question"]).replace("<image>", "").strip()
    return BenchItem(
        name=f"published-{number:05d}",
        image=f"published-{number:05d}",
        task=task,
        kind=_KIND[task],
        window=_window(row["image"]),
        question=f"{question}\nOptions: {said}",
        options=options,
        letter=_answer(str(row["answer"]), options),
    )


def _task(name: str) -> str:
    if name.upper() in BENCH_TASKS:
        return name.upper()
    plain = name.lower()
    ordered = ("building", "boundary", "distance", "rank", "compar", "coverage", "area", "change")
    for part in ordered:
        if part in plain:
            return _TASK[part]
    raise ValueError(f"task {name!r}: expected one of {list(BENCH_TASKS)}, or their names")


def _options(candidates: Any) -> tuple[str, ...]:
    """Read the candidates: a list, or the text of one; their own letters are dropped."""
    if isinstance(candidates, str):
        try:
            candidates = ast.literal_eval(candidates)
        except (SyntaxError, ValueError):
            candidates = [line for line in candidates.splitlines() if line.strip()]
    if not isinstance(candidates, Sequence) or not 2 <= len(candidates) <= len(OPTION_LETTERS):
        raise ValueError(f"candidates {candidates!r}: expected a list of 2 to 8 options")
    return tuple(_LABEL.sub("", str(option)).strip() for option in candidates)


def _answer(answer: str, options: tuple[str, ...]) -> str:
    plain = answer.strip()
    if plain in options:
        return OPTION_LETTERS[options.index(plain)]
    letter = plain.strip("().: ").upper()
    if len(letter) != 1 and (labelled := _LABEL.match(plain)):
        letter = labelled[1]
    if len(letter) == 1 and letter in OPTION_LETTERS[: len(options)]:
        return letter
    raise ValueError(f"answer {answer!r}: expected a letter of, or one of, {list(options)}")


def _window(image: Any) -> Window:
    pictures = image if isinstance(image, list) else [image]
    if not 1 <= len(pictures) <= len(_DATES):
        raise ValueError(f"{len(pictures)} pictures: expected one, or one before and one after")
    arrays = [_picture(one) for one in pictures]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"pictures of {[a.shape for a in arrays]}: expected the same size")
    values = np.stack(arrays)  # (T, 3, H, W)
    optical = Stack(
        "sentinel-2", values, ("red", "green", "blue"), _DATES[: len(arrays)], "reflectance"
    )
    return Window(Geometry.planar((values.shape[2], values.shape[3]), _PIXEL_M), optical)


def _picture(image: Any) -> FloatArray:
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes):
        raise ValueError(f"a picture of type {type(content).__name__}: expected encoded bytes")
    try:
        with Image.open(io.BytesIO(content)) as opened:
            pixels = np.asarray(opened.convert("RGB"), np.float32)
    except UnidentifiedImageError as cause:
        raise ValueError("a picture that is neither PNG nor JPEG") from cause
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) / 255.0 * _STRETCH
