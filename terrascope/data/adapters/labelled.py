"""A user's labelled folders as scenes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.data.scenes import PAIR_WITHIN_DAYS, LabelledScene
from terrascope.errors import ConfigError
from terrascope.model.geometry import Geometry
from terrascope.model.processing_terrascope import pair_dates
from terrascope.model.stacks import UNITS, Stack, Window, canonical_bands
from terrascope.readers.labelled import LabelledFolder, SensorImage
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, CLASS_CODES

__all__ = ["scenes_of", "stack_images"]


def scenes_of(
    folders: Sequence[LabelledFolder], name: str
) -> tuple[list[LabelledScene], NDArray[np.float64]]:
    """Turn labelled folders into scenes.

    Parameters
    ----------
    folders : sequence of LabelledFolder
        N of them.
    name : str
        What the masks show: a kind of change, from the first date to the last, or a land-cover
        class on the last date.

    Returns
    -------
    scenes : list of LabelledScene
        N of them; only `name` is labelled.
    centres_m : ndarray of float64, shape (N, 2)
        For `terrascope.train.finetune.spatial_folds`.

    Raises
    ------
    ConfigError
        If the model has no such word, or a change has one date only.
    """
    kinds = {word: kind for kind, word in CHANGE_NAMES.items() if kind != ChangeKind.NONE}
    if name not in kinds and name not in CLASS_CODES:
        known = ", ".join([*kinds, *CLASS_CODES])
        raise ConfigError(f"class {name!r}: expected one of {known}")
    scenes = [_scene(folder, name, kinds.get(name)) for folder in folders]
    return scenes, np.array([folder.centre_yx_m for folder in folders])


def _scene(folder: LabelledFolder, name: str, kind: ChangeKind | None) -> LabelledScene:
    shape = folder.mask.shape
    window = Window(
        Geometry.planar((shape[0], shape[1]), folder.pixel_m), *stack_images(folder.images)
    )
    count = len(pair_dates(window, PAIR_WITHIN_DAYS))
    cover = np.zeros((count, *shape), np.uint8)
    if kind is None:
        other = next(code for word, code in CLASS_CODES.items() if word != name)
        values = np.where(folder.mask, CLASS_CODES[name], other)
        cover[-1] = np.where(folder.known, values, 0)
        return LabelledScene(folder.name, window, cover)
    if count < 2:
        raise ConfigError(f"{folder.name}: a change needs images of two dates")
    change = np.where(folder.mask, int(kind), int(ChangeKind.NONE))
    change = np.where(folder.known, change, int(ChangeKind.OUTSIDE)).astype(np.uint8)
    return LabelledScene(folder.name, window, cover, {(0, count - 1): change})


def stack_images(images: Sequence[SensorImage]) -> tuple[Stack | None, Stack | None]:
    """Put the images of each sensor together.

    Parameters
    ----------
    images : sequence of SensorImage
        Of one grid, in order of time.

    Returns
    -------
    optical, radar : Stack or None
        None without an image. Bands that some images lack are missing there.
    """
    optical, radar = (
        _stack([image for image in images if image.sensor == sensor])
        for sensor in ("sentinel-2", "sentinel-1")
    )
    return optical, radar


def _stack(images: Sequence[SensorImage]) -> Stack | None:
    if not images:
        return None
    sensor = images[0].sensor
    named = [canonical_bands(sensor, image.bands) for image in images]
    bands = list(dict.fromkeys(band for one in named for band in one))
    shape = (len(images), len(bands), *images[0].values.shape[1:])
    values = np.full(shape, np.nan, np.float32)
    for n, (image, own) in enumerate(zip(images, named, strict=True)):
        values[n, [bands.index(band) for band in own]] = image.values
    return Stack(sensor, values, bands, [image.date for image in images], UNITS[sensor])
