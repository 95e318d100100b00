"""The output as STAC: one item per zone and target period, in a self-contained collection.

Nothing here looks at a clock: `created` and `updated` are the target's end, so
that equal inputs give equal bytes. File names are made of zone and dates alone;
ids from catalogs appear only inside the JSON.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import shapely
from pystac.extensions.classification import Classification, ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterBand, RasterExtension
from shapely.geometry import MultiPolygon, mapping

from terrascope.geo.antimeridian import lonlat_bounds, polygons_of, split_at_antimeridian
from terrascope.geo.footprints import tile_outlines
from terrascope.geo.tiles import Tile, Zone
from terrascope.products.layers import LayerSpec
from terrascope.products.summary import RunSummary, dump_json
from terrascope.redact import redact_text, redact_url

__all__ = ["SourceItem", "ZoneMaps", "build_stac", "write_stac"]

_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
_LINKABLE = re.compile(r"(?:https?|s3|gs|az|abfs|file)://|/")
_UNSAFE_ID = re.compile(r"[^A-Za-z0-9._-]+")
_SENTINEL_TERMS = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"
_FILES = (
    ("report", "report.html", "text/html", "Report", ["overview"]),
    ("figures", "report.json", "application/json", "Figures of the report", ["metadata"]),
    ("events", "events.geojson", "application/geo+json", "Events", ["data"]),
    ("events-table", "events.parquet", "application/vnd.apache.parquet", "Events", ["data"]),
)


@dataclasses.dataclass(frozen=True)
class SourceItem:
    """A scene that a map was made from.

    Parameters
    ----------
    id : str
        Item id; untrusted.
    href : str
        Its self link or path; empty where unknown.
    """

    id: str
    href: str = ""


@dataclasses.dataclass(frozen=True)
class ZoneMaps:
    """The maps of one zone.

    Parameters
    ----------
    zone : Zone
        UTM zone.
    transform : tuple of float
        Six affine numbers (a, b, c, d, e, f) of the rasters.
    shape_yx : tuple of int
        Rows and columns of the rasters.
    layers : tuple of LayerSpec
        Files ``maps/ZONE/NAME.tif``.
    tiles : tuple of Tile
        With at least one observed pixel.
    sources : tuple of SourceItem
        Scenes behind the maps.
    """

    zone: Zone
    transform: tuple[float, float, float, float, float, float]
    shape_yx: tuple[int, int]
    layers: tuple[LayerSpec, ...]
    tiles: tuple[Tile, ...]
    sources: tuple[SourceItem, ...] = ()


def write_stac(
    folder: Path,
    summary: RunSummary,
    zones: Sequence[ZoneMaps],
    *,
    mosaic: Sequence[LayerSpec] = (),
) -> tuple[Path, ...]:
    """Write ``stac/collection.json`` and one file per item.

    Parameters
    ----------
    folder : Path
        A staging folder.
    summary : RunSummary
        What was found.
    zones : sequence of ZoneMaps
        One entry per zone.
    mosaic : sequence of LayerSpec
        Layers that exist as ``maps/NAME.tif`` too.

    Returns
    -------
    paths : tuple of Path
        The collection first.
    """
    collection, items = build_stac(summary, zones, mosaic=mosaic)
    target = folder / "stac"
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for thing in (collection, *items):
        path = target / Path(thing.self_href).name
        document = thing.to_dict(include_self_link=False, transform_hrefs=False)
        path.write_text(dump_json(document), encoding="utf-8", newline="\n")
        paths.append(path)
    return tuple(paths)


def build_stac(
    summary: RunSummary,
    zones: Sequence[ZoneMaps],
    *,
    mosaic: Sequence[LayerSpec] = (),
) -> tuple[pystac.Collection, tuple[pystac.Item, ...]]:
    """Describe the output folder; all addresses are relative to its ``stac/``.

    Parameters
    ----------
    summary : RunSummary
        What was found.
    zones : sequence of ZoneMaps
        One entry per zone.
    mosaic : sequence of LayerSpec
        Layers of the regional mosaic.

    Returns
    -------
    collection : pystac.Collection
        Linked to its items by relative addresses.
    items : tuple of pystac.Item
        By zone.
    """
    start, end = _instants(summary)
    items = [_item(summary, maps) for maps in sorted(zones, key=lambda maps: maps.zone)]
    boxes = [list(summary.area.bbox)]
    if len(items) > 1:  # the first box is the whole, the others its parts (STAC 1.1)
        boxes += [item.bbox for item in items if item.bbox]
    collection = pystac.Collection(
        id=_collection_id(summary.monitor),
        title=f"Change watched by {summary.monitor}",
        description=(
            f"Maps and events of change in {summary.target}, compared with {summary.baseline}, "
            f"made by TerraScope {summary.version}. "
            f"{100 * summary.observed_share:.1f} % of the area was observed. "
            + " ".join(summary.notices)
        ),
        extent=pystac.Extent(pystac.SpatialExtent(boxes), pystac.TemporalExtent([[start, end]])),
        license="other",  # the owner of the output has stated none
        providers=[
            pystac.Provider(
                "ESA / Copernicus",
                roles=[pystac.ProviderRole.PRODUCER],
                url="https://dataspace.copernicus.eu",
            ),
        ],
        extra_fields={"attribution": list(summary.notices)},
        href="./collection.json",
        catalog_type=pystac.CatalogType.SELF_CONTAINED,
    )
    collection.add_link(
        pystac.Link("license", _SENTINEL_TERMS, "application/pdf", "Terms of the Sentinel data")
    )
    for layer in mosaic:
        _add_layer(collection, layer, f"../maps/{layer.name}.tif", summary, key="mosaic-")
    for key, name, media_type, title, roles in _FILES:
        asset = pystac.Asset(f"../{name}", title=title, media_type=media_type, roles=roles)
        collection.add_asset(key, asset)
    for item in items:
        _link(item, collection)
    collection.remove_links("root")
    collection.add_link(pystac.Link("root", "./collection.json", "application/json"))
    return collection, tuple(items)


def _item(summary: RunSummary, maps: ZoneMaps) -> pystac.Item:
    """One zone's maps."""
    start, end = _instants(summary)
    outline = _outline(maps.tiles)
    item = pystac.Item(
        id=f"{maps.zone.id}-{summary.target.start}-{summary.target.end}",
        geometry=mapping(outline) if outline else None,
        bbox=[round(v, 7) for v in lonlat_bounds(outline)] if outline else None,
        datetime=None,
        start_datetime=start,
        end_datetime=end,
        properties=_properties(summary, maps, end),
    )
    item.stac_extensions.append(_PROCESSING)
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.apply(
        code=f"EPSG:{maps.zone.epsg}",
        shape=list(maps.shape_yx),
        transform=[float(v) for v in maps.transform],
    )
    for layer in maps.layers:
        _add_layer(item, layer, f"../maps/{maps.zone.id}/{layer.name}.tif", summary)
    for source in sorted(set(maps.sources), key=lambda source: (source.id, source.href)):
        if _LINKABLE.match(source.href):
            href = redact_url(source.href)
            link = pystac.Link("derived_from", href, "application/geo+json", source.id)
            item.add_link(link)
    return item


def _properties(summary: RunSummary, maps: ZoneMaps, end: dt.datetime) -> dict[str, Any]:
    """Facts beside the core ones, JSON-ready."""
    stamp = end.strftime("%Y-%m-%dT%H:%M:%SZ")
    loose = sorted({s.id for s in maps.sources if not _LINKABLE.match(s.href)})
    used = sorted({use.sensor for use in summary.sensors if use.used})
    return {
        "title": f"Change in zone {maps.zone.id}, {summary.target}",
        "created": stamp,
        "updated": stamp,
        "constellation": "sentinel",
        "gsd": summary.area.resolution_m,
        "processing:software": {"terrascope": summary.version},
        "processing:lineage": redact_text(
            f"{' and '.join(used) or 'no sensor'}, {summary.target}, compared with "
            f"{summary.baseline}, composites {summary.cadence}, "
            f"catalog {summary.catalog.profile} {summary.catalog.url}".strip()
        ),
        "processing:level": "L3",
        "terrascope:baseline": [str(summary.baseline.start), str(summary.baseline.end)],
        "terrascope:tiles": sorted(tile.id for tile in maps.tiles),
        **({"terrascope:derived_from_ids": loose} if loose else {}),
    }


def _add_layer(
    owner: pystac.Item | pystac.Collection,
    layer: LayerSpec,
    href: str,
    summary: RunSummary,
    *,
    key: str = "",
) -> None:
    """Declare one raster: type, missing value, unit and classes."""
    facts: dict[str, Any] = {
        "data_type": layer.dtype,
        "nodata": "nan" if math.isnan(layer.nodata) else layer.nodata,
    }
    if layer.unit:
        facts["unit"] = layer.unit
    asset = pystac.Asset(
        href,
        title=layer.description,
        media_type=_COG,
        roles=["data"],
        extra_fields=facts,
    )
    owner.add_asset(key + layer.name, asset)
    raster = RasterExtension.ext(asset, add_if_missing=True)
    raster.bands = [RasterBand({**facts, "spatial_resolution": summary.area.resolution_m})]
    if layer.classes:
        classes = ClassificationExtension.ext(asset, add_if_missing=True)
        classes.classes = [
            Classification.create(
                value=entry.code,
                name=entry.name.lower().replace(" ", "_"),
                description=entry.name,
                color_hint="{:02X}{:02X}{:02X}".format(*entry.colour),
            )
            for entry in layer.classes
        ]


def _link(item: pystac.Item, collection: pystac.Collection) -> None:
    """Tie an item to its collection by relative addresses."""
    item.collection_id = collection.id
    item.set_self_href(f"./{item.id}.json")
    for relation in ("root", "parent", "collection"):
        item.add_link(pystac.Link(relation, "./collection.json", "application/json"))
    collection.add_link(
        pystac.Link("item", f"./{item.id}.json", "application/geo+json", item.properties["title"])
    )


def _instants(summary: RunSummary) -> tuple[dt.datetime, dt.datetime]:
    """First and last second of the target, UTC."""
    start = dt.datetime.combine(summary.target.start, dt.time(), tzinfo=dt.UTC)
    return start, dt.datetime.combine(summary.target.end, dt.time(23, 59, 59), tzinfo=dt.UTC)


def _outline(tiles: Sequence[Tile]) -> MultiPolygon | None:
    """Ground of the tiles in degrees, cut at the antimeridian, rounded to a centimetre."""
    if not tiles:
        return None
    merged = shapely.union_all(tile_outlines(sorted(tiles)))
    split = split_at_antimeridian(MultiPolygon(polygons_of(merged)))
    rounded = shapely.transform(split, lambda degrees: np.round(degrees, 7))
    tidy = shapely.normalize(shapely.remove_repeated_points(rounded))
    return MultiPolygon(polygons_of(tidy))


def _collection_id(name: str) -> str:
    """Make an id of the monitor's name."""
    return _UNSAFE_ID.sub("-", name).strip("-.") or "monitor"
