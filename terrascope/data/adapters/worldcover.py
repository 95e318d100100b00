"""Scenes of both sensors with ESA WorldCover as their land cover.

Images lie in a folder per scene, as `terrascope.readers.labelled` has them, but without a mask; the
map's tiles lie in one folder, under the names under which they are published::

    SCENES/NAME/sentinel-2_2021-07-02.tif
                sentinel-1_2021-07-04.tif
    MAPS/ESA_WorldCover_10m_2021_v200_N48E012_Map.tif     3 x 3 degrees

Licence of the map: CC BY 4.0.

References
----------
Zanaga et al. (2022), ESA WorldCover 10 m 2021 v200, doi:10.5281/zenodo.7254221.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terrascope.data.adapters.classes import WORLDCOVER, translate
from terrascope.data.adapters.labelled import stack_images
from terrascope.data.adapters.lazy import LazyScenes, geometry_of
from terrascope.data.scenes import PAIR_WITHIN_DAYS, LabelledScene
from terrascope.errors import ReadError
from terrascope.model.processing_terrascope import pair_dates
from terrascope.model.stacks import Window
from terrascope.readers.labelled import read_images
from terrascope.readers.local import read_local_onto

__all__ = ["open_worldcover", "tile_names"]

_VERSIONS = {2020: "v100", 2021: "v200"}
_TILE_DEG = 3
_YEARS = 1
"""The map says nothing of dates whose year is farther away."""


def open_worldcover(scenes: Path, maps: Path, *, year: int = 2021) -> LazyScenes:
    """Open folders of images beside WorldCover tiles.

    Parameters
    ----------
    scenes : Path
        Holds a folder per scene.
    maps : Path
        Holds the tiles.
    year : {2020, 2021}
        Of the map.

    Returns
    -------
    found : LazyScenes
        By name. Land cover holds on dates of the map's year and the years beside it, and is
        unknown on others; pixels of the map that are nearest to those of the images.

    Raises
    ------
    ReadError
        If there is no scene.
    ValueError
        If there is no map of the year.
    """
    if year not in _VERSIONS:
        raise ValueError(f"year {year}: expected one of {sorted(_VERSIONS)}")
    names = sorted({path.parent.name for path in scenes.glob("*/sentinel-[12]_*.tif*")})
    if not names:
        raise ReadError(
            "no scene; expected NAME/sentinel-2_2021-07-02.tif and the like", item=scenes.name
        )
    return LazyScenes(names, functools.partial(_read_scene, scenes, maps, year))


def tile_names(grid: GeoBox, year: int) -> list[str]:
    """Return the names of the tiles under a grid.

    Parameters
    ----------
    grid : odc.geo.geobox.GeoBox
        With a reference system.
    year : {2020, 2021}
        Of the map.

    Returns
    -------
    names : list of str
        Of the files; a tile is named by its south-west corner, in whole multiples of 3 degrees.

    Raises
    ------
    ValueError
        If the grid crosses the antimeridian.
    """
    west, south, east, north = grid.extent.to_crs("EPSG:4326", resolution=math.inf).boundingbox.bbox
    if east - west > 180:
        raise ValueError("the grid crosses the antimeridian; cut it there")
    names = []
    for latitude in range(_floor(south), math.ceil(north), _TILE_DEG):
        for longitude in range(_floor(west), math.ceil(east), _TILE_DEG):
            corner = f"{'NS'[latitude < 0]}{abs(latitude):02d}{'EW'[longitude < 0]}"
            version = f"{year}_{_VERSIONS[year]}"
            names.append(f"ESA_WorldCover_10m_{version}_{corner}{abs(longitude):03d}_Map.tif")
    return names


def _floor(degrees: float) -> int:
    return _TILE_DEG * math.floor(degrees / _TILE_DEG)


def _read_scene(scenes: Path, maps: Path, year: int, name: str) -> LabelledScene:
    grid, images = read_images(scenes / name)
    window = Window(geometry_of(grid), *stack_images(images))
    days = [step.date for step in pair_dates(window, PAIR_WITHIN_DAYS)]
    near = np.array([abs(day.year - year) <= _YEARS for day in days])
    cover = translate(_read_map(maps, grid, year, name), WORLDCOVER, item=name, band="worldcover")
    return LabelledScene(name, window, np.where(near[:, None, None], cover, 0).astype(np.uint8))


def _read_map(maps: Path, grid: GeoBox, year: int, name: str) -> NDArray[np.uint8]:
    """Read the map's codes on a grid, 0 where no tile has any."""
    codes = np.zeros(grid.shape.yx, np.uint8)
    for tile in tile_names(grid, year):
        part = read_local_onto(maps / tile, grid, item=name, band="worldcover")
        if part.dtype != np.uint8:
            raise ReadError(f"{tile} of type {part.dtype}: expected uint8", item=name)
        np.copyto(codes, part, where=part != 0)
    return codes
