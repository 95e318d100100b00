"""Answers as products: ``answers.parquet``, and questions to an output that is there already.

``answers.parquet``, a row per question, clause and place: ``question``, ``clause``, ``form``,
``subject``, ``place``, ``period`` (target), ``baseline``, ``text``, ``answer``, ``value``,
``low``, ``high`` (90 % interval), ``unit``, ``mapped``, ``observed_share``, ``abstained``,
``why``, ``model`` (null: screen alone), ``reliability``, and what it rests on: ``tiles``,
``masks`` (files of the output), ``events``, ``items``. Unknown numbers are null.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from terrascope.errors import ProductError
from terrascope.monitor.answers.answer import Answer
from terrascope.monitor.answers.known import Known
from terrascope.monitor.answers.questions import read_question
from terrascope.monitor.answers.reply import reply
from terrascope.products.published import read_known

__all__ = [
    "ANSWERS_FILE",
    "AnswerRow",
    "answer_lines",
    "answer_questions",
    "ask_output",
    "unresolved",
    "write_answers",
]

ANSWERS_FILE = "answers.parquet"

_TEXT = ("question", "clause", "form", "subject", "place", "period", "baseline", "text", "answer")
_NUMBERS = ("value", "low", "high", "mapped", "observed_share")
_LISTS = ("tiles", "masks", "events", "items")
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXT),
        *((name, pa.float64()) for name in _NUMBERS),
        ("unit", pa.string()),
        ("abstained", pa.bool_()),
        ("why", pa.string()),
        ("model", pa.string()),
        ("reliability", pa.string()),
        *((name, pa.list_(pa.string())) for name in _LISTS),
    ]
)


@dataclasses.dataclass(frozen=True)
class AnswerRow:
    """One answer and the question that it belongs to.

    Parameters
    ----------
    question : str
        As it was asked, with all its clauses.
    answer : Answer
        To one clause, about one place.
    """

    question: str
    answer: Answer


def answer_questions(questions: Sequence[str], known: Known) -> tuple[AnswerRow, ...]:
    """Answer questions from what a run left behind.

    Parameters
    ----------
    questions : sequence of str
        In English.
    known : Known
        From `terrascope.products.published.read_known`.

    Returns
    -------
    rows : tuple of AnswerRow
        In the order of the questions.

    Raises
    ------
    QuestionError
        If one is not understood.
    """
    regions = [region.name for region in known.regions]
    asks = [(question, ask) for question in questions for ask in read_question(question, regions)]
    found = reply([ask for _, ask in asks], known)
    return tuple(
        AnswerRow(question, answer)
        for (question, _), answers in zip(asks, found, strict=True)
        for answer in answers
    )


def ask_output(folder: Path, question: str) -> tuple[AnswerRow, ...]:
    """Ask an output a question. Nothing is computed anew but the sums, nothing is written.

    Parameters
    ----------
    folder : Path
        The output of a run, or a local copy that was exported.
    question : str
        In English.

    Returns
    -------
    rows : tuple of AnswerRow
        One per clause, and per region where each is asked about.

    Raises
    ------
    ProductError
        If the folder is no output of a run.
    QuestionError
        If the question is not understood.
    """
    return answer_questions([question], read_known(folder))


def write_answers(
    folder: Path, rows: Sequence[AnswerRow], known: Known, *, model: str | None = None
) -> Path:
    """Write ``answers.parquet``.

    Parameters
    ----------
    folder : Path
        A staging folder.
    rows : sequence of AnswerRow
        From `answer_questions`.
    known : Known
        What they were answered from.
    model : str or None
        Which model looked; None for the screen alone.

    Returns
    -------
    path : Path
        Equal rows give equal bytes.
    """
    table = pa.Table.from_pylist([_plain(row, known, model) for row in rows], schema=_SCHEMA)
    path = folder / ANSWERS_FILE
    pq.write_table(table, path, compression="zstd")
    return path


def answer_lines(row: AnswerRow, *, evidence: bool = False) -> tuple[str, ...]:
    """Write an answer for a terminal.

    Parameters
    ----------
    row : AnswerRow
        The answer.
    evidence : bool
        Whether to name everything that it rests on, or only how much there is.

    Returns
    -------
    lines : tuple of str
        The sentence first.
    """
    found = row.answer.evidence
    parts = (
        ("tiles", found.tiles),
        ("masks", found.masks),
        ("events", found.events),
        ("scenes", found.items),
    )
    if evidence:
        listed = [f"  {name}: {', '.join(ids) or 'none'}" for name, ids in parts]
    else:
        counts = [f"{len(ids)} {name if len(ids) != 1 else name[:-1]}" for name, ids in parts]
        listed = [f"  rests on {', '.join(counts)}"]
    return (row.answer.text, *listed)


def unresolved(folder: Path, answer: Answer) -> tuple[str, ...]:
    """List what an answer rests on and the output does not have.

    Parameters
    ----------
    folder : Path
        The output.
    answer : Answer
        An answer from it.

    Returns
    -------
    missing : tuple of str
        Empty where all evidence is there.

    Raises
    ------
    ProductError
        If the output itself cannot be read.
    """
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        events = set(pq.read_table(folder / "events.parquet", columns=["event_id"])[0].to_pylist())
    except (OSError, ValueError) as error:
        raise ProductError(f"{folder}: is no output of a run ({error})") from error
    scenes = {item for scene in report["scenes"] for item in scene["items"]}
    tiles = set(report["area"]["tiles"])
    evidence = answer.evidence
    return (
        *(name for name in evidence.masks if not (folder / name).is_file()),
        *(name for name in evidence.tiles if name not in tiles),
        *(name for name in evidence.events if name not in events),
        *(name for name in evidence.items if name not in scenes),
    )


def _plain(row: AnswerRow, known: Known, model: str | None) -> dict[str, Any]:
    answer = row.answer
    numbers = {name: getattr(answer, name) for name in _NUMBERS}
    return {
        "question": row.question,
        "clause": answer.question,
        "form": str(answer.form),
        "subject": answer.subject,
        "place": answer.place,
        "period": known.target,
        "baseline": known.baseline,
        "text": answer.text,
        "answer": answer.answer,
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "unit": answer.unit,
        "abstained": answer.abstained,
        "why": answer.why,
        "model": model,
        "reliability": (known.looked or known.reliability).version,
        **{name: list(getattr(answer.evidence, name)) for name in _LISTS},
    }
