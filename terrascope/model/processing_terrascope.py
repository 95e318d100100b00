"""The geospatial doorway: arrays with names, units and dates in, tensors out.

The one place where axes move. Whatever would make a model answer nonsense
without complaint is refused here: digital numbers instead of reflectance,
linear power instead of dB, unknown or mislabelled bands, axes or dates out of
order, a window without a single observation.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from terrascope.model.geometry import Geometry
from terrascope.model.plausibility import check_backscatter, check_reflectance
from terrascope.model.windows import Windows
from terrascope.sensors import S1_BANDS, S2_BANDS
from terrascope.types import BoolArray, FloatArray

__all__ = ["Geometry", "Stack", "TerrascopeProcessor", "Window", "Windows", "as_date"]

UNITS = {"sentinel-2": "reflectance", "sentinel-1": "dB"}
_BANDS = {"sentinel-2": S2_BANDS, "sentinel-1": S1_BANDS}
SETTINGS_FILE = "preprocessor_config.json"


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


@dataclasses.dataclass(frozen=True)
class TerrascopeProcessor:
    """Turn windows into the model's tensors.

    Parameters
    ----------
    size_px : int or None
        Side to which windows are padded at the bottom and on the right; a larger
        one is refused (cut it into windows first). None pads to the largest of the
        batch.
    multiple_px : int
        Sides become multiples of this where `size_px` is None.
    pair_within_days : int
        An optical and a radar acquisition no further apart than this share a date
        of the window, nearest pairs first; the date is then the optical one. Each
        keeps its own day for the model.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    size_px: int | None = None
    multiple_px: int = 8
    pair_within_days: int = 7

    def __post_init__(self) -> None:
        if (self.size_px is not None and self.size_px < 1) or self.multiple_px < 1:
            raise ValueError(f"sizes {self.size_px} and {self.multiple_px} px: expected 1 or more")
        if self.pair_within_days < 0:
            raise ValueError(f"pair_within_days {self.pair_within_days}: expected 0 or more")

    def __call__(self, windows: Sequence[Window]) -> Windows:
        """Build a batch.

        Parameters
        ----------
        windows : sequence of Window
            At least one; sizes, dates and sensors may differ.

        Returns
        -------
        batch : Windows
            On the CPU.

        Raises
        ------
        ValueError
            If there is no window, or one is larger than `size_px`.
        """
        if not windows:
            raise ValueError("no window to process")
        side = self._side(windows)
        steps = [pair_dates(window, self.pair_within_days) for window in windows]
        batch, most = len(windows), max(len(step) for step in steps)
        arrays = {
            "optical": np.full((batch, most, len(S2_BANDS), side, side), np.nan, np.float32),
            "radar": np.full((batch, most, len(S1_BANDS), side, side), np.nan, np.float32),
        }
        times = np.zeros((2, batch, most, 2), np.float32)
        inside = np.zeros((batch, side, side), np.bool_)
        for b, (window, found) in enumerate(zip(windows, steps, strict=True)):
            rows, columns = window.geometry.shape_yx
            inside[b, :rows, :columns] = True
            for s, name in enumerate(("optical", "radar")):
                stack: Stack | None = getattr(window, name)
                if stack is not None:
                    taken = [(t, step.index[s]) for t, step in enumerate(found)]
                    _fill(arrays[name][b], times[:, b, :, s], stack, taken, found[0].date)
        valid = {name: np.isfinite(values) for name, values in arrays.items()}
        return Windows(
            **{name: torch.from_numpy(np.nan_to_num(v)) for name, v in arrays.items()},
            **{f"{name}_valid": torch.from_numpy(v) for name, v in valid.items()},
            day_of_year=torch.from_numpy(times[0]),
            days=torch.from_numpy(times[1]),
            gsd_m=torch.tensor([w.geometry.pixel_size_yx_m for w in windows]),
            date_count=torch.tensor([len(found) for found in steps]),
            inside=torch.from_numpy(inside),
            dates=tuple(tuple(step.date for step in found) for found in steps),
            geometry=tuple(window.geometry.padded((side, side)) for window in windows),
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the settings beside the weights, as JSON.

        Parameters
        ----------
        folder : str or Path
            Made where it does not exist.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (Path(folder) / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> TerrascopeProcessor:
        """Read the settings of a saved model.

        Parameters
        ----------
        folder : str or Path
            Of the model.

        Returns
        -------
        processor : TerrascopeProcessor
            With those settings.
        """
        text = (Path(folder) / SETTINGS_FILE).read_text(encoding="utf-8")
        return cls(**json.loads(text))

    def _side(self, windows: Sequence[Window]) -> int:
        largest = max(max(window.geometry.shape_yx) for window in windows)
        if self.size_px is None:
            return -(-largest // self.multiple_px) * self.multiple_px
        if largest > self.size_px:
            raise ValueError(
                f"a window of {largest} px for a model of {self.size_px} px: cut it into windows"
            )
        return self.size_px


@dataclasses.dataclass(frozen=True)
class _Step:
    """One date of a window, and where each sensor has it; None where it has nothing."""

    date: dt.date
    index: tuple[int | None, int | None]


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
    known = _BANDS[sensor]
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


def pair_dates(window: Window, within_days: int) -> list[_Step]:
    """Bring the acquisitions of both sensors onto one list of dates.

    Parameters
    ----------
    window : Window
        With one or two stacks.
    within_days : int
        Greatest distance of a pair.

    Returns
    -------
    steps : list of _Step
        Ascending by date.
    """
    optical = window.optical.dates if window.optical is not None else ()
    radar = window.radar.dates if window.radar is not None else ()
    distances = sorted(
        (abs((as_date(a) - as_date(b)).days), i, j)
        for i, a in enumerate(optical)
        for j, b in enumerate(radar)
    )
    partner: dict[int, int] = {}
    for distance, i, j in distances:
        if distance <= within_days and i not in partner and j not in partner.values():
            partner[i] = j
    steps = [_Step(as_date(date), (i, partner.get(i))) for i, date in enumerate(optical)]
    alone = set(range(len(radar))) - set(partner.values())
    steps += [_Step(as_date(radar[j]), (None, j)) for j in alone]
    return sorted(steps, key=lambda step: (step.date, step.index[0] is None))


def _fill(
    target: FloatArray,
    times: FloatArray,
    stack: Stack,
    taken: Sequence[tuple[int, int | None]],
    first: dt.date,
) -> None:
    """Write a sensor's values and days into its place of the batch, in place."""
    order = [list(_BANDS[stack.sensor]).index(name) for name in stack.bands]
    values = stack.observed_values()
    rows, columns = values.shape[2:]
    for t, source in taken:
        if source is None:
            continue
        target[t, order, :rows, :columns] = values[source]
        if np.isfinite(values[source]).any():
            date = as_date(stack.dates[source])
            times[0, t], times[1, t] = date.timetuple().tm_yday, (date - first).days


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
