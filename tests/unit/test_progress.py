"""Progress: silent unless asked for, plain lines in a log, bars on a terminal."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest

from terrascope.progress import report_progress, shown


def test_nothing_is_printed_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    report_progress("cube", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_plain_lines_for_start_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    with shown():
        for done in range(1, 101):
            report_progress("cube", done, 100)
        report_progress("screen", 1, 3)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [
        "cube: 1 of 100",
        "cube: 100 of 100",
        "screen: 1 of 3",
    ]
    assert "\x1b" not in err


def test_a_line_every_few_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("terrascope.progress.time.monotonic", lambda: float(next(clock)))
    with shown():
        for done in range(1, 10):
            report_progress("cube", done, 100)
    counts = [int(n) for n in re.findall(r"cube: (\d+) of", capsys.readouterr().err)]
    assert counts == [1, 4, 7]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with shown():
        report_progress("cube", 1, 4)
        report_progress("cube", 4, 4)
    assert "cube" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()


def test_the_logger_is_left_as_it_was() -> None:
    logger = logging.getLogger("terrascope.progress")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with pytest.raises(KeyboardInterrupt), shown():
        raise KeyboardInterrupt
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
