"""Events: patches of change as polygons with area, dates, kind and evidence."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

from terrascope.geo.antimeridian import lonlat_bounds, polygons_of, split_at_antimeridian
from terrascope.geo.projection import unproject_from_zone
from terrascope.geo.tiles import TILE_M, Tile, Zone
from terrascope.products.components import find_patches
from terrascope.products.layers import LayerSource
from terrascope.products.patches import KINDS, Part
from terrascope.types import Status

__all__ = ["find_events", "write_events"]

_PRECISION_DEG = 1e-7
"""Coordinates are kept to about a centimetre."""

_COLUMNS = {
    "event_id": pa.string(),
    "status": pa.string(),
    "kind": pa.string(),
    "kind_share": pa.float64(),
    "area_m2": pa.float64(),
    "area_ha": pa.float64(),
    "probability_mean": pa.float64(),
    "probability_max": pa.float64(),
    "confidence_mean": pa.float64(),
    "model_probability_mean": pa.float64(),
    "detected_on": pa.string(),
    "lon": pa.float64(),
    "lat": pa.float64(),
    "bbox": pa.list_(pa.float64()),
    "tiles": pa.list_(pa.string()),
    "items": pa.list_(pa.string()),
    "patch_id": pa.string(),
    "first_seen": pa.string(),
    "parents": pa.list_(pa.string()),
    "absorbed": pa.list_(pa.string()),
}


def find_events(
    source: LayerSource,
    *,
    min_area_ha: float,
    items: Mapping[Tile, Sequence[str]] | None = None,
) -> geopandas.GeoDataFrame:
    """Make events of the patches of provisional and confirmed change.

    Parameters
    ----------
    source : LayerSource
        The results; tiles are read one at a time.
    min_area_ha : float
        Smallest event. Applied after patches were joined across tiles and zones.
    items : mapping of Tile to sequence of str, or None
        Items behind the result of each tile.

    Returns
    -------
    events : geopandas.GeoDataFrame
        EPSG:4326, sorted by `event_id`, the same whatever the order of the tiles.
        Columns: `event_id` and `patch_id` (tile, row and column of the first pixel, so
        the same in every run that maps the same ground; `event_id` becomes a name that
        lasts, and `first_seen`, `parents` and `absorbed` say of what, by
        `terrascope.products.history.name_events`), `status` and `kind` (names in lower
        case; the highest status, the kind with the largest area), `kind_share` (of
        the area), `area_m2` and `area_ha` (geodesic), `probability_mean`,
        `probability_max`, `confidence_mean`, `model_probability_mean` (of the pixels at
        which a model looked; all NaN where unknown), `detected_on`
        (earliest, ISO date or None), `lon`, `lat` (centroid, or a point inside
        where the centroid is outside), `bbox` (west, south, east, north; west >
        east across the antimeridian), `tiles`, `items` (sorted lists of str),
        `geometry` (valid, split at the antimeridian, shells counterclockwise).

    Raises
    ------
    ValueError
        If `min_area_ha` is negative.
    """
    if not min_area_ha >= 0:
        raise ValueError(f"min_area_ha {min_area_ha}: expected 0 or more")
    smallest = min_area_ha * 1e4
    groups = find_patches(source, min_area_m2=smallest).groups()
    rows = [
        _event(group, source.resolution_m, items or {})
        for group in groups
        if sum(part.area_m2 for part in group) >= smallest
    ]
    rows.sort(key=lambda row: str(row["event_id"]))
    columns = {name: [row[name] for row in rows] for name in (*_COLUMNS, "geometry")}
    frame = geopandas.GeoDataFrame(columns, geometry="geometry", crs="EPSG:4326")
    floats = {name: "float64" for name, kind in _COLUMNS.items() if kind == pa.float64()}
    return frame.astype(floats)


def write_events(events: geopandas.GeoDataFrame, folder: Path) -> tuple[Path, Path]:
    """Write ``events.parquet`` (GeoParquet 1.1) and ``events.geojson`` (RFC 7946).

    Parameters
    ----------
    events : geopandas.GeoDataFrame
        As made by `find_events`; may be empty.
    folder : Path
        Of the output; made where absent.

    Returns
    -------
    parquet, geojson : Path
        The files; each replaced in one step, the same bytes for the same events.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parquet, geojson = folder / "events.parquet", folder / "events.geojson"
    scratch = folder / ".events.tmp"
    pq.write_table(_to_table(events), scratch, compression="zstd")
    scratch.replace(parquet)
    scratch.write_text(_to_geojson(events), encoding="utf-8")
    scratch.replace(geojson)
    return parquet, geojson


def _event(
    group: Sequence[Part], resolution_m: int, items: Mapping[Tile, Sequence[str]]
) -> dict[str, Any]:
    first = group[0]
    width = TILE_M // resolution_m
    area = sum(part.area_m2 for part in group)
    by_kind = np.sum([part.kind_m2 for part in group], axis=0)
    # a patch without any named kind is "none"; a tie goes to the lower code
    kind = 1 + int(by_kind[1:].argmax()) if by_kind[1:].any() else 0
    days = [part.detected_on for part in group if part.detected_on >= 0]
    tiles = sorted({part.tile for part in group})
    geometry = _geometry(group)
    lon, lat = _point(geometry)
    place = f"{first.tile.id}-{first.first // width:04d}-{first.first % width:04d}"
    return {
        "event_id": place,
        "status": Status(max(part.status for part in group)).name.lower(),
        "kind": KINDS[kind].name.lower(),
        "kind_share": float(by_kind[kind] / area),
        "area_m2": round(area, 3),
        "area_ha": round(area / 1e4, 7),
        "probability_mean": _mean([part.probability[:2] for part in group]),
        "probability_max": _largest([part.probability[2] for part in group]),
        "confidence_mean": _mean([part.confidence for part in group]),
        "model_probability_mean": _mean([part.model for part in group]),
        "detected_on": str(dt.date(1970, 1, 1) + dt.timedelta(min(days))) if days else None,
        "lon": lon,
        "lat": lat,
        "bbox": [round(value, 7) for value in lonlat_bounds(geometry)],
        "tiles": [tile.id for tile in tiles],
        "items": sorted({item for tile in tiles for item in items.get(tile, ())}),
        "patch_id": place,
        "first_seen": None,
        "parents": [],
        "absorbed": [],
        "geometry": geometry,
    }


def _mean(sums: Sequence[tuple[float, float]]) -> float:
    total, count = np.sum(sums, axis=0).tolist()
    return float(total / count) if count else float("nan")


def _largest(values: Sequence[float]) -> float:
    largest = max(values)
    return largest if np.isfinite(largest) else float("nan")


def _geometry(group: Sequence[Part]) -> shapely.Geometry:
    """Merge the outlines, zone by zone in their own CRS and then over the zones in degrees."""
    by_zone: dict[Zone, list[shapely.Geometry]] = {}
    for part in group:
        by_zone.setdefault(part.tile.zone, []).append(part.outline)
    pieces: list[shapely.Polygon] = []
    for zone, outlines in sorted(by_zone.items()):
        # drops the vertices on straight edges that tile borders leave
        merged = shapely.simplify(shapely.union_all(outlines), 0.0)
        pieces += polygons_of(unproject_from_zone(merged, zone))
    whole = split_at_antimeridian(shapely.MultiPolygon(pieces))
    snapped = polygons_of(shapely.set_precision(whole, _PRECISION_DEG))
    shells = shapely.orient_polygons(np.array(snapped, dtype=object))
    return shells[0] if len(shells) == 1 else shapely.MultiPolygon(shells.tolist())


def _point(geometry: shapely.Geometry) -> tuple[float, float]:
    point = shapely.centroid(geometry)
    if not shapely.contains(geometry, point):
        point = shapely.point_on_surface(geometry)
    return round(float(shapely.get_x(point)), 7), round(float(shapely.get_y(point)), 7)


def _to_table(events: geopandas.GeoDataFrame) -> pa.Table:
    schema = pa.schema([*_COLUMNS.items(), ("geometry", pa.binary())])
    arrays = [pa.array(list(events[name]), kind) for name, kind in _COLUMNS.items()]
    arrays.append(pa.array(shapely.to_wkb(events.geometry.to_numpy()).tolist(), pa.binary()))
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(set(events.geometry.geom_type)),
        "crs": pyproj.CRS.from_epsg(4326).to_json_dict(),
        "edges": "planar",
        "orientation": "counterclockwise",
    }
    if len(events):
        column["bbox"] = list(lonlat_bounds(shapely.geometrycollections(_all_parts(events))))
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    table = pa.Table.from_arrays(arrays, schema=schema)
    return table.replace_schema_metadata({"geo": json.dumps(geo, sort_keys=True)})


def _all_parts(events: geopandas.GeoDataFrame) -> list[shapely.Geometry]:
    return [part for geometry in events.geometry for part in polygons_of(geometry)]


def _to_geojson(events: geopandas.GeoDataFrame) -> str:
    """One feature per line; unknown numbers are null, coordinates have 7 digits."""
    lines = []
    for row in events.to_dict("records"):
        geometry = row.pop("geometry")
        feature = {
            "type": "Feature",
            "id": row["event_id"],
            "bbox": row.pop("bbox"),
            "geometry": _rounded(shapely.geometry.mapping(geometry)),
            "properties": {name: _plain(value) for name, value in row.items()},
        }
        lines.append(json.dumps(feature, ensure_ascii=False, allow_nan=False))
    return '{"type": "FeatureCollection", "features": [\n' + ",\n".join(lines) + "\n]}\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return round(value, 7) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
