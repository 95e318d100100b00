"""The area of interest: valid polygons in longitude and latitude, wherever they came from."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pyproj
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from terrascope.errors import ConfigError
from terrascope.geo.antimeridian import (
    lonlat_bounds,
    polygons_of,
    split_at_antimeridian,
    split_bbox,
)

__all__ = ["NORTH_LIMIT", "SOUTH_LIMIT", "Aoi", "read_regions"]

NORTH_LIMIT = 84.0
"""Northern end of the UTM zones, and so of the tile grid, in degrees."""

SOUTH_LIMIT = -80.0
"""Southern end of the UTM zones, in degrees."""

_GEOD = pyproj.Geod(ellps="WGS84")


@dataclasses.dataclass(frozen=True)
class Aoi:
    """An area of interest.

    Parameters
    ----------
    geometry : shapely Polygon or MultiPolygon
        EPSG:4326, valid, split at the antimeridian, holes kept. Build it with one
        of the `from_...` constructors, which see to that.
    name : str
        For reports.
    source : str
        Where it came from: a path, ``"bbox"``, ``"wkt"``.
    """

    geometry: Polygon | MultiPolygon
    name: str = "aoi"
    source: str = ""

    @classmethod
    def from_file(cls, path: str | Path, layer: str | None = None, *, name: str = "") -> Aoi:
        """Read all polygons of a GeoJSON, GeoPackage or other OGR file as one area.

        Parameters
        ----------
        path : str or Path
            The file, in any CRS that it declares.
        layer : str or None
            Which layer; needed where the file has several.
        name : str
            Of the area, default the file's stem.

        Returns
        -------
        aoi : Aoi
            The union of the polygons.

        Raises
        ------
        ConfigError
            If the file cannot be read, has no CRS, or holds anything but polygons
            between 80 S and 84 N.
        """
        frame = _read_frame(Path(path), layer)
        try:
            geometry = _to_lonlat(list(frame.geometry), frame.crs)
        except ConfigError as error:
            raise ConfigError(str(error), file=str(path)) from error
        return cls(geometry, name or Path(path).stem, str(path))

    @classmethod
    def from_wkt(cls, text: str, *, name: str = "aoi") -> Aoi:
        """Read WKT in EPSG:4326.

        Parameters
        ----------
        text : str
            ``POLYGON (...)`` or ``MULTIPOLYGON (...)``, longitude first.
        name : str
            Of the area.

        Returns
        -------
        aoi : Aoi
            The area.

        Raises
        ------
        ConfigError
            If `text` is no WKT, or no polygon between 80 S and 84 N.
        """
        try:
            geometry = shapely.from_wkt(text)
        except shapely.errors.ShapelyError as error:
            raise ConfigError(f"{text[:60]!r} is no WKT ({error})") from error
        return cls(_to_lonlat([geometry], None), name, "wkt")

    @classmethod
    def from_bbox(cls, bbox: Sequence[float], *, name: str = "aoi") -> Aoi:
        """Make an area of a bounding box.

        Parameters
        ----------
        bbox : sequence of 4 float
            West, south, east, north in degrees; west > east crosses the antimeridian.
        name : str
            Of the area.

        Returns
        -------
        aoi : Aoi
            The area.

        Raises
        ------
        ConfigError
            If the box is empty, reversed or outside the world.
        """
        shown = list(bbox)
        if len(shown) != 4 or not all(np.isfinite(v) for v in shown):
            raise ConfigError(f"bbox {shown}: expected 4 finite numbers, west south east north")
        west, south, east, north = (float(v) for v in shown)
        if abs(west) > 180 or abs(east) > 180 or abs(south) > 90 or abs(north) > 90:
            raise ConfigError(
                f"bbox {shown} lies outside the world; expected degrees, west south east north, "
                "longitudes -180..180 and latitudes -90..90"
            )
        if south >= north:
            raise ConfigError(
                f"bbox {shown}: south {south} is not below north {north}; "
                "expected west south east north"
            )
        if west == east:
            raise ConfigError(f"bbox {shown} is empty: west and east are both {west}")
        if west > east and (width := east + 360.0 - west) > 180.0:
            raise ConfigError(
                f"bbox {shown}: west > east means across the antimeridian, which would be "
                f"{width:g} degrees wide; expected west south east north"
            )
        return cls(_checked(split_bbox(west, south, east, north)), name, "bbox")

    @classmethod
    def from_geometry(
        cls, geometry: BaseGeometry, *, crs: Any = None, name: str = "aoi", source: str = ""
    ) -> Aoi:
        """Make an area of a shapely geometry.

        Parameters
        ----------
        geometry : shapely.Geometry
            Polygon or MultiPolygon.
        crs : pyproj.CRS or anything it accepts
            Of `geometry`; None means EPSG:4326.
        name : str
            Of the area.
        source : str
            Where it came from.

        Returns
        -------
        aoi : Aoi
            The area.

        Raises
        ------
        ConfigError
            If the geometry is no polygon between 80 S and 84 N.
        """
        return cls(_to_lonlat([geometry], crs), name, source)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees; west > east across the antimeridian."""
        return lonlat_bounds(self.geometry)

    @property
    def area_km2(self) -> float:
        """Area on the WGS 84 ellipsoid in square kilometres."""
        dense = shapely.segmentize(self.geometry, 0.1)
        parts = shapely.orient_polygons(np.asarray(polygons_of(dense), dtype=object))
        return float(sum(_GEOD.geometry_area_perimeter(part)[0] for part in parts)) / 1e6


def read_regions(
    path: str | Path, layer: str | None = None, *, name_field: str | None = None
) -> list[Aoi]:
    """Read named polygons, for totals per district.

    Parameters
    ----------
    path : str or Path
        GeoJSON, GeoPackage or another OGR file, in any CRS that it declares.
    layer : str or None
        Which layer; needed where the file has several.
    name_field : str or None
        Column of the names; default ``name`` or ``id`` in any case, else numbers.

    Returns
    -------
    regions : list of Aoi
        In the order of the file.

    Raises
    ------
    ConfigError
        If the file cannot be read, the column is missing, or a feature is no polygon.
    """
    frame = _read_frame(Path(path), layer)
    columns = [str(column) for column in frame.columns if column != frame.geometry.name]
    if name_field is not None and name_field not in columns:
        raise ConfigError(f"no column {name_field!r}; it has {columns}", file=str(path))
    by_lower = {column.lower(): column for column in reversed(columns)}
    field = name_field or by_lower.get("name") or by_lower.get("id")
    numbers = [f"region {i + 1}" for i in range(len(frame))]
    names = [str(value) for value in frame[field]] if field else numbers
    regions = []
    for name, geometry in zip(names, frame.geometry, strict=True):
        try:
            regions.append(Aoi(_to_lonlat([geometry], frame.crs), name, str(path)))
        except ConfigError as error:
            raise ConfigError(f"region {name!r}: {error}", file=str(path)) from error
    return regions


def _read_frame(path: Path, layer: str | None) -> geopandas.GeoDataFrame:
    if not path.is_file():
        raise ConfigError("no such file; expected a GeoJSON or GeoPackage", file=str(path))
    try:
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        if layer is None and len(layers) > 1:
            raise ConfigError(f"has the layers {layers}; say which one", file=str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = pyogrio.read_dataframe(path, layer=layer, fid_as_index=False)
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise ConfigError(
            f"cannot be read as vector data ({error}); expected a GeoJSON or GeoPackage",
            file=str(path),
        ) from error
    if not isinstance(frame, geopandas.GeoDataFrame) or frame.empty:
        raise ConfigError("holds no features; expected at least one polygon", file=str(path))
    if frame.crs is None:
        raise ConfigError("declares no CRS; expected one, for instance EPSG:4326", file=str(path))
    return frame


def _to_lonlat(geometries: Sequence[BaseGeometry | None], crs: Any) -> Polygon | MultiPolygon:
    """Return the union of polygons in EPSG:4326, checked."""
    found = [g for g in geometries if g is not None and not g.is_empty]
    if not found:
        raise ConfigError("the geometry is empty; expected at least one polygon")
    kinds = sorted({g.geom_type for g in found} - {"Polygon", "MultiPolygon"})
    if kinds:
        raise ConfigError(f"found {', '.join(kinds)}; expected Polygon or MultiPolygon only")
    flat = shapely.force_2d(np.asarray(found, dtype=object))
    if crs is not None and not _is_lonlat(pyproj.CRS.from_user_input(crs)):
        flat = _unproject(flat, pyproj.CRS.from_user_input(crs))
    bounds = shapely.total_bounds(flat)
    if (
        not np.isfinite(bounds).all()
        or np.abs(bounds[::2]).max() > 360
        or (np.abs(bounds[1::2]).max() > 90)
    ):
        raise ConfigError(
            f"lies outside the world (x {bounds[0]:g}..{bounds[2]:g}, y {bounds[1]:g}.."
            f"{bounds[3]:g}); expected longitude -180..180 first, latitude -90..90 second: "
            "are the axes swapped, or is the CRS not declared?"
        )
    try:
        parts = [part for geometry in flat for part in polygons_of(geometry)]
        return _checked(split_at_antimeridian(MultiPolygon(parts)))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _is_lonlat(crs: pyproj.CRS) -> bool:
    return bool(crs.equals("EPSG:4326", ignore_axis_order=True) or crs.equals("OGC:CRS84"))


def _unproject(geometries: np.ndarray, crs: pyproj.CRS) -> np.ndarray:
    """Transform to degrees; edges that are straight in a projection become curves there."""
    if crs.is_projected:
        geometries = shapely.segmentize(geometries, 1000.0)
    transformer = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return np.asarray(
        shapely.transform(
            geometries, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
        ),
        dtype=object,
    )


def _checked(geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    if geometry.is_empty or geometry.area == 0:
        raise ConfigError("the geometry has no area; expected at least one polygon")
    _, south, _, north = geometry.bounds
    if south < SOUTH_LIMIT or north > NORTH_LIMIT:
        raise ConfigError(
            f"reaches from latitude {south:g} to {north:g}; the UTM grid ends at 80 S and 84 N"
        )
    return geometry
