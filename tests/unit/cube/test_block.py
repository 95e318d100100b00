"""One block: what is masked, scaled, composited and left out, and that its size changes nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from terrascope.cube.block import compute_block
from terrascope.cube.load import load
from terrascope.cube.spec import CubeSpec
from terrascope.errors import ReadError
from terrascope.kernels.speckle import LOOKS
from terrascope.periods import Cadence
from terrascope.readers._memory import MemoryRaster, MemoryReader
from terrascope.types import NODATA_INT16, AssetRef, Quality, SceneRef

GRID = GeoBox((120, 140), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32633")
BANDS = ("blue", "red", "nir")


class Archive:
    """Scenes in memory, and the reader that knows them."""

    def __init__(self) -> None:
        self.rasters: dict[str, MemoryRaster | ReadError] = {}
        self.reads = 0

    @property
    def reader(self) -> MemoryReader:
        return MemoryReader(self.rasters)

    def scene(
        self,
        name: str,
        planes: dict[str, np.ndarray | float],
        *,
        day: int = 1,
        grid: GeoBox = GRID,
        **facts: object,
    ) -> SceneRef:
        sensor = str(facts.pop("sensor", "sentinel-2"))
        offset = float(facts.pop("offset", 0.0))  # type: ignore[arg-type]
        unit = str(facts.pop("unit", "reflectance"))
        assets = {}
        for band, plane in planes.items():
            integer = np.uint8 if band == "scl" else np.uint16
            dtype = integer if sensor == "sentinel-2" else np.float32
            numbers = np.full(grid.shape.yx, plane, dtype) if np.isscalar(plane) else plane
            numbers = np.asarray(numbers, dtype)
            step = round(grid.shape.y / numbers.shape[0])
            own = grid if step == 1 else grid.zoom_out(step)
            href = f"{name}/{band}"
            self.rasters[href] = MemoryRaster.on(own, numbers)
            radar = sensor == "sentinel-1"
            assets[band] = AssetRef(
                href,
                scale=1.0 if radar or band == "scl" else 1e-4,
                offset=0.0 if band == "scl" else offset,
                nodata=float("nan") if radar else 0,
                unit="class" if band == "scl" else unit,
                epsg=own.crs.epsg,
                transform=tuple(own.affine[:6]),
                shape_yx=own.shape.yx,
            )
        when = dt.datetime(2020, 7, day, 10, tzinfo=dt.UTC)
        return SceneRef(name, "c", sensor, when, when.date(), assets, **({"platform": "a"} | facts))  # type: ignore[arg-type]


@pytest.fixture
def archive() -> Archive:
    return Archive()


def ground(seed: int, shape: tuple[int, int] = (120, 140)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "blue": rng.integers(200, 500, shape),
        "red": rng.integers(200, 600, shape),
        "nir": rng.integers(2500, 4000, shape),
    }


def clouds(seed: int, shape: tuple[int, int] = (120, 140)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scl = np.full(shape, 4, np.uint8)
    for value in (9, 3, 11, 8, 10):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        scl[y : y + 14, x : x + 17] = value
    scl[:, : seed % 9] = 0
    return scl


def optical(**changes: object) -> CubeSpec:
    return CubeSpec("sentinel-2", BANDS, **changes)  # type: ignore[arg-type]


def test_a_clear_scene_comes_through_untouched(archive: Archive) -> None:
    planes = ground(1)
    planes["red"][3, 4] = 0
    block = compute_block([archive.scene("a", planes)], optical(mask="none"), GRID, archive.reader)
    truth = np.stack([planes[b] for b in BANDS]).astype(np.int16)
    truth[:, 3, 4] = [planes["blue"][3, 4], NODATA_INT16, planes["nir"][3, 4]]
    seen = np.ones(GRID.shape.yx, bool)
    seen[3, 4] = False
    np.testing.assert_array_equal(block.values[:, seen], truth[:, seen])
    assert (block.values[:, 3, 4] == NODATA_INT16).all()
    np.testing.assert_array_equal(block.observed, seen.astype(np.uint16))
    assert block.quality[3, 4] == Quality.SCENE | Quality.NODATA
    assert set(np.unique(block.quality[seen])) == {int(Quality.SCENE)}
    assert block.quarantined == ()


def test_scl_masks_and_grows(archive: Archive) -> None:
    scl = np.full(GRID.shape.yx, 4, np.uint8)
    scl[50, 60], scl[20, 20], scl[100, 100] = 9, 3, 11
    scene = archive.scene("a", ground(1) | {"scl": scl})
    block = compute_block([scene], optical(mask_dilation_m=30), GRID, archive.reader)
    y, x = np.indices(GRID.shape.yx)
    cloud, shadow = np.hypot(y - 50, x - 60) <= 3, np.hypot(y - 20, x - 20) <= 3
    snow = (y == 100) & (x == 100)
    np.testing.assert_array_equal((block.quality & Quality.CLOUD) != 0, cloud)
    np.testing.assert_array_equal((block.quality & Quality.SHADOW) != 0, shadow)
    np.testing.assert_array_equal((block.quality & Quality.SNOW) != 0, snow)
    np.testing.assert_array_equal(block.observed == 0, cloud | shadow | snow)
    np.testing.assert_array_equal(block.values[1] == NODATA_INT16, cloud | shadow | snow)
    assert (block.quality & Quality.BY_SCL).all()


def test_without_scl_the_spectrum_is_asked(archive: Archive) -> None:
    planes = ground(1)
    for band, value in (("blue", 5000), ("red", 5000), ("nir", 5500)):
        planes[band][40:70, 40:70] = value
    scene = archive.scene("a", planes)
    block = compute_block([scene], optical(), GRID, archive.reader)
    assert not block.observed[35:75, 40:70].any()
    assert block.observed[:30].all()
    assert (block.quality & Quality.BY_SPECTRUM).all()
    kept = compute_block([scene], optical(mask="none"), GRID, archive.reader)
    assert kept.observed.all()
    classified = compute_block([scene], optical(mask="scl"), GRID, archive.reader)
    assert [q.band for q in classified.quarantined] == ["scl"]


def test_offsets_are_taken_off(archive: Archive) -> None:
    planes = ground(1)
    old = archive.scene("old", planes, baseline="02.08")
    new = archive.scene("new", {b: p + 1000 for b, p in planes.items()}, offset=-0.1)
    first, second = (
        compute_block([scene], optical(mask="none"), GRID, archive.reader) for scene in (old, new)
    )
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize(
    ("shift", "offset", "cause"), [(0, -0.1, "subtracted twice"), (1000, 0.0, "not subtracted")]
)
def test_a_lying_offset_is_quarantined(
    archive: Archive, shift: int, offset: float, cause: str
) -> None:
    planes = {b: p + shift for b, p in ground(1).items()}
    bad = archive.scene("bad", planes, offset=offset, day=2)
    good = archive.scene("good", ground(1), day=1)
    block = compute_block([bad, good], optical(mask="none"), GRID, archive.reader)
    (quarantine,) = block.quarantined
    assert quarantine.item == "bad"
    assert cause in quarantine.cause
    assert (block.observed == 1).all()
    assert (block.quality & Quality.FAILED).all()


def test_failures_leave_the_other_scenes(archive: Archive) -> None:
    scenes = [archive.scene(name, ground(i), day=i + 1) for i, name in enumerate("abc")]
    archive.rasters["b/nir"] = ReadError(
        "timed out", item="b", band="nir", url="https://x/b.tif", transient=True
    )
    scenes.append(archive.scene("d", {"blue": 1.0, "red": 2.0}, day=4))
    block = compute_block(scenes, optical(mask="none", composite="mean"), GRID, archive.reader)
    assert [(q.item, q.band, q.transient) for q in block.quarantined] == [
        ("b", "nir", True),
        ("d", "nir", False),
    ]
    assert (block.observed == 2).all()
    assert (block.quality == Quality.SCENE | Quality.FAILED).all()
    a, c = ground(0)["nir"], ground(2)["nir"]
    np.testing.assert_array_equal(block.values[2], np.floor((a + c) / 2 + 0.5))


def test_overlapping_tiles_of_one_pass_count_once(archive: Archive) -> None:
    planes = ground(1)
    left = archive.scene("left", {b: p[:, :90] for b, p in planes.items()}, grid=GRID[:, :90])
    right = archive.scene("right", {b: p[:, 50:] for b, p in planes.items()}, grid=GRID[:, 50:])
    later = archive.scene("later", ground(2), day=6)
    spec = optical(mask="none")
    one = compute_block([right, left], spec, GRID, archive.reader)
    assert (one.observed == 1).all()
    np.testing.assert_array_equal(one.values[1], planes["red"])
    both = compute_block([left, right, later], spec, GRID, archive.reader)
    assert (both.observed == 2).all()
    other = dataclasses.replace(right, platform="b")
    split = compute_block([left, other], spec, GRID, archive.reader)
    assert (split.observed[:, 50:90] == 2).all()
    assert (split.observed[:, :50] == 1).all()


@pytest.mark.parametrize("composite", ["median", "medoid", "mean", "best", "first"])
def test_composites(archive: Archive, composite: str) -> None:
    scenes = [
        archive.scene(f"s{i}", ground(i) | {"scl": clouds(i)}, day=2 * i + 1) for i in range(5)
    ]
    spec = optical(composite=composite, mask_dilation_m=0)
    block = compute_block(scenes, spec, GRID, archive.reader)
    stack = np.full((5, 3, *GRID.shape.yx), np.nan)
    for i in range(5):
        clear = clouds(i) == 4
        stack[i][:, clear] = np.stack([ground(i)[b] for b in BANDS])[:, clear]
    count = (~np.isnan(stack[:, 0])).sum(axis=0)
    np.testing.assert_array_equal(block.observed, count)
    np.testing.assert_array_equal(block.values[0] == NODATA_INT16, count == 0)
    seen = count > 0
    if composite in ("median", "mean"):
        truth = getattr(np, f"nan{composite}")(stack[:, :, seen], axis=0)
        np.testing.assert_array_equal(block.values[:, seen], np.floor(truth + 0.5))
    else:
        same = (stack == block.values).all(axis=1)
        assert same.any(axis=0)[seen].all(), "a whole observation, not a mixture"


@pytest.mark.parametrize("infrared", ["nir", "nir08"])
def test_the_best_is_the_greenest_in_either_infrared(archive: Archive, infrared: str) -> None:
    scenes, grounds = [], []
    for i in range(3):
        bands = ground(i)
        bands[infrared] = bands.pop("nir")
        scenes.append(archive.scene(f"s{i}", bands, day=2 * i + 1))
        grounds.append(bands)
    spec = CubeSpec("sentinel-2", ("blue", "red", infrared), composite="best", mask="none")
    block = compute_block(scenes, spec, GRID, archive.reader)
    red, nir = (np.stack([g[b] for g in grounds]).astype(float) for b in ("red", infrared))
    best = ((nir - red) / (nir + red)).argmax(axis=0)
    np.testing.assert_array_equal(block.values[1], np.take_along_axis(red, best[None], 0)[0])


def test_every_solar_day_is_a_mosaic(archive: Archive) -> None:
    first = archive.scene("a", ground(1) | {"scl": clouds(1)})
    second = archive.scene("b", ground(2) | {"scl": clouds(2)}, platform="b")
    spec = optical(composite="first", cadence=Cadence.parse("P1D"), mask_dilation_m=0)
    block = compute_block([second, first], spec, GRID, archive.reader)
    one, two = clouds(1) == 4, clouds(2) == 4
    truth = np.where(one, ground(1)["nir"], np.where(two, ground(2)["nir"], NODATA_INT16))
    np.testing.assert_array_equal(block.values[2], truth)
    np.testing.assert_array_equal(block.observed, (one | two).astype(np.uint16))


def test_stored_numbers_first_scene_wins(archive: Archive) -> None:
    planes = ground(1)
    planes["blue"][:, :20] = planes["red"][:, :20] = planes["nir"][:, :20] = 0
    first = archive.scene("a", planes, offset=-0.1)
    second = archive.scene("b", dict.fromkeys(BANDS, 60000.0), grid=GRID[10:, :60])
    block = compute_block([second, first], optical(values="dn"), GRID, archive.reader)
    truth = planes["nir"].copy()
    truth[10:, :20] = 60_000
    assert block.values.dtype == np.uint16
    np.testing.assert_array_equal(block.values[2], truth)
    np.testing.assert_array_equal(block.observed == 1, truth != 0)
    assert (block.quality[:10, :20] == Quality.SCENE | Quality.NODATA).all()


def test_nothing_there(archive: Archive) -> None:
    far = GeoBox((30, 40), Affine(10, 0, 700_000, 0, -10, 5_100_000), "EPSG:32633")
    scene = archive.scene("a", ground(1))
    for scenes in ([], [scene]):
        block = compute_block(scenes, optical(), far, archive.reader)
        assert (block.values == NODATA_INT16).all()
        assert not block.observed.any()
        assert not block.quality.any()


def radar(**changes: object) -> CubeSpec:
    return CubeSpec("sentinel-1", ("vv", "vh"), **({"speckle": "none"} | changes))  # type: ignore[arg-type]


def backscatter(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = GRID.shape.yx
    return {
        band: (mean * rng.gamma(LOOKS, 1 / LOOKS, shape)).astype(np.float32)
        for band, mean in (("vv", 0.1), ("vh", 0.02))
    }


def test_radar_is_averaged_in_linear_power(archive: Archive) -> None:
    one, two = backscatter(1), backscatter(2)
    one["vh"][5, 6], two["vv"][7, 8] = -0.001, np.nan
    kind = {"sensor": "sentinel-1", "unit": "linear"}
    decibel = {b: 10 * np.log10(np.where(p > 0, p, np.nan)) for b, p in two.items()}
    scenes = [
        archive.scene("one", one, day=1, **kind),
        archive.scene("two", decibel, day=7, sensor="sentinel-1", unit="dB"),
    ]
    block = compute_block(scenes, radar(), GRID, archive.reader)
    for i, band in enumerate(("vv", "vh")):
        stack = np.stack([one[band], two[band]]).astype(float)
        stack[~(stack > 0)] = np.nan
        truth = np.rint(1000 * np.log10(np.nanmean(stack, axis=0)))
        assert np.abs(block.values[i] - truth).max() <= 1
    assert (block.observed == 2).all()
    first = compute_block(scenes, radar(composite="first"), GRID, archive.reader)
    assert np.abs(first.values[0] - np.rint(1000 * np.log10(one["vv"]))).max() <= 1


def test_radar_with_another_unit_is_quarantined(archive: Archive) -> None:
    scene = archive.scene("a", backscatter(1), sensor="sentinel-1", unit="amplitude")
    block = compute_block([scene], radar(), GRID, archive.reader)
    assert "unit 'amplitude'" in block.quarantined[0].cause
    assert not block.observed.any()


def many_optical(archive: Archive) -> list[SceneRef]:
    scenes = []
    for i in range(4):
        planes = ground(i)
        half = {"blue": planes["blue"][::2, ::2]}
        scl = {"scl": clouds(i)[::2, ::2]} if i % 2 else {}
        if not i % 2:
            for band in BANDS:
                planes[band][30:50, 60:95] = 5200
        scenes.append(archive.scene(f"s{i}", planes | half | scl, day=3 * i + 1))
    return scenes


def many_radar(archive: Archive) -> list[SceneRef]:
    return [
        archive.scene(f"r{i}", backscatter(i), day=6 * i + 1, sensor="sentinel-1", unit="linear")
        for i in range(3)
    ]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    y=st.integers(1, 139),
    x=st.integers(1, 159),
    case=st.sampled_from(
        [
            (many_optical, optical(mask_dilation_m=50)),
            (many_optical, optical(composite="medoid", mask_dilation_m=20)),
            (many_radar, radar(speckle="lee")),
            (many_radar, radar(speckle="lee", composite="first")),
        ]
    ),
)
def test_cutting_the_block_changes_nothing(
    y: int, x: int, case: tuple[Callable[[Archive], list[SceneRef]], CubeSpec]
) -> None:
    archive = Archive()
    make, spec = case
    scenes = make(archive)
    grid = GRID.pad(10)
    whole = compute_block(scenes, spec, grid, archive.reader)
    for rows in (slice(0, y), slice(y, 140)):
        for cols in (slice(0, x), slice(x, 160)):
            part = compute_block(scenes, spec, grid[rows, cols], archive.reader)
            np.testing.assert_array_equal(part.values, whole.values[:, rows, cols])
            np.testing.assert_array_equal(part.observed, whole.observed[rows, cols])
            np.testing.assert_array_equal(part.quality, whole.quality[rows, cols])


def test_lazy_dataset_equals_the_block(archive: Archive) -> None:
    scenes = many_optical(archive)
    spec = optical()
    month = Cadence.parse("P1M")
    july, august = month.periods(dt.date(2020, 7, 1), dt.date(2020, 8, 1))
    cube = load({august: [], july: scenes}, spec, GRID, archive.reader, chunk=64)
    block = compute_block(scenes, spec, GRID, archive.reader)
    assert cube.reflectance.chunksizes["y"] == (64, 56)
    np.testing.assert_array_equal(cube.reflectance[0], block.values)
    np.testing.assert_array_equal(cube.observed[0], block.observed)
    assert not cube.observed[1].any()
    decoded = xr.decode_cf(cube).reflectance[0, 1].compute()
    seen = block.observed > 0
    np.testing.assert_allclose(decoded.values[seen], block.values[1][seen] * 1e-4, rtol=1e-6)
    assert np.isnan(decoded.values[~seen]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sensor": "landsat"},
        {"bands": ()},
        {"bands": ("red", "red")},
        {"bands": ("vv",)},
        {"composite": "max"},
        {"mask": "fmask"},
        {"resampling": "cubic"},
        {"resolution_m": 0},
        {"mask_dilation_m": -1},
        {"sensor": "sentinel-1", "bands": ("vv",), "values": "dn"},
    ],
)
def test_spec_is_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        CubeSpec(**({"sensor": "sentinel-2", "bands": ("red",)} | wrong))  # type: ignore[arg-type]


def test_spec_settings_are_json_and_distinguish() -> None:
    import json

    one, two = optical(), optical(mask_dilation_m=70)
    assert json.loads(json.dumps(one.settings())) == one.settings()
    assert one.settings() != two.settings()
    assert {"scl", "blue", "green", "swir16"} <= set(one.read_bands)
    assert one.bytes_per_pixel(10) > one.bytes_per_pixel(1)
