"""The vocabulary that several rooms share: scenes, their assets, and why a pixel is missing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NODATA_INT16",
    "AssetRef",
    "BoolArray",
    "ChangeKind",
    "FloatArray",
    "Quality",
    "Quarantine",
    "SceneRef",
    "Status",
]

FloatArray: TypeAlias = NDArray[np.float32]
BoolArray: TypeAlias = NDArray[np.bool_]

NODATA_INT16 = -32768
"""Missing value of every scaled int16 array in a cube."""


class Quality(enum.IntFlag):
    """Bits of the cube's `quality` layer: what was seen, what was masked, and by what.

    A pixel with `observed` > 0 has data; the bits tell what else happened there
    in the period. A pixel with `observed` 0 is missing, and the bits say why.
    """

    SCENE = 1
    """At least one scene's footprint covers the pixel in this period."""
    CLOUD = 2
    SHADOW = 4
    SNOW = 8
    NODATA = 16
    """Covered by a scene that has no data here (swath edge, detector gap)."""
    FAILED = 32
    """A scene that should cover the pixel could not be read and is quarantined."""
    BY_SPECTRUM = 64
    """Clouds were found by the spectral test."""
    BY_SCL = 128
    """Clouds were taken from the provider's scene classification."""


class Status(enum.IntEnum):
    """Codes of the `status` map layer."""

    NOT_OBSERVED = 0
    NO_CHANGE = 1
    PROVISIONAL = 2
    CONFIRMED = 3
    CLOSED = 4
    OUTSIDE = 255


class ChangeKind(enum.IntEnum):
    """Codes of the `change_kind` map layer."""

    NONE = 0
    VEGETATION_LOSS = 1
    REGROWTH = 2
    WATER_GAIN = 3
    WATER_LOSS = 4
    BUILT_UP_GAIN = 5
    BARE = 6
    OTHER = 7
    OUTSIDE = 255


@dataclasses.dataclass(frozen=True)
class AssetRef:
    """One raster of one scene, with every fact needed to read and scale it.

    Parameters
    ----------
    href : str
        Unsigned address: a path, a ``file:``, ``http(s):`` or ``s3:`` URL.
    scale, offset : float
        Physical value = stored number x `scale` + `offset`; already resolved
        (the Sentinel-2 -0.1 offset is in here where it applies).
    nodata : float or None
        Stored number that means "no data" (may be NaN); None where undeclared.
    unit : str
        ``"reflectance"``, ``"linear"`` (power), ``"dB"``, ``"class"``.
    dtype : str or None
        Numpy name of the stored type, None where the catalog does not say.
    epsg : int or None
        Of the raster, where the catalog says.
    transform : tuple of float or None
        Six affine numbers (a, b, c, d, e, f), where the catalog says.
    shape_yx : tuple of int or None
        Rows and columns, where the catalog says.
    identity : str
        What changes when the file changes: checksum, else size; empty stands for
        the href without its query string.
    """

    href: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    unit: str = "reflectance"
    dtype: str | None = None
    epsg: int | None = None
    transform: tuple[float, ...] | None = None
    shape_yx: tuple[int, int] | None = None
    identity: str = ""

    def facts(self) -> dict[str, Any]:
        """Return what decides the numbers that are read of this raster.

        Returns
        -------
        facts : dict
            JSON-ready; the address counts only where the catalog names no identity.
        """
        facts = dataclasses.asdict(self)
        address = facts.pop("href").partition("?")[0]
        return {**facts, "identity": self.identity or address, "nodata": str(self.nodata)}


@dataclasses.dataclass(frozen=True)
class SceneRef:
    """One STAC item as the cube needs it: one acquisition, its rasters by canonical band.

    Parameters
    ----------
    id : str
        Item id. Untrusted: never part of a path.
    collection : str
        Of the catalog.
    sensor : str
        ``"sentinel-2"`` or ``"sentinel-1"``.
    datetime : datetime.datetime
        Of acquisition, UTC.
    solar_day : datetime.date
        Local solar date at the footprint's centre.
    assets : mapping of str to AssetRef
        By canonical band name (`terrascope.sensors`), ``scl`` included.
    platform : str
        ``"sentinel-2a"``..., empty where unknown.
    baseline : str
        Processing baseline (``"05.09"``), empty where unknown.
    orbit : int
        Relative orbit number, -1 where unknown.
    orbit_state : str
        ``"ascending"``, ``"descending"`` or empty.
    coefficient : str
        ``"gamma0"``, ``"sigma0"`` or empty (optical).
    datetime_precision : str
        ``"second"``, ``"day"``, ``"month"``... as far as the catalog says.
    """

    id: str
    collection: str
    sensor: str
    datetime: dt.datetime
    solar_day: dt.date
    assets: Mapping[str, AssetRef]
    platform: str = ""
    baseline: str = ""
    orbit: int = -1
    orbit_state: str = ""
    coefficient: str = ""
    datetime_precision: str = "second"

    @property
    def overpass(self) -> tuple[dt.date, str, int]:
        """What all scenes of one pass share: solar day, platform and relative orbit."""
        return self.solar_day, self.platform, self.orbit

    def identity(self, bands: tuple[str, ...]) -> dict[str, Any]:
        """Return what a work item's key must know of this scene.

        Parameters
        ----------
        bands : tuple of str
            The bands that the work item reads.

        Returns
        -------
        facts : dict
            JSON-ready; changes exactly when the pixels may have changed.
        """
        return {
            "id": self.id,
            "collection": self.collection,
            "baseline": self.baseline,
            "overpass": [self.solar_day.isoformat(), self.platform, self.orbit],
            "coefficient": self.coefficient,
            "assets": {
                band: asset.facts()
                for band in bands
                if (asset := self.assets.get(band)) is not None
            },
        }


@dataclasses.dataclass(frozen=True, order=True)
class Quarantine:
    """A scene (or one raster of it) that was left out, and why.

    Parameters
    ----------
    item : str
        Item id.
    band : str
        Canonical band, or ``"*"`` for the whole scene.
    cause : str
        In words, without secrets.
    url : str
        Without query string; empty where unknown.
    transient : bool
        True where the cause may pass (a time-out, a 503): a later run tries again.
    """

    item: str
    band: str
    cause: str
    url: str = ""
    transient: bool = False
