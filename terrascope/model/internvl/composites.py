"""Satellite bands as pictures of three channels, for encoders that know photographs."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from terrascope.model.windows import Windows
from terrascope.sensors import S2_BANDS

__all__ = ["COMPOSITES", "composite_images", "resized"]

COMPOSITES = MappingProxyType(
    {
        "true color": (("red", 0.3), ("green", 0.3), ("blue", 0.3)),
        "false color": (("nir", 0.5), ("red", 0.3), ("green", 0.3)),
        "short-wave infrared": (("swir22", 0.5), ("nir", 0.5), ("red", 0.3)),
    }
)
"""Bands of the three channels, and the reflectance that is shown as full brightness."""

RADAR_RANGES_DB = ((-25.0, 0.0), (-32.0, -5.0), (0.0, 16.0))
"""What is shown as black and as white of VV, VH and VV - VH, in dB."""

MEAN = (0.485, 0.456, 0.406)
SCALE = (0.229, 0.224, 0.225)
"""Of the photographs both encoders were trained on (ImageNet)."""


def composite_images(windows: Windows, composite: str) -> tuple[Tensor, Tensor]:
    """Turn bands into pictures.

    Parameters
    ----------
    windows : Windows
        B windows.
    composite : str
        One of `COMPOSITES`, for the optical images.

    Returns
    -------
    optical, radar : Tensor of float32, shape (B, T, 3, H, W)
        Brightness from 0 to 1, normalised as photographs are; black where a channel was not
        observed.

    Raises
    ------
    ValueError
        If there is no such composite.
    """
    if composite not in COMPOSITES:
        raise ValueError(f"composite {composite!r}: expected one of {sorted(COMPOSITES)}")
    names = list(S2_BANDS)
    chosen = [names.index(band) for band, _ in COMPOSITES[composite]]
    white = windows.optical.new_tensor([top for _, top in COMPOSITES[composite]])
    optical = windows.optical[:, :, chosen] / white[:, None, None]
    seen = windows.optical_valid[:, :, chosen]
    vv, vh = windows.radar.unbind(2)
    vv_seen, vh_seen = windows.radar_valid.unbind(2)
    low, high = windows.radar.new_tensor(RADAR_RANGES_DB).unbind(1)
    radar = torch.stack([vv, vh, vv - vh], 2)
    radar = (radar - low[:, None, None]) / (high - low)[:, None, None]
    radar_seen = torch.stack([vv_seen, vh_seen, vv_seen & vh_seen], 2)
    return _normalised(optical, seen), _normalised(radar, radar_seen)


def _normalised(picture: Tensor, seen: Tensor) -> Tensor:
    """Clip, blacken what was not observed, and normalise."""
    mean, scale = picture.new_tensor(MEAN), picture.new_tensor(SCALE)
    shown = torch.where(seen, picture.clamp(0, 1), torch.zeros_like(picture))
    return (shown - mean[:, None, None]) / scale[:, None, None]


def resized(images: Tensor, side: int) -> Tensor:
    """Bring pictures to the size an encoder takes.

    Parameters
    ----------
    images : Tensor of float, shape (I, 3, H, W)
        Pictures.
    side : int
        Pixels.

    Returns
    -------
    images : Tensor, shape (I, 3, side, side)
        Interpolated bilinearly, with antialiasing where they shrink.
    """
    return functional.interpolate(
        images, size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )
