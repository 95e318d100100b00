"""Tables of a training set from real scenes: windows of them, some with simulated change."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np

from terrascope.data.adapters.ground import GROUND
from terrascope.data.adapters.pasted import NoGroundError, paste_change
from terrascope.data.build import sample_rows
from terrascope.data.scenes import PAIR_WITHIN_DAYS, LabelledScene
from terrascope.data.tables import ImageRow, scene_of
from terrascope.data.views import WHOLE, cut
from terrascope.model.processing_terrascope import pair_dates
from terrascope.model.stacks import BANDS, Stack, Window, as_date
from terrascope.sim.samples import SceneSample
from terrascope.types import ChangeKind, FloatArray

__all__ = ["RealImages", "one_date", "scene_sample"]

_SQUARE = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class RealImages:
    """What tables of real scenes hold; a `terrascope.data.build.Plan`.

    Parameters
    ----------
    scenes : sequence of LabelledScene
        For instance `LazyScenes`; one is in memory at a time.
    name : str
        Of the data set, for the names of the images.
    seed : int
        Of windows, changes and questions.
    rounds : int
        How often each scene is taken, another window of it each time.
    size : int
        Most rows and columns of a window; smaller scenes are taken whole, their larger side cut.
    samples : int
        Questions per image, at least 4.
    pasted : float
        Share of the windows into which simulated change is pasted, where there is the ground.
    drift : float
        Of the date that is added for it; see `paste_change`.
    split : str
        Written into the tables.
    per_shard : int
        Images per file.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    scenes: Sequence[LabelledScene]
    name: str
    seed: int = 0
    rounds: int = 1
    size: int = 128
    samples: int = 6
    pasted: float = 0.5
    drift: float = 0.05
    split: str = "train"
    per_shard: int = 64

    def __post_init__(self) -> None:
        least = min(len(self.scenes), self.rounds, self.per_shard, self.size // 16)
        if least < 1 or self.samples < 4 or self.seed < 0 or not 0 <= self.pasted <= 1:
            raise ValueError(
                f"{len(self.scenes)} scenes, {self.described()}: expected at least one of each, "
                "windows of 16 pixels, 4 samples, and a share of 0 to 1"
            )

    @property
    def images(self) -> int:
        """Image sets."""
        return self.rounds * len(self.scenes)

    def described(self) -> dict[str, Any]:
        """Return what the tables depend on; see `terrascope.data.build.Plan`.

        Returns
        -------
        facts : dict
            The settings, without the scenes.
        """
        names = [field.name for field in dataclasses.fields(self) if field.name != "scenes"]
        return {"images": self.images} | {name: getattr(self, name) for name in names}

    def one_image(self, number: int) -> tuple[ImageRow, list[dict[str, Any]]]:
        """Make one image and its samples; see `terrascope.data.build.Plan`.

        Parameters
        ----------
        number : int
            From 0.

        Returns
        -------
        image, samples : tuple
            Of several dates between which nothing is known of change, one is kept.
        """
        rng = np.random.default_rng((self.seed, number, 6))
        scene = _window(self.scenes[number % len(self.scenes)], self.size, rng)
        if len(scene.dates) > 1 and not _all_known(scene):
            scene = one_date(scene, int(rng.integers(len(scene.dates))))
        if rng.random() < self.pasted and len(scene.dates) == 1:
            scene = _changed(scene, self.drift, rng)
        sample = scene_sample(scene, seed=number, split=self.split)
        row = ImageRow(
            image_id=f"{self.name}-{number:09d}",
            seed=number,
            split=self.split,
            size=sample.cover.shape[1],
            date_count=len(scene.dates),
            happening=0,
            view_seed=number,
            view=WHOLE,
            bands=sample,
        )
        return row, sample_rows(scene_of(row), rng, self.samples, row.size)


def scene_sample(scene: LabelledScene, *, seed: int, split: str = "train") -> SceneSample:
    """Return a real scene as the tables store simulated ones.

    Parameters
    ----------
    scene : LabelledScene
        Square, of square pixels in metres, of one date or of two with all change known.
    seed : int
        Its number.
    split : str
        Of the tables.

    Returns
    -------
    sample : SceneSample
        Of the same numbers and labels; all 12 bands and both polarisations, missing where the
        scene lacks them; nothing is cloudy.

    Raises
    ------
    ValueError
        If the tables cannot hold the scene.
    """
    geometry, count = scene.window.geometry, len(scene.dates)
    height, width = geometry.pixel_size_yx_m
    square = abs(height / width - 1) < _SQUARE and len(set(geometry.shape_yx)) == 1
    if not square or geometry.north_deg is not None:
        raise ValueError(f"{scene.image_id}: expected a square window of square pixels in metres")
    if count > 2 or (count == 2 and not _all_known(scene)):
        raise ValueError(f"{scene.image_id}: {count} dates; expected one, or two with all change")
    steps = pair_dates(scene.window, PAIR_WITHIN_DAYS)
    optical, optical_dates = _placed(scene, "sentinel-2", [step.index[0] for step in steps])
    radar, radar_dates = _placed(scene, "sentinel-1", [step.index[1] for step in steps])
    disturbance = np.zeros(scene.cover.shape, np.uint8)
    if count == 2:
        disturbance[1] = scene.changes[0, 1]
    return SceneSample(
        seed=seed,
        split=split,
        pixel_m=(height + width) / 2,
        optical=optical,
        radar=radar,
        optical_dates=optical_dates,
        radar_dates=radar_dates,
        cloudy=np.zeros(scene.cover.shape, np.bool_),
        cover=scene.cover,
        disturbance=disturbance,
        damage=(disturbance > 0).astype(np.float32),
    )


def one_date(scene: LabelledScene, date: int) -> LabelledScene:
    """Keep one date of a scene.

    Parameters
    ----------
    scene : LabelledScene
        Of any number of dates.
    date : int
        From 0.

    Returns
    -------
    scene : LabelledScene
        Of one date, without changes.
    """
    step = pair_dates(scene.window, PAIR_WITHIN_DAYS)[date]
    stacks: list[Stack | None] = []
    for stack, at in zip((scene.window.optical, scene.window.radar), step.index, strict=True):
        if stack is None or at is None:
            stacks.append(None)
            continue
        valid = None if stack.valid is None else stack.valid[at : at + 1]
        values, dates = stack.values[at : at + 1], [stack.dates[at]]
        stacks.append(dataclasses.replace(stack, values=values, dates=dates, valid=valid))
    window = Window(scene.window.geometry, *stacks)
    return LabelledScene(scene.image_id, window, scene.cover[date : date + 1])


def _placed(
    scene: LabelledScene, sensor: str, places: Sequence[int | None]
) -> tuple[FloatArray, tuple[dt.date, ...]]:
    """Return the images of a sensor by date, and their dates, or the scene's where it has none."""
    stack: Stack | None = scene.window.optical if sensor == "sentinel-2" else scene.window.radar
    names = list(BANDS[sensor])
    shape = (len(places), len(names), *scene.window.geometry.shape_yx)
    values = np.full(shape, np.nan, np.float32)
    dates = list(scene.dates)
    if stack is not None:
        order, seen = [names.index(band) for band in stack.bands], stack.observed_values()
        for date, place in enumerate(places):
            if place is not None:
                values[date, order] = seen[place]
                dates[date] = as_date(stack.dates[place])
    return values, tuple(dates)


def _window(scene: LabelledScene, size: int, rng: np.random.Generator) -> LabelledScene:
    """Cut a square window out at random."""
    side = min(size, *scene.window.geometry.shape_yx)
    top, left = (int(rng.integers(n - side + 1)) for n in scene.window.geometry.shape_yx)
    if scene.window.geometry.shape_yx == (side, side):
        return scene
    return cut(scene, top, left, side)


def _all_known(scene: LabelledScene) -> bool:
    """Tell whether nothing can have changed without being labelled."""
    change = scene.changes.get((0, 1))
    return (
        len(scene.dates) == 2 and change is not None and bool((change != ChangeKind.OUTSIDE).all())
    )


def _changed(scene: LabelledScene, drift: float, rng: np.random.Generator) -> LabelledScene:
    """Paste the first of all changes, in random order, that finds its ground."""
    for place in rng.permutation(len(GROUND)).tolist():
        what = list(GROUND)[place]
        try:
            return paste_change(scene, what, rng, drift=drift)
        except NoGroundError:
            continue
    return scene
