"""Which windows the model looks at: a value, made from the screen's maps.

Windows lie on a lattice of the zone's grid, whatever tile or area asks for them. The screen
scores them, a budget chooses, and a stratified random sample of the others is looked at besides,
to know what was given up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from terrascope.cube.executor import Executor
from terrascope.geo.tiles import Tile
from terrascope.kernels.audit import allocate
from terrascope.kernels.blend import first_and_last
from terrascope.kernels.pooling import EVEN, LogOddsPool
from terrascope.monitor.alert_plan import AlertPlan, alert_score
from terrascope.monitor.screen.plan import ScreenPlan
from terrascope.store.layout import tile_slices
from terrascope.store.ledger import work_key
from terrascope.store.window import read_window
from terrascope.types import BoolArray, FloatArray

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = [
    "REASON_VERSION",
    "STRATA",
    "Chosen",
    "ReasonSettings",
    "choose_windows",
    "least_pixels",
    "model_plan",
    "pending_reason",
    "reason_keys",
    "strata_of",
]

REASON_VERSION = 2
"""Raised by hand when the same cube, model and settings would give another map."""

STRATA = (0.0, 0.02, 0.05, 0.1)
"""Lower ends of the strata of the audit, by score."""

_LEAST_M2 = 1000.0
"""Ground that has to look changed before a window does: a tenth of a hectare."""


@dataclasses.dataclass(frozen=True)
class ReasonSettings:
    """How the model is used.

    Parameters
    ----------
    folder : str
        Of the model.
    weights : str
        Hash of it.
    name : str
        As the monitor file names it.
    window_px : int
        Side of a window.
    stride_px : int
        From one window to the next; what is missing to the side is overlap.
    budget : str or float
        ``"all"``; ``"screened"``; or the share of all windows, those with the highest scores.
    ask : float
        Score from which ``"screened"`` asks the model.
    audit : int
        Windows looked at among those left out, over the whole area; 0 for none.
    micro_batch : int
        Windows that are run together.
    pool : LogOddsPool
        Fusion of screen and model.
    precision : str
        See `terrascope.model.precision`.
    threads : int
        Of a worker without a GPU; 0 leaves it to torch. Not part of the key.
    offset_px : int
        From the zone's origin to the lattice of windows: maps hardly depend on it
        (`benchmarks/tiling.py`).
    """

    folder: str
    weights: str
    name: str
    window_px: int
    stride_px: int
    budget: str | float = "screened"
    ask: float = 0.2
    audit: int = 200
    micro_batch: int = 4
    pool: LogOddsPool = EVEN
    precision: str = "auto"
    threads: int = 0
    offset_px: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.offset_px < self.stride_px:
            raise ValueError(f"offset {self.offset_px} px: expected 0 to {self.stride_px - 1}")
        if not 0 < self.stride_px <= self.window_px:
            raise ValueError(f"stride {self.stride_px} of windows of {self.window_px} px")
        if self.micro_batch < 1 or self.audit < 0:
            raise ValueError("micro_batch: expected 1 or more; audit: 0 or more")

    def key_facts(self) -> dict[str, Any]:
        """Return what a work item's key must know of them.

        Returns
        -------
        facts : dict
            JSON-ready. Which windows were chosen is part of the key by itself.
        """
        facts = dataclasses.asdict(self)
        for name in ("folder", "name", "budget", "ask", "audit", "threads"):
            facts.pop(name)
        if not self.offset_px:
            facts.pop("offset_px")
        return facts


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """Windows of one tile, as a lattice; all arrays have the shape (row, column).

    Parameters
    ----------
    first : tuple of int
        Row and column number of the first window; window (i, j) begins at ``stride`` times that,
        and the offset.
    score : ndarray of float32
        Of the screen; NaN where it saw nothing inside the area.
    own : ndarray of bool
        Counted with this tile: a window on a border belongs to one of its tiles.
    ask : ndarray of bool
        The model looks at it for the map.
    stratum : ndarray of int8
        Of the audit, -1 where the window is not in the sample.
    """

    first: tuple[int, int]
    score: FloatArray
    own: BoolArray
    ask: BoolArray
    stratum: NDArray[np.int8]

    def facts(self) -> str:
        """Return what a work item's key must know of them.

        Returns
        -------
        text : str
            Of all arrays but the scores.
        """
        parts = (self.own, self.ask, self.stratum)
        return f"{self.first} " + " ".join(part.tobytes().hex() for part in parts)


def model_plan(plan: ScreenPlan) -> ScreenPlan:
    """Return the plan of the maps that the model has seen: the screen's, beside its own group.

    Parameters
    ----------
    plan : ScreenPlan
        Of the screen.

    Returns
    -------
    plan : ScreenPlan
        The same work with other result groups.
    """
    return dataclasses.replace(plan, run_id=f"{plan.run_id}_model")


def least_pixels(resolution_m: int) -> int:
    """Return how many pixels have to look changed before a window does.

    Parameters
    ----------
    resolution_m : int
        Pixel size.

    Returns
    -------
    count : int
        A tenth of a hectare, one at least.
    """
    return max(1, round(_LEAST_M2 / resolution_m**2))


def choose_windows(
    plan: ScreenPlan, settings: ReasonSettings, store: Store, executor: Executor
) -> dict[Tile, Chosen]:
    """Score all windows and choose those that the model looks at.

    Parameters
    ----------
    plan : ScreenPlan
        Of the screen, which is done.
    settings : ReasonSettings
        Budget, audit and lattice.
    store : Store
        Holds the screen's maps.
    executor : Executor
        Where scoring runs.

    Returns
    -------
    chosen : dict of Tile to Chosen
        By tile, in order. Depends on the screen's maps and the settings only.
    """
    frozen = store.at(store.snapshot())
    planned = set(plan.tiles)
    shared = dataclasses.replace(plan, batches=())
    scored = dict(
        executor.run(_score_tile, ((shared, settings, tile, frozen) for tile in sorted(planned)))
    )
    tiles = sorted(scored)
    own = {tile: _own(tile, planned, *scored[tile], settings, plan) for tile in tiles}
    score = np.concatenate([scored[t][1][own[t]] for t in tiles])
    place = np.concatenate([_places(t, scored[t][0], own[t]) for t in tiles])
    draw = _draws(place)
    ask = _within_budget(score, draw, settings)
    stratum = _sample(score, draw, ask, settings.audit)
    found = {
        (int(z), int(i), int(j)): n
        for n, (z, i, j) in enumerate(place.tolist())
        if ask[n] or stratum[n] >= 0
    }
    return {t: _chosen(t, *scored[t], own[t], found, ask, stratum) for t in tiles}


def reason_keys(
    plan: ScreenPlan,
    settings: ReasonSettings,
    screen: Mapping[Tile, str],
    chosen: Mapping[Tile, Chosen],
) -> dict[Tile, str]:
    """Return the key of each tile: equal keys, equal maps.

    Parameters
    ----------
    plan : ScreenPlan
        Of the screen.
    settings : ReasonSettings
        Model, windows and fusion.
    screen : mapping of Tile to str
        Keys of the screen's work items: what its maps and the cubes around them depend on.
    chosen : mapping of Tile to Chosen
        From `choose_windows`.

    Returns
    -------
    keys : dict of Tile to str
        By tile.
    """
    facts = {**settings.key_facts(), "threshold": plan.threshold}

    def inputs(tile: Tile) -> list[str]:
        around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        near = [
            screen.get(Tile(tile.zone, tile.column + j, tile.row + i), "")
            for i, j in around
            if tile.column + j >= 0 and tile.row + i >= 0
        ]
        return [*near, chosen[tile].facts()]

    return {t: work_key("reason", REASON_VERSION, facts, inputs(t)) for t in plan.tiles}


def pending_reason(
    plan: ScreenPlan, store: Store, keys: Mapping[Tile, str], *, at_least: int = 1
) -> dict[int, tuple[Tile, ...]]:
    """Return the tiles whose map is missing, out of date or failed, as they are committed.

    Parameters
    ----------
    plan : ScreenPlan
        From `model_plan`.
    store : Store
        Holds the ledgers.
    keys : mapping of Tile to str
        From `reason_keys`.
    at_least : int
        Tiles of one commit: batches of a zone are joined up to it, for at the end of each the
        workers wait for the slowest. What comes out does not hang on it.

    Returns
    -------
    tiles : dict of int to tuple of Tile
        By the last batch of the plan that they belong to, in order; batches without a tile are
        left out.
    """
    zones = {tile.zone for tile in plan.tiles}
    done = {zone: store.records(plan.result_group(zone)) for zone in zones}

    def is_done(tile: Tile) -> bool:
        record = done[tile.zone].get((tile.id, 0))
        return record is not None and record.done and record.key == keys[tile]

    found: dict[int, tuple[Tile, ...]] = {}
    for index, batch in enumerate(plan.batches):
        left = tuple(tile for tile in batch if not is_done(tile))
        if not left:
            continue
        last = max(found, default=-1)
        if found and len(found[last]) < at_least and found[last][0].zone == left[0].zone:
            left = found.pop(last) + left
        found[index] = left
    return found


def _score_tile(
    plan: ScreenPlan, settings: ReasonSettings, tile: Tile, store: Store
) -> tuple[Tile, tuple[tuple[int, int], FloatArray]]:
    """Score the windows that touch a tile, as a whole, wherever they reach. Runs on a worker."""
    size, stride, offset = settings.window_px, settings.stride_px, settings.offset_px
    spans = [
        first_and_last(part.start - offset, part.stop - offset, size, stride)
        for part in tile_slices(tile, plan.resolution_m)
    ]
    rows, columns = (slice(a * stride + offset, b * stride + offset + size) for a, b in spans)
    root, group = store.root(), plan.result_group(tile.zone)
    pixels = read_window(root, f"{group}/screen_probability", rows, columns)
    if isinstance(plan, AlertPlan):
        status = read_window(root, f"{group}/status", rows, columns)
        pixels = alert_score(pixels, status, settings.ask)
    score = np.full([b - a + 1 for a, b in spans], np.nan, np.float32)
    least = least_pixels(plan.resolution_m)
    for i, j in np.ndindex(score.shape):
        part = pixels[i * stride : i * stride + size, j * stride : j * stride + size]
        seen = part[np.isfinite(part)]
        if len(seen):
            rank = min(least, len(seen))
            score[i, j] = np.partition(seen, len(seen) - rank)[len(seen) - rank]
    return tile, ((spans[0][0], spans[1][0]), score)


def _own(
    tile: Tile,
    planned: set[Tile],
    first: tuple[int, int],
    score: FloatArray,
    settings: ReasonSettings,
    plan: ScreenPlan,
) -> BoolArray:
    """Find the windows that no northern or western neighbour of the plan touches too."""
    size, stride = settings.window_px, settings.stride_px
    rows, columns = tile_slices(tile, plan.resolution_m)
    top = (first[0] + np.arange(score.shape[0])) * stride + settings.offset_px
    left = (first[1] + np.arange(score.shape[1])) * stride + settings.offset_px
    north, south = top < rows.start, top + size > rows.stop
    west, east = left < columns.start, left + size > columns.stop
    own = np.isfinite(score)
    for up, rows_there in ((1, north), (0, np.ones_like(north)), (-1, south)):
        for side, columns_there in ((-1, west), (0, np.ones_like(west)), (1, east)):
            # north to south, west to east: the first tile that a window touches has it
            earlier = (up, -side) > (0, 0)
            if tile.column + side < 0 or tile.row + up < 0:
                continue
            if earlier and Tile(tile.zone, tile.column + side, tile.row + up) in planned:
                own &= ~(rows_there[:, None] & columns_there)
    return own


def _places(tile: Tile, first: tuple[int, int], own: BoolArray) -> NDArray[np.int64]:
    """Zone, row and column number of each window, (n, 3)."""
    i, j = np.nonzero(own)
    zone = np.full(len(i), tile.zone.epsg)
    return np.stack([zone, first[0] + i, first[1] + j], 1).astype(np.int64)


def _draws(place: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a random number of each window: always the same one (Ohlsson 1995).

    Permanent random numbers keep the samples of later runs alike. The generator is SplitMix64.
    """
    state = np.zeros(len(place), np.uint64)
    with np.errstate(over="ignore"):
        for part in place.T:
            state = (state ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state ^= state >> np.uint64(31)
    return state


def _within_budget(
    score: FloatArray, draw: NDArray[np.uint64], settings: ReasonSettings
) -> BoolArray:
    if settings.budget == "all":
        return np.ones(len(score), np.bool_)
    if settings.budget == "screened":
        return score >= np.float32(settings.ask)
    count = int(np.ceil(float(settings.budget) * len(score)))
    ask = np.zeros(len(score), np.bool_)
    ask[np.lexsort((draw, -score))[:count]] = True
    return ask


def _sample(
    score: FloatArray, draw: NDArray[np.uint64], ask: BoolArray, total: int
) -> NDArray[np.int8]:
    """Draw the audit: per stratum those with the smallest numbers."""
    stratum = np.full(len(score), -1, np.int8)
    member = strata_of(score)
    left = [np.flatnonzero(~ask & (member == h)) for h in range(len(STRATA))]
    means = [float(score[some].mean()) if len(some) else 0.0 for some in left]
    for h, count in enumerate(allocate([len(some) for some in left], means, total)):
        order = np.argsort(draw[left[h]], kind="stable")
        stratum[left[h][order[:count]]] = h
    return stratum


def strata_of(score: FloatArray) -> NDArray[np.int64]:
    """Return the stratum of each window.

    Parameters
    ----------
    score : ndarray of float32
        Of the screen, not NaN.

    Returns
    -------
    stratum : ndarray of int64
        Index into `STRATA`.
    """
    return np.searchsorted(np.asarray(STRATA), score, side="right").clip(1) - 1


def _chosen(
    tile: Tile,
    first: tuple[int, int],
    score: FloatArray,
    own: BoolArray,
    found: Mapping[tuple[int, int, int], int],
    ask: BoolArray,
    stratum: NDArray[np.int8],
) -> Chosen:
    asked = np.zeros(score.shape, np.bool_)
    sampled = np.full(score.shape, -1, np.int8)
    for i, j in np.ndindex(score.shape):
        number = found.get((tile.zone.epsg, first[0] + i, first[1] + j))
        if number is not None:
            asked[i, j] = ask[number]
            if own[i, j]:
                sampled[i, j] = stratum[number]
    return Chosen(first, score, own, asked, sampled)
