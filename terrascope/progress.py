"""How far a run is: log records, shown as bars on a terminal and as plain lines in a log.

The library only emits records on the logger ``terrascope.progress``; nothing is
printed unless a command line asks for it with `shown`.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["report_progress", "shown"]

_logger = logging.getLogger("terrascope.progress")
_PLAIN_INTERVAL_S = 10.0


def report_progress(stage: str, done: int, total: int) -> None:
    """Say how far a stage is.

    Parameters
    ----------
    stage : str
        Short name, the same in every call.
    done, total : int
        Steps.
    """
    _logger.info("%s: %d of %d", stage, done, total, extra={"progress": (stage, done, total)})


class _PlainHandler(logging.Handler):
    """One line when a stage starts, ends, and every few seconds between."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's line where it is due.

        Parameters
        ----------
        record : logging.LogRecord
            Carries `progress`.
        """
        stage, done, total = record.progress  # type: ignore[attr-defined]
        now = time.monotonic()
        due = stage not in self._last or now - self._last[stage] >= _PLAIN_INTERVAL_S
        if due or done >= total:
            self._last[stage] = now
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {record.getMessage()}\n")
            sys.stderr.flush()


class _BarHandler(logging.Handler):
    """A bar per stage."""

    def __init__(self, bars: Any) -> None:
        super().__init__()
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Move the stage's bar.

        Parameters
        ----------
        record : logging.LogRecord
            Carries `progress`.
        """
        stage, done, total = record.progress  # type: ignore[attr-defined]
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show progress while the block runs.

    Yields
    ------
    None
        Bars on a terminal, plain lines elsewhere, both on standard error; handlers of
        other loggers do not repeat them.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(_logger.setLevel, _logger.level)
        stack.callback(setattr, _logger, "propagate", _logger.propagate)
        _logger.setLevel(logging.INFO)
        _logger.propagate = False
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

            bars = Progress(
                "{task.description}",
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            stack.enter_context(bars)
            handler: logging.Handler = _BarHandler(bars)
        else:
            handler = _PlainHandler()
        _logger.addHandler(handler)
        stack.callback(_logger.removeHandler, handler)
        yield
