"""Small raster files, written as the data sets have them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin


def write_tif(
    path: Path,
    values: np.ndarray,
    *,
    pixel: float = 10.0,
    west: float = 399_960.0,
    north: float = 5_300_040.0,
    epsg: int = 32633,
    **more: Any,
) -> None:
    """Write a GeoTIFF of one band (y, x) or several (band, y, x)."""
    planes = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=planes.shape[1],
        width=planes.shape[2],
        count=len(planes),
        dtype=planes.dtype,
        crs=f"EPSG:{epsg}",
        transform=from_origin(west, north, pixel, pixel),
        nodata=more.get("nodata"),
    ) as file:
        file.write(planes)
        if "names" in more:
            file.descriptions = more["names"]
            file.scales = (more.get("scale", 1.0),) * len(planes)


def write_png(path: Path, values: np.ndarray) -> None:
    """Write a PNG of one band (y, x) or three (3, y, x)."""
    planes = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="PNG",
            height=planes.shape[1],
            width=planes.shape[2],
            count=len(planes),
            dtype=planes.dtype,
        ) as file:
            file.write(planes)
