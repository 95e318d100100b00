"""ChatEarthNet: nine bands of three pictures, captions by picture, masks in colours or numbers."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terrascope.data.adapters.chatearthnet import PALETTE, White, open_chatearthnet
from terrascope.errors import ReadError
from terrascope.vocabulary import CLASS_CODES

from .files import write_png, write_tif

NAME, OTHER = "3886_3141_patch01.png", "4334_2404_patch10.png"
DAY = dt.date(2020, 7, 1)
SHAPE = (6, 11)
FOLDERS = ("s2_rgb_images/s2_images", "s2_band_5_6_7_images", "s2_band_8_11_12_images")
CLASSES = ("", "water", "developed area", "tree", "shrub", "grass", "crop", "bare land")
CLASSES += ("", "wetland", "wetland", "")


def picture(folder: int) -> np.ndarray:
    """Return three channels that differ, within what neighbours in the spectrum may differ by."""
    pixels = np.arange(math.prod(SHAPE)).reshape(SHAPE) % 50
    return np.stack([60 + 3 * folder + 10 * n + pixels for n in range(3)]).astype(np.uint8)


def write_captions(root: Path, records: Any, name: str = "ChatEarthNet_caps_35_train.json") -> None:
    (root / "json_files").mkdir(exist_ok=True)
    (root / "json_files" / name).write_text(json.dumps(records))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder, path in enumerate(FOLDERS):
        write_png(tmp_path / path / NAME, picture(folder))
    write_captions(
        tmp_path,
        [
            {"image": NAME, "caption": "A river  crosses\nthe image."},
            {"image_id": OTHER, "caption": ["First.", "Second."]},
        ],
    )
    return tmp_path


def mask() -> np.ndarray:
    return np.resize(np.arange(12, dtype=np.uint8), SHAPE)


def test_pictures_are_bands_and_their_name_is_their_place(root: Path) -> None:
    found = open_chatearthnet(root, date=DAY, white=White(colour=0.3, other=0.8))
    assert found.captions == {NAME: ("A river crosses the image.",), OTHER: ("First.", "Second.")}
    scene = found.scenes[0]
    optical = scene.window.optical
    assert optical is not None
    wanted = {"red": (0, 0), "blue": (0, 2), "rededge1": (1, 0), "rededge3": (1, 2)}
    wanted |= {"nir": (2, 0), "swir16": (2, 1), "swir22": (2, 2)}
    for band, (folder, channel) in wanted.items():
        full = 0.3 if folder == 0 else 0.8
        np.testing.assert_allclose(
            optical.values[0, list(optical.bands).index(band)],
            picture(folder)[channel] / 255 * full,
            rtol=1e-6,
        )
    assert scene.dates == (DAY,)
    assert not scene.cover.any()
    # Row 3141 of 8192 lies at 38.64 degrees north (Lisbon); 9.5546 m at the equator.
    height, width = scene.window.geometry.pixel_size_yx_m
    assert height == width == pytest.approx(9.5546 * math.cos(math.radians(38.64)), rel=1e-3)


@pytest.mark.parametrize("colours", [True, False])
def test_masks_come_in_colours_and_in_numbers(root: Path, colours: bool) -> None:
    values = mask()
    if colours:
        colour_of = {code: colour for colour, code in PALETTE.items()}
        values = np.array([colour_of[int(code)] for code in mask().flat], np.uint8)
        values = values.reshape(*SHAPE, 3).transpose(2, 0, 1)
    write_png(root / "masks" / NAME, values)
    scene = open_chatearthnet(root, date=DAY, masks=root / "masks").scenes[0]
    wanted = [CLASS_CODES.get(CLASSES[code], 0) for code in mask().flat]
    np.testing.assert_array_equal(scene.cover[0].ravel(), wanted)


def test_black_pixels_are_missing(root: Path) -> None:
    values = picture(0)
    values[:, 2, 3] = 0
    values[0, 4, 4] = 0
    write_png(root / FOLDERS[0] / NAME, values)
    optical = open_chatearthnet(root, date=DAY).scenes[0].window.optical
    assert optical is not None
    assert np.argwhere(np.isnan(optical.values[0])).tolist() == [[n, 2, 3] for n in range(3)]


def test_pictures_that_do_not_belong_are_refused(root: Path) -> None:
    def read() -> None:
        open_chatearthnet(root, date=DAY, masks=root / "masks").scenes[0]

    write_png(root / "masks" / NAME, np.full((3, *SHAPE), 77, np.uint8))
    with pytest.raises(ReadError, match=rf"{NAME} \[mask\]: codes \[255\]"):
        read()
    write_png(root / "masks" / NAME, mask()[:, :5])
    with pytest.raises(ReadError, match=rf"{NAME}.*labels of shape"):
        read()
    write_png(root / FOLDERS[1] / NAME, picture(1)[:, :4])
    with pytest.raises(ReadError, match=f"{NAME}.*expected one size"):
        read()
    write_png(root / FOLDERS[1] / NAME, picture(1)[0])
    with pytest.raises(ReadError, match="1 bands, expected 3"):
        read()
    write_png(root / FOLDERS[1] / NAME, picture(1).astype(np.uint16))
    with pytest.raises(ReadError, match="expected uint8"):
        read()
    write_tif(root / FOLDERS[1] / NAME, picture(1))
    with pytest.raises(ReadError, match=r"s2_band_5_6_7_images\]"):
        read()
    (root / FOLDERS[1] / NAME).unlink()
    with pytest.raises(ReadError, match=r"s2_band_5_6_7_images\]: there is no file"):
        read()


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({}, "expected a list"),
        ([3], "record 0 .*expected an object"),
        ([{"image": "../../etc/passwd", "caption": "x"}], r"record 0 \[image\]"),
        ([{"image": "1_2_patch02.png", "caption": "x"}], r"record 0 \[image\]"),
        ([{"image": NAME, "caption": ""}], r"record 0 \[caption\]"),
        ([{"image": NAME, "caption": [1]}], r"record 0 \[caption\]"),
        ([{"image": NAME}], r"record 0 \[caption\]"),
    ],
)
def test_captions_that_cannot_be_used_are_refused(
    tmp_path: Path, records: Any, message: str
) -> None:
    write_captions(tmp_path, records)
    with pytest.raises(ReadError, match=message):
        open_chatearthnet(tmp_path, date=DAY)


def test_arguments_are_checked(root: Path) -> None:
    with pytest.raises(ReadError, match="ChatEarthNet_caps_4v_test"):
        open_chatearthnet(root, date=DAY, split="test", writer="4v")
    with pytest.raises(ValueError, match="split"):
        open_chatearthnet(root, date=DAY, split="dev")
    with pytest.raises(ValueError, match="reflectances"):
        White(colour=3558.0)
    write_captions(root, [{"image": "9000_10_patch00.png", "caption": "x"}])
    for folder, path in enumerate(FOLDERS):
        write_png(root / path / "9000_10_patch00.png", picture(folder))
    with pytest.raises(ReadError, match="below 8192"):
        open_chatearthnet(root, date=DAY).scenes[0]
    (root / "json_files" / "ChatEarthNet_caps_35_train.json").write_text("[" * 100_000)
    with pytest.raises(ReadError, match="not a readable JSON"):
        open_chatearthnet(root, date=DAY)
