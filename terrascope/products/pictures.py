"""Pictures for the report: arrays in, PNG out. A missing pixel is hatched, never black."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.products.palette import KIND_COLOURS, probability_colours
from terrascope.types import BoolArray, ChangeKind, FloatArray, Status

__all__ = [
    "Picture",
    "Stretch",
    "common_stretch",
    "encode",
    "outline_path",
    "radar_composite",
    "render_change",
    "render_colour",
    "render_observations",
    "render_probability",
]

_CUT_PERCENT = 1.0  # at either end of the pooled values, for glints and shadows
_HATCH_LIGHT = (206, 210, 214)
_HATCH_DARK = (160, 166, 173)
_HATCH_PERIOD = 6
_GAMMA = 1 / 1.4  # reflectance is dark to the eye; the same for both dates


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG with what a reader who cannot see it is told.

    Parameters
    ----------
    png : bytes
        The file's content.
    width, height : int
        In pixels.
    alt : str
        Alternative text.
    """

    png: bytes
    width: int
    height: int
    alt: str

    @property
    def data_uri(self) -> str:
        """``data:image/png;base64,...``: the picture inside the page."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Physical values shown as black and white, per band.

    Parameters
    ----------
    low, high : tuple of float
        One pair per band; `low` < `high`.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]


def common_stretch(images: Sequence[FloatArray], *, balanced: bool = True) -> Stretch:
    """Choose one stretch for several dates, so that a difference seen is a difference measured.

    Parameters
    ----------
    images : sequence of ndarray of float32, shape (band, y, x)
        Physical values of the same bands, NaN where missing. Sizes may differ.
    balanced : bool
        One span for all bands, so that grey ground stays grey (reflectance); False
        where bands differ in nature (radar).

    Returns
    -------
    stretch : Stretch
        A band that is empty or flat gets a span of one around its value.

    Raises
    ------
    ValueError
        If no image is given or their bands differ in number.
    """
    counts = {image.shape[0] for image in images}
    if len(counts) != 1:
        raise ValueError(f"common_stretch: images have {sorted(counts)} bands, expected one count")
    low, high = [], []
    for band in range(counts.pop()):
        pooled = np.concatenate([image[band][np.isfinite(image[band])] for image in images])
        ends = (
            np.percentile(pooled, (_CUT_PERCENT, 100 - _CUT_PERCENT)) if pooled.size else (0.0, 1.0)
        )
        flat = ends[1] - ends[0] < 1e-9
        low.append(float(ends[0]) - 0.5 * flat)
        high.append(float(ends[1]) + 0.5 * flat)
    if balanced:
        span = max(top - bottom for bottom, top in zip(low, high, strict=True))
        high = [bottom + span for bottom in low]
    return Stretch(tuple(low), tuple(high))


def radar_composite(vv_db: FloatArray, vh_db: FloatArray) -> FloatArray:
    """Return the usual false colours of dual-polarised radar.

    Parameters
    ----------
    vv_db, vh_db : ndarray of float32, shape (y, x)
        Backscatter in dB, NaN where missing.

    Returns
    -------
    composite : ndarray of float32, shape (3, y, x)
        VV, VH and their difference in dB, to be stretched per band.
    """
    return np.stack([vv_db, vh_db, vv_db - vh_db]).astype(np.float32)


def render_colour(values: FloatArray, stretch: Stretch) -> NDArray[np.uint8]:
    """Show one band as grey or three bands as red, green, blue.

    Parameters
    ----------
    values : ndarray of float32, shape (1 or 3, y, x)
        Physical values; NaN in any band hatches the pixel.
    stretch : Stretch
        From `common_stretch` over all dates that are compared.

    Returns
    -------
    rgba : ndarray of uint8, shape (y, x, 4)
        Opaque.

    Raises
    ------
    ValueError
        If there are neither one nor three bands, or the stretch has another count.
    """
    if values.shape[0] not in (1, 3) or values.shape[0] != len(stretch.low):
        raise ValueError(f"render_colour: {values.shape[0]} bands, expected 1 or 3, as stretched")
    low = np.array(stretch.low, dtype=np.float64)[:, None, None]
    span = np.array(stretch.high, dtype=np.float64)[:, None, None] - low
    scaled = np.clip((np.nan_to_num(values) - low) / span, 0, 1) ** _GAMMA
    rgb = np.moveaxis((scaled * 255).round().astype(np.uint8), 0, -1)
    rgb = np.broadcast_to(rgb, (*rgb.shape[:2], 3))
    missing = np.asarray(~np.isfinite(values).all(axis=0))
    return _hatch(_opaque(rgb), missing)


def render_change(
    status: NDArray[np.uint8], kind: NDArray[np.uint8], backdrop: FloatArray | None = None
) -> NDArray[np.uint8]:
    """Show changes in the colour of their kind on grey ground.

    Parameters
    ----------
    status, kind : ndarray of uint8, shape (y, x)
        Codes of the map layers, 255 outside the AOI.
    backdrop : ndarray of float32, shape (y, x), optional
        0..1 brightness of the ground (for instance a stretched band), NaN where
        missing; without it the ground is plain.

    Returns
    -------
    rgba : ndarray of uint8, shape (y, x, 4)
        Transparent outside the AOI, hatched where not observed.
    """
    rgb = np.empty((*status.shape, 3), np.uint8)
    rgb[:] = KIND_COLOURS[ChangeKind.NONE]
    if backdrop is not None:
        grey = 150 + 95 * np.clip(np.nan_to_num(backdrop, nan=0.75), 0, 1)
        rgb[:] = grey.round().astype(np.uint8)[..., None]
    changed = (status >= Status.PROVISIONAL) & (status != Status.OUTSIDE)
    for code, colour in KIND_COLOURS.items():
        if code is not ChangeKind.NONE:
            rgb[changed & (kind == code)] = colour
    rgb[changed & ((kind == ChangeKind.NONE) | (kind == ChangeKind.OUTSIDE))] = KIND_COLOURS[
        ChangeKind.OTHER
    ]
    rgba = _hatch(_opaque(rgb), status == Status.NOT_OBSERVED)
    rgba[status == Status.OUTSIDE] = 0
    return rgba


def render_probability(
    probability: FloatArray, status: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Show the probability of change, dark blue (0) to yellow (1).

    Parameters
    ----------
    probability : ndarray of float32, shape (y, x)
        0..1, NaN where not observed.
    status : ndarray of uint8, shape (y, x), optional
        Makes what lies outside the AOI transparent.

    Returns
    -------
    rgba : ndarray of uint8, shape (y, x, 4)
        Hatched where not observed.
    """
    rgba = _hatch(_opaque(probability_colours(probability)), np.isnan(probability))
    if status is not None:
        rgba[status == Status.OUTSIDE] = 0
    return rgba


def render_observations(
    observations: NDArray[np.integer], status: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Show how many periods have a clear view of each pixel, light (few) to dark (most).

    Parameters
    ----------
    observations : ndarray of integer, shape (y, x)
        Counts of the `observations` layer.
    status : ndarray of uint8, shape (y, x)
        Codes of the map layer.

    Returns
    -------
    rgba : ndarray of uint8, shape (y, x, 4)
        Transparent outside the AOI, hatched where there is none.
    """
    inside = status != Status.OUTSIDE
    counts = np.where(inside, observations, 0).astype(np.float64)
    top = max(float(np.percentile(counts[inside], 98)) if inside.any() else 1.0, 1.0)
    weight = np.clip(counts / top, 0, 1)[..., None]
    light, dark = np.array((214, 226, 236.0)), np.array((23, 72, 115.0))
    rgb = (light + (dark - light) * weight).round().astype(np.uint8)
    rgba = _hatch(_opaque(rgb), (counts == 0) | (status == Status.NOT_OBSERVED))
    rgba[~inside] = 0
    return rgba


def encode(rgba: NDArray[np.uint8], alt: str) -> Picture:
    """Write a picture as PNG.

    Parameters
    ----------
    rgba : ndarray of uint8, shape (y, x, 4)
        Red, green, blue, opacity.
    alt : str
        What it shows, in words.

    Returns
    -------
    picture : Picture
        Equal arrays give equal bytes (no time stamp inside).
    """
    image = Image.fromarray(np.ascontiguousarray(rgba), "RGBA")
    if len(colours := image.getcolors(256) or ()):  # maps have few colours: a palette is smaller
        image = _indexed(rgba, np.array(sorted(colour for _, colour in colours), np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return Picture(buffer.getvalue(), rgba.shape[1], rgba.shape[0], alt)


def outline_path(mask: BoolArray) -> str:
    """Return the border of a mask as an SVG path along the pixels' edges.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
        True inside.

    Returns
    -------
    path : str
        Moves and lines in pixels from the upper left corner; empty where the mask is.
    """
    padded = np.pad(mask, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]  # horizontal edges, shape (y + 1, x)
    down = padded[1:-1, 1:] != padded[1:-1, :-1]  # vertical edges, shape (y, x + 1)
    parts = [f"M{start} {y}h{end - start}" for y, start, end in _runs(across)]
    parts += [f"M{x} {start}v{end - start}" for x, start, end in _runs(down.T)]
    return "".join(parts)


def _runs(edges: BoolArray) -> list[tuple[int, int, int]]:
    """Line number, first and past-the-last position of every run of True along rows."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return list(zip(lines.tolist(), starts.tolist(), ends.tolist(), strict=True))


def _opaque(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add an opaque fourth channel."""
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], axis=2)


def _hatch(rgba: NDArray[np.uint8], missing: BoolArray) -> NDArray[np.uint8]:
    """Draw diagonal stripes over missing pixels, in place."""
    y, x = np.nonzero(missing)
    stripe = (x + y) % _HATCH_PERIOD < _HATCH_PERIOD // 3
    rgba[y, x, :3] = np.where(stripe[:, None], _HATCH_DARK, _HATCH_LIGHT)
    return rgba


def _indexed(rgba: NDArray[np.uint8], colours: NDArray[np.uint8]) -> Image.Image:
    """Return the picture with a palette: a quarter of the bytes before compression."""
    packed = np.ascontiguousarray(rgba).view(np.uint32)[..., 0]
    keys = np.ascontiguousarray(colours).view(np.uint32)[:, 0]
    order = np.argsort(keys)
    index = order[np.searchsorted(keys, packed, sorter=order)].astype(np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(colours.tobytes(), "RGBA")
    return image
