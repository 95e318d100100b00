"""ChatEarthNet as scenes: Sentinel-2 pictures with captions, and the land cover behind these.

Layout, as published (pictures of 8 bits, 256 x 256 pixels)::

    ROOT/json_files/ChatEarthNet_caps_35_train.json   [{"image": NAME, "caption": TEXT}, ...]
         s2_rgb_images/s2_images/NAME                 B04, B03, B02
         s2_band_5_6_7_images/NAME                    B05, B06, B07
         s2_band_8_11_12_images/NAME                  B08, B11, B12

NAME is ``4334_2404_patch01.png``: column and row of a Web Mercator tile at zoom 13 with 512 pixels
a side, of which the picture is a quarter; so the size of its pixels on the ground is known. The
masks that the captions were written from are WorldCover in the classes of SatlasPretrain; they lie
in a folder of their own, as class numbers or in the published colours. Licence of the data:
CC BY 4.0.

References
----------
Yuan et al. (2025), ChatEarthNet, Earth Syst. Sci. Data 17, 1245-1263.
Bastani et al. (2023), SatlasPretrain: a large-scale dataset for remote sensing image understanding.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import math
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.data.adapters.classes import SATLAS, translate
from terrascope.data.adapters.lazy import LazyScenes, read_json
from terrascope.data.scenes import LabelledScene
from terrascope.errors import ReadError
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import UNITS, Stack, Window
from terrascope.readers.local import read_local
from terrascope.types import FloatArray

__all__ = ["PALETTE", "Captioned", "White", "open_chatearthnet"]

PALETTE = MappingProxyType(
    {
        (0, 0, 0): 0,
        (0, 0, 255): 1,
        (255, 0, 0): 2,
        (0, 192, 0): 3,
        (200, 170, 120): 4,
        (0, 255, 0): 5,
        (255, 255, 0): 6,
        (128, 128, 128): 7,
        (255, 255, 255): 8,
        (0, 255, 255): 9,
        (255, 0, 255): 10,
        (128, 0, 128): 11,
    }
)
"""Class numbers of the published colours (red, green, blue) of the masks."""

_NAME = re.compile(r"(\d{1,4})_(\d{1,4})_patch[01][01]\.png", re.ASCII)
_FOLDERS = (
    ("s2_rgb_images/s2_images", ("red", "green", "blue")),
    ("s2_band_5_6_7_images", ("rededge1", "rededge2", "rededge3")),
    ("s2_band_8_11_12_images", ("nir", "swir16", "swir22")),
)
_TILES, _TILE_PX = 2**13, 512
_ROUND_M = 2 * math.pi * 6_378_137.0
_SPLITS, _WRITERS = ("train", "val", "test"), ("35", "4v")


@dataclasses.dataclass(frozen=True)
class White:
    """Reflectance that the pictures show as 255; 0 to 255 is linear.

    The data set does not state it. These are the limits of its source: true-colour images of
    level 1C, and the other bands clipped at a stored 8160.

    Parameters
    ----------
    colour : float
        In the pictures of red, green and blue.
    other : float
        In the pictures of the other bands.
    """

    colour: float = 0.3558
    other: float = 0.8160

    def __post_init__(self) -> None:
        if not (0.05 <= self.colour <= 2.0 and 0.05 <= self.other <= 2.0):
            raise ValueError(f"{self}: expected reflectances from 0.05 to 2")


@dataclasses.dataclass(frozen=True, eq=False)
class Captioned:
    """A split of ChatEarthNet.

    Parameters
    ----------
    scenes : LazyScenes
        Named by picture.
    captions : dict of str to tuple of str
        By picture.
    """

    scenes: LazyScenes
    captions: dict[str, tuple[str, ...]]


def open_chatearthnet(
    root: Path,
    *,
    date: dt.date,
    split: str = "train",
    writer: str = "35",
    masks: Path | None = None,
    white: White | None = None,
) -> Captioned:
    """Open a folder of ChatEarthNet.

    Parameters
    ----------
    root : Path
        Holds ``json_files`` and the folders of pictures.
    date : datetime.date
        Of all pictures: the data set states none.
    split : {"train", "val", "test"}
        Of the captions.
    writer : {"35", "4v"}
        Which model wrote the captions: GPT-3.5 or GPT-4V.
    masks : Path or None
        Folder with a mask under each picture's name; None: land cover is unknown.
    white : White or None
        Reflectance at full scale; None for that of the source.

    Returns
    -------
    captioned : Captioned
        Nine bands on the grid of the pictures; a picture's black pixels are missing.

    Raises
    ------
    ReadError
        If the captions cannot be read, or name something that is no picture.
    ValueError
        If there is no such split or writer.
    """
    if split not in _SPLITS or writer not in _WRITERS:
        raise ValueError(f"split {split!r}, writer {writer!r}: expected {_SPLITS} and {_WRITERS}")
    file = f"ChatEarthNet_caps_{writer}_{split}.json"
    records = read_json(root / "json_files" / file, item=file)
    if not isinstance(records, list):
        raise ReadError("expected a list of pictures with captions", item=file)
    captions: dict[str, tuple[str, ...]] = {}
    for number, record in enumerate(records):
        name, said = _captioned(record, f"{file}, record {number}")
        captions[name] = captions.get(name, ()) + said
    read = functools.partial(_read_scene, root, masks, date, white or White())
    return Captioned(LazyScenes(list(captions), read), captions)


def _captioned(record: Any, where: str) -> tuple[str, tuple[str, ...]]:
    """Check one record of the captions."""
    if not isinstance(record, dict):
        raise ReadError("expected an object with 'image' and 'caption'", item=where)
    name = record.get("image", record.get("image_id"))
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ReadError(
            f"{str(name)[:80]!r}: expected a name such as 4334_2404_patch01.png",
            item=where,
            band="image",
        )
    said = record.get("caption")
    lines = [line for line in (said if isinstance(said, list) else [said]) if isinstance(line, str)]
    texts = tuple(" ".join(line.split()) for line in lines)
    if not texts or not all(texts) or (isinstance(said, list) and len(texts) < len(said)):
        raise ReadError("expected a text or a list of texts", item=where, band="caption")
    return name, texts


def _read_scene(
    root: Path, masks: Path | None, date: dt.date, white: White, name: str
) -> LabelledScene:
    planes: list[FloatArray] = []
    bands: list[str] = []
    for folder, names in _FOLDERS:
        stored = read_local(
            root / folder / name, item=name, band=folder, count=(len(names),)
        ).values
        _require_bytes(stored, name, folder)
        full = white.colour if "red" in names else white.other
        reflectance = stored * np.float32(full / 255.0)
        planes.append(np.where(stored.any(axis=0), reflectance, np.float32(np.nan)))
        bands += names
    if len({plane.shape for plane in planes}) > 1:
        shapes = {folder: p.shape[1:] for (folder, _), p in zip(_FOLDERS, planes, strict=True)}
        raise ReadError(f"pictures of {shapes} pixels: expected one size", item=name)
    values = np.concatenate(planes)[None]
    shape = (values.shape[2], values.shape[3])
    cover = np.zeros(shape, np.uint8)
    if masks is not None:
        cover = translate(_read_mask(masks / name, name), SATLAS, item=name, band="mask")
    window = Window(
        Geometry.planar(shape, _pixel_m(name)),
        Stack("sentinel-2", values, tuple(bands), [date], UNITS["sentinel-2"]),
    )
    return LabelledScene(name, window, cover[None])


def _pixel_m(name: str) -> float:
    """Return the width of a pixel on the ground, at the middle of the tile."""
    match = _NAME.fullmatch(name)
    if match is None or max(int(match[1]), int(match[2])) >= _TILES:
        raise ValueError(f"{name}: expected column and row of a tile below {_TILES}")
    north = math.pi * (1.0 - 2.0 * (int(match[2]) + 0.5) / _TILES)
    return _ROUND_M / _TILES / _TILE_PX / math.cosh(north)


def _read_mask(path: Path, name: str) -> NDArray[np.uint8]:
    """Read class numbers, from one band or from the published colours."""
    stored = read_local(path, item=name, band="mask", count=(1, 3)).values
    _require_bytes(stored, name, "mask")
    if len(stored) == 1:
        return np.asarray(stored[0])
    keys = stored.astype(np.int64)
    packed = (keys[0] << 16) | (keys[1] << 8) | keys[2]
    codes = np.full(packed.shape, 255, np.uint8)
    for (red, green, blue), code in PALETTE.items():
        codes[packed == (red << 16 | green << 8 | blue)] = code
    return codes


def _require_bytes(stored: NDArray[Any], name: str, band: str) -> None:
    if stored.dtype != np.uint8:
        raise ReadError(f"numbers of type {stored.dtype}: expected uint8", item=name, band=band)
