"""Where work runs: on threads of this process, or on the workers of a Dask cluster.

One protocol, so that the library works without a cluster and a flow decides. A call that fails
for reasons of its own can be given up without ending the others (`GiveUp`); what another call
would meet, too, or what may pass (a storage that times out, a scheduler that is gone) is raised.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from terrascope.cube.cluster import Connection, Ended
from terrascope.errors import ConfigError, TerrascopeError, WorkerError
from terrascope.geo.tiles import Tile

__all__ = ["DaskExecutor", "Executor", "GiveUp", "ThreadExecutor", "cause_of"]

Result = TypeVar("Result")

Call: TypeAlias = tuple[Any, ...]

GiveUp: TypeAlias = Callable[[Call, Exception], Result]
"""Takes the arguments of a call that fails for good, and its error; gives a result instead."""


class Executor(Protocol):
    """Runs one function over many arguments, a bounded number at a time."""

    @property
    def threads_per_worker(self) -> int:
        """Calls that share one worker's memory at the same time."""
        ...

    def run(
        self,
        function: Callable[..., Result],
        calls: Iterable[Call],
        *,
        give_up: GiveUp[Result] | None = None,
    ) -> Iterator[Result]:
        """Call `function` with each tuple of arguments; results come as they finish.

        Parameters
        ----------
        function : callable
            Importable by the workers.
        calls : iterable of tuple
            Positional arguments of each call.
        give_up : callable or None
            Asked for a result, in this process, where a call fails for good by a fault of its
            own. None raises the error.

        Yields
        ------
        result : object
            In order of completion, which means nothing.
        """
        ...


def cause_of(error: BaseException) -> str:
    """Say in words why a call failed.

    Parameters
    ----------
    error : BaseException
        From the call.

    Returns
    -------
    cause : str
        At most 300 characters of it.
    """
    if isinstance(error, WorkerError):
        return str(error)[:300]
    return f"{type(error).__name__}: {str(error)[:300]}"


def _instead(give_up: GiveUp[Any] | None, call: Call, error: Exception) -> Any:
    """Return what stands in the place of a result, or raise."""
    if give_up is not None and not _is_everyones(error):
        return give_up(call, error)
    tiles = [str(part) for part in call if isinstance(part, Tile)]
    if tiles and isinstance(error, WorkerError):
        raise WorkerError(f"tile {', '.join(tiles)}: {error}") from error
    raise error


def _is_everyones(error: Exception) -> bool:
    """Whether an error says nothing of the call at hand: another would meet it, too."""
    if isinstance(error, TerrascopeError) and error.transient:
        return True
    return isinstance(error, (ConfigError, ImportError))


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
        self,
        function: Callable[..., Result],
        calls: Iterable[Call],
        *,
        give_up: GiveUp[Result] | None = None,
    ) -> Iterator[Result]:
        """Call `function` with each tuple of arguments; results come as they finish.

        Parameters
        ----------
        function : callable
            Any callable.
        calls : iterable of tuple
            Positional arguments of each call; drawn only as threads become free.
        give_up : callable or None
            See `Executor`. A call that ends its process ends the run: it is the same one.

        Yields
        ------
        result : object
            In order of completion.
        """
        waiting = iter(calls)
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            running = {
                pool.submit(function, *call): call
                for call in itertools.islice(waiting, self.threads)
            }
            try:
                while running:
                    done, _ = concurrent.futures.wait(
                        running, return_when=concurrent.futures.FIRST_COMPLETED
                    )
                    ended = [(future, running.pop(future)) for future in done]
                    for call in itertools.islice(waiting, len(done)):
                        running[pool.submit(function, *call)] = call
                    for future, call in ended:
                        error = future.exception()
                        if error is None:
                            yield future.result()
                        elif isinstance(error, Exception):
                            yield _instead(give_up, call, error)
                        else:
                            raise error
            finally:
                for future in running:
                    future.cancel()


class DaskExecutor:
    """The workers of a Dask cluster, across deaths of workers and of the scheduler.

    A call whose worker dies is tried again by Dask. One that Dask gives up, because several
    workers died while it was theirs, is set aside and tried once more when nothing else runs:
    so the call that ends its worker is told from those that were only beside it. Where the
    scheduler is lost, what was under way is started again on the one that answers at the same
    address.

    Parameters
    ----------
    client : distributed.Client or Connection
        Connected to a scheduler.
    retries : int
        How often a call is repeated when it fails.
    resources : mapping of str to float or None
        What a call needs of its worker, as the workers declare it; for instance one ``GPU``.
    patience_s : float
        How long to wait for a lost scheduler, or for a worker where none is left.
    """

    def __init__(
        self,
        client: Any,
        retries: int = 2,
        resources: Mapping[str, float] | None = None,
        *,
        patience_s: float = 120.0,
    ) -> None:
        self._connection = (
            client if isinstance(client, Connection) else Connection(client, patience_s)
        )
        self.retries = retries
        self.resources = resources

    @property
    def client(self) -> Any:
        """The client, of the scheduler that answers now."""
        return self._connection.client

    @property
    def threads_per_worker(self) -> int:
        """Threads of the largest worker: they share its memory."""
        return max(self._connection.threads().values(), default=1)

    def holding(self, resources: Mapping[str, float]) -> DaskExecutor:
        """Return an executor on the same connection, whose calls need resources.

        Parameters
        ----------
        resources : mapping of str to float
            By name, per call.

        Returns
        -------
        executor : DaskExecutor
            A scheduler that one of both loses is lost and found for both.
        """
        return DaskExecutor(self._connection, self.retries, resources)

    def close(self) -> None:
        """Close connections that were made after a scheduler was lost."""
        self._connection.close()

    def run(
        self,
        function: Callable[..., Result],
        calls: Iterable[Call],
        *,
        give_up: GiveUp[Result] | None = None,
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
        give_up : callable or None
            See `Executor`; a call that ends its worker whenever it is tried is given up, too.

        Yields
        ------
        result : object
            In order of completion.

        Raises
        ------
        WorkerError
            If there is no scheduler, or no worker, for too long.
        """
        waiting = iter(calls)
        suspects: list[Call] = []
        most = 3 * (sum(self._connection.threads().values()) or 1)
        with self._connection.batch(function, self.retries, self.resources) as batch:
            for call in itertools.islice(waiting, most):
                batch.submit(call)
            for ended in batch.finished():
                for call in itertools.islice(waiting, 1):
                    batch.submit(call)
                if ended.worker_died:
                    suspects.append(ended.call)
                    continue
                yield _value(give_up, ended)
            for call in suspects:
                batch.submit(call)  # alone: whatever dies now, dies of it
                for ended in batch.finished():
                    yield _value(give_up, ended)


def _value(give_up: GiveUp[Any] | None, ended: Ended) -> Any:
    return ended.value if ended.error is None else _instead(give_up, ended.call, ended.error)
