"""Backfill: a monitor run for each period of a range. Prefect around library calls, nothing else.

What a period has committed is not done again, however often the flow is started.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from prefect import flow

from flows.monitor import build_cubes, run_steps
from terrascope.backfill import Backfill
from terrascope.errors import IncompleteError
from terrascope.progress import report_progress
from terrascope.watch import open_executor

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
    targets = job.ordered(order)
    lacking: list[IncompleteError] = []
    with job.writing(), open_executor(dask, memory=job.memory) as executor:
        for number, target in enumerate(targets, 1):
            run = job.run(target)
            with _remembered(lacking), run.logged():
                if job.folded:
                    build_cubes(run, executor)
                else:
                    run_steps(run, executor)
            report_progress("backfill", number, len(targets))
        for target in job.misnamed():
            run = job.run(target)
            with _remembered([]), run.logged():
                run_steps(run, executor)
        run = job.last_run()
        with _remembered(lacking if job.folded else []), run.logged():
            run_steps(run, executor)
    if lacking:
        raise IncompleteError(
            f"{len(lacking)} of {len(targets)} periods are published and lack something; "
            f"the first: {lacking[0]}",
            completeness=min(error.completeness for error in lacking),
        )
    return str(run.folder / "report.html")


@contextlib.contextmanager
def _remembered(lacking: list[IncompleteError]) -> Iterator[None]:
    """Go on after a period that lacks something: it is published all the same."""
    try:
        yield
    except IncompleteError as error:
        lacking.append(error)
