"""The demo: a simulated archive over two UTM zones, and the monitor's score against its truth."""

from __future__ import annotations

from terrascope.demo.archive import DemoArchive, write_demo_archive
from terrascope.demo.score import DemoScore, score_demo

__all__ = ["DemoArchive", "DemoScore", "score_demo", "write_demo_archive"]
