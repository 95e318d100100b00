"""A batch of windows as tensors: what the model is given to look at."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from terrascope.model.geometry import Geometry

__all__ = ["Windows"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Windows:
    """Padded tensors of B windows, T dates, S sensors (0 optical, 1 radar), H x W pixels.

    Missing values are zero, and False in the masks; nothing is NaN. Dates and
    pixels that only pad a smaller window are missing too.

    Parameters
    ----------
    optical : Tensor of float32, shape (B, T, 12, H, W)
        Surface reflectance (unitless, about 0 to 1, not normalised), bands in the
        order of `terrascope.sensors.S2_BANDS`.
    optical_valid : Tensor of bool, shape (B, T, 12, H, W)
        Observed, and the band exists.
    radar : Tensor of float32, shape (B, T, 2, H, W)
        Backscatter in dB (about -30 to 5, not normalised), VV and VH.
    radar_valid : Tensor of bool, shape (B, T, 2, H, W)
        Observed, and the polarisation exists.
    day_of_year : Tensor of float32, shape (B, T, S)
        1 to 366 of the sensor's acquisition; 0 where it has none on this date.
    days : Tensor of float32, shape (B, T, S)
        Days since the window's first date, by acquisition (a radar pass that is paired
        with the first date may lie before it); 0 where there is none.
    gsd_m : Tensor of float32, shape (B, 2)
        Height and width of a pixel on the ground, in metres.
    date_count : Tensor of int64, shape (B,)
        Real dates of each window, from index 0 on.
    inside : Tensor of bool, shape (B, H, W)
        False in the padding.
    dates : tuple of tuple of datetime.date
        Of each window; date i is written ``t_(i + 1)``.
    geometry : tuple of Geometry
        Of each window, padded to H x W.
    """

    optical: Tensor
    optical_valid: Tensor
    radar: Tensor
    radar_valid: Tensor
    day_of_year: Tensor
    days: Tensor
    gsd_m: Tensor
    date_count: Tensor
    inside: Tensor
    dates: tuple[tuple[dt.date, ...], ...]
    geometry: tuple[Geometry, ...]

    def __len__(self) -> int:
        return len(self.dates)

    def __repr__(self) -> str:
        rows, columns = self.shape_yx
        dates = [len(dates) for dates in self.dates]
        return f"<Windows: {len(self)} of {rows} x {columns} pixels, {dates} dates>"

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns, padding included."""
        return int(self.inside.shape[-2]), int(self.inside.shape[-1])

    @property
    def present(self) -> Tensor:
        """Whether a sensor saw any pixel on a date: bool, shape (B, T, S)."""
        return torch.stack(
            [self.optical_valid.flatten(2).any(-1), self.radar_valid.flatten(2).any(-1)], dim=-1
        )

    @property
    def observed(self) -> Tensor:
        """Whether any band of any sensor saw a pixel: bool, shape (B, T, H, W)."""
        return self.optical_valid.any(2) | self.radar_valid.any(2)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Windows:
        """Move the tensors to a device.

        Parameters
        ----------
        device : torch.device or str
            Where to.
        non_blocking : bool
            As `torch.Tensor.to`.

        Returns
        -------
        windows : Windows
            The same values; dtypes stay (a reflectance or a dB needs float32).
        """
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in self._tensors().items()
        }
        return dataclasses.replace(self, **moved)

    def pin_memory(self) -> Windows:
        """Copy the tensors to page-locked memory, from where a GPU fetches them fastest.

        Returns
        -------
        windows : Windows
            The same values.
        """
        pinned: dict[str, Any] = {
            name: value.pin_memory() for name, value in self._tensors().items()
        }
        return dataclasses.replace(self, **pinned)

    def select(self, index: Sequence[int]) -> Windows:
        """Take some windows, in a new order or repeatedly.

        Parameters
        ----------
        index : sequence of int
            Which ones.

        Returns
        -------
        windows : Windows
            Padding stays as it was.
        """
        chosen = torch.as_tensor(list(index), dtype=torch.int64, device=self.inside.device)
        taken: dict[str, Any] = {
            name: value.index_select(0, chosen) for name, value in self._tensors().items()
        }
        return dataclasses.replace(
            self,
            **taken,
            dates=tuple(self.dates[i] for i in index),
            geometry=tuple(self.geometry[i] for i in index),
        )

    def without(self, *, optical: bool = False, radar: bool = False) -> Windows:
        """Leave a sensor out, as if it had never been there.

        Parameters
        ----------
        optical, radar : bool
            Which one.

        Returns
        -------
        windows : Windows
            The sensor's values are zero and missing.
        """
        changed: dict[str, Any] = {}
        for index, (name, drop) in enumerate((("optical", optical), ("radar", radar))):
            if drop:
                values, valid = getattr(self, name), getattr(self, f"{name}_valid")
                changed |= {
                    name: torch.zeros_like(values),
                    f"{name}_valid": torch.zeros_like(valid),
                }
                for key in ("day_of_year", "days"):
                    times = changed.get(key, getattr(self, key)).clone()
                    times[..., index] = 0.0
                    changed[key] = times
        return dataclasses.replace(self, **changed)

    def _tensors(self) -> dict[str, Tensor]:
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
