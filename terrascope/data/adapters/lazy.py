"""Scenes that are read when they are asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from odc.geo.geobox import GeoBox

from terrascope.data.scenes import LabelledScene
from terrascope.errors import ReadError
from terrascope.model.geometry import Geometry

__all__ = ["LazyScenes", "geometry_of", "read_json"]

_MOST_BYTES = 2**28
_MERCATOR = 3857


class LazyScenes(Sequence[LabelledScene]):
    """A sequence of scenes of which only the names are held.

    Parameters
    ----------
    names : sequence of str
        Of the scenes, in their order.
    read : callable
        Gives the scene of a name; called anew at every access. What it finds that cannot be a
        scene (`ValueError`) becomes a `ReadError` with the name.
    """

    def __init__(self, names: Sequence[str], read: Callable[[str], LabelledScene]) -> None:
        self.names = tuple(names)
        self._read = read

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> LabelledScene: ...
    @overload
    def __getitem__(self, index: slice) -> LazyScenes: ...
    def __getitem__(self, index: int | slice) -> LabelledScene | LazyScenes:
        if isinstance(index, slice):
            return LazyScenes(self.names[index], self._read)
        name = self.names[index]
        try:
            return self._read(name)
        except ValueError as error:
            raise ReadError(str(error), item=name) from error


def geometry_of(grid: GeoBox) -> Geometry:
    """Return the ground under the pixels of a grid.

    Parameters
    ----------
    grid : odc.geo.geobox.GeoBox
        North up, in metres or degrees.

    Returns
    -------
    geometry : Geometry
        On the ellipsoid where the grid is in degrees; Web Mercator pixels have their true size.
    """
    rows, columns = grid.shape.yx
    step = (abs(grid.affine.e), abs(grid.affine.a))
    if grid.crs is not None and grid.crs.geographic:
        return Geometry.geographic((rows, columns), grid.affine.f, step)
    stretch = 1.0
    if grid.crs is not None and grid.crs.epsg == _MERCATOR:
        middle = grid.affine.f + grid.affine.e * rows / 2
        stretch = 1.0 / math.cosh(middle / 6_378_137.0)
    return Geometry.planar((rows, columns), (step[0] * stretch, step[1] * stretch))


def read_json(path: Path, *, item: str) -> Any:
    """Read a JSON file of limited size.

    Parameters
    ----------
    path : Path
        The file.
    item : str
        Whose, for messages.

    Returns
    -------
    document : object
        As parsed.

    Raises
    ------
    ReadError
        If there is no such file, or it is too large or no JSON.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ReadError(
                f"{path.stat().st_size} bytes; expected at most {_MOST_BYTES}",
                item=item,
                band=path.name,
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(
            f"not a readable JSON file: {error}", item=item, band=path.name, url=str(path)
        ) from error
