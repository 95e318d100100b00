"""``run.json``: what happened, attempt by attempt. Clocks live here and nowhere else.

Schema ``terrascope-run/1``: ``monitor``, ``outcome``, ``quarantined`` (list of ``item``,
``band``, ``cause``, ``url``), ``completeness`` (``committed``, ``planned``, ``share``),
``attempts``: list, oldest first, of ``started_at``, ``ended_at`` (UTC, null for an attempt that
was killed), ``outcome`` (``running``, ``done``, ``incomplete``, ``failed``, ``interrupted``),
``message``, ``version``, ``commit``, ``stages``: list of ``name``, ``planned``, ``done``,
``skipped``, ``failed``, ``seconds``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

from terrascope.products.summary import Completeness, dump_json, publishable
from terrascope.redact import redact_text
from terrascope.types import Quarantine

__all__ = ["Attempt", "RunLog", "StageRecord"]

_KEPT_ATTEMPTS = 100


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """Counts of one stage in one attempt.

    Parameters
    ----------
    name : str
        ``search``, ``cube``, ``screen``, ``products``...
    planned, done, skipped, failed : int
        Work items; skipped ones were committed by an earlier attempt.
    seconds : float
        Wall time.
    """

    name: str
    planned: int
    done: int
    skipped: int
    failed: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One start of the monitor.

    Parameters
    ----------
    started_at : datetime.datetime
        UTC.
    ended_at : datetime.datetime or None
        UTC; None while it runs, and for ever where it was killed.
    outcome : str
        ``running``, ``done``, ``incomplete``, ``failed`` or ``interrupted``.
    version : str
        Of terrascope.
    commit : str or None
        Git commit of the code.
    stages : tuple of StageRecord
        In order of their start.
    message : str
        Why it failed; secrets are taken out.
    """

    started_at: dt.datetime
    ended_at: dt.datetime | None
    outcome: str
    version: str
    commit: str | None = None
    stages: tuple[StageRecord, ...] = ()
    message: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", redact_text(self.message))


@dataclasses.dataclass(frozen=True)
class RunLog:
    """All attempts of one monitor at one output folder.

    Parameters
    ----------
    monitor : str
        Its name.
    attempts : tuple of Attempt
        Oldest first.
    completeness : Completeness or None
        Of the last attempt that got so far.
    quarantined : tuple of Quarantine
        Scenes left out, with the cause.
    """

    monitor: str
    attempts: tuple[Attempt, ...] = ()
    completeness: Completeness | None = None
    quarantined: tuple[Quarantine, ...] = ()

    @classmethod
    def from_json(cls, text: str, *, monitor: str) -> RunLog:
        """Read the log of earlier attempts.

        Parameters
        ----------
        text : str
            Content of a ``run.json``; may be empty.
        monitor : str
            Name of the monitor that runs now.

        Returns
        -------
        log : RunLog
            Empty where `text` is empty, torn or of another monitor.
        """
        try:
            document = json.loads(text)
            if document["schema"] != "terrascope-run/1" or document["monitor"] != monitor:
                return cls(monitor)
            done = document["completeness"]
            return cls(
                monitor,
                tuple(_attempt(row) for row in document["attempts"]),
                Completeness(done["committed"], done["planned"]) if done else None,
                tuple(Quarantine(**row) for row in document["quarantined"]),
            )
        except (ValueError, KeyError, TypeError):
            return cls(monitor)

    def with_attempt(self, attempt: Attempt) -> RunLog:
        """Return the log with `attempt` added, or replaced where it started at the same time.

        Parameters
        ----------
        attempt : Attempt
            The new state of an attempt.

        Returns
        -------
        log : RunLog
            At most 100 attempts, the newest.
        """
        others = [a for a in self.attempts if a.started_at != attempt.started_at]
        kept = tuple(sorted([*others, attempt], key=lambda a: a.started_at))[-_KEPT_ATTEMPTS:]
        return dataclasses.replace(self, attempts=kept)

    def to_json(self) -> str:
        """Return ``run.json`` (schema in the module's docstring).

        Returns
        -------
        text : str
            UTF-8 JSON that ends in a newline.
        """
        completeness = self.completeness
        return dump_json(
            {
                "schema": "terrascope-run/1",
                "monitor": self.monitor,
                "outcome": self.attempts[-1].outcome if self.attempts else "never run",
                "completeness": completeness
                and {**dataclasses.asdict(completeness), "share": completeness.share},
                "quarantined": publishable(self.quarantined),
                "attempts": self.attempts,
            }
        )


def _attempt(row: dict[str, Any]) -> Attempt:
    """Read one attempt back."""
    ended = row["ended_at"]
    return Attempt(
        started_at=dt.datetime.fromisoformat(row["started_at"]),
        ended_at=dt.datetime.fromisoformat(ended) if ended else None,
        outcome=row["outcome"],
        version=row["version"],
        commit=row["commit"],
        stages=tuple(StageRecord(**stage) for stage in row["stages"]),
        message=row["message"],
    )
