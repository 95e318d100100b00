"""The geospatial doorway: arrays with names, units and dates in, tensors out.

The one place where axes move. Whatever would make a model answer nonsense
without complaint is refused here: digital numbers instead of reflectance,
linear power instead of dB, unknown or mislabelled bands, axes or dates out of
order, a window without a single observation.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from terrascope.model.geometry import Geometry
from terrascope.model.stacks import BANDS, Stack, Window, as_date, canonical_bands
from terrascope.model.windows import Windows
from terrascope.sensors import S1_BANDS, S2_BANDS
from terrascope.types import FloatArray

__all__ = [
    "Geometry",
    "Stack",
    "TerrascopeProcessor",
    "Window",
    "Windows",
    "as_date",
    "canonical_bands",
]

SETTINGS_FILE = "preprocessor_config.json"


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
    order = [list(BANDS[stack.sensor]).index(name) for name in stack.bands]
    values = stack.observed_values()
    rows, columns = values.shape[2:]
    for t, source in taken:
        if source is None:
            continue
        target[t, order, :rows, :columns] = values[source]
        if np.isfinite(values[source]).any():
            date = as_date(stack.dates[source])
            times[0, t], times[1, t] = date.timetuple().tm_yday, (date - first).days
