"""Fitting how screen and model are fused, on simulated windows alone.

The weights are fitted on pixels of windows for which the screen asks: these are what a run fuses.
They are of the test split, whose land, surfaces and weather are unlike what a model was trained on:
on windows like those of its training it would be trusted too much. That is still a simulator's word
on what learnt from this simulator, where the screen learnt from nothing. So the penalty towards
equal weights counts as much as all windows together, each of which counts once: its pixels share
its luck. How frequent change is in the simulator says nothing of a real place: no bias is fitted.
What the sum is then worth there is counted, and stated beside it for what adds probabilities up.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

import terrascope
from terrascope.errors import ConfigError
from terrascope.evaluation.agreement import Pixels, collect
from terrascope.evaluation.metrics import confusion
from terrascope.evaluation.runner import Examinee, Progress
from terrascope.kernels.pooling import COMBINATIONS, EVEN, LogOddsPool, fit_pool, log_odds
from terrascope.kernels.prevalence import Reliability
from terrascope.model.weights import weights_digest

__all__ = ["fit_fusion", "fuse_model", "reliability_of_pool", "scores_of"]

_SPLIT, _KNOTS = "test", 12
_PACKAGED = Path(terrascope.__file__).parent / "weights" / "nano"


def fuse_model(
    model: Path | None, *, windows: int, seed: int, progress: Progress | None = None
) -> list[str]:
    """Fit the fusion of a saved model, and say the outcome.

    Parameters
    ----------
    model : Path or None
        Folder of the model; None for the packaged one.
    windows : int
        To fit on.
    seed : int
        Of the first window that is tried.
    progress : callable or None
        Told windows done and in all.

    Returns
    -------
    lines : list of str
        A table of scores on windows that were not fitted on.

    Raises
    ------
    ConfigError
        If there is no model in the folder, or there are too few windows.
    """
    folder = model or _PACKAGED
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"no model in {folder} (a folder with config.json and model.safetensors is expected)",
            key="--model",
        )
    try:
        scores = fit_fusion(
            Examinee.load(folder), folder, windows=windows, seed=seed, progress=progress
        )
    except ValueError as error:
        raise ConfigError(str(error), key="--windows") from error
    lines = ["fresh simulated windows, F1 (log loss in nats) of screen, model, both alike, fused:"]
    for name, maps in scores.items():
        said = ", ".join(f"{one['f1']:.3f} ({one['log_loss']:.3f})" for one in maps.values())
        lines.append(f"  {name:8s} {said}")
    return [*lines, f"written: {folder / 'fusion.json'}, {folder / 'reliability.json'}"]


def fit_fusion(
    examinee: Examinee,
    folder: Path,
    *,
    windows: int,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Fit the fusion of a model with the screen, and save it beside the weights.

    Parameters
    ----------
    examinee : Examinee
        The model.
    folder : Path
        Where ``fusion.json`` and ``reliability.json`` are written.
    windows : int
        To fit on; a third as many others are scored.
    seed : int
        Of the first window that is tried.
    progress : callable or None
        Told windows done and in all.

    Returns
    -------
    scores : dict
        By combination of sensors and map, as `scores_of` gives them, on windows of no fit.

    Raises
    ------
    ValueError
        If no window was drawn whose change the screen asks for.
    """
    tested = max(windows // 3, 1)
    found = collect(examinee, windows + tested, split=_SPLIT, seed=seed, progress=progress)
    weights = weights_digest(folder)
    fits, worth, scores, counts = {}, {}, {}, {}
    for name in (name for name in COMBINATIONS if name in found):
        known, fresh = found[name].divided(windows)
        if not known.changed.any() or known.changed.all():
            continue  # a run with these sensors trusts both alike
        version = f"sim-{weights}-{windows}-{seed}"
        pool = fit_pool(
            known.screen,
            known.model,
            known.changed,
            version=version,
            ridge=float(len(np.unique(known.window))),
            weight=1 / np.bincount(known.window)[known.window],
            biased=False,
        )
        fits[name] = dataclasses.asdict(pool)
        length_m = examinee.model.config.correlation_length_m
        worth[name] = dataclasses.asdict(
            reliability_of_pool(known, pool, length_m=length_m, version=version)
        )
        counts[name] = len(np.unique(known.window))
        if len(fresh.changed):
            scores[name] = scores_of(fresh, pool)
    if not fits:
        raise ValueError(f"{windows} windows: none with a change that the screen asks for")
    made = {
        "command": f"terrascope fit-fusion --windows {windows} --seed {seed}",
        "weights": weights,
        "windows": counts,
        "scores": scores,
    }
    for file, values in (("fusion.json", fits), ("reliability.json", worth)):
        text = json.dumps({**values, "fitted": made}, indent=1)
        (folder / file).write_text(text + "\n", encoding="utf-8")
    return scores


def reliability_of_pool(
    pixels: Pixels, pool: LogOddsPool, *, length_m: float, version: str
) -> Reliability:
    """Count what fused probabilities are worth.

    Parameters
    ----------
    pixels : Pixels
        With pixels that changed and pixels that did not.
    pool : LogOddsPool
        Fuses them.
    length_m : float
        Of the correlation of errors, metres.
    version : str
        Name of the fit.

    Returns
    -------
    reliability : Reliability
        Its knots lie at the middle of twelfths of the changed pixels, sorted by what is stated.
    """
    share = float(pixels.changed.mean())
    odds = log_odds(pool.fuse(pixels.screen, pixels.model)).astype(np.float64)
    stated = odds - np.log(share / (1 - share))
    edges = np.unique(np.quantile(stated[pixels.changed], np.linspace(0, 1, _KNOTS + 1)[1:-1]))
    _, place = np.unique(np.searchsorted(edges, stated, side="right"), return_inverse=True)
    counts = np.stack(
        [np.bincount(place[pixels.changed == one], minlength=place.max() + 1) for one in (1, 0)]
    )
    middle = np.bincount(place, stated) / counts.sum(0)
    rates = (counts + 0.5) / (counts + 0.5).sum(1, keepdims=True)
    true = isotonic_regression(np.log(rates[0] / rates[1]), weights=counts.sum(0)).x
    knots = tuple(
        (round(float(x), 4), round(float(y), 4)) for x, y in zip(middle, true, strict=True)
    )
    return Reliability(prior=round(share, 4), knots=knots, length_m=length_m, version=version)


def scores_of(pixels: Pixels, pool: LogOddsPool) -> dict[str, dict[str, float]]:
    """Score screen, model and both fused on pixels with truth.

    Parameters
    ----------
    pixels : Pixels
        Others than those of the fit.
    pool : LogOddsPool
        The fit.

    Returns
    -------
    scores : dict
        ``f1`` at a probability of 0.5, and ``log_loss`` in nats, of ``screen``, ``model``,
        ``even`` (both trusted alike) and ``fused``.
    """
    maps = {
        "screen": pixels.screen,
        "model": pixels.model,
        "even": EVEN.fuse(pixels.screen, pixels.model),
        "fused": pool.fuse(pixels.screen, pixels.model),
    }
    every = np.ones(len(pixels.changed), np.bool_)
    scores = {}
    for name, probability in maps.items():
        odds = log_odds(probability).astype(np.float64)
        loss = np.logaddexp(0, np.where(pixels.changed, -odds, odds)).mean()
        counts = confusion(probability >= np.float32(0.5), pixels.changed, every)
        scores[name] = {"f1": round(counts.f1, 4), "log_loss": round(float(loss), 4)}
    return scores
