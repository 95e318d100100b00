"""Catalog profiles: what differs by provider, as data (`catalogs/*.toml`).

The schema is written out in `catalogs/README.md`. Code reads a profile and never
tests a provider's name.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from terrascope.catalog.provider import (
    CollectionProfile,
    Profile,
    RefusedCollection,
    Server,
    Signing,
    Storage,
)
from terrascope.errors import ConfigError
from terrascope.sensors import SENSORS

__all__ = ["Profile", "list_profiles", "load_profile", "require_sensors"]

_Value = TypeVar("_Value")
_UNITS = ("reflectance", "linear", "dB", "metadata")
_COEFFICIENTS = ("", "gamma0", "sigma0", "metadata")
_FILTERS = ("none", "cql2-json")
_EVIDENCE = ("flag", "stated", "baseline", "date", "harmonised")
_SCHEMES = ("file", "http", "https", "s3", "gs", "az", "abfs")


def load_profile(name_or_path: str | Path) -> Profile:
    """Read a profile.

    Parameters
    ----------
    name_or_path : str or pathlib.Path
        Name of a profile that comes with TerraScope (``"earth-search"``), or the
        path of a ``.toml`` file.

    Returns
    -------
    profile : Profile
        Checked and frozen.

    Raises
    ------
    ConfigError
        If there is no such profile, or a key is unknown, missing or wrong; names
        file and key, what was found and what was expected.
    """
    text = str(name_or_path)
    known = list_profiles()
    path = Path(text) if text.endswith(".toml") or "/" in text else known.get(text)
    if path is None:
        raise ConfigError(
            f"catalog profile {text!r} is unknown: expected {', '.join(known)} or a .toml file"
        )
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"is not TOML: {error}", file=str(path)) from error
    return _read_profile(_Table(document, str(path), ""))


def list_profiles() -> dict[str, Path]:
    """Return the profiles that come with TerraScope.

    Returns
    -------
    profiles : dict of str to pathlib.Path
        Name -> file, sorted by name; from the installed package, or from
        ``catalogs/`` of a source tree.
    """
    here = Path(__file__).resolve().parent
    folders = (here / "profiles", here.parents[1] / "catalogs")
    folder = next((f for f in folders if f.is_dir()), None)
    return {} if folder is None else {p.stem: p for p in sorted(folder.glob("*.toml"))}


def require_sensors(
    profile: Profile, *, optical: str | None, sar: str | None, file: str = ""
) -> None:
    """Refuse a collection that stands under the key of another sensor.

    Parameters
    ----------
    profile : Profile
        Of the provider.
    optical, sar : str or None
        Collections as the monitor file names them; what the profile lacks is left to
        the search, which lists what there is.
    file : str
        The monitor file, named in complaints.

    Raises
    ------
    ConfigError
        If the profile states another sensor for a collection, or refuses it.
    """
    keys = {"sentinel-2": "sensors.optical", "sentinel-1": "sensors.sar"}
    for sensor, name in (("sentinel-2", optical), ("sentinel-1", sar)):
        found = None if name is None else profile.collection(name)
        if found is None or found.sensor == sensor:
            continue
        fitting = ", ".join(c.id for c in profile.collections if c.sensor == sensor)
        raise ConfigError(
            f"found {name!r}, which is {found.sensor}; expected {sensor}: "
            f"{fitting or f'profile {profile.name} has none'}. Move {name} to {keys[found.sensor]}",
            file=file or None,
            key=keys[sensor],
        )


class _Table:
    """One TOML table that knows its place; every key must be taken exactly once."""

    def __init__(self, values: object, file: str, prefix: str) -> None:
        if not isinstance(values, dict):
            raise ConfigError(f"found {values!r}, expected a table", file=file, key=prefix)
        self.values = dict(values)
        self.file = file
        self.prefix = prefix

    def fail(self, key: str, found: object, expected: str) -> ConfigError:
        return ConfigError(
            f"found {found!r}, expected {expected}", file=self.file, key=self._path(key)
        )

    def take(self, key: str, kind: type[_Value], default: _Value | None = None) -> _Value:
        """Remove and return a value of exactly that type."""
        if key not in self.values:
            if default is not None:
                return default
            raise ConfigError("is missing", file=self.file, key=self._path(key))
        value = self.values.pop(key)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise self.fail(key, value, kind.__name__)
        return value

    def choice(self, key: str, options: tuple[str, ...], default: str | None = None) -> str:
        value = self.take(key, str, default)
        if value not in options:
            raise self.fail(key, value, "one of " + ", ".join(map(repr, options)))
        return value

    def strings(self, key: str, options: tuple[str, ...] | None = None) -> tuple[str, ...]:
        values = self.take(key, list, [])
        for value in values:
            if type(value) is not str or (options is not None and value not in options):
                allowed = "strings" if options is None else "some of " + ", ".join(options)
                raise self.fail(key, values, f"a list of {allowed}")
        return tuple(values)

    def table(self, key: str) -> _Table:
        return _Table(self.values.pop(key, {}), self.file, self._path(key))

    def tables(self, key: str) -> list[_Table]:
        rows = self.take(key, list, [])
        return [_Table(row, self.file, f"{self._path(key)}[{i}]") for i, row in enumerate(rows)]

    def finish(self, expected: type) -> None:
        """Complain about keys that nobody took."""
        if self.values:
            key = min(self.values)
            names = ", ".join(f.name for f in dataclasses.fields(expected) if f.name != "file")
            raise ConfigError(
                f"unknown key; expected one of {names}", file=self.file, key=self._path(key)
            )

    def _path(self, key: str) -> str:
        return f"{self.prefix}.{key}" if self.prefix else key


def _read_profile(table: _Table) -> Profile:
    """Build the frozen value; each sub-table has its own reader."""
    collections = tuple(_read_collection(row) for row in table.tables("collections"))
    if not collections:
        raise ConfigError("expected at least one table", file=table.file, key="collections")
    ids = [c.id for c in collections]
    if len(set(ids)) < len(ids):
        raise table.fail("collections", ids, "every id once")
    profile = Profile(
        name=table.take("name", str),
        title=table.take("title", str),
        url=table.take("url", str),
        checked=table.take("checked", dt.date),
        collections=collections,
        refused=tuple(_read_refused(row) for row in table.tables("refused")),
        server=_read_server(table.table("server")),
        signing=_read_signing(table.table("signing")),
        storage=_read_storage(table.table("storage")),
        attribution=table.take("attribution", str, ""),
        attribution_property=table.take("attribution_property", str, ""),
        file=table.file,
    )
    table.finish(Profile)
    return profile


def _read_server(table: _Table) -> Server:
    server = Server(
        filter=table.choice("filter", _FILTERS, "none"),
        page_limit=table.take("page_limit", int, 100),
        retries=table.take("retries", int, 6),
        backoff_s=table.take("backoff_s", float, 0.5),
        timeout_s=table.take("timeout_s", float, 60.0),
    )
    if server.page_limit < 1:
        raise table.fail("page_limit", server.page_limit, "1 or more")
    if server.retries < 0:
        raise table.fail("retries", server.retries, "0 or more")
    table.finish(Server)
    return server


def _read_signing(table: _Table) -> Signing:
    signing = Signing(table.take("step", str, "none"), table.strings("environment"))
    table.finish(Signing)
    return signing


def _read_storage(table: _Table) -> Storage:
    schemes = table.strings("schemes", _SCHEMES)
    options = table.take("gdal", dict, {})
    for key, value in options.items():
        if type(value) is not str:
            raise table.fail(f"gdal.{key}", value, "a string")
    table.finish(Storage)
    return Storage(schemes or ("https",), options)


def _read_refused(table: _Table) -> RefusedCollection:
    refused = RefusedCollection(
        table.take("id", str), table.take("reason", str), table.take("alternative", str)
    )
    table.finish(RefusedCollection)
    return refused


def _read_collection(table: _Table) -> CollectionProfile:
    sensor = table.choice("sensor", tuple(SENSORS))
    nodata = table.take("nodata", float, math.inf)
    collection = CollectionProfile(
        id=table.take("id", str),
        sensor=sensor,
        assets=_read_assets(table.table("assets"), sensor),
        dtype=table.take("dtype", str),
        nodata=None if math.isinf(nodata) else nodata,
        scale=table.take("scale", float),
        unit=table.choice("unit", _UNITS),
        coefficient=table.choice("coefficient", _COEFFICIENTS, ""),
        offset=table.strings("offset", _EVIDENCE),
    )
    _check_radiometry(table, collection)
    table.finish(CollectionProfile)
    return collection


def _read_assets(table: _Table, sensor: str) -> Mapping[str, tuple[str, ...]]:
    known = SENSORS[sensor].bands + (("scl",) if sensor == "sentinel-2" else ())
    assets: dict[str, tuple[str, ...]] = {}
    for band, value in table.values.items():
        if band not in known:
            raise ConfigError(
                f"unknown band; expected one of {', '.join(known)}",
                file=table.file,
                key=f"{table.prefix}.{band}",
            )
        keys: Any = [value] if isinstance(value, str) else value
        if not isinstance(keys, list) or not keys or not all(isinstance(k, str) for k in keys):
            raise table.fail(band, value, "an asset key or a list of them")
        assets[band] = tuple(keys)
    if not assets:
        raise ConfigError("expected at least one band", file=table.file, key=table.prefix)
    return assets


def _check_radiometry(table: _Table, collection: CollectionProfile) -> None:
    """Refuse combinations that cannot be meant."""
    try:
        np.dtype(collection.dtype)
    except TypeError:
        raise table.fail("dtype", collection.dtype, "a numpy type name") from None
    if not (math.isfinite(collection.scale) and collection.scale > 0):
        raise table.fail("scale", collection.scale, "a positive number")
    if collection.sensor == "sentinel-2":
        if collection.unit != "reflectance":
            raise table.fail("unit", collection.unit, "'reflectance' for sentinel-2")
        if not collection.offset:
            raise table.fail("offset", [], f"a list of evidence from {', '.join(_EVIDENCE)}")
    elif collection.unit == "reflectance" or not collection.coefficient:
        found = f"{collection.unit}, coefficient {collection.coefficient!r}"
        raise table.fail("unit", found, "linear, dB or metadata, and a coefficient")
