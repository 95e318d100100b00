"""The one search of a run: what the catalog answered, frozen."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from terrascope.catalog.items import ItemTable
    from terrascope.types import Quarantine
    from terrascope.watch.outset import Outset

__all__ = ["Found", "inquire"]


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What the catalog answered, frozen for the run.

    Parameters
    ----------
    table : ItemTable
        All scenes of all sensors.
    notes : tuple of str
        What the catalog did, for the report.
    skipped : tuple of Quarantine
        Items that cannot be used.
    """

    table: ItemTable
    notes: tuple[str, ...]
    skipped: tuple[Quarantine, ...]


def inquire(run: Outset) -> Found:
    """Search the catalog for all scenes of a run.

    Parameters
    ----------
    run : Outset
        Area, periods, collections and catalog.

    Returns
    -------
    found : Found
        Each scene once.
    """
    from terrascope.catalog.items import ItemTable
    from terrascope.catalog.search import search

    collections = [c for c in (run.settings.optical, run.settings.sar) if c is not None]
    tables: list[ItemTable] = []
    notes: list[str] = []
    skipped: set[Quarantine] = set()
    for first, last in _spans(run):
        result = search(
            run.profile,
            aoi=run.aoi.geometry,
            start=first,
            end=last,
            collections=collections,
            url=run.settings.url,
            max_cloud=run.settings.max_cloud_percent,
        )
        tables.append(result.table)
        notes += result.notes
        skipped |= set(result.skipped)
    table, unlike = ItemTable.concat(tables).of_one_coefficient()
    skipped |= set(unlike)
    return Found(table, tuple(dict.fromkeys(notes)), tuple(sorted(skipped)))


def _spans(run: Outset) -> list[tuple[dt.date, dt.date]]:
    """Days to search: runs of neighbouring periods become one search."""
    periods = sorted({*run.baseline, *run.target})
    spans: list[tuple[dt.date, dt.date]] = []
    for period in periods:
        if spans and (period.start - spans[-1][1]).days <= 1:
            spans[-1] = (spans[-1][0], period.end)
        else:
            spans.append((period.start, period.end))
    return spans
