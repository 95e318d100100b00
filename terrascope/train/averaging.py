"""The mean of two models: of a start and what came of it, it forgets less than the latter."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from terrascope.errors import ConfigError
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.train.building import load_tokenizer, save_model

__all__ = ["average_models"]

_WEIGHTS = "model.safetensors"


def average_models(start: Path, tuned: Path, out: Path, *, share: float = 0.5) -> Path:
    """Write the mean of the weights of two models of one line [1]_.

    Parameters
    ----------
    start, tuned : Path
        Folders of nanos: one, and another that was trained from it.
    out : Path
        Folder for the mean; made where it does not exist.
    share : float
        Weight of `tuned`, 0 to 1.

    Returns
    -------
    out : Path
        With the configuration of `start`, calibration included: fit it anew.

    Raises
    ------
    ConfigError
        If a folder holds no nano, the two do not match, or the share is out of range.

    References
    ----------
    .. [1] Wortsman et al. (2022). Robust fine-tuning of zero-shot models. arXiv:2109.01903.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"share {share}: expected between 0 and 1")
    parts = [_weights(folder) for folder in (start, tuned)]
    shapes = [{name: tuple(value.shape) for name, value in part.items()} for part in parts]
    if odd := sorted(set(shapes[0].items()) ^ set(shapes[1].items())):
        raise ConfigError(f"{start} and {tuned} differ at {odd[0][0]}: expected models of one line")
    model = TerrascopeModel.from_pretrained(start, dtype=torch.float32)
    first, second = parts
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.lerp(first[name].float(), second[name].float(), share))
    save_model(out, model, load_tokenizer(start), TerrascopeProcessor.from_pretrained(start))
    return out


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    try:
        backbone = json.loads((folder / "config.json").read_text(encoding="utf-8"))["backbone"]
        if backbone == "nano":
            return load_file(folder / _WEIGHTS)
    except (OSError, ValueError, KeyError, SafetensorError) as cause:
        raise ConfigError(f"{folder} holds no model: {cause}") from cause
    raise ConfigError(f"{folder} holds a {backbone}: the mean is of nanos")
