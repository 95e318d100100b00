"""The libraries' own writers measured against those of `products.cog` and `store`.

Maps: one layer of 38,400 x 24,576 pixels with 160 patches of 250 x 200, as a sparse COG: by
`CogWriter`; by GDAL from a sparse GeoTIFF whose overviews it builds (GTiff with SPARSE_OK, then
its COG driver). Blocks: one block of probabilities by deflate level and rounding. Shards: one
tile of 4 x 1536 x 1536 numbers, whole and row by row of its chunks, by `TileWriter` and by zarr's
sharding codec; and one tile with a halo of 64 pixels read back.

    python benchmarks/encoders.py

Wall seconds are the least of three; memory is what Python and numpy hold at most beyond the
input (`tracemalloc`), which GDAL's own cache is not part of.
"""

from __future__ import annotations

import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import zarr
from affine import Affine
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate
from scipy import ndimage

from terrascope.geo.tiles import Tile, Zone
from terrascope.periods import Cadence
from terrascope.products.blocks import BLOCK
from terrascope.products.cog import CogWriter
from terrascope.products.layers import LAYERS, LayerSpec, map_values
from terrascope.store import Store, TileWriter, cube_schema, write_tile
from terrascope.store.layout import tile_slices

SHAPE = 24_576, 38_400
CRS, TRANSFORM = "EPSG:32633", Affine(10, 0, 300_000, 0, -10, 5_500_000)
SCHEMA = cube_schema(
    "sentinel-2", Zone(33, "N"), 10, Cadence.parse("P1M"), ["red", "green", "blue", "nir"]
)
TILE = Tile(Zone(33, "N"), 30, 360)
CHUNK = 512


def least(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the fastest of three calls, and MiB held at most in one more."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return min(seconds), peak


def patches(spec: LayerSpec) -> list[tuple[int, int, np.ndarray]]:
    """Places and values of 160 patches, the same every time."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(160):
        row, column = int(rng.integers(0, SHAPE[0] - 200)), int(rng.integers(0, SHAPE[1] - 250))
        field = ndimage.gaussian_filter(rng.standard_normal((200, 250)), 3)
        share = ((field - field.min()) / np.ptp(field)).astype(np.float32)
        values = share if spec.dtype == "float32" else (share * 3).astype(spec.dtype)
        found.append((row, column, map_values(spec, values, np.ones(values.shape, np.uint8))))
    return found


def by_cog_writer(path: Path, spec: LayerSpec, parts: list[tuple[int, int, np.ndarray]]) -> None:
    """Write as the products do."""
    with CogWriter(path, spec, crs=CRS, transform=TRANSFORM, shape_yx=SHAPE) as writer:
        for row, column, values in parts:
            writer.write(row, column, values)


def by_gdal(path: Path, spec: LayerSpec, parts: list[tuple[int, int, np.ndarray]]) -> None:
    """Write a sparse GeoTIFF, its overviews, and the COG of both."""
    plain = path.with_suffix(".plain.tif")
    profile = {
        "driver": "GTiff",
        "width": SHAPE[1],
        "height": SHAPE[0],
        "count": 1,
        "dtype": spec.dtype,
        "nodata": spec.nodata,
        "crs": CRS,
        "transform": TRANSFORM,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "SPARSE_OK": "TRUE",
    }
    with rasterio.Env(SPARSE_OK_OVERVIEW="ON", GDAL_TIFF_OVR_BLOCKSIZE=BLOCK):
        with rasterio.open(plain, "w", **profile) as raster:
            for row, column, values in parts:
                raster.write(values, 1, window=Window(column, row, *values.shape[::-1]))
        with rasterio.open(plain, "r+", SPARSE_OK="TRUE") as raster:
            raster.build_overviews([2, 4, 8, 16, 32, 64, 128, 256], Resampling[spec.overview])
        copy(
            plain,
            path,
            driver="COG",
            BLOCKSIZE=BLOCK,
            COMPRESS="DEFLATE",
            LEVEL=3,
            PREDICTOR="YES",
            SPARSE_OK="TRUE",
            OVERVIEWS="FORCE_USE_EXISTING",
        )
    plain.unlink()


def maps(folder: Path) -> None:
    """Print the cost of one map layer."""
    print(f"{'layer':20s} {'writer':10s} {'s':>7s} {'MB':>7s} {'MiB':>7s}  valid COG")
    for name in ("status", "change_probability"):
        spec = LAYERS[name]
        parts = patches(spec)
        for label, write in (("CogWriter", by_cog_writer), ("GDAL", by_gdal)):
            path = folder / f"{name}-{label}.tif"
            seconds, peak = least(lambda w=write, p=path, s=spec, a=parts: w(p, s, a))
            size, valid = path.stat().st_size / 1e6, cog_validate(path, strict=True)[0]
            print(f"{name:20s} {label:10s} {seconds:7.2f} {size:7.2f} {peak:7.1f}  {valid}")


def blocks() -> None:
    """Print the cost of one block of probabilities."""
    spec = LAYERS["change_probability"]
    rng = np.random.default_rng(2)
    field = ndimage.gaussian_filter(rng.standard_normal((BLOCK, BLOCK)), 2).astype(np.float32)
    share = 1 / (1 + np.exp(-40 * field))
    rounded = map_values(spec, share, np.ones(share.shape, np.uint8))
    print(f"\n{'probabilities':20s} {'level':>5s} {'ms':>7s} {'kB':>7s}")
    for label, values in (("as computed", share), ("rounded to its step", rounded)):
        planes = values.astype(">f4").view(np.uint8).reshape(BLOCK, BLOCK, 4)
        rows = planes.transpose(0, 2, 1).reshape(BLOCK, -1)
        data = np.diff(rows, axis=1, prepend=np.zeros((BLOCK, 1), np.uint8)).tobytes()
        for level in (1, 3, 6, 9):
            seconds, _ = least(lambda d=data, n=level: zlib.compress(d, n))
            size = len(zlib.compress(data, level)) / 1e3
            print(f"{label:20s} {level:5d} {seconds * 1e3:7.2f} {size:7.1f}")


def shards(folder: Path) -> None:
    """Print the cost of one tile and period of a cube."""
    rng = np.random.default_rng(3)
    field = ndimage.gaussian_filter(rng.standard_normal((4, 1536, 1536)), (0, 4, 4))
    values = (3000 + 20_000 * field + rng.normal(0, 30, field.shape)).astype(np.int16)
    store = Store.open(str(folder / "cube"))
    store.ensure_group(SCHEMA)
    rows, columns = tile_slices(TILE, 10)
    path = f"{SCHEMA.path}/reflectance"

    def ours() -> None:
        with store.begin() as batch:
            write_tile(batch.fork(), SCHEMA.path, TILE, 80, {"reflectance": values})

    def ours_by_rows() -> None:
        with store.begin() as batch:
            writer = TileWriter(batch.fork(), SCHEMA.path, TILE, 80)
            for y in range(0, 1536, CHUNK):
                writer.put("reflectance", y, 0, values[:, y : y + CHUNK])
            writer.close()

    def zarrs() -> None:
        with store.begin() as batch:
            array = zarr.open_array(batch.fork().session.store, path=path, mode="r+")
            array[80, :, rows, columns] = values

    def zarrs_by_rows() -> None:
        with store.begin() as batch:
            array = zarr.open_array(batch.fork().session.store, path=path, mode="r+")
            for y in range(0, 1536, CHUNK):
                part = slice(rows.start + y, rows.start + y + CHUNK)
                array[80, :, part, columns] = values[:, y : y + CHUNK]

    print(f"\n{'one tile, 18 MiB':34s} {'s':>7s} {'MiB':>7s}")
    for label, call in (
        ("TileWriter, whole", ours),
        ("TileWriter, by rows of chunks", ours_by_rows),
        ("zarr, whole", zarrs),
        ("zarr, by rows of chunks", zarrs_by_rows),
    ):
        print("{:34s} {:7.3f} {:7.1f}".format(label, *least(call)))
    with store.begin() as batch:
        fork = write_tile(batch.fork(), SCHEMA.path, TILE, 80, {"reflectance": values})
        batch.commit([fork], {})
    array = store.root()[path]
    around = [slice(part.start - 64, part.stop + 64) for part in (rows, columns)]

    def read() -> np.ndarray:
        return store.read_tile(SCHEMA.path, "reflectance", TILE, 80, halo_px=64)

    def read_by_zarr() -> np.ndarray:
        return np.asarray(array[80, :, around[0], around[1]])

    np.testing.assert_array_equal(read(), read_by_zarr())
    for label, call in (("read_tile, halo 64", read), ("zarr, the same window", read_by_zarr)):
        print("{:34s} {:7.3f} {:7.1f}".format(label, *least(call)))


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        maps(Path(name))
        blocks()
        shards(Path(name))


if __name__ == "__main__":
    main()
