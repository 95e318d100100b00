"""The layers of the maps: names, types, missing values, units and colours, as values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from terrascope.geo.tiles import Tile
from terrascope.monitor.answers.maps import Maps
from terrascope.products.palette import (
    COVER_COLOURS,
    KIND_COLOURS,
    KIND_NAMES,
    STATUS_COLOURS,
    STATUS_NAMES,
)
from terrascope.types import Status
from terrascope.vocabulary import LAND_COVER

__all__ = [
    "ALERT_LAYERS",
    "ALL_LAYERS",
    "LAYERS",
    "MODEL_LAYERS",
    "LayerSource",
    "LayerSpec",
    "MapClass",
    "MemoryLayers",
    "map_values",
]

_PROBABILITY_STEP = 2.0**-12
"""Probabilities are kept to 0.00024: far below their meaning, and far fewer bytes
(`benchmarks/encoders.py`)."""


@dataclasses.dataclass(frozen=True)
class MapClass:
    """One code of a class layer.

    Parameters
    ----------
    code : int
        Stored number.
    name : str
        For people.
    colour : tuple of int
        Red, green, blue, 0..255.
    """

    code: int
    name: str
    colour: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """One map layer.

    Parameters
    ----------
    name : str
        Also the name of the file.
    dtype : str
        Numpy name of the stored type.
    nodata : int or float
        Outside the AOI, and where the layer has no value.
    description : str
        For people, stored as the band's description.
    unit : str
        Of the values; empty for codes.
    overview : {"mode", "average", "nearest"}
        How smaller versions are made.
    step : float
        Values are rounded to multiples of it; 0 keeps them.
    classes : tuple of MapClass
        Codes of a class layer.
    """

    name: str
    dtype: str
    nodata: int | float
    description: str
    unit: str = ""
    overview: str = "nearest"
    step: float = 0.0
    classes: tuple[MapClass, ...] = ()

    def __post_init__(self) -> None:
        if self.overview not in ("mode", "average", "nearest"):
            raise ValueError(f"overview {self.overview!r}: expected mode, average or nearest")

    @property
    def colours(self) -> dict[int, tuple[int, int, int, int]]:
        """Colour table: code to red, green, blue, alpha."""
        return {entry.code: (*entry.colour, 255) for entry in self.classes}

    def is_nodata(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where values are missing.

        Parameters
        ----------
        values : ndarray
            Of this layer.

        Returns
        -------
        missing : ndarray of bool
            Of the same shape.
        """
        if math.isnan(self.nodata):
            return np.asarray(np.isnan(values), np.bool_)
        return np.asarray(values == self.nodata, np.bool_)


def _probability(name: str, description: str) -> LayerSpec:
    return LayerSpec(
        name, "float32", math.nan, description, unit="1", overview="average", step=_PROBABILITY_STEP
    )


LAYERS: Mapping[str, LayerSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            LayerSpec(
                "status",
                "uint8",
                int(Status.OUTSIDE),
                "State of change; 255 outside the area of interest",
                overview="mode",
                classes=tuple(
                    MapClass(int(code), name, STATUS_COLOURS[code])
                    for code, name in STATUS_NAMES.items()
                ),
            ),
            _probability("change_probability", "Probability of change, fused; NaN not observed"),
            _probability("screen_probability", "Probability of change by the statistical screen"),
            LayerSpec(
                "change_kind",
                "uint8",
                255,
                "Kind of change; 255 outside the area of interest",
                overview="mode",
                classes=tuple(
                    MapClass(int(code), name, KIND_COLOURS[code])
                    for code, name in KIND_NAMES.items()
                ),
            ),
            LayerSpec(
                "observations",
                "uint16",
                65535,
                "Target periods with a clear view, summed over the cubes",
                unit="1",
            ),
            LayerSpec(
                "detected_on",
                "int32",
                -1,
                "First day of the detection",
                unit="days since 1970-01-01",
            ),
            _probability("confidence", "Confidence in the status"),
        )
    }
)
"""The layers of every run, by name, in the order in which they are written."""


def _cover(name: str, description: str) -> LayerSpec:
    names = ("Unknown", *(word.capitalize() for word in LAND_COVER))
    classes = tuple(
        MapClass(code, *entry) for code, entry in enumerate(zip(names, COVER_COLOURS, strict=True))
    )
    return LayerSpec(name, "uint8", int(Status.OUTSIDE), description, "", "mode", 0.0, classes)


MODEL_LAYERS: Mapping[str, LayerSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _probability("model_probability", "Probability of change by the model; NaN not asked"),
            _cover("class_from", "Land cover before, by the model; 255 outside the area"),
            _cover("class_to", "Land cover after, by the model; 255 outside the area"),
        )
    }
)
"""Layers of a run with a model, besides `LAYERS`."""

_DAYS = "days since 1970-01-01"

ALERT_LAYERS: Mapping[str, LayerSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            LayerSpec("confirmed_on", "int32", -1, "Day of the confirmation", unit=_DAYS),
            LayerSpec("closed_on", "int32", -1, "Day of the closing", unit=_DAYS),
        )
    }
)
"""Layers of a run with alerts, besides `LAYERS`."""

ALL_LAYERS: Mapping[str, LayerSpec] = MappingProxyType({**LAYERS, **MODEL_LAYERS, **ALERT_LAYERS})
"""Every layer that there is, by name."""


LayerSource: TypeAlias = Maps
"""Where the maps of a run are read from, tile by tile."""


@dataclasses.dataclass(frozen=True)
class MemoryLayers:
    """Maps held in memory: a `LayerSource` for tests and small areas.

    Parameters
    ----------
    resolution_m : int
        Pixel size in metres.
    values : mapping of Tile to mapping of str to ndarray or None
        Layers by tile and name; None for a tile without a result.
    """

    resolution_m: int
    values: Mapping[Tile, Mapping[str, NDArray[Any]] | None]

    @property
    def tiles(self) -> Sequence[Tile]:
        """All tiles, sorted."""
        return sorted(self.values)

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers that any tile has, in map order."""
        names = {name for layers in self.values.values() if layers for name in layers}
        return [name for name in LAYERS if name in names]

    def read(self, tile: Tile, layer: str) -> NDArray[Any] | None:
        """Return one layer of one tile.

        Parameters
        ----------
        tile : Tile
            One of `tiles`.
        layer : str
            Name of the layer.

        Returns
        -------
        values : ndarray, shape (y, x), or None
            None where the tile has no result.
        """
        layers = self.values[tile]
        return None if layers is None else layers[layer]


def map_values(spec: LayerSpec, values: NDArray[Any], status: NDArray[np.uint8]) -> NDArray[Any]:
    """Return a layer as the map stores it.

    Parameters
    ----------
    spec : LayerSpec
        The layer.
    values : ndarray, shape (y, x)
        As the source has them; not modified.
    status : ndarray of uint8, shape (y, x)
        The status layer of the same ground.

    Returns
    -------
    mapped : ndarray, shape (y, x)
        Of the layer's dtype: rounded to its step, its nodata outside the area of
        interest and where a date is unknown (negative).
    """
    mapped = values.astype(spec.dtype)
    if spec.step:
        mapped = np.round(mapped / np.float32(spec.step)) * np.float32(spec.step)
    missing = status == int(Status.OUTSIDE)
    if spec.dtype == "int32":
        missing |= values < 0
    mapped[missing] = spec.nodata
    return mapped
