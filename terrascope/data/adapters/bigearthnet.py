"""BigEarthNet v2 as scenes: both sensors, with CORINE land cover of 2018.

Layout, as published::

    ROOT/metadata.parquet                          patch_id, split, country, s1_name, labels...
         BigEarthNet-S2/TILE/PATCH/PATCH_B02.tif   12 bands, 10, 20 and 60 m, numbers x 1e-4
         BigEarthNet-S1/SCENE/NAME/NAME_VV.tif     VV and VH in dB, 10 m
         Reference_Maps/TILE/PATCH/PATCH_reference_map.tif   CORINE level-3 codes

TILE is the patch without its last two parts, SCENE the radar name without its last three. CORINE
draws what is larger than 25 ha and wider than 100 m: single pixels near edges are often wrong.
Licence of the data: CDLA-Permissive-1.0.

References
----------
Clasen et al. (2025), reBEN: Refined BigEarthNet Dataset for Remote Sensing Image Analysis.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from odc.geo.geobox import GeoBox

from terrascope.data.adapters.classes import CLC, translate
from terrascope.data.adapters.lazy import LazyScenes, geometry_of
from terrascope.data.scenes import PAIR_WITHIN_DAYS, LabelledScene
from terrascope.errors import ReadError
from terrascope.model.processing_terrascope import pair_dates
from terrascope.model.stacks import UNITS, Stack, Window
from terrascope.readers.local import LocalRaster, read_local
from terrascope.sensors import S1_BANDS, S2_BANDS

__all__ = ["open_bigearthnet"]

_TABLE = "metadata.parquet"
_PATCH = re.compile(r"(S2[A-C]_MSIL2A_(\d{8})T\d{6}_N\d{4}_R\d{3}_T\w{5})_\d+_\d+", re.ASCII)
_RADAR = re.compile(r"(S1[A-D]_IW_GRDH_1SDV_(\d{8})T\d{6})_\w{5}_\d+_\d+", re.ASCII)
_SCALE = np.float32(1e-4)
_SPLITS = ("train", "validation", "test")


def open_bigearthnet(
    root: Path,
    *,
    split: str | None = None,
    countries: Collection[str] | None = None,
    radar: bool = True,
) -> LazyScenes:
    """Open a folder of BigEarthNet v2.

    Parameters
    ----------
    root : Path
        Holds ``metadata.parquet`` and the three folders.
    split : {"train", "validation", "test"} or None
        The published split; None for all.
    countries : collection of str or None
        As the table names them; None for all.
    radar : bool
        Whether the Sentinel-1 patches are read too.

    Returns
    -------
    scenes : LazyScenes
        In the order of the table. Reflectance and dB; stored 0 is missing in the optical bands;
        land cover is the same on both dates. Coarse bands are repeated to 10 m.

    Raises
    ------
    ReadError
        If the table is missing, lacks a column, or names something that is no patch.
    ValueError
        If there is no such split.
    """
    if split is not None and split not in _SPLITS:
        raise ValueError(f"split {split!r}: expected one of {', '.join(_SPLITS)}")
    columns = ["patch_id", "split", "country", "s1_name"]
    table = _read_table(root / _TABLE, columns)
    radar_of: dict[str, str | None] = {}
    for patch, part, country, name in zip(*(table[key] for key in columns), strict=True):
        if split not in (None, part) or (countries is not None and country not in countries):
            continue
        if not (isinstance(patch, str) and _PATCH.fullmatch(patch)):
            raise ReadError(f"patch_id {patch!r}: not a patch's name", item=_TABLE, band="patch_id")
        if radar and not (isinstance(name, str) and _RADAR.fullmatch(name)):
            raise ReadError(
                f"s1_name {name!r} of {patch}: not a radar patch's name",
                item=_TABLE,
                band="s1_name",
            )
        radar_of[patch] = name if radar else None
    return LazyScenes(list(radar_of), functools.partial(_read_scene, root, radar_of))


def _read_table(path: Path, columns: list[str]) -> dict[str, list[Any]]:
    try:
        with pq.ParquetFile(path) as file:
            missing = sorted(set(columns) - set(file.schema_arrow.names))
            if missing:
                raise ReadError(
                    f"no columns {missing}; expected {columns}", item=path.name, band=missing[0]
                )
            found: dict[str, list[Any]] = file.read(columns).to_pydict()
            return found
    except (OSError, pa.ArrowException) as error:
        raise ReadError(
            f"not a readable Parquet file: {error}", item=path.name, url=str(path)
        ) from error


def _read_scene(root: Path, radar_of: dict[str, str | None], patch: str) -> LabelledScene:
    tile, day = _named(_PATCH, patch)
    folder = root / "BigEarthNet-S2" / tile / patch
    rasters = {
        name: read_local(folder / f"{patch}_{band.code}.tif", item=patch, band=name)
        for name, band in S2_BANDS.items()
    }
    grid = rasters["blue"].grid
    optical = _stack("sentinel-2", rasters, grid, day)
    radar = None
    name_s1 = radar_of[patch]
    if name_s1 is not None:
        scene, radar_day = _named(_RADAR, name_s1)
        folder = root / "BigEarthNet-S1" / scene / name_s1
        found = {
            name: read_local(folder / f"{name_s1}_{band.code}.tif", item=name_s1, band=name)
            for name, band in S1_BANDS.items()
        }
        radar = _stack("sentinel-1", found, grid, radar_day)
    path = root / "Reference_Maps" / tile / patch / f"{patch}_reference_map.tif"
    codes = read_local(path, item=patch, band="reference_map").on(grid)[0]
    cover = translate(codes, CLC, item=patch, band="reference_map")
    window = Window(geometry_of(grid), optical, radar)
    dates = len(pair_dates(window, PAIR_WITHIN_DAYS))
    return LabelledScene(patch, window, np.repeat(cover[None], dates, axis=0))


def _named(pattern: re.Pattern[str], name: str) -> tuple[str, dt.date]:
    """Return the folder and the date that a name holds."""
    match = pattern.fullmatch(name)
    if match is None:
        raise ValueError(f"{name}: not a patch's name")
    return match[1], dt.date.fromisoformat(match[2])


def _stack(sensor: str, rasters: dict[str, LocalRaster], grid: GeoBox, day: dt.date) -> Stack:
    planes = []
    for raster in rasters.values():
        plane = raster.on(grid)[0].astype(np.float32)
        if sensor == "sentinel-2":
            plane = np.where(plane == 0, np.float32(np.nan), plane * _SCALE)
        planes.append(plane)
    return Stack(sensor, np.stack(planes)[None], tuple(rasters), [day], UNITS[sensor])
