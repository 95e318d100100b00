"""The STAC documents of the demo's archive: true facts about every raster."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import shapely

from terrascope.demo.site import DemoGrid, to_lonlat
from terrascope.sensors import S1_BANDS, S2_BANDS
from terrascope.sim.optical import OpticalScene
from terrascope.sim.weather import OpticalPass, RadarPass, Swath

__all__ = [
    "OFFSET_DN",
    "OPTICAL",
    "RADAR",
    "Product",
    "optical_item",
    "radar_item",
    "write_tree",
]

OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-rtc"
OFFSET_DN = 1000
"""Added to the stored numbers by processing baseline 04.00 and later."""

_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_EXTENSIONS = {
    OPTICAL: ("eo/v1.1.0", "projection/v1.2.0", "raster/v1.1.0", "sat/v1.0.0", "grid/v1.1.0"),
    RADAR: ("projection/v1.2.0", "raster/v1.1.0", "sar/v1.0.0", "sat/v1.0.0"),
}
_SOURCE = "Simulated by TerraScope; no satellite data"


@dataclasses.dataclass(frozen=True)
class Product:
    """How the numbers of a Sentinel-2 product are stored.

    Parameters
    ----------
    baseline : str
        Processing baseline, ``"05.10"``.
    """

    baseline: str

    @property
    def offset_dn(self) -> int:
        """What was added to the stored numbers: 1000 or 0."""
        return OFFSET_DN if self.baseline >= "04.00" else 0

    @property
    def offset(self) -> float:
        """Reflectance to add after scaling: -0.1 or 0."""
        return -self.offset_dn * 1e-4


def optical_item(grid: DemoGrid, scene: OpticalScene, product: Product) -> dict[str, Any]:
    """Describe a Sentinel-2 scene.

    Parameters
    ----------
    grid : DemoGrid
        Its zone and pixels.
    scene : OpticalScene
        What was simulated.
    product : Product
        How it is stored.

    Returns
    -------
    item : dict
        A STAC item; hrefs are relative to the item's own folder.
    """
    when = scene.when
    name = f"S2{when.platform[-1].upper()}_{grid.code}_{when.time:%Y%m%d}_0_L2A"
    valid = scene.scl > 0
    cloud = float(np.isin(scene.scl, (8, 9, 10)).sum() / max(int(valid.sum()), 1))
    item = _item(OPTICAL, name, when, grid, when.swath)
    item["properties"] |= {
        "platform": when.platform,
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": 10,
        "eo:cloud_cover": round(100.0 * cloud, 2),
        "view:sun_elevation": round(90.0 - float(np.rad2deg(when.sky.sun_zenith)), 2),
        "view:sun_azimuth": round(float(np.rad2deg(when.sky.sun_azimuth)), 2),
        "sat:orbit_state": "descending",
        "grid:code": f"MGRS-{grid.code}",
        "s2:processing_baseline": product.baseline,
        "s2:nodata_pixel_percentage": round(100.0 * float(1.0 - valid.mean()), 2),
        "earthsearch:boa_offset_applied": False,
    }
    for band in S2_BANDS.values():
        asset = _asset(grid, f"{band.name}.tif", band.gsd_m, ["data", "reflectance"])
        asset["eo:bands"] = [{"name": band.name, "center_wavelength": band.wavelength_um}]
        asset["raster:bands"] = [
            {
                "data_type": "uint16",
                "spatial_resolution": band.gsd_m,
                "nodata": 0,
                "scale": 1e-4,
                "offset": product.offset,
            }
        ]
        item["assets"][band.name] = asset
    scl = _asset(grid, "scl.tif", 20, ["data"])
    scl["raster:bands"] = [{"data_type": "uint8", "spatial_resolution": 20, "nodata": 0}]
    item["assets"]["scl"] = scl
    return item


def radar_item(grid: DemoGrid, when: RadarPass) -> dict[str, Any]:
    """Describe a Sentinel-1 scene.

    Parameters
    ----------
    grid : DemoGrid
        Its zone and pixels.
    when : RadarPass
        The pass.

    Returns
    -------
    item : dict
        A STAC item; hrefs are relative to the item's own folder.
    """
    name = f"S1A_IW_RTC_{when.time:%Y%m%dT%H%M%S}_{when.orbit:03d}_{grid.code}"
    item = _item(RADAR, name, when, grid, None)
    item["properties"] |= {
        "platform": "sentinel-1a",
        "constellation": "sentinel-1",
        "instruments": ["c-sar"],
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:product_type": "RTC",
        "sar:polarizations": ["VV", "VH"],
        "sat:orbit_state": "ascending" if when.ascending else "descending",
        "backscatter:coefficient": "gamma0",
        "backscatter:scale": "linear",
    }
    for band in S1_BANDS.values():
        asset = _asset(grid, f"{band.name}.tif", 10, ["data"])
        asset["raster:bands"] = [
            {"data_type": "float32", "spatial_resolution": 10, "nodata": "nan", "unit": "1"}
        ]
        item["assets"][band.name] = asset
    return item


def write_tree(directory: Path, items: Sequence[Mapping[str, Any]]) -> Path:
    """Write catalog, collections and item files, and both lists that a STAC server loads.

    Parameters
    ----------
    directory : pathlib.Path
        Root of the tree; the rasters lie in ``COLLECTION/ITEM/``.
    items : sequence of mapping
        STAC items with hrefs relative to the item's folder.

    Returns
    -------
    catalog : pathlib.Path
        ``catalog.json``.
    """
    ordered = sorted(items, key=lambda item: (item["properties"]["datetime"], item["id"]))
    collections = [_collection(name, ordered) for name in (OPTICAL, RADAR)]
    lines = []
    for item in ordered:
        name, collection = item["id"], item["collection"]
        folder = directory / collection / name
        linked = dict(item) | {
            "links": [
                {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
                {"rel": "parent", "href": "../collection.json", "type": "application/json"},
                {"rel": "collection", "href": "../collection.json", "type": "application/json"},
            ]
        }
        _dump(folder / f"{name}.json", linked)
        assets = {
            key: dict(asset) | {"href": f"{collection}/{name}/{asset['href'].removeprefix('./')}"}
            for key, asset in item["assets"].items()
        }
        lines.append(json.dumps(dict(item) | {"assets": assets}, sort_keys=True))
    (directory / "items.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _dump(directory / "collections.json", {"collections": collections})
    for collection in collections:
        name = collection["id"]
        links = [{"rel": "root", "href": "../catalog.json", "type": "application/json"}]
        links += [
            {"rel": "item", "href": f"./{item['id']}/{item['id']}.json", "type": "application/json"}
            for item in ordered
            if item["collection"] == name
        ]
        _dump(directory / name / "collection.json", collection | {"links": links})
    catalog = directory / "catalog.json"
    children = [{"rel": "child", "href": f"./{c['id']}/collection.json"} for c in collections]
    root = {"rel": "root", "href": "./catalog.json"}
    _dump(
        catalog,
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "terrascope-demo",
            "description": _SOURCE,
            "links": [root, *children],
        },
    )
    return catalog


def _item(
    collection: str,
    name: str,
    when: OpticalPass | RadarPass,
    grid: DemoGrid,
    swath: Swath | None,
) -> dict[str, Any]:
    """Begin an item: identity, time, footprint of the valid pixels, projection."""
    outline = grid.outline()
    if swath is not None:
        outline = cast("shapely.Polygon", shapely.intersection(outline, _half_plane(swath)))
    lonlat = shapely.set_precision(to_lonlat(outline), 1e-7)
    created = when.time + dt.timedelta(days=1)
    properties = {
        "datetime": f"{when.time:%Y-%m-%dT%H:%M:%SZ}",
        "created": f"{created:%Y-%m-%dT%H:%M:%SZ}",
        "updated": f"{created:%Y-%m-%dT%H:%M:%SZ}",
        "dataset:attribution": _SOURCE,
        "sat:relative_orbit": when.orbit,
        "proj:epsg": grid.zone.epsg,
        "proj:code": f"EPSG:{grid.zone.epsg}",
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            f"https://stac-extensions.github.io/{name}/schema.json"
            for name in _EXTENSIONS[collection]
        ],
        "id": name,
        "collection": collection,
        "geometry": json.loads(shapely.to_geojson(lonlat)),
        "bbox": [round(value, 7) for value in lonlat.bounds],
        "properties": properties,
        "links": [],
        "assets": {},
    }


def _asset(grid: DemoGrid, href: str, gsd_m: int, roles: list[str]) -> dict[str, Any]:
    times = gsd_m // 10
    return {
        "href": f"./{href}",
        "type": _COG,
        "roles": roles,
        "gsd": gsd_m,
        "proj:shape": [grid.shape[0] // times, grid.shape[1] // times],
        "proj:transform": list(grid.transform(gsd_m))[:6],
    }


def _collection(name: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [item for item in items if item["collection"] == name]
    boxes = np.array([item["bbox"] for item in mine])
    times = [item["properties"]["datetime"] for item in mine]
    box = [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "title": f"Simulated {name}",
        "description": _SOURCE,
        "license": "Apache-2.0",
        "extent": {
            "spatial": {"bbox": [box]},
            "temporal": {"interval": [[min(times), max(times)]]},
        },
        "links": [],
    }


def _half_plane(swath: Swath) -> shapely.Polygon:
    """Return the imaged side of an orbit's edge, as a rectangle large enough for the demo."""
    reach = 40_000.0
    normal = np.array([swath.normal_x, swath.normal_y])
    along = np.array([-swath.normal_y, swath.normal_x])
    foot = normal * swath.offset_m
    corners = (
        foot - reach * along,
        foot + reach * along,
        foot + reach * along + reach * normal,
        foot - reach * along + reach * normal,
    )
    return shapely.Polygon(corners)


def _dump(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
