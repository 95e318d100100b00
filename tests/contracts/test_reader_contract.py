"""What every reader promises, run on every reader; the truth is rasterio, or written-out maths."""

from __future__ import annotations

import abc
import datetime as dt
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import stackstac
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject, transform
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

from terrascope.errors import ReadError
from terrascope.readers import Reader, open_reader
from terrascope.readers._memory import MemoryRaster, MemoryReader
from terrascope.types import AssetRef, SceneRef

UTM = "EPSG:32633"


def texture(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    """Return land-like uint16 numbers with a few missing pixels and a sharp edge."""
    rng = np.random.default_rng(seed)
    land = gaussian_filter(rng.normal(size=shape), 2) * 6000 + rng.normal(size=shape) * 60 + 2500
    land[:, shape[1] // 2 :] += 900
    numbers = land.clip(1, 12000).astype(np.uint16)
    numbers[20:40, 30:60] = 0
    numbers[rng.random(shape) < 0.002] = 0
    return numbers


class Rasters:
    """Three rasters of different grids, as files and in memory."""

    def __init__(self, folder: Path) -> None:
        self.grids = {
            "red": GeoBox((301, 260), Affine(10, 0, 500_000, 0, -10, 4_600_000), UTM),
            "swir16": GeoBox((151, 130), Affine(20, 0, 500_000, 0, -20, 4_600_000), UTM),
            "coastal": GeoBox((260, 281), Affine(10, 0, 1_669_800, 0, -10, 5_096_000), "EPSG:3857"),
        }
        self.numbers = {b: texture(g.shape.yx, i) for i, (b, g) in enumerate(self.grids.items())}
        self.memory: dict[str, MemoryRaster | ReadError] = {}
        assets = {}
        for band, grid in self.grids.items():
            path = folder / f"{band}.tif"
            with rasterio.open(
                path,
                "w",
                driver="COG",
                height=grid.shape.y,
                width=grid.shape.x,
                count=1,
                dtype="uint16",
                crs=str(grid.crs),
                transform=grid.affine,
                nodata=0,
                blocksize=128,
                compress="deflate",
            ) as file:
                file.write(self.numbers[band], 1)
            assets[band] = AssetRef(
                href=str(path),
                nodata=0,
                epsg=grid.crs.epsg,
                transform=tuple(grid.affine[:6]),
                shape_yx=grid.shape.yx,
            )
            self.memory[str(path)] = MemoryRaster.on(grid, self.numbers[band], nodata=0)
        when = dt.datetime(2020, 7, 1, 10, tzinfo=dt.UTC)
        self.scene = SceneRef("S2_TEST", "s2", "sentinel-2", when, when.date(), assets)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> Rasters:
    return Rasters(tmp_path_factory.mktemp("rasters"))


class ReaderContract(abc.ABC):
    """The contract; subclasses say how to open a reader."""

    @abc.abstractmethod
    def open(self, rasters: Rasters) -> Reader:
        """Return the reader under test."""

    @pytest.fixture
    def reader(self, rasters: Rasters) -> Reader:
        return self.open(rasters)

    def test_is_a_reader_and_travels(self, reader: Reader, rasters: Rasters) -> None:
        assert isinstance(reader, Reader)
        again = pickle.loads(pickle.dumps(reader))
        grid = rasters.grids["red"][5:9, 7:12]
        first, second = (
            r.read(rasters.scene, ["red"], grid, resampling="nearest") for r in (reader, again)
        )
        np.testing.assert_array_equal(first, second)

    def test_same_grid_gives_the_stored_numbers(self, reader: Reader, rasters: Rasters) -> None:
        grid = rasters.grids["red"]
        got = reader.read(rasters.scene, ["red"], grid[17:290, 3:200], resampling="bilinear")
        with rasterio.open(rasters.scene.assets["red"].href) as file:
            truth = file.read(1, window=Window(3, 17, 197, 273))
        assert got.dtype == np.uint16
        np.testing.assert_array_equal(got[0], truth)

    def test_beyond_the_scene_is_fill(self, reader: Reader, rasters: Rasters) -> None:
        grid = rasters.grids["red"].pad(7, 13)
        got = reader.read(rasters.scene, ["red"], grid, resampling="bilinear")[0]
        np.testing.assert_array_equal(got[13:-13, 7:-7], rasters.numbers["red"])
        frame = np.ones(got.shape, bool)
        frame[13:-13, 7:-7] = False
        assert not got[frame].any()
        far = GeoBox((9, 8), Affine(10, 0, 900_000, 0, -10, 4_000_000), UTM)
        bands = ["red", "swir16", "coastal"]
        assert not reader.read(rasters.scene, bands, far, resampling="bilinear").any()

    def test_bands_come_in_the_order_asked_for(self, reader: Reader, rasters: Rasters) -> None:
        grid = rasters.grids["red"][50:80, 60:101]
        both = reader.read(rasters.scene, ["swir16", "red"], grid, resampling="nearest")
        assert both.shape == (2, 30, 41)
        np.testing.assert_array_equal(both[1], rasters.numbers["red"][50:80, 60:101])
        coarse = rasters.numbers["swir16"].repeat(2, 0).repeat(2, 1)[50:80, 60:101]
        np.testing.assert_array_equal(both[0], coarse)

    @pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
    @pytest.mark.parametrize(
        ("band", "affine"),
        [
            ("swir16", Affine(10, 0, 500_000, 0, -10, 4_600_000)),
            ("red", Affine(20, 0, 500_000, 0, -20, 4_600_000)),
            ("red", Affine(10, 0, 500_003, 0, -10, 4_599_996)),
        ],
        ids=["finer", "coarser", "shifted"],
    )
    def test_equals_rasterio_warp_within_one_count(
        self, reader: Reader, rasters: Rasters, band: str, affine: Affine, resampling: str
    ) -> None:
        rows, cols = rasters.grids[band].shape.yx
        factor = rasters.grids[band].affine.a / affine.a
        grid = GeoBox((int(rows * factor), int(cols * factor)), affine, UTM)
        got = reader.read(rasters.scene, [band], grid, resampling=resampling)[0]
        truth = np.zeros(grid.shape.yx, np.uint16)
        with rasterio.open(rasters.scene.assets[band].href) as file:
            reproject(
                rasterio.band(file, 1),
                truth,
                src_nodata=0,
                dst_nodata=0,
                dst_transform=affine,
                dst_crs=UTM,
                resampling=Resampling[resampling],
                tolerance=0,
            )
        assert np.abs(got.astype(int) - truth).max() <= 1
        np.testing.assert_array_equal(got == 0, truth == 0)

    def test_equals_gdal_across_reference_systems(self, reader: Reader, rasters: Rasters) -> None:
        """Web Mercator at 10 map metres (7.6 m on the ground) onto UTM at 10 m.

        GDAL is told the kernel's width and to transform every pixel, since by default it
        derives both from the window at hand.
        """
        source = rasters.grids["coastal"]
        grid = GeoBox((220, 230), Affine(10, 0, 500_010, 0, -10, 4_600_480), UTM)
        got = reader.read(rasters.scene, ["coastal"], grid, resampling="bilinear")[0]
        down, right = kernel_scale(source, grid)
        with (
            rasterio.open(rasters.scene.assets["coastal"].href) as file,
            WarpedVRT(
                file,
                crs=UTM,
                transform=grid.affine,
                height=220,
                width=230,
                resampling=Resampling.bilinear,
                tolerance=1e-9,
                XSCALE=right,
                YSCALE=down,
            ) as vrt,
        ):
            truth = vrt.read(1)
        assert 0.7 < right < 0.8
        assert (got > 0).mean() > 0.4
        differs = np.abs(got.astype(int) - truth) > 1
        assert differs.mean() < 1e-4, (
            "only where a pixel's centre lies on the border of a missing one"
        )

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        cut=st.tuples(st.integers(1, 139), st.integers(1, 149)),
        at=st.sampled_from(
            [
                ("red", Affine(10, 0, 499_700, 0, -10, 4_600_300)),
                ("red", Affine(20, 0, 499_960, 0, -20, 4_600_040)),
                ("red", Affine(30, 0, 499_980, 0, -30, 4_600_050)),
                ("swir16", Affine(10, 0, 500_100, 0, -10, 4_600_070)),
                ("coastal", Affine(10, 0, 499_700, 0, -10, 4_600_600)),
                ("coastal", Affine(20, 0, 499_700, 0, -20, 4_600_600)),
            ]
        ),
        resampling=st.sampled_from(["nearest", "bilinear"]),
    )
    def test_a_pixel_does_not_depend_on_the_window(
        self,
        reader: Reader,
        rasters: Rasters,
        cut: tuple[int, int],
        at: tuple[str, Affine],
        resampling: str,
    ) -> None:
        band, affine = at
        grid = GeoBox((140, 150), affine, UTM)
        whole = reader.read(rasters.scene, [band], grid, resampling=resampling)[0]
        y, x = cut
        for rows in (slice(0, y), slice(y, 140)):
            for cols in (slice(0, x), slice(x, 150)):
                part = reader.read(rasters.scene, [band], grid[rows, cols], resampling=resampling)[
                    0
                ]
                np.testing.assert_array_equal(part, whole[rows, cols])

    def test_missing_asset_is_an_error(self, reader: Reader, rasters: Rasters) -> None:
        with pytest.raises(
            ReadError, match=r"S2_TEST \[nir\]: the item has no such asset"
        ) as caught:
            reader.read(rasters.scene, ["red", "nir"], rasters.grids["red"], resampling="nearest")
        assert caught.value.band == "nir"
        assert not caught.value.transient

    def test_unknown_resampling_is_refused(self, reader: Reader, rasters: Rasters) -> None:
        with pytest.raises(ValueError, match="cubic"):
            reader.read(rasters.scene, ["red"], rasters.grids["red"], resampling="cubic")


class TestStackstacReader(ReaderContract):
    def open(self, rasters: Rasters) -> Reader:
        return open_reader("stackstac")

    def test_equals_plain_stackstac(self, reader: Reader, rasters: Rasters) -> None:
        grid = rasters.grids["red"][20:277, 11:203]
        got = reader.read(rasters.scene, ["red"], grid, resampling="nearest")
        with np.errstate(all="ignore"):
            plain = stackstac.stack(
                [
                    stac_item(rasters, "red").to_dict()
                    | {"properties": {"datetime": "2020-07-01T00:00:00Z", "proj:epsg": 32633}}
                ],
                assets=["red"],
                epsg=32633,
                resolution=10,
                bounds=tuple(grid.boundingbox.bbox),
                snap_bounds=False,
                rescale=False,
                dtype="uint16",
                fill_value=np.uint16(0),
            ).data.compute(scheduler="sync")
        np.testing.assert_array_equal(got, plain[0])


class TestOdcReader(ReaderContract):
    def open(self, rasters: Rasters) -> Reader:
        return open_reader("odc-stac")

    def test_equals_plain_odc_stac(self, reader: Reader, rasters: Rasters) -> None:
        grid = rasters.grids["red"][20:277, 11:203]
        got = reader.read(rasters.scene, ["red"], grid, resampling="nearest")
        plain = odc.stac.load([stac_item(rasters, "red")], bands=["red"], geobox=grid)
        np.testing.assert_array_equal(got[0], plain.red.values[0])


class TestMemoryReader(ReaderContract):
    def open(self, rasters: Rasters) -> Reader:
        return MemoryReader(rasters.memory)

    def test_an_error_in_place_of_a_raster_is_raised(self, rasters: Rasters) -> None:
        broken = ReadError("lost", item="S2_TEST", band="red", transient=True)
        reader = MemoryReader(dict.fromkeys(rasters.memory, broken))
        with pytest.raises(ReadError, match="lost"):
            reader.read(rasters.scene, ["red"], rasters.grids["red"], resampling="nearest")


def test_unknown_reader_is_refused() -> None:
    with pytest.raises(ValueError, match="stackstac"):
        open_reader("gdal")


@pytest.mark.parametrize("band", ["red", "swir16", "coastal"])
def test_readers_agree_bit_for_bit(rasters: Rasters, band: str) -> None:
    grid = GeoBox((333, 301), Affine(10, 0, 499_800, 0, -10, 4_600_100), UTM)
    readers: list[Callable[[], Any]] = [
        lambda: open_reader("stackstac"),
        lambda: open_reader("odc-stac"),
        lambda: MemoryReader(rasters.memory),
    ]
    first, *others = (r().read(rasters.scene, [band], grid, resampling="bilinear") for r in readers)
    for other in others:
        np.testing.assert_array_equal(first, other)


def kernel_scale(source: GeoBox, grid: GeoBox) -> tuple[float, float]:
    """Measure one source pixel in target pixels, along its columns and rows, at the centre."""
    x, y = source.affine.c + source.shape.x * 5.0, source.affine.f - source.shape.y * 5.0
    xs, ys = transform(str(source.crs), str(grid.crs), [x, x + 10, x], [y, y, y - 10])
    down, right = (np.hypot(xs[i] - xs[0], ys[i] - ys[0]) / 10 for i in (2, 1))
    return float(down), float(right)


def stac_item(rasters: Rasters, band: str) -> pystac.Item:
    """Return what a catalog would say of one raster."""
    grid = rasters.grids[band]
    west, south, east, north = grid.geographic_extent.boundingbox.bbox
    item = pystac.Item(
        "S2_TEST",
        grid.geographic_extent.json,
        [west, south, east, north],
        rasters.scene.datetime,
        {},
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
    )
    item.assets[band] = pystac.Asset(
        rasters.scene.assets[band].href,
        media_type=pystac.MediaType.COG,
        roles=["data"],
        extra_fields={
            "proj:epsg": grid.crs.epsg,
            "proj:code": f"EPSG:{grid.crs.epsg}",
            "proj:shape": list(grid.shape.yx),
            "proj:transform": list(grid.affine[:6]),
            "raster:bands": [{"data_type": "uint16", "nodata": 0}],
        },
    )
    return item
