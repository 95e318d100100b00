"""The recipe of a training run: a value, read from TOML and checked before anything is built."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from terrascope.errors import ConfigError

__all__ = [
    "INJECTIONS",
    "PACKAGED",
    "SOURCES",
    "Adapters",
    "Checkpoints",
    "Losses",
    "Mechanism",
    "Optimizer",
    "Recipe",
    "Stage",
    "Validation",
    "read_recipe",
    "recipe_of",
]

SOURCES = ("segmentation", "language", "cot")
"""What a stage learns from: many masks per window; text with figures, no image; whole samples."""

INJECTIONS = ("mask", "none", "random", "box")
"""Whose visual tokens follow a mask: its own, none, as many random ones, those of its box."""

PACKAGED = ("nano", "smoke")
"""Recipes that come with the package, by name."""


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
    images : bool
        Whether the language model sees the images. Masks are decoded from them either way;
        without, a stage of masks alone takes a fraction of the time.
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
    images: bool = True
    weights: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of(f"stages {self.name!r}: source", self.source, SOURCES)
        for key in ("steps", "batch", "batches", "samples", "window_px"):
            _at_least(f"stages {self.name!r}: {key}", getattr(self, key), 1)
        _at_least(f"stages {self.name!r}: warmup", self.warmup, 0)
        if not self.rate > 0:
            raise ConfigError(f"stages {self.name!r}: rate {self.rate}: expected above 0")
        _share(f"stages {self.name!r}: final_rate", self.final_rate)
        _share(f"stages {self.name!r}: absent", self.absent)
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
            _at_least(f"losses: {key}", weight, 0)


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
        _at_least("validation: every", self.every, 0)
        _at_least("validation: batches", self.batches, 1)


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
        _at_least("checkpoints: every", self.every, 1)
        _at_least("checkpoints: keep", self.keep, 1)


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
        _at_least("adapters: rank", self.rank, 0)
        _share("adapters: dropout", self.dropout)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A whole run.

    Parameters
    ----------
    name : str
        Of the model that comes out.
    stages : tuple of Stage
        In order; the weights go from one to the next.
    seed : int
        Of weights, data and dropout.
    start : str
        Folder of a model to start from; empty for fresh weights of the nano.
    workers : int
        Processes that make samples; 0 makes them between the steps.
    window_px : int
        Side of the windows that the finished model takes.
    nano : mapping of str to Any
        Settings of `NanoConfig` that differ from their defaults.
    mechanism, losses, optimizer, validation, checkpoints, adapters : see their classes
        Settings.
    """

    name: str
    stages: tuple[Stage, ...]
    seed: int = 0
    start: str = ""
    workers: int = 2
    window_px: int = 128
    nano: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    mechanism: Mechanism = dataclasses.field(default_factory=Mechanism)
    losses: Losses = dataclasses.field(default_factory=Losses)
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    validation: Validation = dataclasses.field(default_factory=Validation)
    checkpoints: Checkpoints = dataclasses.field(default_factory=Checkpoints)
    adapters: Adapters = dataclasses.field(default_factory=Adapters)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("a recipe without [[stages]]: expected at least one")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ConfigError(f"stages {names}: expected different names")
        _at_least("workers", self.workers, 0)

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def digest(self) -> str:
        """A hash of all that decides the weights; how many workers make the data does not.

        Settings at their defaults are left out: a run goes on though a new setting came up.
        """
        plain = dataclasses.replace(
            self, workers=0, validation=Validation(), checkpoints=Checkpoints()
        )
        text = json.dumps(_chosen(plain), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_recipe(source: str | Path) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    source : str or Path
        A TOML file, or the name of one of `PACKAGED`.

    Returns
    -------
    recipe : Recipe
        Checked.

    Raises
    ------
    ConfigError
        If there is no such file, it is no TOML, or a key or value is wrong; the message names
        it.
    """
    path = Path(source)
    if str(source) in PACKAGED and not path.exists():
        text = (resources.files("terrascope.train") / "recipes" / f"{source}.toml").read_text()
    elif path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        raise ConfigError(f"{source}: no such recipe; expected a TOML file or one of {PACKAGED}")
    try:
        return recipe_of(tomllib.loads(text))
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(f"{source}: {cause}") from cause
    except ConfigError as cause:
        raise ConfigError(f"{source}: {cause}") from cause


def recipe_of(table: Mapping[str, Any]) -> Recipe:
    """Build a recipe from a table.

    Parameters
    ----------
    table : mapping
        As TOML gives it.

    Returns
    -------
    recipe : Recipe
        Checked.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value is wrong; the message names it.
    """
    made: Recipe = _build(Recipe, table, "")
    return made


def _build(kind: Any, table: Any, where: str) -> Any:
    """Build a dataclass from a table, naming every key that it does not have."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where or 'recipe'}: expected a table, not {table!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(table) - set(fields))
    if unknown:
        place = f"in [{where}]" if where else "at the top"
        raise ConfigError(f"unknown key {unknown[0]!r} {place}; expected {', '.join(fields)}")
    required = [n for n, f in fields.items() if _is_required(f) and n not in table]
    if required:
        raise ConfigError(f"[{where or 'recipe'}] lacks the key {required[0]!r}")
    types_of = typing.get_type_hints(kind)
    return kind(**{key: _value(types_of[key], value, key) for key, value in table.items()})


def _chosen(value: Any) -> Any:
    """Return what of a value was chosen: fields that differ from their defaults."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: _chosen(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if _is_required(field) or getattr(value, field.name) != _default(field)
        }
    if isinstance(value, tuple):
        return [_chosen(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _value(kind: Any, value: Any, key: str) -> Any:
    """Bring one value to the type of its field."""
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, key)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _value(next(one for one in inner if one is not type(None)), value, key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{key}: expected a list, not {value!r}")
        return tuple(_value(inner[0], one, key) for one in value)
    if isinstance(kind, type) and kind in (bool, int, float, str):
        accepted = (int, float) if kind is float else (kind,)
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise ConfigError(f"{key}: expected {kind.__name__}, not {value!r}")
        return kind(value)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}: expected a table, not {value!r}")
    return dict(value)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} {value!r}: expected one of {', '.join(allowed)}")


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name} {value}: expected at least {least}")


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} {value}: expected between 0 and 1")
