"""Where work runs: on threads of this process, or on the workers of a Dask cluster.

One protocol, so that the library works without a cluster and a flow decides.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

__all__ = ["DaskExecutor", "Executor", "ThreadExecutor"]

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs one function over many arguments, a bounded number at a time."""

    @property
    def threads_per_worker(self) -> int:
        """Calls that share one worker's memory at the same time."""
        ...

    def run(
        self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[Result]:
        """Call `function` with each tuple of arguments; results come as they finish.

        Parameters
        ----------
        function : callable
            Importable by the workers.
        calls : iterable of tuple
            Positional arguments of each call.

        Yields
        ------
        result : object
            In order of completion, which means nothing.
        """
        ...


@dataclasses.dataclass(frozen=True)
class ThreadExecutor:
    """Threads of this process.

    Parameters
    ----------
    threads : int
        How many.
    """

    threads: int = 2

    @property
    def threads_per_worker(self) -> int:
        """All threads share this process's memory."""
        return self.threads

    def run(
        self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[Result]:
        """Call `function` with each tuple of arguments; results come as they finish.

        Parameters
        ----------
        function : callable
            Any callable.
        calls : iterable of tuple
            Positional arguments of each call; drawn only as threads become free.

        Yields
        ------
        result : object
            In order of completion.
        """
        waiting = iter(calls)
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            running = {
                pool.submit(function, *call) for call in itertools.islice(waiting, self.threads)
            }
            try:
                while running:
                    done, running = concurrent.futures.wait(
                        running, return_when=concurrent.futures.FIRST_COMPLETED
                    )
                    running |= {
                        pool.submit(function, *call)
                        for call in itertools.islice(waiting, len(done))
                    }
                    for future in done:
                        yield future.result()
            finally:
                for future in running:
                    future.cancel()


@dataclasses.dataclass(frozen=True)
class DaskExecutor:
    """The workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Connected to a scheduler.
    retries : int
        How often a call is repeated when its worker dies or it fails.
    resources : mapping of str to float or None
        What a call needs of its worker, as the workers declare it; for instance one ``GPU``.
    """

    client: Any
    retries: int = 2
    resources: Mapping[str, float] | None = None

    @property
    def threads_per_worker(self) -> int:
        """Threads of the largest worker: they share its memory."""
        return max(self.client.nthreads().values(), default=1)

    def run(
        self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[Result]:
        """Call `function` with each tuple of arguments; results come as they finish.

        Parameters
        ----------
        function : callable
            Importable by the workers.
        calls : iterable of tuple
            Positional arguments of each call. At most three per thread of the cluster
            are under way, so that neither the graph nor the scheduler's memory grows
            with the AOI.

        Yields
        ------
        result : object
            In order of completion.
        """
        import distributed

        waiting = iter(calls)
        threads = sum(self.client.nthreads().values()) or 1
        first = [self._submit(function, call) for call in itertools.islice(waiting, 3 * threads)]
        running = distributed.as_completed(first)  # type: ignore[no-untyped-call]
        try:
            for future in running:
                result = future.result()
                future.release()
                for call in itertools.islice(waiting, 1):
                    running.add(self._submit(function, call))  # type: ignore[no-untyped-call]
                yield result
        finally:
            if running.futures:
                self.client.cancel(list(running.futures), reason="the batch ended")

    def _submit(self, function: Callable[..., Any], call: tuple[Any, ...]) -> Any:
        needs = {"resources": dict(self.resources)} if self.resources else {}
        return self.client.submit(function, *call, pure=False, retries=self.retries, **needs)
