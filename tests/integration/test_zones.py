"""A clearing across two UTM zones, from the scenes of both to one event of the right area.

Its outline is a pair of meridians and a pair of parallels, whose area on the ellipsoid has a
closed form: nothing of the way that areas are reckoned here is used for the truth.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest

from terrascope.cube.executor import ThreadExecutor
from terrascope.watch import MonitorRun

from .archive import (
    BASELINE_DAYS,
    PIXEL_M,
    TARGET_DAYS,
    Place,
    places,
    write_monitor,
    write_optical,
    write_tree,
)

WEST, SOUTH, EAST, NORTH = 17.968, 49.8405, 18.041, 49.8805
FOREST, CLEARED = 0, 3


def quadrangle_m2(west: float, south: float, east: float, north: float) -> float:
    """Return the area between meridians and parallels on WGS 84 (Snyder 1987, eq. 3-12)."""
    semi_major, flattening = 6_378_137.0, 1 / 298.257223563
    e = math.sqrt(flattening * (2 - flattening))

    def q(latitude: float) -> float:
        s = math.sin(math.radians(latitude))
        return (1 - e**2) * (s / (1 - (e * s) ** 2) + math.atanh(e * s) / e)

    return semi_major**2 / 2 * math.radians(east - west) * (q(north) - q(south))


def cleared(place: Place) -> np.ndarray:
    """Return which pixels of a scene have their centre in the clearing."""
    steps = (np.arange(place.size) + 0.5) * PIXEL_M
    x, y = np.meshgrid(place.west + steps, place.north - steps)
    lon, lat = pyproj.Transformer.from_crs(place.epsg, 4326, always_xy=True).transform(x, y)
    return (lon > WEST) & (lon < EAST) & (lat > SOUTH) & (lat < NORTH)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zones")
    scenes = []
    for place in places((33, 34)):
        forest = np.full((place.size, place.size), FOREST)
        after = np.where(cleared(place), CLEARED, FOREST)
        for number, day in enumerate((*BASELINE_DAYS, *TARGET_DAYS)):
            classes = after if day in TARGET_DAYS else forest
            scenes.append(
                write_optical(folder, place, day, seed=number, classes=classes, cloud=0.0)
            )
    write_tree(folder, scenes)
    run = MonitorRun.open(write_monitor(folder / "run", folder, radar=False))
    with run.logged():
        run.search()
        for sensor, index in run.pending_cube_batches():
            run.build_cube(sensor, index, ThreadExecutor(1))
        for index in run.pending_screen_batches():
            run.screen(index, ThreadExecutor(1))
        run.publish()
    return run.output


def test_the_closed_form_is_right() -> None:
    """Known areas: of the whole ellipsoid, and of a sphere-like strip by numbers."""
    assert quadrangle_m2(-180, -90, 180, 90) == pytest.approx(510_065_621_724_089, rel=1e-12)
    geod = pyproj.Geod(ellps="WGS84")
    lon = np.linspace(WEST, EAST, 2001)
    ring = [*zip(lon, np.full(2001, SOUTH), strict=True)]
    ring += [*zip(lon[::-1], np.full(2001, NORTH), strict=True)]
    area, _ = geod.polygon_area_perimeter(*np.transpose(ring))
    assert quadrangle_m2(WEST, SOUTH, EAST, NORTH) == pytest.approx(abs(area), rel=1e-7)


def test_one_event_with_the_right_area(output: Path) -> None:
    truth = quadrangle_m2(WEST, SOUTH, EAST, NORTH)
    events = geopandas.read_parquet(output / "events.parquet")
    assert len(events) == 1
    event = events.iloc[0]
    assert {tile[:3] for tile in event.tiles} == {"33N", "34N"}
    assert event.area_m2 == pytest.approx(truth, rel=0.01)
    geod = pyproj.Geod(ellps="WGS84")
    drawn = abs(geod.geometry_area_perimeter(event.geometry.segmentize(0.001))[0])
    assert drawn == pytest.approx(truth, rel=0.01)
    west, south, east, north = event.geometry.bounds
    assert west < 18.0 < east
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["events"]["count"] == 1
    changed = [t["area_m2"] for t in report["totals"] if t["status"] == "provisional"]
    assert sum(changed) == pytest.approx(truth, rel=0.01)
    assert np.allclose([west, south, east, north], [WEST, SOUTH, EAST, NORTH], atol=0.001)
