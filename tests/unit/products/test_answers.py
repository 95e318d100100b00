"""Answers from an output folder: sentences, figures, intervals, and evidence that exists."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from terrascope.errors import ProductError, QuestionError
from terrascope.geo.aoi import Aoi
from terrascope.geo.projection import zone_to_lonlat
from terrascope.geo.tiles import Tile
from terrascope.kernels.prevalence import Reliability
from terrascope.products import summary
from terrascope.products.answers import (
    answer_lines,
    answer_questions,
    ask_output,
    unresolved,
    write_answers,
)
from terrascope.products.events import find_events, write_events
from terrascope.products.ground import Ground, read_ground, write_ground
from terrascope.products.layers import MemoryLayers
from terrascope.products.mosaic import write_maps
from terrascope.products.published import PublishedLayers, read_known
from terrascope.types import ChangeKind, Status

from .conftest import build_summary

SIDE = 256
PIXEL_HA = 0.36
WEST, EAST = Tile.parse("33N-0030-0360"), Tile.parse("33N-0031-0360")
RELIABILITY = Reliability(length_m=60.0, version="test-1")


def build_maps() -> MemoryLayers:
    """Two tiles of 60 m: two losses of which one crosses the tiles' border, new houses, water."""
    whole: dict[str, np.ndarray] = {
        "status": np.full((SIDE, 2 * SIDE), int(Status.NO_CHANGE), np.uint8),
        "change_kind": np.zeros((SIDE, 2 * SIDE), np.uint8),
        "change_probability": np.full((SIDE, 2 * SIDE), 0.0, np.float32),
        "class_from": np.full((SIDE, 2 * SIDE), 6, np.uint8),
        "class_to": np.full((SIDE, 2 * SIDE), 6, np.uint8),
        "observations": np.ones((SIDE, 2 * SIDE), np.uint16),
    }
    whole["class_to"][:, 256:260] = whole["class_from"][:, 256:260] = 1  # the river, in the east
    whole["class_from"][:, 300:] = whole["class_to"][:, 300:] = 4  # grass

    def change(rows: slice, columns: slice, kind: ChangeKind) -> None:
        whole["status"][rows, columns] = int(Status.PROVISIONAL)
        whole["change_kind"][rows, columns] = int(kind)
        whole["change_probability"][rows, columns] = 0.95

    change(np.s_[40:60], np.s_[60:90], ChangeKind.VEGETATION_LOSS)  # 600 px of forest
    change(np.s_[150:160], np.s_[320:340], ChangeKind.VEGETATION_LOSS)  # 200 px of grass
    change(np.s_[100:110], np.s_[246:256], ChangeKind.BUILT_UP_GAIN)  # 100 px, beside the river
    whole["status"][200:, :128] = int(Status.NOT_OBSERVED)
    whole["change_probability"][200:, :128] = np.nan
    halves = {WEST: np.s_[:, :SIDE], EAST: np.s_[:, SIDE:]}
    return MemoryLayers(
        60, {t: {n: v[cut].copy() for n, v in whole.items()} for t, cut in halves.items()}
    )


def box_of(rows: tuple[int, int], columns: tuple[int, int], name: str) -> Aoi:
    """Ground of a block of pixels, a hair inside its outline."""
    west, _, _, north = WEST.bounds
    x = [west + 60 * c for c in (columns[0] + 0.1, columns[1] - 0.1)]
    y = [north - 60 * r for r in (rows[0] + 0.1, rows[1] - 0.1)]
    lon, lat = zone_to_lonlat(WEST.zone, [x[0], x[1], x[1], x[0]], [y[1], y[1], y[0], y[0]])
    return Aoi.from_geometry(shapely.Polygon(np.column_stack([lon, lat])), name=name)


class _AllLayers(MemoryLayers):
    """Those of a model, too."""

    @property
    def layers(self) -> list[str]:
        return list(self.values[WEST] or ())


def publish(folder: Path, *, model: bool = True, regions: bool = True) -> Path:
    """Write an output folder of the maps, as a run does."""
    maps = build_maps()
    source = _AllLayers(60, maps.values) if model else maps
    area = box_of((0, SIDE), (0, 2 * SIDE), "area")
    named = [("Forest Park", (0, 256), (0, 200)), ("Riverside", (0, 190), (200, 400))]
    named += [("Dark Valley", (205, 250), (5, 120))]
    grounds = tuple(box_of(r, c, n) for n, r, c in named) if regions else ()
    items = {WEST: ("S2B_A", "S2B_B"), EAST: ("S2B_B", "S2B_C")}
    write_maps(source, folder / "maps", aoi=area)
    write_events(find_events(source, min_area_ha=1.0, items=items), folder)
    write_ground(folder, Ground(area, grounds, items, RELIABILITY))
    said = build_summary()
    said = dataclasses.replace(
        said,
        area=dataclasses.replace(said.area, tiles=(WEST.id, EAST.id), resolution_m=60),
        scenes=(
            summary.SceneCount("sentinel-2", "2020-09", "target", ("S2B_A", "S2B_B", "S2B_C")),
        ),
        events=dataclasses.replace(said.events, min_area_ha=1.0),
    )
    (folder / "report.json").write_text(said.to_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a model and without regions."""
    return publish(tmp_path_factory.mktemp("bare"), model=False, regions=False)


def test_maps_come_back_from_the_rasters(out: Path) -> None:
    known = read_known(out)
    for tile, layers in build_maps().values.items():
        for name in ("status", "change_kind", "class_from"):
            found = known.maps.read(tile, name)
            assert layers is not None
            assert found is not None
            inside = np.asarray(found != 255)
            assert inside.mean() > 0.98
            assert np.array_equal(found[inside], layers[name][inside])
    assert {"class_to", "change_probability"} <= set(known.maps.layers)


def test_how_much_and_where(out: Path) -> None:
    rows = ask_output(out, "How much forest was lost, and where is the largest loss?")
    amount, largest = (row.answer for row in rows)
    assert amount.mapped == pytest.approx(600 * PIXEL_HA, rel=2e-3)
    assert amount.low <= amount.value <= amount.high
    assert amount.low < 600 * PIXEL_HA < amount.high
    unseen = 56 * 128 / (256 * 512)
    assert amount.observed_share == pytest.approx(1 - unseen, abs=2e-3)
    assert "90 % confidence" in amount.text
    (event,) = largest.evidence.events
    assert amount.evidence.events == (event,), "the loss of grass is no evidence for forest"
    assert event.startswith(WEST.id)
    assert largest.mapped == pytest.approx(600 * PIXEL_HA, rel=2e-3)
    assert largest.evidence.tiles == (WEST.id,)
    assert largest.evidence.items == ("S2B_A", "S2B_B")


def test_all_loss_is_more_than_the_loss_of_forest(out: Path) -> None:
    (row,) = ask_output(out, "How much was lost in km2?")
    assert row.answer.mapped == pytest.approx(800 * PIXEL_HA / 100, rel=2e-3)
    assert row.answer.unit == "km2"
    assert "loss is counted as vegetation loss" in row.answer.text


@pytest.mark.parametrize(
    "question",
    [
        "How much forest was lost in each district?",
        "Which district lost most?",
        "Which share of the ground changed?",
        "How many places changed?",
        "What has changed?",
        "Is there any new built-up land?",
        "Does new built-up land touch the river?",
        "Where is the largest loss in Riverside?",
    ],
)
def test_all_evidence_exists(out: Path, question: str) -> None:
    for row in ask_output(out, question):
        assert not unresolved(out, row.answer)
        evidence = row.answer.evidence
        assert evidence.tiles
        assert evidence.masks
        assert evidence.items
        assert all((out / mask).is_file() for mask in evidence.masks)
        assert answer_lines(row)[0] == row.answer.text
        assert row.answer.evidence.items[0] in "".join(answer_lines(row, evidence=True))


def test_evidence_that_is_not_there_is_named(out: Path) -> None:
    (row,) = ask_output(out, "How much was lost?")
    wrong = dataclasses.replace(
        row.answer.evidence,
        tiles=("33N-0001-0001",),
        masks=("maps/33N/nothing.tif",),
        events=("e",),
        items=("S2B_Z",),
    )
    answer = dataclasses.replace(row.answer, evidence=wrong)
    assert set(unresolved(out, answer)) == {
        *("33N-0001-0001", "maps/33N/nothing.tif", "e", "S2B_Z"),
    }


def test_districts(out: Path) -> None:
    (row,) = ask_output(out, "Which district lost most?")
    assert row.answer.answer == "Forest Park"
    assert "Dark Valley" in row.answer.text, "what was not seen is said"
    (row,) = ask_output(out, "Which district lost least?")
    assert row.answer.answer == "Riverside"
    parts = {r.answer.place: r.answer for r in ask_output(out, "How much was lost in each region?")}
    assert parts["Forest Park"].mapped == pytest.approx(600 * PIXEL_HA, rel=2e-3)
    assert parts["Riverside"].mapped == pytest.approx(200 * PIXEL_HA, rel=2e-3)
    assert parts["Dark Valley"].abstained
    assert "observed" in parts["Dark Valley"].why
    (row,) = ask_output(out, "Where is the largest loss in Riverside?")
    assert row.answer.evidence.events[0].startswith(EAST.id)


def test_touching_over_the_border_of_tiles(out: Path, bare: Path) -> None:
    (row,) = ask_output(out, "Does new built-up land touch the river?")
    assert row.answer.answer == "yes"
    assert "10 of 100 pixels" in row.answer.text
    assert row.answer.evidence.tiles == (WEST.id,)
    (row,) = ask_output(out, "Does forest loss touch the river?")
    assert row.answer.answer == "no"
    (row,) = ask_output(bare, "Does new built-up land touch the river?")
    assert row.answer.abstained
    assert "class_to" in row.answer.why
    (row,) = ask_output(bare, "Does vegetation loss touch new built-up land?")
    assert row.answer.answer == "no"


def test_counts_kinds_shares_and_existence(out: Path) -> None:
    (row,) = ask_output(out, "How many places were lost?")
    assert row.answer.answer == "2"
    assert row.answer.low <= 2 <= row.answer.high
    (row,) = ask_output(out, "What has changed?")
    assert row.answer.answer == "vegetation loss"
    assert "built up gain" in row.answer.text
    (row,) = ask_output(out, "Which share of the ground changed?")
    assert row.answer.mapped == pytest.approx(100 * 900 / (256 * 512), rel=5e-3)
    (row,) = ask_output(out, "Is there any water gain?")
    assert row.answer.answer == "no"
    assert row.answer.high > 0, "what was not seen may have changed"
    (row,) = ask_output(out, "Is there any new built-up land?")
    assert row.answer.answer == "yes"
    (row,) = ask_output(out, "Which share of the forest was lost?")
    assert row.answer.abstained


def test_without_a_model_the_difference_is_said(bare: Path) -> None:
    (row,) = ask_output(bare, "How much forest was lost?")
    assert row.answer.mapped == pytest.approx(800 * PIXEL_HA, rel=2e-3)
    assert "no land cover" in row.answer.text
    (row,) = ask_output(bare, "Which district lost most?")
    assert row.answer.abstained
    with pytest.raises(QuestionError, match="Riverside"):
        ask_output(bare, "How much was lost in Riverside?")


def test_the_table(out: Path, tmp_path: Path) -> None:
    known = read_known(out)
    questions = ["How much was lost in each district?", "What has changed?"]
    rows = answer_questions(questions, known)
    path = write_answers(tmp_path, rows, known, model="nano@promoted")
    first = path.read_bytes()
    table = pq.read_table(path).to_pylist()
    assert [row["question"] for row in table] == [questions[0]] * 3 + [questions[1]]
    assert table[0]["period"] == "2020-08-01 to 2020-09-30"
    assert table[0]["model"] == "nano@promoted"
    assert table[0]["reliability"] == "test-1"
    assert table[2]["abstained"]
    assert table[2]["value"] is None
    assert table[2]["why"]
    assert write_answers(tmp_path, rows, known, model="nano@promoted").read_bytes() == first


def test_what_is_no_output_is_refused(tmp_path: Path, out: Path) -> None:
    with pytest.raises(ProductError, match=r"report\.json"):
        ask_output(tmp_path, "How much was lost?")
    (tmp_path / "report.json").write_text((out / "report.json").read_text())
    with pytest.raises(ProductError, match="run the monitor again"):
        ask_output(tmp_path, "How much was lost?")
    ground = read_ground(out)
    with pytest.raises(ProductError, match="cannot be read"):
        PublishedLayers(tmp_path, tuple(ground.items), 60).read(WEST, "status")
    assert json.loads((out / "area.geojson").read_text())["features"][1]["properties"] == {
        "role": "region",
        "name": "Forest Park",
    }
