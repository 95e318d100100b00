"""An archive that is awkward on purpose: what a cube holds must not depend on how it is cut.

Five by four tiles of one zone; passes cut into overlapping scenes, native pixels of 60 and 120 m,
a scene in the neighbouring zone's CRS, a footprint smaller than its raster, a file with a damaged
block, radar frames that meet on a tile's border, and a pass of unknown orbit.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from terrascope.catalog.items import ItemRow, ItemTable
from terrascope.cube.due import pending, read_ledger
from terrascope.cube.executor import Executor, ThreadExecutor
from terrascope.cube.ingest import ingest_batch
from terrascope.cube.plan import CubePlan, plan_cube
from terrascope.cube.spec import CubeSpec
from terrascope.cube.units import ReaderSettings
from terrascope.geo.aoi import Aoi
from terrascope.geo.projection import unproject_from_zone
from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.periods import Cadence, Period
from terrascope.store import Store
from terrascope.types import AssetRef

ZONE = Zone(33, "N")
COLUMN, ROW, SIDE = 28, 356, 5
"""The south-western tile, on the corner of an anchored block, and tiles along the longer side."""

WEST, SOUTH = COLUMN * TILE_M, ROW * TILE_M
TILES = tuple(Tile(ZONE, COLUMN + i, ROW + j) for i in range(SIDE) for j in range(SIDE - 1))
SENSORS = ("sentinel-2", "sentinel-1")
BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
MONTHLY = Cadence(1, "M")
BASELINE = MONTHLY.periods(dt.date(2019, 8, 1), dt.date(2019, 9, 30))
TARGET = MONTHLY.periods(dt.date(2020, 9, 1), dt.date(2020, 9, 30))
PERIODS = (*BASELINE, *TARGET)

SPECTRA = {
    "blue": (250, 380),
    "green": (450, 620),
    "red": (280, 900),
    "nir": (3200, 1900),
    "swir16": (1500, 2900),
    "swir22": (700, 2300),
}
"""Stored numbers of forest and of bare ground."""


@dataclasses.dataclass(frozen=True)
class Patchwork:
    """The archive's item table."""

    table: ItemTable

    def plan(
        self,
        sensor: str,
        *,
        resolution_m: int = 120,
        tiles: Iterable[Tile] = TILES,
        periods: Sequence[Period] = PERIODS,
        batch_items: int = 96,
    ) -> CubePlan:
        return plan_cube(
            self.table, spec(sensor, resolution_m), tuple(tiles), periods, batch_items=batch_items
        )


def spec(sensor: str, resolution_m: int = 120) -> CubeSpec:
    bands = BANDS if sensor == "sentinel-2" else ("vv", "vh")
    return CubeSpec(sensor, bands, resolution_m=resolution_m, mask_dilation_m=240)


def build(
    store: Store,
    table: ItemTable,
    plan: CubePlan,
    *,
    executor: Executor | None = None,
    memory: int = 8 * 2**30,
    backend: str = "stackstac",
) -> int:
    """Ingest a plan as a run does; return the work items done."""
    ledger, count = read_ledger(plan, store), 0
    for index in pending(plan, table, ledger):
        count += ingest_batch(
            plan,
            index,
            table,
            store,
            ReaderSettings(backend),
            executor or ThreadExecutor(1),
            memory=memory,
            ledger=ledger,
        ).done
    return count


def content(store: Store, tiles: Iterable[Tile] = TILES) -> dict[tuple[str, ...], str]:
    """Return all that a store holds of some tiles: a digest of every array, and every record."""
    found = {}
    wanted = {tile.id: tile for tile in tiles}
    for group in store.groups():
        result = group.startswith("result/")
        names = sorted(n for n, a in store.root()[group].arrays() if len(a.shape) > 1)
        for (tile_id, period), record in store.records(group).items():
            if tile_id not in wanted:
                continue
            found[group, tile_id, str(period), "record"] = record.to_json()
            for name in names:
                time = None if result else period
                pixels = store.read_tile(group, name, wanted[tile_id], time)
                digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
                found[group, tile_id, str(period), name] = digest
    return found


def area(*, inset_m: float = 0.0, tiles: Iterable[Tile] = TILES) -> Aoi:
    """Return the tiles' ground without a margin, which is no multiple of a pixel."""
    squares = [shapely.box(*tile.bounds) for tile in tiles]
    ground = shapely.buffer(shapely.union_all(squares), -inset_m - 1.0, join_style="mitre")
    return Aoi.from_geometry(unproject_from_zone(ground, ZONE))


@functools.cache
def shared_patchwork(temporary: Path) -> Patchwork:
    """Return the archive, written once into the session's folder."""
    folder = temporary / "patchwork"
    folder.mkdir()
    return write_patchwork(folder)


@functools.cache
def shared_store(temporary: Path) -> Store:
    """Return the cubes of all tiles, built in one go: squares of tiles where scenes allow."""
    patchwork, store = shared_patchwork(temporary), Store.open(str(temporary / "all-tiles"))
    for sensor in SENSORS:
        build(store, patchwork.table, patchwork.plan(sensor))
    return store


@functools.cache
def shared_content(temporary: Path) -> dict[tuple[str, ...], str]:
    """Return what the cubes of all tiles hold."""
    return {k: v for k, v in content(shared_store(temporary)).items() if k[0][:6] != "result"}


def write_patchwork(folder: Path) -> Patchwork:
    rows: list[ItemRow] = []
    for day in ("2019-08-05", "2019-08-20", "2019-09-04", "2020-09-18"):
        rows += _optical_pass(folder, dt.date.fromisoformat(day))
    for day in ("2019-08-07", "2020-09-05", "2020-09-17"):
        rows += _radar_pass(folder, dt.date.fromisoformat(day))
    return Patchwork(ItemTable.from_rows(rows))


def _grid(
    west_m: float, south_m: float, east_m: float, north_m: float, *, gsd_m: int, epsg: int = 32633
) -> GeoBox:
    """Return a raster grid; the metres count from the south-western tile's corner."""
    west, south, east, north = WEST + west_m, SOUTH + south_m, WEST + east_m, SOUTH + north_m
    if epsg != 32633:
        change = pyproj.Transformer.from_crs(32633, epsg, always_xy=True)
        west, south, east, north = change.transform_bounds(west, south, east, north)
    west, north = gsd_m * round(west / gsd_m), gsd_m * round(north / gsd_m)
    shape = round((north - south) / gsd_m), round((east - west) / gsd_m)
    return GeoBox(shape, Affine(gsd_m, 0, west, 0, -gsd_m, north), f"EPSG:{epsg}")


def _footprint(grid: GeoBox, *, cut_west_m: float = 0.0) -> shapely.Geometry:
    box = shapely.box(*grid.boundingbox)
    west, south, east, north = box.bounds
    box = shapely.box(west + cut_west_m, south, east, north)
    zone = Zone(int(grid.crs.epsg) - 32600, "N")
    return unproject_from_zone(box, zone)


def _ground(grid: GeoBox, *, late: bool) -> np.ndarray:
    """Return the share of bare ground at each pixel: fields, and a clearing after 2020."""
    affine = grid.affine
    x = affine.c + (np.arange(grid.shape.x) + 0.5) * affine.a
    y = affine.f + (np.arange(grid.shape.y) + 0.5) * affine.e
    x, y = np.meshgrid(x, y)
    if grid.crs.epsg != 32633:
        change = pyproj.Transformer.from_crs(grid.crs.epsg, 32633, always_xy=True)
        x, y = change.transform(x, y)
    x, y = x - WEST, y - SOUTH
    share = 0.08 + 0.06 * np.sin(x / 1900) * np.cos(y / 2300)
    share[((x // 5000 + y // 5000) % 4) == 0] = 0.9
    if late:
        share[np.hypot(x - 29_000, y - 31_500) < 2500] = 1.0
        share[(np.abs(x - 46_080) < 900) & (np.abs(y - 20_000) < 3000)] = 1.0
    return share


def _optical_pass(folder: Path, day: dt.date) -> list[ItemRow]:
    """Two overlapping scenes; the eastern one of some days in the other zone's CRS."""
    foreign = day == dt.date(2020, 9, 18)
    rows = []
    for name, span, epsg in (
        ("west", (-4000, 50_000), 32633),
        ("east", (40_000, 81_000), 32634 if foreign else 32633),
    ):
        grids = {
            gsd: _grid(span[0], -3000, span[1], 80_000, gsd_m=gsd, epsg=epsg) for gsd in (60, 120)
        }
        rows.append(_optical_scene(folder, f"{name}-{day}", day, grids))
    return rows


def _optical_scene(folder: Path, name: str, day: dt.date, grids: dict[int, GeoBox]) -> ItemRow:
    rng = np.random.default_rng(_seed(name))
    assets = {}
    classes = np.full(grids[120].shape.yx, 4, np.uint8)
    for value in (9, 3, 8):
        for _ in range(3):
            row, column = rng.integers(0, classes.shape[0]), rng.integers(0, classes.shape[1])
            classes[row : row + 40, column : column + 35] = value
    hidden = {120: classes != 4}
    hidden[60] = np.kron(hidden[120], np.ones((2, 2), bool))
    for band in BANDS:
        gsd = 60 if band in ("red", "nir") else 120
        share = _ground(grids[gsd], late=day.year == 2020)
        low, high = SPECTRA[band]
        plane = (low + (high - low) * share) + rng.integers(-20, 20, share.shape, np.int16)
        cover = hidden[gsd][: plane.shape[0], : plane.shape[1]]
        plane[: cover.shape[0], : cover.shape[1]][cover] = 6000
        assets[band] = _write(folder, name, band, grids[gsd], plane.astype(np.uint16), 0)
    if name != "west-2019-08-20":  # one scene has to be judged by its spectrum
        assets["scl"] = _write(folder, name, "scl", grids[120], classes, 0)
    if name == "east-2019-09-04":
        _damage(Path(assets["nir"].href))
    # The raster of this scene reaches farther west than its footprint: into another tile.
    cut = 4 * 1536.0 if name == "east-2019-08-05" else 0.0
    return ItemRow(
        id=name,
        collection="sentinel-2-l2a",
        sensor="sentinel-2",
        datetime=dt.datetime(day.year, day.month, day.day, 10, tzinfo=dt.UTC),
        solar_day=day,
        geometry=_footprint(grids[60], cut_west_m=cut),
        assets=assets,
        platform="sentinel-2a",
        baseline="02.08",
        orbit=122,
    )


def _radar_pass(folder: Path, day: dt.date) -> list[ItemRow]:
    """Frames that meet on a tile's border; the last pass has no orbit number."""
    border = 2 * TILE_M
    unknown = day == dt.date(2020, 9, 17)
    rows = []
    for name, south, north in (("south", -2400, border), ("north", border, 79_200)):
        grid = _grid(-3600, south, 80_400, north, gsd_m=120)
        scene = f"{name}-{day}"
        rng = np.random.default_rng(_seed(scene))
        share = _ground(grid, late=day.year == 2020)
        assets = {}
        for band, level in (("vv", 0.12), ("vh", 0.03)):
            power = level * (1 - 0.6 * share) * rng.gamma(5, 0.2, share.shape)
            power[:, :25] = np.nan
            assets[band] = _write(folder, scene, band, grid, power.astype(np.float32), np.nan)
        rows.append(
            ItemRow(
                id=scene,
                collection="sentinel-1-rtc",
                sensor="sentinel-1",
                datetime=dt.datetime(day.year, day.month, day.day, 5, tzinfo=dt.UTC),
                solar_day=day,
                geometry=_footprint(grid),
                assets=assets,
                platform="sentinel-1a",
                orbit=-1 if unknown else 44,
                coefficient="gamma0",
            )
        )
    return rows


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def _write(
    folder: Path, scene: str, band: str, grid: GeoBox, plane: np.ndarray, nodata: float
) -> AssetRef:
    path = folder / f"{scene}-{band}.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=grid.shape.y,
        width=grid.shape.x,
        count=1,
        dtype=plane.dtype.name,
        crs=f"EPSG:{grid.crs.epsg}",
        transform=grid.affine,
        nodata=nodata,
        tiled=True,
        blockxsize=128,
        blockysize=128,
        **({"compress": "deflate", "zlevel": 1} if band == "nir" else {}),
    ) as file:
        file.write(plane, 1)
    radar = plane.dtype == np.float32
    return AssetRef(
        str(path),
        scale=1e-4 if plane.dtype == np.uint16 else 1.0,
        nodata=nodata,
        unit="linear" if radar else "class" if band == "scl" else "reflectance",
        dtype=plane.dtype.name,
        epsg=int(grid.crs.epsg),
        transform=tuple(grid.affine[:6]),
        shape_yx=tuple(grid.shape.yx),
    )


def _damage(path: Path) -> None:
    """Spoil the head of one block, so that it cannot be decoded."""
    with rasterio.open(path) as raster:
        offset = int(raster.get_tag_item("BLOCK_OFFSET_2_5", "TIFF", bidx=1))
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 64)
