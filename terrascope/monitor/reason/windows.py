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
from terrascope.monitor.alert_plan import AlertPlan, open_alerts
from terrascope.monitor.normalisation import decode
from terrascope.monitor.screen.plan import ScreenPlan
from terrascope.periods import Period
from terrascope.sensors import SENSORS
from terrascope.store.repository import Store
from terrascope.store.window import read_window
from terrascope.types import BoolArray, FloatArray

__all__ = ["Strip", "read_strip"]

_SLAB_VALUES = 16_000_000
"""Of all dates and bands that are decoded at a time: 64 MB, and a few copies of them."""

_EPOCH = dt.date(1970, 1, 1)


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
        The target is the median of its periods, the baseline that of the same season; of
        a pixel under an open alert, the median of the dates since it was raised. Of
        several orbits the one that saw most, on both sides, is taken.
    """
    composites, bands = {}, {}
    for sensor in plan.groups:
        groups = sorted(present.intersection(plan.zone_groups(sensor, tile.zone)))
        found = [_pair(plan, sensor, group, tile, store, rows, columns) for group in groups]
        if found:
            seen = [int(np.isfinite(pair).any(1).all(0).sum()) for pair in found]
            composites[sensor] = found[int(np.argmax(seen))]
            bands[sensor] = plan.bands[sensor]
    return Strip(
        composites, bands, (_middle(plan.baseline), _middle(plan.target)), plan.resolution_m
    )


def _pair(
    plan: ScreenPlan,
    sensor: str,
    group: str,
    tile: Tile,
    store: Store,
    rows: slice,
    columns: slice,
) -> FloatArray:
    """Composite both windows of time, in slabs of columns: a daily cube may have many dates."""
    periods = sum(map(len, _dated(plan, group)))
    per_column = max(1, periods * len(plan.bands[sensor]) * (rows.stop - rows.start))
    step = max(1, _SLAB_VALUES // per_column)
    slabs = [
        slice(left, min(left + step, columns.stop))
        for left in range(columns.start, columns.stop, step)
    ]
    pairs = [_slab(plan, sensor, group, tile, store, rows, slab) for slab in slabs]
    return pairs[0] if len(pairs) == 1 else np.concatenate(pairs, axis=-1)


def _slab(
    plan: ScreenPlan,
    sensor: str,
    group: str,
    tile: Tile,
    store: Store,
    rows: slice,
    columns: slice,
) -> FloatArray:
    root, path = store.root(), f"{group}/{SENSORS[sensor].variable}"

    def values(periods: Sequence[Period]) -> FloatArray:
        stored = read_window(root, path, rows, columns, times=[p.index for p in periods])
        return decode(stored, sensor)

    baseline, target = _dated(plan, group)
    if not baseline or not target:
        shape = len(plan.bands[sensor]), rows.stop - rows.start, columns.stop - columns.start
        return np.full((2, *shape), np.nan, np.float32)
    months = [period.start.month for period in baseline]
    month = plan.target[len(plan.target) // 2].start.month
    before = seasonal_reference(values(baseline), months, month)[0]
    after = values(target)
    if isinstance(plan, AlertPlan):
        results = plan.result_group(tile.zone)
        status = read_window(root, f"{results}/status", rows, columns)
        since = read_window(root, f"{results}/detected_on", rows, columns)
        for period, one in zip(target, after, strict=True):
            earlier = since > (period.start - _EPOCH).days
            one[:, open_alerts(status) & earlier] = np.nan  # before the alert
    return np.stack([before, nan_median(after)])


def _dated(plan: ScreenPlan, group: str) -> tuple[Sequence[Period], Sequence[Period]]:
    """Return the periods to read, without days that a daily cube does not hold."""
    if not isinstance(plan, AlertPlan) or group not in plan.dated:
        return plan.baseline, plan.target
    days = plan.dated[group]
    baseline, target = (
        tuple(p for p in periods if p.index in days) for periods in (plan.baseline, plan.target)
    )
    return baseline, target


def _middle(periods: Sequence[Period]) -> dt.date:
    """Return the middle day of the last period."""
    last = periods[-1]
    return last.start + (last.end - last.start) / 2
