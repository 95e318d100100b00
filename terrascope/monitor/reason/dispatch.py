"""Tiles to workers that hold the resource ``GPU``, one commit per batch."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from terrascope.cube.executor import DaskExecutor, Executor, ThreadExecutor
from terrascope.errors import ConfigError
from terrascope.geo.tiles import Tile
from terrascope.kernels.audit import RecallEstimate, Stratum, estimate_recall
from terrascope.monitor.alert_plan import dated_plan
from terrascope.monitor.reason.fold import MODEL_LAYERS
from terrascope.monitor.reason.inference import Loader, load_reasoner
from terrascope.monitor.reason.plan import STRATA, Chosen, ReasonSettings, model_plan
from terrascope.monitor.reason.tile import give_up_tile, reason_tile
from terrascope.monitor.screen.plan import ScreenPlan
from terrascope.store.ledger import Record
from terrascope.store.schema import result_schema

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = [
    "Audit",
    "audit_of",
    "audit_text",
    "reason_batch",
    "reasoning_workers",
    "tiles_per_commit",
]

_TILES_PER_WORKER = 32
"""Of one commit: as many as a batch of the plan holds, so that it takes as long as with one."""
_COMING_BACK_S = 30.0
"""A worker that ended is started again within this time."""


@dataclasses.dataclass(frozen=True)
class Audit:
    """What the screen kept from the model, and what that cost.

    Parameters
    ----------
    windows : int
        That hold ground of the area that the screen saw.
    asked : int
        That the screen, or the budget, let through.
    audited : int
        Of the others, looked at as a random sample.
    refused : int
        Whose numbers cannot be what they are said to be.
    recall : RecallEstimate
        Share of the windows with a change, as the model sees it, that were let through; a
        90 % interval.
    """

    windows: int
    asked: int
    audited: int
    refused: int
    recall: RecallEstimate


def reasoning_workers(executor: Executor) -> Executor:
    """Return the executor, held to workers with the resource ``GPU``.

    Parameters
    ----------
    executor : Executor
        Threads or a cluster.

    Returns
    -------
    executor : Executor
        One call at a time per unit of that resource; one thread of this process.

    Raises
    ------
    ConfigError
        If no worker of the cluster declares it within half a minute, in which those that have
        just ended come back: its tasks would wait for ever.
    """
    if isinstance(executor, DaskExecutor):
        if not _wait_for_workers(executor):
            raise ConfigError(
                "no worker of the Dask cluster declares the resource GPU; start some with "
                "--resources 'GPU=1' (a worker without a graphics card will do for a small model)",
                key="--dask",
            )
        return executor.holding({"GPU": 1})
    return ThreadExecutor(1)


def tiles_per_commit(executor: Executor) -> int:
    """Return how many tiles should be committed together: more, where more workers share them.

    Parameters
    ----------
    executor : Executor
        Threads or a cluster.

    Returns
    -------
    tiles : int
        At least; see `terrascope.monitor.reason.plan.pending_reason`.
    """
    slots = _slots(executor) if isinstance(executor, DaskExecutor) else 1
    return _TILES_PER_WORKER * max(slots, 1)


def _slots(executor: DaskExecutor) -> int:
    """Count the units of the resource, of all workers."""
    workers = executor.client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(int(worker.get("resources", {}).get("GPU", 0)) for worker in workers)


def _wait_for_workers(executor: DaskExecutor) -> bool:
    """Wait until a worker declares the resource; False where none does."""
    end = time.monotonic() + _COMING_BACK_S
    while True:
        if _slots(executor):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.5)


def reason_batch(
    plan: ScreenPlan,
    settings: ReasonSettings,
    tiles: Sequence[Tile],
    store: Store,
    executor: Executor,
    *,
    keys: Mapping[Tile, str],
    chosen: Mapping[Tile, Chosen],
    loader: Loader = load_reasoner,
) -> int:
    """Reason about tiles of one batch and commit their maps.

    Parameters
    ----------
    plan : ScreenPlan
        Of the screen, which is done.
    settings : ReasonSettings
        Model, windows, fusion.
    tiles : sequence of Tile
        Of one zone, those that are pending.
    store : Store
        Read at one commit, written to.
    executor : Executor
        Where the work runs; see `reasoning_workers`.
    keys : mapping of Tile to str
        From `terrascope.monitor.reason.plan.reason_keys`.
    chosen : mapping of Tile to Chosen
        From `terrascope.monitor.reason.plan.choose_windows`.
    loader : callable
        Gives a worker its model.

    Returns
    -------
    done : int
        Tiles whose map the model has seen.
    """
    zone = tiles[0].zone
    frozen = store.at(store.snapshot())
    schema = result_schema(
        zone,
        plan.resolution_m,
        model_plan(plan).run_id,
        evidence=(*plan.evidence, *MODEL_LAYERS),
        attributes={"model": settings.name, "model_weights": settings.weights},
    )
    group = store.ensure_group(schema)
    shared = dated_plan(dataclasses.replace(plan, batches=()), frozen, zone)
    with store.begin() as write:
        fork = write.fork()
        # What takes longest begins first, so that few wait for the last.
        ordered = sorted(tiles, key=lambda tile: -np.count_nonzero(chosen[tile].ask))
        calls = (
            (shared, settings, tile, keys[tile], chosen[tile], frozen, fork, group, loader)
            for tile in ordered
        )
        workers = reasoning_workers(executor)
        written = list(workers.run(reason_tile, calls, give_up=give_up_tile))
        records = [record for _, record in written]
        write.commit(
            [fork for fork, _ in written],
            {group: records},
            message=f"reason {tiles[0]} and {len(tiles) - 1} more",
        )
    return sum(record.done for record in records)


def audit_of(records: Sequence[Record]) -> Audit:
    """Add up what the records of all tiles say of the windows.

    Parameters
    ----------
    records : sequence of Record
        Of the model's results.

    Returns
    -------
    audit : Audit
        Over the whole area.
    """
    facts = [record.facts for record in records if record.done]
    found = sum(int(fact["found"]) for fact in facts)
    draws = [tuple(draw) for fact in facts for draw in fact["audit"]]
    strata = []
    for number in range(len(STRATA)):
        hits = [hit for stratum, hit in draws if stratum == number]
        size = sum(int(fact["strata"][number]) for fact in facts)
        strata.append(Stratum(size, len(hits), sum(hits)))
    return Audit(
        windows=sum(int(fact["windows"]) for fact in facts),
        asked=sum(int(fact["asked"]) for fact in facts),
        audited=len(draws),
        refused=sum(int(fact["refused"]) for fact in facts),
        recall=estimate_recall(found, strata),
    )


def audit_text(audit: Audit) -> str:
    """Say it for people.

    Parameters
    ----------
    audit : Audit
        Of a run.

    Returns
    -------
    text : str
        One sentence or two.
    """
    share = audit.asked / max(audit.windows, 1)
    text = f"the model looked at {audit.asked:,} of {audit.windows:,} windows ({share:.1%})"
    if audit.refused:
        text += f"; {audit.refused:,} were refused for their numbers"
    left = audit.windows - audit.asked
    if not left:
        return text
    if not audit.audited:
        return f"{text}; what the screen kept from it was not audited"
    text += f"; of the {left:,} others it looked at {audit.audited:,} at random"
    found = audit.recall
    if math.isnan(found.recall):
        return f"{text} and saw no change anywhere"
    text += (
        f": the screen let through an estimated {found.recall:.0%} of the windows in which "
        f"the model sees change (90 % interval {found.low:.0%} to {found.high:.0%})"
    )
    if found.wanted <= found.drawn:
        return text
    return f"{text}; about {found.wanted:,} audited windows would tell it to within 10 points"
