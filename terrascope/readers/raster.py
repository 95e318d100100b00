"""From a raster's own grid onto a wanted one, exactly and independently of the window.

GDAL's `WarpedVRT` (plain stackstac) and `warp.reproject` (plain odc-stac) choose
their approximation of the transformer and the width of the kernel from the window
at hand, so that a pixel changes with the size of the chunk it is read in. Here a
pixel's position comes from a lattice anchored on the absolute pixel indices of the
wanted grid, and the kernel's width from the two grids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from terrascope.geo.projection import transformer
from terrascope.kernels.resample import kernel_taps, resample, snap, valid_pixels

__all__ = ["Raster", "aligned_offset", "read_onto"]

_LATTICE_M = 160.0
"""Distance of exact positions. Between them a mapping bends by under 1 mm up to 60 degrees of
latitude, and by under 5 mm up to 84 (`tests/unit/readers/test_lattice.py`)."""

_ALIGNED_PX = 1e-4
"""Grids that differ by less are the same grid: stored coordinates are rounded numbers."""

_STRIP_ROWS = 256


class Raster(Protocol):
    """One band with its georeference; a file or an array."""

    @property
    def transform(self) -> Affine:
        """Pixel to map coordinates."""
        ...

    @property
    def crs(self) -> CRS | None:
        """Reference system of the map coordinates."""
        ...

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored numbers."""
        ...

    @property
    def nodata(self) -> float | None:
        """Declared in the raster itself."""
        ...

    def read_window(self, row: int, col: int, out: NDArray[Any]) -> None:
        """Fill `out` with stored numbers.

        Parameters
        ----------
        row, col : int
            First pixel.
        out : ndarray, shape (y, x)
            Of the raster's dtype; written.
        """
        ...


def read_onto(
    raster: Raster, geobox: GeoBox, out: NDArray[Any], *, resampling: str, fill: float
) -> None:
    """Read a raster on a wanted grid.

    Parameters
    ----------
    raster : Raster
        The source.
    geobox : odc.geo.geobox.GeoBox
        The wanted grid, north up.
    out : ndarray, shape (y, x)
        Filled entirely, in a dtype that holds the source's.
    resampling : {"nearest", "bilinear"}
        Used where the grids differ.
    fill : float
        Value of pixels that the source lacks.
    """
    offset = aligned_offset(raster, geobox)
    if offset is not None:
        _paste(raster, offset, out, fill)
        return
    out[...] = fill
    if _parallel(raster, geobox):
        _read_parallel(raster, geobox, out, resampling, fill)
    else:
        _read_warped(raster, geobox, out, resampling, fill)


def aligned_offset(raster: Raster, geobox: GeoBox) -> tuple[int, int] | None:
    """Return where the wanted grid starts in the raster, in whole pixels.

    Parameters
    ----------
    raster : Raster
        The source.
    geobox : odc.geo.geobox.GeoBox
        The wanted grid.

    Returns
    -------
    offset : tuple of int or None
        Row and column of the first wanted pixel (may lie outside the raster); None where the
        grids differ, so that resampling is needed.
    """
    src, dst = raster.transform, geobox.affine
    size = max(*geobox.shape.yx, *raster.shape_yx)
    if (
        not _parallel(raster, geobox)
        or size * (abs(src.a - dst.a) / abs(src.a) + abs(src.e - dst.e) / abs(src.e)) > _ALIGNED_PX
    ):
        return None
    row, col = (dst.f - src.f) / src.e, (dst.c - src.c) / src.a
    if max(abs(row - round(row)), abs(col - round(col))) > _ALIGNED_PX:
        return None
    return round(row), round(col)


def _parallel(raster: Raster, geobox: GeoBox) -> bool:
    src = raster.transform
    return raster.crs == geobox.crs and src.b == src.d == 0.0


def _paste(raster: Raster, offset: tuple[int, int], out: NDArray[Any], fill: float) -> None:
    """Copy stored numbers; only pixels beyond the raster's edge are filled."""
    (row, col), (height, width) = offset, out.shape
    top, left = max(0, -row), max(0, -col)
    bottom = min(height, raster.shape_yx[0] - row)
    right = min(width, raster.shape_yx[1] - col)
    whole = (top, left, bottom, right) == (0, 0, height, width)
    if whole and out.dtype == raster.dtype and out.flags.c_contiguous:
        raster.read_window(row, col, out)
    else:
        out[...] = fill
        if bottom > top and right > left:
            part = np.empty((bottom - top, right - left), raster.dtype)
            raster.read_window(row + top, col + left, part)
            out[top:bottom, left:right] = part
    own = raster.nodata
    if own is not None and not (own == fill or (np.isnan(own) and np.isnan(fill))):
        out[out == own] = fill


def _read_parallel(
    raster: Raster, geobox: GeoBox, out: NDArray[Any], resampling: str, fill: float
) -> None:
    src, dst = raster.transform, geobox.affine
    height, width = out.shape
    cols = snap(((dst.c + (np.arange(width, dtype=float) + 0.5) * dst.a) - src.c) / src.a)
    rows = snap(((dst.f + (np.arange(height, dtype=float) + 0.5) * dst.e) - src.f) / src.e)
    scale = _kernel_scale(abs(src.e / dst.e)), _kernel_scale(abs(src.a / dst.a))
    keep_y, keep_x = _on_raster(rows, raster.shape_yx[0]), _on_raster(cols, raster.shape_yx[1])
    if keep_y.start == keep_y.stop or keep_x.start == keep_x.stop:
        return
    for start in range(keep_y.start, keep_y.stop, _STRIP_ROWS):
        strip = slice(start, min(start + _STRIP_ROWS, keep_y.stop))
        v, u = rows[strip], cols[keep_x]
        bounds = float(v.min()), float(v.max()), float(u.min()), float(u.max())
        data, row, col = _source_window(raster, bounds, scale)
        out[strip, keep_x] = resample(
            data,
            _valid(data, raster, fill),
            v - row,
            u - col,
            method=resampling,
            fill=fill,
            scale_yx=scale,
        )


def _on_raster(positions: NDArray[np.float64], size: int) -> slice:
    """Return the contiguous range of positions that lie on the raster."""
    inside = np.flatnonzero((positions >= 0) & (positions < size))
    return slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)


def _read_warped(
    raster: Raster, geobox: GeoBox, out: NDArray[Any], resampling: str, fill: float
) -> None:
    scale = _warp_scale(raster, geobox)
    for strip, rows, cols in _positions(raster, geobox):
        on = (rows >= 0) & (rows < raster.shape_yx[0])
        on &= (cols >= 0) & (cols < raster.shape_yx[1])
        if not on.any():
            continue
        ys, xs = np.flatnonzero(on.any(axis=1)), np.flatnonzero(on.any(axis=0))
        box = slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1)
        on, v, u = on[box], rows[box], cols[box]
        bounds = float(v[on].min()), float(v[on].max()), float(u[on].min()), float(u[on].max())
        data, row, col = _source_window(raster, bounds, scale)
        values = resample(
            data,
            _valid(data, raster, fill),
            v - row,
            u - col,
            method=resampling,
            fill=fill,
            scale_yx=scale,
        )
        values[~on] = fill
        out[strip][box] = values


def _valid(data: NDArray[Any], raster: Raster, fill: float) -> NDArray[np.bool_] | None:
    """Combine the nodata of the catalog with that of the raster itself."""
    valid = valid_pixels(data, fill)
    own = raster.nodata
    if own is None or own == fill or np.isnan(own):
        return valid
    present = valid_pixels(data, own)
    if valid is None or present is None:
        return present if valid is None else valid
    return valid & present


def _source_window(
    raster: Raster, bounds: tuple[float, float, float, float], scale_yx: tuple[float, float]
) -> tuple[NDArray[Any], int, int]:
    """Read every source pixel that the kernels touch; the raster's edge cuts the window."""
    spans = []
    for low, high, size, scale in zip(
        bounds[::2], bounds[1::2], raster.shape_yx, scale_yx, strict=True
    ):
        reach = kernel_taps(scale) // 2 + 2
        first = min(max(0, int(np.floor(low)) - reach), size - 1)
        spans.append((first, max(first + 1, min(size, int(np.ceil(high)) + reach))))
    (top, bottom), (left, right) = spans
    data = np.empty((bottom - top, right - left), raster.dtype)
    raster.read_window(top, left, data)
    return data, top, left


def _positions(
    raster: Raster, geobox: GeoBox
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield strips of rows with the source position (row, column) of every pixel."""
    height, width = geobox.shape.yx
    dst = geobox.affine
    step = _lattice_step(geobox)
    first_x, first_y = round(dst.c / dst.a), round(dst.f / dst.e)
    node_x = np.arange(first_x // step, (first_x + width - 1) // step + 2) * step
    node_y = np.arange(first_y // step, (first_y + height - 1) // step + 2) * step
    # Window independent where the grid's origin is exact: c - first_x * a is the grid's phase.
    x = (dst.c - first_x * dst.a) + (node_x + 0.5) * dst.a
    y = (dst.f - first_y * dst.e) + (node_y + 0.5) * dst.e
    xs, ys = np.meshgrid(x, y)
    to_source = transformer(str(geobox.crs), str(raster.crs))
    map_x, map_y = to_source.transform(xs, ys)
    inverse = ~raster.transform
    u = map_x * inverse.a + map_y * inverse.b + inverse.c
    v = map_x * inverse.d + map_y * inverse.e + inverse.f
    skip = int(first_x - node_x[0])
    for start in range(0, height, _STRIP_ROWS):
        stop = min(start + _STRIP_ROWS, height)
        at = np.arange(first_y + start, first_y + stop)
        row, along_y = at // step - node_y[0] // step, (at % step) / step
        fine = [
            _along_rows(n[row] * (1.0 - along_y)[:, None] + n[row + 1] * along_y[:, None], step)
            for n in (v, u)
        ]
        rows, cols = (snap(np.ascontiguousarray(f[:, skip : skip + width])) for f in fine)
        yield slice(start, stop), rows, cols


def _along_rows(line: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Interpolate between the nodes of each row; what cannot be projected lies far outside."""
    along_x = np.arange(step) / step
    filled = line[:, :-1, None] * (1.0 - along_x) + line[:, 1:, None] * along_x
    filled[~np.isfinite(filled)] = -1e9
    return filled.reshape(len(line), -1)


def _lattice_step(geobox: GeoBox) -> int:
    if geobox.crs is None or geobox.crs.geographic:
        return 1
    return int(np.clip(_LATTICE_M / abs(geobox.affine.a), 1, 64))


def _warp_scale(raster: Raster, geobox: GeoBox) -> tuple[float, float]:
    """Return target pixels per source pixel at the raster's centre: fixed for a raster and grid."""
    height, width = raster.shape_yx
    src = raster.transform
    col, row = width / 2 + np.array([0.0, 1.0, 0.0]), height / 2 + np.array([0.0, 0.0, 1.0])
    x, y = transformer(str(raster.crs), str(geobox.crs)).transform(
        src.a * col + src.b * row + src.c, src.d * col + src.e * row + src.f
    )
    dst = geobox.affine
    along_x = np.hypot((x[1] - x[0]) / dst.a, (y[1] - y[0]) / dst.e)
    along_y = np.hypot((x[2] - x[0]) / dst.a, (y[2] - y[0]) / dst.e)
    return _kernel_scale(float(along_y)), _kernel_scale(float(along_x))


def _kernel_scale(ratio: float) -> float:
    """Apply GDAL's rule: keep the kernel above 0.95, round 1/ratio to a near integer."""
    if not 0 < ratio < 0.95:
        return 1.0
    inverse = 1.0 / ratio
    return 1.0 / round(inverse) if abs(inverse - round(inverse)) < 0.05 else ratio
