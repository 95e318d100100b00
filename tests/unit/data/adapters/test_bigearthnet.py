"""BigEarthNet v2: every band in its place, classes as CORINE has them, errors that name files."""

from __future__ import annotations

import datetime as dt
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from terrascope.data.adapters.bigearthnet import open_bigearthnet
from terrascope.errors import ReadError
from terrascope.sensors import S2_BANDS
from terrascope.vocabulary import CLASS_CODES

from .files import write_tif

PATCH = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
OTHER = "S2B_MSIL2A_20180508T093041_N9999_R136_T35VNK_05_11"
RADAR = "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57"
OTHER_RADAR = "S1A_IW_GRDH_1SDV_20180421T043251_35VNK_5_11"
SIDE = 12
CODES = {
    111: "developed area",
    121: "developed area",
    211: "crop",
    223: "crop",
    231: "grass",
    242: "",
    243: "",
    244: "",
    311: "tree",
    312: "tree",
    321: "grass",
    322: "shrub",
    324: "shrub",
    331: "bare land",
    333: "bare land",
    411: "wetland",
    421: "wetland",
    512: "water",
    523: "water",
    999: "",
}


def stored(band: str) -> np.ndarray:
    """Return numbers of a band at its own resolution, every pixel distinct, no band like another.

    The infrared bands get the same level: neighbours in the spectrum do not differ.
    """
    size = SIDE * 10 // S2_BANDS[band].gsd_m
    level = 300 if band in ("coastal", "blue", "green", "red") else 1700
    step = list(S2_BANDS).index(band)
    return (level + step + 20 * np.arange(size * size).reshape(size, size) % 400).astype(np.uint16)


def write_patch(root: Path, patch: str, radar: str) -> None:
    """Write one patch of both sensors and its map."""
    folder = root / "BigEarthNet-S2" / patch[:-6] / patch
    for name, band in S2_BANDS.items():
        write_tif(folder / f"{patch}_{band.code}.tif", stored(name), pixel=band.gsd_m)
    folder = root / "BigEarthNet-S1" / radar.rsplit("_", 3)[0] / radar
    for name, level in (("VV", -11.0), ("VH", -18.0)):
        values = level + 0.01 * np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
        write_tif(folder / f"{radar}_{name}.tif", values.astype(np.float32))
    write_tif(root / map_of(patch), codes())


def map_of(patch: str) -> Path:
    return Path("Reference_Maps") / patch[:-6] / patch / f"{patch}_reference_map.tif"


def codes() -> np.ndarray:
    return np.resize(np.array(list(CODES), np.uint16), (SIDE, SIDE))


def write_table(root: Path, rows: list[dict[str, Any]] | None = None) -> None:
    whole = {"labels": ["Pastures"], "s2v1_name": "x", "contains_seasonal_snow": False}
    rows = rows or [
        {"patch_id": PATCH, "split": "train", "country": "Austria", "s1_name": RADAR},
        {"patch_id": OTHER, "split": "test", "country": "Finland", "s1_name": OTHER_RADAR},
    ]
    pq.write_table(pa.Table.from_pylist([row | whole for row in rows]), root / "metadata.parquet")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_patch(tmp_path, PATCH, RADAR)
    write_patch(tmp_path, OTHER, OTHER_RADAR)
    write_table(tmp_path)
    return tmp_path


def test_a_patch_is_a_scene_of_both_sensors(root: Path) -> None:
    scene = open_bigearthnet(root, split="train")[0]
    assert scene.image_id == PATCH
    optical, radar = scene.window.optical, scene.window.radar
    assert optical is not None
    assert radar is not None
    assert list(optical.bands) == list(S2_BANDS)
    assert (optical.dates, radar.dates) == ((dt.date(2017, 6, 13),), (dt.date(2017, 6, 12),))
    for place, (name, band) in enumerate(S2_BANDS.items()):
        own, times = stored(name), band.gsd_m // 10
        for row in range(SIDE):
            for column in range(SIDE):
                number = own[row // times, column // times]
                assert optical.values[0, place, row, column] == pytest.approx(number * 1e-4)
    assert radar.values[0, 1, 3, 4] == pytest.approx(-18.0 + 0.01 * (3 * SIDE + 4))
    assert scene.window.geometry.pixel_size_yx_m == (10.0, 10.0)
    wanted = [CLASS_CODES.get(CODES[int(code)], 0) for code in codes().ravel()]
    np.testing.assert_array_equal(scene.cover[0].ravel(), wanted)


def test_far_dates_are_two_dates_with_the_same_classes(root: Path) -> None:
    scene = open_bigearthnet(root, countries=("Finland",))[0]
    assert scene.dates == (dt.date(2018, 4, 21), dt.date(2018, 5, 8))
    np.testing.assert_array_equal(scene.cover[0], scene.cover[1])
    alone = open_bigearthnet(root, countries=("Finland",), radar=False)[0]
    assert alone.window.radar is None
    assert alone.dates == (dt.date(2018, 5, 8),)


def test_scenes_are_read_when_they_are_asked_for(root: Path) -> None:
    (root / map_of(OTHER)).unlink()
    scenes = open_bigearthnet(root)
    assert len(scenes) == 2
    assert scenes[0].image_id == PATCH
    assert [one.image_id for one in pickle.loads(pickle.dumps(scenes[:1]))] == [PATCH]
    with pytest.raises(ReadError, match=rf"{OTHER} \[reference_map\]: there is no file"):
        scenes[1]


def test_stored_zero_is_missing(root: Path) -> None:
    values = stored("red")
    values[2, 5] = 0
    write_tif(root / "BigEarthNet-S2" / PATCH[:-6] / PATCH / f"{PATCH}_B04.tif", values)
    optical = open_bigearthnet(root)[0].window.optical
    assert optical is not None
    missing = np.argwhere(np.isnan(optical.values[0]))
    assert missing.tolist() == [[list(S2_BANDS).index("red"), 2, 5]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel": 5.0}, r"swir16\]: .*expected the ground of"),
        ({"west": 400_060.0}, r"swir16\]: .*expected the ground of"),
        ({"epsg": 32634}, r"swir16\]: .*expected the ground of"),
        ({"bands": 2}, r"swir16\]: the file has 2 bands, expected 1"),
        ({"format": True}, r"swir16\]: .*(not recognized|not a TIFF|not found)"),
    ],
)
def test_a_file_that_does_not_belong_is_refused(
    root: Path, change: dict[str, Any], message: str
) -> None:
    path = root / "BigEarthNet-S2" / PATCH[:-6] / PATCH / f"{PATCH}_B11.tif"
    values = stored("swir16")
    if change.pop("format", False):
        path.write_text('<VRTDataset rasterXSize="6" rasterYSize="6"></VRTDataset>')
    else:
        if change.pop("bands", 1) == 2:
            values = np.stack([values, values])
        write_tif(path, values, **{"pixel": 20.0, **change})
    with pytest.raises(ReadError, match=message):
        open_bigearthnet(root)[0]


def test_codes_of_another_map_are_refused(root: Path) -> None:
    write_tif(root / map_of(PATCH), np.full((SIDE, SIDE), 7, np.uint16))
    with pytest.raises(ReadError, match=r"reference_map\]: codes \[7\] are no classes"):
        open_bigearthnet(root)[0]


@pytest.mark.parametrize("name", ["../../etc/passwd", f"{PATCH}/../x", "", None])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str | None) -> None:
    good = {"patch_id": PATCH, "split": "train", "country": "Austria", "s1_name": RADAR}
    write_table(tmp_path, [good | {"patch_id": name}])
    with pytest.raises(ReadError, match=r"metadata.parquet \[patch_id\]"):
        open_bigearthnet(tmp_path)
    write_table(tmp_path, [good | {"s1_name": name}])
    with pytest.raises(ReadError, match=r"metadata.parquet \[s1_name\]"):
        open_bigearthnet(tmp_path)
    assert len(open_bigearthnet(tmp_path, radar=False)) == 1


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="not a readable Parquet file"):
        open_bigearthnet(tmp_path)
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ReadError, match="not a readable Parquet file"):
        open_bigearthnet(tmp_path)
    pq.write_table(pa.table({"patch_id": [PATCH]}), tmp_path / "metadata.parquet")
    with pytest.raises(ReadError, match="country"):
        open_bigearthnet(tmp_path)
    with pytest.raises(ValueError, match="split"):
        open_bigearthnet(tmp_path, split="dev")
