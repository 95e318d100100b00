"""Labelled scenes from simulated ones: what is hidden, dropped or cut, so that a model copes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.data.scenes import PAIR_WITHIN_DAYS, LabelledScene
from terrascope.model.geometry import Geometry
from terrascope.model.processing_terrascope import pair_dates
from terrascope.model.stacks import Stack, Window
from terrascope.sensors import S1_BANDS, S2_BANDS
from terrascope.sim.samples import SceneSample
from terrascope.types import FloatArray
from terrascope.vocabulary import UNKNOWN_CLASS

__all__ = ["SENSORS", "WHOLE", "View", "cut", "label_scene", "turn"]

SENSORS = ("both", "optical", "radar")
_TEN_METRES = ("blue", "green", "red", "nir")
"""Bands without which a subset of bands is not drawn: most archives have them."""


@dataclasses.dataclass(frozen=True)
class View:
    """What of a scene is shown.

    Parameters
    ----------
    sensors : tuple of float
        Weights of both sensors, optical alone and radar alone.
    hide_clouds : float
        Share of the scenes whose true clouds and shadows are masked out, as a cloud mask does;
        in the others they are left in the image.
    drop_image : float
        Share of single images (one sensor on one date) that are left out, of scenes with both.
    drop_bands : float
        Share of the scenes that lack some optical bands, or VH.
    dates : int or None
        Most dates that are kept, drawn among all; None for all.
    guess : bool
        Whether ground below clouds that are left in the image keeps its class where no radar saw
        it either. Without, its class is unknown there: nothing in the image tells it. What
        changed stays known, for a cloud is no change.

    Raises
    ------
    ValueError
        If a share is out of range, or no sensor could be drawn.
    """

    sensors: tuple[float, float, float] = (0.6, 0.25, 0.15)
    hide_clouds: float = 0.5
    drop_image: float = 0.05
    drop_bands: float = 0.15
    dates: int | None = None
    guess: bool = True

    def __post_init__(self) -> None:
        shares = (self.hide_clouds, self.drop_image, self.drop_bands)
        if not all(0 <= share <= 1 for share in shares) or min(self.sensors) < 0:
            raise ValueError(f"{self}: expected shares of 0 to 1 and weights of 0 or more")
        if sum(self.sensors) <= 0 or (self.dates is not None and self.dates < 1):
            raise ValueError(f"{self}: expected a sensor, and at least one date")


WHOLE = View(sensors=(1.0, 0.0, 0.0), hide_clouds=0.0, drop_image=0.0, drop_bands=0.0)
"""Everything, clouds left in."""


def label_scene(
    sample: SceneSample,
    *,
    view: View = WHOLE,
    rng: np.random.Generator | None = None,
    image_id: str | None = None,
) -> LabelledScene:
    """Make a labelled scene of a simulated one.

    Parameters
    ----------
    sample : SceneSample
        Not modified.
    view : View
        What is shown; by default everything, with its clouds.
    rng : numpy.random.Generator or None
        Of the draws; None for one seeded by the sample.
    image_id : str or None
        None for split and seed.

    Returns
    -------
    scene : LabelledScene
        With the change of every pair of dates that are kept. A date on which nothing at all is
        shown is left out.

    Raises
    ------
    ValueError
        If nothing of the sample was observed.
    """
    rng = np.random.default_rng((sample.seed, 77)) if rng is None else rng
    optical, radar = np.array(sample.optical), np.array(sample.radar)
    if rng.random() < view.hide_clouds:
        optical[np.broadcast_to(sample.cloudy[:, None], optical.shape)] = np.nan
    _drop_bands(optical, radar, view, rng)
    dates = _kept_dates(sample, view, rng)
    shown = _shown_images(optical, radar, dates, view, rng)
    dates = [date for date in dates if shown[date].any()]
    if not dates:
        raise ValueError(f"sample {sample.seed}: nothing was observed; leave it out")
    size = sample.cover.shape[1:]
    window = Window(
        Geometry.planar((size[0], size[1]), sample.pixel_m),
        optical=_stack("sentinel-2", optical, sample.optical_dates, shown[:, 0], dates),
        radar=_stack("sentinel-1", radar, _near(sample), shown[:, 1], dates),
    )
    changes = {
        (i, j): sample.change(a, b) for j, b in enumerate(dates) for i, a in enumerate(dates[:j])
    }
    name = f"{sample.split}-{sample.seed:09d}" if image_id is None else image_id
    cover = sample.cover[dates]
    if not view.guess:
        blind = sample.cloudy[dates] & ~shown[dates, 1][:, None, None]
        cover = np.where(blind, np.uint8(UNKNOWN_CLASS), cover)
    return LabelledScene(name, window, cover, changes)


def cut(scene: LabelledScene, top: int, left: int, size: int) -> LabelledScene:
    """Cut a smaller window out.

    Parameters
    ----------
    scene : LabelledScene
        Not modified.
    top, left : int
        First row and column.
    size : int
        Rows and columns.

    Returns
    -------
    scene : LabelledScene
        Of that part; its name says which. Only grids in metres are cut.

    Raises
    ------
    ValueError
        If the part leaves the window, nothing was observed in it, or the grid is geographic.
    """
    geometry = scene.window.geometry
    rows, columns = geometry.shape_yx
    if min(top, left) < 0 or top + size > rows or left + size > columns:
        raise ValueError(f"rows from {top}, columns from {left}, {size} px of {(rows, columns)}")
    if geometry.north_deg is not None:
        raise ValueError("a grid of degrees: cut windows where its georeference is known")
    part = (slice(top, top + size), slice(left, left + size))
    area = geometry.area_map_m2[part]
    made = Geometry.planar((size, size), geometry.pixel_size_yx_m, area)
    return _mapped(scene, f"{scene.image_id}+{top}+{left}+{size}", made, lambda a: a[..., *part])


def turn(scene: LabelledScene, quarters: int, *, mirrored: bool = False) -> LabelledScene:
    """Turn a square scene, for more variety from one rendering.

    Parameters
    ----------
    scene : LabelledScene
        Of square windows and pixels of one size; not modified.
    quarters : int
        Quarter turns to the left.
    mirrored : bool
        Whether left and right are swapped first.

    Returns
    -------
    scene : LabelledScene
        Sun and shadow turn with the land: for training only.

    Raises
    ------
    ValueError
        If the window is not square, or of pixels that differ.
    """
    geometry = scene.window.geometry
    if geometry.north_deg is not None or np.ptp(geometry.area_map_m2) > 0:
        raise ValueError("only windows on a grid in metres with pixels of one size are turned")
    if len(set(geometry.shape_yx)) > 1 or len(set(geometry.pixel_size_yx_m)) > 1:
        raise ValueError(f"a window of {geometry.shape_yx} pixels is not square")
    if quarters % 4 == 0 and not mirrored:
        return scene

    def moved(values: NDArray[Any]) -> NDArray[Any]:
        values = values[..., ::-1] if mirrored else values
        return np.ascontiguousarray(np.rot90(values, quarters, axes=(-2, -1)))

    name = f"{scene.image_id}@{quarters % 4}{'m' if mirrored else ''}"
    return _mapped(scene, name, geometry, moved)


def _mapped(
    scene: LabelledScene,
    name: str,
    geometry: Geometry,
    work: Callable[[NDArray[Any]], NDArray[Any]],
) -> LabelledScene:
    """Apply the same move of pixels to every array of a scene."""

    def stack(old: Stack | None) -> Stack | None:
        if old is None:
            return None
        valid = None if old.valid is None else work(old.valid)
        return dataclasses.replace(old, values=work(old.values), valid=valid)

    window = Window(geometry, stack(scene.window.optical), stack(scene.window.radar))
    changes = {pair: work(change) for pair, change in scene.changes.items()}
    return LabelledScene(name, window, work(scene.cover), changes)


def _drop_bands(
    optical: FloatArray, radar: FloatArray, view: View, rng: np.random.Generator
) -> None:
    """Leave bands out, in place: all but the four of 10 m, or a few, or VH."""
    if rng.random() >= view.drop_bands:
        return
    others = [n for n, name in enumerate(S2_BANDS) if name not in _TEN_METRES]
    how = int(rng.integers(3))
    if how == 0:
        optical[:, others] = np.nan
    elif how == 1:
        lost = rng.random(len(others)) < 0.4
        optical[:, [n for n, gone in zip(others, lost, strict=True) if gone]] = np.nan
    else:
        radar[:, list(S1_BANDS).index("vh")] = np.nan


def _kept_dates(sample: SceneSample, view: View, rng: np.random.Generator) -> list[int]:
    every = len(sample.optical_dates)
    if view.dates is None or every <= view.dates:
        return list(range(every))
    return sorted(int(n) for n in rng.choice(every, view.dates, replace=False))


def _shown_images(
    optical: FloatArray,
    radar: FloatArray,
    dates: Sequence[int],
    view: View,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Draw which images are shown, bool, shape (T, 2); at least one where one was acquired."""
    there = np.stack([np.isfinite(a).any(axis=(1, 2, 3)) for a in (optical, radar)], axis=1)
    there &= np.isin(np.arange(len(there)), dates)[:, None]
    weights = np.cumsum(view.sensors)
    drawn = SENSORS[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]
    shown = there & np.array([drawn != "radar", drawn != "optical"])
    if not shown.any():
        shown = there
    kept = shown & (rng.random(shown.shape) >= view.drop_image)
    # Of two images of a date one may go; the last one of a date stays.
    alone = ~kept.any(axis=1, keepdims=True)
    return np.asarray(np.where(alone, shown, kept))


def _near(sample: SceneSample) -> tuple[dt.date, ...]:
    """Return radar dates that pair with the optical ones one to one, in order."""
    optical, radar = sample.optical_dates, sample.radar_dates
    values = np.zeros((len(radar), 1, 1, 1), np.float32)
    stack = Stack("sentinel-1", values - 10, ("vv",), radar, "dB") if _ascend(radar) else None
    if stack is not None:
        shown = Stack("sentinel-2", values + 0.1, ("nir",), optical, "reflectance")
        window = Window(Geometry.planar((1, 1), sample.pixel_m), shown, stack)
        steps = pair_dates(window, PAIR_WITHIN_DAYS)
        if [step.index for step in steps] == [(t, t) for t in range(len(optical))]:
            return radar
    return optical


def _ascend(dates: Sequence[dt.date]) -> bool:
    return all(a < b for a, b in itertools.pairwise(dates))


def _stack(
    sensor: str,
    values: FloatArray,
    dates: Sequence[dt.date],
    shown: NDArray[np.bool_],
    kept: Sequence[int],
) -> Stack | None:
    """Build a stack of the images that are shown; None without any."""
    at = [date for date in kept if shown[date]]
    if not at:
        return None
    bands, unit = (S2_BANDS, "reflectance") if sensor == "sentinel-2" else (S1_BANDS, "dB")
    return Stack(sensor, values[at], tuple(bands), [dates[t] for t in at], unit)
