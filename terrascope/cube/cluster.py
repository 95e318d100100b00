"""The connection to a Dask cluster: kept, lost, found again, and what is under way on it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import logging
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from terrascope.errors import WorkerError

__all__ = ["DASK_SETTINGS", "Batch", "Connection", "Ended"]

_log = logging.getLogger(__name__)

DASK_SETTINGS: Mapping[str, Any] = {
    # The worker's sampling profiler calls sys._current_frames, which deadlocks with the
    # garbage collector before CPython 3.11.8 and 3.12.1 (python/cpython#106883).
    "distributed.worker.profile.enabled": False,
    # Client, scheduler and workers each keep their last 1,000 messages, tasks with their
    # arguments among them: memory that grows with the ground that was seen.
    "distributed.admin.low-level-log-length": 20,
}
"""How Dask is set up for long runs; before a cluster or a client is made."""

_LOOK_S = 5.0
"""How often to look after scheduler and workers while nothing finishes."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """A call that has come to an end.

    Parameters
    ----------
    call : tuple
        Its arguments.
    value : object
        What it returned.
    error : Exception or None
        What it raised; None where it returned.
    worker_died : bool
        Dask gave it up because workers died while it was theirs.
    """

    call: tuple[Any, ...]
    value: Any = None
    error: Exception | None = None
    worker_died: bool = False


class Connection:
    """A client that is replaced when its scheduler is lost.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    patience_s : float
        How long to wait for a scheduler at the same address, or for a worker.
    """

    def __init__(self, client: Any, patience_s: float) -> None:
        self.client = client
        self.patience_s = patience_s
        self._address = str(client.scheduler.address)
        self._security = client.security
        self._own: list[Any] = []

    def threads(self) -> dict[str, int]:
        """Return the threads of all workers.

        Returns
        -------
        threads : dict of str to int
            By address.
        """
        try:
            return dict(self.client.nthreads())
        except (OSError, TimeoutError, RuntimeError, AttributeError):
            self.find_again()
            return dict(self.client.nthreads())

    def is_alive(self) -> bool:
        """Whether the scheduler is connected, as far as the client knows.

        Returns
        -------
        alive : bool
            True until the loss is noticed.
        """
        return bool(self.client.status == "running")

    def find_again(self) -> None:
        """Wait until a scheduler with a worker answers at the address.

        Raises
        ------
        WorkerError
            If none does for too long.
        """
        import distributed

        end = time.monotonic() + self.patience_s
        _log.warning("the Dask scheduler at %s is lost: waiting for it", self._address)
        while time.monotonic() < end:
            if self.client.status in ("closed", "closing"):
                with contextlib.suppress(OSError, TimeoutError):
                    self.client = distributed.Client(  # type: ignore[no-untyped-call]
                        self._address,
                        timeout="5s",
                        security=self._security,
                        set_as_default=False,
                    )
                    self._own.append(self.client)
            if self.is_alive():
                with contextlib.suppress(OSError, TimeoutError):
                    if self.client.nthreads():
                        _log.warning("the Dask scheduler at %s is back", self._address)
                        return
            time.sleep(0.5)
        raise WorkerError(
            f"the Dask scheduler at {self._address} was lost, and none with a worker answered "
            f"within {self.patience_s:.0f} s; what was committed is kept: start the scheduler and "
            "run the same command to go on",
            transient=True,
        )

    @contextlib.contextmanager
    def batch(
        self,
        function: Callable[..., Any],
        retries: int,
        resources: Mapping[str, float] | None,
    ) -> Iterator[Batch]:
        """Make calls on this connection; what is still under way at the end is cancelled.

        Parameters
        ----------
        function : callable
            To be called.
        retries : int
            Of a call that raises.
        resources : mapping of str to float or None
            That a call needs.

        Yields
        ------
        batch : Batch
            Without a call.
        """
        batch = Batch(self, function, retries, resources)
        try:
            yield batch
        finally:
            batch.cancel()

    def close(self) -> None:
        """Close the clients that were made here."""
        for client in self._own:
            with contextlib.suppress(OSError, TimeoutError):
                client.close(timeout=5)
        self._own.clear()


class Batch:
    """Calls under way; made by `Connection.batch`.

    Parameters
    ----------
    connection : Connection
        Where they run.
    function : callable
        Called.
    retries : int
        Of a call that raises.
    resources : mapping of str to float or None
        That a call needs.
    """

    def __init__(
        self,
        connection: Connection,
        function: Callable[..., Any],
        retries: int,
        resources: Mapping[str, float] | None,
    ) -> None:
        self._connection = connection
        self._function = function
        self._options: dict[str, Any] = {"pure": False, "retries": retries}
        if resources:
            self._options["resources"] = dict(resources)
        self._running: dict[Any, tuple[Any, tuple[Any, ...]]] = {}
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._alone_since: float | None = None

    def submit(self, call: tuple[Any, ...]) -> None:
        """Start a call.

        Parameters
        ----------
        call : tuple
            Positional arguments.
        """
        if not self._connection.is_alive():
            self._start_again()
        future = self._connection.client.submit(self._function, *call, **self._options)
        self._running[future.key] = future, call
        future.add_done_callback(self._done.put)

    def finished(self) -> Iterator[Ended]:
        """Wait for the calls, those that are submitted meanwhile included.

        Yields
        ------
        ended : Ended
            In order of completion. Calls that a lost scheduler took with it are started again.

        Raises
        ------
        WorkerError
            If scheduler or workers stay away for too long.
        """
        while self._running:
            try:
                future = self._done.get(timeout=_LOOK_S)
            except queue.Empty:
                self._look_after()
                continue
            if future.key not in self._running:
                continue  # of a scheduler that is gone
            ended = self._ended(future, self._running[future.key][1])
            if ended is None:
                self._start_again()
                continue
            del self._running[future.key]
            self._alone_since = None
            yield ended

    def cancel(self) -> None:
        """Forget what is under way."""
        if self._running and self._connection.is_alive():
            with contextlib.suppress(OSError, TimeoutError):
                futures = [future for future, _ in self._running.values()]
                self._connection.client.cancel(futures, reason="the batch ended")
        self._running.clear()

    def _ended(self, future: Any, call: tuple[Any, ...]) -> Ended | None:
        """Fetch what came of a call; None where it is lost with its scheduler."""
        import distributed

        try:
            error = future.exception()
            value = None if error else future.result()
        except (concurrent.futures.CancelledError, asyncio.CancelledError, OSError, TimeoutError):
            return None
        future.release()
        if error is None:
            return Ended(call, value)
        if isinstance(error, distributed.KilledWorker):
            told = WorkerError(
                "its worker ended each time it was tried (killed, or out of memory); see the "
                "worker's log"
            )
            told.__cause__ = error
            return Ended(call, error=told, worker_died=True)
        if not isinstance(error, Exception):
            raise error
        return Ended(call, error=error)

    def _start_again(self) -> None:
        """Submit all calls again, on the scheduler that answers now."""
        calls = [call for _, call in self._running.values()]
        self._running.clear()
        self._connection.find_again()
        for call in calls:
            self.submit(call)

    def _look_after(self) -> None:
        """Notice a scheduler that fell silent, and workers that all went away."""
        if not self._connection.is_alive():
            self._start_again()
            return
        if self._connection.threads():
            self._alone_since = None
            return
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if now - self._alone_since > self._connection.patience_s:
            raise WorkerError(
                f"the Dask cluster has had no worker for {self._connection.patience_s:.0f} s; what "
                "was committed is kept: start workers and run the same command to go on",
                transient=True,
            )
