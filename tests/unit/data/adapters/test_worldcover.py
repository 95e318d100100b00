"""WorldCover beside scenes: the map's pixel under each image pixel, tile by tile."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from terrascope.data.adapters.worldcover import open_worldcover, tile_names
from terrascope.errors import ReadError
from terrascope.vocabulary import CLASS_CODES

from .files import write_tif

SHAPE = (9, 14)
WEST, NORTH, EPSG = 500_000.0 - 60.0, 5_317_000.0, 32633
"""The 15th meridian, where two tiles of the map meet, runs through the window."""
STEP = 1 / 12_000
NAMES = {10: "tree", 20: "shrub", 30: "grass", 40: "crop", 50: "developed area"}
NAMES |= {60: "bare land", 70: "", 80: "water", 90: "wetland", 95: "wetland", 100: ""}


def write_scene(root: Path, *days: str) -> None:
    for number, day in enumerate(days):
        values = 0.1 + 0.001 * np.arange(2 * math.prod(SHAPE)).reshape(2, *SHAPE) % 0.05
        write_tif(
            root / "scenes" / "krems" / f"sentinel-2_{day}.tif",
            np.round((values + 0.01 * number) * 1e4).astype(np.uint16),
            west=WEST,
            north=NORTH,
            epsg=EPSG,
            nodata=0,
            names=("B04", "B08"),
            scale=1e-4,
        )


def write_map(root: Path, corner: str, west: float, codes: np.ndarray) -> None:
    """Write a part of a tile: as fine as the map, only as large as the test needs."""
    path = root / "maps" / f"ESA_WorldCover_10m_2021_v200_{corner}_Map.tif"
    write_tif(path, codes, pixel=STEP, west=west, north=48.0070, epsg=4326, nodata=0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(4)
    write_scene(tmp_path, "2021-07-02", "2018-07-04")
    codes = rng.choice([*NAMES, 0], (40, 60)).astype(np.uint8)
    write_map(tmp_path, "N48E015", 15.0, codes)
    codes = rng.choice([*NAMES, 0], (40, 60)).astype(np.uint8)
    write_map(tmp_path, "N48E012", 15.0 - 60 * STEP, codes)
    return tmp_path


def test_each_pixel_has_the_class_of_the_map_under_its_centre(root: Path) -> None:
    scene = open_worldcover(root / "scenes", root / "maps")[0]
    to_degrees = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True)
    tiles = {}
    for corner in ("N48E012", "N48E015"):
        with rasterio.open(root / f"maps/ESA_WorldCover_10m_2021_v200_{corner}_Map.tif") as file:
            tiles[corner] = (file.transform, file.read(1))
    seen = set()
    for row in range(SHAPE[0]):
        for column in range(SHAPE[1]):
            at = to_degrees.transform(WEST + 10 * (column + 0.5), NORTH - 10 * (row + 0.5))
            corner = "N48E012" if at[0] < 15 else "N48E015"
            transform, codes = tiles[corner]
            across, down = ~transform @ at
            wanted = CLASS_CODES.get(NAMES.get(int(codes[int(down), int(across)]), ""), 0)
            assert scene.cover[1, row, column] == wanted
            seen.add(corner)
    assert len(seen) == 2
    assert scene.dates[1].year == 2021
    assert not scene.cover[0].any()  # of 2018, of which the map of 2021 says nothing
    assert scene.window.geometry.pixel_size_yx_m == (10.0, 10.0)
    optical = scene.window.optical
    assert optical is not None
    assert list(optical.bands) == ["red", "nir"]
    assert optical.values[1, 1, 0, 0] == pytest.approx(0.1 + 0.001 * math.prod(SHAPE) % 0.05)


def test_a_missing_tile_is_said(root: Path) -> None:
    (root / "maps/ESA_WorldCover_10m_2021_v200_N48E015_Map.tif").unlink()
    with pytest.raises(ReadError, match=r"krems \[worldcover\]: there is no file ESA.*N48E015"):
        open_worldcover(root / "scenes", root / "maps")[0]


def test_another_map_is_refused(root: Path) -> None:
    write_map(root, "N48E015", 15.0, np.full((40, 60), 11, np.uint8))
    with pytest.raises(ReadError, match=r"codes \[11\] are no classes"):
        open_worldcover(root / "scenes", root / "maps")[0]
    write_map(root, "N48E015", 15.0, np.full((40, 60), 10, np.int16))
    with pytest.raises(ReadError, match="expected uint8"):
        open_worldcover(root / "scenes", root / "maps")[0]


def test_images_that_cannot_be_used_are_said(root: Path, tmp_path: Path) -> None:
    path = root / "scenes" / "krems" / "sentinel-2_2021-07-02.tif"
    path.write_bytes(b"II*\0 nothing")
    with pytest.raises(ReadError, match=r"krems.*an image cannot be read"):
        open_worldcover(root / "scenes", root / "maps")[0]
    (tmp_path / "none").mkdir()
    with pytest.raises(ReadError, match="no scene"):
        open_worldcover(tmp_path / "none", root / "maps")
    with pytest.raises(ValueError, match="2019"):
        open_worldcover(root / "scenes", root / "maps", year=2019)


@pytest.mark.parametrize(
    ("west", "north", "tiles"),
    [
        (12.0, 51.0, ["N48E012"]),
        (14.9, 48.1, ["N45E012", "N45E015", "N48E012", "N48E015"]),
        (-0.1, 0.1, ["S03W003", "S03E000", "N00W003", "N00E000"]),
        (-73.5, -53.2, ["S54W075"]),
    ],
)
def test_tiles_are_named_by_their_south_west_corner(
    west: float, north: float, tiles: list[str]
) -> None:
    grid = GeoBox((200, 200), from_origin(west, north, 0.001, 0.001), "EPSG:4326")
    names = [f"ESA_WorldCover_10m_2020_v100_{tile}_Map.tif" for tile in tiles]
    assert tile_names(grid, 2020) == names
