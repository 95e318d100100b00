"""What public catalogs really answered, replayed over HTTP, and what HTTP does when it is ill."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import box

from terrascope.catalog.profile import load_profile
from terrascope.catalog.provider import Profile
from terrascope.catalog.search import search
from terrascope.catalog.sign import PlanetaryComputerSigner
from terrascope.errors import CatalogError

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared/data")
)
RECORDED = SHARED / "stac-api"
needs_recordings = pytest.mark.skipif(
    not (RECORDED / "index.json").exists(),
    reason=f"the recorded answers are not at {RECORDED} (TERRASCOPE_SHARED_DATA)",
)

EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"
PLANETARY = "https://planetarycomputer.microsoft.com/api/stac/v1"
CDSE = "https://stac.dataspace.copernicus.eu/v1"
WORLD = box(-180, -90, 180, 90)


def recorded(name: str) -> Any:
    (path,) = RECORDED.glob(f"api_responses/*/{name}.json")
    return json.loads(path.read_text())


def answers(host: str, *pages: str) -> dict[tuple[str, str], list[Any]]:
    """The landing page as recorded, else a plain one; then the pages of one search."""
    names = {
        EARTH_SEARCH: "TestCLICollections.test_collection_search_inprocess__0",
        PLANETARY: "TestCLISearch.test_intersects_inprocess-netherlands_aoi.json__0",
    }
    links = [{"rel": "search", "href": f"{host}/search", "method": "POST"}]
    plain = {
        "type": "Catalog",
        "id": "plain",
        "description": "x",
        "stac_version": "1.1.0",
        "links": links,
    }
    landing = recorded(names[host]) if host in names else plain
    found = {("GET", "/"): [landing], ("POST", "/search"): [recorded(page) for page in pages]}
    for collection in ("sentinel-2-l2a", "sentinel-2-c1-l2a", "sentinel-1-rtc"):
        found["GET", f"/collections/{collection}"] = [{"type": "Collection", "id": collection}]
    return found


def patient(name: str) -> Profile:
    profile = load_profile(name)
    return dataclasses.replace(
        profile, server=dataclasses.replace(profile.server, backoff_s=0.01, retries=3)
    )


@needs_recordings
def test_earth_search_harmonised_pixels_keep_offset_zero(replay: Callable[..., Any]) -> None:
    server = replay(EARTH_SEARCH, answers(EARTH_SEARCH, "test_multiple_collections_0"))
    result = search(
        patient("earth-search"),
        aoi=shapely.Point(-105.1019, 40.1672).buffer(0.1),
        start=dt.date(2023, 10, 8),
        end=dt.date(2023, 10, 8),
        collections=["sentinel-2-l2a"],
        url=server.url,
        max_cloud=90,
    )
    # The answer holds a Landsat scene as well: the collection filter is the client's, too.
    assert list(result.table.frame["id"]) == ["S2A_13TDE_20231008_0_L2A"]
    scene = result.table.scene(0)
    assert scene.assets["red"].offset == 0.0
    assert scene.assets["red"].scale == 0.0001
    assert scene.assets["red"].epsg == 32613
    assert scene.assets["scl"].unit == "class"
    assert len(scene.assets) == 13
    row = result.table.frame.iloc[0]
    assert row["offset_source"] == "boa_offset_applied = true"
    assert "raster:bands.offset = -0.1 contradicts" in row["notes"]
    assert row["mgrs"] == "13TDE"
    # The last page carries rel=next, and the replay answers it with the same page for ever.
    assert sum(path == "/search" for _, path, _ in server.requests) == 2


@needs_recordings
def test_fields_leave_almost_nothing(replay: Callable[..., Any]) -> None:
    server = replay(EARTH_SEARCH, answers(EARTH_SEARCH, "test_fields_0"))
    result = search(
        patient("earth-search"),
        aoi=WORLD,
        start=dt.date(2025, 7, 1),
        end=dt.date(2025, 7, 31),
        collections=["sentinel-2-c1-l2a"],
        url=server.url,
    )
    assert len(result.table) == 0
    assert len(result.skipped) == 10
    assert {q.cause for q in result.skipped} <= {
        "assets: is missing or empty",
        "geometry: is missing, and so is bbox",
    }
    assert any("skipped 10 item(s)" in note for note in result.notes)


@needs_recordings
@pytest.mark.parametrize(
    ("collections", "offsets"),
    [
        # Collection 1 is as ESA delivers it; the older collection is harmonised.
        (["sentinel-2-c1-l2a"], {-0.1}),
        (["sentinel-2-l2a"], {0.0}),
        # The same acquisitions in both: each is kept once.
        (["sentinel-2-c1-l2a", "sentinel-2-l2a"], None),
    ],
)
def test_two_recorded_pages(
    replay: Callable[..., Any], collections: list[str], offsets: set[float] | None
) -> None:
    pages = ("TestCLISearch.test_filter_inprocess__1", "TestCLISearch.test_filter_inprocess__2")
    server = replay(EARTH_SEARCH, answers(EARTH_SEARCH, *pages))
    result = search(
        patient("earth-search"),
        aoi=WORLD,
        start=dt.date(2025, 7, 31),
        end=dt.date(2025, 7, 31),
        collections=collections,
        url=server.url,
        max_cloud=40,
    )
    frame = result.table.frame
    assert (frame["cloud_percent"] <= 40).all()
    assert not frame.duplicated(["platform", "mgrs", "solar_day"]).any()
    if offsets is not None:
        scenes = [result.table.scene(i) for i in range(len(frame))]
        assert {scene.assets["red"].offset for scene in scenes} == offsets
    else:
        assert any("replaced by a newer processing" in note for note in result.notes)


@needs_recordings
def test_planetary_computer_at_the_antimeridian(replay: Callable[..., Any]) -> None:
    server = replay(PLANETARY, answers(PLANETARY, "TestItemSearch.test_datetime_results_0"))
    profile = patient("planetary-computer")
    result = search(
        profile,
        aoi=WORLD,
        start=dt.date(2018, 12, 31),
        end=dt.date(2019, 1, 1),
        collections=["sentinel-2-l2a"],
        url=server.url,
    )
    page = recorded("TestItemSearch.test_datetime_results_0")
    assert len(result.table) == len({item["id"] for item in page["features"]}) == 33
    bounds = shapely.bounds(result.table.footprints)
    assert bounds.min() >= -180
    assert bounds.max() <= 180
    # 110 km squares: nothing wraps around the globe.
    assert max(g.area for g in result.table.footprints) < 5.0
    # 00:00 UTC on 1 January near 180 E is noon of that day; just beyond, of the day before.
    assert {str(day) for day in result.table.solar_days} <= {"2018-12-31", "2019-01-01"}
    scene = result.table.scene(0)
    assert scene.assets["red"].offset == 0.0
    assert scene.platform == "sentinel-2a"
    assert scene.orbit == 116
    assert all("sig=" not in asset.href for asset in scene.assets.values())


@needs_recordings
def test_radar_of_planetary_computer(replay: Callable[..., Any]) -> None:
    told = answers(PLANETARY, "test_smoke_sentinel-1-rtc__0")
    told["GET", "/collections/sentinel-1-rtc/items"] = told["POST", "/search"]  # its next page
    server = replay(PLANETARY, told)
    result = search(
        patient("planetary-computer"),
        aoi=WORLD,
        start=dt.date(2025, 3, 11),
        end=dt.date(2025, 3, 11),
        collections=["sentinel-1-rtc"],
        url=server.url,
    )
    scene = result.table.scene(0)
    assert (scene.orbit, scene.orbit_state, scene.coefficient) == (80, "descending", "gamma0")
    vv = scene.assets["vv"]
    assert (vv.unit, vv.nodata, vv.offset) == ("linear", -32768.0, 0.0)
    assert vv.identity == "7ddacf901e722721ade996eb448ec87f"


@needs_recordings
def test_cdse_states_the_offset_on_the_asset(replay: Callable[..., Any]) -> None:
    page = "StacDataStoreTest.test_search_data_cdse_sentinel_2_2"
    server = replay(CDSE, answers(CDSE, page))
    result = search(
        patient("cdse"),
        aoi=box(9.0, 47.0, 9.1, 47.1),
        start=dt.date(2020, 7, 1),
        end=dt.date(2020, 7, 5),
        url=server.url,
    )
    assert len(result.table) == 4
    scene = result.table.scene(0)
    assert scene.baseline == "05.00"
    assert scene.assets["red"].offset == -0.1
    assert scene.assets["red"].href.startswith("s3://eodata/")
    assert scene.assets["red"].href.endswith("_B04_10m.jp2")
    assert scene.assets["scl"].href.endswith("_SCL_20m.jp2")
    assert result.table.frame["offset_source"].unique().tolist() == ["raster:offset = -0.1"]


def one_item(**properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": "one",
        "collection": "sentinel-2-l2a",
        "geometry": shapely.geometry.mapping(box(10, 50, 11, 51)),
        "properties": {"datetime": "2021-06-01T10:00:00Z", **properties},
        "links": [],
        "assets": {"red": {"href": "/data/red.tif"}},
    }


ONE = {"aoi": box(10, 50, 11, 51), "start": dt.date(2021, 6, 1), "end": dt.date(2021, 6, 1)}


def test_errors_that_pass_are_survived(start_stac: Callable[..., Any]) -> None:
    server = start_stac(items=[one_item()], failures=[503, 429, 500, "cut"], retry_after="1")
    begin = time.monotonic()
    result = search(patient("local"), url=server.url, sensors=["sentinel-2"], **ONE)
    assert len(result.table) == 1
    assert time.monotonic() - begin >= 1.0, "Retry-After was not obeyed"


def test_errors_that_last_are_transient(start_stac: Callable[..., Any]) -> None:
    server = start_stac(items=[one_item()], failures=[503] * 50)
    with pytest.raises(CatalogError, match="503") as caught:
        search(patient("local"), url=server.url, sensors=["sentinel-2"], **ONE)
    assert caught.value.transient
    # one request and three repetitions
    assert sum(path == "/search" for _, path, _ in server.requests) == 4


@pytest.mark.parametrize("status", [401, 403, 404, 413])
def test_errors_of_ours_are_not_repeated(start_stac: Callable[..., Any], status: int) -> None:
    server = start_stac(items=[one_item()], failures=[status] * 50)
    with pytest.raises(CatalogError, match=str(status)) as caught:
        search(patient("local"), url=server.url, sensors=["sentinel-2"], **ONE)
    assert not caught.value.transient
    # intersects, then bbox: different requests, none repeated
    assert sum(path == "/search" for _, path, _ in server.requests) == 2


def test_nobody_listens() -> None:
    with pytest.raises(CatalogError) as caught:
        search(patient("local"), url="http://127.0.0.1:9", sensors=["sentinel-2"], **ONE)
    assert caught.value.transient


def test_a_collection_the_catalog_lacks_is_said(start_stac: Callable[..., Any]) -> None:
    server = start_stac(items=[one_item()], collections=["sentinel-2-l2a"])
    result = search(patient("local"), url=server.url, **ONE)
    assert len(result.table) == 1
    assert f"{server.url} has no collection sentinel-1-rtc" in result.notes


def test_a_page_of_nonsense(replay: Callable[..., Any]) -> None:
    host = "https://nonsense.example"
    told = answers(host)
    for nonsense in ({"features": "many"}, ["page"], {"features": [{"id": 1}], "links": [{}]}, 7):
        told["POST", "/search"] = [nonsense]
        server = replay(host, told)
        with pytest.raises(CatalogError):
            search(patient("local"), url=server.url, sensors=["sentinel-2"], **ONE)


def test_a_static_catalog_over_http(replay: Callable[..., Any]) -> None:
    host = "https://static.example"
    catalog = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "x"}
    told = {
        ("GET", "/"): [{**catalog, "links": [{"rel": "child", "href": f"{host}/a/catalog.json"}]}],
        ("GET", "/a/catalog.json"): [{**catalog, "links": [{"rel": "item", "href": "./one.json"}]}],
        ("GET", "/a/one.json"): [{**one_item(), "assets": {"red": {"href": "red.tif"}}}],
    }
    server = replay(host, told)
    result = search(patient("local"), url=server.url, sensors=["sentinel-2"], **ONE)
    assert result.table.scene(0).assets["red"].href == f"{server.url}/a/red.tif"


def test_tokens_are_fetched_once_and_never_shown(replay: Callable[..., Any]) -> None:
    expiry = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    told = {
        ("GET", "/token/account/box"): [{"token": "st=1&sig=SECRET", "msft:expiry": expiry}],
        ("GET", "/token/account/old"): [
            {"token": "sig=A", "msft:expiry": "2020-01-01T00:00:00Z"},
            {"token": "sig=B", "msft:expiry": expiry},
        ],
    }
    server = replay("https://x", told)
    signer = PlanetaryComputerSigner(f"{server.url}/token")
    href = "https://account.blob.core.windows.net/box/a/b.tif"
    assert signer(href) == f"{href}?st=1&sig=SECRET"
    assert signer(href.replace("b.tif", "c.tif")).endswith("c.tif?st=1&sig=SECRET")
    assert signer(signer(href)) == signer(href)
    assert signer("https://example.com/a.tif") == "https://example.com/a.tif"
    assert len(server.requests) == 1
    old = "https://account.blob.core.windows.net/old/a.tif"
    assert signer(old).endswith("sig=A")
    assert signer(old).endswith("sig=B"), "an expired token was used again"
    with pytest.raises(CatalogError, match="404") as caught:
        signer("https://account.blob.core.windows.net/nowhere/a.tif")
    assert "SECRET" not in str(caught.value)
