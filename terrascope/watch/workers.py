"""Where a run's work is done: a Dask cluster that is found, or one started on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from terrascope.errors import ConfigError

if TYPE_CHECKING:
    import distributed

    from terrascope.cube.executor import Executor

__all__ = ["open_executor"]

_WORKER_WAIT_S = 60
"""How long a cluster may take to bring up its first worker."""


@contextlib.contextmanager
def open_executor(address: str | None = None, *, memory: int) -> Iterator[Executor]:
    """Connect to a Dask cluster, or start one on this machine.

    Parameters
    ----------
    address : str, optional
        Of a running scheduler, ``tcp://HOST:PORT``.
    memory : int
        Bytes per worker of a local cluster.

    Yields
    ------
    executor : Executor
        Closed at the end; a cluster found by address is left running.

    Raises
    ------
    ConfigError
        If no scheduler answers at `address`.
    """
    import dask
    import distributed

    from terrascope.cube.cluster import DASK_SETTINGS
    from terrascope.cube.executor import DaskExecutor

    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(DASK_SETTINGS))
        if address is not None:
            try:
                client = stack.enter_context(_connect(address))
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"no Dask scheduler answers at {address!r}; start one or leave --dask out",
                    key="--dask",
                ) from error
        else:
            # both know the limits of a container
            cores = dask.system.CPU_COUNT
            in_process = cores <= 4
            most = max(1, distributed.system.MEMORY_LIMIT // memory)
            workers = 1 if in_process else min(-(-cores // 4), most)
            cluster = stack.enter_context(
                distributed.LocalCluster(  # type: ignore[no-untyped-call]
                    n_workers=workers,
                    threads_per_worker=max(1, cores // workers),
                    processes=not in_process,
                    memory_limit=None if in_process else memory,
                    dashboard_address=":0",
                    resources={"GPU": 1},  # the model runs once per worker, card or not
                )
            )
            client = stack.enter_context(_connect(cluster))
        try:
            client.wait_for_workers(1, timeout=_WORKER_WAIT_S)
        except TimeoutError as error:
            raise ConfigError(
                f"the Dask scheduler at {address!r} has no worker after {_WORKER_WAIT_S} s; "
                "start one",
                key="--dask",
            ) from error
        executor = DaskExecutor(client)
        stack.callback(executor.close)
        yield executor


def _connect(cluster: object) -> distributed.Client:
    import distributed

    return distributed.Client(cluster, timeout="20s")  # type: ignore[no-untyped-call]
