"""What ``terrascope bench`` does: load, calibrate if asked to, examine, say the outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import terrascope
from terrascope.errors import ConfigError
from terrascope.evaluation.bench import BenchSettings, Said, examine
from terrascope.evaluation.fitting import fit_calibration
from terrascope.evaluation.making import make_items
from terrascope.evaluation.runner import Examinee, Progress

__all__ = ["PACKAGED_MODEL", "bench_model"]

PACKAGED_MODEL = Path(terrascope.__file__).parent / "weights" / "nano"
"""The model that the package ships."""

_VALIDATION_SEED = 1_000_000


def bench_model(
    model: Path | None,
    out: Path,
    settings: BenchSettings,
    *,
    fit_items: int = 0,
    real: Path | None = None,
    progress: Said | None = None,
) -> dict[str, Any]:
    """Examine a saved model.

    Parameters
    ----------
    model : Path or None
        Folder of the model; None for the packaged one.
    out : Path
        Folder of the results.
    settings : BenchSettings
        How thorough.
    fit_items : int
        Items of the validation split on which calibration is fitted first, and saved in the
        model's folder; 0 takes the calibration that is there.
    real : Path or None
        Folder of the shared real data; None leaves it out.
    progress : callable or None
        Told a step, and how much of it is done.

    Returns
    -------
    results : dict
        As `terrascope.evaluation.bench.examine` gives them.

    Raises
    ------
    ConfigError
        If there is no model in the folder.
    """
    folder = model or PACKAGED_MODEL
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"no model in {folder} (a folder with config.json and model.safetensors is expected); "
            "name one with --model, or train one with: terrascope train RECIPE.toml"
        )
    examinee = Examinee.load(folder)
    more: dict[str, Any] = {}
    if fit_items:
        items = make_items(
            fit_items,
            split="validation",
            seed=_VALIDATION_SEED,
            size=settings.size,
            workers=settings.workers,
        )
        said = _named(progress, "calibrate")
        more["calibration"] = fit_calibration(examinee, items, folder, progress=said)
    more["model"] = {"folder": folder.name, **_settings_of(examinee)}
    runners = _real(examinee, real, out, settings, progress) if real is not None else {}
    return examine(examinee, out, settings, more=more, runners=runners, progress=progress)


def _real(
    examinee: Examinee, real: Path, out: Path, settings: BenchSettings, progress: Said | None
) -> dict[str, Callable[[], Any]]:
    # The only part that reads rasters: it needs the geospatial stack.
    from terrascope.evaluation.real_change import examine_bark_beetle
    from terrascope.evaluation.real_cover import examine_land_cover

    rivals = out / "baselines" if settings.baselines else None
    return {
        "land cover": lambda: examine_land_cover(
            examinee, real, rivals, settings, progress=_named(progress, "land cover")
        ),
        "bark beetle": lambda: examine_bark_beetle(
            examinee, real, rivals, settings, progress=_named(progress, "bark beetle")
        ),
    }


def _settings_of(examinee: Examinee) -> dict[str, Any]:
    config = examinee.model.config
    return {
        "parameters": sum(p.numel() for p in examinee.model.parameters()),
        "injection": config.injection,
        "mask_temperature": config.mask_temperature,
        "correlation_length_m": config.correlation_length_m,
        "answer_confidence": dataclasses.asdict(examinee.confidence),
    }


def _named(progress: Said | None, name: str) -> Progress | None:
    return None if progress is None else lambda done, total: progress(name, done, total)
