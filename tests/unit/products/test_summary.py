"""The summary as JSON, and the run log."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

import numpy as np
import pytest

from terrascope.products.runlog import Attempt, RunLog, StageRecord
from terrascope.products.summary import Completeness, EventRow, dump_json
from terrascope.types import ChangeKind, Quarantine, Status


def test_report_json(run_summary) -> None:
    document = json.loads(run_summary.to_json())
    assert document["schema"] == "terrascope-report/1"
    assert document["completeness"] == {"committed": 118, "planned": 120, "share": 118 / 120}
    assert document["observed_share"] == pytest.approx(
        document["observed_m2"] / document["area"]["area_m2"]
    )
    areas = [row["area_m2"] for row in document["events"]["largest"]]
    assert areas == sorted(areas, reverse=True)
    assert document["events"]["largest"][0]["kind"] == "vegetation_loss"
    assert all(0 < total["observed_share"] < 1 for total in document["totals"])
    assert document["scenes"][0]["count"] == len(document["scenes"][0]["items"])
    assert not {"started_at", "ended_at", "seconds"} & set(run_summary.to_json().split('"'))
    for secret in ("QUJD", "pw@"):
        assert secret not in run_summary.to_json()


def test_json_has_no_nan_and_no_numpy() -> None:
    row = EventRow("e", ChangeKind.BARE, Status.CONFIRMED, 1.0, None, float("nan"), 1.0, 2.0)
    text = dump_json({"row": row, "n": np.int64(3), "x": np.float32("inf")})
    found = json.loads(text)
    assert found["row"]["probability"] is None
    assert found["n"] == 3
    assert found["x"] is None


def test_run_log_survives_attempts() -> None:
    start = dt.datetime(2024, 5, 1, 3, tzinfo=dt.UTC)
    first = Attempt(start, None, "running", "0.1.0", "abc")
    log = RunLog("m").with_attempt(first)
    killed = RunLog.from_json(log.to_json(), monitor="m")
    assert killed == log
    second = Attempt(
        start + dt.timedelta(hours=1),
        start + dt.timedelta(hours=2),
        "done",
        "0.1.0",
        stages=(StageRecord("cube", 10, 4, 6, 0, 12.5),),
        message="https://h/x?sig=hush",
    )
    log = dataclasses.replace(
        killed.with_attempt(second),
        completeness=Completeness(9, 10),
        quarantined=(
            Quarantine("b", "*", "404 at https://h?sig=hush"),
            Quarantine("a", "nir", "x"),
        ),
    )
    document = json.loads(log.to_json())
    assert [a["outcome"] for a in document["attempts"]] == ["running", "done"]
    assert document["outcome"] == "done"
    assert document["completeness"]["share"] == 0.9
    assert [q["item"] for q in document["quarantined"]] == ["a", "b"]
    assert "hush" not in log.to_json()
    assert log.with_attempt(second).attempts == log.attempts
    assert RunLog.from_json(log.to_json(), monitor="m").to_json() == log.to_json()
    for text in ("", "{", "[]", '{"schema": "terrascope-run/1", "monitor": "m"}'):
        assert RunLog.from_json(text, monitor="m") == RunLog("m")
    assert RunLog.from_json(log.to_json(), monitor="other") == RunLog("other")
