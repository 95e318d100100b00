"""What a run writes of itself: stages with their counts and times, and ``run.json``."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from terrascope import __version__
from terrascope.errors import IncompleteError

if TYPE_CHECKING:
    from terrascope.products.runlog import Attempt, StageRecord
    from terrascope.watch.run import MonitorRun

__all__ = ["Count", "Logbook"]


class Count:
    """Counts of one stage, added up while it runs."""

    def __init__(self) -> None:
        self.planned = self.done = self.skipped = 0

    def __call__(self, *, planned: int = 0, done: int = 0, skipped: int = 0) -> None:
        """Add.

        Parameters
        ----------
        planned, done, skipped : int
            Work items.
        """
        self.planned += planned
        self.done += done
        self.skipped += skipped


class Logbook:
    """The stages of one run, and its attempts.

    Parameters
    ----------
    run : MonitorRun
        That is written about.
    """

    def __init__(self, run: MonitorRun) -> None:
        self._run = run
        self.stages: dict[str, StageRecord] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Count]:
        """Time a stage and add up its counts.

        Parameters
        ----------
        name : str
            Of the stage; one that was there before goes on.

        Yields
        ------
        count : Count
            To be called with counts.
        """
        from terrascope.products.runlog import StageRecord

        start = time.perf_counter()
        count = Count()
        try:
            yield count
        finally:
            before = self.stages.get(name, StageRecord(name, 0, 0, 0, 0, 0.0))
            self.stages[name] = dataclasses.replace(
                before,
                planned=before.planned + count.planned,
                done=before.done + count.done,
                skipped=before.skipped + count.skipped,
                seconds=round(before.seconds + time.perf_counter() - start, 3),
            )

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Keep ``run.json`` up to date while the block runs, whatever its end.

        Yields
        ------
        None
            The attempt is recorded as running.
        """
        from terrascope.products.runlog import Attempt

        self._run.folder.mkdir(parents=True, exist_ok=True)
        attempt = Attempt(
            started_at=dt.datetime.now(dt.UTC),
            ended_at=None,
            outcome="running",
            version=__version__,
        )
        self._write(attempt)
        outcome, message = "failed", ""
        try:
            with self._run.store.writing():
                yield
            outcome = "done"
        except (KeyboardInterrupt, SystemExit):
            outcome = "interrupted"
            raise
        except BaseException as error:
            outcome = "incomplete" if isinstance(error, IncompleteError) else "failed"
            message = str(error)
            raise
        finally:
            stages = tuple(self.stages.values())
            ended = dt.datetime.now(dt.UTC)
            self._write(
                dataclasses.replace(
                    attempt, ended_at=ended, outcome=outcome, message=message, stages=stages
                )
            )

    def _write(self, attempt: Attempt) -> None:
        """Write `run.json` with this attempt in its present state."""
        from terrascope.products.runlog import RunLog
        from terrascope.summarise import completeness, cube_records, quarantined

        path = self._run.folder / "run.json"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        log = RunLog.from_json(text, monitor=self._run.settings.name).with_attempt(attempt)
        if "plans" in self._run.__dict__:
            records = cube_records(self._run)
            log = dataclasses.replace(
                log,
                completeness=completeness(self._run, records),
                quarantined=quarantined(self._run, records),
            )
        temporary = path.with_suffix(".json.part")
        temporary.write_text(log.to_json(), encoding="utf-8")
        temporary.replace(path)
