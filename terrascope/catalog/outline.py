"""When and where an item was taken: what is needed to filter, and cheap to read."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any

from shapely.geometry.base import BaseGeometry

from terrascope.catalog.footprint import centre_longitude, clean_footprint, footprint_of_bbox
from terrascope.catalog.raster import is_number
from terrascope.errors import CatalogError

__all__ = ["Outline", "UnusableItemError", "item_properties", "outline_item", "parse_time"]

_ORBIT_IN_NAME = re.compile(r"_R(\d{3})_|RTC-S1?_T(\d{3})-|RTC_T(\d{3})-")
_COARSE = ("day", "month", "year")


class UnusableItemError(CatalogError):
    """An item that cannot become a scene.

    Parameters
    ----------
    item : str
        Item id.
    field : str
        The field that is missing or wrong.
    cause : str
        In words.
    """

    def __init__(self, item: str, field: str, cause: str) -> None:
        super().__init__(f"item {item}: {field}: {cause}")
        self.item = item
        self.field = field
        self.cause = cause


@dataclasses.dataclass(frozen=True)
class Outline:
    """When and where a scene was taken: enough to filter, cheap to read.

    Parameters
    ----------
    id : str
        Item id.
    datetime : datetime.datetime
        UTC.
    precision : str
        How much of it is known.
    solar_day : datetime.date
        Local solar date at the footprint's centre.
    footprint : shapely geometry
        EPSG:4326, split at the antimeridian.
    cloud_percent : float
        NaN where unknown.
    orbit : int
        Relative orbit, -1 where unknown.
    orbit_state : str
        Empty where unknown.
    notes : tuple of str
        Assumptions made.
    """

    id: str
    datetime: dt.datetime
    precision: str
    solar_day: dt.date
    footprint: BaseGeometry
    cloud_percent: float
    orbit: int
    orbit_state: str
    notes: tuple[str, ...]


def outline_item(item: Mapping[str, Any]) -> Outline:
    """Read time, place, cloud and orbit of an item.

    Parameters
    ----------
    item : mapping
        A STAC item as decoded from JSON.

    Returns
    -------
    outline : Outline
        Facts to filter by.

    Raises
    ------
    UnusableItemError
        If it has no usable id, time or footprint.
    """
    item_id = item.get("id")
    if not isinstance(item_id, str) or not item_id:
        raise UnusableItemError(str(item_id), "id", f"found {item_id!r}, expected text")
    properties = item_properties(item)
    notes: list[str] = []
    acquired, precision = _when(item_id, properties, notes)
    footprint = _where(item, item_id, notes)
    shift = dt.timedelta(hours=0 if precision in _COARSE else centre_longitude(footprint) / 15.0)
    cloud = properties.get("eo:cloud_cover")
    state = str(properties.get("sat:orbit_state")).lower()
    return Outline(
        id=item_id,
        datetime=acquired,
        precision=precision,
        solar_day=(acquired + shift).date(),
        footprint=footprint,
        cloud_percent=float(cloud) if is_number(cloud) and 0 <= cloud <= 100 else math.nan,
        orbit=_orbit(item_id, properties),
        orbit_state=state if state in ("ascending", "descending") else "",
        notes=tuple(notes),
    )


def item_properties(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an item's properties.

    Parameters
    ----------
    item : mapping
        A STAC item. Not trusted.

    Returns
    -------
    properties : mapping
        Empty where they are missing.
    """
    properties = item.get("properties")
    return properties if isinstance(properties, dict) else {}


def parse_time(value: object) -> dt.datetime | None:
    """Parse RFC 3339.

    Parameters
    ----------
    value : object
        As decoded from JSON.

    Returns
    -------
    moment : datetime.datetime or None
        UTC, also where no zone is given; None if it is no time.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(value)
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _when(item_id: str, properties: Mapping[str, Any], notes: list[str]) -> tuple[dt.datetime, str]:
    precision = properties.get("datetime_precision")
    stated = precision if isinstance(precision, str) and precision.isalpha() else "second"
    if (moment := parse_time(properties.get("datetime"))) is not None:
        return moment, stated
    if (moment := parse_time(properties.get("start_datetime"))) is not None:
        notes.append("datetime is missing; start_datetime was used")
        return moment, stated
    found = properties.get("datetime")
    raise UnusableItemError(item_id, "properties.datetime", f"found {found!r}, expected a time")


def _where(item: Mapping[str, Any], item_id: str, notes: list[str]) -> BaseGeometry:
    geometry, bbox = item.get("geometry"), item.get("bbox")
    try:
        if geometry is not None:
            return clean_footprint(geometry)
        if bbox is not None:
            notes.append("geometry is missing; bbox was used")
            return footprint_of_bbox(bbox)
    except ValueError as error:
        field = "geometry" if geometry is not None else "bbox"
        raise UnusableItemError(item_id, field, str(error)) from error
    raise UnusableItemError(item_id, "geometry", "is missing, and so is bbox")


def _orbit(item_id: str, properties: Mapping[str, Any]) -> int:
    value = properties.get("sat:relative_orbit")
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 175:
        return value
    for text in (properties.get("s2:product_uri"), item_id):
        if isinstance(text, str) and (match := _ORBIT_IN_NAME.search(text)):
            return int(next(group for group in match.groups() if group))
    return -1
