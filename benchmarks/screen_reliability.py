"""What the screen's probabilities are worth: likelihood ratios against the simulator's truth.

Two dates of one season on simulated windows, normalised and screened as a run does it. Patches
of true change of which the screen notices less than a quarter are left out: no probability of
the screen's can tell of them, and what it cannot see is said in words where its figures are used.
By stated log-likelihood ratio, the true one is counted and made monotone (pool adjacent
violators); regional answers use these knots (`terrascope.kernels.prevalence.SCREEN`).

    python benchmarks/screen_reliability.py [WINDOWS [FIRST]]

Prints pixels without and with change, and the true ratio, by stated ratio.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import isotonic_regression

from terrascope.kernels.change_optical import OPTICAL_BANDS
from terrascope.kernels.normalise import fit_node
from terrascope.kernels.screen import fuse, screen_optical
from terrascope.sensors import S2_BANDS
from terrascope.sim.samples import sample_scene

EDGES = np.array([0.0, 0.02, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 9.9, 10.1])
NOTICED = 0.25
SIZE = 128


def window_counts(seed: int) -> NDArray[np.float64] | None:
    """Count pixels by stated ratio, without and with change; None for what a run would not do."""
    scene = sample_scene(seed, split="validation", size=SIZE, dates=2)
    months = [day.month for day in scene.optical_dates]
    season = all(4 <= month <= 10 for month in months) and abs(months[0] - months[1]) <= 1
    if not season or not np.isfinite(scene.optical).any((1, 2, 3)).all():
        return None
    pick = [list(S2_BANDS).index(band) for band in OPTICAL_BANDS]
    bands = np.where(scene.cloudy[:, None], np.nan, scene.optical[:, pick])
    fit = fit_node(*(one.reshape(len(pick), -1).T for one in bands))
    if not fit.ok:
        return None  # a run leans on the fits around it
    target = bands[1:] * fit.gain[:, None, None] + fit.offset[:, None, None]
    found = screen_optical(
        bands[:1],
        target.astype(np.float32),
        bands=OPTICAL_BANDS,
        baseline_months=months[:1],
        target_months=months[1:],
        pixel_m=scene.pixel_m,
    )
    stated = fuse([found]).probability
    seen = np.isfinite(stated)
    changed = scene.change(0, 1) > 0
    patches, count = ndimage.label(changed, np.ones((3, 3)))
    noticed = ndimage.mean(np.nan_to_num(stated) >= 0.5, patches, np.arange(count + 1))
    kept = seen & (~changed | (noticed >= NOTICED)[patches])
    return np.stack(
        [np.histogram(found.support[kept & (changed == w)], EDGES)[0] for w in (False, True)]
    ).astype(np.float64)


def knots(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the likelihood ratio of each class, never falling."""
    share = (counts + 0.5) / (counts + 0.5).sum(1, keepdims=True)
    ratio = np.log(share[1] / share[0])
    monotone: NDArray[np.float64] = isotonic_regression(ratio, weights=counts.sum(0) + 1).x
    return monotone


def main(windows: int, first: int = 0) -> None:
    """Count, fit and print."""
    seeds = range(first, first + windows)
    found = [counts for seed in seeds if (counts := window_counts(seed)) is not None]
    counts = np.sum(found, axis=0)
    print(f"{len(found)} windows, {counts.sum():,.0f} pixels, {counts[1].sum():,.0f} changed")
    for low, high, still, changed, ratio in zip(
        EDGES, EDGES[1:], *counts.tolist(), knots(counts), strict=False
    ):
        print(
            f"  stated {low:5.2f} to {high:5.2f}: {still:11.0f} {changed:9.0f}  true {ratio:+.2f}"
        )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:] or ["400"]))
