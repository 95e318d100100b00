"""The parts of a recipe: what each setting of a training run is, and what it may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from terrascope.errors import ConfigError

__all__ = [
    "INJECTIONS",
    "SOURCES",
    "Adapters",
    "Checkpoints",
    "Losses",
    "Mechanism",
    "Optimizer",
    "Stage",
    "Validation",
    "at_least",
]

SOURCES = ("segmentation", "language", "cot")
"""What a stage learns from: many masks per window; text with figures, no image; whole samples."""

INJECTIONS = ("mask", "none", "random", "box")
"""Whose visual tokens follow a mask: its own, none, as many random ones, those of its box."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run: one source, one set of learning parts, one course of the rate.

    Parameters
    ----------
    name : str
        Shown in metrics; no two stages share one.
    source : str
        One of `SOURCES`.
    steps : int
        Updates of the weights.
    rate : float
        Highest learning rate.
    batch : int
        Windows (of ``"language"``: samples) of one batch.
    batches : int
        Batches of one step, shared out among the processes; their gradients are added up.
    window_px : int
        Side of the windows.
    samples : int
        Questions per window.
    warmup : int
        Steps on which the rate rises.
    final_rate : float
        Share of `rate` that is left in the end.
    frozen : tuple of str
        Parts that do not learn, by the names of `terrascope.train.parts`.
    dates : int or None
        Dates of a window; None where the source decides.
    language_weight : float or None
        Of the language loss in this stage; None for that of `Losses`.
    named : bool
        Masks are prompted by the embeddings of their names: sight learns before language does,
        which is left out. For ``"segmentation"`` alone.
    absent : float
        Of ``"segmentation"``: share of the masks that may be empty ones; with 1 and enough
        `samples`, every name is asked for on every date.
    pairs : bool
        Of ``"segmentation"``: whether masks of change are asked for, too.
    changed : float
        Share of the scenes in which something is made to happen, of any kind alike; without,
        changes are as frequent as the simulator has them.
    rounds : int
        Times that each scene is shown, in other views and turned: with many processors in front
        of a fast device, or few in all, rendering is what a run waits for.
    images : bool
        Whether the language model sees the images. Masks are decoded from them either way;
        without, a stage of masks alone takes a fraction of the time.
    mean_decay : float or None
        Of the running mean of the weights in this stage; None for that of `Optimizer`. A short
        stage that changes much wants a short mean.
    weights : mapping of str to Any
        Of the makers of questions, by their names in ``terrascope.data.questions``; empty for
        their defaults.
    """

    name: str
    source: str
    steps: int
    rate: float
    batch: int = 8
    batches: int = 1
    window_px: int = 128
    samples: int = 4
    warmup: int = 50
    final_rate: float = 0.02
    frozen: tuple[str, ...] = ()
    dates: int | None = None
    language_weight: float | None = None
    named: bool = False
    absent: float = 0.25
    pairs: bool = True
    changed: float = 0.0
    rounds: int = 1
    images: bool = True
    mean_decay: float | None = None
    weights: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of(f"stages {self.name!r}: source", self.source, SOURCES)
        for key in ("steps", "batch", "batches", "samples", "window_px", "rounds"):
            at_least(f"stages {self.name!r}: {key}", getattr(self, key), 1)
        at_least(f"stages {self.name!r}: warmup", self.warmup, 0)
        if not self.rate > 0:
            raise ConfigError(f"stages {self.name!r}: rate {self.rate}: expected above 0")
        _share(f"stages {self.name!r}: final_rate", self.final_rate)
        _share(f"stages {self.name!r}: absent", self.absent)
        _share(f"stages {self.name!r}: changed", self.changed)
        _share(f"stages {self.name!r}: mean_decay", self.mean_decay or 0.0)
        if self.named and self.source != "segmentation":
            raise ConfigError(f"stages {self.name!r}: named masks are of source segmentation")


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """What the model is taught to reason with.

    Parameters
    ----------
    injection : str
        One of `INJECTIONS`.
    measured : bool
        Whether measured figures follow a mask.
    perturbed : float
        Share of injected masks that are not the true ones.
    modality_dropout : float
        Share of windows that lack one of the sensors.
    """

    injection: str = "mask"
    measured: bool = True
    perturbed: float = 0.5
    modality_dropout: float = 0.3

    def __post_init__(self) -> None:
        _one_of("mechanism: injection", self.injection, INJECTIONS)
        _share("mechanism: perturbed", self.perturbed)
        _share("mechanism: modality_dropout", self.modality_dropout)


@dataclasses.dataclass(frozen=True)
class Losses:
    """Weights of the objective; see `terrascope.model.configuration_terrascope`.

    Parameters
    ----------
    language, mask, dice, cross_entropy, boundary, contrastive : float
        As the model's settings of these names.
    """

    language: float = 1.0
    mask: float = 0.5
    dice: float = 1.0
    cross_entropy: float = 1.0
    boundary: float = 0.5
    contrastive: float = 0.1

    def __post_init__(self) -> None:
        for key, weight in dataclasses.asdict(self).items():
            at_least(f"losses: {key}", weight, 0)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW, clipping and the running mean of the weights.

    Parameters
    ----------
    weight_decay : float
        Of matrices and kernels; vectors (norms, biases) and embeddings have none.
    betas : tuple of float
        Of the moments.
    clip : float
        Largest norm of a gradient.
    mean_decay : float
        Of the exponential moving average that is validated and shipped; 0 for the last weights.
    precision : str
        As `terrascope.model.precision.PRECISIONS`.
    """

    weight_decay: float = 0.02
    betas: tuple[float, ...] = (0.9, 0.98)
    clip: float = 1.0
    mean_decay: float = 0.999
    precision: str = "auto"

    def __post_init__(self) -> None:
        _one_of("optimizer: precision", self.precision, ("auto", "float32", "bfloat16"))
        _share("optimizer: mean_decay", self.mean_decay)
        if len(self.betas) != 2 or not self.clip > 0:
            raise ConfigError("optimizer: expected two betas and a clip above 0")


@dataclasses.dataclass(frozen=True)
class Validation:
    """The fixed set of samples that no step ever sees.

    Parameters
    ----------
    every : int
        Steps between two looks at it; 0 for the end of a stage only.
    batches : int
        Its size, in batches of the stage.
    """

    every: int = 250
    batches: int = 4

    def __post_init__(self) -> None:
        at_least("validation: every", self.every, 0)
        at_least("validation: batches", self.batches, 1)


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """What a killed run goes on from.

    Parameters
    ----------
    every : int
        Steps between two.
    keep : int
        The last ones are kept.
    """

    every: int = 250
    keep: int = 2

    def __post_init__(self) -> None:
        at_least("checkpoints: every", self.every, 1)
        at_least("checkpoints: keep", self.keep, 1)


@dataclasses.dataclass(frozen=True)
class Adapters:
    """LoRA of the 8b's language model; see `terrascope.train.lora`.

    Parameters
    ----------
    rank : int
        Of the adapters; 0 for none.
    alpha : float
        Their weight is ``alpha / rank``.
    dropout : float
        Of their input.
    """

    rank: int = 0
    alpha: float = 32.0
    dropout: float = 0.05

    def __post_init__(self) -> None:
        at_least("adapters: rank", self.rank, 0)
        _share("adapters: dropout", self.dropout)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} {value!r}: expected one of {', '.join(allowed)}")


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a value that is too small.

    Parameters
    ----------
    name : str
        Of the setting.
    value, least : float
        What it is and what it may be.

    Raises
    ------
    ConfigError
        If it is less.
    """
    if not value >= least:
        raise ConfigError(f"{name} {value}: expected at least {least}")


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} {value}: expected between 0 and 1")
