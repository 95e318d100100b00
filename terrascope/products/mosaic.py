"""Maps of a run: one raster per zone and layer, and one regional mosaic per layer."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray

from terrascope.errors import ProductError
from terrascope.geo.aoi import Aoi
from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.products.cog import CogWriter
from terrascope.products.layers import ALL_LAYERS, LayerSource, map_values
from terrascope.products.resample import MosaicGrid, source_pixels
from terrascope.types import Status

__all__ = ["MapFiles", "mosaic_crs", "mosaic_grid", "write_maps", "zone_grid"]

_EQUAL_AREA = "EPSG:6933"
_OUTSIDE = int(Status.OUTSIDE)


@dataclasses.dataclass(frozen=True)
class MapFiles:
    """The files that were written.

    Parameters
    ----------
    mosaic : mapping of str to Path
        Regional mosaic by layer.
    zones : mapping of str to mapping of str to Path
        Raster of one zone by zone id and layer.
    """

    mosaic: Mapping[str, Path]
    zones: Mapping[str, Mapping[str, Path]]


def write_maps(
    source: LayerSource,
    folder: Path,
    *,
    aoi: Aoi,
    crs: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> MapFiles:
    """Write all maps of a run.

    Parameters
    ----------
    source : LayerSource
        The results.
    folder : Path
        ``maps`` of the output; gets ``LAYER.tif`` and ``ZONE/LAYER.tif``.
    aoi : Aoi
        Extent of the mosaic.
    crs : str or None
        Of the mosaic, for instance ``"EPSG:5514"``; None chooses by `mosaic_crs`.
    tags : mapping of str to str or None
        Metadata of every file; reproducible, without secrets.

    Returns
    -------
    files : MapFiles
        Empty mappings where the area has no tile.

    Notes
    -----
    Memory is bounded by a few tiles; the cost follows the ground that has
    results, not the extent. The same source gives the same bytes.
    """
    if not source.tiles:
        return MapFiles({}, {})
    by_zone: dict[Zone, list[Tile]] = {}
    for tile in source.tiles:
        by_zone.setdefault(tile.zone, []).append(tile)
    grid = mosaic_grid(aoi, crs or mosaic_crs(source.tiles, aoi), source.resolution_m)
    zones = {}
    with _writers(source, folder, grid, tags) as mosaic:
        for zone, tiles in sorted(by_zone.items()):
            own = zone_grid(tiles, source.resolution_m)
            with _writers(source, folder / zone.id, own, tags) as writers:
                for tile, status in _results(source, tiles):
                    _show(source, tile, status, ((own, writers), (grid, mosaic)))
            zones[zone.id] = {name: writer.path for name, writer in writers.items()}
    return MapFiles({name: writer.path for name, writer in mosaic.items()}, zones)


def mosaic_crs(tiles: Sequence[Tile], aoi: Aoi) -> str:
    """Choose the CRS of a regional mosaic.

    Parameters
    ----------
    tiles : sequence of Tile
        All tiles of the area, at least one.
    aoi : Aoi
        The area.

    Returns
    -------
    crs : str
        The zone's where there is one zone, else EPSG:6933 (equal area), as WKT
        with its edge on the other side of the world where the area crosses the
        antimeridian.
    """
    zones = {tile.zone for tile in tiles}
    if len(zones) == 1:
        return f"EPSG:{zones.pop().epsg}"
    if aoi.bounds[0] <= aoi.bounds[2]:
        return _EQUAL_AREA
    turned = pyproj.CRS("+proj=cea +lat_ts=30 +lon_0=180 +datum=WGS84 +units=m +type=crs")
    return str(turned.to_wkt())


def mosaic_grid(aoi: Aoi, crs: str, resolution_m: int) -> MosaicGrid:
    """Return the pixel grid of a mosaic.

    Parameters
    ----------
    aoi : Aoi
        Extent, snapped outward to whole pixels counted from the CRS's origin.
    crs : str
        Anything that pyproj takes.
    resolution_m : int
        Pixel size in metres; in a geographic CRS, that of a degree on the equator.

    Returns
    -------
    grid : MosaicGrid
        North up.
    """
    target = pyproj.CRS.from_user_input(crs)
    if target.is_geographic:
        pixel = resolution_m / 111_319.490793
    else:
        pixel = resolution_m / target.axis_info[0].unit_conversion_factor
    to_crs = pyproj.Transformer.from_crs("EPSG:4326", target, always_xy=True)
    parts = shapely.get_parts(shapely.segmentize(aoi.geometry, 0.02))
    points = shapely.get_coordinates(parts)
    x, y = to_crs.transform(points[:, 0], points[:, 1])
    # a point on the outline may come back as 1e-9 m beyond a pixel's edge
    west, south = (int(np.floor(v.min() / pixel + 1e-6)) for v in (x, y))
    east, north = (int(np.ceil(v.max() / pixel - 1e-6)) for v in (x, y))
    transform = Affine(pixel, 0.0, west * pixel, 0.0, -pixel, north * pixel)
    return MosaicGrid(crs, transform, (max(north - south, 1), max(east - west, 1)))


def zone_grid(tiles: Sequence[Tile], resolution_m: int) -> MosaicGrid:
    """Return the pixel grid of one zone's rasters.

    Parameters
    ----------
    tiles : sequence of Tile
        All of one zone, at least one.
    resolution_m : int
        Pixel size in metres.

    Returns
    -------
    grid : MosaicGrid
        The rectangle around the tiles, in the zone's CRS.
    """
    columns, rows = [tile.column for tile in tiles], [tile.row for tile in tiles]
    west, north = min(columns) * TILE_M, (max(rows) + 1) * TILE_M
    side = TILE_M // resolution_m
    shape = ((max(rows) - min(rows) + 1) * side, (max(columns) - min(columns) + 1) * side)
    transform = Affine(resolution_m, 0.0, west, 0.0, -resolution_m, north)
    return MosaicGrid(f"EPSG:{tiles[0].zone.epsg}", transform, shape)


def _results(
    source: LayerSource, tiles: Sequence[Tile]
) -> Iterator[tuple[Tile, NDArray[np.uint8]]]:
    """Walk over the tiles that have a status inside the area, north to south."""
    for tile in sorted(tiles, key=lambda t: (t.zone, -t.row, t.column)):
        status = source.read(tile, "status")
        if status is not None and (status != _OUTSIDE).any():
            yield tile, status


def _show(
    source: LayerSource,
    tile: Tile,
    status: NDArray[np.uint8],
    maps: Sequence[tuple[MosaicGrid, Mapping[str, CogWriter]]],
) -> None:
    """Write a tile to all rasters that show it; each layer is read once."""
    inside = status != _OUTSIDE
    found = [(source_pixels(grid, tile, source.resolution_m, inside), w) for grid, w in maps]
    shown = [(window, writers) for window, writers in found if window is not None]
    for name in maps[0][1]:
        values = status if name == "status" else source.read(tile, name)
        if values is None:
            raise ProductError(f"tile {tile}: has a status but no {name}; the result is incomplete")
        for window, writers in shown:
            at = window.index
            mapped = map_values(ALL_LAYERS[name], values.ravel()[at], status.ravel()[at])
            writers[name].write(window.row, window.column, mapped, at >= 0)


@contextlib.contextmanager
def _writers(
    source: LayerSource, folder: Path, grid: MosaicGrid, tags: Mapping[str, str] | None
) -> Iterator[dict[str, CogWriter]]:
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                CogWriter(
                    folder / f"{name}.tif",
                    ALL_LAYERS[name],
                    crs=grid.crs,
                    transform=grid.transform,
                    shape_yx=grid.shape_yx,
                    tags=tags,
                )
            )
            for name in source.layers
            if name in ALL_LAYERS
        }
