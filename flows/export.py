"""Export the products of a run. Prefect around library calls, nothing else.

A task is a batch of files. What arrived and is right is not sent again, however often the flow is
started. Credentials come from the worker's environment or from a Secret block, whose name alone
is a parameter.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, cast

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.blocks.system import Secret
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from flows.monitor import is_transient
from terrascope.errors import ConfigError
from terrascope.products.export import Export, ExportResult
from terrascope.products.manifest import Entry
from terrascope.progress import report_progress

__all__ = ["export"]


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=10, retry_condition_fn=is_transient)
def plan(job: Export) -> list[tuple[Entry, ...]]:
    """Compare the destination with the products.

    Parameters
    ----------
    job : Export
        The export.

    Returns
    -------
    batches : list of tuple of Entry
        Files to verify, and to upload where they are not right.
    """
    return job.pending()


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=10,
    retry_condition_fn=is_transient,
    task_run_name="upload {index}",
)
def upload(job: Export, index: int, entries: Sequence[Entry]) -> None:
    """Upload and verify one batch of files.

    Parameters
    ----------
    job : Export
        The export.
    index : int
        Of the batch.
    entries : sequence of Entry
        Its files.
    """
    job.upload(entries)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=10, retry_condition_fn=is_transient)
def finish(job: Export) -> ExportResult:
    """Write the manifest.

    Parameters
    ----------
    job : Export
        The export.

    Returns
    -------
    result : ExportResult
        What was done.
    """
    return job.finish()


@flow(name="export", validate_parameters=False)
def export(source: str, destination: str, credentials: str | None = None, workers: int = 4) -> str:
    """Export the products of one output folder.

    Parameters
    ----------
    source : str
        The output folder.
    destination : str
        A folder, or the address of an object store.
    credentials : str, optional
        Name of a Secret block that holds a JSON object of the store's settings;
        default the worker's environment.
    workers : int
        Files on their way at a time.

    Returns
    -------
    said : str
        What was done, in one line.
    """
    job = Export(
        source,
        destination,
        credentials=read_secret(credentials),
        workers=workers,
        progress=functools.partial(report_progress, "export"),
    )
    for index, entries in enumerate(plan(job)):
        upload(job, index, entries)
    result = finish(job)
    if FlowRunContext.get() is not None:
        create_markdown_artifact(f"{result}\n", key="export")
    return str(result)


def read_secret(name: str | None) -> dict[str, str] | None:
    """Read the settings of an object store from a Secret block.

    Parameters
    ----------
    name : str or None
        Of the block.

    Returns
    -------
    settings : dict of str to str, or None
        None without a name.

    Raises
    ------
    ConfigError
        If there is no such block, or it holds something else.
    """
    if name is None:
        return None
    try:
        value = cast("Secret[Any]", Secret.load(name)).get()
        settings = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or not all(isinstance(v, str) for v in settings.values()):
        raise ConfigError(
            f"found no Secret block {name!r} with a JSON object of texts; make it, or set the "
            "environment",
            key="credentials",
        )
    return settings
