"""Real scenes with label rasters, from the items of a static catalog: windows for the runners."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terrascope.kernels.radiometry import OffsetVerdict, check_offset
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import Stack, Window
from terrascope.readers.files import FileAccess
from terrascope.sensors import S1_BANDS, S2_BANDS
from terrascope.types import AssetRef, FloatArray, SceneRef

__all__ = [
    "RealItem",
    "centre_m",
    "load_items",
    "offset_repair",
    "optical_of",
    "radar_of",
    "read_raster",
    "window_of",
]

_OFFSET = 0.1


@dataclasses.dataclass(frozen=True)
class RealItem:
    """One STAC item as it stands in the file.

    Parameters
    ----------
    document : mapping
        The item.
    folder : Path
        That its hrefs are relative to.
    """

    document: Mapping[str, Any]
    folder: Path

    @property
    def id(self) -> str:
        """Of the item."""
        return str(self.document["id"])

    @property
    def collection(self) -> str:
        """Of the item."""
        return str(self.document["collection"])

    @property
    def properties(self) -> Mapping[str, Any]:
        """Of the item."""
        found: Mapping[str, Any] = self.document["properties"]
        return found

    @property
    def day(self) -> dt.date:
        """Date as stated; where only the month is known, a day in its middle."""
        return dt.datetime.fromisoformat(str(self.properties["datetime"])).date()


def load_items(shared: Path, subset: str) -> list[RealItem]:
    """Read the items of a subset.

    Parameters
    ----------
    shared : Path
        Folder of the shared data, with ``stac/items.ndjson``.
    subset : str
        Value of ``dataset:subset``.

    Returns
    -------
    items : list of RealItem
        In the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    folder = shared / "stac"
    with (folder / "items.ndjson").open(encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    return [
        RealItem(document, folder)
        for document in documents
        if document["properties"].get("dataset:subset") == subset
    ]


def read_raster(item: RealItem, asset: str) -> NDArray[Any]:
    """Read one raster on its own grid.

    Parameters
    ----------
    item : RealItem
        The item.
    asset : str
        Key of the raster.

    Returns
    -------
    values : ndarray, shape (y, x)
        Stored numbers.
    """
    stated = item.document["assets"][asset]
    shape, transform = tuple(stated["proj:shape"]), tuple(stated["proj:transform"][:6])
    band = stated["raster:bands"][0]
    nodata = band.get("nodata")
    reference = AssetRef(
        str(item.folder / stated["href"]),
        nodata=float(nodata) if nodata is not None and nodata != "nan" else math.nan,
        dtype=band["data_type"],
        epsg=int(item.properties["proj:epsg"]),
        transform=transform,
        shape_yx=(shape[0], shape[1]),
    )
    moment = dt.datetime.fromisoformat(str(item.properties["datetime"]))
    scene = SceneRef(item.id, item.collection, "", moment, moment.date(), {asset: reference})
    out = np.empty(shape, band["data_type"])
    grid = GeoBox(shape, Affine(*transform), f"EPSG:{item.properties['proj:epsg']}")
    FileAccess().read(scene, asset, grid, out, resampling="nearest")
    return out


def optical_of(items: Sequence[RealItem], repaired: list[str] | None = None) -> Stack:
    """Read the 12 bands of some dates.

    Parameters
    ----------
    items : sequence of RealItem
        Of one grid, in order of time.
    repaired : list of str or None
        The ids of items whose offset was repaired are added to it.

    Returns
    -------
    stack : Stack
        Reflectance (stored number times 0.0001); stored 0 is missing. A date whose pixels
        contradict the offset that is stated of them is repaired; see `offset_repair`.
    """
    values = np.stack(
        [np.stack([read_raster(item, band) for band in S2_BANDS]) for item in items]
    ).astype(np.float32)
    reflectance: FloatArray = np.where(values == 0, np.nan, values * 1e-4).astype(np.float32)
    repairs = np.stack([offset_repair(one) for one in reflectance])
    reflectance += repairs[:, None, None, None]
    if repaired is not None:
        repaired += [item.id for item, repair in zip(items, repairs, strict=True) if repair]
    days = [item.day for item in items]
    return Stack("sentinel-2", reflectance, list(S2_BANDS), days, "reflectance")


def offset_repair(reflectance: FloatArray) -> np.float32:
    """Tell what must be added to an image whose pixels contradict its stated offset.

    Parameters
    ----------
    reflectance : ndarray of float32, shape (12, H, W)
        With the stated offset applied; NaN where missing. No label is looked at.

    Returns
    -------
    repair : numpy.float32
        -0.1 where the offset of processing baseline 04.00 and later was not subtracted, 0.1
        where it was subtracted twice, 0 where the pixels agree or cannot tell
        (`terrascope.kernels.radiometry.check_offset`).

    Notes
    -----
    Collection 1 reprocessed scenes of all years as baseline 05.00, with the offset. What was
    harmonised by the date of acquisition still carries it: so does one of the TerraMind places,
    acquired in 2020 and stated to be free of it, with its darkest pixels at 0.105 in every band.
    """
    bands = dict(zip(S2_BANDS, reflectance, strict=True))
    witnesses = [bands[name] for name in ("blue", "swir16", "swir22")]
    verdict = check_offset(bands["red"], bands["nir"], witnesses)
    repairs = {OffsetVerdict.NOT_SUBTRACTED: -_OFFSET, OffsetVerdict.TWICE: _OFFSET}
    return np.float32(repairs.get(verdict, 0.0))


def radar_of(items: Sequence[RealItem]) -> Stack:
    """Read VV and VH, stored in dB, of some dates.

    Parameters
    ----------
    items : sequence of RealItem
        Of one grid, in order of time.

    Returns
    -------
    stack : Stack
        In dB.
    """
    values = np.stack(
        [np.stack([read_raster(item, band) for band in S1_BANDS]) for item in items]
    ).astype(np.float32)
    return Stack("sentinel-1", values, list(S1_BANDS), [item.day for item in items], "dB")


def centre_m(item: RealItem) -> tuple[float, float]:
    """Return the centre of an item, for blocks of a spatial cross-validation.

    Parameters
    ----------
    item : RealItem
        With a bounding box in degrees.

    Returns
    -------
    y, x : tuple of float
        Metres north of the equator and east of Greenwich, at the item's own latitude.
    """
    west, south, east, north = item.document["bbox"]
    latitude = (south + north) / 2
    degree_m = 111_320.0
    x = (west + east) / 2 * degree_m * math.cos(math.radians(latitude))
    return latitude * degree_m, x


def window_of(item: RealItem, optical: Stack | None, radar: Stack | None) -> Window:
    """Put the stacks of a place on its ground.

    Parameters
    ----------
    item : RealItem
        With the grid and the bounding box of the place.
    optical, radar : Stack or None
        On this grid.

    Returns
    -------
    window : Window
        Pixels of their true size: a Web Mercator pixel of 10 m is smaller on the ground.
    """
    asset = next(iter(item.document["assets"].values()))
    shape, transform = asset["proj:shape"], asset["proj:transform"]
    box = item.document["bbox"]
    stretch = 1.0
    if int(item.properties["proj:epsg"]) == 3857:
        stretch = math.cos(math.radians((box[1] + box[3]) / 2))
    size = (abs(transform[4]) * stretch, abs(transform[0]) * stretch)
    return Window(Geometry.planar((shape[0], shape[1]), size), optical, radar)
