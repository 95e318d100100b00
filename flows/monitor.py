"""Monitor an area: search, cube, screen, publish. Prefect around library calls, nothing else.

A task is a batch of work items with Dask inside; it passes a reference to the run, never
arrays. What a batch has committed is not done again, however often the flow is started.
"""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from terrascope.cube.executor import Executor
from terrascope.errors import TerrascopeError
from terrascope.watch import MonitorRun, open_executor

__all__ = ["build_cubes", "is_transient", "monitor", "run_steps"]


def is_transient(task: object, task_run: object, state: object) -> bool:
    """Retry what a retry can help: nothing that is wrong in itself.

    Parameters
    ----------
    task, task_run : object
        Whose it is.
    state : object
        Of a task that failed.

    Returns
    -------
    again : bool
        True where the error says so.
    """
    error = getattr(state, "data", None)
    return isinstance(error, TerrascopeError) and error.transient


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10, retry_condition_fn=is_transient)
def search(run: MonitorRun) -> None:
    """Search the catalog and freeze what it answers.

    Parameters
    ----------
    run : MonitorRun
        Filled with the item table and the plans.
    """
    run.search()


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=10,
    retry_condition_fn=is_transient,
    task_run_name="cube {sensor} {index}",
)
def build_cube(run: MonitorRun, sensor: str, index: int, executor: Executor) -> None:
    """Read one batch of scenes into the cube.

    Parameters
    ----------
    run : MonitorRun
        The run.
    sensor : str
        Which cube.
    index : int
        Batch of its plan.
    executor : Executor
        Where the work runs.
    """
    run.build_cube(sensor, index, executor)


@task(cache_policy=NO_CACHE, task_run_name="screen {index}")
def screen(run: MonitorRun, index: int, executor: Executor) -> None:
    """Screen one batch of tiles for change.

    Parameters
    ----------
    run : MonitorRun
        The run.
    index : int
        Batch of tiles.
    executor : Executor
        Where the work runs.
    """
    run.screen(index, executor)


@task(cache_policy=NO_CACHE, task_run_name="reason {index}")
def reason(run: MonitorRun, index: int, executor: Executor) -> None:
    """Let the model look at one batch of tiles.

    Parameters
    ----------
    run : MonitorRun
        The run.
    index : int
        Batch of tiles.
    executor : Executor
        Where the work runs.
    """
    run.reason(index, executor)


@task(cache_policy=NO_CACHE)
def publish(run: MonitorRun) -> str:
    """Write maps, events, report and STAC items, and make them visible.

    Parameters
    ----------
    run : MonitorRun
        The run.

    Returns
    -------
    report : str
        Path of ``report.html``.
    """
    return run.publish()


@flow(name="monitor", validate_parameters=False)
def monitor(file: str, dask: str | None = None) -> str:
    """Monitor one area once.

    Parameters
    ----------
    file : str
        The monitor file.
    dask : str, optional
        Scheduler of a running cluster; default a local one.

    Returns
    -------
    report : str
        Path of ``report.html``.
    """
    run = MonitorRun.open(file)
    with run.logged(), open_executor(dask, memory=run.settings.memory) as executor:
        return run_steps(run, executor)


def run_steps(run: MonitorRun, executor: Executor) -> str:
    """Take a run from its search to its report.

    Parameters
    ----------
    run : MonitorRun
        Being logged.
    executor : Executor
        Where the work runs.

    Returns
    -------
    report : str
        Path of ``report.html``.
    """
    build_cubes(run, executor)
    for index in run.pending_screen_batches():
        screen(run, index, executor)
    for index in run.pending_reason_batches(executor):
        reason(run, index, executor)
    return publish(run)


def build_cubes(run: MonitorRun, executor: Executor) -> None:
    """Take a run from its search to its cubes.

    Parameters
    ----------
    run : MonitorRun
        Being logged.
    executor : Executor
        Where the work runs.
    """
    search(run)
    for sensor, index in run.pending_cube_batches():
        build_cube(run, sensor, index, executor)
