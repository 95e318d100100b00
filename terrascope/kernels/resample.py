"""Resampling as a pure function of one pixel: the value never depends on the window asked for.

The callers give the position of every wanted pixel in the source's own pixel
coordinates (0 = outer edge of the first pixel). Weights follow the GDAL warper
(triangle kernel, widened where the target is coarser than the source, a target
pixel missing where the source pixel under its centre is missing), so results
agree with `rasterio.warp.reproject` within rounding. Other than GDAL's, the
kernel's width is an argument and not derived from the window at hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.kernels.radiometry import is_missing

__all__ = ["kernel_taps", "resample", "snap", "valid_pixels"]

_SNAP = 4096.0

Raster = NDArray[Any]
Mask = NDArray[np.bool_]
Work = type[np.floating[Any]]
Taps = tuple[NDArray[np.int64], Raster]


def snap(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round positions to 1/4096 pixel.

    The noise of affine arithmetic (1e-12) then cannot tip a rounding, and bilinear weights
    are dyadic numbers whose sum is exactly 1 in float32.

    Parameters
    ----------
    positions : ndarray of float64
        In pixels. Changed in place.

    Returns
    -------
    positions : ndarray of float64
        The argument.
    """
    positions *= _SNAP
    np.rint(positions, out=positions)
    positions *= 1.0 / _SNAP
    return positions


def valid_pixels(source: Raster, nodata: float | None) -> Mask | None:
    """Tell which pixels hold a measurement.

    Parameters
    ----------
    source : ndarray, shape (y, x)
        Stored numbers.
    nodata : float or None
        Stored number that means "no data"; NaN is never a measurement.

    Returns
    -------
    valid : ndarray of bool, shape (y, x), or None
        None where every pixel is valid.
    """
    missing = is_missing(source, nodata)
    return ~missing if missing.any() else None


def kernel_taps(scale: float) -> int:
    """Return how many source pixels the bilinear kernel spans along one axis.

    Parameters
    ----------
    scale : float
        Target pixels per source pixel, at most 1.

    Returns
    -------
    taps : int
        2 where the target is as fine as the source, more where it is coarser.
    """
    return int(np.ceil(2.0 / min(scale, 1.0) - 1e-9))


def resample(
    source: Raster,
    valid: Mask | None,
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    *,
    method: str,
    fill: float,
    scale_yx: tuple[float, float],
) -> Raster:
    """Resample one grid of pixels to another.

    Parameters
    ----------
    source : ndarray, shape (y, x)
        Stored numbers, large enough for every kernel that starts inside.
    valid : ndarray of bool, shape (y, x), or None
        From `valid_pixels`.
    rows, cols : ndarray of float64, shapes (Y,) and (X,), or (Y, X) both
        Position of the wanted pixels' centres in `source`, from `snap`: of whole rows and
        columns where the axes of the grids are parallel, else of every pixel.
    method : {"nearest", "bilinear"}
        How to resample.
    fill : float
        Value of missing pixels.
    scale_yx : tuple of float
        Target pixels per source pixel along each axis; below 1 the kernel widens.

    Returns
    -------
    values : ndarray, shape (Y, X)
        In the dtype of `source`; `fill` where the source pixel under the centre is missing.
    """
    height, width = source.shape
    parallel = rows.ndim == 1
    nearest = _inside(rows, height), _inside(cols, width)
    under = np.ix_(*nearest) if parallel else nearest
    present = _under(rows, cols, source.shape) if valid is None else valid[under]
    if method == "nearest":
        return _finish(source[under], present, source.dtype, fill)
    work = _work_dtype(source.dtype)
    taps_y = _weights(rows, scale_yx[0], height, work)
    taps_x = _weights(cols, scale_yx[1], width, work)
    combine = _along_axes if parallel else _at_points
    total, norm = combine(source, valid, taps_y, taps_x, work)
    if norm is not None:
        np.divide(total, norm, out=total, where=norm > 0)
    return _finish(total, present, source.dtype, fill)


def _along_axes(
    source: Raster, valid: Mask | None, taps_y: Taps, taps_x: Taps, work: Work
) -> tuple[Raster, Raster | None]:
    """Add up one axis after the other; return the sum of the weights too where it is not 1."""
    data = source.astype(work)
    if valid is not None:
        data[~valid] = 0
        return _separable(data, taps_y, taps_x), _separable(valid.astype(work), taps_y, taps_x)
    norm: Raster | None = None
    if _is_wide(taps_y, taps_x):
        line = sum(taps_x[1])
        norm = sum(weight[:, None] * line for weight in taps_y[1])
    return _separable(data, taps_y, taps_x), norm


def _at_points(
    source: Raster, valid: Mask | None, taps_y: Taps, taps_x: Taps, work: Work
) -> tuple[Raster, Raster | None]:
    """Add up the neighbours of every point; return the sum of the weights too where it is not 1."""
    (start_y, weights_y), (start_x, weights_x) = taps_y, taps_x
    height, width = source.shape
    flat = source.ravel()
    total = np.zeros(start_y.shape, work)
    norm = None if valid is None and not _is_wide(taps_y, taps_x) else np.zeros_like(total)
    for ky, wy in enumerate(weights_y):
        line = _clipped(start_y + ky, height) * width
        for kx, wx in enumerate(weights_x):
            index = line + _clipped(start_x + kx, width)
            weight = wy * wx
            if valid is not None:
                measured = valid.ravel()[index]
                weight *= measured
                total += weight * np.where(measured, flat[index], 0)
            else:
                total += weight * flat[index]
            if norm is not None:
                norm += weight
    return total, norm


def _is_wide(taps_y: Taps, taps_x: Taps) -> bool:
    """Tell whether the kernel is wider than the two pixels whose weights sum to exactly 1."""
    return max(len(taps_y[1]), len(taps_x[1])) > 2


def _weights(positions: NDArray[np.float64], scale: float, size: int, work: Work) -> Taps:
    """Return the first tap of every position and the weights, taps first."""
    scale = min(scale, 1.0)
    centre = positions - 0.5
    if scale == 1.0:
        # The edge pixel repeated is the same as the tap beyond it left out.
        below = np.floor(centre)
        centre -= below
        return below.astype(np.int64), np.stack([1.0 - centre, centre]).astype(work)
    start = np.floor(centre - 1.0 / scale).astype(np.int64) + 1
    taps = start + np.arange(kernel_taps(scale)).reshape(-1, *(1,) * positions.ndim)
    weights = np.maximum(0.0, 1.0 - np.abs(taps - centre) * scale)
    weights[(taps < 0) | (taps >= size)] = 0.0
    return start, weights.astype(work)


def _separable(data: Raster, taps_y: Taps, taps_x: Taps) -> Raster:
    """Convolve along x, then along y; the order of additions is the same for every pixel."""
    (start_y, weights_y), (start_x, weights_x) = taps_y, taps_x
    height, width = data.shape
    lines = sum(
        data[:, np.clip(start_x + k, 0, width - 1)] * weight for k, weight in enumerate(weights_x)
    )
    result: Raster = sum(
        lines[np.clip(start_y + k, 0, height - 1)] * weight[:, None]
        for k, weight in enumerate(weights_y)
    )
    return result


def _inside(positions: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    return _clipped(np.floor(positions).astype(np.int64), size)


def _clipped(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Keep indices on the raster; most windows lie inside, and looking is cheaper than clipping."""
    if index.min() >= 0 and index.max() < size:
        return index
    return np.clip(index, 0, size - 1)


def _under(
    rows: NDArray[np.float64], cols: NDArray[np.float64], shape: tuple[int, ...]
) -> Mask | None:
    """Return where the centre lies on the source at all; None where everywhere."""
    inside_y = (rows >= 0) & (rows < shape[0])
    inside_x = (cols >= 0) & (cols < shape[1])
    if inside_y.all() and inside_x.all():
        return None
    return inside_y[:, None] & inside_x if rows.ndim == 1 else inside_y & inside_x


def _work_dtype(dtype: np.dtype[Any]) -> Work:
    return np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64


def _finish(values: Raster, present: Mask | None, dtype: np.dtype[Any], fill: float) -> Raster:
    """Round half up as GDAL does, go back to the stored dtype, fill what is missing."""
    if values.dtype != dtype:
        if dtype.kind in "iu":
            values += 0.5
            np.floor(values, out=values)
        values = values.astype(dtype)
        if dtype.kind == "i" and not np.isnan(fill):
            # A measured value that comes out as the nodata number would vanish; GDAL does the same.
            values[values == dtype.type(fill)] += 1
    if present is not None:
        values[~present] = fill
    return values
