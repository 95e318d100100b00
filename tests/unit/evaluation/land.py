"""Small labelled scenes of six classes that their spectra give away, to test the bench on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from terrascope.data.scenes import LabelledScene
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import Stack, Window
from terrascope.sensors import S1_BANDS, S2_BANDS
from terrascope.types import ChangeKind

SIDE = 48
CODES = np.array([1, 2, 5, 6, 3, 4], np.uint8)  # water, developed, crop, tree, bare, grass
OPTICAL = np.array(
    [
        [0.05, 0.05, 0.05, 0.04, 0.03, 0.02, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01],
        [0.13, 0.14, 0.15, 0.16, 0.17, 0.18, 0.19, 0.20, 0.20, 0.20, 0.22, 0.20],
        [0.05, 0.06, 0.09, 0.07, 0.14, 0.30, 0.36, 0.40, 0.41, 0.40, 0.22, 0.13],
        [0.03, 0.03, 0.05, 0.03, 0.08, 0.22, 0.28, 0.30, 0.31, 0.30, 0.14, 0.07],
        [0.10, 0.12, 0.16, 0.21, 0.24, 0.26, 0.28, 0.30, 0.31, 0.31, 0.38, 0.33],
        [0.05, 0.05, 0.08, 0.08, 0.12, 0.22, 0.25, 0.28, 0.29, 0.29, 0.26, 0.17],
    ],
    np.float32,
)
RADAR = np.array([[-22, -28], [-4, -10], [-11, -18], [-8, -13], [-14, -22], [-13, -20]], np.float32)


def scene(seed: int, side: int = SIDE) -> LabelledScene:
    """Two dates; between them a part of the trees, and of what is built, is cleared to crop."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((6, side, side)), (0, 5, 5))
    first = noise.argmax(0)
    second = first.copy()
    row, column = rng.integers(0, side - 14, 2)
    part = (slice(row, row + 14), slice(column, column + 14))
    second[part][second[part] != 0] = 2
    codes = np.stack([first, second])
    dates = (dt.date(2023, 6, 1), dt.date(2024, 6, 11))
    optical = OPTICAL[codes].transpose(0, 3, 1, 2) * rng.normal(1, 0.05, (2, 12, side, side))
    radar = RADAR[codes].transpose(0, 3, 1, 2) + rng.normal(0, 1, (2, 2, side, side))
    kinds = np.zeros((side, side), np.uint8)
    kinds[(first == 3) & (second == 2)] = ChangeKind.VEGETATION_LOSS
    kinds[(first == 1) & (second == 2)] = ChangeKind.OTHER
    window = Window(
        Geometry.planar((side, side), 10.0),
        Stack("sentinel-2", optical.astype(np.float32), list(S2_BANDS), dates, "reflectance"),
        Stack("sentinel-1", radar.astype(np.float32), list(S1_BANDS), dates, "dB"),
    )
    return LabelledScene(f"land-{seed:03d}", window, CODES[codes], {(0, 1): kinds})


def scenes(first: int = 0, side: int = SIDE) -> Iterator[LabelledScene]:
    """Yield one after the other, without end."""
    while True:
        yield scene(first, side)
        first += 1
