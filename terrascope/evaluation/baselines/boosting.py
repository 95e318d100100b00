"""Gradient boosting on single pixels: what spectra and backscatter say without any neighbour."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terrascope.evaluation.baselines.protocol import CHANGE_KINDS, CLASSES, Labels
from terrascope.model.windows import Windows
from terrascope.sensors import S2_BANDS
from terrascope.types import ChangeKind

__all__ = ["BoostingPredictor", "features_of", "train_boosting"]

_PAIRS = (
    ("nir", "red"),
    ("green", "nir"),
    ("nir", "swir22"),
    ("nir", "swir16"),
    ("swir16", "red"),
    ("nir08", "rededge1"),
)
"""Normalised differences: vegetation, water, burn, moisture, soil, red edge."""


def features_of(windows: Windows) -> NDArray[np.float32]:
    """Describe every pixel by itself.

    Parameters
    ----------
    windows : Windows
        B windows of T dates.

    Returns
    -------
    features : ndarray of float32, shape (B, T, H, W, 20)
        12 bands, 2 polarisations, 6 normalised differences; NaN where missing.
    """
    optical = torch.where(windows.optical_valid, windows.optical, torch.nan).numpy()
    radar = torch.where(windows.radar_valid, windows.radar, torch.nan).numpy()
    names = list(S2_BANDS)
    parts = [optical[:, :, n] for n in range(len(names))]
    parts += [radar[:, :, n] for n in range(2)]
    with np.errstate(invalid="ignore", divide="ignore"):
        for one, other in _PAIRS:
            a, b = parts[names.index(one)], parts[names.index(other)]
            parts.append(np.clip((a - b) / np.maximum(a + b, 1e-4), -1, 1))
    return np.stack(parts, -1).astype(np.float32)


@dataclasses.dataclass(eq=False)
class BoostingPredictor:
    """Two boosters as a baseline.

    Parameters
    ----------
    classes, kinds : lightgbm.Booster
        Of land cover and of change; `kinds` takes the features of both dates and their
        differences.
    """

    classes: Any
    kinds: Any

    def cover(self, windows: Windows) -> Tensor:
        """Map land cover; see `terrascope.evaluation.baselines.protocol.Predictor`.

        Parameters
        ----------
        windows : Windows
            B windows of T dates.

        Returns
        -------
        probability : Tensor of float32, shape (B, T, 8, H, W)
            Of each class.
        """
        features = features_of(windows)
        found = self.classes.predict(features.reshape(-1, features.shape[-1]))
        maps = np.asarray(found, np.float32).reshape(*features.shape[:4], CLASSES)
        return torch.from_numpy(np.moveaxis(maps, -1, 2).copy())

    def change(self, windows: Windows, before: int, date: int) -> Tensor:
        """Map change; see `terrascope.evaluation.baselines.protocol.Predictor`.

        Parameters
        ----------
        windows : Windows
            B windows.
        before, date : int
            Earlier and later date, from 0.

        Returns
        -------
        probability : Tensor of float32, shape (B, 8, H, W)
            Of each kind.
        """
        features = features_of(windows)
        pair = _pair(features[:, before], features[:, date])
        found = self.kinds.predict(pair.reshape(-1, pair.shape[-1]))
        maps = np.asarray(found, np.float32).reshape(*pair.shape[:3], CHANGE_KINDS)
        return torch.from_numpy(np.moveaxis(maps, -1, 1).copy())

    def save(self, folder: Path) -> None:
        """Write both boosters as text.

        Parameters
        ----------
        folder : Path
            Exists.
        """
        self.classes.save_model(str(folder / "boosting-cover.txt"))
        self.kinds.save_model(str(folder / "boosting-change.txt"))

    @classmethod
    def load(cls, folder: Path) -> BoostingPredictor:
        """Read both boosters.

        Parameters
        ----------
        folder : Path
            As `save` wrote it.

        Returns
        -------
        predictor : BoostingPredictor
            Ready.
        """
        import lightgbm

        return cls(
            *(
                lightgbm.Booster(model_file=str(folder / f"boosting-{name}.txt"))
                for name in ("cover", "change")
            )
        )


def train_boosting(
    batches: Iterable[Labels],
    *,
    pixels_per_image: int = 400,
    rounds: int = 120,
    leaves: int = 63,
    threads: int = 2,
    seed: int = 0,
) -> BoostingPredictor:
    """Train boosters on pixels of labelled scenes.

    Parameters
    ----------
    batches : iterable of Labels
        All are used.
    pixels_per_image : int
        Drawn from each date, and from each pair of dates.
    rounds, leaves : int
        Trees per class, and their size.
    threads : int
        Cores.
    seed : int
        Of the draws.

    Returns
    -------
    predictor : BoostingPredictor
        Ready.

    Raises
    ------
    ModuleNotFoundError
        If lightgbm is not installed (``pip install terrascope[bench]``).

    References
    ----------
    Ke et al., LightGBM: A Highly Efficient Gradient Boosting Decision Tree, NeurIPS 2017.
    """
    rng = np.random.default_rng(seed)
    cover: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    change: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    for labels in batches:
        features = features_of(labels.windows)
        codes = labels.cover.numpy()
        for b, t in np.argwhere(codes.any(axis=(2, 3))):
            cover.append(
                _draw(features[b, t], codes[b, t] - 1, codes[b, t] > 0, rng, pixels_per_image)
            )
        for b, t0, t1, kinds in labels.changes:
            found = kinds.numpy()
            pair = _pair(features[b, t0], features[b, t1])
            change.append(_draw(pair, found, found != ChangeKind.OUTSIDE, rng, pixels_per_image))
    settings = {
        "objective": "multiclass",
        "num_leaves": leaves,
        "learning_rate": 0.1,
        "num_threads": threads,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "min_data_in_leaf": 50,
        "verbose": -1,
    }
    return BoostingPredictor(
        _boost(cover, {**settings, "num_class": CLASSES}, rounds),
        _boost(change, {**settings, "num_class": CHANGE_KINDS}, rounds),
    )


def _boost(
    parts: list[tuple[NDArray[np.float32], NDArray[np.int64]]],
    settings: dict[str, Any],
    rounds: int,
) -> Any:
    import lightgbm

    features = np.concatenate([part[0] for part in parts])
    wanted = np.concatenate([part[1] for part in parts])
    return lightgbm.train(settings, lightgbm.Dataset(features, wanted), num_boost_round=rounds)


def _pair(then: NDArray[np.float32], now: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([then, now, now - then], -1)


def _draw(
    features: NDArray[np.float32],
    wanted: NDArray[np.int64],
    known: NDArray[np.bool_],
    rng: np.random.Generator,
    count: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    places = np.flatnonzero(known)
    chosen = rng.choice(places, min(count, places.size), replace=False)
    return features.reshape(-1, features.shape[-1])[chosen], wanted.reshape(-1)[chosen]
