"""From the cube to windows: two composites, before and after, of every sensor there is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np

from terrascope.cube.extent import Window as Extent
from terrascope.geo.tiles import Tile
from terrascope.kernels.seasonal import nan_median, seasonal_reference
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import UNITS, Stack, Window
from terrascope.monitor.normalisation import decode
from terrascope.monitor.screen import ScreenPlan
from terrascope.periods import Period
from terrascope.sensors import SENSORS
from terrascope.store.repository import Store
from terrascope.store.window import read_window
from terrascope.types import BoolArray, FloatArray

__all__ = ["Strip", "read_strip"]


class Strip:
    """Both composites of a rectangle of the zone's grid.

    Parameters
    ----------
    composites : dict of str to ndarray
        By sensor, float32 of shape (2, band, y, x), NaN where missing.
    bands : dict of str to tuple of str
        By sensor.
    dates : tuple of datetime.date
        Before and after.
    resolution_m : int
        Pixel size.
    """

    def __init__(
        self,
        composites: dict[str, FloatArray],
        bands: dict[str, tuple[str, ...]],
        dates: tuple[dt.date, dt.date],
        resolution_m: int,
    ) -> None:
        self._composites, self._bands, self._dates = composites, bands, dates
        self._resolution_m = resolution_m

    def seen(self, shape: tuple[int, int]) -> BoolArray:
        """Return which pixels one sensor saw both before and after.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns of the rectangle.

        Returns
        -------
        seen : ndarray of bool
            Of that shape.
        """
        found = np.zeros(shape, np.bool_)
        for values in self._composites.values():
            found |= np.isfinite(values).any(1).all(0)
        return found

    def window(self, part: Extent) -> Window | None:
        """Cut a window.

        Parameters
        ----------
        part : tuple of slice
            Rows and columns of the rectangle.

        Returns
        -------
        window : Window or None
            None where no sensor saw a pixel of it both before and after.

        Raises
        ------
        ValueError
            If its numbers cannot be what they are said to be.
        """
        stacks = {}
        for sensor, values in self._composites.items():
            cut = values[:, :, *part]
            if np.isfinite(cut).any(1).all(0).any():
                stacks[sensor] = Stack(sensor, cut, self._bands[sensor], self._dates, UNITS[sensor])
        if not stacks:
            return None
        shape = (part[0].stop - part[0].start, part[1].stop - part[1].start)
        return Window(
            Geometry.planar(shape, float(self._resolution_m)),
            stacks.get("sentinel-2"),
            stacks.get("sentinel-1"),
        )


def read_strip(
    plan: ScreenPlan, tile: Tile, store: Store, present: frozenset[str], rows: slice, columns: slice
) -> Strip:
    """Read a rectangle that may cross tiles.

    Parameters
    ----------
    plan : ScreenPlan
        Periods and cubes.
    tile : Tile
        Gives the zone.
    store : Store
        Held at one commit.
    present : frozenset of str
        Groups that exist.
    rows, columns : slice
        In pixels of the zone's arrays.

    Returns
    -------
    strip : Strip
        The target is the median of its periods, the baseline that of the same season. Of
        several orbits the one that saw most, on both sides, is taken.
    """
    composites, bands = {}, {}
    for sensor in plan.groups:
        groups = sorted(present.intersection(plan.zone_groups(sensor, tile.zone)))
        found = [_pair(plan, sensor, group, store, rows, columns) for group in groups]
        if found:
            seen = [int(np.isfinite(pair).any(1).all(0).sum()) for pair in found]
            composites[sensor] = found[int(np.argmax(seen))]
            bands[sensor] = plan.bands[sensor]
    return Strip(
        composites, bands, (_middle(plan.baseline), _middle(plan.target)), plan.resolution_m
    )


def _pair(
    plan: ScreenPlan, sensor: str, group: str, store: Store, rows: slice, columns: slice
) -> FloatArray:
    root, path = store.root(), f"{group}/{SENSORS[sensor].variable}"

    def values(periods: Sequence[Period]) -> FloatArray:
        stored = read_window(root, path, rows, columns, times=[p.index for p in periods])
        return decode(stored, sensor)

    months = [period.start.month for period in plan.baseline]
    month = plan.target[len(plan.target) // 2].start.month
    before = seasonal_reference(values(plan.baseline), months, month)[0]
    return np.stack([before, nan_median(values(plan.target))])


def _middle(periods: Sequence[Period]) -> dt.date:
    """Return the middle day of the last period."""
    last = periods[-1]
    return last.start + (last.end - last.start) / 2
