"""What is told of a run: what it would do, what the catalog lacks, what the model was shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from terrascope.periods import Period
    from terrascope.watch.outset import Outset

__all__ = ["explain_run", "notes_of"]


def explain_run(run: Outset) -> list[str]:
    """Say what a run would read and write.

    Parameters
    ----------
    run : Outset
        The run; the catalog is searched, no pixel is read.

    Returns
    -------
    lines : list of str
        For people.
    """
    from terrascope.cube.plan import explain

    zones = sorted({tile.zone.id for tile in run.tiles})
    lines = [
        (
            f"{run.settings.name}: {run.aoi.area_km2:,.1f} km2 in {len(run.tiles):,} tiles, "
            f"zones {', '.join(zones)}"
        ),
        (
            f"target {_span_text(run.target)}, baseline {_span_text(run.baseline)}, "
            f"cadence {run.settings.cadence}"
        ),
        *(str(explain(plan)) for plan in run.plans.values()),
        *(f"note: {note}" for note in notes_of(run)),
    ]
    missing = sorted(set(run.specs) - set(run.plans))
    lines += [f"note: no scene of {sensor} in these periods" for sensor in missing]
    return lines


def notes_of(run: Outset) -> tuple[str, ...]:
    """Say what the catalog did and lacks, and what the model was shown.

    Parameters
    ----------
    run : Outset
        Searched.

    Returns
    -------
    notes : tuple of str
        For the report.
    """
    from terrascope.kernels.screen import OPTICAL_BANDS

    notes = (*run.found.notes, *_reason_notes(run))
    if "sentinel-2" not in run.plans or run.settings.bands is not None:
        return notes
    lacking = [band for band in OPTICAL_BANDS if band not in run.optical_bands]
    told = f"most scenes lack {', '.join(lacking)}: screened without; see cube.bands"
    return (*notes, told) if lacking else notes


def _reason_notes(run: Outset) -> tuple[str, ...]:
    """Say what the model was shown, what it was not, and what that cost."""
    if run.settings.model is None or not (run.output / "cube").exists():
        return ()
    from terrascope.monitor.reason.dispatch import audit_of, audit_text
    from terrascope.monitor.reason.fusion import fusion_note

    asked = {tile.id for tile in run.tiles}
    records = [
        record
        for zone in sorted({tile.zone for tile in run.tiles})
        for record in run.store.records(run.map_plan.result_group(zone)).values()
        if record.tile in asked
    ]
    failed = sorted(record.tile for record in records if not record.done)
    told = (audit_text(audit_of(records)),) if records else ()
    fused = run.reasoning is not None and run.settings.alerts is None  # alerts are not fused
    if run.reasoning and fused and (note := fusion_note(run.reasoning.folder)):
        told = (*told, note)
    if not failed:
        return told
    names = ", ".join(failed[:5]) + (" and others" if len(failed) > 5 else "")
    lost = f"the model failed on {len(failed)} tiles ({names}): their maps are the screen's"
    return (*told, f"{lost}; run again to retry")


def _span_text(periods: tuple[Period, ...]) -> str:
    if len(periods) == 1:
        return periods[0].id
    return f"{periods[0].id} to {periods[-1].id} ({len(periods)} periods)"
