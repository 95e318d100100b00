"""Pairs of xBD as scenes: pictures before and after a disaster, and the damage of each building.

Layout, as published (one folder per split)::

    ROOT/images/NAME_pre_disaster.png    or .tif; red, green, blue of 8 bits, 1024 x 1024
                NAME_post_disaster.png
         labels/NAME_pre_disaster.json   footprints in pixels (``features.xy``) and degrees
                NAME_post_disaster.json  the same, with the damage in ``subtype``

Pixels are about half a metre, so single buildings are resolved: what is counted here is buildings,
by the data set's own definition, not built-up land as elsewhere in this package. Licence of the
data: CC BY-NC-SA 4.0, so not for weights that are given away.

References
----------
Gupta et al. (2019), xBD: A Dataset for Assessing Building Damage from Satellite Imagery.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from terrascope.data.adapters.lazy import LazyScenes
from terrascope.data.adapters.xbd_labels import DAMAGE, DisasterLabel
from terrascope.data.scenes import LabelledScene
from terrascope.errors import ReadError
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import UNITS, Stack, Window
from terrascope.readers.local import read_local
from terrascope.types import ChangeKind
from terrascope.vocabulary import CLASS_CODES

__all__ = ["Building", "DisasterPair", "open_xbd", "pair_names", "read_pair"]

_DESTROYED, _UNTOLD = DAMAGE[-1], DAMAGE[0]
_NAME = re.compile(r"([A-Za-z0-9-]+_\d{8})_post_disaster\.json", re.ASCII)
_SUFFIXES = (".png", ".tif", ".tiff")
_FEWEST, _FEWEST_DESTROYED = 10, 3


@dataclasses.dataclass(frozen=True, eq=False)
class Building:
    """A building that stood before the disaster.

    Parameters
    ----------
    uid : str
        Of the data set.
    footprint : shapely geometry
        Polygon in pixels: columns and rows from the upper left corner.
    damage : str
        One of `DAMAGE`.
    """

    uid: str
    footprint: BaseGeometry
    damage: str


@dataclasses.dataclass(frozen=True, eq=False)
class DisasterPair:
    """Two pictures of a place and what became of its buildings.

    Parameters
    ----------
    name : str
        Of the pair.
    pictures : ndarray of uint8, shape (2, 3, H, W)
        Before and after; red, green, blue.
    dates : tuple of datetime.date
        Of the two.
    pixel_yx_m : tuple of float
        Height and width of a pixel on the ground.
    buildings : tuple of Building
        In the order of the labels before the disaster.
    """

    name: str
    pictures: NDArray[np.uint8]
    dates: tuple[dt.date, dt.date]
    pixel_yx_m: tuple[float, float]
    buildings: tuple[Building, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many buildings suffered which damage."""
        return Counter(building.damage for building in self.buildings)

    @property
    def destroyed(self) -> int:
        """Destroyed buildings, as the data set defines them: those labelled so afterwards."""
        return self.counts[_DESTROYED]

    @property
    def destroyed_share(self) -> float:
        """Destroyed among the buildings whose damage could be told; NaN where there are none."""
        told = len(self.buildings) - self.counts[_UNTOLD]
        return self.destroyed / told if told else math.nan

    @property
    def is_asked(self) -> bool:
        """Whether the published benchmark asks about it: 10 buildings, 3 of them destroyed."""
        return len(self.buildings) >= _FEWEST and self.destroyed >= _FEWEST_DESTROYED

    def damage_map(self) -> NDArray[np.uint8]:
        """Return the damage of each pixel.

        Returns
        -------
        damage : ndarray of uint8, shape (H, W)
            Place in `DAMAGE` plus 1 where the centre of the pixel lies in a footprint, the worst
            of several; 0 elsewhere.
        """
        shape = self.pictures.shape[2:]
        ordered = sorted(self.buildings, key=lambda building: DAMAGE.index(building.damage))
        shapes = [(one.footprint, DAMAGE.index(one.damage) + 1) for one in ordered]
        if not shapes:
            return np.zeros(shape, np.uint8)
        found: NDArray[np.uint8] = rasterize(shapes, out_shape=shape, fill=0, dtype=np.uint8)
        return found

    def scene(self, white: float = 0.3) -> LabelledScene:
        """Return the pair as a labelled scene.

        Parameters
        ----------
        white : float
            Reflectance that stands for 255: the pictures are for the eye and state none, so no
            radiometry follows from this number.

        Returns
        -------
        scene : LabelledScene
            Red, green and blue. Buildings are developed area before; afterwards the destroyed
            are bare land, and their change is that of a demolition. Ground outside of the
            footprints is unknown, and so are buildings whose damage could not be told.
        """
        damage = self.damage_map()
        built, bare = CLASS_CODES["developed area"], CLASS_CODES["bare land"]
        lost = damage == DAMAGE.index(_DESTROYED) + 1
        told = damage > DAMAGE.index(_UNTOLD) + 1
        before = np.where(damage > 0, built, 0)
        after = np.where(told, np.where(lost, bare, built), 0)
        kinds = np.where(lost, ChangeKind.BARE, ChangeKind.NONE)
        change = np.where(told, kinds, ChangeKind.OUTSIDE).astype(np.uint8)
        rows, columns = damage.shape
        sensor = "sentinel-2"
        values = self.pictures * np.float32(white / 255.0)
        stack = Stack(sensor, values, ("red", "green", "blue"), self.dates, UNITS[sensor])
        window = Window(Geometry.planar((rows, columns), self.pixel_yx_m), stack)
        cover = np.stack([before, after]).astype(np.uint8)
        return LabelledScene(self.name, window, cover, {(0, 1): change})


def open_xbd(root: Path, *, white: float = 0.3) -> LazyScenes:
    """Open a split of xBD.

    Parameters
    ----------
    root : Path
        Holds ``images`` and ``labels``.
    white : float
        See `DisasterPair.scene`.

    Returns
    -------
    scenes : LazyScenes
        By name.

    Raises
    ------
    ReadError
        If there is no pair.
    """
    return LazyScenes(pair_names(root), functools.partial(_read_scene, root, white))


def _read_scene(root: Path, white: float, name: str) -> LabelledScene:
    return read_pair(root, name).scene(white)


def pair_names(root: Path) -> list[str]:
    """Return the names of the pairs of a split.

    Parameters
    ----------
    root : Path
        Holds ``images`` and ``labels``.

    Returns
    -------
    names : list of str
        Ascending, such as ``"palu-tsunami_00000012"``.

    Raises
    ------
    ReadError
        If there is none.
    """
    matches = (_NAME.fullmatch(path.name) for path in (root / "labels").glob("*.json"))
    names = sorted(match[1] for match in matches if match is not None)
    if not names:
        raise ReadError("no labels/NAME_post_disaster.json", item=root.name)
    return names


def read_pair(root: Path, name: str) -> DisasterPair:
    """Read a pair.

    Parameters
    ----------
    root : Path
        Holds ``images`` and ``labels``.
    name : str
        Of the pair, from `pair_names`.

    Returns
    -------
    pair : DisasterPair
        Buildings are those labelled before the disaster; one that the later label lacks is
        ``"un-classified"``.

    Raises
    ------
    ReadError
        If a file is missing or damaged, or a label lacks a field or holds nonsense.
    """
    labels = [DisasterLabel.read(root, f"{name}_{when}_disaster") for when in ("pre", "post")]
    pictures = [_read_picture(root, label.item) for label in labels]
    if pictures[0].shape != pictures[1].shape:
        raise ReadError(f"pictures of {[p.shape for p in pictures]}: expected one size", item=name)
    damage = {uid: labels[1].damage(uid) for uid in labels[1].features}
    buildings = [
        Building(uid, labels[0].polygon(uid, "xy"), damage.get(uid, _UNTOLD))
        for uid in labels[0].features
    ]
    dates = (labels[0].date, labels[1].date)
    pixel = labels[0].pixel_yx_m()
    return DisasterPair(name, np.stack(pictures), dates, pixel, tuple(buildings))


def _read_picture(root: Path, item: str) -> NDArray[np.uint8]:
    paths = [root / "images" / f"{item}{suffix}" for suffix in _SUFFIXES]
    path = next((path for path in paths if path.is_file()), paths[0])
    stored = read_local(path, item=item, band="image", count=(3,)).values
    if stored.dtype != np.uint8:
        raise ReadError(f"numbers of type {stored.dtype}: expected uint8", item=item, band="image")
    return np.asarray(stored)
