"""Whole runs over scenes that cannot be read or believed: what can be done is done and said."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest
import rasterio

from terrascope.cube.executor import ThreadExecutor
from terrascope.cube.units import ReaderSettings
from terrascope.errors import IncompleteError
from terrascope.geo.tiles import Tile
from terrascope.periods import Cadence
from terrascope.store import Store
from terrascope.types import Quality
from terrascope.watch import MonitorRun

from .archive import BANDS, Scene, write_archive, write_monitor

# rasterio's own remark on the JPEG 2000, which is refused with a cause of ours
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

SECRET = "c2VjcmV0LXNpZ25hdHVyZQ"
TOKEN = "dG9rZW4tb2YtdGhlLWNhdGFsb2c"
NAMES = {
    "truncated": "S2A_33UYR_20230608_0_L2A",
    "asset missing": "S2A_33UYR_20230618_0_L2A",
    "404": "S2A_33UYR_20230713_0_L2A",
    "stall": "S2A_33UYR_20230723_0_L2A",
    "transform": "S2A_34UYR_20230608_0_L2A",
    "jpeg": "S2A_34UYR_20230618_0_L2A",
    "twice": "S2A_34UYR_20230713_0_L2A",
    "contradiction": "S2A_34UYR_20240712_0_L2A",
    "secret": "S2A_34UYR_20230723_0_L2A",
}


class Stalling(http.server.BaseHTTPRequestHandler):
    """Answers 404 below /gone and nothing at all below /stall."""

    def do_GET(self) -> None:
        if self.path.startswith("/stall"):
            self.server.released.wait(60)  # type: ignore[attr-defined]
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        server.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def spoil(scenes: dict[str, Scene], server: str) -> None:
    """Break one scene in each way."""
    bad = {kind: scenes[name] for kind, name in NAMES.items()}
    raster = bad["truncated"].raster("nir")
    raster.write_bytes(raster.read_bytes()[: raster.stat().st_size // 2])
    del bad["asset missing"].item["assets"]["nir"]
    bad["404"].item["assets"]["red"]["href"] = f"{server}/gone/red.tif?sig={SECRET}"
    bad["stall"].item["assets"]["red"]["href"] = f"{server}/stall/red.tif?token={TOKEN}"
    for asset in bad["transform"].item["assets"].values():
        asset["proj:transform"][2] += 3000.0
    write_jpeg2000(bad["jpeg"].raster("green"))
    twice = bad["twice"].item
    twice["properties"]["earthsearch:boa_offset_applied"] = True
    for band in BANDS:
        harmonise(bad["twice"].raster(band))
    # says it needs the offset, although it was removed from the pixels
    for band in BANDS:
        harmonise(bad["contradiction"].raster(band))
    for asset in bad["secret"].item["assets"].values():
        asset["href"] += f"?sig={SECRET}"
    bad["secret"].item["links"] = [{"rel": "self", "href": f"{server}/item.json?sig={SECRET}"}]


def harmonise(file: Path) -> None:
    """Remove the offset from the stored numbers, as some providers do."""
    with rasterio.open(file) as source:
        numbers, profile = source.read(1), source.profile
    file.unlink()
    profile = {k: profile[k] for k in ("width", "height", "count", "dtype", "crs", "transform")}
    with rasterio.open(file, "w", driver="GTiff", nodata=0, **profile) as target:
        target.write(numbers - 1000, 1)


def write_jpeg2000(file: Path) -> None:
    """Put a JPEG 2000 without georeference under the name of a GeoTIFF."""
    picture = PIL.Image.fromarray(np.full((200, 200), 2000, np.uint16))
    picture.save(file, format="JPEG2000")


def run(file: Path) -> MonitorRun:
    """Run with impatient readers; what the command does, without Prefect and Dask."""
    monitor = MonitorRun.open(file)
    monitor.reader = ReaderSettings(timeout_s=1.0, attempts=2)
    executor = ThreadExecutor(2)
    with monitor.logged():
        monitor.search()
        for sensor, index in monitor.pending_cube_batches():
            monitor.build_cube(sensor, index, executor)
        for index in monitor.pending_screen_batches():
            monitor.screen(index, executor)
        monitor.publish()
    return monitor


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, server: str) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    write_archive(folder / "archive", radar=False, spoil=lambda scenes: spoil(scenes, server))
    return folder


@pytest.fixture(scope="module")
def finished(root: Path) -> Path:
    file = write_monitor(
        root / "run", root / "archive", radar=False, run={"minimum_completeness": 0.5}
    )
    run(file)
    return file.parent / "out"


def document(out: Path, name: str = "run.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / name).read_text())
    return found


CAUSES = {
    "truncated": ("nir", "cannot be read"),
    "asset missing": ("nir", "no such asset"),
    "404": ("red", "404"),
    "stall": ("red", "stalled"),
    "transform": ("*", "states transform"),
    "jpeg": ("green", "no coordinate reference system"),
    "contradiction": ("red", "subtracted twice"),
}


@pytest.mark.parametrize("kind", CAUSES)
def test_bad_scene_is_quarantined_with_its_cause(finished: Path, kind: str) -> None:
    band, cause = CAUSES[kind]
    log, report = document(finished), document(finished, "report.json")
    mine = [q for q in log["quarantined"] if q["item"] == NAMES[kind]]
    assert mine
    assert all(cause in q["cause"] for q in mine)
    assert band == "*" or {q["band"] for q in mine} == {band}
    assert all(q["transient"] == (kind == "stall") for q in mine)
    assert [q for q in report["quality"]["quarantined"] if q["item"] == NAMES[kind]] == mine
    page = (finished / "report.html").read_text()
    assert NAMES[kind] in page
    assert cause in page


def test_good_scenes_went_in(finished: Path) -> None:
    log = document(finished)
    assert {q["item"] for q in log["quarantined"]} == {NAMES[kind] for kind in CAUSES}
    assert log["outcome"] == "done"
    share = log["completeness"]
    assert share == document(finished, "report.json")["completeness"]


def test_offset_stated_twice_comes_out_right(finished: Path) -> None:
    """The flag says that the offset is gone, and the pixels agree: what else is stated is noted."""
    store = Store.open(str(finished / "cube"), create=False)
    group, july = "sentinel-2/34N/r60/P1M", Cadence.parse("P1M").index(dt.date(2023, 7, 13))
    tiles = [Tile.parse(tile) for tile, period in store.records(group) if period == july]
    stored = np.concatenate(
        [
            store.read_tile(group, "reflectance", t, july, bands=["red", "nir"]).reshape(2, -1)
            for t in tiles
        ],
        axis=1,
    )
    red, nir = stored[:, stored[0] != -32768] * 1e-4
    assert red.size > 1000
    assert 0.025 < np.percentile(red, 20) < 0.035
    assert 0.30 < np.percentile(nir, 50) < 0.40
    notes = document(finished, "report.json")["quality"]["radiometry"]
    assert any("contradicts boa_offset_applied = true" in note for note in notes)


def test_no_secret_is_written_anywhere(finished: Path) -> None:
    for path in sorted(finished.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += str(pyarrow.parquet.read_table(path).to_pylist()).encode()
            assert SECRET.encode() not in content, path
            assert TOKEN.encode() not in content, path
    store = Store.open(str(finished / "cube"), create=False)
    told = [r.to_json() for group in store.groups() for r in store.records(group).values()]
    attributes = [str(dict(node.attrs)) for _, node in store.root().members(max_depth=None)]
    assert told
    assert not [text for text in told + attributes if SECRET in text or TOKEN in text]


def test_failed_ground_is_marked(finished: Path) -> None:
    """June 2023 in zone 33: both scenes are bad, so nothing is known, and the cube says why."""
    store = Store.open(str(finished / "cube"), create=False)
    group = "sentinel-2/33N/r60/P1M"
    failed = [r for r in store.records(group).values() if r.state == "failed"]
    assert failed
    tile = Tile.parse(failed[0].tile)
    assert not store.read_tile(group, "observed", tile, failed[0].period).any()
    quality = store.read_tile(group, "quality", tile, failed[0].period)
    assert (quality[quality != 0] & Quality.FAILED).all()


def test_incomplete_run(root: Path) -> None:
    """Below `minimum_completeness` everything is published, and the run fails."""
    file = write_monitor(
        root / "strict", root / "archive", radar=False, run={"minimum_completeness": 0.999}
    )
    with pytest.raises(IncompleteError, match="run again to retry") as caught:
        run(file)
    out = file.parent / "out"
    log = document(out)
    assert log["outcome"] == "incomplete"
    assert caught.value.completeness == log["completeness"]["share"] < 0.999
    assert (out / "report.html").exists()


def test_a_passing_cause_is_tried_again(root: Path, finished: Path) -> None:
    """Work that left out a stalled scene is done again; other quarantined work is not."""
    plan = MonitorRun.open(finished.parent / "monitor.toml")
    assert [sensor for sensor, _ in plan.pending_cube_batches()] == ["sentinel-2"] * 2
    todo = plan.stages["cube sentinel-2"]
    assert todo.skipped == 0  # batches hold both kinds


def test_nothing_found(root: Path) -> None:
    """An empty search is an answer: all of it is published, and nothing counts as observed."""
    file = write_monitor(
        root / "empty",
        root / "archive",
        radar=False,
        time={"target": "2019-07-01/2019-07-31", "baseline": "2018-07-01/2018-07-31"},
    )
    run(file)
    out = file.parent / "out"
    report = document(out, "report.json")
    assert report["completeness"] == {"committed": 0, "planned": 0, "share": 1.0}
    assert report["observed_share"] == 0.0
    assert {total["status"] for total in report["totals"]} == {"not_observed"}
    assert report["events"]["count"] == 0
    assert [use["used"] for use in report["sensors"]] == [False]
    assert "The catalog has no usable scene" in (out / "report.html").read_text()
    assert statuses(out) == {0, 255}
    assert document(out)["outcome"] == "done"


def test_nothing_but_cloud(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", zones=(33,), radar=False, cloud=1.0)
    file = write_monitor(
        tmp_path / "run", tmp_path / "archive", radar=False, cube={"max_cloud_percent": 100.0}
    )
    run(file)
    out = file.parent / "out"
    report = document(out, "report.json")
    assert report["completeness"]["share"] == 1.0
    assert report["completeness"]["planned"] > 0
    assert report["observed_share"] == 0.0
    assert {total["status"] for total in report["totals"]} == {"not_observed"}
    assert "no pixel is clear" in (out / "report.html").read_text()
    assert statuses(out) == {0, 255}
    with rasterio.open(out / "maps" / "change_probability.tif") as source:
        assert np.isnan(source.read(1)).all()


def test_bands_that_a_catalog_lacks(tmp_path: Path) -> None:
    """They are left out and named; one scene that lacks more is quarantined."""
    poor = NAMES["truncated"]

    def spoil(scenes: dict[str, Scene]) -> None:
        del scenes[poor].item["assets"]["swir16"]

    write_archive(tmp_path / "archive", zones=(33,), radar=False, spoil=spoil)
    file = write_monitor(tmp_path / "run", tmp_path / "archive", radar=False, cube={"bands": None})
    run(file)
    report = document(file.parent / "out", "report.json")
    assert "most scenes lack coastal, nir08: screened without" in json.dumps(report["quality"])
    quarantined = {(q["item"], q["band"]) for q in report["quality"]["quarantined"]}
    assert quarantined == {(poor, "swir16")}
    assert report["observed_share"] > 0.9
    assert report["events"]["count"] > 0


def test_a_grid_stated_elsewhere_is_no_missing_data(tmp_path: Path) -> None:
    """The item says that its rasters lie 300 km away from its footprint; the files know better."""
    poor = NAMES["truncated"]

    def spoil(scenes: dict[str, Scene]) -> None:
        for asset in scenes[poor].item["assets"].values():
            asset["proj:transform"][2] += 300_000.0

    write_archive(tmp_path / "archive", zones=(33,), radar=False, spoil=spoil)
    file = write_monitor(tmp_path / "run", tmp_path / "archive", radar=False)
    run(file)
    quarantined = document(file.parent / "out")["quarantined"]
    assert {q["item"] for q in quarantined} == {poor}
    assert all("states transform" in q["cause"] for q in quarantined)


def test_a_cube_keeps_its_bands(tmp_path: Path) -> None:
    """A later search that finds poorer scenes changes nothing of a cube that stands."""
    write_archive(tmp_path / "archive", zones=(33,), radar=False)
    cube = {"bands": None}
    file = write_monitor(tmp_path / "run", tmp_path / "archive", radar=False, cube=cube)
    bands = run(file).optical_bands
    assert bands == BANDS

    def spoil(scenes: dict[str, Scene]) -> None:
        for scene in list(scenes.values())[1:]:
            del scene.item["assets"]["swir22"]

    poorer = tmp_path / "poorer"
    write_archive(poorer, zones=(33,), radar=False, spoil=spoil)
    write_monitor(tmp_path / "run", poorer, radar=False, cube=cube, run={"minimum_completeness": 0})
    assert run(file).optical_bands == bands
    fresh = write_monitor(tmp_path / "fresh", poorer, radar=False, cube=cube)
    assert "swir22" not in MonitorRun.open(fresh).optical_bands


def statuses(out: Path) -> set[int]:
    with rasterio.open(out / "maps" / "status.tif") as source:
        return set(np.unique(source.read(1)).tolist())


@pytest.mark.slow
@pytest.mark.parametrize(("least", "code"), [(0.5, 0), (0.999, 3)])
def test_exit_code_of_the_command(
    root: Path, clean_environment: dict[str, str], least: float, code: int
) -> None:
    file = write_monitor(
        root / f"command-{code}",
        root / "archive",
        radar=False,
        run={"minimum_completeness": least},
    )
    done = subprocess.run(
        [sys.executable, "-m", "terrascope", "monitor", str(file)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env=clean_environment,
    )
    assert done.returncode == code, done.stderr
    assert (file.parent / "out" / "report.html").exists()
    assert SECRET not in done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
