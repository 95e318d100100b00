"""The item table: one row per scene, every fact resolved, the same bytes for the same answer.

It is the only thing the rest of TerraScope knows of a catalog. Columns:

================== ====================================================================
id, collection     of the STAC item
sensor             ``sentinel-2`` or ``sentinel-1``
datetime           acquisition, UTC, microseconds
datetime_precision ``second``, ``day``, ``month``...: how much of `datetime` is known
solar_day          local solar date at the footprint's centre
geometry           footprint, EPSG:4326, split at the antimeridian
platform           ``sentinel-2a``..., empty where unknown
baseline           processing baseline, empty where unknown
updated            of the item, NaT where unknown
cloud_percent      0..100, NaN where unknown
orbit              relative orbit, -1 where unknown
orbit_state        ``ascending``, ``descending`` or empty
coefficient        ``gamma0``, ``sigma0`` or empty (optical)
mgrs               Sentinel-2 tile such as ``33TWL``, empty where unknown
assets             JSON: canonical band -> the fields of `AssetRef` that differ from its defaults
offset_source      what decided the Sentinel-2 offset
notes              JSON list: contradictions and assumptions
source             self link or path of the item
attribution        notice for whatever is derived
================== ====================================================================
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from terrascope.errors import CatalogError
from terrascope.types import AssetRef, Quarantine, SceneRef

__all__ = ["ItemRow", "ItemTable"]

_ASSET_DEFAULTS = {f.name: f.default for f in dataclasses.fields(AssetRef) if f.name != "href"}


@dataclasses.dataclass(frozen=True)
class ItemRow:
    """One scene on its way into an `ItemTable`; fields as its columns.

    Parameters
    ----------
    id, collection, sensor : str
        Of the scene.
    datetime : datetime.datetime
        UTC.
    solar_day : datetime.date
        Local solar date.
    geometry : shapely geometry
        Footprint.
    assets : mapping of str to AssetRef
        By canonical band.
    datetime_precision, platform, baseline : str
        See the module.
    updated : datetime.datetime or None
        UTC, None where unknown.
    cloud_percent : float
        NaN where unknown.
    orbit : int
        -1 where unknown.
    orbit_state, coefficient, mgrs, offset_source : str
        Empty where unknown.
    notes : tuple of str
        Contradictions and assumptions.
    source, attribution : str
        Where from, and the notice due.
    """

    id: str
    collection: str
    sensor: str
    datetime: dt.datetime
    solar_day: dt.date
    geometry: BaseGeometry
    assets: Mapping[str, AssetRef]
    datetime_precision: str = "second"
    platform: str = ""
    baseline: str = ""
    updated: dt.datetime | None = None
    cloud_percent: float = math.nan
    orbit: int = -1
    orbit_state: str = ""
    coefficient: str = ""
    mgrs: str = ""
    offset_source: str = ""
    notes: tuple[str, ...] = ()
    source: str = ""
    attribution: str = ""


_TEXT = (
    "id",
    "collection",
    "sensor",
    "datetime_precision",
    "platform",
    "baseline",
    "orbit_state",
    "coefficient",
    "mgrs",
    "offset_source",
    "source",
    "attribution",
)
_COLUMNS = (
    "id",
    "collection",
    "sensor",
    "datetime",
    "datetime_precision",
    "solar_day",
    "geometry",
    "platform",
    "baseline",
    "updated",
    "cloud_percent",
    "orbit",
    "orbit_state",
    "coefficient",
    "mgrs",
    "assets",
    "offset_source",
    "notes",
    "source",
    "attribution",
)
_IDENTITY = tuple(c for c in _COLUMNS if c not in ("source", "updated", "geometry", "notes"))


@dataclasses.dataclass(frozen=True, eq=False)
class ItemTable:
    """The scenes a search found, sorted by (datetime, id, collection).

    Parameters
    ----------
    frame : geopandas.GeoDataFrame
        Columns as the module says, index 0..n-1. Not modified.
    """

    frame: gpd.GeoDataFrame

    @classmethod
    def from_rows(cls, rows: Iterable[ItemRow]) -> ItemTable:
        """Build a table.

        Parameters
        ----------
        rows : iterable of ItemRow
            In any order.

        Returns
        -------
        table : ItemTable
            Sorted.
        """
        ordered = sorted(rows, key=lambda row: (row.datetime, row.id, row.collection))
        data: dict[str, Any] = {
            name: pd.Series([getattr(row, name) for row in ordered], dtype=object) for name in _TEXT
        }
        data["datetime"] = _times([row.datetime for row in ordered])
        data["updated"] = _times([row.updated for row in ordered])
        data["solar_day"] = pd.Series([row.solar_day for row in ordered], dtype=object)
        data["cloud_percent"] = np.array([row.cloud_percent for row in ordered], np.float64)
        data["orbit"] = np.array([row.orbit for row in ordered], np.int64)
        data["assets"] = pd.Series([_encode_assets(row.assets) for row in ordered], dtype=object)
        data["notes"] = pd.Series(
            [json.dumps(list(row.notes), ensure_ascii=False) for row in ordered], dtype=object
        )
        data["geometry"] = gpd.GeoSeries([row.geometry for row in ordered], crs="EPSG:4326")
        frame = gpd.GeoDataFrame({name: data[name] for name in _COLUMNS}, crs="EPSG:4326")
        return cls(frame)

    @classmethod
    def concat(cls, tables: Sequence[ItemTable]) -> ItemTable:
        """Join the tables of several searches; a scene found twice is kept once.

        Parameters
        ----------
        tables : sequence of ItemTable
            At least one.

        Returns
        -------
        table : ItemTable
            Sorted.

        Raises
        ------
        ValueError
            If there is no table.
        """
        if not tables:
            raise ValueError("concat needs at least one table")
        filled = [table.frame for table in tables if len(table)] or [tables[0].frame]
        frame = pd.concat(filled, ignore_index=True).drop_duplicates(["collection", "id"])
        frame = frame.sort_values(["datetime", "id", "collection"], ignore_index=True)
        return cls(gpd.GeoDataFrame(frame, geometry="geometry", crs="EPSG:4326"))

    @classmethod
    def read(cls, path: str | Path) -> ItemTable:
        """Read what `write` wrote.

        Parameters
        ----------
        path : str or pathlib.Path
            A GeoParquet file.

        Returns
        -------
        table : ItemTable
            The same table.

        Raises
        ------
        CatalogError
            If the file is not an item table.
        """
        try:
            frame = gpd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise CatalogError(f"{path} cannot be read as GeoParquet: {error}") from error
        if missing := [name for name in _COLUMNS if name not in frame.columns]:
            raise CatalogError(f"{path} is not an item table: no column {', '.join(missing)}")
        frame = frame[list(_COLUMNS)]
        # Arrow brings its own UTC; equal tables shall have equal types.
        zoned = {name: _times(frame[name]) for name in ("datetime", "updated")}
        return cls(frame.assign(**zoned))

    def write(self, path: str | Path) -> None:
        """Write GeoParquet; equal tables give equal bytes.

        Parameters
        ----------
        path : str or pathlib.Path
            Of the file.
        """
        self.frame.to_parquet(path, index=False, compression="zstd", row_group_size=10_000)

    def __len__(self) -> int:
        return len(self.frame)

    def scene(self, row: int) -> SceneRef:
        """Return one row as the cube needs it.

        Parameters
        ----------
        row : int
            0..len-1.

        Returns
        -------
        scene : SceneRef
            With its assets; addresses are not signed.
        """
        columns = self._columns
        return SceneRef(
            id=columns["id"][row],
            collection=columns["collection"][row],
            sensor=columns["sensor"][row],
            datetime=columns["datetime"][row],
            solar_day=columns["solar_day"][row],
            assets=_decode_assets(columns["assets"][row]),
            platform=columns["platform"][row],
            baseline=columns["baseline"][row],
            orbit=columns["orbit"][row],
            orbit_state=columns["orbit_state"][row],
            coefficient=columns["coefficient"][row],
            datetime_precision=columns["datetime_precision"][row],
        )

    def select(
        self, rows: Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]
    ) -> ItemTable:
        """Return some of the rows.

        Parameters
        ----------
        rows : sequence of int, or ndarray of int or bool
            Positions in ascending order, or a mask of the table's length.

        Returns
        -------
        table : ItemTable
            Those rows, renumbered.
        """
        picked = self.frame.iloc[np.asarray(rows)] if len(rows) else self.frame.iloc[:0]
        return ItemTable(picked.reset_index(drop=True))

    @cached_property
    def solar_days(self) -> NDArray[np.datetime64]:
        """Local solar dates, datetime64[D], shape (n,)."""
        return np.array(self.frame["solar_day"].to_list(), "datetime64[D]")

    @cached_property
    def sensors(self) -> NDArray[np.str_]:
        """Sensor names, shape (n,)."""
        return np.array(self.frame["sensor"].to_list(), dtype=np.str_)

    @cached_property
    def orbits(self) -> NDArray[np.int64]:
        """Relative orbits, -1 where unknown, shape (n,)."""
        orbits: NDArray[np.int64] = self.frame["orbit"].to_numpy(np.int64)
        return orbits

    @cached_property
    def footprints(self) -> NDArray[np.object_]:
        """Shapely geometries in EPSG:4326, shape (n,)."""
        return np.asarray(self.frame.geometry.array, dtype=object)

    def usual_bands(self, sensor: str, bands: Sequence[str]) -> tuple[str, ...]:
        """Return the bands that scenes of a sensor usually have.

        Parameters
        ----------
        sensor : str
            Name of the sensor.
        bands : sequence of str
            Canonical names to look for.

        Returns
        -------
        usual : tuple of str
            Those of `bands` that at least half of the scenes have, in their order; all of
            them where there is no scene.
        """
        held = [
            json.loads(assets)
            for assets, of in zip(self._columns["assets"], self.sensors, strict=True)
            if of == sensor
        ]
        return tuple(band for band in bands if 2 * sum(band in one for one in held) >= len(held))

    def of_one_coefficient(self) -> tuple[ItemTable, tuple[Quarantine, ...]]:
        """Keep, of the radar scenes of one orbit, those of the commonest coefficient.

        Gamma nought and sigma nought of the same ground differ by the terrain: a date of the
        one beside a date of the other looks like change.

        Returns
        -------
        table : ItemTable
            The same rows, but for those.
        left_out : tuple of Quarantine
            The others, with the cause.
        """
        radar = self.sensors == "sentinel-1"
        coefficients = np.array(self.frame["coefficient"].to_list(), dtype=object)
        keep, left_out = np.ones(len(self), np.bool_), []
        for orbit in np.unique(self.orbits[radar]):
            mine = np.flatnonzero(radar & (self.orbits == orbit))
            counts = Counter(coefficients[mine].tolist())
            if len(counts) < 2:
                continue
            usual = min(counts, key=lambda name: (-counts[name], name))
            for row in mine[coefficients[mine] != usual]:
                keep[row] = False
                cause = (
                    f"its backscatter is {coefficients[row] or 'of an unknown coefficient'}, that "
                    f"of most scenes of orbit {orbit} is {usual or 'unknown'}: not comparable"
                )
                left_out.append(Quarantine(self.frame["id"].iloc[row], "*", cause))
        return self.select(keep), tuple(left_out)

    def identity(self) -> str:
        """Return a hash that changes when a scene, its place or its rasters change.

        Returns
        -------
        identity : str
            SHA-256 in hexadecimal; independent of which server told (`source`) and
            of when the item was touched (`updated`).
        """
        digest = hashlib.sha256()
        for name in _IDENTITY:
            digest.update(name.encode())
            digest.update("\x1f".join(map(str, self.frame[name].to_list())).encode())
        for wkb in self.frame.geometry.to_wkb():
            digest.update(wkb)
        return digest.hexdigest()

    @cached_property
    def _columns(self) -> dict[str, list[Any]]:
        """Plain lists: looking up single cells of a data frame is slow."""
        columns = {name: self.frame[name].to_list() for name in (*_TEXT, "assets", "orbit")}
        columns["datetime"] = pd.DatetimeIndex(self.frame["datetime"]).to_pydatetime().tolist()
        columns["solar_day"] = self.frame["solar_day"].to_list()
        return columns


def _times(values: Iterable[dt.datetime | None]) -> pd.Series[Any]:
    moments = values if isinstance(values, pd.Series) else pd.Series(list(values), dtype=object)
    return pd.to_datetime(moments, utc=True).dt.tz_convert(dt.UTC).dt.as_unit("us")


def _encode_assets(assets: Mapping[str, AssetRef]) -> str:
    """Leave out what `AssetRef` defaults to: it is the greater part of a large table."""
    packed: dict[str, dict[str, Any]] = {}
    for band in sorted(assets):
        asset = assets[band]
        fields: dict[str, Any] = {"href": asset.href}
        for name, default in _ASSET_DEFAULTS.items():
            value = getattr(asset, name)
            if isinstance(value, float) and math.isnan(value):
                value = "nan"  # JSON has no NaN
            if value != default:
                fields[name] = list(value) if isinstance(value, tuple) else value
        packed[band] = fields
    return json.dumps(packed, separators=(",", ":"), ensure_ascii=False)


def _decode_assets(text: str) -> dict[str, AssetRef]:
    assets: dict[str, AssetRef] = {}
    for band, fields in json.loads(text).items():
        if fields.get("nodata") == "nan":
            fields["nodata"] = math.nan
        if "transform" in fields:
            fields["transform"] = tuple(fields["transform"])
        if "shape_yx" in fields:
            fields["shape_yx"] = tuple(fields["shape_yx"])
        assets[band] = AssetRef(**fields)
    return assets
