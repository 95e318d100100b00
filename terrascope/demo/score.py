"""How well a monitor's maps of the demo agree with the known truth.

All figures count pixels of 10 m that the zone owns and the AOI holds (status is
not 255), zone by zone, on the truth's own grid.

* Change F1: over observed pixels; predicted is status 2, 3 or 4; true is where
  at least half of the ground is replaced on the last day of the target. Where a
  model has looked, so do its own probability and the screen's, from 0.5 on, over the
  pixels that it looked at: what either would have said alone.
* Harvest: fields of no change, cut in the target's year before the target ends
  and not more than 60 days before it starts.
* Rotation: fields of no change, with another crop than in the baseline's year.
* Steady ground, for the two figures under cloud: observed, no change within
  20 m, and no field; what changes its look there is the sky alone.
* Under flagged cloud: steady ground that the scene classification flags as
  cloud or shadow in at least half of the target's passes over it, and whose other
  passes are truly clear. An alarm there is a mask that leaked.
* Under missed cloud: steady ground with at least one target pass of true cloud
  or shadow that the scene classification does not flag.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.demo.archive import DemoArchive
from terrascope.demo.rival import Rival, best_single_index
from terrascope.demo.truth import ZoneTruth, read_truth
from terrascope.errors import ProductError
from terrascope.evaluation.metrics import Confusion, Rate, confusion, rate
from terrascope.sim.events import Disturbance
from terrascope.types import BoolArray, FloatArray, Status

__all__ = ["DemoScore", "score_demo"]

_EPOCH = dt.date(1970, 1, 1)
_HARVEST_DAYS = 60
_ALARMS = (Status.PROVISIONAL, Status.CONFIRMED, Status.CLOSED)


@dataclasses.dataclass(frozen=True)
class DemoScore:
    """The demo's figures; the module says how each is counted.

    Parameters
    ----------
    change : Confusion
        Over observed pixels.
    rival : Rival
        The best single index with its threshold tuned on the truth.
    found : mapping of str to Rate
        By kind of disturbance: changed pixels found.
    kinds_right : Rate
        Of the changed pixels found, those given the right kind; NaN without a kind map.
    harvest, rotation : Rate
        Alarms on fields that were harvested, and on fields with another crop.
    flagged_cloud, missed_cloud : Rate
        Alarms on steady ground under cloud that was flagged, and that was missed.
    observed : Rate
        Observed pixels among the pixels asked for.
    alone : mapping of str to Confusion
        Of the maps that were fused, where the model looked: ``screen``, ``model``, and ``fused``;
        empty without a model.
    """

    change: Confusion
    rival: Rival
    found: Mapping[str, Rate]
    kinds_right: Rate
    harvest: Rate
    rotation: Rate
    flagged_cloud: Rate
    missed_cloud: Rate
    observed: Rate
    alone: Mapping[str, Confusion] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        change, rival = self.change, self.rival.fit.confusion
        lines = [
            f"score against the known truth: {change.pixels:,} observed pixels of 10 m",
            f"  observed {_percent(self.observed)} of the area",
            f"  change F1 {change.f1:.3f}, IoU {change.iou:.3f}",
            f"  precision {change.precision:.3f}, recall {change.recall:.3f}",
            *self._beside(),
            f"  best label-tuned single index: F1 {rival.f1:.3f} ({self.rival.name})",
            "  found: " + ", ".join(f"{name} {_percent(one)}" for name, one in self.found.items()),
            f"  kind right: {_percent(self.kinds_right)} of the change found",
        ]
        for title, one in (
            ("harvested fields", self.harvest),
            ("fields with another crop", self.rotation),
            ("steady ground under flagged cloud", self.flagged_cloud),
            ("steady ground under missed cloud", self.missed_cloud),
        ):
            lines.append(f"  false alarms, {title}: {_percent(one)} of {one.pixels:,} pixels")
        return "\n".join(lines)

    def _beside(self) -> list[str]:
        """Say what each of the fused maps is worth alone."""
        if not self.alone:
            return []
        pixels = next(iter(self.alone.values())).pixels
        told = ", ".join(f"{name} {one.f1:.3f}" for name, one in self.alone.items())
        return [f"  F1 where the model looked ({pixels:,} pixels): {told}"]


@dataclasses.dataclass(frozen=True, eq=False)
class _ZoneMaps:
    """A zone's result on the truth's grid; 255 where the result does not reach, NaN likewise."""

    status: NDArray[np.uint8]
    kind: NDArray[np.uint8] | None
    probability: Mapping[str, FloatArray]
    """Of screen and model, where there was one."""


def score_demo(output: str | Path, archive: DemoArchive) -> DemoScore:
    """Score a monitor's result against the demo's truth.

    Parameters
    ----------
    output : path-like
        The monitor's output folder, with ``maps/33N/status.tif`` and ``maps/34N/status.tif``.
    archive : DemoArchive
        What was monitored.

    Returns
    -------
    score : DemoScore
        Print it for a table.

    Raises
    ------
    ProductError
        If a zone's status map is missing or on another grid.
    """
    truths = {zone: read_truth(file) for zone, file in archive.truth.items()}
    maps = {zone: _read_maps(Path(output), zone, truth) for zone, truth in truths.items()}
    change = Confusion(0, 0, 0, 0)
    rates = dict.fromkeys(("harvest", "rotation", "flagged", "missed", "kind", "seen"), Rate(0, 0))
    found: dict[str, Rate] = {}
    alone: dict[str, Confusion] = {}
    for zone, truth in truths.items():
        result = maps[zone]
        alarm, seen = _alarm(result.status), _seen(result.status)
        changed = truth.kind > 0
        change += confusion(alarm, changed, seen)
        if result.probability:
            looked = seen & np.isfinite(result.probability["model"])
            said = {name: one >= 0.5 for name, one in result.probability.items()}
            for name, one in {**said, "fused": alarm}.items():
                counts = confusion(one, changed, looked)
                alone[name] = alone.get(name, Confusion(0, 0, 0, 0)) + counts
        for code in Disturbance:
            here = seen & (truth.disturbance == code)
            name = code.name.lower().replace("_", " ")
            found[name] = found.get(name, Rate(0, 0)) + rate(alarm, here)
        for name, where in _non_changes(truth, seen, archive).items():
            rates[name] += rate(alarm, where)
        rates["seen"] += rate(seen, result.status != Status.OUTSIDE)
        if result.kind is not None:
            rates["kind"] += rate(result.kind == truth.kind, alarm & changed & seen)
    rival = best_single_index(
        archive,
        {zone: truth.kind > 0 for zone, truth in truths.items()},
        {zone: _seen(result.status) for zone, result in maps.items()},
    )
    return DemoScore(
        change=change,
        rival=rival,
        found={name: one for name, one in found.items() if one.pixels},
        kinds_right=rates["kind"],
        harvest=rates["harvest"],
        rotation=rates["rotation"],
        flagged_cloud=rates["flagged"],
        missed_cloud=rates["missed"],
        observed=rates["seen"],
        alone=alone,
    )


def _non_changes(truth: ZoneTruth, seen: BoolArray, archive: DemoArchive) -> dict[str, BoolArray]:
    """Return the sets of pixels where an alarm is false, by what may have raised it."""
    first, last = ((day - _EPOCH).days for day in archive.target)
    quiet = seen & ~truth.touched
    cut = (truth.harvested >= first - _HARVEST_DAYS) & (truth.harvested <= last)
    near = ndimage.binary_dilation(truth.touched, np.ones((5, 5), bool))
    steady = quiet & ~near & ~truth.field
    passes = [sky for sky in truth.skies if archive.target[0] <= sky.day <= archive.target[1]]
    shape = truth.kind.shape
    imaged, flagged, missed = (np.zeros(shape, np.int16) for _ in range(3))
    for sky in passes:
        imaged += sky.imaged
        flagged += sky.imaged & sky.flagged
        missed += sky.imaged & (sky.cloudy | sky.shaded) & ~sky.flagged
    return {
        "harvest": quiet & cut,
        "rotation": quiet & truth.rotated,
        "flagged": steady & (flagged > 0) & (2 * flagged >= imaged) & (missed == 0),
        "missed": steady & (missed > 0),
    }


def _alarm(status: NDArray[np.uint8]) -> BoolArray:
    alarm: BoolArray = np.isin(status, _ALARMS)
    return alarm


def _seen(status: NDArray[np.uint8]) -> BoolArray:
    seen: BoolArray = ~np.isin(status, (Status.NOT_OBSERVED, Status.OUTSIDE))
    return seen


def _read_maps(output: Path, zone: str, truth: ZoneTruth) -> _ZoneMaps:
    """Read a zone's maps on the truth's grid, whatever part of the zone they cover."""
    folder = output / "maps" / zone
    status = _read_on(folder / "status.tif", truth, np.uint8(Status.OUTSIDE))
    kind_file = folder / "change_kind.tif"
    kind = _read_on(kind_file, truth, np.uint8(Status.OUTSIDE)) if kind_file.exists() else None
    layers = {name: folder / f"{name}_probability.tif" for name in ("screen", "model")}
    there = all(file.exists() for file in layers.values())
    probability = {
        name: _read_on(file, truth, np.float32(np.nan)) for name, file in layers.items() if there
    }
    return _ZoneMaps(status, kind, probability)


def _read_on(file: Path, truth: ZoneTruth, missing: Any) -> NDArray[Any]:
    """Read the truth's pixels out of a map, `missing` beyond its edge, in its type."""
    if not file.exists():
        raise ProductError(f"{file}: found no map; expected the result of a run of the demo")
    with rasterio.open(file) as source:
        a, _, west, _, e, north = tuple(source.transform)[:6]
        column, row = (truth.west_m - west) / 10.0, (north - truth.north_m) / 10.0
        aligned = column == int(column) and row == int(row)
        if source.crs.to_epsg() != truth.epsg or (a, e) != (10.0, -10.0) or not aligned:
            raise ProductError(
                f"{file}: found {source.crs} {source.transform}; expected 10 m "
                f"pixels of EPSG:{truth.epsg} on whole multiples of 10 m"
            )
        numbers = np.asarray(source.read(1), missing.dtype)
    # Cut out by hand: the map may end before the truth does, or lie beside it.
    rows = np.arange(truth.kind.shape[0]) + int(row)
    columns = np.arange(truth.kind.shape[1]) + int(column)
    inside_y = (rows >= 0) & (rows < numbers.shape[0])
    inside_x = (columns >= 0) & (columns < numbers.shape[1])
    cut = np.full(truth.kind.shape, missing)
    cut[np.ix_(inside_y, inside_x)] = numbers[np.ix_(rows[inside_y], columns[inside_x])]
    return cut


def _percent(one: Rate) -> str:
    return f"{100.0 * one.share:.2f} %"
