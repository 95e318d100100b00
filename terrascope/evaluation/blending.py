"""Maps of places larger, smaller or coarser than a model's window: cut, predicted, blended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional

from terrascope.kernels.blend import taper
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import Stack, Window
from terrascope.types import FloatArray

__all__ = ["blend", "places", "rescale"]

Mapper = Callable[[Sequence[Window]], FloatArray]
"""Windows of one size to maps of shape (B, C, H, W)."""

_BATCH = 8


def blend(mapper: Mapper, window: Window, *, size: int, overlap: int, pixel_m: float) -> FloatArray:
    """Map a place of any size with a model of one size.

    Parameters
    ----------
    mapper : callable
        Maps windows of `size` pixels.
    window : Window
        The place; on a grid in metres.
    size : int
        Rows and columns of a window of the model.
    overlap : int
        Pixels that neighbouring windows share, at least; their maps are blended there.
    pixel_m : float
        The place is brought to this pixel size for the model, and its maps are brought back.

    Returns
    -------
    maps : ndarray of float32, shape (C, H, W)
        On the pixels of the place. What is smaller than a window is mirrored at its edges.
    """
    shape = window.geometry.shape_yx
    scaled = rescale(window, pixel_m)
    rows, columns = scaled.geometry.shape_yx
    padded = _mirrored(scaled, (max(rows, size), max(columns, size)))
    height, width = padded.geometry.shape_yx
    corners = [
        (top, left)
        for top in places(height, size, overlap)
        for left in places(width, size, overlap)
    ]
    weight = taper(size, overlap)
    total, share = None, np.zeros((height, width), np.float32)
    for start in range(0, len(corners), _BATCH):
        chosen = corners[start : start + _BATCH]
        maps = mapper([_cut(padded, top, left, size) for top, left in chosen])
        if total is None:
            total = np.zeros((maps.shape[1], height, width), np.float32)
        for (top, left), one in zip(chosen, maps, strict=True):
            part = (slice(top, top + size), slice(left, left + size))
            total[:, *part] += one * weight
            share[part] += weight
    if total is None:
        raise ValueError("a place without a window")
    blended = (total / share)[:, :rows, :columns]
    return blended if blended.shape[1:] == shape else _resized(blended, shape)


def places(length: int, size: int, overlap: int) -> list[int]:
    """Place windows along one side.

    Parameters
    ----------
    length : int
        Of the side, at least `size`.
    size : int
        Of a window.
    overlap : int
        That neighbours share, at least.

    Returns
    -------
    starts : list of int
        Evenly spread, from 0 to ``length - size``.
    """
    if length == size:
        return [0]
    count = -(-(length - size) // (size - overlap)) + 1
    return [round(float(start)) for start in np.linspace(0, length - size, count)]


def rescale(window: Window, pixel_m: float) -> Window:
    """Bring a window to another pixel size.

    Parameters
    ----------
    window : Window
        On a grid in metres; not modified.
    pixel_m : float
        Wanted height and width of a pixel.

    Returns
    -------
    window : Window
        The same where it has that size to a hundredth already. Values are averaged bilinearly
        over what was observed; a pixel of which less than half was observed is missing.
    """
    geometry = window.geometry
    rows, columns = (
        max(round(side * size / pixel_m), 1)
        for side, size in zip(geometry.shape_yx, geometry.pixel_size_yx_m, strict=True)
    )
    if max(abs(size / pixel_m - 1) for size in geometry.pixel_size_yx_m) < 0.01:
        return window

    def scaled(stack: Stack | None) -> Stack | None:
        if stack is None:
            return None
        values = stack.observed_values()
        seen = np.isfinite(values)
        weight = _resized(seen.astype(np.float32), (rows, columns))
        filled = _resized(np.where(seen, values, 0).astype(np.float32), (rows, columns))
        with np.errstate(invalid="ignore", divide="ignore"):
            fresh = np.where(weight >= 0.5, filled / weight, np.nan)
        return dataclasses.replace(stack, values=fresh.astype(np.float32), valid=None)

    made = Geometry.planar((rows, columns), pixel_m)
    return Window(made, scaled(window.optical), scaled(window.radar))


def _resized(values: FloatArray, shape: tuple[int, int]) -> FloatArray:
    lead = values.shape[:-2]
    flat = torch.from_numpy(np.ascontiguousarray(values)).reshape(1, -1, *values.shape[-2:])
    done = functional.interpolate(flat, size=shape, mode="bilinear", antialias=True)
    return np.asarray(done.reshape(*lead, *shape).numpy(), np.float32)


def _mirrored(window: Window, shape: tuple[int, int]) -> Window:
    """Extend a window downward and to the right by its own mirror image."""
    rows, columns = window.geometry.shape_yx
    down, right = shape[0] - rows, shape[1] - columns
    if not (down or right):
        return window

    def longer(stack: Stack | None) -> Stack | None:
        if stack is None:
            return None
        values = stack.observed_values()
        full = np.pad(values, ((0, 0), (0, 0), (0, down), (0, right)), mode="symmetric")
        return dataclasses.replace(stack, values=full, valid=None)

    size = window.geometry.pixel_size_yx_m
    return Window(Geometry.planar(shape, size), longer(window.optical), longer(window.radar))


def _cut(window: Window, top: int, left: int, size: int) -> Window:
    def part(stack: Stack | None) -> Stack | None:
        if stack is None:
            return None
        values = stack.observed_values()[:, :, top : top + size, left : left + size]
        return dataclasses.replace(stack, values=values, valid=None)

    made = Geometry.planar((size, size), window.geometry.pixel_size_yx_m)
    return Window(made, part(window.optical), part(window.radar))
