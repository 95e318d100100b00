"""Small archives for whole runs: one or two zones, both sensors, COGs of 60 m pixels, a tree.

The land is forest, fields and a town; between baseline and target a part of the forest is cut.
`Archive.item` hands out the STAC document of a scene before it is written, so that a test can
spoil it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from affine import Affine

BBOX = (17.94, 49.83, 18.06, 49.89)
PIXEL_M = 60
SILENCE_S = 150
"""Longer than any step of a run."""
SIZE = 200
OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-rtc"
BASELINE, TARGET = ("2023-06-01", "2023-07-31"), ("2024-07-01", "2024-07-31")
BASELINE_DAYS = ("2023-06-08", "2023-06-18", "2023-07-13", "2023-07-23")
TARGET_DAYS = ("2024-07-12", "2024-07-22")
BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
# Reflectance by band of forest, field, town and the clearing.
SPECTRA = np.array(
    [
        [0.02, 0.04, 0.03, 0.33, 0.15, 0.06],
        [0.03, 0.06, 0.04, 0.40, 0.22, 0.12],
        [0.10, 0.12, 0.13, 0.18, 0.22, 0.20],
        [0.06, 0.09, 0.11, 0.20, 0.30, 0.24],
    ]
)
VEGETATION, CLOUD = 4, 9


@dataclasses.dataclass(frozen=True)
class Scene:
    """One scene that a test may spoil: its document, and the folder of its rasters."""

    item: dict[str, Any]
    folder: Path

    def raster(self, band: str) -> Path:
        return self.folder / f"{band}.tif"


@dataclasses.dataclass(frozen=True)
class Place:
    """The raster grid of one zone's scenes."""

    zone: int
    west: float
    north: float
    size: int = SIZE

    @property
    def epsg(self) -> int:
        return 32600 + self.zone

    @property
    def transform(self) -> Affine:
        return Affine(PIXEL_M, 0, self.west, 0, -PIXEL_M, self.north)

    def outline(self) -> dict[str, Any]:
        to_lonlat = pyproj.Transformer.from_crs(self.epsg, 4326, always_xy=True)
        side = self.size * PIXEL_M
        corners = [(0, 0), (side, 0), (side, -side), (0, -side), (0, 0)]
        ring = [
            [round(v, 7) for v in to_lonlat.transform(self.west + x, self.north + y)]
            for x, y in corners
        ]
        return {"type": "Polygon", "coordinates": [ring]}


def places(zones: tuple[int, ...] = (33, 34)) -> list[Place]:
    """Return grids that cover the bounding box in each zone, on multiples of 60 m."""
    found = []
    for zone in zones:
        to_zone = pyproj.Transformer.from_crs(4326, 32600 + zone, always_xy=True)
        x, y = to_zone.transform((BBOX[0] + BBOX[2]) / 2, (BBOX[1] + BBOX[3]) / 2)
        half = SIZE * PIXEL_M // 2
        found.append(Place(zone, *(round(v / 60) * 60.0 for v in (x - half, y + half))))
    return found


def land(*, cut: bool) -> np.ndarray:
    """Return the classes of the ground: an index into `SPECTRA`."""
    y, x = np.mgrid[:SIZE, :SIZE]
    classes = np.where((x // 25 + y // 25) % 3 == 0, 1, 0)
    classes[(x - 120) ** 2 + (y - 60) ** 2 < 15**2] = 2
    if cut:
        classes[90:110, 60:85] = 3
    return classes


def write_optical(
    folder: Path,
    place: Place,
    day: str,
    *,
    seed: int,
    classes: np.ndarray | None = None,
    cloud: float = 0.1,
    offset_dn: int = 1000,
) -> Scene:
    """Write one Sentinel-2 scene; `classes` index `SPECTRA`, `offset_dn` is in the pixels."""
    name = f"S2A_{place.zone}UYR_{day.replace('-', '')}_0_L2A"
    rng = np.random.default_rng([seed, place.zone])
    item = _item(OPTICAL, name, place, f"{day}T10:00:21Z")
    classes = land(cut=day >= "2024") if classes is None else classes
    scl = np.full(classes.shape, VEGETATION, np.uint8)
    rows = round(cloud * place.size)
    start = int(rng.integers(0, place.size - rows + 1))
    scl[start : start + rows] = CLOUD
    target = folder / OPTICAL / name
    target.mkdir(parents=True)
    for index, band in enumerate(BANDS):
        plane = SPECTRA[classes, index] * rng.normal(1.0, 0.03, classes.shape)
        plane = np.where(scl == CLOUD, 0.7, plane)
        stored = np.rint(plane * 1e4 + offset_dn).astype(np.uint16)
        facts = {"data_type": "uint16", "nodata": 0, "scale": 1e-4, "offset": -offset_dn * 1e-4}
        item["assets"][band] = _asset(place, band, facts)
        write_raster(target / f"{band}.tif", stored, place, nodata=0)
    item["assets"]["scl"] = _asset(place, "scl", {"data_type": "uint8", "nodata": 0})
    write_raster(target / "scl.tif", scl, place, nodata=0)
    item["properties"] |= {
        "platform": "sentinel-2a",
        "sat:relative_orbit": 122,
        "eo:cloud_cover": 100.0 * cloud,
        "s2:processing_baseline": "05.09",
        "earthsearch:boa_offset_applied": False,
    }
    return Scene(item, target)


def write_radar(folder: Path, place: Place, day: str, *, seed: int, orbit: int) -> Scene:
    """Write one Sentinel-1 scene in linear power."""
    name = f"S1A_IW_RTC_{day.replace('-', '')}_{orbit:03d}_{place.zone}"
    rng = np.random.default_rng([seed, place.zone, orbit])
    item = _item(RADAR, name, place, f"{day}T05:0{orbit % 10}:00Z")
    item["properties"] |= {
        "platform": "sentinel-1a",
        "sat:relative_orbit": orbit,
        "sat:orbit_state": "ascending" if orbit % 2 else "descending",
        "backscatter:coefficient": "gamma0",
        "backscatter:scale": "linear",
    }
    classes = land(cut=day >= "2024")
    target = folder / RADAR / name
    target.mkdir(parents=True)
    for band, levels in (("vv", (-9.0, -11.0, -4.0, -14.0)), ("vh", (-15.0, -17.0, -11.0, -21.0))):
        power = 10 ** (np.array(levels)[classes] / 10)
        stored = (power * rng.gamma(8.0, 1 / 8.0, power.shape)).astype(np.float32)
        item["assets"][band] = _asset(
            place, band, {"data_type": "float32", "nodata": "nan", "unit": "1"}
        )
        write_raster(target / f"{band}.tif", stored, place, nodata=float("nan"))
    return Scene(item, target)


def write_raster(file: Path, plane: np.ndarray, place: Place, *, nodata: float) -> None:
    with rasterio.open(
        file,
        "w",
        driver="COG",
        width=plane.shape[1],
        height=plane.shape[0],
        count=1,
        dtype=plane.dtype.name,
        crs=f"EPSG:{place.epsg}",
        transform=place.transform,
        nodata=nodata,
        compress="DEFLATE",
        level=1,
        blocksize=128,
        overviews="NONE",
    ) as target:
        target.write(plane, 1)


def write_archive(
    folder: Path,
    *,
    zones: tuple[int, ...] = (33, 34),
    radar: bool = True,
    cloud: float = 0.1,
    spoil: Callable[[dict[str, Scene]], None] = lambda _: None,
) -> Path:
    """Write scenes and a static STAC tree; `spoil` may change both by item id before the end."""
    scenes: list[Scene] = []
    for place in places(zones):
        for number, day in enumerate((*BASELINE_DAYS, *TARGET_DAYS)):
            scenes.append(write_optical(folder, place, day, seed=number, cloud=cloud))
            if radar:
                scenes += [
                    write_radar(folder, place, day, seed=number, orbit=orbit) for orbit in (44, 73)
                ]
    spoil({scene.item["id"]: scene for scene in scenes})
    return write_tree(folder, scenes)


def write_tree(folder: Path, scenes: list[Scene]) -> Path:
    """Write items, collections and the catalog."""
    for name in (OPTICAL, RADAR):
        mine = [scene for scene in scenes if scene.item["collection"] == name]
        for scene in mine:
            _dump(scene.folder / "item.json", scene.item)
        links = [{"rel": "item", "href": f"./{s.folder.name}/item.json"} for s in mine]
        _dump(folder / name / "collection.json", _collection(name) | {"links": links})
    children = [{"rel": "child", "href": f"./{name}/collection.json"} for name in (OPTICAL, RADAR)]
    catalog = folder / "catalog.json"
    facts = {"type": "Catalog", "stac_version": "1.0.0", "id": "small", "description": "small"}
    _dump(catalog, facts | {"links": children})
    return catalog


def write_monitor(
    folder: Path, catalog: str | Path, *, radar: bool = True, **tables: Mapping[str, Any]
) -> Path:
    """Write a monitor file, its output beside it; `tables` add, replace or (None) drop keys."""
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, dict[str, Any]] = {
        "monitor": {"name": "small"},
        "area": {"bbox": list(BBOX), "resolution_m": PIXEL_M},
        "catalog": {"profile": "local", "url": str(catalog)},
        "time": {"target": "/".join(TARGET), "baseline": "/".join(BASELINE)},
        "sensors": {"optical": OPTICAL} | ({"sar": RADAR} if radar else {}),
        "cube": {"bands": list(BANDS), "memory": "512 MiB"},
        "output": {"path": "out"},
    }
    for name, values in tables.items():
        document[name] = document.get(name, {}) | dict(values)
    lines = []
    for name, values in document.items():
        lines.append(f"[{name}]")
        given = {key: value for key, value in values.items() if value is not None}
        lines += [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    file = folder / "monitor.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


RUNNER = """
import faulthandler, os, signal, sys
import distributed, rasterio, stackstac
import terrascope.catalog.search, terrascope.catalog.profile, terrascope.catalog.sign
import terrascope.cube.ingest, terrascope.monitor.screen.batch, terrascope.summarise
from terrascope.watch import MonitorRun, open_executor


def say(*words):
    print(*words, flush=True)


def attempt(file):
    say("pid", os.getpid())
    run = MonitorRun.open(file)
    with run.logged(), open_executor(memory=run.settings.memory) as executor:
        say("search")
        run.search()
        for sensor, index in run.pending_cube_batches():
            say("cube", sensor, index)
            run.build_cube(sensor, index, executor)
        for index in run.pending_screen_batches():
            say("screen", index)
            run.screen(index, executor)
        if run.settings.model is not None:
            say("choose")
            for index in run.pending_reason_batches(executor):
                say("reason", index)
                run.reason(index, executor)
        say("products")
        run.publish()
    say("done")


faulthandler.register(signal.SIGUSR1)
# A lock that another thread holds while we fork would never open in the child.
say("ready", len(os.listdir("/proc/self/task")))
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            attempt(line.strip())
        except BaseException as error:
            say("failed", type(error).__name__, error)
        os._exit(0)
    os.waitpid(child, 0)
    say("end")
"""


class Runner:
    """Runs monitor files through the library, each in a fresh process that may be killed.

    The processes are forked from one that has everything imported and has done nothing:
    an attempt starts within milliseconds. One that says nothing for `silence_s` is given up.
    """

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        self._silence_s = silence_s
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # what is buffered here, `select` would not see
            env=os.environ
            | {
                "OMP_NUM_THREADS": "1",
                "NO_PROXY": "127.0.0.1",
                "JE_ARROW_MALLOC_CONF": "background_thread:false",
            },
        )
        assert self._line() == ["ready", "1"]

    def attempt(
        self, file: Path, *, kill: Callable[[str], float | None] = lambda _: None
    ) -> list[tuple[str, float]]:
        """Run once; return the steps it began, with the time they took.

        `kill` is asked as each step begins: after how many seconds to send SIGKILL.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{file}\n".encode())
        pid = int(self._line()[1])
        steps: list[tuple[str, float]] = []
        timer: threading.Timer | None = None
        words, since = self._line(pid), time.perf_counter()
        while words != ["end"]:
            step = " ".join(words)
            if words[0] == "failed":
                raise AssertionError(step)
            delay = kill(step) if timer is None else None
            if delay is not None:
                timer = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
                timer.start()
            words = self._line(pid)
            steps.append((step, time.perf_counter() - since))
            since = time.perf_counter()
        if timer is not None:
            timer.cancel()
        return steps

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _line(self, pid: int | None = None) -> list[str]:
        """Read a line; where none comes, `pid` says where it stands, and dies."""
        assert self._process.stdout is not None
        if (
            pid is not None
            and not select.select([self._process.stdout], [], [], self._silence_s)[0]
        ):
            os.kill(pid, signal.SIGUSR1)
            time.sleep(1)
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(
                f"a run said nothing for {self._silence_s} s: its stack is on stderr"
            )
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the runner ended")
        return line.decode().split()


def _item(collection: str, name: str, place: Place, when: str) -> dict[str, Any]:
    outline = place.outline()
    ring = np.array(outline["coordinates"][0])
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "geometry": outline,
        "bbox": [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()],
        "properties": {"datetime": when, "updated": when, "proj:epsg": place.epsg},
        "links": [],
        "assets": {},
    }


def _asset(place: Place, band: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "href": f"./{band}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "proj:shape": [place.size, place.size],
        "proj:transform": list(place.transform)[:6],
        "raster:bands": [facts],
    }


def _collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "Apache-2.0",
        "extent": {"spatial": {"bbox": [list(BBOX)]}, "temporal": {"interval": [[None, None]]}},
    }


def _dump(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
