"""What an asset states about its raster: numbers, unit, grid, identity. Nothing is believed.

The same fact sits in different places: `raster:bands` (raster extension 1.x), `raster:*`
on the asset (2.0), `bands` (STAC 1.1); `proj:epsg` (projection 1.x), `proj:code` (2.0).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, TypeGuard

__all__ = [
    "find_offsets",
    "is_number",
    "raster_dtype",
    "raster_grid",
    "raster_identity",
    "raster_nodata",
    "raster_scale",
    "resolve_coefficient",
    "resolve_unit",
]

_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")

_Grid = tuple[int | None, tuple[float, ...] | None, tuple[int, int] | None]


def find_offsets(asset: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Collect every offset an asset states, in raster extension 1.x and 2.x and STAC 1.1.

    Parameters
    ----------
    asset : mapping
        Of a STAC item. Not trusted.

    Returns
    -------
    offsets : list of (str, float)
        Field name and value.
    """
    first = _first_band(asset)
    found = [
        ("raster:bands.offset", _first_band(asset, "raster:bands").get("offset")),
        ("raster:offset", asset.get("raster:offset")),
        ("bands.raster:offset", first.get("raster:offset")),
    ]
    return [(name, float(value)) for name, value in found if is_number(value)]


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value decoded from JSON is a number to calculate with.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    number : bool
        False for NaN, infinity, truth values, and integers beyond a float's range.
    """
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def resolve_unit(
    declared: str, properties: Mapping[str, Any], asset: Mapping[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """Decide the unit of a raster.

    Parameters
    ----------
    declared : str
        Of the profile; ``"metadata"`` means: the item says.
    properties, asset : mapping
        Of a STAC item. Not trusted.

    Returns
    -------
    unit : str
        ``"reflectance"``, ``"linear"``, ``"dB"``; empty where nothing tells.
    notes : tuple of str
        Contradictions.
    """
    if declared != "metadata":
        return declared, ()
    by_raster = {"1": "linear", "linear": "linear", "db": "dB"}.get(
        str(_raster_field(asset, "unit")).lower(), ""
    )
    by_item = {"linear": "linear", "db": "dB"}.get(
        str(properties.get("backscatter:scale")).lower(), ""
    )
    if by_raster and by_item and by_raster != by_item:
        return by_raster, (f"raster unit {by_raster} contradicts backscatter:scale = {by_item}",)
    return by_raster or by_item, ()


def resolve_coefficient(declared: str, properties: Mapping[str, Any]) -> str:
    """Decide the backscatter coefficient of an item.

    Parameters
    ----------
    declared : str
        Of the profile; ``"metadata"`` means: the item says.
    properties : mapping
        Of a STAC item. Not trusted.

    Returns
    -------
    coefficient : str
        ``"gamma0"`` or ``"sigma0"``; empty where nothing tells.
    """
    if declared != "metadata":
        return declared
    value = str(properties.get("backscatter:coefficient")).lower()
    return value if value in ("gamma0", "sigma0") else ""


def raster_scale(asset: Mapping[str, Any], default: float) -> float:
    """Return the stated scale, or the default where it is missing or impossible.

    Parameters
    ----------
    asset : mapping
        Of a STAC item. Not trusted.
    default : float
        Of the profile.

    Returns
    -------
    scale : float
        Positive and finite.
    """
    value = _raster_field(asset, "scale")
    return float(value) if is_number(value) and value > 0 else default


def raster_nodata(asset: Mapping[str, Any], default: float | None) -> float | None:
    """Return the stated "no data" number, or the default.

    Parameters
    ----------
    asset : mapping
        Of a STAC item. Not trusted.
    default : float or None
        Of the profile.

    Returns
    -------
    nodata : float or None
        May be NaN or infinite (``"nan"``, ``"inf"`` and ``"-inf"`` are strings in JSON).
    """
    value = _raster_field(asset, "nodata")
    if isinstance(value, str) and value.lower() in ("nan", "inf", "-inf"):
        return float(value)
    return float(value) if is_number(value) else default


def raster_dtype(asset: Mapping[str, Any], default: str) -> str:
    """Return the stated type of the stored numbers, or the default.

    Parameters
    ----------
    asset : mapping
        Of a STAC item. Not trusted.
    default : str
        Of the profile.

    Returns
    -------
    dtype : str
        A numpy type name.
    """
    value = _raster_field(asset, "data_type")
    return value if isinstance(value, str) and value in _DTYPES else default


def raster_grid(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> _Grid:
    """Return the stated map grid; what the asset says goes before what the item says.

    Parameters
    ----------
    asset, properties : mapping
        Of a STAC item. Not trusted.

    Returns
    -------
    epsg : int or None
        None where it is missing or unreadable, as the two others.
    transform : tuple of float or None
        Six affine numbers (a, b, c, d, e, f), invertible.
    shape_yx : tuple of int or None
        Rows and columns.
    """
    return (
        _epsg(asset) or _epsg(properties),
        _transform(asset.get("proj:transform", properties.get("proj:transform"))),
        _shape(asset.get("proj:shape", properties.get("proj:shape"))),
    )


def raster_identity(asset: Mapping[str, Any]) -> str:
    """Return what changes when the file changes.

    Parameters
    ----------
    asset : mapping
        Of a STAC item. Not trusted.

    Returns
    -------
    identity : str
        Checksum, else size; empty where neither is stated.
    """
    checksum, size = asset.get("file:checksum"), asset.get("file:size")
    if isinstance(checksum, str) and checksum:
        return checksum
    return f"size:{size}" if is_number(size) and size > 0 else ""


def _first_band(asset: Mapping[str, Any], field: str = "bands") -> Mapping[str, Any]:
    """Return the first entry of `raster:bands` or, since STAC 1.1, `bands`; empty if none."""
    bands = asset.get(field)
    first = bands[0] if isinstance(bands, list) and bands else None
    return first if isinstance(first, dict) else {}


def _raster_field(asset: Mapping[str, Any], name: str) -> Any:
    """Look a raster fact up where the versions of STAC put it."""
    for source in (_first_band(asset, "raster:bands"), asset, _first_band(asset)):
        for key in (name, f"raster:{name}"):
            if source.get(key) is not None:
                return source[key]
    return None


def _epsg(fields: Mapping[str, Any]) -> int | None:
    """Read `proj:code` (projection 2.0) or `proj:epsg` (1.x)."""
    code = fields.get("proj:code")
    if isinstance(code, str) and (match := re.fullmatch(r"EPSG:(\d{4,6})", code, re.IGNORECASE)):
        return int(match[1])
    value = fields.get("proj:epsg")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _numbers(value: object) -> list[float] | None:
    if not isinstance(value, list) or not all(map(is_number, value)):
        return None
    return [float(v) for v in value]


def _transform(value: object) -> tuple[float, ...] | None:
    numbers = _numbers(value)
    if numbers is None or len(numbers) not in (6, 9):
        return None
    a, b, _, d, e, _ = numbers[:6]
    return tuple(numbers[:6]) if a * e - b * d != 0.0 else None


def _shape(value: object) -> tuple[int, int] | None:
    numbers = _numbers(value)
    if numbers is None or len(numbers) != 2 or min(numbers) < 1:
        return None
    return int(numbers[0]), int(numbers[1])
