"""One STAC item in, one row of the item table out. Items come from outside: nothing is believed.

An item that cannot be used raises `UnusableItemError`, which names the field; an
asset that cannot be used is left out with a note.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from terrascope.catalog.items import ItemRow
from terrascope.catalog.offset import Offset, find_applied_flag, find_baseline, resolve_offset
from terrascope.catalog.outline import Outline, UnusableItemError, item_properties, parse_time
from terrascope.catalog.provider import CollectionProfile, Profile
from terrascope.catalog.raster import (
    find_offsets,
    raster_dtype,
    raster_grid,
    raster_identity,
    raster_nodata,
    raster_scale,
    resolve_coefficient,
    resolve_unit,
)
from terrascope.catalog.static import resolve_href
from terrascope.redact import without_secrets
from terrascope.types import AssetRef

__all__ = ["read_item"]

_PLATFORM = re.compile(r"sentinel[-_ ]?([12])([a-d])", re.IGNORECASE)
_TILE = re.compile(r"(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z]{2})")
_TILE_IN_NAME = re.compile(r"_T?(\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2})_")


def read_item(
    item: Mapping[str, Any], outline: Outline, profile: Profile, collection: CollectionProfile
) -> ItemRow:
    """Resolve everything that is needed to read an item's rasters.

    Parameters
    ----------
    item : mapping
        A STAC item as decoded from JSON.
    outline : Outline
        Of the same item.
    profile : Profile
        Of the provider.
    collection : CollectionProfile
        Of the item's collection.

    Returns
    -------
    row : ItemRow
        With canonical bands; addresses unsigned.

    Raises
    ------
    UnusableItemError
        If no band can be read, or the unit of radar data is unknown.
    """
    known = _Item(
        raw=item,
        properties=item_properties(item),
        outline=outline,
        profile=profile,
        collection=collection,
        baseline=find_baseline(item_properties(item), outline.id),
        source=_self_href(item),
        notes=list(outline.notes),
    )
    assets, offset = _read_assets(known)
    if not set(assets) - {"scl"}:
        wanted = ", ".join(keys[0] for keys in collection.assets.values())
        raise UnusableItemError(outline.id, "assets", f"none of {wanted} can be read")
    coefficient = resolve_coefficient(collection.coefficient, known.properties)
    if collection.sensor == "sentinel-1" and not coefficient:
        known.notes.append("backscatter:coefficient is not stated; compared with its like only")
    return ItemRow(
        id=outline.id,
        collection=collection.id,
        sensor=collection.sensor,
        datetime=outline.datetime,
        solar_day=outline.solar_day,
        geometry=outline.footprint,
        assets=assets,
        datetime_precision=outline.precision,
        platform=_platform(known.properties, outline.id),
        baseline=known.baseline,
        updated=parse_time(known.properties.get("updated"))
        or parse_time(known.properties.get("created")),
        cloud_percent=outline.cloud_percent,
        orbit=outline.orbit,
        orbit_state=outline.orbit_state,
        coefficient=coefficient,
        mgrs=_mgrs(known.properties, outline.id) if collection.sensor == "sentinel-2" else "",
        offset_source=offset.source if offset else "",
        notes=tuple(dict.fromkeys(known.notes)),
        source=known.source,
        attribution=_attribution(known),
    )


@dataclasses.dataclass(frozen=True)
class _Item:
    """An item with what is known of it so far; `notes` grows."""

    raw: Mapping[str, Any]
    properties: Mapping[str, Any]
    outline: Outline
    profile: Profile
    collection: CollectionProfile
    baseline: str
    source: str
    notes: list[str]


def _platform(properties: Mapping[str, Any], item_id: str) -> str:
    match = _PLATFORM.search(str(properties.get("platform")))
    if match is None:
        match = re.match(r"S([12])([A-D])_", item_id)
    return f"sentinel-{match[1]}{match[2].lower()}" if match else ""


def _mgrs(properties: Mapping[str, Any], item_id: str) -> str:
    """Find the tile of the Sentinel-2 grid, with two digits for the zone."""
    for prefix in ("mgrs", "sentinel"):
        zone, band, square = (
            properties.get(f"{prefix}:{name}")
            for name in ("utm_zone", "latitude_band", "grid_square")
        )
        if zone and band and square and (tile := _TILE.fullmatch(f"{zone}{band}{square}")):
            return f"{int(tile[1]):02d}{tile[2]}{tile[3]}"
    code = str(properties.get("grid:code")).removeprefix("MGRS-")
    for text in (code, str(properties.get("s2:mgrs_tile"))):
        if tile := _TILE.fullmatch(text):
            return f"{int(tile[1]):02d}{tile[2]}{tile[3]}"
    match = _TILE_IN_NAME.search(item_id + "_")
    return match[1] if match else ""


def _attribution(item: _Item) -> str:
    if item.profile.attribution_property:
        value = item.properties.get(item.profile.attribution_property)
        if isinstance(value, str) and value:
            return value
    return item.profile.attribution.replace("{year}", str(item.outline.datetime.year))


def _self_href(item: Mapping[str, Any]) -> str:
    links = item.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "self":
            href = link.get("href")
            return without_secrets(href) if isinstance(href, str) else ""
    return ""


def _read_assets(item: _Item) -> tuple[dict[str, AssetRef], Offset | None]:
    """Read the bands that are there; the first band's offset speaks for the item."""
    stated = item.raw.get("assets")
    if not isinstance(stated, dict) or not stated:
        raise UnusableItemError(item.outline.id, "assets", "is missing or empty")
    assets: dict[str, AssetRef] = {}
    first: Offset | None = None
    for band, keys in item.collection.assets.items():
        asset = next((stated[key] for key in keys if isinstance(stated.get(key), dict)), None)
        if asset is None:
            continue
        href, cause = _href(asset, item.source, item.profile)
        if cause:
            item.notes.append(f"assets.{band}: {cause}")
            continue
        assets[band] = _asset_ref(item, band, asset, href)
        if item.collection.sensor == "sentinel-2" and band != "scl":
            offset = _offset(item, asset)
            assets[band] = dataclasses.replace(assets[band], offset=offset.value)
            item.notes.extend(offset.notes)
            first = first or offset
            if first.value != offset.value:
                item.notes.append(f"{band}: offset {offset.value:g} differs from {first.value:g}")
    return assets, first


def _offset(item: _Item, asset: Mapping[str, Any]) -> Offset:
    return resolve_offset(
        evidence=item.collection.offset,
        applied=find_applied_flag(item.properties),
        stated=find_offsets(asset),
        baseline=item.baseline,
        acquired=item.outline.datetime.date(),
    )


def _asset_ref(item: _Item, band: str, asset: Mapping[str, Any], href: str) -> AssetRef:
    quality = band == "scl"
    unit = "class"
    if not quality:
        unit, contradictions = resolve_unit(item.collection.unit, item.properties, asset)
        item.notes.extend(contradictions)
    if not unit:
        raise UnusableItemError(
            item.outline.id, f"assets.{band}.raster:bands[0].unit", "expected 1 or dB"
        )
    epsg, transform, shape_yx = raster_grid(asset, item.properties)
    return AssetRef(
        href=href,
        scale=1.0 if quality else raster_scale(asset, item.collection.scale),
        nodata=raster_nodata(asset, 0.0 if quality else item.collection.nodata),
        unit=unit,
        dtype=raster_dtype(asset, "uint8" if quality else item.collection.dtype),
        epsg=epsg,
        transform=transform,
        shape_yx=shape_yx,
        identity=raster_identity(asset),
    )


def _href(asset: Mapping[str, Any], base: str, profile: Profile) -> tuple[str, str]:
    """Return an absolute, unsigned address, or why there is none."""
    href = asset.get("href")
    if not isinstance(href, str) or not href:
        return "", "has no href"
    try:
        if not base and not urlsplit(href).scheme and not href.startswith("/"):
            return "", "its href is relative and the item has no self link"
        href = resolve_href(base, href)
        scheme = urlsplit(href).scheme or "file"
    except ValueError as error:
        return "", f"its href is no address: {error}"
    if href.startswith("/vsi"):
        return "", "its href is a GDAL virtual path, which a catalog may not ask for"
    if scheme not in profile.storage.schemes:
        allowed = ", ".join(profile.storage.schemes)
        return "", f"its href is of kind {scheme!r}; the profile allows {allowed}"
    return without_secrets(href), ""
