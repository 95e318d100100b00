"""Time as a fixed index: the cadence of a cube and its periods.

A cube's `time` axis counts whole periods from `EPOCH`, so an earlier period is
a region write like any other and never an append. Two cadences families exist:
``P<n>D`` (every n days; ``P1D`` = every solar day) and ``P<n>M`` (calendar
months).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

__all__ = ["EPOCH", "Cadence", "Period"]

EPOCH = dt.date(2014, 1, 1)
"""Day 0 of every time axis: before the first Sentinel-1 product."""

_LAST = dt.date(2060, 1, 1)
_PATTERN = re.compile(r"P([1-9]\d{0,2})([DM])")


@dataclasses.dataclass(frozen=True)
class Cadence:
    """Length of the periods of a cube.

    Parameters
    ----------
    count : int
        Units per period.
    unit : {"D", "M"}
        Days or calendar months.
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Cadence:
        """Read an ISO 8601 duration of days or months.

        Parameters
        ----------
        text : str
            ``P1D``, ``P10D``, ``P1M``, ``P3M``...

        Returns
        -------
        cadence : Cadence
            The parsed value.

        Raises
        ------
        ValueError
            If `text` is anything else.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"cadence {text!r}: expected P<n>D or P<n>M, for instance P1M or P1D")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"P{self.count}{self.unit}"

    @property
    def length(self) -> int:
        """Number of periods on the time axis, `EPOCH` to 2060."""
        return self.index(_LAST)

    def index(self, day: dt.date) -> int:
        """Return the index of the period that holds `day`.

        Parameters
        ----------
        day : datetime.date
            A solar day.

        Returns
        -------
        index : int
            Periods since `EPOCH`.

        Raises
        ------
        ValueError
            If `day` lies before `EPOCH`.
        """
        if day < EPOCH:
            raise ValueError(f"{day}: before {EPOCH}, the start of every cube's time axis")
        if self.unit == "D":
            return (day - EPOCH).days // self.count
        return ((day.year - EPOCH.year) * 12 + day.month - EPOCH.month) // self.count

    def period(self, index: int) -> Period:
        """Return the period at `index`.

        Parameters
        ----------
        index : int
            Periods since `EPOCH`.

        Returns
        -------
        period : Period
            With its first and last day.
        """
        return Period(self, index)

    def periods(self, start: dt.date, end: dt.date) -> tuple[Period, ...]:
        """Return the periods that touch the days `start` to `end`, both included.

        Parameters
        ----------
        start, end : datetime.date
            First and last day.

        Returns
        -------
        periods : tuple of Period
            In order of time.

        Raises
        ------
        ValueError
            If `end` is before `start`.
        """
        if end < start:
            raise ValueError(f"{start}/{end}: the end lies before the start")
        return tuple(Period(self, i) for i in range(self.index(start), self.index(end) + 1))


@dataclasses.dataclass(frozen=True, order=True)
class Period:
    """One step of a time axis.

    Parameters
    ----------
    cadence : Cadence
        Length of the step.
    index : int
        Periods since `EPOCH`.
    """

    cadence: Cadence = dataclasses.field(compare=False)
    index: int

    @property
    def start(self) -> dt.date:
        """First day."""
        if self.cadence.unit == "D":
            return EPOCH + dt.timedelta(days=self.index * self.cadence.count)
        months = self.index * self.cadence.count
        return dt.date(EPOCH.year + months // 12, EPOCH.month + months % 12, 1)

    @property
    def end(self) -> dt.date:
        """Last day."""
        return Period(self.cadence, self.index + 1).start - dt.timedelta(days=1)

    @property
    def id(self) -> str:
        """``2020-09`` for a month, ``2020-09-15`` for a day, else ``first_last``."""
        if self.cadence.count == 1:
            return self.start.isoformat()[: 7 if self.cadence.unit == "M" else 10]
        return f"{self.start}_{self.end}"

    def __str__(self) -> str:
        return self.id
