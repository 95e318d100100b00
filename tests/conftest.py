"""What any test may use: an archive of one tile and a clear-cut, an environment for commands."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pyproj
import pytest

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
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs so, and children inherit it: no command would hear Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

PLACE = Place(33, 460_800.0, 5_544_960.0, size=256)
"""Tile 33N-0030-0360 at 60 m."""
FOREST, CLEARED = 0, 3


@dataclasses.dataclass(frozen=True)
class TinyArchive:
    """A static STAC tree of two Sentinel-2 scenes."""

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
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment for commands: no settings but the quiet ones, and a home to share.

    The home's database is made by the first command that needs Prefect, which takes a while.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TERRASCOPE_"))}
    return kept | QUIET | {"PREFECT_HOME": str(tmp_path_factory.mktemp("prefect"))}
