"""`terrascope.open`: the part of a cube that a run filled, lazily, and clear words otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dask.array
import numpy as np
import pytest

import terrascope
from terrascope.errors import StoreError
from terrascope.geo.tiles import Tile, Zone
from terrascope.periods import Cadence
from terrascope.store import Record, Store, cube_schema, result_schema, write_tile
from terrascope.types import NODATA_INT16

ZONE = Zone(33, "N")
TILES = (Tile(ZONE, 30, 356), Tile(ZONE, 31, 356))
MONTHLY = Cadence(1, "M")
MONTHS = (68, 80)
"""September 2019 and 2020."""


def fill(store: Store, group: str, name: str, bands: int, period: int, tile: Tile) -> None:
    rng = np.random.default_rng([period, tile.column])
    values = rng.integers(-2000, 9000, (bands, 128, 128)).astype(np.int16)
    values[:, :5] = NODATA_INT16
    with store.begin() as write:
        fork = write_tile(write.fork(), group, tile, period, {name: values})
        write.commit([fork], {group: [Record("k", tile.id, period)]})


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out")
    store = Store.open(str(output / "cube"))
    optical = store.ensure_group(cube_schema("sentinel-2", ZONE, 120, MONTHLY, ["red", "nir"]))
    for period, tile in zip(MONTHS, TILES, strict=True):
        fill(store, optical, "reflectance", 2, period, tile)
    for orbit in (44, -1):
        schema = cube_schema("sentinel-1", ZONE, 120, MONTHLY, ["vv", "vh"], orbit=orbit)
        fill(store, store.ensure_group(schema), "backscatter", 2, 80, TILES[0])
    maps = store.ensure_group(result_schema(ZONE, 120, "2020-09-01_2020-09-30"))
    with store.begin() as write:
        status = np.full((128, 128), 2, np.uint8)
        fork = write_tile(write.fork(), maps, TILES[0], 0, {"status": status})
        write.commit([fork], {maps: [Record("k", TILES[0].id, 0)]})
    return output


def test_the_filled_part_comes_back_lazily_and_physical(output: Path) -> None:
    cube = terrascope.open(output)
    assert dict(cube.sizes) == {"time": 2, "band": 2, "y": 128, "x": 256}
    assert isinstance(cube["reflectance"].data, dask.array.Array)
    assert cube["reflectance"].data.chunksize == (1, 2, 128, 128)
    assert [str(day)[:7] for day in cube["time"].values] == ["2019-09", "2020-09"]
    assert cube.odc.geobox.crs.epsg == 32633
    assert cube.odc.geobox.extent.boundingbox.left == TILES[0].bounds[0]
    stored = Store.open(str(output / "cube"), create=False).read_tile(
        "sentinel-2/33N/r120/P1M", "reflectance", TILES[1], 80
    )
    part = cube["reflectance"].isel(time=1, x=slice(128, None)).values
    truth = np.where(stored == NODATA_INT16, np.nan, stored * 1e-4)
    np.testing.assert_allclose(part, truth, rtol=1e-6)
    assert np.isnan(cube["reflectance"].isel(time=0, x=slice(128, None)).values).all()


def test_radar_asks_for_the_orbit(output: Path) -> None:
    with pytest.raises(ValueError, match=r"orbit-044.*orbit-unknown.*; give orbit"):
        terrascope.open(output, sensor="sentinel-1")
    for orbit in (44, -1):
        cube = terrascope.open(str(output), sensor="sentinel-1", orbit=orbit)
        assert cube["backscatter"].attrs["units"] == "dB"
        assert cube.sizes["x"] == 128


def test_maps(output: Path) -> None:
    maps = terrascope.open_maps(output, zone="33N")
    assert dict(maps.sizes) == {"y": 128, "x": 128}
    assert (maps["status"].values == 2).all()
    assert np.isnan(maps["change_probability"].values).all()


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"zone": "34N"}, r"nothing for sentinel-2, zone '34N'; found sentinel-2/33N/r120/P1M"),
        ({"cadence": "P1D"}, r"cadence 'P1D'; found sentinel-2/33N/r120/P1M"),
        ({"sensor": "landsat"}, r"nothing for landsat; found result/33N.*sentinel-1"),
    ],
)
def test_what_is_not_there_is_said(output: Path, facts: dict[str, str], complaint: str) -> None:
    with pytest.raises(StoreError, match=complaint):
        terrascope.open(output, **facts)


def test_no_output_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found no cube there"):
        terrascope.open(tmp_path / "nothing")
    store = Store.open(str(tmp_path / "cube"))
    with pytest.raises(StoreError, match="nothing for sentinel-2; found no group"):
        terrascope.open(tmp_path)
    store.ensure_group(cube_schema("sentinel-2", ZONE, 120, MONTHLY, ["red"]))
    with pytest.raises(StoreError, match="nothing was committed"):
        terrascope.open(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'shut'"):
        _ = terrascope.shut


def test_importing_the_package_opens_nothing() -> None:
    code = (
        "import sys, terrascope; print('xarray' in sys.modules, 'terrascope.access' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
