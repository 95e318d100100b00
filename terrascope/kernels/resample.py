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

__all__ = ["kernel_taps", "resample_grid", "resample_points", "snap", "valid_pixels"]

_SNAP = 4096.0

Raster = NDArray[Any]
Mask = NDArray[np.bool_]


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
    valid: Mask | None = None
    if source.dtype.kind == "f":
        valid = ~np.isnan(source)
    if nodata is not None and not np.isnan(nodata):
        present = np.not_equal(source, nodata)
        valid = present if valid is None else valid & present
    if valid is None or valid.all():
        return None
    return valid


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


def resample_grid(
    source: Raster,
    valid: Mask | None,
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    *,
    method: str,
    fill: float,
    scale_yx: tuple[float, float] = (1.0, 1.0),
) -> Raster:
    """Resample between grids with parallel axes, one axis after the other.

    Parameters
    ----------
    source : ndarray, shape (y, x)
        Stored numbers, large enough for every kernel that starts inside.
    valid : ndarray of bool, shape (y, x), or None
        From `valid_pixels`.
    rows : ndarray of float64, shape (Y,)
        Position of the wanted rows' centres in `source`, from `snap`.
    cols : ndarray of float64, shape (X,)
        Position of the wanted columns' centres in `source`, from `snap`.
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
    near = np.ix_(_inside(rows, source.shape[0]), _inside(cols, source.shape[1]))
    present = _under(rows, cols, source.shape) if valid is None else valid[near]
    if method == "nearest":
        return _finish(source[near], present, source.dtype, fill)
    start_y, weights_y = _weights(rows, scale_yx[0], source.shape[0])
    start_x, weights_x = _weights(cols, scale_yx[1], source.shape[1])
    work = _work_dtype(source.dtype)
    data = source.astype(work)
    if valid is not None:
        data[~valid] = 0
    total = _separable(data, start_y, weights_y.astype(work), start_x, weights_x.astype(work))
    if valid is not None:
        ones = valid.astype(work)
        norm = _separable(ones, start_y, weights_y.astype(work), start_x, weights_x.astype(work))
        np.divide(total, norm, out=total, where=norm > 0)
    elif max(len(weights_y), len(weights_x)) > 2:
        line = sum(w for w in weights_x.astype(work))
        norm = sum(w[:, None] * line for w in weights_y.astype(work))
        total /= norm
    return _finish(total, present, source.dtype, fill)


def resample_points(
    source: Raster,
    valid: Mask | None,
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    *,
    method: str,
    fill: float,
    scale_yx: tuple[float, float] = (1.0, 1.0),
) -> Raster:
    """Resample at arbitrary positions, for grids in different reference systems.

    Parameters
    ----------
    source : ndarray, shape (y, x)
        Stored numbers, large enough for every kernel that starts inside.
    valid : ndarray of bool, shape (y, x), or None
        From `valid_pixels`.
    rows, cols : ndarray of float64, shape (Y, X)
        Position of every wanted pixel's centre in `source`, from `snap`.
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
    flat = source.ravel()
    under = _inside(rows, height) * width + _inside(cols, width)
    present = _under(rows, cols, source.shape) if valid is None else valid.ravel()[under]
    if method == "nearest":
        return _finish(flat[under], present, source.dtype, fill)
    work = _work_dtype(source.dtype)
    start_y, weights_y = _weights(rows, scale_yx[0], source.shape[0])
    start_x, weights_x = _weights(cols, scale_yx[1], source.shape[1])
    total = np.zeros(rows.shape, work)
    wide = max(len(weights_y), len(weights_x)) > 2
    norm = np.zeros(rows.shape, work) if valid is not None or wide else None
    for ky, wy in enumerate(weights_y.astype(work)):
        line = _clipped(start_y + ky, height) * width
        for kx, wx in enumerate(weights_x.astype(work)):
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
    if norm is not None:
        np.divide(total, norm, out=total, where=norm > 0)
    return _finish(total, present, source.dtype, fill)


def _weights(
    positions: NDArray[np.float64], scale: float, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the first tap of every position and the weights, taps first."""
    scale = min(scale, 1.0)
    centre = positions - 0.5
    if scale == 1.0:
        # The edge pixel repeated is the same as the tap beyond it left out.
        below = np.floor(centre)
        centre -= below
        return below.astype(np.int64), np.stack([1.0 - centre, centre])
    start = np.floor(centre - 1.0 / scale).astype(np.int64) + 1
    taps = start + np.arange(kernel_taps(scale)).reshape(-1, *(1,) * positions.ndim)
    weights = np.maximum(0.0, 1.0 - np.abs(taps - centre) * scale)
    weights[(taps < 0) | (taps >= size)] = 0.0
    return start, weights


def _separable(
    data: Raster,
    start_y: NDArray[np.int64],
    weights_y: Raster,
    start_x: NDArray[np.int64],
    weights_x: Raster,
) -> Raster:
    """Convolve along x, then along y; the order of additions is the same for every pixel."""
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


def _work_dtype(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
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
