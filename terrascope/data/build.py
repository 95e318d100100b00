"""Build the tables of a training set: in shards, by several processes, stopped at any time."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
import torch

from terrascope.data.batches import measure_masks
from terrascope.data.finishing import Choice
from terrascope.data.making import make_samples
from terrascope.data.rle import decode_mask
from terrascope.data.scenes import LabelledScene
from terrascope.data.tables import (
    PLAN_FILE,
    ImageRow,
    image_row,
    sample_row,
    scene_of,
    shard_files,
    write_shard,
)
from terrascope.data.views import View
from terrascope.errors import ConfigError
from terrascope.model.measure import Measurement
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.sim.alterations import Alter

__all__ = ["BuildSettings", "Built", "Plan", "build_tables", "sample_rows"]


class Plan(Protocol):
    """What tables are to hold: images by number, each a function of the plan and its number."""

    @property
    def images(self) -> int:
        """Image sets."""
        ...

    @property
    def per_shard(self) -> int:
        """Images per file."""
        ...

    def described(self) -> dict[str, Any]:
        """Return what the tables depend on.

        Returns
        -------
        facts : dict
            JSON-ready, with ``images`` and ``per_shard``; kept beside the tables.
        """
        ...

    def one_image(self, number: int) -> tuple[ImageRow, list[dict[str, Any]]]:
        """Make one image and its samples.

        Parameters
        ----------
        number : int
            From 0.

        Returns
        -------
        image, samples : tuple
            Rows of both tables.
        """
        ...


@dataclasses.dataclass(frozen=True)
class BuildSettings:
    """What the tables hold.

    Parameters
    ----------
    images : int
        Image sets.
    seed : int
        Of the first one; the others follow.
    samples : int
        Questions per image, at least 4.
    split : str
        Of the simulator.
    size : int
        Rows and columns.
    bands : bool
        Whether pixels are stored (int16); otherwise their seed is.
    per_shard : int
        Images per file.
    destroyed : float
        Share of the images in which developed ground is destroyed, where there is any.
    view : View
        What is shown of a scene.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    images: int
    seed: int = 0
    samples: int = 6
    split: str = "train"
    size: int = 128
    bands: bool = False
    per_shard: int = 64
    destroyed: float = 0.25
    view: View = dataclasses.field(default_factory=View)

    def __post_init__(self) -> None:
        if min(self.images, self.per_shard) < 1 or self.samples < 4 or self.seed < 0:
            raise ValueError(f"{self}: expected at least one image and 4 samples per image")

    def described(self) -> dict[str, Any]:
        """Return what the tables depend on; see `Plan`.

        Returns
        -------
        facts : dict
            The settings.
        """
        return dataclasses.asdict(self)

    def one_image(self, number: int) -> tuple[ImageRow, list[dict[str, Any]]]:
        """Make one image and its samples; see `Plan`.

        Parameters
        ----------
        number : int
            From 0.

        Returns
        -------
        image, samples : tuple
            Without samples where nothing was observed.
        """
        return _one_image(self, number)


@dataclasses.dataclass(frozen=True)
class Built:
    """What lies in the tables.

    Parameters
    ----------
    images, samples : int
        Rows.
    image_bytes, sample_bytes : int
        Size of the files.
    """

    images: int
    samples: int
    image_bytes: int
    sample_bytes: int

    @property
    def bytes_per_sample(self) -> float:
        """Size of both tables by the number of samples."""
        return (self.image_bytes + self.sample_bytes) / max(self.samples, 1)

    def __str__(self) -> str:
        return (
            f"{self.images} images, {self.samples} samples, {self.bytes_per_sample:,.0f} bytes per "
            f"sample ({self.sample_bytes / max(self.samples, 1):,.0f} without the images)"
        )


def build_tables(
    out: Path,
    settings: Plan,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Built:
    """Write the tables, or what is missing of them.

    Parameters
    ----------
    out : Path
        A folder; made where it does not exist. Shards that are there are kept.
    settings : Plan
        What they hold, for instance `BuildSettings`.
    workers : int
        Processes.
    progress : callable or None
        Called with images done and in all.

    Returns
    -------
    built : Built
        Of all shards. The rows depend on the settings alone: not on workers or stops.

    Raises
    ------
    ConfigError
        If the folder holds tables with other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    _check_plan(out, settings)
    for left in out.glob("*.part"):
        left.unlink()
    missing = [n for n in range(_shards(settings)) if not shard_files(out, n)[1].exists()]
    done = settings.images - sum(len(_numbers(settings, n)) for n in missing)
    say = progress or (lambda done, total: None)
    say(done, settings.images)
    if workers <= 1:
        for shard in missing:
            done += _build_shard(out, settings, shard)
            say(done, settings.images)
    elif missing:
        # A fresh process each: threads of torch do not survive a fork.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            workers, context, initializer=torch.set_num_threads, initargs=(1,)
        )
        with pool:
            running = [pool.submit(_build_shard, out, settings, shard) for shard in missing]
            try:
                for finished in as_completed(running):
                    done += finished.result()
                    say(done, settings.images)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return _measured(out, settings)


def _build_shard(out: Path, settings: Plan, shard: int) -> int:
    images, samples = [], []
    for number in _numbers(settings, shard):
        row, asked = settings.one_image(number)
        images.append(image_row(row))
        samples += asked
    write_shard(out, shard, images, samples)
    return len(images)


def _one_image(settings: BuildSettings, number: int) -> tuple[ImageRow, list[dict[str, Any]]]:
    """Make one image and its samples: a function of settings and number."""
    rng = np.random.default_rng((settings.seed, number, 5))
    destroyed = rng.random() < settings.destroyed
    row = ImageRow(
        image_id=f"{settings.split}-{settings.seed + number:09d}",
        seed=settings.seed + number,
        split=settings.split,
        size=settings.size,
        date_count=0,
        happening=int(Alter.DEMOLITION) if destroyed else 0,
        view_seed=settings.seed + number,
        view=settings.view,
    )
    row = dataclasses.replace(row, bands=row.sample())
    try:
        scene = scene_of(row)
    except ValueError:  # nothing was observed, or it is hidden by clouds
        return _kept(row, settings), []
    return _kept(row, settings), sample_rows(scene, rng, settings.samples, settings.size)


def sample_rows(
    scene: LabelledScene, rng: np.random.Generator, samples: int, size: int
) -> list[dict[str, Any]]:
    """Ask about a scene.

    Parameters
    ----------
    scene : LabelledScene
        Of the image.
    rng : numpy.random.Generator
        Of the questions.
    samples : int
        Questions wished for.
    size : int
        Rows and columns of the window, which may be larger than the scene.

    Returns
    -------
    rows : list of dict
        Of the table of samples.
    """
    found = make_samples(scene, rng, samples, choice=Choice())
    windows = TerrascopeProcessor(size_px=size)([scene.window])
    rows = []
    for place, sample in enumerate(found):
        figures: list[Measurement] = []
        if sample.closing:
            masks = [decode_mask(step.mask) for step in sample.steps]
            figures = measure_masks(masks, sample.steps, windows, 0)
        rows.append(sample_row(sample, place, int(windows.present.sum()), figures))
    return rows


def _kept(row: ImageRow, settings: BuildSettings) -> ImageRow:
    return row if settings.bands else dataclasses.replace(row, bands=None)


def _shards(settings: Plan) -> int:
    return -(-settings.images // settings.per_shard)


def _numbers(settings: Plan, shard: int) -> range:
    start = shard * settings.per_shard
    return range(start, min(start + settings.per_shard, settings.images))


def _check_plan(out: Path, settings: Plan) -> None:
    """Keep the settings beside the tables, and refuse to mix two kinds in one folder."""
    plan = json.dumps(settings.described(), indent=2, sort_keys=True)
    file = out / PLAN_FILE
    if file.exists():
        if file.read_text(encoding="utf-8") != plan:
            raise ConfigError(
                f"{out} holds tables with other settings: give another folder, or remove it"
            )
        return
    part = file.with_suffix(".part")
    part.write_text(plan, encoding="utf-8")
    part.replace(file)


def _measured(out: Path, settings: Plan) -> Built:
    rows = [0, 0]
    sizes = [0, 0]
    for shard in range(_shards(settings)):
        for place, file in enumerate(shard_files(out, shard)):
            rows[place] += pq.read_metadata(file).num_rows
            sizes[place] += file.stat().st_size
    return Built(rows[0], rows[1], sizes[0], sizes[1])
