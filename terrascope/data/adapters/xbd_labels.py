"""Label files of xBD: untrusted JSON, of which every field is checked."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from terrascope.data.adapters.lazy import read_json
from terrascope.errors import ReadError

__all__ = ["DAMAGE", "DisasterLabel"]

DAMAGE = ("un-classified", "no-damage", "minor-damage", "major-damage", "destroyed")
"""The Joint Damage Scale, worst last; the first is a building of which nothing could be told."""

_MOST_BUILDINGS, _MOST_CHARACTERS = 20_000, 1_000_000
_DEGREE_M = math.radians(6_371_007.2)


@dataclasses.dataclass(frozen=True, eq=False)
class DisasterLabel:
    """One label file, whose fields are checked as they are asked for.

    Parameters
    ----------
    item : str
        Name of the picture, for messages.
    document : dict
        As parsed.
    features, degrees : dict
        Buildings by uid, in pixels and in degrees.
    """

    item: str
    document: dict[str, Any]
    features: dict[str, dict[str, Any]]
    degrees: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, root: Path, item: str) -> DisasterLabel:
        """Read a file and index its features.

        Parameters
        ----------
        root : Path
            Of the split.
        item : str
            Name of the picture.

        Returns
        -------
        label : DisasterLabel
            Other features than buildings are left out.

        Raises
        ------
        ReadError
            If the file or its list of features cannot be used.
        """
        document = read_json(root / "labels" / f"{item}.json", item=item)
        if not isinstance(document, dict):
            raise ReadError("expected an object", item=item, band="features")
        parts = document.get("features")
        if not isinstance(parts, dict):
            raise ReadError("expected an object", item=item, band="features")
        xy = _indexed(parts.get("xy"), item, "features.xy")
        return cls(item, document, xy, _indexed(parts.get("lng_lat", []), item, "features.lng_lat"))

    @property
    def date(self) -> dt.date:
        """Day on which the picture was taken."""
        text = self._metadata("capture_date")
        try:
            return dt.datetime.fromisoformat(text).date()
        except (TypeError, ValueError) as error:
            raise ReadError(
                f"{text!r}: expected a time in ISO 8601",
                item=self.item,
                band="metadata.capture_date",
            ) from error

    def damage(self, uid: str) -> str:
        """Return what became of a building.

        Parameters
        ----------
        uid : str
            Of the building.

        Returns
        -------
        damage : str
            One of `DAMAGE`.

        Raises
        ------
        ReadError
            If it is another word.
        """
        found = self.features[uid]["properties"].get("subtype")
        if found not in DAMAGE:
            raise ReadError(
                f"{found!r} of building {uid}: expected one of {', '.join(DAMAGE)}",
                item=self.item,
                band="features.xy.subtype",
            )
        return str(found)

    def polygon(self, uid: str, system: str) -> BaseGeometry:
        """Return a footprint.

        Parameters
        ----------
        uid : str
            Of the building.
        system : {"xy", "lng_lat"}
            In pixels or in degrees.

        Returns
        -------
        footprint : shapely geometry
            A polygon or several.

        Raises
        ------
        ReadError
            If it is no such thing.
        """
        text = (self.features if system == "xy" else self.degrees)[uid].get("wkt")
        where = f"features.{system}.wkt"
        if not isinstance(text, str) or len(text) > _MOST_CHARACTERS:
            raise ReadError(f"building {uid}: expected a text", item=self.item, band=where)
        try:
            found = shapely.from_wkt(text)
        except shapely.errors.GEOSException as error:
            raise ReadError(f"building {uid}: {error}", item=self.item, band=where) from error
        known = found.geom_type in ("Polygon", "MultiPolygon") and not found.is_empty
        if not known or not np.isfinite(found.bounds).all():
            raise ReadError(
                f"building {uid}: {found.geom_type}; expected a polygon with finite corners",
                item=self.item,
                band=where,
            )
        return found

    def pixel_yx_m(self) -> tuple[float, float]:
        """Return the size of a pixel on the ground.

        Returns
        -------
        height, width : float
            Metres: from footprints that are there in pixels and in degrees, else as the
            metadata state it.

        Raises
        ------
        ReadError
            If neither is there.
        """
        degrees, pixels = np.zeros(2), np.zeros(2)
        latitude = 0.0
        for uid in [uid for uid in self.features if uid in self.degrees]:
            corners = [
                shapely.get_coordinates(self.polygon(uid, system)) for system in ("lng_lat", "xy")
            ]
            if len(corners[0]) == len(corners[1]):
                latitude = float(corners[0][0, 1])
                degrees += np.abs(np.diff(corners[0], axis=0)).sum(axis=0)
                pixels += np.abs(np.diff(corners[1], axis=0)).sum(axis=0)
        if (pixels > 0).all() and (degrees > 0).all() and abs(latitude) < 90:
            wide, high = degrees / pixels * _DEGREE_M
            return float(high), float(wide * math.cos(math.radians(latitude)))
        stated = self._metadata("pan_resolution")
        if isinstance(stated, bool) or not isinstance(stated, int | float) or not stated > 0:
            raise ReadError(
                f"{stated!r}: expected metres",
                item=self.item,
                band="metadata.pan_resolution",
            )
        return float(stated), float(stated)

    def _metadata(self, key: str) -> Any:
        found = self.document.get("metadata")
        if not isinstance(found, dict) or key not in found:
            raise ReadError("the field is missing", item=self.item, band=f"metadata.{key}")
        return found[key]


def _indexed(features: Any, item: str, where: str) -> dict[str, dict[str, Any]]:
    """Return the buildings of a list by their uid."""
    if not isinstance(features, list) or len(features) > _MOST_BUILDINGS:
        raise ReadError(
            f"expected a list of at most {_MOST_BUILDINGS} features", item=item, band=where
        )
    found: dict[str, dict[str, Any]] = {}
    for feature in features:
        facts = feature.get("properties") if isinstance(feature, dict) else None
        facts = facts if isinstance(facts, dict) else {}
        uid = facts.get("uid")
        if not isinstance(uid, str) or uid in found:
            raise ReadError(
                f"uid {str(uid)[:60]!r}: expected a text that no other feature has",
                item=item,
                band=f"{where}.uid",
            )
        if facts.get("feature_type", "building") == "building":
            found[uid] = feature
    return found
