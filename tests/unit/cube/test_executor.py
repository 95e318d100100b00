"""Executors: every call once, a bounded number at a time, errors and interruptions passed on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import distributed
import pytest

from terrascope.cube.executor import DaskExecutor, Executor, ThreadExecutor
from terrascope.errors import ReadError


@pytest.fixture(scope="module", params=["threads", "dask"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "threads":
        yield ThreadExecutor(2)
        return
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield DaskExecutor(client, retries=0)


def add(first: int, second: int) -> int:
    return first + second


def test_every_call_is_made_once(executor: Executor) -> None:
    assert executor.threads_per_worker == 2
    found = sorted(executor.run(add, ((i, 100) for i in range(50))))
    assert found == [100 + i for i in range(50)]
    assert list(executor.run(add, [])) == []


def test_calls_are_drawn_as_threads_become_free(executor: Executor) -> None:
    drawn, most, finished = 0, 0, 0

    def calls() -> Iterator[tuple[int, int]]:
        nonlocal drawn
        for i in range(40):
            drawn += 1
            yield i, i

    for _ in executor.run(add, calls()):
        finished += 1
        most = max(most, drawn - finished)
    assert (drawn, finished) == (40, 40)
    assert most <= 3 * 2 + 1


def fail(number: int) -> int:
    if number == 3:
        raise ReadError("broken", item="scene", band="red", transient=True)
    return number


def test_an_error_ends_the_run_and_keeps_its_facts(executor: Executor) -> None:
    with pytest.raises(ReadError, match="broken") as caught:
        list(executor.run(fail, ((i,) for i in range(1000))))
    assert (caught.value.item, caught.value.band, caught.value.transient) == ("scene", "red", True)
    assert list(executor.run(add, [(1, 2)])) == [3]


def test_threads_work_side_by_side() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(number: int) -> int:
        both.wait()
        return number

    assert sorted(ThreadExecutor(2).run(meet, [(1,), (2,)])) == [1, 2]


def test_leaving_early_waits_for_what_runs_only() -> None:
    started: list[int] = []

    def slow(number: int) -> int:
        started.append(number)
        time.sleep(0.02)
        return number

    results = ThreadExecutor(2).run(slow, ((i,) for i in range(1000)))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(started) <= 5
