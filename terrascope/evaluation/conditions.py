"""What a benchmark run takes away from the model, to see what it was worth."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Literal

import numpy as np
import torch
from scipy import ndimage

from terrascope.model.windows import Windows
from terrascope.types import BoolArray

__all__ = ["Conditions", "apply_conditions", "cloud_field"]

Sensors = Literal["both", "optical", "radar", "none"]


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Under which a model is examined.

    Parameters
    ----------
    sensors : {"both", "optical", "radar", "none"}
        What it sees; with ``"none"`` the question alone.
    cloud : float
        Share of every optical image that is missing under simulated cloud, 0 to 1; the radar
        sees through.
    injection : {"mask", "box", "random", "none"} or None
        Visual tokens behind a mask; None for what the model's configuration says.
    measured : bool
        Whether the figures of every mask are shown.
    forced : bool
        Whether the words of the reference trace are given, up to its last mask: masks are then
        asked for by the benchmark, and only what follows from them is up to the model.
    seed : int
        Of the clouds.

    Raises
    ------
    ValueError
        If the share of cloud is out of range.
    """

    sensors: Sensors = "both"
    cloud: float = 0.0
    injection: str | None = None
    measured: bool = True
    forced: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.cloud <= 1:
            raise ValueError(f"cloud {self.cloud}: expected a share from 0 to 1")


def apply_conditions(
    windows: Windows, names: list[str], conditions: Conditions, patch_px: int = 8
) -> Windows:
    """Take sensors and clouded pixels away.

    Parameters
    ----------
    windows : Windows
        B windows; not modified.
    names : list of str
        Of the images: they and the seed decide the clouds, so that all runs meet the same.
    conditions : Conditions
        What is taken away.
    patch_px : int
        Finest detail of a cloud.

    Returns
    -------
    windows : Windows
        What is gone is missing, as if it had never been observed.
    """
    if conditions.cloud > 0:
        clear = torch.from_numpy(
            np.stack([_clear(name, windows, conditions, patch_px) for name in names])
        )  # (B, T, H, W)
        valid = windows.optical_valid & clear.to(windows.optical.device)[:, :, None]
        windows = dataclasses.replace(
            windows,
            optical=torch.where(valid, windows.optical, torch.zeros_like(windows.optical)),
            optical_valid=valid,
        )
    return windows.without(
        optical=conditions.sensors in ("radar", "none"),
        radar=conditions.sensors in ("optical", "none"),
    )


def cloud_field(
    shape_yx: tuple[int, int], share: float, rng: np.random.Generator, patch_px: int = 8
) -> BoolArray:
    """Draw clouds.

    Parameters
    ----------
    shape_yx : tuple of int
        Rows and columns.
    share : float
        Covered, 0 to 1.
    rng : numpy.random.Generator
        Of the draw.
    patch_px : int
        Standard deviation of the finest detail.

    Returns
    -------
    cloud : ndarray of bool, shape (H, W)
        True under cloud: exactly the share asked for, to a pixel.
    """
    noise = rng.standard_normal((2, *shape_yx))
    fine = ndimage.gaussian_filter(noise[0], patch_px, mode="wrap")
    broad = ndimage.gaussian_filter(noise[1], 4 * patch_px, mode="wrap")
    field = fine / fine.std() + 2 * broad / broad.std()
    cloud = np.zeros(field.size, np.bool_)
    cloud[np.argsort(-field, axis=None)[: round(share * field.size)]] = True
    return cloud.reshape(shape_yx)


def _clear(name: str, windows: Windows, conditions: Conditions, patch_px: int) -> BoolArray:
    seeds = [conditions.seed, zlib.crc32(name.encode())]
    rng = np.random.default_rng(seeds)
    dates = windows.optical.shape[1]
    fields = [cloud_field(windows.shape_yx, conditions.cloud, rng, patch_px) for _ in range(dates)]
    return ~np.stack(fields)
