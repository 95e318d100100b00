"""The report's figures in plain words, computed and never overstated."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from types import MappingProxyType

from terrascope.products.palette import KIND_NAMES
from terrascope.products.summary import RunSummary
from terrascope.types import ChangeKind

__all__ = [
    "SENSOR_NAMES",
    "Headline",
    "cautions",
    "format_area",
    "format_share",
    "headline",
    "plural",
]

SENSOR_NAMES = MappingProxyType({"sentinel-1": "Sentinel-1", "sentinel-2": "Sentinel-2"})
"""What a reader calls each sensor."""

_THIN = "\u202f"  # narrow no-break space


@dataclasses.dataclass(frozen=True)
class Headline:
    """What an analyst reads first.

    Parameters
    ----------
    text : str
        One sentence.
    detail : str
        What stands behind it; may be empty.
    tone : str
        ``"change"``, ``"calm"`` (observed, nothing found) or ``"blind"`` (not observed).
    """

    text: str
    detail: str
    tone: str


def format_area(area_m2: float) -> str:
    """Return an area in hectares, from 100 km2 on in square kilometres.

    Parameters
    ----------
    area_m2 : float
        Square metres.

    Returns
    -------
    text : str
        Three figures or more; an area above zero is never shown as zero.
    """
    hectares = area_m2 / 1e4
    if hectares >= 1e4:
        return f"{_grouped(hectares / 100)}{_THIN}km²"
    if 0 < hectares < 0.01:
        return f"<{_THIN}0.01{_THIN}ha"
    return f"{_grouped(hectares)}{_THIN}ha"


def format_share(share: float) -> str:
    """Return a share in percent that is 0 or 100 only where that is exact.

    Parameters
    ----------
    share : float
        0..1.

    Returns
    -------
    text : str
        For instance ``"87 %"``, ``"< 0.1 %"``, ``"> 99.9 %"``; a dash where `share` is NaN.
    """
    if math.isnan(share):
        return "\u2013"
    percent = 100 * share
    if percent in (0.0, 100.0):
        text = f"{percent:.0f}"
    elif percent < 0.1:
        text = f"<{_THIN}0.1"
    elif percent > 99.9:
        text = f">{_THIN}99.9"
    else:
        text = f"{percent:.1f}" if percent < 10 or percent > 99 else f"{percent:.0f}"
    return f"{text}{_THIN}%"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    Parameters
    ----------
    count : int
        How many.
    noun : str
        In the singular; its plural takes an s.

    Returns
    -------
    text : str
        For instance ``"1 event"`` or ``"1,200 events"``.
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}".replace(",", _THIN)


def headline(summary: RunSummary) -> Headline:
    """Say in one sentence what was found, and over how much ground.

    Parameters
    ----------
    summary : RunSummary
        The run.

    Returns
    -------
    headline : Headline
        Computed from the figures alone.
    """
    if summary.observed_m2 <= 0:
        return Headline(
            "Nothing can be said: none of the area was observed in the target period.",
            _why_blind(summary),
            "blind",
        )
    seen = f"{format_share(summary.observed_share)} of the area was observed"
    events = summary.events
    if events.count == 0:
        least = f"{events.min_area_ha:g}{_THIN}ha"
        scattered = summary.changed_m2
        detail = (
            f"{format_area(scattered)} of change is scattered in patches smaller than {least}."
            if scattered > 0
            else "No observed pixel shows a change."
        )
        return Headline(f"No change of {least} or more was found; {seen}.", detail, "calm")
    found = f"{format_area(events.area_m2)} of change in {plural(events.count, 'event')}"
    return Headline(f"{found}; {seen}.", _what_changed(summary), "change")


def cautions(summary: RunSummary) -> tuple[str, ...]:
    """List what an analyst must know before acting on the headline.

    Parameters
    ----------
    summary : RunSummary
        The run.

    Returns
    -------
    sentences : tuple of str
        Empty where there is nothing to say.
    """
    found = []
    done = summary.completeness
    if done.committed < done.planned:
        found.append(
            f"{plural(done.planned - done.committed, 'work item')} of {done.planned} could not be "
            f"completed (completeness {format_share(done.share)}); what they cover is missing "
            "or rests on fewer scenes."
        )
    if 0 < summary.observed_share < 0.5:
        found.append(
            f"Only {format_share(summary.observed_share)} of the area was observed. What was not "
            "seen may have changed as well."
        )
    for use in summary.sensors:
        if not use.used:
            name = SENSOR_NAMES.get(use.sensor, use.sensor)
            found.append(f"{name} ({use.collection}) was not used: {use.reason or 'no reason'}.")
    left_out = {quarantine.item for quarantine in summary.quality.quarantined}
    tiles = sorted(left_out & set(summary.area.tiles))
    if tiles:
        names = ", ".join(tiles[:5]) + (" and others" if len(tiles) > 5 else "")
        found.append(
            f"{plural(len(tiles), 'tile')} ({names}) could not be finished; see Data quality. Run "
            "again to retry."
        )
    if scenes := left_out - set(tiles):
        verb = "was" if len(scenes) == 1 else "were"
        found.append(f"{plural(len(scenes), 'scene')} {verb} left out; see Data quality.")
    if (unmasked := summary.quality.masks.get("none", 0.0)) > 0:
        found.append(
            f"{format_share(unmasked)} of the observed ground had no cloud mask: clouds there "
            "may look like change."
        )
    return tuple(found)


def _grouped(value: float) -> str:
    """Three figures or more, thousands apart."""
    decimals = 0 if value >= 100 or value == 0 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}".replace(",", _THIN)


def _why_blind(summary: RunSummary) -> str:
    """Say the nearest reason for an empty map."""
    scenes = sum(scene.count for scene in summary.scenes if scene.role == "target")
    if scenes == 0:
        return f"The catalog has no usable scene from {summary.target} over this area."
    return (
        f"{plural(scenes, 'scene')} from {summary.target} cover the area, but no pixel is clear "
        "in both periods: clouds, gaps or scenes that could not be read."
    )


def _what_changed(summary: RunSummary) -> str:
    """Name the leading kind and the largest event."""
    areas: Counter[ChangeKind] = Counter()
    for total in summary.totals:
        if total.kind is not ChangeKind.NONE:
            areas[total.kind] += total.area_m2  # type: ignore[assignment]
    sentences = []
    if areas and (changed := math.fsum(areas.values())) > 0:
        kind, area = max(areas.items(), key=lambda pair: (pair[1], -pair[0]))
        share = format_share(area / changed)
        sentences.append(f"{share} of the changed area is {KIND_NAMES[kind].lower()}.")
    if summary.events.largest:
        row = summary.events.largest[0]
        sentences.append(
            f"The largest event covers {format_area(row.area_m2)} "
            f"at {abs(row.lat):.3f}° {'N' if row.lat >= 0 else 'S'}, "
            f"{abs(row.lon):.3f}° {'E' if row.lon >= 0 else 'W'}."
        )
    return " ".join(sentences)
