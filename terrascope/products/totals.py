"""How much ground is in which state: geodesic areas inside the AOI and per region."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.geo.aoi import Aoi
from terrascope.geo.footprints import intersect_pairs
from terrascope.kernels.evidence import observed_window
from terrascope.monitor.footprint import aoi_mask, tile_pixel_area
from terrascope.products.layers import LayerSource
from terrascope.types import ChangeKind, Status

__all__ = ["GroundTotals", "totals"]

_CHANGED = (Status.PROVISIONAL, Status.CONFIRMED, Status.CLOSED)
_STATES = [(status, kind) for status in Status for kind in ChangeKind]


@dataclasses.dataclass(frozen=True)
class GroundTotals:
    """Areas of one piece of ground.

    Parameters
    ----------
    name : str
        Of the AOI or the region.
    asked_m2 : float
        Ground asked for: all its pixels, tiles without a result included.
    by_state : mapping of (Status, ChangeKind) to float
        Square metres; `ChangeKind.NONE` where nothing changed. Sums to `asked_m2`;
        states without ground are left out.
    """

    name: str
    asked_m2: float
    by_state: Mapping[tuple[Status, ChangeKind], float]

    @property
    def observed_m2(self) -> float:
        """Ground with at least one clear observation."""
        return sum(v for (status, _), v in self.by_state.items() if status != Status.NOT_OBSERVED)

    @property
    def observed_share(self) -> float:
        """Ground observed / ground asked for, 0..1; 0 where nothing was asked for."""
        return self.observed_m2 / self.asked_m2 if self.asked_m2 else 0.0

    @property
    def changed_m2(self) -> float:
        """Provisional and confirmed change."""
        states = (Status.PROVISIONAL, Status.CONFIRMED)
        return sum(v for (status, _), v in self.by_state.items() if status in states)


def totals(
    source: LayerSource, aoi: Aoi, regions: Sequence[Aoi] = ()
) -> tuple[GroundTotals, tuple[GroundTotals, ...]]:
    """Add up the ground by state, in the whole area and in each region.

    Parameters
    ----------
    source : LayerSource
        The results; tiles are read one at a time.
    aoi : Aoi
        The area asked for.
    regions : sequence of Aoi
        Counted inside the AOI only; they may overlap.

    Returns
    -------
    area : GroundTotals
        Of the AOI.
    by_region : tuple of GroundTotals
        In the order of `regions`.

    Notes
    -----
    Each place is counted once: a tile counts the pixels that it owns. A pixel
    inside the AOI without a result counts as not observed.
    """
    tiles = list(source.tiles)
    kinds = ("change_kind",) if "change_kind" in source.layers else ()
    sums = np.zeros((1 + len(regions), len(_STATES)))
    touched: dict[int, list[int]] = {}
    pairs = intersect_pairs(tiles, [region.geometry for region in regions])
    for tile_index, region_index in zip(*(part.tolist() for part in pairs), strict=True):
        touched.setdefault(tile_index, []).append(region_index)
    for index, tile in enumerate(tiles):
        asked = aoi_mask(aoi, tile, source.resolution_m)
        if not asked.any():
            continue
        window = observed_window(asked)
        asked = asked[window]
        found = [
            None if values is None else values[window][asked]
            for values in (source.read(tile, name) for name in ("status", *kinds))
        ]
        state = _states(found[0], found[-1] if kinds else None, int(asked.sum()))
        area = tile_pixel_area(tile, source.resolution_m, rows=window[0], columns=window[1])[asked]
        sums[0] += _add_up(state, area)
        for region in touched.get(index, ()):
            inside = aoi_mask(regions[region], tile, source.resolution_m)[window][asked]
            sums[1 + region] += _add_up(state[inside], area[inside])
    names = [aoi.name, *(region.name for region in regions)]
    whole, *parts = (_totals(name, row) for name, row in zip(names, sums, strict=True))
    return whole, tuple(parts)


def _states(
    status: NDArray[np.uint8] | None, kind: NDArray[np.uint8] | None, count: int
) -> NDArray[np.int64]:
    """Return the place of each pixel's status and kind in `_STATES`."""
    table = np.zeros((256, 256), np.int64)  # what is unknown was not observed
    for place, (one, other) in enumerate(_STATES):
        table[one, other] = place
    for plain in (Status.NOT_OBSERVED, Status.NO_CHANGE):
        table[plain] = _STATES.index((plain, ChangeKind.NONE))
    table[Status.OUTSIDE] = _STATES.index((Status.NOT_OBSERVED, ChangeKind.NONE))
    for changed in _CHANGED:
        table[changed, ChangeKind.OUTSIDE] = _STATES.index((changed, ChangeKind.NONE))
    if status is None:
        return np.full(count, table[Status.NOT_OBSERVED, 0])
    if kind is None:
        kind = np.zeros_like(status)
    found: NDArray[np.int64] = table[status, kind]
    return found


def _add_up(state: NDArray[np.int64], area: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(state, area, len(_STATES)).astype(np.float64)


def _totals(name: str, sums: NDArray[np.float64]) -> GroundTotals:
    by_state = {state: float(area) for state, area in zip(_STATES, sums, strict=True) if area > 0}
    return GroundTotals(name, float(sums.sum()), by_state)
