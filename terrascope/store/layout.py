"""Where a tile lies inside the zone-wide arrays, and how the groups are called.

Every array of a cube has the extent of its whole UTM zone, so an area of
interest can grow without an append. Row 0 of an array is the northernmost
tile row of the zone, column 0 begins at easting 0. One shard holds one tile.
Names of groups are built and parsed here only, so text from a catalog or a
monitor file never becomes part of a path unchecked.
"""

from __future__ import annotations

import dataclasses
import re

from affine import Affine
from odc.geo.geobox import GeoBox

from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.periods import Cadence
from terrascope.sensors import SENSORS

__all__ = [
    "BATCH_TILES",
    "ZONE_COLUMNS",
    "ZONE_ROWS",
    "GroupPath",
    "batch_index",
    "chunk_pixels",
    "cube_path",
    "parse_group",
    "result_path",
    "shard_index",
    "tile_pixels",
    "tile_slices",
    "zone_geobox",
    "zone_shape",
]

ZONE_COLUMNS = 67
"""Tile columns of a zone: eastings 0 to 1,029,120 m, the zone and its overlap."""

ZONE_ROWS = 652
"""Tile rows of a zone: northings 0 to 10,014,720 m, both hemispheres."""

BATCH_TILES = 4
"""Side, in tiles, of the aligned squares under which the ledger files its records."""

_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,79}")
_GROUP = re.compile(
    r"(?P<kind>[a-z0-9-]+)/(?P<zone>\d{2}[NS])/r(?P<resolution>[1-9]\d{0,4})/(?P<rest>[0-9A-Za-z_/-]+)"
)


@dataclasses.dataclass(frozen=True)
class GroupPath:
    """The parts of a group's path.

    Parameters
    ----------
    kind : str
        A sensor's name, or ``"result"``.
    zone : Zone
        Of all arrays in the group.
    resolution_m : int
        Pixel size in metres.
    cadence : Cadence or None
        Of the time axis; None for a result.
    orbit : int or None
        Relative orbit (Sentinel-1), -1 where unknown; None for the others.
    run_id : str or None
        Of a result; None for a cube.
    """

    kind: str
    zone: Zone
    resolution_m: int
    cadence: Cadence | None = None
    orbit: int | None = None
    run_id: str | None = None

    def __str__(self) -> str:
        if self.cadence is None:
            return result_path(self.zone, self.resolution_m, self.run_id or "")
        return cube_path(self.kind, self.zone, self.resolution_m, self.cadence, self.orbit)


def tile_pixels(resolution_m: int) -> int:
    """Return the side of a tile in pixels.

    Parameters
    ----------
    resolution_m : int
        Pixel size in metres, a divisor of `TILE_M`.

    Returns
    -------
    size : int
        For instance 1536 at 10 m.

    Raises
    ------
    ValueError
        If `resolution_m` does not divide `TILE_M`.
    """
    if resolution_m <= 0 or TILE_M % resolution_m:
        raise ValueError(f"resolution {resolution_m} m: must divide the tile of {TILE_M} m")
    return TILE_M // resolution_m


def chunk_pixels(resolution_m: int) -> int:
    """Return the side of a chunk: the largest divisor of the tile up to 512, or 256 when small.

    Parameters
    ----------
    resolution_m : int
        Pixel size in metres.

    Returns
    -------
    size : int
        512 for tiles of 1024 pixels and more, 256 below, where that divides the tile.
    """
    size = tile_pixels(resolution_m)
    limit = min(size, 512 if size >= 1024 else 256)
    return next(side for side in range(limit, 0, -1) if size % side == 0)


def zone_shape(resolution_m: int) -> tuple[int, int]:
    """Return the extent of a zone's arrays.

    Parameters
    ----------
    resolution_m : int
        Pixel size in metres.

    Returns
    -------
    shape_yx : tuple of int
        Rows and columns in pixels.
    """
    size = tile_pixels(resolution_m)
    return ZONE_ROWS * size, ZONE_COLUMNS * size


def zone_geobox(zone: Zone, resolution_m: int) -> GeoBox:
    """Return the pixel grid of a zone's arrays.

    Parameters
    ----------
    zone : Zone
        The zone.
    resolution_m : int
        Pixel size in metres.

    Returns
    -------
    geobox : odc.geo.geobox.GeoBox
        North up, its top left corner at easting 0 and northing 10,014,720 m.
    """
    affine = Affine(resolution_m, 0.0, 0.0, 0.0, -resolution_m, float(ZONE_ROWS * TILE_M))
    return GeoBox(zone_shape(resolution_m), affine, f"EPSG:{zone.epsg}")


def shard_index(tile: Tile) -> tuple[int, int]:
    """Return the position of a tile's shard in the grid of shards.

    Parameters
    ----------
    tile : Tile
        The tile.

    Returns
    -------
    index_yx : tuple of int
        Row counted southward, and column.

    Raises
    ------
    ValueError
        If the tile lies outside the zone's arrays.
    """
    if not (0 <= tile.column < ZONE_COLUMNS and 0 <= tile.row < ZONE_ROWS):
        raise ValueError(
            f"tile {tile}: outside the arrays of its zone "
            f"({ZONE_COLUMNS} columns, {ZONE_ROWS} rows of tiles)"
        )
    return ZONE_ROWS - 1 - tile.row, tile.column


def batch_index(tile: Tile) -> tuple[int, int]:
    """Return the aligned square of `BATCH_TILES` x `BATCH_TILES` tiles that holds a tile.

    Parameters
    ----------
    tile : Tile
        The tile.

    Returns
    -------
    index_yx : tuple of int
        Row counted southward, and column; the same whatever a run's batches are.
    """
    row, column = shard_index(tile)
    return row // BATCH_TILES, column // BATCH_TILES


def tile_slices(tile: Tile, resolution_m: int) -> tuple[slice, slice]:
    """Return the region of a tile in its zone's arrays.

    Parameters
    ----------
    tile : Tile
        The tile.
    resolution_m : int
        Pixel size in metres.

    Returns
    -------
    slice_y, slice_x : slice
        Rows and columns; exactly one shard.
    """
    size = tile_pixels(resolution_m)
    row, column = shard_index(tile)
    return slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size)


def cube_path(
    sensor: str, zone: Zone, resolution_m: int, cadence: Cadence, orbit: int | None = None
) -> str:
    """Name the group of one cube.

    Parameters
    ----------
    sensor : str
        A key of `terrascope.sensors.SENSORS`.
    zone : Zone
        The zone.
    resolution_m : int
        Pixel size in metres.
    cadence : Cadence
        Of the time axis.
    orbit : int or None
        Sentinel-1 only, and there required: relative orbit 1 to 175, -1 where unknown.

    Returns
    -------
    path : str
        For instance ``sentinel-1/33N/r10/P1M/orbit-044``.

    Raises
    ------
    ValueError
        If a part cannot be used.
    """
    if sensor not in SENSORS:
        raise ValueError(f"sensor {sensor!r}: expected one of {', '.join(SENSORS)}")
    tile_pixels(resolution_m)
    path = f"{sensor}/{zone.id}/r{resolution_m}/{cadence}"
    if sensor != "sentinel-1":
        if orbit is not None:
            raise ValueError(f"orbit {orbit}: only Sentinel-1 cubes are kept by orbit")
        return path
    if orbit == -1:
        return f"{path}/orbit-unknown"
    if orbit is None or not 1 <= orbit <= 175:
        raise ValueError(f"orbit {orbit}: expected a relative orbit from 1 to 175, or -1")
    return f"{path}/orbit-{orbit:03d}"


def result_path(zone: Zone, resolution_m: int, run_id: str) -> str:
    """Name the group of one run's results.

    Parameters
    ----------
    zone : Zone
        The zone.
    resolution_m : int
        Pixel size in metres.
    run_id : str
        Letters, digits, ``-`` and ``_``, for instance ``2020-09-01_2020-09-30``.

    Returns
    -------
    path : str
        For instance ``result/33N/r10/2020-09-01_2020-09-30``.

    Raises
    ------
    ValueError
        If `run_id` holds anything else, or `resolution_m` does not divide the tile.
    """
    tile_pixels(resolution_m)
    if _RUN_ID.fullmatch(run_id) is None:
        raise ValueError(f"run id {run_id!r}: expected up to 80 letters, digits, '-' and '_'")
    return f"result/{zone.id}/r{resolution_m}/{run_id}"


def parse_group(path: str) -> GroupPath:
    """Take a group's path apart, and check it.

    Parameters
    ----------
    path : str
        As made by `cube_path` or `result_path`.

    Returns
    -------
    parts : GroupPath
        With ``str(parts) == path``.

    Raises
    ------
    ValueError
        If `path` was not made by them.
    """
    match = _GROUP.fullmatch(path)
    if match is None:
        raise ValueError(f"group {path!r}: expected a path such as sentinel-2/33N/r10/P1M")
    zone, resolution_m = Zone.parse(match["zone"]), int(match["resolution"])
    if match["kind"] == "result":
        parts = GroupPath("result", zone, resolution_m, run_id=match["rest"])
    else:
        cadence, _, orbit = match["rest"].partition("/")
        number = _parse_orbit(orbit) if orbit else None
        parts = GroupPath(match["kind"], zone, resolution_m, Cadence.parse(cadence), number)
    if str(parts) != path:
        raise ValueError(f"group {path!r}: expected {parts}")
    return parts


def _parse_orbit(text: str) -> int:
    """Read the last part of a Sentinel-1 group's path; the round trip catches what is wrong."""
    number = text.removeprefix("orbit-")
    return int(number) if number.isdecimal() else -1
