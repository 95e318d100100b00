"""From logits of windows to the layers of a tile."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.kernels.pooling import LogOddsPool
from terrascope.model.forced import CHANGE_KINDS
from terrascope.store.schema import NO_DATE, Layer
from terrascope.types import BoolArray, ChangeKind, FloatArray, Status
from terrascope.vocabulary import CLASS_CODES, LAND_COVER, UNKNOWN_CLASS

__all__ = ["CHANNELS", "MODEL_LAYERS", "ModelMaps", "fuse_layers", "layers_beside", "sigmoid"]

CHANNELS = 2 * len(LAND_COVER) + 1 + len(CHANGE_KINDS)
"""Masks of a window, in the order of `terrascope.model.forced.pair_masks`."""

ANY = 2 * len(LAND_COVER)
"""Place of the mask of any change."""

_OUTSIDE = int(Status.OUTSIDE)
_CLASSES = {"unknown": UNKNOWN_CLASS, **CLASS_CODES, "outside": _OUTSIDE}
_FLAGS = {name.replace(" ", "_"): code for name, code in _CLASSES.items()}

MODEL_LAYERS = (
    Layer("model_probability", "float32", math.nan, "probability of change, model", units="1"),
    Layer("class_from", "uint8", _OUTSIDE, "land cover before, model", flags=_FLAGS),
    Layer("class_to", "uint8", _OUTSIDE, "land cover after, model", flags=_FLAGS),
)
"""What the model adds to the layers of the screen."""


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return probabilities.

    Parameters
    ----------
    logits : ndarray of float32
        NaN where missing.

    Returns
    -------
    probability : ndarray of float32
        NaN where missing.
    """
    half = np.float32(0.5)
    probability: FloatArray = (half + half * np.tanh(logits * half)).astype(np.float32)
    return probability


@dataclasses.dataclass(frozen=True, eq=False)
class ModelMaps:
    """What the model says of a tile.

    Parameters
    ----------
    probability : ndarray of float32, shape (y, x)
        Of any change, NaN where it did not look.
    kind : ndarray of uint8, shape (y, x)
        Likeliest kind of change.
    kind_probability : ndarray of float32, shape (y, x)
        Of that kind's mask.
    class_from, class_to : ndarray of uint8, shape (y, x)
        Likeliest classes, 0 where it did not look.
    """

    probability: FloatArray
    kind: NDArray[np.uint8]
    kind_probability: FloatArray
    class_from: NDArray[np.uint8]
    class_to: NDArray[np.uint8]

    @classmethod
    def blank(cls, shape: tuple[int, int]) -> ModelMaps:
        """Return the maps of a tile that the model has not looked at.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns.

        Returns
        -------
        maps : ModelMaps
            To be filled by `put`.
        """
        codes = [np.zeros(shape, np.uint8) for _ in range(3)]
        missing = np.full(shape, np.nan, np.float32)
        return cls(missing, codes[0], missing.copy(), codes[1], codes[2])

    def put(self, top: int, logits: FloatArray, enough: BoolArray) -> None:
        """Write rows, in place.

        Parameters
        ----------
        top : int
            The first of them.
        logits : ndarray of float32, shape (`CHANNELS`, rows, x)
            Blended.
        enough : ndarray of bool, shape (rows, x)
            Where they count.
        """
        rows = slice(top, top + logits.shape[1])
        count = len(LAND_COVER)
        kinds = logits[ANY + 1 :]
        codes = np.array([int(kind) for kind in CHANGE_KINDS], np.uint8)
        best = np.argmax(np.where(np.isfinite(kinds), kinds, -np.inf), 0)
        strongest = np.take_along_axis(kinds, best[None], 0)[0]
        nothing = np.float32(np.nan)
        self.probability[rows] = np.where(enough, sigmoid(logits[ANY]), nothing)
        self.kind[rows] = np.where(enough, codes[best], 0)
        self.kind_probability[rows] = np.where(enough, sigmoid(strongest), nothing)
        for layer, part in (
            (self.class_from, logits[:count]),
            (self.class_to, logits[count : 2 * count]),
        ):
            code = 1 + np.argmax(np.where(np.isfinite(part), part, -np.inf), 0)
            layer[rows] = np.where(enough, code, UNKNOWN_CLASS)


def fuse_layers(
    screen: Mapping[str, NDArray[Any]],
    model: ModelMaps,
    *,
    pool: LogOddsPool,
    threshold: float,
    first_day: int,
) -> dict[str, NDArray[Any]]:
    """Fuse the screen's layers with the model's maps.

    Parameters
    ----------
    screen : mapping of str to ndarray, shape (y, x)
        All layers of the screen's result.
    model : ModelMaps
        Of the same ground.
    pool : LogOddsPool
        Weights.
    threshold : float
        Probability from which a pixel is change.
    first_day : int
        First day of the target, since 1970-01-01: the date of a change that the screen did not
        date.

    Returns
    -------
    layers : dict of str to ndarray
        Those of the screen and `MODEL_LAYERS`. Where the model did not look they are the
        screen's.
    """
    inside = screen["status"] != _OUTSIDE
    seen = np.isfinite(screen["screen_probability"])
    looked = np.isfinite(model.probability) & inside & seen
    own = np.where(looked, model.probability, np.float32(np.nan)).astype(np.float32)
    fused = pool.fuse(screen["screen_probability"], own)
    changed = np.where(
        looked, fused >= np.float32(threshold), screen["status"] == Status.PROVISIONAL
    )
    status = np.where(changed, Status.PROVISIONAL, Status.NO_CHANGE)
    status = np.where(seen & inside, status, screen["status"]).astype(np.uint8)
    named = screen["change_kind"]
    sure = looked & ((model.kind_probability >= 0.5) | (named == ChangeKind.NONE))
    kind = np.where(sure, model.kind, named)
    kind = np.where(changed, kind, ChangeKind.NONE)
    dated = np.where(screen["detected_on"] == NO_DATE, first_day, screen["detected_on"])
    looks = np.maximum(screen["observations"], 1).astype(np.float32)
    confidence = np.abs(2 * fused - 1) * (1 - 1 / (1 + looks))
    return {
        **screen,
        "status": status,
        "change_probability": np.where(looked, fused, screen["change_probability"]),
        "change_kind": np.where(inside, kind, ChangeKind.OUTSIDE).astype(np.uint8),
        "detected_on": np.where(changed, dated, NO_DATE).astype(np.int32),
        "confidence": np.where(looked, confidence, screen["confidence"]).astype(np.float32),
        **_layers_of_the_model(model, looked, inside),
    }


def layers_beside(alerts: Mapping[str, NDArray[Any]], model: ModelMaps) -> dict[str, NDArray[Any]]:
    """Put the model's maps beside those of alerts, which stay as they were folded.

    Parameters
    ----------
    alerts : mapping of str to ndarray, shape (y, x)
        All layers of the alerts' result.
    model : ModelMaps
        Of the same ground.

    Returns
    -------
    layers : dict of str to ndarray
        Those of the alerts, unchanged, and `MODEL_LAYERS`.
    """
    inside = alerts["status"] != _OUTSIDE
    seen = np.isfinite(alerts["screen_probability"])
    looked = np.isfinite(model.probability) & inside & seen
    return {**alerts, **_layers_of_the_model(model, looked, inside)}


def _layers_of_the_model(
    model: ModelMaps, looked: BoolArray, inside: BoolArray
) -> dict[str, NDArray[Any]]:
    probability = np.where(looked, model.probability, np.float32(np.nan)).astype(np.float32)
    classes = {"class_from": model.class_from, "class_to": model.class_to}
    return {
        "model_probability": probability,
        **{
            name: np.where(inside, np.where(looked, codes, 0), _OUTSIDE).astype(np.uint8)
            for name, codes in classes.items()
        },
    }
