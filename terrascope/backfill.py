"""A backfill: one monitor run for each period of a range of dates, in any order.

All runs share the monitor file's grid and its cube, so a baseline that two of them compare with
is read once. Each publishes into ``OUT/periods/FIRST_LAST/``, what a live run of that period
publishes. Events are named as they would be by runs in order of time: a period that was published
before an earlier one was known is published again. In the end the newest period is published in
``OUT`` itself, as the live run would have left it; what has to see all dates in their order is
done there, once. So with alerts the cube is filled month by month, in any order, and that last
run folds the alerts of the whole range.

Nothing records how far a backfill has come but the cube's ledgers and the products themselves.
One that was killed is started again and does what is missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from terrascope.config import load_monitor_file
from terrascope.errors import ConfigError
from terrascope.periods import Period
from terrascope.watch import MonitorRun

__all__ = ["ORDERS", "Backfill"]

ORDERS = ("oldest", "newest", "shuffled")
"""Which period is computed first; the result is the same."""


@dataclasses.dataclass(frozen=True)
class Backfill:
    """The periods of a backfill; make it with `Backfill.open`.

    Parameters
    ----------
    file : Path
        The monitor file.
    targets : tuple of str
        First and last day of each run's target, as a monitor file states it, in order
        of time: the periods, or with alerts months of dates.
    output : Path
        The output folder of the monitor file.
    memory : int
        Bytes per worker.
    folded : bool
        With alerts: the runs only fill the cube, the last one folds all dates.
    """

    file: Path
    targets: tuple[str, ...]
    output: Path
    memory: int
    folded: bool = False

    @classmethod
    def open(cls, file: str | Path, first: str, last: str) -> Backfill:
        """Read a monitor file and split a range of dates. Nothing is searched or written.

        Parameters
        ----------
        file : path-like
            The monitor file; its own target is left aside.
        first, last : str
            Days, ``YYYY-MM-DD``, both included; widened to whole periods of the file's
            cadence.

        Returns
        -------
        backfill : Backfill
            Every period of it can be run.

        Raises
        ------
        ConfigError
            If the file cannot be used, the range is empty, or a period of it is one of
            the baseline.
        PlanError
            If the AOI lies where there are no UTM zones.
        """
        settings = load_monitor_file(file)
        try:
            days = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
            periods = settings.cadence.periods(*days)
        except ValueError as error:
            raise ConfigError(
                f"{error}; expected the first and the last day, YYYY-MM-DD", key="--from, --to"
            ) from error
        folded = settings.alerts is not None
        targets = tuple(_by_month(periods) if folded else map(_target, periods, periods))
        for target in targets:
            load_monitor_file(file, target=target)
        return cls(Path(file), targets, MonitorRun.open(file).output, settings.memory, folded)

    def ordered(self, order: str = "oldest") -> tuple[str, ...]:
        """Return the targets in an order of work.

        Parameters
        ----------
        order : str
            One of `ORDERS`.

        Returns
        -------
        targets : tuple of str
            ``shuffled`` is the same for as many.

        Raises
        ------
        ConfigError
            If `order` is another.
        """
        if order not in ORDERS:
            raise ConfigError(f"found {order!r}; expected one of: {', '.join(ORDERS)}", key="order")
        places = np.arange(len(self.targets))
        if order == "newest":
            places = places[::-1]
        if order == "shuffled":
            places = np.random.default_rng(len(places)).permutation(places)
        return tuple(self.targets[place] for place in places)

    def run(self, target: str) -> MonitorRun:
        """Return the run of one period, with its products in a folder of their own.

        Parameters
        ----------
        target : str
            One of `targets`.

        Returns
        -------
        run : MonitorRun
            To be taken through the steps of a monitor, or where `folded` as far as its
            cubes.
        """
        folder = self.output / "periods" / target.replace("/", "_")
        return self._like_the_first(MonitorRun.open(self.file, target=target, folder=folder))

    def misnamed(self) -> tuple[str, ...]:
        """Return the periods whose events bear names that earlier periods have changed since.

        Returns
        -------
        targets : tuple of str
            To be run again, which only publishes them; none where `folded`.

        Raises
        ------
        ProductError
            If what earlier runs noted of their events cannot be read.
        """
        from terrascope.products.history import TRACKS_FOLDER, names_over_time, names_published

        if self.folded:
            return ()
        names = dict(names_over_time(self.output / TRACKS_FOLDER))
        found = []
        for target in self.targets:
            run_id = target.replace("/", "_")
            published = names_published(self.output / "periods" / run_id)
            if published is not None and published != names.get(run_id):
                found.append(target)
        return tuple(found)

    def last_run(self) -> MonitorRun:
        """Return the run that ends the backfill, with its products in the output folder.

        Returns
        -------
        run : MonitorRun
            Of the newest period, or where `folded` of the whole range; to be taken
            through the steps of a monitor when all others are done.
        """
        target = self.targets[-1]
        if self.folded:
            target = f"{self.targets[0].split('/')[0]}/{target.split('/')[1]}"
        return self._like_the_first(MonitorRun.open(self.file, target=target))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other runs of this output out until all periods are done.

        Yields
        ------
        None
            The store is held by this process.
        """
        with self._first.store.writing():
            yield

    @cached_property
    def _first(self) -> MonitorRun:
        return MonitorRun.open(self.file, target=self.targets[0])

    def _like_the_first(self, run: MonitorRun) -> MonitorRun:
        """Give a run the optical bands that live runs, in order of time, would have settled on."""
        if run.settings.optical is not None:
            run.optical_bands = self._first.optical_bands
        return run


def _target(first: Period, last: Period) -> str:
    """Return a range of periods as a monitor file states a target."""
    return f"{first.start}/{last.end}"


def _by_month(periods: Sequence[Period]) -> Iterator[str]:
    """Cut single days where a month begins."""
    for _, group in itertools.groupby(periods, key=lambda p: (p.start.year, p.start.month)):
        days = list(group)
        yield _target(days[0], days[-1])
