"""What the docstrings say of parameters and returns, checked on the live objects."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import operator
import pkgutil
import re
import sys
from collections.abc import Iterator

import pytest
from numpydoc.validate import validate

import terrascope

CHECKS = {"PR01", "PR02", "PR03", "PR07", "RT01", "RT03", "YD01"}
HELP_TEXTS = "terrascope.cli"
"""Docstrings of commands are their help."""


def modules() -> list[str]:
    found = pkgutil.walk_packages(terrascope.__path__, "terrascope.")
    return sorted(m.name for m in found if m.name not in (HELP_TEXTS, "terrascope.__main__"))


def public_names(module: str) -> Iterator[str]:
    """Yield the public functions and classes that a module defines, and their methods."""
    loaded = importlib.import_module(module)
    for name in getattr(loaded, "__all__", ()):
        thing = getattr(loaded, name)
        if getattr(thing, "__module__", None) != module or not callable(thing):
            continue
        if not inspect.isclass(thing) or takes_parameters(thing):
            yield f"{module}.{name}"
        if inspect.isclass(thing):
            own = (key for key in vars(thing) if not key.startswith("_"))
            yield from (f"{module}.{name}.{key}" for key in own if callable(getattr(thing, key)))


def takes_parameters(thing: type) -> bool:
    """Tell whether a class has its own signature; an enum or a protocol has none."""
    return "__init__" in vars(thing) and not getattr(thing, "_is_protocol", False)


def is_foreign(module: str, name: str, message: str) -> bool:
    """Tell whether only fields that a class inherits from a library are undocumented here."""
    thing = operator.attrgetter(name.removeprefix(f"{module}."))(sys.modules[module])
    if not inspect.isclass(thing):
        return False
    bases = [base for base in thing.__mro__ if not base.__module__.startswith("terrascope")]
    fields = {
        field.name
        for base in bases
        if dataclasses.is_dataclass(base)
        for field in dataclasses.fields(base)
    }
    missing = set(re.findall(r"'(\*{0,2}\w+)'", message))
    return bool(missing) and missing <= fields


@pytest.mark.parametrize("module", modules())
def test_docstrings_match_signatures(module: str) -> None:
    faults = [
        f"{name}: {code} {message}"
        for name in public_names(module)
        for code, message in validate(name)["errors"]
        if code in CHECKS and not (code == "PR01" and is_foreign(module, name, message))
    ]
    assert faults == []
