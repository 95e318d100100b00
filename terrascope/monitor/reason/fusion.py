"""What came with a model: how its masks are fused with the screen, and what the sum is worth.

``terrascope fit-fusion`` writes both files, by what a run has seen with: a model that leans on
radar deserves less trust where there is none.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from terrascope.errors import ModelError
from terrascope.kernels.pooling import COMBINATIONS, EVEN, LogOddsPool, combination_of
from terrascope.kernels.prevalence import AS_STATED, Reliability
from terrascope.model.weights import weights_digest

__all__ = ["FUSION_FILE", "RELIABILITY_FILE", "fusion_note", "fusion_of", "reliability_of"]

FUSION_FILE, RELIABILITY_FILE = "fusion.json", "reliability.json"
_FITTED = "fitted"
"""Where the files say how they were made; not needed to use them."""

_Fit = TypeVar("_Fit", LogOddsPool, Reliability)


def fusion_of(folder: str, sensors: Collection[str]) -> LogOddsPool:
    """Return the weights that came with a model.

    Parameters
    ----------
    folder : str
        Of the model; ``fusion.json`` in it holds the fits.
    sensors : collection of str
        That a run has scenes of.

    Returns
    -------
    pool : LogOddsPool
        `terrascope.kernels.pooling.EVEN` where no fit for these sensors came with the model.

    Raises
    ------
    ModelError
        If the file holds something else.
    """
    return _read(Path(folder) / FUSION_FILE, sensors, LogOddsPool) or EVEN


def reliability_of(folder: str, sensors: Collection[str]) -> Reliability:
    """Return what the fused probabilities of a model are worth.

    Parameters
    ----------
    folder : str
        Of the model; ``reliability.json`` in it holds the fits.
    sensors : collection of str
        That a run has scenes of.

    Returns
    -------
    reliability : Reliability
        `terrascope.kernels.prevalence.AS_STATED` where no fit for these sensors came with it.

    Raises
    ------
    ModelError
        If the file holds something else.
    """
    return _read(Path(folder) / RELIABILITY_FILE, sensors, Reliability) or AS_STATED


def fusion_note(folder: str) -> str | None:
    """Say what is to be known of a model's fusion.

    Parameters
    ----------
    folder : str
        Of the model.

    Returns
    -------
    note : str or None
        None where the fit was made with these very weights.
    """
    place = Path(folder)
    if not (place / FUSION_FILE).is_file():
        return (
            "the model came without fusion.json: screen and model are trusted alike; "
            "terrascope fit-fusion fits their weights on simulated scenes"
        )
    fitted = _document(place / FUSION_FILE).get(_FITTED, {})
    if fitted.get("weights") == weights_digest(folder):
        return None
    return (
        "fusion.json was fitted with other weights than the model has now: "
        "fit anew with terrascope fit-fusion"
    )


def _read(path: Path, sensors: Collection[str], kind: type[_Fit]) -> _Fit | None:
    if not path.is_file():
        return None
    name, document = combination_of(sensors), _document(path)
    if name not in document and any(other in document for other in COMBINATIONS):
        return None  # none could be fitted for these sensors
    values = document.get(name)
    fields = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(values, Mapping) or set(values) != fields:
        found = sorted(values) if isinstance(values, Mapping) else values
        raise ModelError(
            f"{path}: {name}: found {found}, expected an object with {', '.join(sorted(fields))}; "
            "make it anew with terrascope fit-fusion, or take the file away"
        )
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: {name}: {error}") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: expected JSON ({error})") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path}: found {type(document).__name__}, expected an object")
    return document
