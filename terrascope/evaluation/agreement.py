"""What screen and model say of simulated windows, pixel by pixel, beside the truth.

Two dates of one season are screened as a run screens them; where the screen asks for it, they are
shown to the model, as a run shows them. No real label is looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.data.scenes import ANY_CHANGE, LabelledScene
from terrascope.data.views import View, label_scene
from terrascope.evaluation.mapping import ModelMapper
from terrascope.evaluation.runner import Examinee, Progress
from terrascope.kernels.evidence import Evidence
from terrascope.kernels.normalise import (
    NodeFit,
    apply_normalisation,
    fit_node,
    interpolate_nodes,
)
from terrascope.kernels.pooling import COMBINATIONS
from terrascope.kernels.screen import (
    OPTICAL_BANDS,
    fit_shift_node,
    fuse,
    screen_optical,
    screen_sar,
)
from terrascope.model.stacks import Stack, Window, as_date
from terrascope.sim.samples import sample_dates, sample_scene
from terrascope.types import BoolArray, FloatArray

__all__ = ["Pixels", "collect", "screen_window"]

_PAIR = (0, 1)
_PIXELS = 2000
"""Of a window, at random: neighbours tell the same."""
_SEASON = range(4, 11)
_ASK, _LEAST_M2 = 0.2, 1000.0
"""A run asks for a window in which a tenth of a hectare has this probability, unless told else."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """What both say of pixels, and the truth.

    Parameters
    ----------
    screen, model : ndarray of float32, shape (n,)
        Probability of change.
    changed : ndarray of bool, shape (n,)
        The truth.
    window : ndarray of int64, shape (n,)
        Number of the window that a pixel lies in.
    """

    screen: FloatArray
    model: FloatArray
    changed: BoolArray
    window: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Pixels]) -> Pixels:
        """Put pixels together.

        Parameters
        ----------
        parts : sequence of Pixels
            At least one.

        Returns
        -------
        pixels : Pixels
            All of them, in order.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def divided(self, last: int) -> tuple[Pixels, Pixels]:
        """Divide by windows.

        Parameters
        ----------
        last : int
            Number of the last window of the first part; they are counted from 1.

        Returns
        -------
        first, second : Pixels
            No window is in both.
        """
        names = [field.name for field in dataclasses.fields(self)]
        early = self.window <= last
        first, second = (
            Pixels(*(getattr(self, name)[chosen] for name in names)) for chosen in (early, ~early)
        )
        return first, second


def collect(
    examinee: Examinee,
    windows: int,
    *,
    split: str,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Pixels]:
    """Screen simulated windows, show them to a model, and keep pixels.

    Parameters
    ----------
    examinee : Examinee
        The model.
    windows : int
        How many.
    split : str
        Of the simulator.
    seed : int
        Of the first window that is tried.
    progress : callable or None
        Told windows done and in all.

    Returns
    -------
    pixels : dict of str to Pixels
        By name of `COMBINATIONS`: each window with its optical images, with its radar images, and
        with both, where the screen asks for it with these images; none is left out.
    """
    mapper, size = ModelMapper(examinee), examinee.processor.size_px or 128
    found: dict[str, list[Pixels]] = {name: [] for name in COMBINATIONS}
    for done, scene in enumerate(_scenes(windows, split=split, seed=seed, size=size), start=1):
        rng = np.random.default_rng((seed, done))
        truth, known = scene.mask(ANY_CHANGE, _PAIR), scene.known(ANY_CHANGE, _PAIR)
        for name, sensors in COMBINATIONS.items():
            window = _with(scene.window, sensors)
            screen = screen_window(window)
            if not _asked(screen, window):
                continue
            said = mapper.masks(examinee.processor([window]), [(ANY_CHANGE, _PAIR)])[0, 0].numpy()
            model = said[: truth.shape[0], : truth.shape[1]].astype(np.float32)
            counted = np.flatnonzero(np.isfinite(screen) & known)
            kept = rng.choice(counted, min(_PIXELS, len(counted)), replace=False)
            number = np.full(len(kept), done, np.int64)
            found[name].append(
                Pixels(screen.ravel()[kept], model.ravel()[kept], truth.ravel()[kept], number)
            )
        if progress is not None:
            progress(done, windows)
    return {name: Pixels.joined(parts) for name, parts in found.items() if parts}


def screen_window(window: Window) -> FloatArray:
    """Screen the two dates of a window by themselves, as a run screens a place.

    Parameters
    ----------
    window : Window
        Of two dates on a grid in metres.

    Returns
    -------
    probability : ndarray of float32, shape (y, x)
        Of change; NaN where no sensor saw both dates.
    """
    pixel_m = window.geometry.pixel_size_yx_m[0]
    evidence: list[Evidence] = []
    if window.optical is not None:
        before, after = window.optical.observed_values()[:, _screened(window.optical)]
        bands = [window.optical.bands[i] for i in _screened(window.optical)]
        fit = fit_node(_samples(before), _samples(after))
        after = apply_normalisation(after, *_spread(fit, before.shape[1:]))
        months = [as_date(day).month for day in window.optical.dates]
        evidence.append(
            screen_optical(
                before[None],
                after[None],
                bands=bands,
                baseline_months=months[:1],
                target_months=months[1:],
                pixel_m=pixel_m,
            )
        )
    if window.radar is not None:
        before, after = window.radar.observed_values()
        fit = fit_shift_node(_samples(before), _samples(after))
        shift = _spread(fit, before.shape[1:])[1]
        evidence.append(screen_sar(before[None], after[None], pixel_m=pixel_m, shift_db=shift))
    return fuse(evidence).probability


def _scenes(count: int, *, split: str, seed: int, size: int) -> Iterator[LabelledScene]:
    """Draw windows that a run would compare: one growing season, both sensors on both dates."""
    view = View(sensors=(1.0, 0.0, 0.0), hide_clouds=1.0, drop_image=0.0, drop_bands=0.0)
    made = 0
    while made < count:
        seed += 1
        months = [day.month for day in sample_dates(seed, split=split, size=size, dates=2)]
        if any(month not in _SEASON for month in months) or abs(months[0] - months[1]) > 1:
            continue
        sample = sample_scene(seed, split=split, size=size, dates=2)
        clear = np.isfinite(sample.optical).any(1) & ~sample.cloudy
        echoes = np.isfinite(sample.radar).any((1, 2, 3))
        if clear.all(0).mean() < 0.2 or not echoes.all():
            continue
        scene = label_scene(sample, view=view)
        if len(scene.dates) == 2 and _corrected(scene.window):
            made += 1
            yield scene


def _asked(screen: FloatArray, window: Window) -> bool:
    """Whether the screen would have the model look."""
    seen = screen[np.isfinite(screen)]
    rank = max(1, round(_LEAST_M2 / float(np.prod(window.geometry.pixel_size_yx_m))))
    return len(seen) >= rank and float(np.partition(seen, -rank)[-rank]) >= _ASK


def _corrected(window: Window) -> bool:
    """Whether the window alone is enough to normalise by; a run leans on the ground around it."""
    if window.optical is None:
        return False
    before, after = window.optical.observed_values()[:, _screened(window.optical)]
    return fit_node(_samples(before), _samples(after)).ok


def _with(window: Window, sensors: Sequence[str]) -> Window:
    """Leave out a sensor."""
    optical, radar = (name in sensors for name in ("sentinel-2", "sentinel-1"))
    return Window(
        window.geometry, window.optical if optical else None, window.radar if radar else None
    )


def _screened(stack: Stack) -> list[int]:
    return [i for i, band in enumerate(stack.bands) if band in OPTICAL_BANDS]


def _samples(bands: FloatArray) -> FloatArray:
    return bands.reshape(len(bands), -1).T


def _spread(fit: NodeFit, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    return interpolate_nodes([[fit]], *(np.zeros(n) for n in shape))
