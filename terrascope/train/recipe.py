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
from terrascope.train.settings import (
    Adapters,
    Checkpoints,
    Losses,
    Mechanism,
    Optimizer,
    Stage,
    Validation,
    at_least,
)

__all__ = ["PACKAGED", "Recipe", "read_recipe", "recipe_of"]

PACKAGED = (
    "nano",
    "nano-again",
    "nano-dates",
    "nano-long",
    "nano-words",
    "nano-longer",
    "nano-words-again",
    "smoke",
)
"""Recipes that come with the package, by name."""


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
        Folder of a model to start from, or ``"nano"`` for the packaged one; empty for fresh
        weights of the nano.
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
        at_least("workers", self.workers, 0)

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def digest(self) -> str:
        """A hash of all that decides the weights; how many workers make the data does not.

        Settings at their defaults are left out: a run goes on though a new setting came up.
        """
        return self.digest_of(len(self.stages))

    def digest_of(self, stages: int) -> str:
        """Hash what decides the weights at the end of some stages.

        Parameters
        ----------
        stages : int
            How many, from the first one.

        Returns
        -------
        digest : str
            The same for recipes that differ in later stages only.
        """
        plain = dataclasses.replace(
            self, workers=0, validation=Validation(), checkpoints=Checkpoints()
        )
        chosen = _chosen(plain)
        chosen["stages"] = chosen["stages"][:stages]
        text = json.dumps(chosen, sort_keys=True)
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
