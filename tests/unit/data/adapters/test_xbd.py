"""xBD: footprints on the grid, damage by building, figures by the data set's own definition."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from terrascope.data.adapters.xbd import open_xbd, pair_names, read_pair
from terrascope.data.adapters.xbd_labels import DAMAGE
from terrascope.data.scenes import DESTROYED
from terrascope.errors import ReadError
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, CLASS_CODES

from .files import write_png, write_tif

PAIR = "palu-tsunami_00000012"
SHAPE = (40, 52)
LATITUDE, PIXEL_M = 38.0, (0.5, 0.4)
FATE = ["no-damage"] * 5 + ["minor-damage", "major-damage"] + ["destroyed"] * 4 + ["un-classified"]


def footprint(number: int) -> shapely.Polygon:
    """Return a crooked quadrangle; number 11 overlaps number 10."""
    left, top = 3 + 12 * (number % 4), 2 + 12 * (number // 4)
    if number == 11:
        left -= 6
    corners = [(left, top + 0.3), (left + 8.7, top), (left + 9.2, top + 6.1), (left + 1.4, top + 7)]
    return shapely.Polygon(corners)


def to_degrees(polygon: shapely.Polygon) -> shapely.Polygon:
    """Return a footprint on the ground, by another radius for each axis than a pixel's side."""
    degree_m = 2 * math.pi * 6_371_007.2 / 360
    high, wide = PIXEL_M

    def moved(points: np.ndarray) -> np.ndarray:
        east = points[:, 0] * wide / (degree_m * math.cos(math.radians(LATITUDE)))
        return np.stack([119.8 + east, LATITUDE - points[:, 1] * high / degree_m], 1)

    return shapely.transform(polygon, moved)


def label(fates: list[str | None], day: str, *, degrees: bool = True) -> dict[str, Any]:
    """Return a label; None leaves a building out."""
    features: dict[str, list[Any]] = {"xy": [], "lng_lat": []}
    for number, fate in enumerate(fates):
        if fate is None:
            continue
        facts = {"feature_type": "building", "uid": f"uid-{number}"}
        if fate:
            facts["subtype"] = fate
        for system, shape in (
            ("xy", footprint(number)),
            ("lng_lat", to_degrees(footprint(number))),
        ):
            if system == "xy" or degrees:
                features[system].append({"properties": facts, "wkt": shape.wkt})
    metadata = {"capture_date": day, "gsd": 2.09, "pan_resolution": 0.52, "width": SHAPE[1]}
    return {"features": features, "metadata": metadata}


def picture(when: int) -> np.ndarray:
    return ((np.arange(3 * math.prod(SHAPE)) + 60 * when) % 250).reshape(3, *SHAPE).astype(np.uint8)


def write_label(root: Path, when: str, document: Any) -> None:
    path = root / "labels" / f"{PAIR}_{when}_disaster.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))


BEFORE, AFTER = "2018-09-17T02:30:00.000Z", "2018-10-01T02:31:12.000Z"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for when, suffix in enumerate(("pre", "post")):
        write_png(tmp_path / "images" / f"{PAIR}_{suffix}_disaster.png", picture(when))
    write_label(tmp_path, "pre", label([""] * len(FATE), BEFORE))
    write_label(tmp_path, "post", label(list(FATE), AFTER))
    return tmp_path


def slow_map() -> np.ndarray:
    """Return the worst damage at every pixel's centre, plus 1."""
    found = np.zeros(SHAPE, np.uint8)
    for number, fate in enumerate(FATE):
        shape, code = footprint(number), DAMAGE.index(fate) + 1
        for row in range(SHAPE[0]):
            for column in range(SHAPE[1]):
                if shape.contains(shapely.Point(column + 0.5, row + 0.5)):
                    found[row, column] = max(found[row, column], code)
    return found


def test_buildings_are_counted_as_the_data_set_defines_them(root: Path) -> None:
    assert pair_names(root) == [PAIR]
    pair = read_pair(root, PAIR)
    assert pair.dates == (dt.date(2018, 9, 17), dt.date(2018, 10, 1))
    assert len(pair.buildings) == 12
    assert dict(pair.counts) == {fate: FATE.count(fate) for fate in DAMAGE}
    assert pair.destroyed == 4
    assert pair.destroyed_share == pytest.approx(4 / 11)
    assert pair.is_asked
    np.testing.assert_allclose(pair.pixel_yx_m, PIXEL_M, rtol=1e-4)
    np.testing.assert_array_equal(pair.pictures[1], picture(1))


def test_footprints_lie_on_the_pixels_whose_centre_they_hold(root: Path) -> None:
    truth = slow_map()
    np.testing.assert_array_equal(read_pair(root, PAIR).damage_map(), truth)
    scene = open_xbd(root)[0]
    lost = truth == DAMAGE.index("destroyed") + 1
    np.testing.assert_array_equal(scene.mask("developed area", (-1, 0)), truth > 0)
    np.testing.assert_array_equal(scene.mask(DESTROYED, (0, 1)), lost)
    np.testing.assert_array_equal(scene.mask(CHANGE_NAMES[ChangeKind.BARE], (0, 1)), lost)
    np.testing.assert_array_equal(scene.known(DESTROYED, (0, 1)), truth > 1)
    assert set(np.unique(scene.cover[1][truth > 1])) == {
        CLASS_CODES["developed area"],
        CLASS_CODES["bare land"],
    }
    assert scene.changes[0, 1][truth <= 1].min() == ChangeKind.OUTSIDE
    optical = scene.window.optical
    assert optical is not None
    np.testing.assert_allclose(
        optical.values, read_pair(root, PAIR).pictures / 255 * 0.3, rtol=1e-6
    )


def test_a_building_that_the_later_label_lacks_is_not_told(root: Path) -> None:
    later: list[str | None] = [*FATE[:-2], None, None]
    write_label(root, "post", label(later, AFTER))
    pair = read_pair(root, PAIR)
    assert (pair.destroyed, pair.counts["un-classified"]) == (3, 2)
    assert pair.destroyed_share == pytest.approx(3 / 10)


def test_few_buildings_are_not_asked_about(root: Path) -> None:
    write_label(root, "pre", label([""] * 9, BEFORE))
    assert not read_pair(root, PAIR).is_asked
    write_label(root, "pre", label([], BEFORE))
    empty = read_pair(root, PAIR)
    assert math.isnan(empty.destroyed_share)
    assert not empty.damage_map().any()


def test_geotiffs_and_stated_pixels_are_read_too(root: Path) -> None:
    for when, suffix in enumerate(("pre", "post")):
        (root / "images" / f"{PAIR}_{suffix}_disaster.png").unlink()
        write_tif(
            root / "images" / f"{PAIR}_{suffix}_disaster.tif",
            picture(when),
            pixel=5e-6,
            west=119.8,
            north=LATITUDE,
            epsg=4326,
        )
    write_label(root, "pre", label([""] * 12, BEFORE, degrees=False))
    pair = read_pair(root, PAIR)
    np.testing.assert_array_equal(pair.pictures[0], picture(0))
    assert pair.pixel_yx_m == (0.52, 0.52)


def changed(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    part: Any = document
    for key in path[:-1]:
        part = part[key]
    if value is None:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("when", "path", "value", "message"),
    [
        ("post", ("metadata",), None, r"post_disaster \[metadata.capture_date\]: .*missing"),
        ("pre", ("metadata", "capture_date"), "May", r"metadata.capture_date\]: 'May'"),
        ("pre", ("metadata", "capture_date"), 7, r"metadata.capture_date\]: 7"),
        ("pre", ("metadata", "capture_date"), "2019-01-01", "strictly ascending"),
        ("pre", ("features",), [], r"pre_disaster \[features\]"),
        ("post", ("features", "xy"), None, r"\[features.xy\]: expected a list"),
        ("post", ("features", "xy", 0), "x", r"\[features.xy.uid\]"),
        ("post", ("features", "xy", 1, "properties", "uid"), "uid-0", r"uid-0.*no other"),
        ("post", ("features", "xy", 3, "properties", "subtype"), "gone", r"'gone' of building"),
        ("pre", ("features", "xy", 2, "wkt"), "POLYGON ((", r"features.xy.wkt\]: building uid-2"),
        ("pre", ("features", "xy", 2, "wkt"), "POINT (1 2)", "Point; expected a polygon"),
        ("pre", ("features", "xy", 2, "wkt"), 5, "expected a text"),
        ("pre", ("features", "lng_lat", 2, "wkt"), "LINESTRING (0 0, 1 1)", r"lng_lat.wkt\]"),
    ],
)
def test_labels_that_cannot_be_used_name_file_and_field(
    root: Path, when: str, path: tuple[Any, ...], value: Any, message: str
) -> None:
    fates = list(FATE) if when == "post" else [""] * len(FATE)
    document = label(fates, AFTER if when == "post" else BEFORE)
    write_label(root, when, changed(document, path, value))
    with pytest.raises(ReadError, match=message):
        open_xbd(root)[0]


def test_files_that_cannot_be_used_are_named(root: Path, tmp_path: Path) -> None:
    picture_path = root / "images" / f"{PAIR}_post_disaster.png"
    write_png(picture_path, picture(1)[:, :30])
    with pytest.raises(ReadError, match=f"{PAIR}.*expected one size"):
        open_xbd(root)[0]
    picture_path.unlink()
    with pytest.raises(ReadError, match=r"post_disaster \[image\]: there is no file"):
        open_xbd(root)[0]
    (root / "labels" / f"{PAIR}_pre_disaster.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ReadError, match="not a readable JSON"):
        open_xbd(root)[0]
    with pytest.raises(ReadError, match="no labels"):
        open_xbd(tmp_path / "images")
    document = label([""], BEFORE, degrees=False)
    write_label(root, "pre", changed(document, ("metadata", "pan_resolution"), 0))
    write_png(picture_path, picture(1))
    with pytest.raises(ReadError, match=r"metadata.pan_resolution\]: 0"):
        open_xbd(root)[0]
