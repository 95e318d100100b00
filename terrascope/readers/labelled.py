"""A folder of labelled scenes, as users have them: images of some dates and a mask each.

One folder per scene::

    LABELS/NAME/mask.tif                      1 the class, 0 not, nodata or 255 not known
                sentinel-2_2019-09-02.tif     12 bands or some, named in their descriptions
                sentinel-1_2019-09-04.tif     VV and VH in dB

All rasters of a scene are on one grid of metres. Stored numbers are multiplied by the file's own
scale and offset, so that reflectance is 0 to 1.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from terrascope.errors import ReadError
from terrascope.types import BoolArray, FloatArray

__all__ = ["LabelledFolder", "SensorImage", "read_images", "read_labelled"]

_IMAGE = re.compile(r"(sentinel-[12])_(\d{4}-\d\d-\d\d)\.tiff?")
_UNKNOWN = 255


@dataclasses.dataclass(frozen=True, eq=False)
class SensorImage:
    """One acquisition.

    Parameters
    ----------
    sensor : str
        ``"sentinel-2"`` or ``"sentinel-1"``.
    date : datetime.date
        Of the file's name.
    bands : tuple of str
        Descriptions of the bands.
    values : ndarray of float32, shape (band, y, x)
        Scaled; NaN where nothing was observed.
    """

    sensor: str
    date: dt.date
    bands: tuple[str, ...]
    values: FloatArray


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledFolder:
    """One scene with its mask.

    Parameters
    ----------
    name : str
        Of the folder.
    images : tuple of SensorImage
        In order of time.
    mask : ndarray of bool, shape (y, x)
        The class.
    known : ndarray of bool, shape (y, x)
        Where the mask says anything.
    pixel_m : float
        Side of a pixel.
    centre_yx_m : tuple of float
        Of the scene, in its grid.
    """

    name: str
    images: tuple[SensorImage, ...]
    mask: BoolArray
    known: BoolArray
    pixel_m: float
    centre_yx_m: tuple[float, float]


def read_labelled(folder: Path) -> list[LabelledFolder]:
    """Read all scenes of a folder.

    Parameters
    ----------
    folder : Path
        With a folder per scene.

    Returns
    -------
    scenes : list of LabelledFolder
        By name.

    Raises
    ------
    ReadError
        If there is no scene, or one lacks its mask or images, is not in metres, or its rasters
        are not on one grid.
    """
    found = sorted(path.parent for path in folder.glob("*/mask.tif"))
    if not found:
        raise ReadError(
            f"no NAME/mask.tif in {folder}; expected a folder per scene with a mask and images "
            "such as sentinel-2_2020-09-01.tif",
            item=folder.name,
        )
    return [_read_scene(path) for path in found]


def read_images(folder: Path) -> tuple[GeoBox, tuple[SensorImage, ...]]:
    """Read the images of a scene without its mask.

    Parameters
    ----------
    folder : Path
        Of one scene.

    Returns
    -------
    grid : odc.geo.geobox.GeoBox
        Of all images.
    images : tuple of SensorImage
        In order of time.

    Raises
    ------
    ReadError
        If there is no image, or one cannot be read or is on another grid than the first.
    """
    named = _named_images(folder)
    try:
        with rasterio.open(named[0][0], driver="GTiff") as file:
            grid = (file.transform, file.crs, file.shape)
        if file.crs is None:
            raise ReadError("no reference system", item=folder.name, band=named[0][0].name)
        images = _read_named(named, grid)
    except (RasterioError, ValueError) as error:
        raise ReadError(f"an image cannot be read: {error}", item=folder.name) from error
    return GeoBox(grid[2], grid[0], grid[1].to_wkt()), images


def _named_images(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """Return the files of a folder that are named as images are."""
    named = [(path, _IMAGE.fullmatch(path.name)) for path in sorted(folder.iterdir())]
    found = [(path, name) for path, name in named if name is not None]
    if not found:
        raise ReadError(
            "no image; expected files such as sentinel-2_2020-09-01.tif", item=folder.name
        )
    return found


def _read_named(named: list[tuple[Path, re.Match[str]]], grid: Any) -> tuple[SensorImage, ...]:
    images = [
        _read_image(path, name[1], dt.date.fromisoformat(name[2]), grid) for path, name in named
    ]
    return tuple(sorted(images, key=lambda image: (image.date, image.sensor)))


def _read_scene(folder: Path) -> LabelledFolder:
    with rasterio.open(folder / "mask.tif") as file:
        grid = (file.transform, file.crs, file.shape)
        raw = file.read(1)
        unknown = raw == _UNKNOWN
        if file.nodata is not None:
            unknown |= np.isnan(raw) if np.isnan(file.nodata) else raw == file.nodata
    transform, crs, shape = grid
    if crs is None or not crs.is_projected:
        raise ReadError("the mask is not on a grid of metres", item=folder.name, band="mask")
    images = _read_named(_named_images(folder), grid)
    centre_x, centre_y = transform * (shape[1] / 2, shape[0] / 2)
    return LabelledFolder(
        name=folder.name,
        images=images,
        mask=(raw > 0) & ~unknown,
        known=~unknown,
        pixel_m=float(abs(transform.a)),
        centre_yx_m=(float(centre_y), float(centre_x)),
    )


def _read_image(path: Path, sensor: str, date: dt.date, grid: Any) -> SensorImage:
    with rasterio.open(path) as file:
        if (file.transform, file.crs, file.shape) != grid:
            raise ReadError("another grid than the rest", item=path.parent.name, band=path.name)
        if None in file.descriptions:
            raise ReadError(
                "bands without a description; name them, for instance B02 or blue",
                item=path.parent.name,
                band=path.name,
            )
        values: NDArray[Any] = file.read(masked=True)
        scale = np.asarray(file.scales, np.float32)[:, None, None]
        offset = np.asarray(file.offsets, np.float32)[:, None, None]
        bands = tuple(file.descriptions)
    numbers = np.ma.filled(values.astype(np.float32), np.nan) * scale + offset
    return SensorImage(sensor, date, bands, numbers.astype(np.float32))
