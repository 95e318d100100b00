"""One tile on a worker: windows from north to south through the model, blended, fused, written."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.cube.executor import cause_of
from terrascope.cube.memory import keep_large_arrays
from terrascope.errors import TerrascopeError
from terrascope.geo.tiles import Tile
from terrascope.kernels.blend import Mosaic, reasoned, total_weight
from terrascope.model.stacks import Window
from terrascope.monitor.alert_plan import AlertPlan
from terrascope.monitor.reason.fold import (
    ANY,
    CHANNELS,
    MODEL_LAYERS,
    ModelMaps,
    fuse_layers,
    layers_beside,
)
from terrascope.monitor.reason.inference import Loader, MicroBatches, ahead
from terrascope.monitor.reason.plan import STRATA, Chosen, ReasonSettings, least_pixels, strata_of
from terrascope.monitor.reason.windows import Strip, read_strip
from terrascope.monitor.screen.plan import EVIDENCE_LAYERS, ScreenPlan
from terrascope.store.layout import tile_pixels, tile_slices
from terrascope.store.ledger import Record
from terrascope.store.repository import Store
from terrascope.store.schema import RESULT_LAYERS
from terrascope.store.writing import Fork, write_tile
from terrascope.types import BoolArray, FloatArray, Quarantine

__all__ = ["LAYERS", "give_up_tile", "reason_tile"]

_log = logging.getLogger(__name__)

LAYERS = (*RESULT_LAYERS, *EVIDENCE_LAYERS, *MODEL_LAYERS)
"""Of a result that the model has seen."""

_EPOCH = dt.date(1970, 1, 1)
_ATTEMPTS = 3


@dataclasses.dataclass
class _Counts:
    """What happened to the windows of a tile."""

    asked: int = 0
    looked: int = 0
    refused: int = 0
    why: str = ""
    found: int = 0
    audit: list[list[int]] = dataclasses.field(default_factory=list)
    strata: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, eq=False)
class _Piece:
    """A window, and what is to be done with what the model says of it."""

    place: tuple[int, int]
    window: Window
    for_map: bool
    own: bool
    stratum: int
    core: BoolArray
    """Pixels of the window that count as its own, inside the area and seen."""


def reason_tile(
    plan: ScreenPlan,
    settings: ReasonSettings,
    tile: Tile,
    key: str,
    chosen: Chosen,
    store: Store,
    fork: Fork,
    group: str,
    loader: Loader,
) -> tuple[Fork, Record]:
    """Reason about one tile and write its layers. Runs on a worker.

    Parameters
    ----------
    plan : ScreenPlan
        Of the screen.
    settings : ReasonSettings
        Model, windows, fusion.
    tile : Tile
        Which.
    key : str
        Of the work item.
    chosen : Chosen
        Its windows.
    store : Store
        Held at one commit.
    fork : Fork
        Handle of the batch.
    group : str
        Where to write.
    loader : callable
        Gives this process's model.

    Returns
    -------
    fork : Fork
        The same.
    record : Record
        "failed" where the model failed in a way that another attempt does not cure: the layers
        are the screen's then, and the cause is named.
    """
    keep_large_arrays()
    screen = _screened(plan, tile, store)
    try:
        looked = _persistently(plan, settings, tile, chosen, screen, store, loader)
    except Exception as error:
        if isinstance(error, TerrascopeError) and error.transient:
            raise
        _log.warning("tile %s: the model failed (%s)", tile, error)
        call = (plan, settings, tile, key, chosen, store, fork, group, loader)
        return give_up_tile(call, error)
    return fork, _write(plan, settings, tile, key, chosen, screen, fork, group, looked)


def give_up_tile(call: tuple[Any, ...], error: Exception) -> tuple[Fork, Record]:
    """Write the screen's layers of a tile on which the model fails, or that ends its worker.

    Parameters
    ----------
    call : tuple
        Arguments of `reason_tile`.
    error : Exception
        What came of it.

    Returns
    -------
    fork : Fork
        Of the batch.
    record : Record
        "failed", with the cause: a later run tries again.
    """
    plan, settings, tile, key, chosen, store, fork, group, _ = call
    fork.forget(group, tile, 0)
    shape = (tile_pixels(plan.resolution_m),) * 2
    nothing = ModelMaps.blank(shape), _Counts(), settings.micro_batch
    cause = Quarantine(tile.id, "model", cause_of(error))
    screen = _screened(plan, tile, store)
    return fork, _write(plan, settings, tile, key, chosen, screen, fork, group, nothing, cause)


def _screened(plan: ScreenPlan, tile: Tile, store: Store) -> dict[str, NDArray[Any]]:
    """Read what the screen says of a tile."""
    return {
        layer.name: store.read_tile(plan.result_group(tile.zone), layer.name, tile)
        for layer in (*RESULT_LAYERS, *plan.evidence)
    }


def _write(
    plan: ScreenPlan,
    settings: ReasonSettings,
    tile: Tile,
    key: str,
    chosen: Chosen,
    screen: dict[str, NDArray[Any]],
    fork: Fork,
    group: str,
    found: tuple[ModelMaps, _Counts, int],
    failure: Quarantine | None = None,
) -> Record:
    """Fuse what the model found with the screen's layers, and write them."""
    maps, counts, size = found
    first_day = (plan.target[0].start - _EPOCH).days
    if isinstance(plan, AlertPlan):
        layers = layers_beside(screen, maps)
    else:
        layers = fuse_layers(
            screen, maps, pool=settings.pool, threshold=plan.threshold, first_day=first_day
        )
    write_tile(fork, group, tile, 0, layers)
    inside = screen["status"] != 255
    looked = np.isfinite(layers["model_probability"])
    facts = {
        "asked_pixels": int(inside.sum()),
        "reasoned_pixels": int(looked.sum()),
        "windows": int(chosen.own.sum()),
        "micro_batch": size,
        **dataclasses.asdict(counts),
    }
    observed = int(np.count_nonzero(np.isfinite(layers["change_probability"]) & inside))
    share = observed / max(int(inside.sum()), 1)
    return Record(
        key,
        tile.id,
        0,
        state="complete" if failure is None else "failed",
        observed_share=share,
        quarantines=() if failure is None else (failure,),
        facts=facts,
    )


def _persistently(*arguments: Any) -> tuple[ModelMaps, _Counts, int]:
    """Try again what may pass: a time-out of the storage, for instance."""
    for attempt in range(_ATTEMPTS):
        try:
            return _look(*arguments)
        except TerrascopeError as error:
            if not error.transient or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.5 * 2**attempt)
    raise AssertionError


def _look(
    plan: ScreenPlan,
    settings: ReasonSettings,
    tile: Tile,
    chosen: Chosen,
    screen: dict[str, NDArray[Any]],
    store: Store,
    loader: Loader,
) -> tuple[ModelMaps, _Counts, int]:
    """Run all windows of a tile through the model and blend them."""
    rows, columns = tile_slices(tile, plan.resolution_m)
    side, size, stride = rows.stop - rows.start, settings.window_px, settings.stride_px
    offset = settings.offset_px
    maps, counts = ModelMaps.blank((side, side)), _Counts()
    counts.asked = int((chosen.own & chosen.ask).sum())
    counts.strata = _left_out(chosen)
    if not (chosen.ask | (chosen.stratum >= 0)).any():
        return maps, counts, settings.micro_batch
    mosaic = Mosaic(side, side, CHANNELS, size=size, stride=stride)
    y, x = (total_weight(part.start - offset, side, size, stride) for part in (rows, columns))
    complete = y[:, None] * x
    seen = np.zeros((side, side), np.bool_)
    run = MicroBatches(loader(settings), settings.micro_batch)

    def take(until: int) -> None:
        while mosaic.top < until:
            top, count = mosaic.top, min(size, until - mosaic.top)
            logits, weight = mosaic.take(count)
            part = slice(top, top + count)
            maps.put(top, logits, reasoned(weight, complete[part]) & (weight > 0) & seen[part])

    pieces = _pieces(plan, settings, tile, chosen, screen, store, seen, counts)
    for group in _groups(ahead(pieces), settings.micro_batch):
        logits = run([piece.window for piece in group])
        counts.looked += len(group)
        for piece, one in zip(group, logits, strict=True):
            if piece.own:
                _count(piece, one, counts, least_pixels(plan.resolution_m))
            if piece.for_map:
                take(max(piece.place[0], 0))
                mosaic.add(*piece.place, one)
    take(side)
    return maps, counts, run.size


def _pieces(
    plan: ScreenPlan,
    settings: ReasonSettings,
    tile: Tile,
    chosen: Chosen,
    screen: dict[str, NDArray[Any]],
    store: Store,
    seen: BoolArray,
    counts: _Counts,
) -> Iterator[_Piece]:
    """Read the windows of a tile, row by row; marks in `seen` what was observed."""
    rows, columns = tile_slices(tile, plan.resolution_m)
    size, stride = settings.window_px, settings.stride_px
    present = frozenset(store.groups())
    wanted = chosen.ask | (chosen.stratum >= 0)
    for i in np.flatnonzero(wanted.any(1)).tolist():
        js = np.flatnonzero(wanted[i]).tolist()
        top, left = (
            (chosen.first[k] + n) * stride + settings.offset_px for k, n in enumerate((i, js[0]))
        )
        right = left + (js[-1] - js[0]) * stride + size
        strip = read_strip(plan, tile, store, present, slice(top, top + size), slice(left, right))
        known = strip.seen((size, right - left))
        _mark(seen, known, top - rows.start, left - columns.start)
        for j in js:
            offset = (j - js[0]) * stride
            part = slice(0, size), slice(offset, offset + size)
            window = _window(strip, part, counts)
            if window is not None:
                yield _Piece(
                    (top - rows.start, left + offset - columns.start),
                    window,
                    bool(chosen.ask[i, j]),
                    bool(chosen.own[i, j]),
                    int(chosen.stratum[i, j]),
                    _core(known[part], stride),
                )


def _window(strip: Strip, part: tuple[slice, slice], counts: _Counts) -> Window | None:
    """Cut a window; one whose numbers cannot be right is left out and counted."""
    try:
        return strip.window(part)
    except ValueError as error:
        counts.refused += 1
        counts.why = counts.why or str(error)[:200]
        return None


def _mark(seen: BoolArray, known: BoolArray, top: int, left: int) -> None:
    """Write a rectangle that may reach beyond the tile, in place."""
    height, width = known.shape
    rows = slice(max(top, 0), min(top + height, seen.shape[0]))
    columns = slice(max(left, 0), min(left + width, seen.shape[1]))
    inner = known[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    seen[rows, columns] |= inner


def _core(known: BoolArray, stride: int) -> BoolArray:
    """Return the observed pixels in the middle of a window: the middles tile the ground."""
    edge = (len(known) - stride) // 2
    core = np.zeros_like(known)
    core[edge : edge + stride, edge : edge + stride] = True
    return core & known


def _count(piece: _Piece, logits: FloatArray, counts: _Counts, least: int) -> None:
    """Note whether the model sees a change in the middle of a window that is counted here."""
    hit = int(np.count_nonzero(piece.core & (logits[ANY] >= 0)) >= least)
    if piece.for_map:
        counts.found += hit
    if piece.stratum >= 0:
        counts.audit.append([piece.stratum, hit])


def _left_out(chosen: Chosen) -> list[int]:
    """Count the windows that were left out, by stratum of the audit."""
    left = chosen.own & ~chosen.ask
    counts = np.bincount(strata_of(chosen.score[left]), minlength=len(STRATA))
    return [int(count) for count in counts]


def _groups(pieces: Iterator[_Piece], size: int) -> Iterator[list[_Piece]]:
    group: list[_Piece] = []
    for piece in pieces:
        group.append(piece)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
