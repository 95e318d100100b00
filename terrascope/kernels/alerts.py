"""Alerts: what a pixel's dated observations add up to, one observation after the other.

A first anomaly makes a provisional alert. It is confirmed where n of the last m clear
observations of one sensor are anomalous, as in GLAD [1]_, or where optical and radar both
saw it and n of their last observations together are: witnesses of different physics may
share the burden of proof, as where SAR and optical series are fused [2]_. It is taken back
after k contrary observations in a row, or where 90 days did not confirm it, as in RADD [3]_:
a dry autumn, a cloud in December and one in March are no three of four. A confirmed alert is
closed by recovery (contrary observations in a row, in the season in which the anomaly was
seen: a felled beech stand looks like its neighbours in January), or after some days without
an anomaly. An anomaly on closed ground begins a new event.

A sensor that never saw the anomaly cannot speak against it: standing dead trees look to a
radar as they did alive. Pixels do not know their neighbours, and the state holds all that the
past has to say, so a series folded in parts ends as it does folded at once.

References
----------
.. [1] Hansen et al. (2016), doi:10.1088/1748-9326/11/3/034008: loss is confirmed by repeated
   detection within four consecutive clear observations.
.. [2] Reiche et al. (2015), doi:10.1016/j.rse.2014.10.001.
.. [3] Reiche et al. (2021), doi:10.1088/1748-9326/abd0a8: radar alerts are confirmed within 90
   days or not at all.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from terrascope.types import BoolArray, ChangeKind, FloatArray, Status

__all__ = [
    "NO_DAY",
    "SENSORS",
    "AlertRules",
    "AlertState",
    "Observation",
    "alert_layers",
    "fold",
]

SENSORS: Final = ("optical", "sar")
"""Witnesses, in the order in which a day's observations are folded."""

NO_DAY: Final = -(2**31)
"""Of the date layers, where there is no such day."""

_YEAR: Final = 3_652_425
"""Ten thousandths of a day in a mean Gregorian year."""

_CONFIRM = re.compile(r"\s*(\d{1,2})\s+of\s+(\d{1,2})\s*")


@dataclasses.dataclass(frozen=True)
class AlertRules:
    """When an alert is raised, confirmed, taken back and closed.

    Parameters
    ----------
    needed, window : int
        Confirmed where `needed` of the last `window` clear observations are anomalous; 1 to 8.
    close_after_days : int
        A confirmed alert is closed after so many days without an anomaly.
    threshold : float
        Probability from which an observation is anomalous.
    contrary : int or None
        Contrary observations in a row that take a provisional alert back; None for the number
        that leaves its first anomaly out of every window that could still confirm it,
        `window` - `needed` + 1.
    recovery : int or None
        Contrary observations in a row, in season, that close a confirmed alert; None for `window`.
    season_days : int
        How far from the day of the year of the last anomaly recovery is looked for.
    confirm_within_days : int
        A provisional alert that is older is taken back.
    """

    needed: int = 3
    window: int = 4
    close_after_days: int = 180
    threshold: float = 0.5
    contrary: int | None = None
    recovery: int | None = None
    season_days: int = 60
    confirm_within_days: int = 90

    def __post_init__(self) -> None:
        if not 1 <= self.needed <= self.window <= 8:
            raise ValueError(f"confirm {self.needed} of {self.window}: expected 1 <= n <= m <= 8")
        for name in ("close_after_days", "season_days", "confirm_within_days"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold {self.threshold}: expected between 0 and 1")
        for name in ("contrary", "recovery"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 200:
                raise ValueError(f"{name} {value}: expected 1 to 200")

    @classmethod
    def parse(cls, confirm: str, **more: Any) -> AlertRules:
        """Read the rule as a monitor file states it.

        Parameters
        ----------
        confirm : str
            For instance ``"3 of 4"``.
        **more
            Other parameters.

        Returns
        -------
        rules : AlertRules
            Checked.

        Raises
        ------
        ValueError
            If the text is not of that form, or a number cannot be used.
        """
        match = _CONFIRM.fullmatch(confirm)
        if match is None:
            raise ValueError(f"confirm {confirm!r}: expected for instance '3 of 4'")
        return cls(needed=int(match[1]), window=int(match[2]), **more)

    @property
    def retracts_after(self) -> int:
        """Contrary observations in a row that take a provisional alert back."""
        return self.window - self.needed + 1 if self.contrary is None else self.contrary

    @property
    def recovers_after(self) -> int:
        """Contrary observations in a row, in season, that close a confirmed alert."""
        return self.window if self.recovery is None else self.recovery

    def settings(self) -> dict[str, Any]:
        """Return what a work item's key must know.

        Returns
        -------
        settings : dict
            JSON-ready.
        """
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """One sensor's look at a block on one day.

    Parameters
    ----------
    day : int
        Days since 1970-01-01.
    sensor : {"optical", "sar"}
        Which witness.
    probability : ndarray of float32, shape (y, x)
        That the pixel is anomalous; NaN where it was not clearly seen.
    kind : ndarray of uint8, shape (y, x)
        `ChangeKind` of the anomaly, if it is one.
    """

    day: int
    sensor: str
    probability: FloatArray
    kind: NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, eq=False)
class AlertState:
    """All that the past observations of a block have to say.

    Parameters
    ----------
    status : ndarray of uint8, shape (y, x)
        `Status` without OUTSIDE.
    detected_on, confirmed_on, closed_on : ndarray of int32, shape (y, x)
        Days of the current or, where none is open, of the last event; `NO_DAY` without one.
    last_anomaly : ndarray of int32, shape (y, x)
        Day of the latest anomaly of the current event.
    former : ndarray of int32, shape (3, y, x)
        The three days of the last closed event.
    history : ndarray of uint8, shape (2, y, x)
        By sensor: one bit per clear observation of the event, the latest lowest.
    contrary, recovered : ndarray of uint8, shape (2, y, x)
        By sensor: contrary observations in a row, of all and of those in season; at most 255.
    raised : ndarray of uint8, shape (y, x)
        Bits of the sensors that saw an anomaly in the current event.
    observations : ndarray of uint16, shape (y, x)
        Clear observations so far.
    clear, anomalies : ndarray of uint16, shape (y, x)
        Those of the current event, and the anomalous ones among them.
    events : ndarray of uint16, shape (y, x)
        Confirmed events so far.
    kind : ndarray of uint8, shape (y, x)
        `ChangeKind` of the latest anomaly.
    probability : ndarray of float32, shape (y, x)
        Of the latest clear observation; NaN before the first.
    """

    status: NDArray[np.uint8]
    detected_on: NDArray[np.int32]
    confirmed_on: NDArray[np.int32]
    closed_on: NDArray[np.int32]
    last_anomaly: NDArray[np.int32]
    former: NDArray[np.int32]
    history: NDArray[np.uint8]
    contrary: NDArray[np.uint8]
    recovered: NDArray[np.uint8]
    raised: NDArray[np.uint8]
    observations: NDArray[np.uint16]
    clear: NDArray[np.uint16]
    anomalies: NDArray[np.uint16]
    events: NDArray[np.uint16]
    kind: NDArray[np.uint8]
    probability: FloatArray

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> AlertState:
        """Return the state before the first observation.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns.

        Returns
        -------
        state : AlertState
            Not observed, everywhere.
        """
        both = (len(SENSORS), *shape)
        return cls(
            status=np.zeros(shape, np.uint8),
            detected_on=np.full(shape, NO_DAY, np.int32),
            confirmed_on=np.full(shape, NO_DAY, np.int32),
            closed_on=np.full(shape, NO_DAY, np.int32),
            last_anomaly=np.full(shape, NO_DAY, np.int32),
            former=np.full((3, *shape), NO_DAY, np.int32),
            history=np.zeros(both, np.uint8),
            contrary=np.zeros(both, np.uint8),
            recovered=np.zeros(both, np.uint8),
            raised=np.zeros(shape, np.uint8),
            observations=np.zeros(shape, np.uint16),
            clear=np.zeros(shape, np.uint16),
            anomalies=np.zeros(shape, np.uint16),
            events=np.zeros(shape, np.uint16),
            kind=np.zeros(shape, np.uint8),
            probability=np.full(shape, np.nan, np.float32),
        )

    def copy(self) -> AlertState:
        """Return a state that shares no memory with this one.

        Returns
        -------
        state : AlertState
            The same values.
        """
        return AlertState(*(getattr(self, f.name).copy() for f in dataclasses.fields(self)))


def fold(state: AlertState, observations: Iterable[Observation], rules: AlertRules) -> AlertState:
    """Take in observations.

    Parameters
    ----------
    state : AlertState
        Before them. Not modified.
    observations : iterable of Observation
        In order of day, optical before radar on the same day; none earlier than those folded.
    rules : AlertRules
        The same as before.

    Returns
    -------
    state : AlertState
        After them.

    Raises
    ------
    ValueError
        If the observations are not in order, or a sensor or shape is not the expected one.
    """
    state = state.copy()
    latest = (NO_DAY, 0)
    for one in observations:
        if one.sensor not in SENSORS or one.probability.shape != state.status.shape:
            raise ValueError(
                f"observation of {one.sensor!r}, shape {one.probability.shape}: expected one of "
                f"{SENSORS} and {state.status.shape}"
            )
        place = (one.day, SENSORS.index(one.sensor))
        if place < latest:
            raise ValueError(f"day {one.day} ({one.sensor}) after {latest}: expected date order")
        latest = place
        _take(state, one, rules)
    return state


def alert_layers(state: AlertState, rules: AlertRules, as_of: int) -> dict[str, NDArray[Any]]:
    """Return what the map shows on a day.

    Parameters
    ----------
    state : AlertState
        After the observations up to that day. Not modified.
    rules : AlertRules
        The same as in the fold.
    as_of : int
        Days since 1970-01-01: alerts without an anomaly for too long are closed.

    Returns
    -------
    layers : dict of str to ndarray, shape (y, x)
        `status`, `detected_on`, `confirmed_on`, `closed_on` (`NO_DAY` where there is none),
        `observations`, `events`, `change_kind`, `change_probability` (of the latest clear
        observation) and `confidence`: the chance that one more clear observation would agree
        with the status, by Laplace's rule of succession; NaN where not observed.
    """
    state = state.copy()
    _expire(state, np.ones(state.status.shape, np.bool_), as_of, rules)
    seen = state.status != Status.NOT_OBSERVED
    open_ = _is_open(state)
    quiet = state.contrary.sum(axis=0, dtype=np.float32)
    agreed = np.where(open_, state.anomalies, quiet).astype(np.float32)
    asked = np.where(open_, state.clear, quiet).astype(np.float32)
    marked = open_ | (state.status == Status.CLOSED)
    return {
        "status": state.status,
        "detected_on": state.detected_on,
        "confirmed_on": state.confirmed_on,
        "closed_on": state.closed_on,
        "observations": state.observations,
        "events": state.events,
        "change_kind": np.where(marked, state.kind, ChangeKind.NONE).astype(np.uint8),
        "change_probability": state.probability,
        "confidence": np.where(seen, (agreed + 1) / (asked + 2), np.float32(np.nan)),
    }


def _take(state: AlertState, one: Observation, rules: AlertRules) -> None:
    """Take in one observation, in place."""
    sensor = SENSORS.index(one.sensor)
    seen = np.isfinite(one.probability)
    anomaly = seen & (one.probability >= np.float32(rules.threshold))
    _expire(state, seen, one.day, rules)
    state.status[seen & (state.status == Status.NOT_OBSERVED)] = Status.NO_CHANGE
    _begin(state, anomaly & ~_is_open(state), one.day)
    _count(state, one, sensor, seen, anomaly, rules)
    _confirm(state, anomaly, one.day, rules)
    _retract(state, seen & ~anomaly, rules)
    _recover(state, seen & ~anomaly, one.day, rules)


def _is_open(state: AlertState) -> BoolArray:
    open_ = (state.status == Status.PROVISIONAL) | (state.status == Status.CONFIRMED)
    return np.asarray(open_, dtype=np.bool_)


def _expire(state: AlertState, where: BoolArray, day: int, rules: AlertRules) -> None:
    """Take back what waited too long; close what has long shown no anomaly, on the day it had."""
    stale = state.detected_on.astype(np.int64) + rules.confirm_within_days < day
    _take_back(state, where & (state.status == Status.PROVISIONAL) & stale)
    confirmed = where & (state.status == Status.CONFIRMED)
    end = state.last_anomaly.astype(np.int64) + rules.close_after_days
    over = confirmed & (day > end)
    _close(state, over, end.astype(np.int32))


def _close(state: AlertState, where: BoolArray, day: NDArray[np.int32]) -> None:
    state.status[where] = Status.CLOSED
    state.closed_on[where] = day[where]
    for i, days in enumerate((state.detected_on, state.confirmed_on, state.closed_on)):
        state.former[i][where] = days[where]


def _begin(state: AlertState, where: BoolArray, day: int) -> None:
    """Begin an event with its first anomaly."""
    state.status[where] = Status.PROVISIONAL
    state.detected_on[where] = day
    for days in (state.confirmed_on, state.closed_on):
        days[where] = NO_DAY
    for counts in (state.history, state.contrary, state.recovered):
        counts[:, where] = 0
    for count in (state.raised, state.clear, state.anomalies):
        count[where] = 0


def _count(
    state: AlertState,
    one: Observation,
    sensor: int,
    seen: BoolArray,
    anomaly: BoolArray,
    rules: AlertRules,
) -> None:
    """Count the observation for the pixel and for its event."""
    state.observations[seen] += 1
    state.probability[seen] = one.probability[seen]
    contrary = seen & ~anomaly
    in_season = contrary & _in_season(state.last_anomaly, one.day, rules.season_days)
    for counts, plus in ((state.contrary, contrary), (state.recovered, in_season)):
        counts[sensor][anomaly] = 0
        counts[sensor][plus & (counts[sensor] < 255)] += 1
    bits = (1 << rules.window) - 1
    shifted = (state.history[sensor].astype(np.uint16) << 1 | anomaly) & bits
    state.history[sensor][seen] = shifted[seen]
    state.clear[seen] += 1
    state.anomalies[anomaly] += 1
    state.raised[anomaly] |= np.uint8(1 << sensor)
    state.last_anomaly[anomaly] = one.day
    state.kind[anomaly] = one.kind[anomaly]


def _in_season(last: NDArray[np.int32], day: int, reach: int) -> BoolArray:
    """Whether a day lies near another in the year, around its turn."""
    since = (day - last.astype(np.int64)) * 10_000 % _YEAR
    return np.asarray(np.minimum(since, _YEAR - since) <= reach * 10_000, dtype=np.bool_)


def _confirm(state: AlertState, anomaly: BoolArray, day: int, rules: AlertRules) -> None:
    optical, sar = np.bitwise_count(state.history)
    alone = np.maximum(optical, sar) >= rules.needed
    together = (optical > 0) & (sar > 0) & (optical + sar >= rules.needed)
    where = anomaly & (state.status == Status.PROVISIONAL) & (alone | together)
    state.status[where] = Status.CONFIRMED
    state.confirmed_on[where] = day
    state.events[where] += 1


def _retract(state: AlertState, contrary: BoolArray, rules: AlertRules) -> None:
    """Take back what every sensor that raised it now denies."""
    provisional = contrary & (state.status == Status.PROVISIONAL)
    _take_back(state, provisional & _all_raised(state, state.contrary >= rules.retracts_after))


def _take_back(state: AlertState, where: BoolArray) -> None:
    """End provisional alerts; older events stay on record."""
    was_closed = state.former[2] != NO_DAY
    state.status[where] = np.where(was_closed, Status.CLOSED, Status.NO_CHANGE)[where]
    for days, former in zip(
        (state.detected_on, state.confirmed_on, state.closed_on), state.former, strict=True
    ):
        days[where] = former[where]


def _recover(state: AlertState, contrary: BoolArray, day: int, rules: AlertRules) -> None:
    confirmed = contrary & (state.status == Status.CONFIRMED)
    where = confirmed & _all_raised(state, state.recovered >= rules.recovers_after)
    _close(state, where, np.full(state.status.shape, day, np.int32))


def _all_raised(state: AlertState, holds: NDArray[np.bool_]) -> BoolArray:
    """Whether something holds for each sensor that raised the event."""
    result = np.ones(state.status.shape, np.bool_)
    for sensor in range(len(SENSORS)):
        result &= holds[sensor] | (state.raised & (1 << sensor) == 0)
    return result
