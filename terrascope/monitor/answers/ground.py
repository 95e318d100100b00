"""What the maps say about pieces of ground: areas with intervals, and where they come from.

An estimate is a sum of probabilities, made for the share of ground that changed there
(`terrascope.kernels.prevalence`), over the observed ground, and carried over in proportion to
the ground that was not observed. Pixels below the map's threshold have no kind: their part is
shared out as the mapped change is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.geo.aoi import Aoi
from terrascope.geo.footprints import intersect_pairs
from terrascope.geo.tiles import TILE_M, Tile
from terrascope.kernels.prevalence import Prevalence, Reliability, fit_prevalence, posterior
from terrascope.kernels.regional import (
    Blocks,
    correlated_variance,
    total_interval,
    unseen_variance,
)
from terrascope.monitor.answers.maps import Maps, TileLayers
from terrascope.monitor.answers.subjects import Subject
from terrascope.monitor.footprint import aoi_mask, tile_pixel_area
from terrascope.types import Status

__all__ = ["Figure", "Place", "measure"]

_BLOCK_M = 480
"""Side of the squares between which the spread of change is measured; divides a tile."""
_STEPS = 4096
"""Maps keep probabilities in steps of 1 / 4096 (`terrascope.products.layers`)."""
_PATCH_M2 = 1000.0
"""Change that may be there where none is seen: a patch of a tenth of a hectare."""
_CHANGED = (int(Status.PROVISIONAL), int(Status.CONFIRMED))
_SEEN = (int(Status.NO_CHANGE), *_CHANGED, int(Status.CLOSED))
_ZONE_APART = 1_000_000
"""Columns between the squares of two zones."""


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """A piece of ground that is asked about.

    Parameters
    ----------
    name : str
        Of the area, a region, or an event.
    ground : Aoi or None
        Its outline, of which the part inside the area counts; None for the whole area.
    among : Place or None
        The larger ground whose share of change holds here, too: a patch was picked out because
        it changed, and says nothing of what to expect.
    """

    name: str
    ground: Aoi | None = None
    among: Place | None = None


@dataclasses.dataclass(frozen=True)
class Figure:
    """How much of something there is in a place.

    Parameters
    ----------
    asked_m2, seen_m2 : float
        Ground asked about, and observed of it.
    mapped_m2 : float
        Change on the map, as it is drawn.
    value_m2, low_m2, high_m2 : float
        The estimate for all of the ground, and its interval.
    tiles : tuple of str
        Tiles with ground of the place.
    changed : tuple of str
        Tiles on whose map it is.
    """

    asked_m2: float
    seen_m2: float
    mapped_m2: float
    value_m2: float
    low_m2: float
    high_m2: float
    tiles: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def seen_share(self) -> float:
        """Ground observed / ground asked about, 0 to 1."""
        return self.seen_m2 / self.asked_m2 if self.asked_m2 else 0.0


def measure(
    maps: Maps,
    area: Aoi,
    wanted: Sequence[tuple[Place, Subject]],
    *,
    reliability: Reliability,
    looked: Reliability | None = None,
    level: float = 0.9,
) -> tuple[Figure, ...]:
    """Measure changes in places. The maps are walked through twice, tile by tile.

    Parameters
    ----------
    maps : Maps
        Of a run.
    area : Aoi
        The ground that the run was asked for.
    wanted : sequence of tuple
        Pairs of a place and a change.
    reliability : Reliability
        Of the probabilities of `maps`.
    looked : Reliability or None
        Of those where a model looked (``model_probability`` is known); None for the same.
    level : float
        Of the intervals, between 0 and 1.

    Returns
    -------
    figures : tuple of Figure
        In the order of `wanted`.
    """
    places = list(dict.fromkeys(p for place, _ in wanted for p in (place, place.among) if p))
    subjects = list(dict.fromkeys(subject for _, subject in wanted))
    sums = {place: _Sums(subjects) for place in places}
    for part in _parts(maps, area, places, subjects):
        sums[part.place].add(part)
    trust = (reliability, looked or reliability)
    fits = {place: sums[place.among or place].fit(trust) for place in places}
    pairs = list(dict.fromkeys(wanted))
    spreads = {pair: _Spread() for pair in pairs}
    length_px = max(one.length_m for one in trust) / maps.resolution_m
    for part in _parts(maps, area, places, subjects):
        ratio = np.where(part.looked, *(one.log_ratio(part.probability) for one in trust[::-1]))
        p = np.nan_to_num(posterior(ratio, fits[part.place].share))
        for place, subject in pairs:
            if place is part.place:
                among = sums[place].among[subject]
                spreads[place, subject].add(part, p, part.counted(subject, among), length_px)
    return tuple(
        _figure(sums[place], fits[place], spreads[place, subject], subject, level)
        for place, subject in wanted
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """The part of a place in one tile, cut to a window on whole squares."""

    place: Place
    tile: Tile
    corner: tuple[int, int]
    block: int
    area: NDArray[np.float64]
    seen: NDArray[np.bool_]
    changed: NDArray[np.bool_]
    probability: NDArray[np.float32]
    looked: NDArray[np.bool_]
    mapped: Mapping[Subject, NDArray[np.bool_]]

    def counted(self, subject: Subject, among: float) -> NDArray[np.float64]:
        """Ground of each pixel that counts towards a subject if it changed."""
        share = np.where(self.changed, self.mapped[subject], among)
        return np.asarray(share * self.area * self.seen, np.float64)


def _parts(
    maps: Maps, area: Aoi, places: Sequence[Place], subjects: Sequence[Subject]
) -> Iterator[_Part]:
    tiles = list(maps.tiles)
    grounds = [(area if place.ground is None else place.ground).geometry for place in places]
    at: dict[int, list[int]] = {}
    for tile_index, place_index in zip(
        *(part.tolist() for part in intersect_pairs(tiles, grounds)), strict=True
    ):
        at.setdefault(tile_index, []).append(place_index)
    for index, tile in enumerate(tiles):
        if index not in at:
            continue
        asked = aoi_mask(area, tile, maps.resolution_m)
        if not asked.any():
            continue
        layers = TileLayers(maps, tile)
        for place_index in at[index]:
            ground = places[place_index].ground
            inside = asked if ground is None else asked & aoi_mask(ground, tile, maps.resolution_m)
            if inside.any():
                yield _part(places[place_index], layers, inside, subjects)


def _part(
    place: Place, layers: TileLayers, inside: NDArray[np.bool_], subjects: Sequence[Subject]
) -> _Part:
    resolution = layers.maps.resolution_m
    block = max(_BLOCK_M // resolution, 1)
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    bounds = [_whole_squares(v, block) for v in (rows, columns)]
    window = np.s_[bounds[0][0] : bounds[0][1], bounds[1][0] : bounds[1][1]]
    shape = (inside.shape[0], inside.shape[1])
    status = layers.values("status", shape, int(Status.NOT_OBSERVED))[window]
    probability = layers.values("change_probability", shape, math.nan)[window]
    area = tile_pixel_area(layers.tile, resolution, rows=window[0], columns=window[1])
    seen = inside[window] & np.isin(status, _SEEN)
    changed = seen & np.isin(status, _CHANGED)
    stated = np.where(np.isfinite(probability), probability, changed).astype(np.float32)
    mapped = {s: changed & layers.holds(s, window, shape) for s in subjects}
    return _Part(
        place,
        layers.tile,
        (bounds[0][0] // block, bounds[1][0] // block),
        block,
        np.where(inside[window], area, 0.0),
        seen,
        changed,
        np.where(seen, stated, np.float32(np.nan)),
        np.isfinite(layers.values("model_probability", shape, math.nan)[window]),
        mapped,
    )


def _whole_squares(occupied: NDArray[np.int64], block: int) -> tuple[int, int]:
    """Return the first and the last but one row or column of the squares that hold some."""
    return int(occupied[0]) // block * block, -(-(int(occupied[-1]) + 1) // block) * block


class _Sums:
    """What the first walk adds up for one place."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.bins = np.zeros((2, _STEPS + 1))
        self.changed_m2 = 0.0
        self.mapped = dict.fromkeys(subjects, 0.0)
        self.asked_m2 = self.seen_m2 = 0.0
        self.tiles: list[str] = []
        self.changed: dict[Subject, list[str]] = {subject: [] for subject in subjects}

    def add(self, part: _Part) -> None:
        """Add a tile's part."""
        self.asked_m2 += float(part.area.sum())
        self.seen_m2 += float(part.area[part.seen].sum())
        self.tiles.append(part.tile.id)
        step = np.rint(part.probability[part.seen].astype(np.float64) * _STEPS).astype(np.int64)
        place = step + part.looked[part.seen] * (_STEPS + 1)
        counts = np.bincount(place, part.area[part.seen], 2 * (_STEPS + 1))
        self.bins += counts.reshape(2, -1)
        self.changed_m2 += float(part.area[part.changed].sum())
        for subject, where in part.mapped.items():
            ground = float(part.area[where].sum())
            self.mapped[subject] += ground
            if ground:
                self.changed[subject].append(part.tile.id)

    @property
    def among(self) -> dict[Subject, float]:
        """Share of change that is of each subject, as mapped; a patch of each may be hidden."""
        whole = self.changed_m2 + _PATCH_M2
        return {s: (ground + _PATCH_M2) / whole for s, ground in self.mapped.items()}

    def fit(self, trust: tuple[Reliability, Reliability]) -> Prevalence:
        """Estimate which share of the place changed."""
        stated = (np.arange(_STEPS + 1) / _STEPS).astype(np.float32)
        least = min(_PATCH_M2 / self.seen_m2, 0.5) if self.seen_m2 else 0.0
        ratios = np.concatenate([one.log_ratio(stated) for one in trust])
        return fit_prevalence(ratios, self.bins.ravel(), least=least)


class _Spread:
    """What the second walk adds up for one place and subject."""

    def __init__(self) -> None:
        self.expected_m2 = self.variance = 0.0
        self.blocks: list[Blocks] = []

    def add(
        self,
        part: _Part,
        probability: NDArray[np.float64],
        counted: NDArray[np.float64],
        length_px: float,
    ) -> None:
        """Add a tile's part; errors of different tiles are taken as independent."""
        found = probability * counted
        self.expected_m2 += float(found.sum())
        self.variance += correlated_variance(probability, counted, length_px)
        seen = np.where(part.seen, part.area, 0.0)
        sums = [_by_block(v, part.block) for v in (found, seen, part.area - seen)]
        row, column = (index.ravel() for index in np.indices(sums[0].shape))
        tile = part.tile
        per_tile = TILE_M // _BLOCK_M
        self.blocks.append(
            Blocks(
                (row + part.corner[0] - tile.row * per_tile).astype(np.int64),
                (
                    column
                    + part.corner[1]
                    + tile.column * per_tile
                    + tile.zone.number * _ZONE_APART * (1 if tile.zone.hemisphere == "N" else -1)
                ).astype(np.int64),
                *(one.ravel() for one in sums),
            )
        )


def _by_block(values: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    rows, columns = values.shape
    cut = values.reshape(rows // block, block, columns // block, block)
    return np.asarray(cut.sum((1, 3)), np.float64)


def _figure(
    sums: _Sums, fit: Prevalence, spread: _Spread, subject: Subject, level: float
) -> Figure:
    seen, asked = sums.seen_m2, sums.asked_m2
    grown = asked / seen if seen else 0.0
    value = spread.expected_m2 * grown
    # What is uncertain of the observed ground is carried over to the rest of it.
    variance = spread.variance / max(fit.sharpness, 0.03) ** 2 * grown**2
    variance += unseen_variance(Blocks.joined(spread.blocks))
    # What was found nowhere may still be there: a patch more or less, and more where hidden.
    hidden = (asked - seen) / seen if seen else math.inf
    variance += _PATCH_M2**2 * (0.25 + hidden * (1 + hidden))
    interval = total_interval(value, variance, level=level, most=asked)
    return Figure(
        asked,
        seen,
        sums.mapped[subject],
        interval.value,
        interval.low,
        interval.high,
        tuple(sorted(sums.tiles)),
        tuple(sorted(sums.changed[subject])),
    )
