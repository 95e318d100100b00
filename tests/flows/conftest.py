"""Prefect on a private home: one ephemeral API per test session, nothing sent anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning",
}
os.environ.update(QUIET)


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """Run flows of this process against a temporary database."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="session")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment for processes: no settings but the quiet ones, and a home to share."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TERRASCOPE_"))}
    return kept | QUIET | {"PREFECT_HOME": str(tmp_path_factory.mktemp("prefect"))}
