"""The report: one HTML file that opens offline, asks the network for nothing and runs no script.

Every string that comes from a catalog or a file is untrusted: the template
escapes all of them, control characters are made visible, and a content security
policy forbids scripts and requests should anything slip through.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from terrascope.monitor.answers.answer import Answer
from terrascope.products.figures import EventFigure, ReportFigures
from terrascope.products.palette import KIND_COLOURS, KIND_NAMES, STATUS_NAMES, hex_colour
from terrascope.products.summary import EventRow, RunSummary, SceneCount
from terrascope.products.wording import (
    SENSOR_NAMES,
    cautions,
    format_area,
    format_share,
    headline,
    plural,
)
from terrascope.types import ChangeKind

__all__ = ["render_report", "write_report"]

_LISTED_IDS = 400
_CHART_PX = 96.0  # the highest bar; the template draws the axis there
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclasses.dataclass(frozen=True)
class _Part:
    """One piece of a bar: how wide, which colour class, what it says."""

    name: str
    css: str
    area: str
    share: str
    percent: float


@dataclasses.dataclass(frozen=True)
class _Column:
    """The scenes of one month, as rectangles of the chart."""

    x: float
    label: str
    role: str
    total: int
    rects: tuple[tuple[str, float, float], ...]
    title: str


@dataclasses.dataclass(frozen=True)
class _KindRow:
    """One line of the totals."""

    kind: ChangeKind
    status: str
    area_m2: float
    percent: float
    observed_share: float


def render_report(summary: RunSummary, figures: ReportFigures) -> str:
    """Return the report as HTML.

    Parameters
    ----------
    summary : RunSummary
        What was found.
    figures : ReportFigures
        Pictures; may be empty.

    Returns
    -------
    html : str
        Self-contained; equal inputs give equal text.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("terrascope", "products/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters.update(area=format_area, share=format_share, plural=plural)
    environment.globals.update(
        kind_names=KIND_NAMES,
        status_names=STATUS_NAMES,
        sensor_names=SENSOR_NAMES,
        kind_colours={kind: hex_colour(rgb) for kind, rgb in KIND_COLOURS.items()},
    )
    return environment.get_template("report.html.j2").render(_context(summary, figures))


def write_report(folder: Path, summary: RunSummary, figures: ReportFigures) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.json``.

    Parameters
    ----------
    folder : Path
        A staging folder; it exists.
    summary : RunSummary
        What was found.
    figures : ReportFigures
        Pictures; may be empty.

    Returns
    -------
    paths : tuple of Path
        The HTML and the JSON file.
    """
    html, document = folder / "report.html", folder / "report.json"
    html.write_text(render_report(summary, figures), encoding="utf-8", newline="\n")
    document.write_text(summary.to_json(), encoding="utf-8", newline="\n")
    return html, document


def _context(summary: RunSummary, figures: ReportFigures) -> dict[str, Any]:
    """Everything that the template shows, computed."""
    kinds = {kind for total in summary.totals if (kind := total.kind) is not ChangeKind.NONE}
    ids = [(scene, item) for scene in summary.scenes for item in scene.items]
    return {
        "run": summary,
        "headline": headline(summary),
        "cautions": cautions(summary),
        "ground": _ground(summary),
        "kinds": sorted(kinds),
        "kind_rows": _kind_rows(summary),
        "statuses": len({t.status for t in summary.totals if t.kind is not ChangeKind.NONE}) > 1,
        "answers": _by_question(summary),
        "maps": figures.maps,
        "events": _paired(summary.events.largest, figures.events),
        "columns": _columns(summary.scenes),
        "scene_count": sum(scene.count for scene in summary.scenes),
        "item_ids": ids[:_LISTED_IDS],
        "more_ids": max(len(ids) - _LISTED_IDS, 0),
        "settings": list(_flat(summary.settings)),
        "masks": _masks(summary),
    }


def _by_question(summary: RunSummary) -> tuple[tuple[str, tuple[Answer, ...]], ...]:
    """Put the answers to one question together, in the order in which they were asked."""
    questions = dict.fromkeys(row.question for row in summary.answers)
    return tuple(
        (question, tuple(row.answer for row in summary.answers if row.question == question))
        for question in questions
    )


def _ground(summary: RunSummary) -> tuple[_Part, ...]:
    """Change, no change, not observed: the three values, as parts of the ground asked for."""
    asked = summary.area.area_m2
    changed = min(summary.changed_m2, summary.observed_m2)
    parts = (
        ("Change", "change", changed),
        ("No change", "calm", summary.observed_m2 - changed),
        ("Not observed", "blind", max(asked - summary.observed_m2, 0.0)),
    )
    whole = math.fsum(area for _, _, area in parts) or 1.0
    return tuple(
        _Part(name, css, format_area(area), format_share(area / whole), 100 * area / whole)
        for name, css, area in parts
    )


def _kind_rows(summary: RunSummary) -> tuple[_KindRow, ...]:
    """Totals with a change, largest first, with their share of all change."""
    changed = summary.changed_m2 or 1.0
    rows = [
        _KindRow(
            total.kind,
            STATUS_NAMES[total.status],
            total.area_m2,
            100 * total.area_m2 / changed,
            total.observed_share,
        )
        for total in summary.totals
        if total.kind is not ChangeKind.NONE and total.area_m2 > 0
    ]
    return tuple(sorted(rows, key=lambda row: -row.area_m2))


def _paired(
    rows: Sequence[EventRow], figures: Sequence[EventFigure]
) -> tuple[tuple[int, EventRow, EventFigure | None], ...]:
    """Table rows with their number and, where there is one, their pictures."""
    by_id = {figure.event_id: figure for figure in figures}
    return tuple((n, row, by_id.get(row.id)) for n, row in enumerate(rows, start=1))


def _columns(scenes: Sequence[SceneCount]) -> tuple[_Column, ...]:
    """Lay out the bar chart of scenes per month (per year where the months would not fit)."""
    for length in (7, 4):
        keys = sorted({(s.period[:length], s.role) for s in scenes})
        if len(keys) <= 36:
            break
    groups = {k: [s for s in scenes if (s.period[:length], s.role) == k] for k in keys}
    top = max((sum(s.count for s in group) for group in groups.values()), default=0) or 1
    columns, x = [], 0.0
    previous = None
    for (label, role), group in groups.items():
        if previous is not None and _apart(previous, label):
            x += 12
        columns.append(_column(x, label, role, group, _CHART_PX / top))
        previous, x = label, x + 26
    return tuple(columns)


def _column(x: float, label: str, role: str, group: Sequence[SceneCount], scale: float) -> _Column:
    """Stack one month's sensors."""
    rects, base, said = [], 0.0, []
    for sensor in ("sentinel-2", "sentinel-1"):
        count = sum(s.count for s in group if s.sensor == sensor)
        if count:
            rects.append((sensor, base, count * scale))
            base += count * scale
            said.append(f"{count} {SENSOR_NAMES[sensor]}")
    total = sum(s.count for s in group)
    return _Column(x, label, role, total, tuple(rects), f"{label} ({role}): {', '.join(said) or 0}")


def _apart(before: str, after: str) -> bool:
    """Whether a gap lies between two periods, so that the axis shows it."""
    steps = [int(text[:4]) * 12 + int(text[5:7] or 0) for text in (before, after)]
    return steps[1] - steps[0] > (1 if len(after) > 4 else 12)


def _masks(summary: RunSummary) -> tuple[tuple[str, float], ...]:
    """Which cloud masks were used, over how much of the observed ground."""
    names = {
        "scl": "the provider's scene classification (SCL)",
        "spectral": "the spectral cloud test",
        "none": "no cloud mask",
    }
    masks = summary.quality.masks if summary.observed_m2 > 0 else {}
    return tuple((names.get(key, key), masks[key]) for key in sorted(masks) if masks[key] > 0)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and JSON values of the settings, in their order."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False, default=str)


def _visible(value: Any) -> Any:
    """Make control and direction-changing characters of untrusted text visible."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _CONTROLS.sub("\ufffd", value)
    return value
