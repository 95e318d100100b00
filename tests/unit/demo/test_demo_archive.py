"""The demo's archive: the same ground in two zones, true metadata, and a score that adds up."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pystac
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate
from scipy import spatial

from terrascope.config import load_monitor_file
from terrascope.demo import DemoArchive, score_demo, write_demo_archive
from terrascope.demo.archive import demo_wishes
from terrascope.demo.site import aoi_polygon, demo_grids
from terrascope.demo.stac import Product, optical_item
from terrascope.demo.truth import ZoneTruth, read_truth
from terrascope.errors import ProductError
from terrascope.sim.land import make_land
from terrascope.sim.optical import render_optical
from terrascope.sim.scenery import Scenery
from terrascope.sim.weather import optical_passes

PERIOD = (dt.date(2023, 8, 18), dt.date(2023, 9, 10))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> DemoArchive:
    calls: list[tuple[int, int]] = []
    made = write_demo_archive(
        tmp_path_factory.mktemp("demo"),
        period=PERIOD,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert [done for done, _ in calls] == list(range(1, calls[-1][1] + 1))
    return made


@pytest.fixture(scope="module")
def items(archive: DemoArchive) -> list[dict[str, Any]]:
    lines = (archive.directory / "items.ndjson").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def read(archive: DemoArchive, item: dict[str, Any], band: str) -> np.ndarray:
    with rasterio.open(archive.directory / item["assets"][band]["href"]) as source:
        return source.read(1)


def test_two_zones_show_the_same_ground() -> None:
    west, east = (np.stack(grid.ground()) for grid in demo_grids())
    west, east = west[:, :200, -220:], east[:, :200, :220]
    lands = [make_land(*xy, seed=7) for xy in (west, east)]
    tree = spatial.cKDTree(np.column_stack([west[0].ravel(), west[1].ravel()]))
    distance, index = tree.query(np.column_stack([east[0].ravel(), east[1].ravel()]))
    both = distance < 1.5
    assert both.sum() > 2000
    same = lands[0].cover.ravel()[index[both]] == lands[1].cover.ravel()[both]
    assert same.mean() > 0.95


def test_the_area_crosses_the_border_and_the_grids_hold_it() -> None:
    area = aoi_polygon()
    assert area.bounds[0] < 18.0 < area.bounds[2]
    for grid, half in zip(demo_grids(), ((12.0, 18.0), (18.0, 24.0)), strict=True):
        assert grid.west_m % 60 == 0
        assert grid.north_m % 60 == 0
        assert grid.shape[0] % 6 == 0
        assert grid.shape[1] % 6 == 0
        part = area.intersection(shapely.box(half[0], 49, half[1], 51))
        to_zone = pyproj.Transformer.from_crs(4326, grid.zone.epsg, always_xy=True)
        x, y = to_zone.transform(*np.asarray(part.exterior.coords).T)
        assert min(x) > grid.west_m
        assert max(x) < grid.west_m + 10 * grid.shape[1]
        assert max(y) < grid.north_m
        assert min(y) > grid.north_m - 10 * grid.shape[0]


def test_the_tree_is_stac_and_its_rasters_are_what_it_says(
    archive: DemoArchive, items: list[dict[str, Any]]
) -> None:
    tree = pystac.Catalog.from_file(str(archive.catalog))
    found = {item.id for item in tree.get_items(recursive=True)}
    assert found == {item["id"] for item in items}
    assert len(found) == archive.scenes
    for item in items:
        shape_of = shapely.geometry.shape(item["geometry"])
        assert shape_of.is_valid
        assert shape_of.bounds == pytest.approx(item["bbox"])
        for key, asset in item["assets"].items():
            with rasterio.open(archive.directory / asset["href"]) as source:
                facts = asset["raster:bands"][0]
                assert list(source.shape) == asset["proj:shape"], key
                assert list(source.transform)[:6] == asset["proj:transform"]
                assert source.crs.to_epsg() == item["properties"]["proj:epsg"]
                assert source.dtypes[0] == facts["data_type"]
                assert str(source.nodata) == str(float(facts["nodata"]))
    some = items[0]["assets"]
    for asset in (some.get("red") or some["vv"], some.get("swir16") or some["vh"]):
        valid, errors, _ = cog_validate(str(archive.directory / asset["href"]), quiet=True)
        assert valid, errors


def test_the_offset_is_stated_as_it_is_stored(
    archive: DemoArchive, items: list[dict[str, Any]]
) -> None:
    optical = [item for item in items if "scl" in item["assets"]]
    old = [i for i in optical if i["properties"]["s2:processing_baseline"] == "03.01"]
    assert len({i["properties"]["datetime"] for i in old}) == 1
    assert len(optical) > len(old)
    for item in optical:
        facts = item["assets"]["green"]["raster:bands"][0]
        assert facts["offset"] == (0.0 if item in old else -0.1)
        assert item["properties"]["earthsearch:boa_offset_applied"] is False
        numbers, scl = read(archive, item, "green"), read(archive, item, "scl")
        assert ((numbers == 0) == np.isin(scl, 0).repeat(2, 0).repeat(2, 1)).mean() > 0.99
        green_land = numbers[(scl == 4).repeat(2, 0).repeat(2, 1)]
        if green_land.size > 1000:
            reflectance = green_land * facts["scale"] + facts["offset"]
            # Haze and thin cloud lift the median; the dark end stays where vegetation is.
            assert 0.0 < np.percentile(reflectance, 3) < 0.085


def test_the_footprint_of_a_partial_swath_holds_what_was_imaged() -> None:
    passes = optical_passes(dt.date(2023, 1, 3), dt.date(2024, 12, 30), seed=7, overcast=0.75)
    assert 0.05 < np.mean([one.swath is not None for one in passes]) < 0.3
    grid = demo_grids()[0]
    scenery = Scenery(make_land(*grid.ground(), seed=7))
    scenes = (render_optical(scenery, one) for one in passes if one.swath is not None)
    scene = next(scene for scene in scenes if 0.1 < scene.imaged.mean() < 0.9)
    item = optical_item(grid, scene, Product("05.10"))
    rows, columns = (np.arange(size) + 0.5 for size in grid.shape)
    to_lonlat = pyproj.Transformer.from_crs(grid.zone.epsg, 4326, always_xy=True)
    places = np.meshgrid(grid.west_m + 10 * columns, grid.north_m - 10 * rows)
    footprint = shapely.geometry.shape(item["geometry"])
    inside = shapely.contains_xy(footprint, *to_lonlat.transform(*places))
    assert (inside == scene.imaged).mean() > 0.999


def test_radar_is_linear_gamma_nought_of_two_orbits(
    archive: DemoArchive, items: list[dict[str, Any]]
) -> None:
    radar = [item for item in items if "vv" in item["assets"]]
    assert {item["properties"]["sat:relative_orbit"] for item in radar} == {51, 175}
    vv, vh = read(archive, radar[0], "vv"), read(archive, radar[0], "vh")
    assert (vv > 0).all()
    assert 0.02 < np.median(vv) < 0.4
    assert np.median(vh) < 0.5 * np.median(vv)


def test_the_monitor_file_is_sound(archive: DemoArchive, tmp_path: Path) -> None:
    file = archive.write_monitor_file(output=tmp_path / "out", url="http://127.0.0.1:9")
    settings = load_monitor_file(file)
    assert settings.aoi == str(archive.aoi.resolve())
    assert settings.output == str((tmp_path / "out").resolve())
    assert settings.target.spans == (archive.target,)
    assert settings.url == "http://127.0.0.1:9"
    assert settings.model is None
    archive.write_monitor_file(output=tmp_path / "out", model="nano@promoted")
    model = load_monitor_file(file).model
    assert model is not None
    assert (model.name, model.budget) == ("nano@promoted", "screened")


def test_changes_happen_between_baseline_and_the_end_of_the_target(archive: DemoArchive) -> None:
    for wish in demo_wishes(archive.target[0].year):
        assert archive.baseline[1] < wish.start
        assert wish.start + dt.timedelta(days=wish.days) <= archive.target[0]
        assert wish.end is None or wish.end > archive.target[1]


def write_maps(
    output: Path,
    truth: ZoneTruth,
    zone: str,
    status: np.ndarray,
    probability: dict[str, np.ndarray] | None = None,
) -> None:
    folder = output / "maps" / zone
    folder.mkdir(parents=True, exist_ok=True)
    # The result lies on a larger grid than the truth, and reaches beyond it to the west only.
    margin = ((0, 0), (7, 0))
    layers = {
        "status": np.pad(status, margin, constant_values=255),
        "change_kind": np.pad(truth.kind, margin).astype(np.uint8),
        **{
            f"{name}_probability": np.pad(plane, margin, constant_values=np.nan)
            for name, plane in (probability or {}).items()
        },
    }
    transform = rasterio.Affine(10, 0, truth.west_m - 70.0, 0, -10, truth.north_m)
    for name, plane in layers.items():
        with rasterio.open(
            folder / f"{name}.tif",
            "w",
            driver="GTiff",
            width=plane.shape[1],
            height=plane.shape[0],
            count=1,
            dtype=plane.dtype.name,
            crs=f"EPSG:{truth.epsg}",
            transform=transform,
            nodata=255 if plane.dtype == np.uint8 else np.nan,
        ) as target:
            target.write(plane, 1)


def test_a_perfect_map_scores_one_and_a_false_one_is_counted(
    archive: DemoArchive, tmp_path: Path
) -> None:
    truths = {zone: read_truth(file) for zone, file in archive.truth.items()}
    archive = dataclasses.replace(
        archive,
        baseline=(PERIOD[0], dt.date(2023, 8, 31)),
        target=(dt.date(2023, 9, 1), PERIOD[1]),
    )
    for zone, truth in truths.items():
        status = np.where(truth.kind > 0, 2, 1).astype(np.uint8)
        status[:, :9] = 255
        status[:5] = 0
        write_maps(tmp_path, truth, zone, status)
    perfect = score_demo(tmp_path, archive)
    assert perfect.change.f1 == 1.0
    assert perfect.kinds_right.share == 1.0
    assert all(one.share == 1.0 for one in perfect.found.values())
    assert perfect.harvest.alarms == perfect.missed_cloud.alarms == 0
    assert perfect.alone == {}
    assert perfect.observed.share == pytest.approx(1 - 5 / truths["33N"].kind.shape[0], abs=0.01)
    assert "F1 1.000" in str(perfect)
    for zone, truth in truths.items():
        write_maps(tmp_path, truth, zone, np.full(truth.kind.shape, 2, np.uint8))
    everywhere = score_demo(tmp_path, archive)
    assert everywhere.change.recall == 1.0
    changed = sum(int((t.kind > 0).sum()) for t in truths.values())
    pixels = sum(t.kind.size for t in truths.values())
    assert everywhere.change.precision == pytest.approx(changed / pixels)
    assert everywhere.rotation.share == everywhere.missed_cloud.share == 1.0
    assert everywhere.rival.fit.confusion.f1 < 1.0


def test_screen_and_model_are_scored_where_the_model_looked(
    archive: DemoArchive, tmp_path: Path
) -> None:
    looked, changed = 0, 0
    for zone, truth in {z: read_truth(file) for z, file in archive.truth.items()}.items():
        real = truth.kind > 0
        model = np.where(real, 0.4, 0.6).astype(np.float32)
        model[:, 40:] = np.nan
        status = np.full(real.shape, 2, np.uint8)
        status[:3] = 0
        said = {"screen": real.astype(np.float32) / 2, "model": model}
        write_maps(tmp_path, truth, zone, status, said)
        looked += real[3:, :40].size
        changed += int(real[3:, :40].sum())
    assert 0 < changed < looked / 2
    score = score_demo(tmp_path, archive)
    assert {one.pixels for one in score.alone.values()} == {looked}
    assert score.alone["screen"].f1 == 1.0
    assert score.alone["model"].f1 == 0.0
    assert score.alone["fused"].precision == pytest.approx(changed / looked)
    assert f"({looked:,} pixels): screen 1.000, model 0.000" in str(score)


def test_a_missing_map_is_named(archive: DemoArchive, tmp_path: Path) -> None:
    with pytest.raises(ProductError, match=r"status\.tif: found no map"):
        score_demo(tmp_path, archive)
