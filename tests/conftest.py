"""A small archive that any test may monitor: one tile, two dates, one clear-cut."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine

EPSG = 32633
WEST_M, NORTH_M, GSD_M, SIDE = 460_800.0, 5_544_960.0, 60, 256
"""Tile 33N-0030-0360 at 60 m."""
DATES = ("2023-06-10T10:00:00Z", "2024-06-12T10:00:00Z")
BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
FOREST = (250, 450, 280, 3200, 1500, 700)
CLEARED = (800, 1100, 1400, 2100, 3000, 2400)


@dataclasses.dataclass(frozen=True)
class TinyArchive:
    """A static STAC tree of two Sentinel-2 scenes."""

    directory: Path

    def monitor_file(self, folder: Path) -> Path:
        """Write a monitor file into `folder`; the result goes to ``folder/out``."""
        folder.mkdir(parents=True, exist_ok=True)
        to_lonlat = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True)
        west, south = to_lonlat.transform(WEST_M + 4000, NORTH_M - 11_000)
        east, north = to_lonlat.transform(WEST_M + 11_000, NORTH_M - 4000)
        file = folder / "tiny.toml"
        lines = [
            "[monitor]",
            'name = "tiny"',
            "[area]",
            f"bbox = {[round(value, 6) for value in (west, south, east, north)]}",
            "resolution_m = 60",
            "[catalog]",
            'profile = "local"',
            f"url = {json.dumps(str(self.directory))}",
            "[time]",
            'target = "2024-06-01/2024-06-30"',
            'baseline = "2023-06-01/2023-06-30"',
            "[sensors]",
            'optical = "sentinel-2-l2a"',
            "[cube]",
            f"bands = {json.dumps(BANDS)}",
            "[output]",
            'path = "out"',
        ]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> TinyArchive:
    """Return an archive of two dates of one tile; between them a square of forest is felled."""
    root = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(7)
    texture = np.kron(rng.normal(1.0, 0.12, (32, 32)), np.ones((8, 8)))
    felled = np.zeros((SIDE, SIDE), bool)
    felled[110:130, 100:125] = True
    items = []
    for index, moment in enumerate(DATES):
        name = f"S2A_33UVR_{moment[:10].replace('-', '')}_0_L2A"
        folder = root / "sentinel-2-l2a" / name
        folder.mkdir(parents=True)
        for band, forest, cleared in zip(BANDS, FOREST, CLEARED, strict=True):
            plane = np.where(felled & (index == 1), cleared, forest)
            plane = plane * texture + rng.normal(0, 15, felled.shape)
            _write(folder / f"{band}.tif", np.clip(plane, 1, None).astype(np.uint16))
        _write(folder / "scl.tif", np.full(felled.shape, 4, np.uint8))
        items.append(_item(name, moment))
    collection = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": "sentinel-2-l2a",
        "description": "two dates of one tile",
        "license": "Apache-2.0",
        "extent": {
            "spatial": {"bbox": [items[0]["bbox"]]},
            "temporal": {"interval": [list(DATES)]},
        },
        "links": [],
    }
    (root / "items.ndjson").write_text("".join(json.dumps(item) + "\n" for item in items))
    (root / "collections.json").write_text(json.dumps({"collections": [collection]}))
    return TinyArchive(root)


def _item(name: str, moment: str) -> dict[str, Any]:
    to_lonlat = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True)
    reach = SIDE * GSD_M
    x = [WEST_M, WEST_M + reach, WEST_M + reach, WEST_M, WEST_M]
    y = [NORTH_M - reach, NORTH_M - reach, NORTH_M, NORTH_M, NORTH_M - reach]
    ring = np.column_stack(to_lonlat.transform(x, y)).round(7)
    grid = {
        "proj:shape": [SIDE, SIDE],
        "proj:transform": [GSD_M, 0.0, WEST_M, 0.0, -GSD_M, NORTH_M],
    }
    href = f"./sentinel-2-l2a/{name}"
    stored = {"data_type": "uint16", "nodata": 0, "scale": 1e-4, "offset": 0.0}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring.tolist()]},
        "bbox": [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()],
        "properties": {
            "datetime": moment,
            "platform": "sentinel-2a",
            "eo:cloud_cover": 0.0,
            "proj:epsg": EPSG,
            "s2:processing_baseline": "05.09",
            "earthsearch:boa_offset_applied": True,
        },
        "links": [],
        "assets": {
            band: {"href": f"{href}/{band}.tif", "raster:bands": [stored], **grid} for band in BANDS
        }
        | {"scl": {"href": f"{href}/scl.tif", "raster:bands": [{"data_type": "uint8"}], **grid}},
    }


def _write(file: Path, plane: np.ndarray) -> None:
    with rasterio.open(
        file,
        "w",
        driver="COG",
        width=SIDE,
        height=SIDE,
        count=1,
        dtype=plane.dtype.name,
        crs=f"EPSG:{EPSG}",
        transform=Affine(GSD_M, 0.0, WEST_M, 0.0, -GSD_M, NORTH_M),
        nodata=0,
        compress="DEFLATE",
        overviews="NONE",
    ) as target:
        target.write(plane, 1)
