"""Three-channel pictures of a window, for encoders that were trained on photographs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from terrascope.model.windows import Windows
from terrascope.sensors import S1_BANDS, S2_BANDS

__all__ = ["COMPOSITES", "IMAGENET_MEAN", "IMAGENET_STD", "Composite", "to_pictures"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of InternViT and of SAM-2's image encoder."""


@dataclasses.dataclass(frozen=True)
class Composite:
    """Which bands are shown as red, green and blue, and how bright.

    Parameters
    ----------
    sensor : {"optical", "radar"}
        Whose bands.
    bands : tuple of str
        Three canonical names, or two joined by a minus for their difference (a ratio
        in linear power, where the unit is dB).
    low, high : tuple of float
        Values shown as black and as full colour, in reflectance or dB.
    """

    sensor: str
    bands: tuple[str, str, str]
    low: tuple[float, float, float]
    high: tuple[float, float, float]


COMPOSITES = MappingProxyType(
    {
        "rgb": Composite("optical", ("red", "green", "blue"), (0.0, 0.0, 0.0), (0.3, 0.3, 0.3)),
        "infrared": Composite("optical", ("nir", "red", "green"), (0.0,) * 3, (0.5, 0.3, 0.3)),
        "shortwave": Composite("optical", ("swir22", "nir", "red"), (0.0,) * 3, (0.4, 0.5, 0.3)),
        "radar": Composite("radar", ("vv", "vh", "vv-vh"), (-25.0, -30.0, 0.0), (0.0, -5.0, 15.0)),
    }
)
"""True colour, two false colours, and radar."""


def to_pictures(
    windows: Windows,
    size_px: int,
    names: Sequence[str] = ("rgb", "radar"),
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> tuple[Tensor, Tensor]:
    """Draw pictures of windows.

    Parameters
    ----------
    windows : Windows
        B windows of T dates; square.
    size_px : int
        Side of a picture: 448 for InternViT, 1024 for SAM-2.
    names : sequence of str
        P of `COMPOSITES`.
    mean, std : sequence of float
        Per channel, of values from 0 to 1.

    Returns
    -------
    pictures : Tensor of float32, shape (B, T, P, 3, size_px, size_px)
        Normalised; a pixel of which a band is missing has the mean colour, 0.
    present : Tensor of bool, shape (B, T, P)
        Whether any pixel is there.

    Raises
    ------
    ValueError
        If a name is unknown or the windows are not square.
    """
    unknown = sorted(set(names) - set(COMPOSITES))
    if unknown:
        raise ValueError(f"composites {unknown}: expected some of {list(COMPOSITES)}")
    if windows.shape_yx[0] != windows.shape_yx[1]:
        raise ValueError(f"windows of {windows.shape_yx} pixels: expected square ones")
    drawn, present = [], []
    for name in names:
        values, seen = _channels(windows, COMPOSITES[name])  # (B, T, 3, H, W), (B, T, H, W)
        shift, scale = (values.new_tensor(list(v))[:, None, None] for v in (mean, std))
        values = torch.where(seen[:, :, None], (values - shift) / scale, 0.0)
        drawn.append(_resized(values, size_px))
        present.append(seen.flatten(2).any(-1))
    return torch.stack(drawn, 2), torch.stack(present, 2)


def _channels(windows: Windows, composite: Composite) -> tuple[Tensor, Tensor]:
    """Return three channels from 0 to 1, and where all of them were observed."""
    names = list(S2_BANDS if composite.sensor == "optical" else S1_BANDS)
    values: Tensor = getattr(windows, composite.sensor)
    valid: Tensor = getattr(windows, f"{composite.sensor}_valid")
    channels, seen = [], torch.ones_like(valid[:, :, 0])
    for band, low, high in zip(composite.bands, composite.low, composite.high, strict=True):
        parts = [names.index(name) for name in band.split("-")]
        channel = values[:, :, parts[0]]
        for other in parts[1:]:
            channel = channel - values[:, :, other]
        for part in parts:
            seen = seen & valid[:, :, part]
        channels.append(((channel - low) / (high - low)).clamp(0.0, 1.0))
    return torch.stack(channels, 2), seen


def _resized(values: Tensor, size_px: int) -> Tensor:
    """Resize pictures, averaging where they become smaller."""
    flat = functional.interpolate(
        values.flatten(0, 1),
        size=(size_px, size_px),
        mode="bilinear",
        align_corners=False,
        antialias=values.shape[-1] > size_px,
    )
    return flat.reshape(*values.shape[:3], size_px, size_px)
