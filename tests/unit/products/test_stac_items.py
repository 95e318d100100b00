"""The output's STAC: readable by pystac, relative, equal bytes for equal results."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pystac
import pytest
import shapely
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterExtension

from terrascope.geo.tiles import Tile, Zone
from terrascope.products.layers import LAYERS
from terrascope.products.stac import SourceItem, ZoneMaps, write_stac

SOURCES = (
    SourceItem("S2B_1", "https://user:pw@stac.example.org/items/S2B_1?sig=QUJD"),
    SourceItem("<script>alert(1)</script>", "javascript:alert(1)"),
    SourceItem("../../etc/passwd"),
)
LAYERS_MADE = (LAYERS["status"], LAYERS["change_probability"], LAYERS["change_kind"])


def zone_maps(zone: str, *tiles: str) -> ZoneMaps:
    return ZoneMaps(
        Zone.parse(zone),
        (10.0, 0.0, 476_160.0, 0.0, -10.0, 5_498_880.0),
        (1536, 3072),
        LAYERS_MADE,
        tuple(Tile.parse(tile) for tile in tiles),
        SOURCES,
    )


ZONES = (
    zone_maps("60N", "60N-0043-0100", "60N-0042-0100"),
    zone_maps("33N", "33N-0031-0357", "33N-0032-0357"),
    zone_maps("32N"),
)


@pytest.fixture
def folder(tmp_path: Path, run_summary) -> Path:
    write_stac(tmp_path, run_summary, ZONES, mosaic=LAYERS_MADE)
    return tmp_path


def test_round_trip(folder: Path, run_summary) -> None:
    collection = pystac.Collection.from_file(str(folder / "stac/collection.json"))
    items = list(collection.get_items(recursive=True))
    assert [item.id for item in items] == [
        f"{zone}-2020-08-01-2020-09-30" for zone in ("32N", "33N", "60N")
    ]
    assert collection.extent.spatial.bboxes[0] == list(run_summary.area.bbox)
    assert "Copernicus Sentinel data [2019, 2020]" in collection.extra_fields["attribution"][0]
    assert collection.license == "other"
    item = items[1]
    assert item.get_collection().id == collection.id
    assert ProjectionExtension.ext(item).code == "EPSG:32633"
    assert ProjectionExtension.ext(item).shape == [1536, 3072]
    status = item.assets["status"]
    assert Path(status.get_absolute_href()) == folder / "maps/33N/status.tif"
    assert (
        Path(collection.assets["mosaic-status"].get_absolute_href()) == folder / "maps/status.tif"
    )
    assert RasterExtension.ext(status).bands[0].nodata == 255
    assert {c.value for c in ClassificationExtension.ext(status).classes} == {0, 1, 2, 3, 4}
    assert item.common_metadata.start_datetime.isoformat() == "2020-08-01T00:00:00+00:00"
    assert item.common_metadata.created == item.common_metadata.end_datetime
    assert any("processing" in uri for uri in item.stac_extensions)


def test_core_schema(folder: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    cache = pytest.importorskip("pystac.validation.local_validator").get_local_schema_cache()
    registry = referencing.Registry().with_contents(cache.items())
    schemas = {uri.split("/")[-1]: schema for uri, schema in cache.items()}
    for path in sorted((folder / "stac").iterdir()):
        schema = schemas["collection.json" if path.name == "collection.json" else "item.json"]
        validator = jsonschema.Draft7Validator(schema, registry=registry)
        problems = [error.message for error in validator.iter_errors(json.loads(path.read_text()))]
        assert problems == []


def test_geometry_is_the_observed_ground(folder: Path) -> None:
    inland = json.loads((folder / "stac/33N-2020-08-01-2020-09-30.json").read_text())
    outline = shapely.geometry.shape(inland["geometry"])
    assert outline.is_valid
    west, south, east, north = inland["bbox"]
    assert (west, south, east, north) == pytest.approx(outline.bounds)
    # 30.72 km x 15.36 km at 49.57 N: a degree is 72.3 km by 111.2 km there
    assert outline.area * 72.3 * 111.2 == pytest.approx(30.72 * 15.36, rel=0.01)
    edge = json.loads((folder / "stac/60N-2020-08-01-2020-09-30.json").read_text())
    assert edge["bbox"][0] >= -180
    unseen = json.loads((folder / "stac/32N-2020-08-01-2020-09-30.json").read_text())
    assert unseen["geometry"] is None
    assert "bbox" not in unseen


def test_untrusted_ids_stay_out_of_links_and_paths(folder: Path, run_summary) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "stac/collection.json",
        *(f"stac/{zone}-2020-08-01-2020-09-30.json" for zone in ("32N", "33N", "60N")),
    }
    text = (folder / "stac/33N-2020-08-01-2020-09-30.json").read_text()
    item = json.loads(text)
    derived = [link for link in item["links"] if link["rel"] == "derived_from"]
    assert [link["href"] for link in derived] == ["https://stac.example.org/items/S2B_1"]
    assert item["properties"]["terrascope:derived_from_ids"] == [
        "../../etc/passwd",
        "<script>alert(1)</script>",
    ]
    assert "QUJD" not in text
    assert "javascript" not in text
    hostile = dataclasses.replace(run_summary, monitor="../../etc/<b>")
    paths = write_stac(folder / "hostile", hostile, ZONES)
    assert all(path.parent == folder / "hostile/stac" for path in paths)


def test_equal_bytes_whatever_the_order(folder: Path, tmp_path: Path, run_summary) -> None:
    shuffled = [
        dataclasses.replace(maps, tiles=maps.tiles[::-1], sources=maps.sources[::-1])
        for maps in ZONES[::-1]
    ]
    paths = write_stac(tmp_path / "again", run_summary, shuffled, mosaic=LAYERS_MADE)
    for path in paths:
        assert path.read_bytes() == (folder / "stac" / path.name).read_bytes()
