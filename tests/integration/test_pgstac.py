"""The same search through every kind of server ends in the same item table."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import shapely
from shapely.geometry import box, mapping

from terrascope.catalog.items import ItemTable
from terrascope.catalog.profile import Profile, load_profile
from terrascope.catalog.search import SearchResult, search
from terrascope.catalog.serve import serve_catalog
from terrascope.catalog.static import iter_static_items, read_collections

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared/data")
)
STAC = SHARED / "stac"
needs_shared = pytest.mark.skipif(
    not (STAC / "items.ndjson").exists(),
    reason=f"the real scenes are not at {STAC} (TERRASCOPE_SHARED_DATA)",
)

MANY = 2500
WORLD = box(-180, -90, 180, 90)


def synthetic_items(folder: Path, count: int = MANY) -> list[dict[str, Any]]:
    """Distinct footprints and times, some clouds unknown, some at the antimeridian."""
    start = dt.datetime(2022, 3, 1, 10, tzinfo=dt.UTC)
    items = []
    for i in range(count):
        west = -179.5 + (i * 7.3) % 358.0
        south = -60.0 + (i * 3.7) % 120.0
        shape = mapping(box(west, south, west + 0.9, south + 0.9))
        if i % 100 == 0:  # across the antimeridian, as vertices that jump
            ring = [[179.6, south], [-179.7, south], [-179.7, south + 1], [179.6, south + 1]]
            shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        properties: dict[str, Any] = {
            "datetime": (start + dt.timedelta(hours=3 * i)).isoformat().replace("+00:00", "Z"),
            "platform": "sentinel-2a",
            "s2:processing_baseline": "04.00" if i % 3 else "03.01",
            "proj:epsg": 32631,
        }
        if i % 7:
            properties["eo:cloud_cover"] = float(i % 101)
        red = {
            "href": str(folder / f"{i}" / "red.tif"),
            "type": "image/tiff; application=geotiff",
            "proj:shape": [100, 90],
            "proj:transform": [10.0, 0.0, 500000.0 + i, 0.0, -10.0, 5000000.0],
        }
        items.append(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "stac_extensions": [],
                "id": f"synthetic-{i:05d}",
                "collection": "sentinel-2-l2a",
                "geometry": shape,
                "bbox": [west, south, west + 0.9, south + 0.9],
                "properties": properties,
                "links": [],
                "assets": {"red": red},
            }
        )
    return items


def comparable(table: ItemTable) -> pd.DataFrame:
    """Everything but the address of the server that told."""
    frame = pd.DataFrame(table.frame.drop(columns=["geometry", "source"]))
    frame["wkb"] = [shapely.to_wkb(shapely.normalize(g)) for g in table.footprints]
    return frame


def assert_same(found: SearchResult, expected: SearchResult) -> None:
    pd.testing.assert_frame_equal(comparable(found.table), comparable(expected.table))
    assert found.table.identity() == expected.table.identity()


@pytest.fixture(scope="module")
def profile() -> Profile:
    local = load_profile("local")
    server = dataclasses.replace(local.server, page_limit=200, backoff_s=0.01)
    return dataclasses.replace(local, server=server)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,500 synthetic items as a static source."""
    folder = tmp_path_factory.mktemp("tree")
    lines = [json.dumps(item) + "\n" for item in synthetic_items(folder)]
    (folder / "items.ndjson").write_text("".join(lines))
    collection = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": "sentinel-2-l2a",
        "description": "synthetic",
        "license": "proprietary",
        "links": [],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2022-01-01T00:00:00Z", None]]},
        },
    }
    (folder / "collections.json").write_text(json.dumps({"collections": [collection]}))
    return folder


YEAR: dict[str, Any] = {
    "aoi": WORLD,
    "start": dt.date(2022, 1, 1),
    "end": dt.date(2023, 12, 31),
    "sensors": ["sentinel-2"],
}
# Two parts, one at each end of the map, and a triangle: a precise shape, not a box.
CORNERS = shapely.MultiPolygon(
    [
        box(170, -50, 180, 50),
        box(-180, -50, -175, 50),
        shapely.Polygon([(0, 0), (40, 10), (5, 45), (0, 0)]),
    ]
)
PART: dict[str, Any] = {
    "aoi": CORNERS,
    "start": dt.date(2022, 4, 1),
    "end": dt.date(2022, 11, 30),
    "sensors": ["sentinel-2"],
    "max_cloud": 40.0,
}


def test_rustac_pages_2500_items(tree: Path, profile: Profile) -> None:
    with serve_catalog(tree) as server:
        assert server.items == MANY
        for query in (YEAR, PART):
            assert_same(
                search(profile, url=server.url, **query),
                search(profile, url=str(tree), **query),
            )
        assert len(search(profile, url=server.url, **YEAR).table) == MANY
    assert not server.running


@pytest.mark.parametrize(
    "manners",
    [
        pytest.param({}, id="obeys"),
        pytest.param({"place": "ignore", "when": "ignore", "cql": "ignore"}, id="ignores"),
        pytest.param({"cql": "refuse"}, id="refuses-a-filter"),
        pytest.param({"intersects": "nothing", "cql": "nothing"}, id="nothing-to-intersects"),
        pytest.param({"last": "repeat"}, id="last-page-links-to-itself"),
        pytest.param({"last": "empty"}, id="last-page-links-to-nothing"),
    ],
)
def test_every_manner_of_server_gives_the_same_table(
    start_stac: Callable[..., Any], tree: Path, profile: Profile, manners: dict[str, str]
) -> None:
    server = start_stac(items=list(iter_static_items(str(tree))), **manners)
    filtering = dataclasses.replace(
        profile, server=dataclasses.replace(profile.server, filter="cql2-json")
    )
    expected = search(profile, url=str(tree), **PART)
    assert 20 < len(expected.table) < MANY / 2
    found = search(filtering, url=server.url, **PART)
    assert_same(found, expected)
    sent = [body for _, path, body in server.requests if path == "/search"]
    assert sent
    assert not any("filter" in body for body in sent)
    if "intersects" in manners:
        assert any("answers nothing to intersects" in note for note in found.notes)


@pytest.mark.services
def test_pgstac_pages_2500_items(
    start_pgstac: Callable[..., str], tree: Path, profile: Profile
) -> None:
    items = list(iter_static_items(str(tree)))
    url = start_pgstac(read_collections(tree), [{**item, "links": []} for item in items])
    filtering = dataclasses.replace(
        profile, server=dataclasses.replace(profile.server, filter="cql2-json")
    )
    assert len(search(profile, url=url, **YEAR).table) == MANY
    for chosen in (profile, filtering):
        for query in (YEAR, PART):
            found = search(chosen, url=url, **query)
            assert_same(found, search(profile, url=str(tree), **query))
            assert found.notes == search(profile, url=str(tree), **query).notes


@needs_shared
@pytest.mark.services
def test_pgstac_and_rustac_agree_on_real_scenes(
    start_pgstac: Callable[..., str], profile: Profile
) -> None:
    items = [{**item, "links": []} for item in iter_static_items(str(STAC))]
    url = start_pgstac(read_collections(STAC), items)
    everything = {"aoi": WORLD, "start": dt.date(2014, 1, 1), "end": dt.date(2026, 1, 1)}
    czech = {
        "aoi": shapely.MultiPolygon([box(14, 49, 16, 50), box(17, 48.5, 18, 50)]),
        "start": dt.date(2019, 9, 1),
        "end": dt.date(2019, 9, 30),
        "max_cloud": 50.0,
    }
    track = {**everything, "collections": ["sentinel-1-rtc"], "orbits": [137]}
    with serve_catalog(STAC) as rustac:
        for query, at_least in ((everything, 597), (czech, 20), (track, 147)):
            through_pgstac = search(profile, url=url, **query)
            assert len(through_pgstac.table) >= at_least
            assert_same(through_pgstac, search(profile, url=rustac.url, **query))
            assert_same(through_pgstac, search(profile, url=str(STAC), **query))
