"""Files without a catalog: only what they are said to be, and never more than fits in memory."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import ReadError
from terrascope.readers import local
from terrascope.readers.local import read_local, read_local_onto

VALUES = np.arange(5 * 7, dtype=np.uint16).reshape(5, 7) + 3
NORTH_UP = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_050.0)


def write(path: Path, transform: Affine | None = NORTH_UP, driver: str = "GTiff") -> Path:
    place = {"crs": "EPSG:32633", "transform": transform} if transform is not None else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver=driver, height=5, width=7, count=1, dtype="uint16", nodata=3, **place
        ) as file:
            file.write(VALUES, 1)
    return path


def test_numbers_and_grid_are_those_of_the_file(tmp_path: Path) -> None:
    raster = read_local(write(tmp_path / "a.tif"), item="patch", band="B02")
    np.testing.assert_array_equal(raster.values, VALUES[None])
    assert raster.nodata == 3
    assert raster.grid == GeoBox((5, 7), NORTH_UP, "EPSG:32633")
    finer = GeoBox((10, 21), NORTH_UP @ Affine.scale(1 / 3, 1 / 2), "EPSG:32633")
    np.testing.assert_array_equal(raster.on(finer)[0], VALUES.repeat(2, 0).repeat(3, 1))
    coarser = GeoBox((5, 3), NORTH_UP @ Affine.scale(2, 1), "EPSG:32633")
    with pytest.raises(ReadError, match=r"patch \[B02\].*expected the ground of"):
        raster.on(coarser)


def test_pictures_have_no_grid(tmp_path: Path) -> None:
    raster = read_local(write(tmp_path / "a.png", None, "PNG"), item="patch", band="picture")
    np.testing.assert_array_equal(raster.values, VALUES[None])
    with pytest.raises(ReadError, match="no reference system"):
        _ = raster.grid


@pytest.mark.parametrize(
    "transform", [Affine(10.0, 0.0, 0.0, 0.0, 10.0, 0.5), Affine(7.0, 7.0, 0.0, 7.0, -7.0, 0.0)]
)
def test_only_north_up_is_read(tmp_path: Path, transform: Affine) -> None:
    with pytest.raises(ReadError, match="expected north up"):
        read_local(write(tmp_path / "a.tif", transform), item="patch", band="B02")


def test_a_file_that_names_other_files_is_not_opened(tmp_path: Path) -> None:
    source = write(tmp_path / "secret.tif")
    vrt = (
        '<VRTDataset rasterXSize="7" rasterYSize="5"><SRS>EPSG:32633</SRS><GeoTransform>'
        '500000, 10, 0, 5000050, 0, -10</GeoTransform><VRTRasterBand dataType="UInt16" band="1">'
        f"<SimpleSource><SourceFilename>{source}</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    for name in ("b.tif", "b.png"):
        (tmp_path / name).write_text(vrt)
        with pytest.raises(ReadError, match=r"patch \[B02\]"):
            read_local(tmp_path / name, item="patch", band="B02")
    (tmp_path / "b.vrt").write_text(vrt)
    grid = GeoBox((5, 7), NORTH_UP, "EPSG:32633")
    with pytest.raises(ReadError, match="found a file of format VRT, expected GeoTIFF"):
        read_local_onto(tmp_path / "b.tif", grid, item="patch", band="B02")
    for read in (read_local, partial(read_local_onto, grid=grid)):
        with pytest.raises(ReadError, match=r"b.vrt: expected a name that ends in"):
            read(tmp_path / "b.vrt", item="patch", band="B02")


def test_a_file_larger_than_a_patch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.tif")
    monkeypatch.setattr(local, "_MOST_NUMBERS", 34)
    with pytest.raises(ReadError, match="5 x 7 pixels of 1 bands; expected a patch"):
        read_local(path, item="patch", band="B02")


def test_a_window_beyond_the_file_is_filled(tmp_path: Path) -> None:
    grid = GeoBox((4, 4), NORTH_UP @ Affine.translation(5, 3), "EPSG:32633")
    found = read_local_onto(write(tmp_path / "a.tif"), grid, item="patch", band="map")
    wanted = np.zeros((4, 4), np.uint16)
    wanted[:2, :2] = VALUES[3:, 5:]
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ReadError, match="there is no file"):
        read_local_onto(tmp_path / "none.tif", grid, item="patch", band="map")
