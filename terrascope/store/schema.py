"""What the arrays of a group are: names, types, missing values and CF attributes, as values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from terrascope.geo.tiles import Zone
from terrascope.periods import Cadence
from terrascope.sensors import SENSORS
from terrascope.store.layout import (
    chunk_pixels,
    cube_path,
    result_path,
    tile_pixels,
    zone_geobox,
    zone_shape,
)
from terrascope.types import NODATA_INT16, ChangeKind, Quality, Status

__all__ = ["NO_DATE", "RESULT_LAYERS", "GroupSchema", "Layer", "cube_schema", "result_schema"]

NO_DATE = -(2**31)
"""Missing value of the int32 date layers (days since 1970-01-01)."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One array of a group.

    Parameters
    ----------
    name : str
        Of the array; an identifier.
    dtype : str
        Numpy name of the stored type.
    fill : int or float
        Stored value where nothing was written.
    long_name : str
        For people.
    units : str
        CF units of the physical value, empty for codes and bit masks.
    scale : float
        Physical value per stored step.
    missing : bool
        True where `fill` means "no value" to a reader (`_FillValue`), False
        where it is a value like any other (a count of 0, a class code).
    banded : bool
        True for arrays with a band axis.
    flags : mapping of str to int
        Meaning to code (`flag_values`).
    masks : mapping of str to int
        Meaning to bit (`flag_masks`).
    """

    name: str
    dtype: str
    fill: int | float
    long_name: str
    units: str = ""
    scale: float = 1.0
    missing: bool = False
    banded: bool = False
    flags: Mapping[str, int] = dataclasses.field(default_factory=dict)
    masks: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"layer {self.name!r}: expected an identifier")

    def attributes(self) -> dict[str, Any]:
        """Return the CF attributes.

        Returns
        -------
        attributes : dict
            Ready for JSON. A NaN fill is not repeated as `_FillValue`.
        """
        found: dict[str, Any] = {"long_name": self.long_name, "grid_mapping": "spatial_ref"}
        if self.units:
            found["units"] = self.units
        if self.scale != 1.0:
            found["scale_factor"] = self.scale
        if self.missing and not math.isnan(self.fill):
            found["_FillValue"] = self.fill
        for key, codes in (("flag_values", self.flags), ("flag_masks", self.masks)):
            if codes:
                found[key] = list(codes.values())
                found["flag_meanings"] = " ".join(codes)
        return found


@dataclasses.dataclass(frozen=True)
class GroupSchema:
    """All of one group: its path, axes and arrays.

    Parameters
    ----------
    path : str
        As made by `terrascope.store.layout`.
    zone : Zone
        Gives the CRS and the extent.
    resolution_m : int
        Pixel size in metres.
    layers : tuple of Layer
        The arrays.
    cadence : Cadence or None
        Of the time axis, None for groups without one.
    bands : tuple of str
        Canonical names, in order; empty for groups without a band axis.
    attributes : mapping
        More attributes of the group, JSON values.
    """

    path: str
    zone: Zone
    resolution_m: int
    layers: tuple[Layer, ...]
    cadence: Cadence | None = None
    bands: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def time_length(self) -> int:
        """Steps of the time axis; 1 for groups without one."""
        return self.cadence.length if self.cadence else 1

    def dimensions(self, layer: Layer) -> tuple[str, ...]:
        """Return the names of a layer's axes.

        Parameters
        ----------
        layer : Layer
            One of `layers`.

        Returns
        -------
        dimensions : tuple of str
            Out of ``time``, ``band``, ``y``, ``x``, in this order.
        """
        return (
            *(("time",) if self.cadence else ()),
            *(("band",) if layer.banded else ()),
            "y",
            "x",
        )

    def shapes(self, layer: Layer) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return the extents of a layer.

        Parameters
        ----------
        layer : Layer
            One of `layers`.

        Returns
        -------
        array, shard, chunk : tuple of int
            Of the whole zone, of one tile and period, and of the unit of reading.
        """
        side, chunk = tile_pixels(self.resolution_m), chunk_pixels(self.resolution_m)
        rows, columns = zone_shape(self.resolution_m)
        sizes = {
            "time": (self.time_length, 1, 1),
            "band": (len(self.bands), len(self.bands), 1),
            "y": (rows, side, chunk),
            "x": (columns, side, chunk),
        }
        axes = [sizes[name] for name in self.dimensions(layer)]
        array, shard, part = (tuple(axis[i] for axis in axes) for i in range(3))
        return array, shard, part

    def group_attributes(self) -> dict[str, Any]:
        """Return the attributes of the group.

        Returns
        -------
        attributes : dict
            CF and GeoZarr (`proj:`, `spatial:`) statements, ready for JSON.
        """
        affine = zone_geobox(self.zone, self.resolution_m).affine
        cadence = {"cadence": str(self.cadence)} if self.cadence else {}
        return {
            "Conventions": "CF-1.11",
            "proj:code": f"EPSG:{self.zone.epsg}",
            "spatial:dimensions": ["y", "x"],
            "spatial:transform": list(affine)[:6],
            "spatial:shape": list(zone_shape(self.resolution_m)),
            "zone": self.zone.id,
            "resolution_m": self.resolution_m,
            **cadence,
            **self.attributes,
        }


def cube_schema(
    sensor: str,
    zone: Zone,
    resolution_m: int,
    cadence: Cadence,
    bands: Sequence[str],
    *,
    values: str = "physical",
    orbit: int | None = None,
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> GroupSchema:
    """Declare the cube of one sensor in one zone.

    Parameters
    ----------
    sensor : str
        ``"sentinel-2"`` or ``"sentinel-1"``.
    zone : Zone
        The zone.
    resolution_m : int
        Pixel size in metres.
    cadence : Cadence
        Of the time axis.
    bands : sequence of str
        Canonical names; stored in the sensor's own order.
    values : {"physical", "dn"}
        Scaled int16 reflectance or decibel, missing -32768; or the provider's
        uint16 numbers in an array called ``dn``, missing 0.
    orbit : int or None
        Relative orbit, Sentinel-1 only; -1 where unknown.
    attributes : mapping
        More attributes of the group, for instance the composite's settings.

    Returns
    -------
    schema : GroupSchema
        With the arrays of the values, ``observed`` and ``quality``.

    Raises
    ------
    ValueError
        If a band or `values` is unknown, or the path cannot be made.
    """
    path = cube_path(sensor, zone, resolution_m, cadence, orbit)
    known = SENSORS[sensor]
    if not bands or not set(bands) <= set(known.bands) or len(set(bands)) != len(bands):
        raise ValueError(
            f"bands {list(bands)}: expected some of {', '.join(known.bands)}, once each"
        )
    if values not in ("physical", "dn"):
        raise ValueError(f"values {values!r}: expected 'physical' or 'dn'")
    pixels = (
        Layer("dn", "uint16", 0, "numbers as stored by the provider", missing=True, banded=True)
        if values == "dn"
        else Layer(
            known.variable,
            "int16",
            NODATA_INT16,
            "surface reflectance" if sensor == "sentinel-2" else "backscatter",
            units=known.unit,
            scale=known.scale,
            missing=True,
            banded=True,
        )
    )
    return GroupSchema(
        path,
        zone,
        resolution_m,
        layers=(
            pixels,
            Layer("observed", "uint16", 0, "clear observations in the period", units="1"),
            Layer(
                "quality",
                "uint8",
                0,
                "what was seen and masked in the period",
                masks={flag.name.lower(): flag.value for flag in Quality if flag.name},
            ),
        ),
        cadence=cadence,
        bands=tuple(band for band in known.bands if band in bands),
        attributes={"sensor": sensor, **attributes},
    )


def result_schema(
    zone: Zone,
    resolution_m: int,
    run_id: str,
    *,
    evidence: Iterable[Layer] = (),
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> GroupSchema:
    """Declare the map layers of one run in one zone.

    Parameters
    ----------
    zone : Zone
        The zone.
    resolution_m : int
        Pixel size in metres.
    run_id : str
        Name of the run, usually the target's first and last day.
    evidence : iterable of Layer
        More layers of the screen or the model.
    attributes : mapping
        More attributes of the group.

    Returns
    -------
    schema : GroupSchema
        `RESULT_LAYERS` and the evidence, dimensions (y, x).

    Raises
    ------
    ValueError
        If two layers share a name, or the path cannot be made.
    """
    layers = (*RESULT_LAYERS, *evidence)
    names = [layer.name for layer in layers]
    if len(set(names)) != len(names):
        raise ValueError(f"layers {names}: each name once")
    path = result_path(zone, resolution_m, run_id)
    return GroupSchema(path, zone, resolution_m, layers, attributes=dict(attributes))


def _codes(kind: type[Status | ChangeKind]) -> dict[str, int]:
    return {code.name.lower(): code.value for code in kind}


RESULT_LAYERS = (
    Layer("status", "uint8", int(Status.OUTSIDE), "state of the alert", flags=_codes(Status)),
    Layer("change_probability", "float32", math.nan, "probability of change", units="1"),
    Layer("screen_probability", "float32", math.nan, "probability of change, screen", units="1"),
    Layer(
        "change_kind", "uint8", int(ChangeKind.OUTSIDE), "kind of change", flags=_codes(ChangeKind)
    ),
    Layer(
        "observations",
        "uint16",
        0,
        "target periods with a clear view, summed over cubes",
        units="1",
    ),
    Layer(
        "detected_on",
        "int32",
        NO_DATE,
        "first day of the detection",
        units="days since 1970-01-01",
        missing=True,
    ),
    Layer("confidence", "float32", math.nan, "confidence in the status", units="1"),
)
"""The layers of every result; 255 = outside the area of interest."""
