"""The plan of the alerts: days instead of periods, rules, and where the model is to look."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from terrascope.geo.tiles import Zone
from terrascope.kernels.alerts import AlertRules
from terrascope.monitor.screen.plan import ScreenPlan
from terrascope.periods import Period
from terrascope.store.schema import NO_DATE, Layer
from terrascope.types import FloatArray, Status

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = [
    "ALERT_LAYERS",
    "AlertPlan",
    "alert_score",
    "dated_plan",
    "open_alerts",
    "plan_alerts",
]

_DAYS = "days since 1970-01-01"

ALERT_LAYERS = (
    Layer("confirmed_on", "int32", NO_DATE, "day of the confirmation", units=_DAYS, missing=True),
    Layer("closed_on", "int32", NO_DATE, "day of the closing", units=_DAYS, missing=True),
    Layer("events", "uint16", 0, "confirmed events so far", units="1"),
)
"""Written besides the layers of every result."""


@dataclasses.dataclass(frozen=True, eq=False)
class AlertPlan(ScreenPlan):
    """All work of the alerts: a screen's plan whose periods are single days.

    Parameters
    ----------
    resolution_m : int
        Pixel size.
    target, baseline : tuple of Period
        Days that are monitored, and those of the past.
    groups : mapping of str to tuple of str
        Groups of the cube by sensor.
    bands : mapping of str to tuple of str
        Bands of each sensor's cube.
    batches : tuple of tuple of Tile
        Neighbouring tiles that are committed together.
    aoi : Aoi
        Outside of it nothing is stated.
    threshold : float
        Probability from which an observation is anomalous.
    run_id : str
        Names the result group.
    rules : AlertRules
        Of the fold.
    dated : mapping of str to frozenset of int
        Time indices that a group of the cube holds, where they are known; see `dated_plan`.
    """

    rules: AlertRules = dataclasses.field(default_factory=AlertRules)
    dated: Mapping[str, frozenset[int]] = dataclasses.field(default_factory=dict)

    @property
    def evidence(self) -> tuple[Layer, ...]:
        """Layers written besides those of every result."""
        return ALERT_LAYERS

    def settings(self) -> dict[str, Any]:
        """Return what a work item's key must know besides its inputs.

        Returns
        -------
        settings : dict
            JSON-ready.
        """
        days = {
            name: [[span[0].id, span[-1].id] for span in _runs(periods)]
            for name, periods in (("target", self.target), ("baseline", self.baseline))
        }
        return {**super().settings(), **days, "rules": self.rules.settings()}


def plan_alerts(screen: ScreenPlan, rules: AlertRules) -> AlertPlan:
    """Plan the alerts of all tiles.

    Parameters
    ----------
    screen : ScreenPlan
        Of the same ground and cubes; its target are the days that are monitored.
    rules : AlertRules
        Of the fold.

    Returns
    -------
    plan : AlertPlan
        Written to a result group of its own.

    Raises
    ------
    ValueError
        If the periods are not single days: alerts fold dates, never composites.
    """
    if any(str(period.cadence) != "P1D" for period in (*screen.target, *screen.baseline)):
        raise ValueError(f"periods of {screen.target[0].cadence}: expected single days (P1D)")
    fields = {f.name: getattr(screen, f.name) for f in dataclasses.fields(ScreenPlan)}
    fields |= {"run_id": f"{screen.run_id}_alerts", "threshold": rules.threshold}
    return AlertPlan(**fields, rules=rules)


def dated_plan(plan: ScreenPlan, store: Store, zone: Zone) -> ScreenPlan:
    """Note which days the cubes of a zone hold, so that the others are not read.

    Parameters
    ----------
    plan : ScreenPlan
        Any plan; one of a screen is returned as it is.
    store : Store
        Holds the cubes.
    zone : Zone
        The zone.

    Returns
    -------
    plan : ScreenPlan
        The same work.
    """
    if not isinstance(plan, AlertPlan):
        return plan
    groups = [g for sensor in plan.groups for g in plan.zone_groups(sensor, zone)]
    dated = {group: frozenset(day for _, day in store.records(group)) for group in groups}
    return dataclasses.replace(plan, dated=dated)


def open_alerts(status: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where an alert is provisional or confirmed.

    Parameters
    ----------
    status : ndarray of uint8
        `Status` of each pixel.

    Returns
    -------
    where : ndarray of bool
        False where it was closed or taken back, too.
    """
    return np.asarray((status == Status.PROVISIONAL) | (status == Status.CONFIRMED), np.bool_)


def alert_score(probability: FloatArray, status: NDArray[np.uint8], ask: float) -> FloatArray:
    """Return by what a pixel's window is chosen for the model: its alert before its latest look.

    Parameters
    ----------
    probability : ndarray of float32
        Of the latest clear observation, NaN where there is none.
    status : ndarray of uint8
        `Status` of each pixel.
    ask : float
        Score from which the model is asked.

    Returns
    -------
    score : ndarray of float32
        `ask` or more where an alert is open, below it elsewhere; NaN where not observed.
    """
    least = np.float32(ask)
    below = np.nextafter(least, np.float32(0))
    return np.where(
        open_alerts(status), np.maximum(probability, least), np.minimum(probability, below)
    ).astype(np.float32)


def _runs(periods: tuple[Period, ...]) -> list[list[Period]]:
    """Gather neighbouring periods."""
    runs: list[list[Period]] = []
    for period in periods:
        if runs and period.index == runs[-1][-1].index + 1:
            runs[-1].append(period)
        else:
            runs.append([period])
    return runs
