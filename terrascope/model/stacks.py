"""What the doorway takes in: the acquisitions of a sensor, and the sensors of one place.

Both check themselves: one that exists can be used.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.model.geometry import Geometry
from terrascope.model.plausibility import check_backscatter, check_reflectance
from terrascope.sensors import S1_BANDS, S2_BANDS
from terrascope.types import BoolArray, FloatArray

__all__ = ["BANDS", "UNITS", "Stack", "Window", "as_date", "canonical_bands"]

UNITS = MappingProxyType({"sentinel-2": "reflectance", "sentinel-1": "dB"})
"""Of the values, by sensor."""

BANDS = MappingProxyType({"sentinel-2": S2_BANDS, "sentinel-1": S1_BANDS})
"""In the order of the tensors, by sensor."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """The acquisitions of one sensor over one window.

    Parameters
    ----------
    sensor : {"sentinel-2", "sentinel-1"}
        Which.
    values : ndarray of float, shape (date, band, y, x)
        Surface reflectance or backscatter in dB; what is not finite is missing.
    bands : sequence of str
        Names of axis 1, canonical (``"nir"``) or the agency's (``"B08"``), in the
        order in which the array has them; any subset.
    dates : sequence of datetime.date, str or datetime64
        Of axis 0, strictly ascending.
    unit : {"reflectance", "dB"}
        Of `values`, as the caller knows it. It is checked against the numbers.
    valid : ndarray of bool or None
        Shape (date, y, x) or (date, band, y, x); False is missing, like NaN.

    Raises
    ------
    ValueError
        If a name, a shape, a date or a value cannot be right; the message says
        what was found, what was expected and what to do.
    """

    sensor: str
    values: NDArray[Any]
    bands: Sequence[str]
    dates: Sequence[dt.date | str | np.datetime64]
    unit: str
    valid: BoolArray | None = None

    def __post_init__(self) -> None:
        if self.sensor not in UNITS:
            raise ValueError(f"sensor {self.sensor!r}: expected one of {sorted(UNITS)}")
        if self.unit != UNITS[self.sensor]:
            raise ValueError(_wrong_unit(self.sensor, self.unit))
        object.__setattr__(self, "bands", canonical_bands(self.sensor, self.bands))
        object.__setattr__(self, "dates", tuple(as_date(date) for date in self.dates))
        self._check_shape()
        self._check_dates()
        values = self.observed_values()
        if self.sensor == "sentinel-2":
            check_reflectance(self.values, values, tuple(self.bands))
        else:
            check_backscatter(self.values, values, tuple(self.bands))

    def observed_values(self) -> FloatArray:
        """Return the values with NaN wherever they are missing.

        Returns
        -------
        values : ndarray of float32, shape (date, band, y, x)
            A copy.
        """
        values = np.array(self.values, np.float32)
        values[~np.isfinite(values)] = np.nan
        if self.valid is not None:
            mask = self.valid[:, None] if self.valid.ndim == 3 else self.valid
            values[~np.broadcast_to(mask, values.shape)] = np.nan
        return values

    def _check_shape(self) -> None:
        shape, expected = self.values.shape, (len(self.dates), len(self.bands))
        if self.values.ndim != 4:
            raise ValueError(
                f"{self.sensor}: an array of shape {shape}; expected (date, band, y, x), "
                "with an axis of length 1 for a single date or band"
            )
        if shape[:2] != expected:
            raise ValueError(
                f"{self.sensor}: an array of shape {shape} for {expected[0]} dates and "
                f"{expected[1]} bands; expected ({expected[0]}, {expected[1]}, y, x)"
                + _axes_hint(shape, expected)
            )
        if min(shape) == 0:
            raise ValueError(f"{self.sensor}: an array of shape {shape} holds nothing")
        if self.valid is not None:
            allowed = (shape, (shape[0], *shape[2:]))
            if self.valid.dtype != np.bool_ or self.valid.shape not in allowed:
                raise ValueError(
                    f"{self.sensor}: a mask of shape {self.valid.shape} and type "
                    f"{self.valid.dtype}; expected bool of shape {allowed[1]} or {allowed[0]}"
                )

    def _check_dates(self) -> None:
        dates = tuple(as_date(date) for date in self.dates)
        for earlier, later in itertools.pairwise(dates):
            if later <= earlier:
                raise ValueError(
                    f"{self.sensor}: date {later} follows {earlier}; expected strictly "
                    "ascending dates (sort them, and their values with them)"
                )


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """One place on the ground: what the sensors saw of it, and how large it is.

    Parameters
    ----------
    geometry : Geometry
        Of the pixels; its shape is that of every stack.
    optical, radar : Stack or None
        Either may be missing, not both.

    Raises
    ------
    ValueError
        If the shapes differ, a sensor is in the wrong place, or nothing at all
        was observed.
    """

    geometry: Geometry
    optical: Stack | None = None
    radar: Stack | None = None

    def __post_init__(self) -> None:
        for stack, sensor in ((self.optical, "sentinel-2"), (self.radar, "sentinel-1")):
            if stack is None:
                continue
            if stack.sensor != sensor:
                raise ValueError(f"a {stack.sensor} stack where {sensor} is expected")
            if stack.values.shape[2:] != self.geometry.shape_yx:
                raise ValueError(
                    f"{sensor}: {stack.values.shape[2:]} rows and columns, but the geometry "
                    f"has {self.geometry.shape_yx}; expected the same grid for all"
                )
        stacks = [stack for stack in (self.optical, self.radar) if stack is not None]
        if not any(np.isfinite(stack.observed_values()).any() for stack in stacks):
            raise ValueError(
                "the window has no observation at all: every value of every sensor and date is "
                "missing; leave the window out, its state is 'not observed'"
            )


def as_date(value: dt.date | str | np.datetime64) -> dt.date:
    """Read a date.

    Parameters
    ----------
    value : datetime.date, datetime.datetime, str or datetime64
        ISO 8601 where it is text.

    Returns
    -------
    date : datetime.date
        Without a time.

    Raises
    ------
    ValueError
        If it is no date.
    """
    if isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, dt.date):
        return value
    try:
        return dt.datetime.fromisoformat(str(value)).date()
    except ValueError as cause:
        raise ValueError(f"date {value!r}: expected an ISO 8601 date") from cause


def canonical_bands(sensor: str, bands: Sequence[str]) -> tuple[str, ...]:
    """Return band names as `terrascope.sensors` writes them.

    Parameters
    ----------
    sensor : {"sentinel-2", "sentinel-1"}
        Whose bands.
    bands : sequence of str
        Canonical names or the agency's codes, in any case; a leading zero may lack.

    Returns
    -------
    names : tuple of str
        In the order given.

    Raises
    ------
    ValueError
        If a name is unknown or appears twice.
    """
    known = BANDS[sensor]
    lookup = {name: name for name in known}
    for band in known.values():
        lookup[band.code.lower()] = lookup[band.code.lower().replace("b0", "b")] = band.name
    unknown = [name for name in bands if str(name).lower() not in lookup]
    if unknown:
        raise ValueError(f"{sensor}: unknown bands {unknown}; expected some of {list(known)}")
    names = tuple(lookup[str(name).lower()] for name in bands)
    if len(set(names)) < len(names):
        raise ValueError(f"{sensor}: bands {list(bands)} name one band twice")
    return names


def _wrong_unit(sensor: str, unit: str) -> str:
    cure = {
        "dn": "divide by 10000, and add the offset that the item's metadata state (-0.1)",
        "linear": "take 10 * log10 of it",
        "power": "take 10 * log10 of it",
        "amplitude": "take 20 * log10 of it",
    }.get(unit.lower(), "convert it first")
    return f"{sensor} in {unit!r}: expected {UNITS[sensor]!r}; {cure}"


def _axes_hint(shape: tuple[int, ...], expected: tuple[int, int]) -> str:
    """Name the order that the axes seem to have."""
    dates, bands = expected
    if shape[:2] == (bands, dates):
        return "; the array looks like (band, date, y, x): swap the first two axes"
    if shape[0] == dates and shape[-1] == bands:
        return "; the array looks like (date, y, x, band): move the last axis to place 1"
    if shape[-1] == dates and shape[-2] == bands:
        return "; the array looks like (y, x, band, date): move the last two axes to the front"
    return ""
