"""Where the demo lies: an area across the border of two UTM zones, and its pixel grids."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray

from terrascope.geo.tiles import Zone

__all__ = ["CENTRE_LONLAT", "DemoGrid", "aoi_document", "aoi_polygon", "demo_grids", "to_lonlat"]

CENTRE_LONLAT = (18.0, 49.86)
"""Longitude and latitude of the middle, on the border of zones 33 and 34."""

_HALF_WIDTH_M, _HALF_HEIGHT_M = 3400.0, 2600.0
_OVERLAP_M = 900.0  # by which each zone's scenes reach beyond the border, as MGRS tiles do
_MARGIN_M = 150.0
_SNAP_M = 60.0
_GROUND = (
    f"+proj=aeqd +lon_0={CENTRE_LONLAT[0]} +lat_0={CENTRE_LONLAT[1]} +datum=WGS84 +units=m +no_defs"
)


@dataclasses.dataclass(frozen=True)
class DemoGrid:
    """The 10 m pixel grid of one zone's scenes.

    Parameters
    ----------
    zone : Zone
        UTM zone.
    code : str
        Name of the MGRS tile the grid is a piece of.
    west_m, north_m : float
        Outer corner of the first pixel, multiples of 60 m.
    shape : tuple of int
        Rows and columns, multiples of 6.
    """

    zone: Zone
    code: str
    west_m: float
    north_m: float
    shape: tuple[int, int]

    def transform(self, gsd_m: int) -> Affine:
        """Return the affine transform of the grid at some pixel size.

        Parameters
        ----------
        gsd_m : int
            10, 20 or 60.

        Returns
        -------
        transform : affine.Affine
            North up.
        """
        return Affine(gsd_m, 0.0, self.west_m, 0.0, -gsd_m, self.north_m)

    def ground(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the world coordinates of the pixel centres.

        Returns
        -------
        x_m, y_m : ndarray of float64, shape (y, x)
            Azimuthal equidistant metres about the demo's middle: one ground for
            both zones.
        """
        rows, columns = self.shape
        x = self.west_m + (np.arange(columns) + 0.5) * 10.0
        y = self.north_m - (np.arange(rows) + 0.5) * 10.0
        east, north = np.meshgrid(x, y)
        to_ground = _transformer(self.zone.epsg, _GROUND)
        x_m, y_m = to_ground.transform(east, north)
        return np.asarray(x_m), np.asarray(y_m)

    def outline(self) -> shapely.Polygon:
        """Return the grid's outline in world coordinates.

        Returns
        -------
        polygon : shapely.Polygon
            With points every few hundred metres, so that it bends as the zone does.
        """
        rows, columns = self.shape
        box = shapely.box(
            self.west_m, self.north_m - 10.0 * rows, self.west_m + 10.0 * columns, self.north_m
        )
        to_ground = _transformer(self.zone.epsg, _GROUND)
        return _moved(shapely.segmentize(box, 500.0), to_ground)


def aoi_polygon() -> shapely.Polygon:
    """Return the area of interest.

    Returns
    -------
    polygon : shapely.Polygon
        Longitude and latitude in degrees.
    """
    # A corner is cut off, so that the AOI is no rectangle.
    width, height = _HALF_WIDTH_M, _HALF_HEIGHT_M
    shell = [
        (-width, -height),
        (width, -height),
        (width, height - 700),
        (width - 900, height),
        (-width, height),
    ]
    return to_lonlat(shapely.segmentize(shapely.Polygon(shell), 1000.0))


def aoi_document() -> dict[str, Any]:
    """Return the area of interest as GeoJSON.

    Returns
    -------
    document : dict
        A FeatureCollection of one feature.
    """
    geometry = json.loads(shapely.to_geojson(shapely.set_precision(aoi_polygon(), 1e-7)))
    feature = {"type": "Feature", "properties": {"name": "demo"}, "geometry": geometry}
    return {"type": "FeatureCollection", "features": [feature]}


def to_lonlat(polygon: shapely.Polygon) -> shapely.Polygon:
    """Move a polygon from world coordinates to longitude and latitude.

    Parameters
    ----------
    polygon : shapely.Polygon
        In world coordinates, metres.

    Returns
    -------
    polygon : shapely.Polygon
        In degrees.
    """
    return _moved(polygon, _transformer(_GROUND, 4326))


def demo_grids() -> tuple[DemoGrid, DemoGrid]:
    """Return the pixel grids of the western and the eastern zone; they overlap at the border.

    Returns
    -------
    west, east : DemoGrid
        Of zones 33N and 34N.
    """
    return _grid(Zone(33, "N"), "33UYR"), _grid(Zone(34, "N"), "34UBA")


def _grid(zone: Zone, code: str) -> DemoGrid:
    """Cover the zone's half of the AOI, and a strip beyond the border."""
    width, height = _HALF_WIDTH_M + _MARGIN_M, _HALF_HEIGHT_M + _MARGIN_M
    west, east = (-width, _OVERLAP_M) if zone.number == 33 else (-_OVERLAP_M, width)
    to_zone = _transformer(_GROUND, zone.epsg)
    x, y = to_zone.transform([west, east, east, west], [-height, -height, height, height])
    left, right = (np.floor(min(x) / _SNAP_M), np.ceil(max(x) / _SNAP_M))
    bottom, top = (np.floor(min(y) / _SNAP_M), np.ceil(max(y) / _SNAP_M))
    per_snap = int(_SNAP_M // 10)
    shape = (int(top - bottom) * per_snap, int(right - left) * per_snap)
    return DemoGrid(zone, code, float(left * _SNAP_M), float(top * _SNAP_M), shape)


def _moved(polygon: shapely.Polygon, transformer: pyproj.Transformer) -> shapely.Polygon:
    shell = np.asarray(polygon.exterior.coords)
    return shapely.Polygon(np.column_stack(transformer.transform(shell[:, 0], shell[:, 1])))


@lru_cache(maxsize=16)
def _transformer(source: int | str, target: int | str) -> pyproj.Transformer:
    """Make a transformer once: each reads the projection database."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
