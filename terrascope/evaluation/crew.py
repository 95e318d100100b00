"""A model answers in several processes, each with a thread of its own.

Answers are many small steps, which more threads do not make faster; images do not hang on each
other, and are shared out.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence

import torch

from terrascope.evaluation.conditions import Conditions
from terrascope.evaluation.items import BenchItem, image_batches
from terrascope.evaluation.outcomes import Outcome
from terrascope.evaluation.runner import Examinee, Progress, run_conditions

__all__ = ["Crew", "crew_of"]

_TASKS = 24
"""Batches of images, for each process, after which all make room for fresh ones: their memory
grows. Pools of the standard library that replace single processes may wait for ever (3.11)."""
_examinee: Examinee | None = None
"""Of a process of the crew."""


class Crew:
    """Processes that hold a model.

    Parameters
    ----------
    examinee : Examinee
        The model. What is changed of it afterwards, processes that run do not see.
    processes : int
        How many; below 2, or where the model is not on the processor, this one answers.
    """

    def __init__(self, examinee: Examinee, processes: int) -> None:
        self.examinee = examinee
        self.processes = processes if examinee.model.device.type == "cpu" else 1
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        self._given = 0

    def run(
        self,
        items: Sequence[BenchItem],
        conditions: Conditions | None = None,
        progress: Progress | None = None,
    ) -> list[Outcome]:
        """Let the model answer items; see `terrascope.evaluation.runner.run_bench`.

        Parameters
        ----------
        items : sequence of BenchItem
            Of a benchmark.
        conditions : Conditions or None
            None for both sensors, measured, speaking freely.
        progress : callable or None
            Told items done and in all.

        Returns
        -------
        outcomes : list of Outcome
            In the order of the items.
        """
        return self.run_conditions(items, {"": conditions or Conditions()}, progress)[""]

    def run_conditions(
        self,
        items: Sequence[BenchItem],
        conditions: Mapping[str, Conditions],
        progress: Progress | None = None,
    ) -> dict[str, list[Outcome]]:
        """Let the model answer; see `terrascope.evaluation.runner.run_conditions`.

        Parameters
        ----------
        items : sequence of BenchItem
            Of a benchmark.
        conditions : mapping of str to Conditions
            By name.
        progress : callable or None
            Told answers given and in all.

        Returns
        -------
        outcomes : dict of str to list of Outcome
            By condition, in the order of the items; the same as of one process, whose batches
            these are.
        """
        if self.processes < 2:
            return run_conditions(self.examinee, items, conditions, progress=progress)
        given = dict(conditions)
        found: dict[str, dict[str, Outcome]] = {name: {} for name in given}
        done = 0
        waiting = image_batches(items)
        while batches := list(itertools.islice(waiting, self.processes * _TASKS)):
            pool = self._pool_for(len(batches))
            running = [pool.submit(_answer, batch, given) for batch in batches]
            for one in concurrent.futures.as_completed(running):
                for name, outcomes in one.result().items():
                    found[name] |= {outcome.item: outcome for outcome in outcomes}
                    done += len(outcomes)
                if progress is not None:
                    progress(done, len(items) * len(given))
        return {name: [answers[item.name] for item in items] for name, answers in found.items()}

    def close(self, *, wait: bool = True) -> None:
        """End the processes; the next question starts fresh ones.

        Parameters
        ----------
        wait : bool
            Let them end what they have begun.
        """
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=not wait)
        self._pool, self._given = None, 0

    def _pool_for(self, batches: int) -> concurrent.futures.ProcessPoolExecutor:
        """Return processes that have room for so many batches more."""
        if self._given + batches > self.processes * _TASKS:
            self.close()
        if self._pool is None:
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self.processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self.examinee,),
            )
        self._given += batches
        return self._pool


@contextlib.contextmanager
def crew_of(examinee: Examinee, processes: int) -> Iterator[Crew]:
    """Let processes answer while a block runs, and end them.

    Parameters
    ----------
    examinee : Examinee
        The model.
    processes : int
        As `Crew` takes them.

    Yields
    ------
    crew : Crew
        Its processes start with the first question.
    """
    crew = Crew(examinee, processes)
    try:
        yield crew
    except BaseException:
        crew.close(wait=False)
        raise
    crew.close()


def _begin(examinee: Examinee) -> None:
    global _examinee  # noqa: PLW0603 -- what a process of the pool is started for
    torch.set_num_threads(1)
    _examinee = examinee


def _answer(items: list[BenchItem], conditions: dict[str, Conditions]) -> dict[str, list[Outcome]]:
    if _examinee is None:
        raise RuntimeError("this process was not started by crew_of")
    return run_conditions(_examinee, items, conditions)
