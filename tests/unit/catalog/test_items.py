"""The item table: order, bytes, identity, speed of access."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import random
import time
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from terrascope.catalog.items import ItemRow, ItemTable
from terrascope.errors import CatalogError
from terrascope.types import AssetRef

BASE = dt.datetime(2021, 5, 1, 10, 0, 0, 123456, tzinfo=dt.UTC)


def row(i: int, **changes: object) -> ItemRow:
    facts: dict[str, object] = {
        "id": f"item-{i:05d}",
        "collection": "sentinel-2-l2a",
        "sensor": "sentinel-2",
        "datetime": BASE + dt.timedelta(minutes=7 * i),
        "solar_day": (BASE + dt.timedelta(minutes=7 * i)).date(),
        "geometry": box(i % 100, 0, i % 100 + 1, 1),
        "assets": {
            "red": AssetRef(
                href=f"https://example.com/{i}/red.tif?v=1",
                scale=1e-4,
                offset=-0.1,
                nodata=0.0,
                dtype="uint16",
                epsg=32633,
                transform=(10.0, 0.0, 5e5 + i, 0.0, -10.0, 5e6 + 0.25),
                shape_yx=(10980, 10981),
                identity=f"https://example.com/{i}/red.tif",
            ),
            "scl": AssetRef(href="/data/scl.tif", unit="class", identity="1220ff"),
        },
        "updated": BASE if i % 2 else None,
        "cloud_percent": math.nan if i % 3 else 12.5,
        "platform": "sentinel-2b",
        "baseline": "05.09",
        "orbit": 79,
        "mgrs": "33TWL",
        "offset_source": "baseline 05.09",
        "notes": ("a", "b: ä"),
        "source": f"https://example.com/{i}",
        "attribution": "x",
    }
    return ItemRow(**(facts | changes))  # type: ignore[arg-type]


def test_usual_bands() -> None:
    table = ItemTable.from_rows(
        [
            row(i, assets={band: AssetRef(href=f"/{band}.tif") for band in bands})
            for i, bands in enumerate((("red", "nir"), ("red", "nir"), ("red",), ("blue", "red")))
        ]
    )
    assert table.usual_bands("sentinel-2", ("blue", "red", "nir")) == ("red", "nir")
    assert table.usual_bands("sentinel-1", ("vv", "vh")) == ("vv", "vh")


@pytest.mark.parametrize(
    "changes",
    [
        {"nodata": 1.0},
        {"unit": "dB"},
        {"dtype": "int16"},
        {"offset": 0.0},
        {"transform": (10.0, 0.0, 6e5, 0.0, -10.0, 5e6)},
        {"identity": "1220aa"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_decides_the_numbers_changes_the_identity(changes: dict[str, object]) -> None:
    scene = ItemTable.from_rows([row(0)]).scene(0)
    other = dataclasses.replace(
        scene,
        assets={**scene.assets, "red": dataclasses.replace(scene.assets["red"], **changes)},
    )
    assert scene.identity(("red",)) != other.identity(("red",))
    assert scene.identity(("scl",)) == other.identity(("scl",))


@pytest.mark.parametrize(
    "changes",
    [
        {"platform": "sentinel-2a"},
        {"orbit": 22},
        {"solar_day": dt.date(2021, 5, 2)},
        {"coefficient": "sigma0"},
        {"baseline": "05.10"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_decides_the_overpass_changes_the_identity(changes: dict[str, object]) -> None:
    scene = ItemTable.from_rows([row(0)]).scene(0)
    other = dataclasses.replace(scene, **changes)  # type: ignore[arg-type]
    assert scene.identity(("red",)) != other.identity(("red",))


def test_addresses_that_are_signed_anew_are_the_same() -> None:
    scene = ItemTable.from_rows([row(0)]).scene(0)
    signed = dataclasses.replace(scene.assets["red"], href="https://elsewhere/red.tif?sig=1")
    other = dataclasses.replace(scene, assets={"red": signed})
    assert scene.identity(("red",)) == other.identity(("red",))


def test_one_coefficient_per_orbit() -> None:
    rows = [
        row(i, sensor="sentinel-1", coefficient=coefficient, orbit=orbit)
        for i, (coefficient, orbit) in enumerate(
            [("gamma0", 44), ("gamma0", 44), ("sigma0", 44), ("", 44), ("sigma0", 73)]
        )
    ]
    table, left_out = ItemTable.from_rows([*rows, row(9)]).of_one_coefficient()
    assert table.frame["id"].to_list() == ["item-00000", "item-00001", "item-00004", "item-00009"]
    assert [q.item for q in left_out] == ["item-00002", "item-00003"]
    assert "is sigma0, that of most scenes of orbit 44 is gamma0" in left_out[0].cause


def radar(i: int) -> ItemRow:
    asset = AssetRef(href=f"s3://bucket/{i}.tif", nodata=math.nan, unit="dB", identity="size:3")
    return row(
        i,
        sensor="sentinel-1",
        collection="sentinel-1-rtc",
        coefficient="gamma0",
        orbit_state="ascending",
        assets={"vv": asset},
    )


def test_order_and_bytes_do_not_depend_on_the_answer(tmp_path: Path) -> None:
    rows = [row(i) for i in range(40)] + [radar(i) for i in range(40, 50)]
    first = ItemTable.from_rows(rows)
    random.Random(3).shuffle(rows)
    second = ItemTable.from_rows(rows)
    first.write(tmp_path / "first.parquet")
    second.write(tmp_path / "second.parquet")
    assert (tmp_path / "first.parquet").read_bytes() == (tmp_path / "second.parquet").read_bytes()
    again = ItemTable.read(tmp_path / "first.parquet")
    again.write(tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "first.parquet").read_bytes()
    assert first.identity() == second.identity() == again.identity()
    for i in (0, 17, 49):
        assert repr(again.scene(i)) == repr(first.scene(i))


def test_a_scene_comes_back_as_it_went_in() -> None:
    table = ItemTable.from_rows([row(1), radar(2)])
    scene = table.scene(0)
    given = row(1)
    assert scene.assets == given.assets
    assert scene.datetime == given.datetime
    assert (scene.solar_day, scene.orbit, scene.baseline) == (given.solar_day, 79, "05.09")
    vv = table.scene(1).assets["vv"]
    assert vv.nodata is not None
    assert math.isnan(vv.nodata)
    assert (vv.unit, vv.identity) == ("dB", "size:3")
    assert table.scene(1).coefficient == "gamma0"


def test_identity_follows_the_pixels_not_the_server() -> None:
    table = ItemTable.from_rows([row(1), row(2)])
    moved = ItemTable.from_rows([row(1, source="http://other:8080/1"), row(2, updated=None)])
    assert moved.identity() == table.identity()
    asset = AssetRef(href="x.tif", identity="new checksum")
    for change in (
        {"assets": {"red": asset}},
        {"baseline": "05.10"},
        {"geometry": box(0, 0, 1, 2)},
        {"orbit": 80},
    ):
        assert ItemTable.from_rows([row(1, **change), row(2)]).identity() != table.identity()


def test_empty_select_and_concat(tmp_path: Path) -> None:
    empty = ItemTable.from_rows([])
    empty.write(tmp_path / "empty.parquet")
    assert len(ItemTable.read(tmp_path / "empty.parquet")) == 0
    assert ItemTable.read(tmp_path / "empty.parquet").identity() == empty.identity()
    assert empty.solar_days.dtype == np.dtype("datetime64[D]")
    table = ItemTable.from_rows([row(i) for i in range(10)])
    assert [table.select([1, 4]).scene(i).id for i in (0, 1)] == ["item-00001", "item-00004"]
    assert len(table.select(table.orbits == 79)) == 10
    assert len(table.select([])) == 0
    joined = ItemTable.concat([table.select(range(6)), empty, table.select(range(4, 10))])
    assert joined.identity() == table.identity()
    assert len(ItemTable.concat([empty, empty])) == 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(CatalogError, match="cannot be read as GeoParquet"):
        ItemTable.read(tmp_path / "x.parquet")
    table = ItemTable.from_rows([row(1)])
    table.frame.drop(columns="assets").to_parquet(tmp_path / "y.parquet")
    with pytest.raises(CatalogError, match="no column assets"):
        ItemTable.read(tmp_path / "y.parquet")


def test_forty_thousand_items(tmp_path: Path) -> None:
    table = ItemTable.from_rows([row(i) for i in range(40_000)])
    table.write(tmp_path / "many.parquet")
    table = ItemTable.read(tmp_path / "many.parquet")
    assert table.solar_days.shape == table.orbits.shape == (40_000,)
    table.scene(0)
    begin = time.perf_counter()
    for i in range(0, 40_000, 40):
        table.scene(i)
    # Not a benchmark: it notices a look-up that walks the data frame.
    assert (time.perf_counter() - begin) / 1000 < 0.005
