"""Sources without a server, and the server over them: the same table comes out."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import shapely
import stac_geoparquet.arrow
from shapely.geometry import box

from terrascope.catalog.profile import load_profile
from terrascope.catalog.search import SearchResult, search
from terrascope.catalog.serve import serve_catalog
from terrascope.catalog.sign import PlanetaryComputerSigner, open_signer
from terrascope.catalog.static import iter_static_items
from terrascope.errors import CatalogError, ConfigError

COUNT = 7


def everything(source: str | Path) -> SearchResult:
    return search(
        load_profile("local"),
        aoi=box(-180, -90, 180, 90),
        start=dt.date(2020, 1, 1),
        end=dt.date(2021, 1, 1),
        url=str(source),
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A static catalog: root, one collection, one folder per item, relative addresses."""
    root = tmp_path / "tree"
    folder = root / "sentinel-2-l2a"
    stac = {"stac_version": "1.0.0", "description": "x"}
    links = []
    for i in range(COUNT):
        item = {
            **stac,
            "type": "Feature",
            "id": f"item-{i}",
            "collection": "sentinel-2-l2a",
            "geometry": json.loads(shapely.to_geojson(box(i, 40, i + 0.5, 41))),
            "bbox": [i, 40, i + 0.5, 41],
            "properties": {"datetime": f"2020-05-{i + 1:02d}T10:00:00Z", "proj:epsg": 32631},
            "links": [{"rel": "self", "href": "https://somewhere.else/item.json"}],
            "assets": {"red": {"href": "./red.tif", "type": "image/tiff"}},
        }
        (folder / f"item-{i}").mkdir(parents=True)
        (folder / f"item-{i}" / "item.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./item-{i}/item.json"})
    extent = {
        "spatial": {"bbox": [[0, 40, 10, 41]]},
        "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]},
    }
    collection = {**stac, "type": "Collection", "id": "sentinel-2-l2a", "license": "other"}
    collection |= {"extent": extent, "links": [*links, {"rel": "root", "href": "../catalog.json"}]}
    (folder / "collection.json").write_text(json.dumps(collection))
    # A link back up and a link twice: the walk still ends and visits once.
    children = [{"rel": "child", "href": "sentinel-2-l2a/collection.json"}] * 2
    loop = {"rel": "child", "href": "./catalog.json"}
    catalog = {**stac, "type": "Catalog", "id": "c", "links": [*children, loop]}
    (root / "catalog.json").write_text(json.dumps(catalog))
    return root


def test_tree_files_parquet_and_server_agree(tree: Path, tmp_path: Path) -> None:
    expected = everything(tree)
    assert len(expected.table) == COUNT
    red = expected.table.scene(2).assets["red"]
    assert red.href == str(tree / "sentinel-2-l2a/item-2/red.tif")
    items = list(iter_static_items(str(tree / "catalog.json")))
    (tmp_path / "items.ndjson").write_text("\n".join(json.dumps(item) for item in items) + "\n\n")
    (tmp_path / "list.json").write_text(json.dumps(items))
    collection = {"type": "FeatureCollection", "features": items}
    (tmp_path / "collection.json").write_text(json.dumps(collection))
    table = stac_geoparquet.arrow.parse_stac_items_to_arrow(items).read_all()
    pyarrow.parquet.write_table(table, tmp_path / "items.parquet")
    sources = [tree / "catalog.json", f"file://{tree}", tree / "sentinel-2-l2a/collection.json"]
    sources += [tmp_path / f"{name}" for name in ("items.ndjson", "list.json", "collection.json")]
    for source in (*sources, tmp_path / "items.parquet"):
        found = everything(source)
        assert found.table.identity() == expected.table.identity(), source
    with serve_catalog(tree) as server:
        assert server.items == COUNT
        served = everything(server.url)
        assert served.table.identity() == expected.table.identity()
        assert f"{server.url} has no collection sentinel-1-rtc" in served.notes
        folder = server._folder
        assert folder.exists()
    assert not server.running
    assert not folder.exists()


def test_one_item_is_a_source(tree: Path) -> None:
    assert len(everything(tree / "sentinel-2-l2a/item-3/item.json").table) == 1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("nowhere", None, "found nothing to read, expected a STAC API's URL"),
        ("x.json", "{", "is not JSON"),
        ("x.json", "3", "expected a STAC catalog, an item collection or items"),
        ("x.json", '{"type": "FeatureCollection", "features": 3}', "expected a STAC catalog"),
        ("x.json", '[3, "item"]', "expected a STAC catalog"),
        ("x.ndjson", '{"id": 1}\n3\n', "line 2: expected a STAC item"),
        ("x.ndjson", "{\n", "line 1: not JSON"),
        ("x.parquet", "PAR", "is no stac-geoparquet"),
        (
            "x.json",
            '{"type": "Catalog", "links": [{"rel": "item", "href": "no"}]}',
            "cannot be read",
        ),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, name: str, content: str | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(CatalogError, match=complaint):
        everything(tmp_path / name)


def test_links_of_nonsense_do_no_harm(tmp_path: Path) -> None:
    links: list[Any] = [3, None, {}, {"rel": "child"}, {"rel": "item", "href": 7}]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "links": links}))
    assert len(everything(tmp_path).table) == 0


def test_a_folder_without_catalog_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="holds no STAC collection"):
        serve_catalog(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_when_asked(tree: Path, number: int) -> None:
    code = (
        "import sys; from terrascope.catalog.serve import serve_until_stopped\n"
        "serve_until_stopped(sys.argv[1], on_start="
        "lambda s: print(s.url, s._process.pid, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tree)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        url, child = process.stdout.readline().split()
        assert len(everything(url).table) == COUNT
        process.send_signal(number)
        assert process.wait(30) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(child), 0)


def test_signers_travel_and_keep_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = PlanetaryComputerSigner("https://tokens.example")
    signer._tokens["account", "box"] = ("sig=SECRET", dt.datetime(2999, 1, 1, tzinfo=dt.UTC))
    href = "https://account.blob.core.windows.net/box/a.tif"
    assert signer(href) == f"{href}?sig=SECRET"
    assert signer(f"{href}?versionId=3") == f"{href}?versionId=3&sig=SECRET"
    assert b"SECRET" not in pickle.dumps(signer)
    assert pickle.loads(pickle.dumps(signer))("/data/a.tif") == "/data/a.tif"
    steps: list[Callable[[str], str]] = [open_signer("none"), open_signer("planetary-computer")]
    assert [pickle.loads(pickle.dumps(step))("/a") for step in steps] == ["/a", "/a"]

    keys = open_signer("environment", environment=["TERRASCOPE_TEST_KEY"])
    with pytest.raises(ConfigError, match="the environment lacks TERRASCOPE_TEST_KEY"):
        keys("s3://bucket/a.tif")
    monkeypatch.setenv("TERRASCOPE_TEST_KEY", "SECRET")
    assert pickle.loads(pickle.dumps(keys))("s3://bucket/a.tif") == "s3://bucket/a.tif"
    assert b"SECRET" not in pickle.dumps(keys)
    with pytest.raises(ConfigError, match="'magic', expected none, environment"):
        open_signer("magic")


def test_a_server_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"found no folder .*nowhere; expected"):
        serve_catalog(tmp_path / "nowhere")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CatalogError, match=rf"127.0.0.1:{port} .*give another port"):
            serve_catalog(tmp_path, port=port)
