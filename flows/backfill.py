"""Backfill: a monitor run for each period of a range. Prefect around library calls, nothing else.

What a period has committed is not done again, however often the flow is started.
"""

from __future__ import annotations

from prefect import flow

from flows.monitor import run_steps
from terrascope.backfill import Backfill
from terrascope.cube.executor import Executor
from terrascope.errors import IncompleteError
from terrascope.progress import report_progress
from terrascope.watch import MonitorRun, open_executor

__all__ = ["backfill"]


@flow(name="backfill", validate_parameters=False)
def backfill(
    file: str, first: str, last: str, order: str = "oldest", dask: str | None = None
) -> str:
    """Monitor one area for every period of a range of dates.

    Parameters
    ----------
    file : str
        The monitor file.
    first, last : str
        Days, ``YYYY-MM-DD``.
    order : str
        Which period is computed first: ``oldest``, ``newest`` or ``shuffled``.
    dask : str, optional
        Scheduler of a running cluster; default a local one.

    Returns
    -------
    report : str
        Path of the newest period's ``report.html``.

    Raises
    ------
    IncompleteError
        In the end, if a period is less complete than the monitor file asks for.
    """
    job = Backfill.open(file, first, last)
    periods = job.ordered(order)
    lacking: list[IncompleteError] = []
    with job.writing(), open_executor(dask, memory=job.memory) as executor:
        for number, period in enumerate(periods, 1):
            _watch(job.run(period), executor, lacking)
            report_progress("backfill", number, len(periods))
        report = _watch(job.last_run(), executor, [])
    if lacking:
        raise IncompleteError(
            f"{len(lacking)} of {len(periods)} periods are published and lack something; "
            f"the first: {lacking[0]}",
            completeness=min(error.completeness for error in lacking),
        )
    return report


def _watch(run: MonitorRun, executor: Executor, lacking: list[IncompleteError]) -> str:
    """Run one period; one that lacks something is published, and remembered."""
    try:
        with run.logged():
            return run_steps(run, executor)
    except IncompleteError as error:
        lacking.append(error)
        return str(run.folder / "report.html")
