"""A cluster on this machine forgets what it was asked once it has answered."""

from __future__ import annotations

import tracemalloc

from terrascope.watch.workers import open_executor

CALLS, PAYLOAD = 150, 200_000


def length(payload: bytes, number: int) -> int:
    return len(payload) + number


def test_what_calls_brought_along_is_not_kept() -> None:
    with open_executor(memory=2**30) as executor:
        list(executor.run(length, [(b"warm", 0)]))
        tracemalloc.start()
        try:
            calls = ((bytes([n]) * PAYLOAD, n) for n in range(CALLS))
            found = sorted(executor.run(length, calls))
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert found == [PAYLOAD + n for n in range(CALLS)]
    assert kept < CALLS * PAYLOAD / 2
