"""Which part of a grid a scene can touch, from what the catalog says of its rasters."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from terrascope.types import AssetRef, SceneRef

__all__ = ["Window", "covered_window", "is_empty", "union", "within_halo"]

Window = tuple[slice, slice]
"""Rows and columns of a grid."""

_MARGIN_PX = 2


def covered_window(scene: SceneRef, bands: Sequence[str], geobox: GeoBox) -> Window:
    """Return the part of a grid that a scene's rasters can reach.

    Parameters
    ----------
    scene : SceneRef
        The scene.
    bands : sequence of str
        The rasters that count.
    geobox : odc.geo.geobox.GeoBox
        The grid.

    Returns
    -------
    window : tuple of slice
        Rows and columns, two pixels more than exact; the whole grid where the catalog does not
        say; empty where they do not meet.
    """
    whole = (slice(0, geobox.shape.y), slice(0, geobox.shape.x))
    windows = []
    for asset in {
        (a.epsg, a.transform, a.shape_yx): a for b in bands if (a := scene.assets.get(b))
    }.values():
        bounds = _bounds(asset, str(geobox.crs))
        if bounds is None:
            return whole
        affine = geobox.affine
        left, right = sorted((x - affine.c) / affine.a for x in bounds[::2])
        top, bottom = sorted((y - affine.f) / affine.e for y in bounds[1::2])
        windows.append((_span(top, bottom, geobox.shape.y), _span(left, right, geobox.shape.x)))
    return union(windows) if windows else whole


def union(windows: Iterable[Window]) -> Window:
    """Return the smallest window that holds all of some.

    Parameters
    ----------
    windows : iterable of tuple of slice
        Empty ones do not count.

    Returns
    -------
    window : tuple of slice
        Empty if all are.
    """
    full = [window for window in windows if not is_empty(window)]
    if not full:
        return slice(0, 0), slice(0, 0)
    rows, cols = zip(*full, strict=True)
    return (
        slice(min(r.start for r in rows), max(r.stop for r in rows)),
        slice(min(c.start for c in cols), max(c.stop for c in cols)),
    )


def is_empty(window: Window) -> bool:
    """Tell whether a window holds no pixel.

    Parameters
    ----------
    window : tuple of slice
        Rows and columns.

    Returns
    -------
    empty : bool
        True where it does not.
    """
    return any(part.stop <= part.start for part in window)


def within_halo(halo: int) -> Window:
    """Return the window that cuts a halo off.

    Parameters
    ----------
    halo : int
        Pixels on each side, 0 for none.

    Returns
    -------
    window : tuple of slice
        For the last two axes of an array of any size.
    """
    part = slice(halo, -halo or None)
    return part, part


def _span(low: float, high: float, size: int) -> slice:
    start = int(np.clip(np.floor(low) - _MARGIN_PX, 0, size))
    return slice(start, int(np.clip(np.ceil(high) + _MARGIN_PX, start, size)))


def _bounds(asset: AssetRef, crs: str) -> tuple[float, float, float, float] | None:
    if asset.epsg is None or asset.transform is None or asset.shape_yx is None:
        return None
    return _projected(asset.epsg, tuple(asset.transform[:6]), tuple(asset.shape_yx), crs)


@functools.lru_cache(maxsize=4096)
def _projected(
    epsg: int, transform: tuple[float, ...], shape_yx: tuple[int, ...], crs: str
) -> tuple[float, float, float, float] | None:
    a, b, c, d, e, f = transform
    rows, cols = shape_yx
    xs = [c, c + a * cols, c + b * rows, c + a * cols + b * rows]
    ys = [f, f + d * cols, f + e * rows, f + d * cols + e * rows]
    bounds = (min(xs), min(ys), max(xs), max(ys))
    if f"EPSG:{epsg}" == crs.upper():
        return bounds
    projected = Transformer.from_crs(epsg, crs, always_xy=True).transform_bounds(*bounds)
    if not np.all(np.isfinite(projected)) or projected[0] > projected[2]:
        return None
    return projected[0], projected[1], projected[2], projected[3]
