"""What any test may use: an archive of one tile, an environment for commands, an S3 server."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pyproj
import pytest

from terrascope.cube.cluster import DASK_SETTINGS

from .integration.archive import Place, write_monitor, write_optical, write_tree

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning",
}
"""Nothing is sent anywhere."""
os.environ.update(QUIET)
# Clusters that a test starts by itself would deadlock now and then without.
dask.config.set(DASK_SETTINGS)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs so, and children inherit it: no command would hear Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

PLACE = Place(33, 460_800.0, 5_544_960.0, size=256)
"""Tile 33N-0030-0360 at 60 m."""
FOREST, CLEARED = 0, 3


@dataclasses.dataclass(frozen=True)
class TinyArchive:
    """A static STAC tree of few Sentinel-2 scenes."""

    directory: Path

    def monitor_file(self, folder: Path) -> Path:
        """Write a monitor file into `folder`; the result goes to ``folder/out``."""
        to_lonlat = pyproj.Transformer.from_crs(PLACE.epsg, 4326, always_xy=True)
        corners = ((4000, -11_000), (11_000, -4000))
        bbox = [to_lonlat.transform(PLACE.west + x, PLACE.north + y) for x, y in corners]
        return write_monitor(
            folder,
            self.directory,
            radar=False,
            monitor={"name": "tiny"},
            area={"bbox": [round(value, 6) for corner in bbox for value in corner]},
            time={"target": "2024-06-01/2024-06-30", "baseline": "2023-06-01/2023-06-30"},
        )


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> TinyArchive:
    """Return an archive of two dates of one tile; between them a square of forest is felled."""
    root = tmp_path_factory.mktemp("archive")
    before = np.full((PLACE.size, PLACE.size), FOREST)
    after = before.copy()
    after[110:130, 100:125] = CLEARED
    scenes = [
        write_optical(root, PLACE, day, seed=number, classes=classes, cloud=0.0)
        for number, (day, classes) in enumerate((("2023-06-10", before), ("2024-06-12", after)))
    ]
    write_tree(root, scenes)
    return TinyArchive(root)


@pytest.fixture(scope="session")
def monthly_archive(tmp_path_factory: pytest.TempPathFactory) -> TinyArchive:
    """Return an archive of six months in which a clear-cut grows, and of a June before."""
    root = tmp_path_factory.mktemp("months")
    scenes = []
    for number, day in enumerate(("2023-06-10", *(f"2024-{m:02d}-12" for m in range(4, 10)))):
        classes = np.full((PLACE.size, PLACE.size), FOREST)
        classes[110 : 110 + 6 * number, 100:125] = CLEARED
        scenes.append(write_optical(root, PLACE, day, seed=number, classes=classes, cloud=0.0))
    write_tree(root, scenes)
    return TinyArchive(root)


@pytest.fixture(scope="session")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment for commands: no settings but the quiet ones, and a home to share.

    The home's database is made by the first command that needs Prefect, which takes a while.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TERRASCOPE_"))}
    return kept | QUIET | {"PREFECT_HOME": str(tmp_path_factory.mktemp("prefect"))}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Start a moto server on loopback."""
    pytest.importorskip("moto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_server(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def _await_server(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            pytest.fail("moto server ended")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("moto server did not start")


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Iterator[str]:
    """Make a bucket, and the environment that leads to it."""
    boto3 = pytest.importorskip("boto3")
    settings = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
        client.create_bucket(Bucket="cubes")
        client.close()
        yield "s3://cubes"
