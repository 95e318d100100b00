"""The output folder read back: mosaics tile by tile, events, and what stands behind them."""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from terrascope.errors import ProductError
from terrascope.geo.tiles import TILE_M, Tile
from terrascope.monitor.answers.known import Known, Spot
from terrascope.products.ground import Ground, read_ground
from terrascope.products.layers import ALL_LAYERS

__all__ = ["PublishedLayers", "read_known"]

_CACHED = 64
"""Layers of tiles that are kept: those of a few tiles and their neighbours."""


class PublishedLayers:
    """The maps of a run as its zones' rasters hold them: a `LayerSource`.

    Parameters
    ----------
    folder : Path
        The output, or its staging folder.
    tiles : sequence of Tile
        Of the run.
    resolution_m : int
        Pixel size in metres.
    """

    def __init__(self, folder: Path, tiles: Sequence[Tile], resolution_m: int) -> None:
        self._folder = folder / "maps"
        self._tiles = tuple(sorted(tiles))
        self._resolution_m = resolution_m
        zones = {tile.zone.id for tile in self._tiles}
        self._layers = tuple(
            name
            for name in ALL_LAYERS
            if zones and all((self._folder / zone / f"{name}.tif").is_file() for zone in zones)
        )
        self._cached = functools.lru_cache(maxsize=_CACHED)(self._read)

    @property
    def resolution_m(self) -> int:
        """Pixel size in metres."""
        return self._resolution_m

    @property
    def tiles(self) -> Sequence[Tile]:
        """All tiles of the area, whether they have results or not."""
        return self._tiles

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers that every zone has."""
        return self._layers

    def read(self, tile: Tile, layer: str) -> NDArray[Any] | None:
        """Return one layer of one tile.

        Parameters
        ----------
        tile : Tile
            One of `tiles`.
        layer : str
            One of `layers`.

        Returns
        -------
        values : ndarray, shape (y, x)
            As the raster has them; its nodata outside the area, and where the tile
            has no result. Do not write to it.

        Raises
        ------
        ProductError
            If the raster cannot be read.
        """
        return self._cached(tile, layer)

    def _read(self, tile: Tile, layer: str) -> NDArray[Any]:
        path = self._folder / tile.zone.id / f"{layer}.tif"
        size = TILE_M // self._resolution_m
        try:
            with rasterio.open(path) as source:
                west, _, _, north = tile.bounds
                column, row = ~source.transform * (west, north)
                window = Window(round(column), round(row), size, size)
                values: NDArray[Any] = source.read(
                    1, window=window, boundless=True, fill_value=source.nodata
                )
        except RasterioIOError as error:
            raise ProductError(f"{path}: cannot be read ({error})") from error
        values.setflags(write=False)
        return values


def read_known(folder: Path, report: dict[str, Any] | None = None) -> Known:
    """Open an output for questions.

    Parameters
    ----------
    folder : Path
        With ``maps``, ``events.parquet``, ``area.geojson``, ``tiles.parquet``, ``report.json``.
    report : dict or None
        In the place of ``report.json``, where that is not written yet.

    Returns
    -------
    known : Known
        Maps are read when they are asked for.

    Raises
    ------
    ProductError
        If one of the files is missing or cannot be read.
    """
    if report is None:
        report = _read_report(folder)
    ground = read_ground(folder)
    maps = PublishedLayers(folder, tuple(ground.items), int(report["area"]["resolution_m"]))
    if ground.items and "status" not in maps.layers:
        raise ProductError(f"{folder}: found no maps/ZONE/status.tif; expected the output of a run")
    return Known(
        maps=maps,
        area=ground.area,
        regions=ground.regions,
        spots=_read_spots(folder, ground),
        items={tile.id: tuple(ids) for tile, ids in ground.items.items()},
        target=_days(report["target"]),
        baseline=_days(report["baseline"]),
        min_area_ha=float(report["events"]["min_area_ha"]),
        reliability=ground.reliability,
        looked=ground.looked,
    )


def _read_report(folder: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProductError(
            f"{folder}: cannot read report.json ({error}); expected the output of a run"
        ) from error
    return report


def _days(span: dict[str, Any]) -> str:
    first, last = (dt.date.fromisoformat(span[key]) for key in ("start", "end"))
    return f"{first} to {last}"


def _read_spots(folder: Path, ground: Ground) -> tuple[Spot, ...]:
    try:
        rows = pq.read_table(folder / "events.parquet").to_pylist()
    except OSError as error:
        raise ProductError(f"{folder}: cannot read events.parquet ({error})") from error
    return tuple(
        Spot(
            id=row["event_id"],
            kind=row["kind"],
            area_m2=float(row["area_m2"]),
            lon=float(row["lon"]),
            lat=float(row["lat"]),
            probability=math.nan if (mean := row["probability_mean"]) is None else float(mean),
            tiles=tuple(row["tiles"]),
            items=tuple(row["items"]),
            outline=shapely.from_wkb(row["geometry"]),
        )
        for row in rows
    )
