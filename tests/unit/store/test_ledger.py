from __future__ import annotations

import dataclasses
import pickle

import pytest

from terrascope.store import Record, work_key
from terrascope.types import Quarantine


def test_records_survive_json_and_pickle() -> None:
    record = Record(
        key="0" * 32,
        tile="33N-0030-0360",
        period=80,
        state="partial",
        scenes=3,
        items=5,
        observed_share=0.25,
        quarantines=(Quarantine("S2A_\u0160", "red", "404\nnot found", "https://x/y"),),
        facts={"offsets": [1, 2], "gain": 0.5},
    )
    line = record.to_json()
    assert "\n" not in line
    assert Record.from_json(line) == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert record.done
    assert not dataclasses.replace(record, state="failed").done
    with pytest.raises(ValueError, match="expected one of"):
        dataclasses.replace(record, state="finished")


def test_keys_depend_on_every_part_and_on_nothing_else() -> None:
    base = work_key("cube", 1, {"a": 1, "b": {"c": [1, 2], "d": None}}, ["x", "y"])
    # sha256 of the canonical text, written by hand: keys must never drift between versions
    text = '["cube",1,{"a":1,"b":{"c":[1,2],"d":null}},["x","y"]]'
    import hashlib

    assert base == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert base == work_key("cube", 1, {"b": {"d": None, "c": (1, 2)}, "a": 1}, ("x", "y"))
    others = {
        work_key("screen", 1, {"a": 1, "b": {"c": [1, 2], "d": None}}, ["x", "y"]),
        work_key("cube", 2, {"a": 1, "b": {"c": [1, 2], "d": None}}, ["x", "y"]),
        work_key("cube", 1, {"a": 1.5, "b": {"c": [1, 2], "d": None}}, ["x", "y"]),
        work_key("cube", 1, {"a": 1, "b": {"c": [2, 1], "d": None}}, ["x", "y"]),
        work_key("cube", 1, {"a": 1, "b": {"c": [1, 2], "d": None}}, ["xy"]),
        base,
    }
    assert len(others) == 6
    with pytest.raises(ValueError, match="JSON"):
        work_key("cube", 1, {"a": float("nan")}, [])
    with pytest.raises(TypeError, match="JSON"):
        work_key("cube", 1, {"a": {1, 2}}, [])
