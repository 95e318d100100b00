"""Real rasters: read from files of the same layout, mapped whole, scored against slow truths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from terrascope.evaluation.bench import BenchSettings
from terrascope.evaluation.metrics import Confusion
from terrascope.evaluation.real_change import (
    LOSS,
    Tile,
    examine_bark_beetle,
    index_drops,
    load_tiles,
    map_loss,
    score_tiles,
)
from terrascope.evaluation.real_cover import (
    ESRI,
    MERGED,
    confusion_blocks,
    examine_land_cover,
    map_cover,
    score_cover,
)
from terrascope.evaluation.real_rasters import offset_repair
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.windows import Windows
from terrascope.sensors import S2_BANDS
from terrascope.vocabulary import LAND_COVER

from .land import OPTICAL
from .tiny import tiny_examinee

SHAPE = (40, 52)


def write_item(
    folder: Path, name: str, collection: str, rasters: dict[str, np.ndarray], **properties: Any
) -> dict[str, Any]:
    """Write an item as the shared data has it; Web Mercator at 60 degrees north."""
    transform = from_origin(1_500_000.0, 8_400_000.0, 10.0, 10.0)
    assets = {}
    for key, values in rasters.items():
        path = folder / "stac" / collection / name / f"{key}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        nodata = 0 if collection != "labels" else 255
        profile: dict[str, Any] = {
            "height": SHAPE[0],
            "width": SHAPE[1],
            "count": 1,
            "dtype": values.dtype,
        }
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            crs="EPSG:3857",
            transform=transform,
            nodata=nodata,
            **profile,
        ) as file:
            file.write(values, 1)
        assets[key] = {
            "href": f"{collection}/{name}/{key}.tif",
            "proj:shape": list(SHAPE),
            "proj:transform": list(transform)[:6],
            "raster:bands": [{"data_type": str(values.dtype), "nodata": nodata}],
        }
    stated = {"dataset:subset": "bark-beetle-cz", "proj:epsg": 3857, **properties}
    box = [13.47, 59.99, 13.48, 60.0]
    return {
        "id": name,
        "collection": collection,
        "bbox": box,
        "properties": stated,
        "assets": assets,
    }


def land_items(folder: Path, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Write two places: trees beside water, whose offset was forgotten, and one under snow."""
    items = []
    wet = np.zeros(SHAPE, np.bool_)
    wet[:, :20] = True
    for name, lifted, codes in (("1D_2L", 0.1, (2, 1)), ("609U_1", 0.0, (7, 7))):
        stated: dict[str, Any] = {"dataset:subset": "terramind", "dataset:sample": name}
        stated["datetime"] = "2020-04-08T00:00:00Z"
        bands = {}
        for place, band in enumerate(S2_BANDS):
            mean = np.where(wet, OPTICAL[0, place], OPTICAL[3, place]) * rng.normal(1, 0.05, SHAPE)
            bands[band] = np.round(1e4 * (mean + lifted)).astype(np.int16)
        radar = {band: rng.normal(-12, 1, SHAPE).astype(np.float32) for band in ("vv", "vh")}
        label = {"lulc": np.where(wet, codes[1], codes[0]).astype(np.uint8)}
        items += [
            write_item(folder, f"terramind_{name}_s2", "sentinel-2-l2a", bands, **stated),
            write_item(folder, f"terramind_{name}_s1", "sentinel-1-rtc", radar, **stated),
            write_item(folder, f"terramind_{name}_lulc", "labels", label, **stated),
        ]
    return items


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    rng = np.random.default_rng(0)
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:20, 10:30] = 1
    items = []
    for month in ("201909", "202009"):
        bands = {}
        for place, band in enumerate(S2_BANDS):
            gone = (mask == 1) & (month == "202009")
            mean = np.where(gone, OPTICAL[0, place], OPTICAL[3, place])
            values = (1e4 * mean * rng.normal(1, 0.05, SHAPE)).astype(np.uint16)
            values[:2] = 0  # missing
            bands[band] = values
        day = f"{month[:4]}-{month[4:]}-15T10:00:00Z"
        name = f"bark-beetle-cz_7_{month}"
        items.append(write_item(folder, name, "sentinel-2-l2a", bands, datetime=day))
    label = {"mask": mask}
    more = {"datetime": "2020-09-15T10:00:00Z", "dataset:weak_label": False}
    items.append(write_item(folder, "bark-beetle-cz_7_damage", "labels", label, **more))
    items += land_items(folder, rng)
    text = "\n".join(json.dumps(item) for item in items)
    (folder / "stac" / "items.ndjson").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tile(shared: Path) -> Tile:
    (found,) = load_tiles(shared)
    return found


def test_tiles_are_read_with_their_true_pixels(tile: Tile, shared: Path) -> None:
    assert tile.name == "7"
    assert tile.damage.sum() == 15 * 20
    assert tile.observed.sum() == SHAPE[1] * (SHAPE[0] - 2)
    down, across = tile.window.geometry.pixel_size_yx_m
    assert down == across == pytest.approx(5.0, abs=0.01)  # 10 map metres at 60 degrees north
    stack = tile.window.optical
    assert stack is not None
    path = shared / "stac/sentinel-2-l2a/bark-beetle-cz_7_201909/red.tif"
    with rasterio.open(path) as file:
        red = file.read(1)
    assert stack.values[0, 3, 5, 7] == pytest.approx(red[5, 7] * 1e-4)
    assert np.isnan(stack.values[:, :, :2]).all()


def test_an_offset_that_the_pixels_contradict_is_repaired() -> None:
    """Trees, and a tenth of water: what is lifted or lowered by 0.1 as a whole is brought back."""
    rng = np.random.default_rng(5)
    spectra = np.where(rng.random((60, 60)) < 0.1, OPTICAL[0][:, None, None], 0)
    spectra = np.where(spectra == 0, OPTICAL[3][:, None, None], spectra)
    image = (spectra * rng.normal(1, 0.05, spectra.shape)).astype(np.float32)
    image[:, :3] = np.nan
    lifted, lowered = image + np.float32(0.1), image - np.float32(0.1)
    assert offset_repair(image) == 0
    assert offset_repair(lifted) == pytest.approx(-0.1)
    assert offset_repair(lowered) == pytest.approx(0.1)
    assert offset_repair(lifted[:, :20]) == 0  # too few pixels to tell


def test_an_index_that_is_tuned_finds_the_damage(tile: Tile) -> None:
    drops = index_drops(tile.window)
    assert (drops["NBR"][tile.damage] > 0.15).all()
    assert np.isnan(drops["NBR"][:2]).all()
    scores = score_tiles([tile], [(drops["NBR"] > 0.15).astype(np.float32)])
    assert scores["all tiles"]["f1"]["value"] == 1.0
    assert scores["weak labels"] is None


def test_scores_of_maps_are_those_of_a_slow_loop(tile: Tile) -> None:
    rng = np.random.default_rng(2)
    found = rng.random(SHAPE).astype(np.float32)
    scores = score_tiles([tile], [found])["all tiles"]
    seen = [(r, c) for r, c in np.ndindex(SHAPE) if tile.observed[r, c]]
    flagged = {p for p in seen if found[p] > 0.5}
    true = {p for p in seen if tile.damage[p]}
    counts = Confusion(len(flagged & true), len(flagged - true), len(true - flagged), len(seen))
    assert scores["f1"]["value"] == pytest.approx(counts.f1)
    assert scores["iou"]["value"] == pytest.approx(counts.iou)

    def near(place: tuple[int, int], mask: np.ndarray) -> bool:
        r, c = place
        return bool(mask[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].any())

    precision = np.mean([near(p, tile.damage) for p in flagged])
    recall = np.mean([near(p, found > 0.5) for p in true])
    expected = 2 * precision * recall / (precision + recall)
    assert scores["f1_edge"]["value"] == pytest.approx(expected)


def test_real_places_are_examined_from_their_files(shared: Path) -> None:
    """An untrained model comes out with scores, whatever they are, beside a tuned index."""
    examinee, settings = tiny_examinee(128), BenchSettings()
    told: list[tuple[int, int]] = []
    land = examine_land_cover(
        examinee, shared, None, settings, progress=lambda *done: told.append(done)
    )
    assert told == [(1, 2), (2, 2)]
    assert land["offset repaired"] == ["terramind_1D_2L_s2"]
    ours = land["TerraScope"]
    assert set(ours["iou"]) == {"tree", "water"}
    assert ours["mean_iou"]["value"] == pytest.approx(ours["by place"]["1D_2L"])
    assert np.isnan(ours["by place"]["609U_1"])  # snow throughout
    assert sum(ours["said of the snow place"].values()) == pytest.approx(1.0)

    beetle = examine_bark_beetle(examinee, shared, None, settings)
    assert (beetle["tiles"], beetle["weak tiles"]) == (1, 0)
    for name in ("TerraScope", "TerraScope, any change"):
        assert 0 <= beetle[name]["all tiles"]["f1"]["value"] <= 1
    assert beetle["tuned index"]["f1"] > 0.99


class _FromReflectance:
    """A mapper that knows the scene above: dark near infrared on the later date is loss."""

    def cover(self, windows: Windows) -> torch.Tensor:
        bright = (windows.optical[:, :, 7] > 0.2).float()
        maps = torch.zeros(*bright.shape[:2], len(LAND_COVER), *bright.shape[2:])
        maps[:, :, LAND_COVER.index("tree")] = bright
        maps[:, :, LAND_COVER.index("grass")] = 0.4 * (1 - bright)
        maps[:, :, LAND_COVER.index("shrub")] = 0.6 * (1 - bright)
        return maps


def test_maps_of_the_whole_tile_come_back_on_its_pixels(tile: Tile) -> None:
    processor = TerrascopeProcessor()

    def loss(windows: Any) -> np.ndarray:
        seen = processor(list(windows))
        fell = (seen.optical[:, 0, 7] > 0.2) & (seen.optical[:, 1, 7] < 0.2)
        return fell[:, None].float().numpy()

    (found,) = map_loss(loss, tile)
    assert found.shape == SHAPE
    scores = score_tiles([tile], [found])["all tiles"]
    assert scores["f1"]["value"] > 0.9  # the model's pixels are twice as wide
    assert scores["f1_edge"]["value"] == 1.0
    assert LOSS == "vegetation loss"


def test_land_cover_is_scored_in_merged_classes(tile: Tile) -> None:
    found = map_cover(_FromReflectance(), TerrascopeProcessor(), tile.window)
    assert found.shape == (len(MERGED), *SHAPE)
    tree, rangeland = MERGED.index("tree"), MERGED.index("rangeland")
    assert found[rangeland][0].mean() == pytest.approx(1.0)  # grass and shrub add up
    truth = np.full(SHAPE, 2, np.uint8)
    truth[:2] = 9
    truth[30:] = 7  # snow: unknown
    tables = confusion_blocks(found, truth, block_px=16)
    assert tables.shape == (3 * 4, len(MERGED), len(MERGED))
    total = tables.sum(0)
    assert total.sum() == 30 * SHAPE[1]
    assert total[rangeland, rangeland] == 2 * SHAPE[1]
    assert total[tree, tree] + total[tree, rangeland] == 28 * SHAPE[1]
    scores = score_cover({"somewhere": tables, "609U_1": 0 * tables + 1})
    union = total[rangeland].sum() + total[tree, rangeland]
    expected = (total[tree, tree] / total[tree].sum() + total[rangeland, rangeland] / union) / 2
    assert scores["mean_iou"]["value"] == pytest.approx(expected)
    assert set(scores["iou"]) == {"tree", "rangeland"}
    assert set(ESRI.values()) == set(MERGED)
