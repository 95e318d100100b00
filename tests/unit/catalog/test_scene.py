"""Items from many catalogs become scenes; what cannot is skipped by name."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from terrascope.catalog.items import ItemRow
from terrascope.catalog.newest import keep_newest
from terrascope.catalog.outline import UnusableItemError, outline_item
from terrascope.catalog.profile import Profile, load_profile
from terrascope.catalog.scene import read_item
from terrascope.catalog.search import search

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).resolve().parents[4] / "shared/data")
)
FILES = SHARED / "stac-api" / "files"
needs_shared = pytest.mark.skipif(
    not FILES.exists(), reason=f"the published items are not at {FILES} (TERRASCOPE_SHARED_DATA)"
)
LOCAL = load_profile("local")
EARTH_SEARCH = load_profile("earth-search")
WORLD = box(-180, -90, 180, 90)
EVER = {"start": dt.date(2014, 1, 1), "end": dt.date(2030, 1, 1)}


def read(item: dict[str, Any], profile: Profile, collection: str) -> ItemRow:
    product = profile.collection(collection)
    assert product is not None
    return read_item(item, outline_item(item), profile, product)


def published(pattern: str) -> list[dict[str, Any]]:
    paths = sorted(FILES.glob(pattern))
    assert paths, pattern
    return [json.loads(path.read_text()) for path in paths]


def optical(**properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": "S2A_33TWL_20200701_0_L2A",
        "collection": "sentinel-2-l2a",
        "geometry": json.loads(shapely.to_geojson(box(14, 46, 15, 47))),
        "properties": {"datetime": "2020-07-01T23:30:00Z", **properties},
        "links": [{"rel": "self", "href": "https://example.com/items/one.json"}],
        "assets": {"red": {"href": "https://example.com/red.tif"}},
    }


@needs_shared
def test_one_tile_over_seven_years_of_processing() -> None:
    items = published("mapchete_eo_stac_items/S2?_33TWN_*.json")
    # The offset follows flag and stated value: only the unharmonised baseline 04.00 has one.
    offsets = {
        row.id: row.assets["red"].offset
        for item in items
        for row in [read(item, EARTH_SEARCH, "sentinel-2-l2a")]
    }
    assert len(offsets) == 15
    assert {name for name, offset in offsets.items() if offset} == {"S2B_33TWN_20220226_0_L2A"}
    harmonised = next(i for i in items if i["id"] == "S2B_33TWN_20220130_0_L2A")
    row = read(harmonised, EARTH_SEARCH, "sentinel-2-l2a")
    assert row.offset_source == "boa_offset_applied = true"
    assert any("contradicts" in note for note in row.notes)
    assert (row.mgrs, row.baseline, row.platform) == ("33TWN", "04.00", "sentinel-2b")


@needs_shared
@pytest.mark.parametrize("pattern", ["mapchete_eo_antimeridian/*.json", "*/S2*T01*.json"])
def test_footprints_at_the_antimeridian(pattern: str) -> None:
    for item in published(pattern):
        footprint = outline_item(item).footprint
        west, _, east, _ = footprint.bounds
        assert -180 <= west <= east <= 180
        assert footprint.area < 6.0, item["id"]
        assert abs(footprint.centroid.x) < 180


@needs_shared
def test_projection_two_and_one() -> None:
    (new,) = published("Open-EO_openeo-processes-dask/s2_l2a_test_item.json")
    assert "proj:epsg" not in new["properties"]
    assert read(new, EARTH_SEARCH, "sentinel-2-l2a").assets["red"].epsg == 32632
    (beta,) = published("opendatacube_odc-stac/S2A_28QCH_20200714_0_L2A.json")
    row = read(beta, EARTH_SEARCH, "sentinel-s2-l2a-cogs")
    assert row.assets["red"].epsg == 32628
    assert row.assets["red"].transform == (10.0, 0.0, 300000.0, 0.0, -10.0, 2300040.0)
    assert row.mgrs == "28QCH"


@needs_shared
def test_every_published_item_is_read_or_refused_by_name() -> None:
    profiles = [load_profile(n) for n in ("earth-search", "planetary-computer", "cdse", "local")]
    outcomes = {"read": 0, "refused": 0}
    named = True
    for path in sorted(FILES.glob("*/*.json")):
        document = json.loads(path.read_text())
        items = document if isinstance(document, list) else document.get("features", [document])
        for item in items or []:
            for profile in profiles:
                for product in profile.collections:
                    try:
                        row = read(item, profile, product.id)
                    except UnusableItemError as error:
                        outcomes["refused"] += 1
                        named = named and bool(error.field and error.cause)
                    else:
                        outcomes["read"] += 1
                        assert set(row.assets) <= set(product.assets)
    assert outcomes["read"] > 150
    assert outcomes["refused"] > 200
    assert named


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_vandalised_item_costs_itself_only(data: st.DataObject) -> None:
    """Replace or remove any value at any depth: a row or `UnusableItemError`, nothing else."""
    item = copy.deepcopy(FULL)
    junk = st.sampled_from([None, [], {}, "", "x", -1, 1e300, math.nan, True, [None], "9" * 99])
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = item
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = data.draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
                node = node[key]
                continue
            if isinstance(node, dict) and data.draw(st.booleans()):
                del node[key]
            else:
                node[key] = data.draw(junk)
            break
    for collection in ("sentinel-2-l2a", "sentinel-1-rtc"):
        try:
            row = read(item, LOCAL, collection)
        except UnusableItemError:
            continue
        assert row.geometry.is_valid
        assert not row.geometry.is_empty


FULL = optical(
    **{
        "eo:cloud_cover": 12.0,
        "sat:relative_orbit": 79,
        "sat:orbit_state": "descending",
        "platform": "Sentinel-2A",
        "proj:epsg": 32633,
        "proj:code": "EPSG:32633",
        "earthsearch:boa_offset_applied": True,
        "s2:processing_baseline": "05.09",
        "grid:code": "MGRS-33TWL",
        "updated": "2023-08-15T21:18:57.067Z",
        "backscatter:coefficient": "gamma0",
    }
)
FULL["bbox"] = [14, 46, 15, 47]
FULL["assets"] = {
    key: {
        "href": f"./{key}.tif",
        "proj:shape": [10, 20],
        "proj:transform": [10, 0, 5e5, 0, -10, 5e6],
        "raster:bands": [
            {"data_type": "uint16", "nodata": 0, "scale": 1e-4, "offset": -0.1, "unit": "1"}
        ],
        "file:size": 77,
    }
    for key in ("red", "nir", "scl", "vv", "vh")
}


def test_solar_day() -> None:
    assert outline_item(optical()).solar_day == dt.date(2020, 7, 2)  # 14.5 E: almost an hour on
    day = optical(datetime="2020-07-01T00:00:00Z", datetime_precision="day")
    day["geometry"] = json.loads(shapely.to_geojson(box(-121, 34, -120, 35)))
    assert outline_item(day).solar_day == dt.date(2020, 7, 1)  # midnight is a placeholder
    day["properties"]["datetime_precision"] = "second"
    assert outline_item(day).solar_day == dt.date(2020, 6, 30)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": None}, "id"),
        ({"properties": None}, "properties.datetime"),
        ({"geometry": None}, "geometry"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 0]]]}}, "geometry"),
        ({"assets": {}}, "assets"),
        ({"assets": {"visual": {"href": "https://example.com/x.tif"}}}, "assets"),
        ({"assets": {"scl": {"href": "https://example.com/scl.tif"}}}, "assets"),
        ({"assets": {"red": {"href": "/vsicurl/http://example.com/x.tif"}}}, "assets"),
        (
            {"assets": {"red": {"href": "../vsicurl/x.tif"}}}
            | {"links": [{"rel": "self", "href": "/data/item.json"}]},
            "assets",
        ),
        ({"assets": {"red": {"href": "ftp://example.com/x.tif"}}}, "assets"),
        ({"assets": {"red": {"title": "no href"}}}, "assets"),
        ({"assets": {"red": {"href": "x.tif"}}, "links": None}, "assets"),
        ({"assets": {"red": {"href": "https://[x/red.tif"}}}, "assets"),
        (
            {"assets": {"red": {"href": "red.tif"}}}
            | {"links": [{"rel": "self", "href": "https://[x/item.json"}]},
            "assets",
        ),
    ],
)
def test_unusable_items_name_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(UnusableItemError) as caught:
        read(optical() | change, LOCAL, "sentinel-2-l2a")
    assert caught.value.field == field


def test_a_remote_catalog_may_not_name_local_files() -> None:
    item = optical() | {"assets": {"red": {"href": "/etc/passwd"}, "nir": {"href": "file:///x"}}}
    with pytest.raises(UnusableItemError, match="none of coastal, blue"):
        read(item, EARTH_SEARCH, "sentinel-2-l2a")
    assert read(item, LOCAL, "sentinel-2-l2a").assets["red"].href == "/etc/passwd"


def test_addresses() -> None:
    def href(text: str, base: str) -> str:
        item = optical() | {"links": [{"rel": "self", "href": base}]}
        item["assets"] = {"red": {"href": text}}
        return read(item, LOCAL, "sentinel-2-l2a").assets["red"].href

    assert href("./a.tif", "https://h/x/i.json") == "https://h/x/a.tif"
    assert href("../a.tif", "s3://bucket/x/y/i.json") == "s3://bucket/x/a.tif"
    assert href("b/a.tif", "/data/x/i.json") == "/data/x/b/a.tif"
    # Signed by somebody: the token is not ours to keep. A version is.
    assert href("https://h/a.tif?st=1&sig=S", "https://h/i") == "https://h/a.tif"
    assert href("https://u:pw@h/a.tif?api_key=S", "https://h/i") == "https://h/a.tif"
    assert href("https://h/a.tif?versionId=3", "https://h/i") == "https://h/a.tif?versionId=3"
    linked = {"links": [{"rel": "self", "href": "https://u:pw@h/i?subscription-key=S"}]}
    assert read(optical() | linked, LOCAL, "sentinel-2-l2a").source == "https://h/i"


@pytest.mark.parametrize(
    ("unit", "scale", "expected"),
    [("1", None, "linear"), ("dB", "dB", "dB"), (None, "linear", "linear"), (None, None, None)],
)
def test_radar_units_come_from_the_item(
    unit: str | None, scale: str | None, expected: str | None
) -> None:
    item = optical(**{"backscatter:coefficient": "sigma0", "backscatter:scale": scale})
    item["assets"] = {"vv": {"href": "/vv.tif", "raster:bands": [{"unit": unit, "nodata": "nan"}]}}
    if expected is None:
        with pytest.raises(UnusableItemError, match="expected 1 or dB"):
            read(item, LOCAL, "sentinel-1-rtc")
        return
    row = read(item, LOCAL, "sentinel-1-rtc")
    assert row.assets["vv"].unit == expected
    assert row.assets["vv"].nodata is not None
    assert math.isnan(row.assets["vv"].nodata)
    assert (row.coefficient, row.mgrs, row.orbit) == ("sigma0", "", -1)


def test_newest_processing_wins() -> None:
    def row(name: str, seconds: float = 0.0, **changes: Any) -> ItemRow:
        item = optical(platform="sentinel-2a", **{"grid:code": "MGRS-33TWL"}) | {"id": name}
        base = read(item, LOCAL, "sentinel-2-l2a")
        moment = base.datetime + dt.timedelta(seconds=seconds)
        return dataclasses.replace(base, datetime=moment, **changes)

    def kept(*rows: ItemRow) -> set[str]:
        for order in (rows, rows[::-1]):
            found = {r.id for r in keep_newest(order)[0]}
        return found

    early, late = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (2021, 2023))
    # Baselines are numbers, not text, and go before the time of the last touch.
    assert kept(row("a", baseline="02.14", updated=late), row("b", baseline="05.00")) == {"b"}
    assert kept(row("a", baseline="9.10"), row("b", baseline="9.2")) == {"a"}
    assert kept(row("a", updated=late), row("b", updated=early), row("c")) == {"a"}
    assert kept(row("x_2020"), row("x_2023")) == {"x_2023"}
    assert kept(row("a"), row("b", 0.4, baseline="05.00")) == {"b"}  # moved by milliseconds
    # Not the same acquisition: another granule, tile, satellite, orbit, or burst.
    assert kept(row("a"), row("b", 7.0)) == {"a", "b"}
    assert kept(row("a"), row("b", mgrs="33TWM")) == {"a", "b"}
    assert kept(row("a"), row("b", platform="sentinel-2b")) == {"a", "b"}
    assert kept(row("a", orbit=79), row("b", orbit=122)) == {"a", "b"}
    west, near, shifted = box(14, 46, 15, 47), box(14, 46, 15.01, 47), box(14.5, 46, 15.5, 47)
    assert kept(row("a", mgrs="", geometry=west), row("b", mgrs="", geometry=shifted)) == {"a", "b"}
    assert kept(row("a", mgrs="", geometry=west), row("b", mgrs="", geometry=near)) == {"b"}
    bursts = [f"OPERA_L2_RTC-S1_T137-292318-IW{i}_20211119T015854Z_x" for i in (1, 2)]
    assert len(kept(*(row(name, mgrs="", sensor="sentinel-1") for name in bursts))) == 2


def test_a_replaced_processing_does_not_come_back_for_being_clear(tmp_path: Path) -> None:
    items = [
        optical(**{"eo:cloud_cover": cloud, "s2:processing_baseline": baseline, "platform": "s2a"})
        | {"id": f"S2A_33TWL_20200701_{i}_L2A"}
        for i, (cloud, baseline) in enumerate([(20, "02.14"), (80, "05.00")])
    ]
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    query = {"aoi": WORLD, "sensors": ["sentinel-2"], **EVER}
    (newest,) = search(LOCAL, url=str(path), **query).table.frame["id"]
    assert newest == items[1]["id"]
    assert len(search(LOCAL, url=str(path), max_cloud=50, **query).table) == 0


def test_filters_of_a_search(tmp_path: Path) -> None:
    items = []
    for i, (cloud, day) in enumerate([(5, 1), (50, 2), (None, 3), (95, 4)]):
        item = optical(**{"eo:cloud_cover": cloud, "datetime": f"2020-07-0{day}T10:00:00Z"})
        items.append(item | {"id": f"s2-{i}"})
    broken = optical(datetime="never") | {"id": "broken"}
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [*items, broken]}))

    def found(**query: Any) -> list[str]:
        options = {"aoi": WORLD, "sensors": ["sentinel-2"], **EVER, **query}
        result = search(LOCAL, url=str(path), **options)
        assert [q.item for q in result.skipped] == ["broken"]
        assert "properties.datetime" in result.skipped[0].cause
        assert any("broken" in note and "properties.datetime" in note for note in result.notes)
        return result.table.frame["id"].to_list()

    assert found() == ["s2-0", "s2-1", "s2-2", "s2-3"]
    assert found(max_cloud=50) == ["s2-0", "s2-1", "s2-2"]
    assert found(start=dt.date(2020, 7, 2), end=dt.date(2020, 7, 3)) == ["s2-1", "s2-2"]
    assert found(aoi=box(20, 46, 21, 47)) == []
    with pytest.raises(ValueError, match="the end lies before the start"):
        found(start=dt.date(2020, 7, 2), end=dt.date(2020, 7, 1))
    with pytest.raises(ValueError, match="the AOI is empty"):
        found(aoi=shapely.Polygon())
