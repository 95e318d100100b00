"""COGs of our own making, read by GDAL and judged by rio-cogeo."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from terrascope.products import blocks, cog
from terrascope.products.cog import CogWriter, write_cog
from terrascope.products.layers import LAYERS, map_values

TRANSFORM = Affine(10, 0, 300_000, 0, -10, 5_500_000)
CRS = "EPSG:32633"


def sample(spec, shape, seed=3):
    """Values of a layer, a third of them missing, and missing altogether on the left."""
    rng = np.random.default_rng(seed)
    if spec.dtype == "float32":
        values = rng.random(shape, np.float32)
    else:
        values = rng.integers(0, 5, shape).astype(spec.dtype) * (1 if spec.classes else 1200)
        values = values.astype(spec.dtype)
    values[rng.random(shape) < 0.3] = spec.nodata
    values[:, : shape[1] // 3] = spec.nodata
    return values


@pytest.mark.parametrize("name", list(LAYERS))
def test_gdal_reads_what_was_written(tmp_path, name):
    spec = LAYERS[name]
    values = sample(spec, (1111, 1733))
    path = write_cog(tmp_path / "maps" / f"{name}.tif", values, spec, crs=CRS, transform=TRANSFORM)
    valid, errors, warnings = cog_validate(path, strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), values)
        assert raster.crs.to_epsg() == 32633
        assert raster.transform == TRANSFORM
        assert raster.nodata == spec.nodata or np.isnan([raster.nodata, spec.nodata]).all()
        assert raster.descriptions == (spec.description,)
        assert (raster.units[0] or "") == spec.unit
        assert raster.overviews(1) == [2, 4, 8]
        assert raster.tags()["AREA_OR_POINT"] == "Area"
        if spec.classes:
            assert raster.colorinterp == (ColorInterp.palette,)
            assert {k: raster.colormap(1)[k] for k in spec.colours} == spec.colours
            assert raster.tags()["classes"].startswith("0=")
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_bytes_depend_on_the_pixels_alone(tmp_path):
    spec = LAYERS["change_probability"]
    values = sample(spec, (1200, 1300))
    write_cog(tmp_path / "a.tif", values, spec, crs=CRS, transform=TRANSFORM, tags={"run": "x"})
    with CogWriter(
        tmp_path / "b.tif",
        spec,
        crs=CRS,
        transform=TRANSFORM,
        shape_yx=values.shape,
        tags={"run": "x"},
    ) as writer:
        for row in (900, 600, 0, 300):
            for column in (1000, 0, 500):
                writer.write(row, column, values[row : row + 300, column : column + 500])
    first, second = (
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.tif", "b.tif")
    )
    assert first == second


def test_big_tiff_is_the_same_raster(tmp_path, monkeypatch):
    spec = LAYERS["detected_on"]
    values = sample(spec, (700, 900))
    monkeypatch.setattr(cog, "_CLASSIC_LIMIT", 1000)
    path = write_cog(tmp_path / "big.tif", values, spec, crs=CRS, transform=TRANSFORM)
    assert path.read_bytes()[:4] == b"II\x2b\0"
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), values)


def test_a_failure_leaves_the_old_file(tmp_path):
    spec = LAYERS["status"]
    path = tmp_path / "status.tif"
    write_cog(path, sample(spec, (20, 30)), spec, crs=CRS, transform=TRANSFORM)
    before = path.read_bytes()
    writer = CogWriter(path, spec, crs=CRS, transform=TRANSFORM, shape_yx=(20, 30))
    writer.write(0, 0, np.ones((5, 5), np.uint8))
    with pytest.raises(RuntimeError, match="cut"), writer:
        raise RuntimeError("cut")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_empty_ground_costs_nothing(tmp_path):
    spec = LAYERS["status"]
    shape = (200_000, 150_000)
    with CogWriter(
        tmp_path / "s.tif", spec, crs=CRS, transform=TRANSFORM, shape_yx=shape
    ) as writer:
        writer.write(199_999, 149_990, np.full((1, 10), 2, np.uint8))
        writer.write(100_000, 100, np.full((300, 300), 255, np.uint8))
    assert (tmp_path / "s.tif").stat().st_size < 6_000_000  # the table of 610,000 blocks
    with rasterio.open(tmp_path / "s.tif") as raster:
        assert (raster.read(1, window=((199_990, 200_000), (149_980, 150_000))) == 2).sum() == 10
        small = raster.read(1, out_shape=(196, 147))
        assert small[-1, -1] == 2  # the last overview still shows it
        assert (small != 255).sum() == 1


@pytest.mark.parametrize("name", ["status", "change_probability", "detected_on"])
def test_halving_follows_the_rule(name):
    spec = LAYERS[name]
    values = sample(spec, (40, 60))
    for (i, j), found in np.ndenumerate(blocks.shrink(values, spec)):
        four = values[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel()
        four = four[~spec.is_nodata(four)]
        if not four.size:
            assert spec.is_nodata(found)
        elif spec.overview == "average":
            assert found == pytest.approx(four.mean(), rel=1e-6)
        elif spec.overview == "nearest":
            assert found == four[0]
        else:
            assert found == max(four.tolist(), key=lambda v: (four.tolist().count(v), v))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_windows_with_masks_merge(tmp_path, data):
    """Any windows, masked, overlapping, reaching out of the raster: as numpy would do it."""
    spec = LAYERS["observations"]
    shape = (700, 600)
    expected = np.full(shape, 65535, np.uint16)
    path = tmp_path / "m.tif"
    with CogWriter(path, spec, crs=CRS, transform=TRANSFORM, shape_yx=shape) as writer:
        for i in range(data.draw(st.integers(0, 4))):
            row, column = data.draw(st.tuples(st.integers(-50, 690), st.integers(-50, 590)))
            size = data.draw(st.tuples(st.integers(1, 300), st.integers(1, 300)))
            rng = np.random.default_rng(i)
            values = rng.integers(0, 99, size).astype(np.uint16)
            where = rng.random(size) < 0.7
            writer.write(row, column, values, where)
            ys, xs = np.nonzero(where)
            keep = (ys + row >= 0) & (ys + row < 700) & (xs + column >= 0) & (xs + column < 600)
            expected[ys[keep] + row, xs[keep] + column] = values[ys[keep], xs[keep]]
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), expected)


def test_map_values_hide_what_is_outside():
    status = np.array([[255, 0, 1, 2]], np.uint8)
    days = np.array([[0, -(2**31), 18_000, 19_000]], np.int32)
    assert map_values(LAYERS["detected_on"], days, status).tolist() == [[-1, -1, 18_000, 19_000]]
    counts = np.array([[0, 0, 3, 4]], np.uint16)
    assert map_values(LAYERS["observations"], counts, status).tolist() == [[65535, 0, 3, 4]]
    share = np.array([[0.5, np.nan, 0.123456, 1.0]], np.float32)
    mapped = map_values(LAYERS["confidence"], share, status)
    assert np.isnan(mapped[0, :2]).all()
    np.testing.assert_allclose(mapped[0, 2:], [0.123456, 1.0], atol=2**-13)
