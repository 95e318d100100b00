"""Baselines trained for an examination, on the simulator that the model learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from terrascope.evaluation.baselines.boosting import BoostingPredictor, train_boosting
from terrascope.evaluation.baselines.indices import IndexPredictor
from terrascope.evaluation.baselines.protocol import Labels, Predictor, labels_of
from terrascope.evaluation.baselines.unet import UNetPredictor, UNetSettings, train_unet
from terrascope.evaluation.settings import BenchSettings
from terrascope.evaluation.simulated import bench_scenes
from terrascope.model.processing_terrascope import TerrascopeProcessor

__all__ = ["train_baselines"]

_BOOSTED_PX = 250
"""Pixels of each image that boosting learns from: 400 scenes give it two hundred thousand."""


def train_baselines(
    out: Path, settings: BenchSettings, processor: TerrascopeProcessor
) -> dict[str, Predictor]:
    """Train U-Net and boosting on simulated scenes, unless the folder has them already.

    Parameters
    ----------
    out : Path
        Folder of their weights; made where it does not exist.
    settings : BenchSettings
        Scenes and seconds.
    processor : TerrascopeProcessor
        Of the windows.

    Returns
    -------
    baselines : dict of str to Predictor
        By name; boosting only where lightgbm is installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Predictor] = {"indices": IndexPredictor()}
    network = out / "unet.safetensors"
    if not network.exists():
        steps = settings.baseline_scenes // 4
        chosen = UNetSettings(steps=steps, seconds=settings.baseline_seconds)
        train_unet(_labels(settings, processor), chosen).save(network)
    found["U-Net"] = UNetPredictor.load(network)
    try:
        if not (out / "boosting-change.txt").exists():
            few = islice(_labels(settings, processor), max(settings.baseline_scenes // 12, 1))
            train_boosting(few, pixels_per_image=_BOOSTED_PX).save(out)
        found["boosting"] = BoostingPredictor.load(out)
    except ModuleNotFoundError:
        pass
    return found


def _labels(settings: BenchSettings, processor: TerrascopeProcessor) -> Iterator[Labels]:
    """Yield batches of four training scenes, without end."""
    scenes = bench_scenes(
        split="train", seed=10_000_000, size=settings.size, workers=settings.workers
    )
    while True:
        yield labels_of(list(islice(scenes, 4)), processor)
