"""One run of a monitor as the steps that a flow calls; each can be repeated."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from terrascope.config import MonitorSettings
from terrascope.errors import IncompleteError
from terrascope.progress import report_progress
from terrascope.watch.logbook import Count, Logbook
from terrascope.watch.outset import Outset
from terrascope.watch.telling import explain_run, notes_of

if TYPE_CHECKING:
    from terrascope.catalog.provider import Profile
    from terrascope.cube.due import Ledger
    from terrascope.cube.executor import Executor
    from terrascope.geo.aoi import Aoi
    from terrascope.geo.tiles import Tile
    from terrascope.monitor.reason.plan import Chosen, ReasonSettings
    from terrascope.products.runlog import StageRecord

__all__ = ["MonitorRun"]


class MonitorRun(Outset):
    """One monitor file being run; make it with `MonitorRun.open`.

    Parameters
    ----------
    settings : MonitorSettings
        The monitor file, checked.
    aoi : Aoi
        The ground asked for.
    regions : tuple of Aoi
        Districts to report on.
    tiles : tuple of Tile
        That cover the AOI.
    profile : Profile
        Of the catalog.
    folder : Path, optional
        Of products and run log, where that is not the output folder.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        aoi: Aoi,
        regions: tuple[Aoi, ...],
        tiles: tuple[Tile, ...],
        profile: Profile,
        folder: Path | None = None,
    ) -> None:
        super().__init__(settings, aoi, regions, tiles, profile, folder)
        self._logbook = Logbook(self)
        self._to_reason: _ToReason

    @property
    def stages(self) -> dict[str, StageRecord]:
        """What each step has done so far, by its name in ``run.json``."""
        return self._logbook.stages

    @property
    def notes(self) -> tuple[str, ...]:
        """What the catalog did and lacks, and what the model was shown, for the report."""
        return notes_of(self)

    def explain(self) -> list[str]:
        """Say what a run would read and write. Searches the catalog, reads no pixel.

        Returns
        -------
        lines : list of str
            For people.
        """
        return explain_run(self)

    def search(self) -> None:
        """Search the catalog, freeze its answer in ``items.parquet``, and plan."""
        with self._stage("search") as count:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.found.table.write(self.folder / "items.parquet")
            count(planned=len(self.found.table), done=len(self.found.table))

    @cached_property
    def _ledgers(self) -> dict[str, Ledger]:
        """What earlier runs have done, read once before this one adds to it."""
        from terrascope.cube.due import read_ledger

        return {sensor: read_ledger(plan, self.store) for sensor, plan in self.plans.items()}

    def pending_cube_batches(self) -> list[tuple[str, int]]:
        """Return the batches of all cubes that are not wholly committed.

        Returns
        -------
        batches : list of (str, int)
            Sensor and index in its plan.
        """
        from terrascope.cube.due import pending, retract

        left = []
        for sensor, plan in self.plans.items():
            retract(plan, self.store, self._ledgers[sensor])
            indices = pending(plan, self.found.table, self._ledgers[sensor])
            left += [(sensor, index) for index in indices]
            todo = sum(len(plan.batch(index).items) for index in indices)
            with self._stage(f"cube {sensor}") as count:
                count(planned=len(plan), skipped=len(plan) - todo)
        return left

    def build_cube(self, sensor: str, index: int, executor: Executor) -> None:
        """Read and commit one batch.

        Parameters
        ----------
        sensor : str
            Which cube.
        index : int
            Batch of its plan.
        executor : Executor
            Where the work runs.
        """
        from terrascope.cube.ingest import ingest_batch

        plan = self.plans[sensor]
        with self._stage(f"cube {sensor}") as count:
            counts = ingest_batch(
                plan,
                index,
                self.found.table,
                self.store,
                self.reader,
                executor,
                memory=self.settings.memory,
                ledger=self._ledgers[sensor],
            )
            count(done=counts.done, skipped=counts.skipped)
        report_progress(f"cube {sensor}", index + 1, plan.n_batches)

    def pending_screen_batches(self) -> list[int]:
        """Return the batches of tiles that are not wholly screened.

        Returns
        -------
        batches : list of int
            Indices in the screen's plan.
        """
        from terrascope.monitor.screen.plan import pending_screen

        plan = self.screen_plan
        left = pending_screen(plan, self.store, self._screen_keys)
        todo = sum(len(plan.batches[index]) for index in left)
        with self._stage(self._screen_stage) as count:
            count(planned=len(plan.tiles), skipped=len(plan.tiles) - todo)
        return left

    def screen(self, index: int, executor: Executor) -> None:
        """Screen one batch of tiles, or fold its alerts, and commit the maps.

        Parameters
        ----------
        index : int
            Batch of the screen's plan.
        executor : Executor
            Where the work runs.
        """
        from terrascope.monitor.alerts import AlertPlan, alert_batch
        from terrascope.monitor.screen.batch import left_to_do, screen_batch

        plan, keys, memory = self.screen_plan, self._screen_keys, self.settings.memory
        with self._stage(self._screen_stage) as count:
            todo = len(left_to_do(plan, index, self.store, keys))
            if isinstance(plan, AlertPlan):
                done = alert_batch(plan, index, self.store, executor, keys=keys, memory=memory)
            else:
                done = screen_batch(plan, index, self.store, executor, keys=keys, memory=memory)
            count(done=done, skipped=len(plan.batches[index]) - todo)
        report_progress(self._screen_stage, index + 1, len(plan.batches))

    def pending_reason_batches(self, executor: Executor) -> list[int]:
        """Choose the windows that the model looks at, and return the batches left to do.

        Parameters
        ----------
        executor : Executor
            Where the windows are scored.

        Returns
        -------
        batches : list of int
            Indices in the screen's plan, of batches joined for the workers that are there; none
            without a model.
        """
        from terrascope.monitor.reason.dispatch import tiles_per_commit
        from terrascope.monitor.reason.fusion import fusion_of
        from terrascope.monitor.reason.plan import choose_windows, pending_reason, reason_keys

        if self.reasoning is None:
            return []
        plan = self.screen_plan
        settings = dataclasses.replace(
            self.reasoning,
            threads=executor.threads_per_worker,
            pool=fusion_of(self.reasoning.folder, tuple(plan.groups) or self.asked_sensors),
        )
        with self._stage("reason") as count:
            chosen = choose_windows(plan, settings, self.store, executor)
            keys = reason_keys(plan, settings, self._judged_keys(), chosen)
            joined = tiles_per_commit(executor)
            left = pending_reason(self.map_plan, self.store, keys, at_least=joined)
            todo = sum(len(tiles) for tiles in left.values())
            count(planned=len(plan.tiles), skipped=len(plan.tiles) - todo)
        self._to_reason = _ToReason(settings, chosen, keys, left)
        return list(left)

    def reason(self, index: int, executor: Executor) -> None:
        """Let the model look at one batch of tiles and commit the fused maps.

        Parameters
        ----------
        index : int
            From `pending_reason_batches`.
        executor : Executor
            Where the work runs; see `terrascope.monitor.reason.dispatch.reasoning_workers`.
        """
        from terrascope.monitor.reason.dispatch import reason_batch

        todo = self._to_reason
        with self._stage("reason") as count:
            done = reason_batch(
                self.screen_plan,
                todo.settings,
                todo.pending[index],
                self.store,
                executor,
                keys=todo.keys,
                chosen=todo.chosen,
            )
            count(done=done)
        report_progress("reason", index + 1, len(self.screen_plan.batches))

    @cached_property
    def _screen_keys(self) -> dict[Tile, str]:
        """Keys of the screen; valid once the cubes are built."""
        from terrascope.monitor.alerts import AlertPlan, alert_keys
        from terrascope.monitor.screen.plan import screen_keys

        plan = self.screen_plan
        if isinstance(plan, AlertPlan):
            return alert_keys(plan, self.store)
        return screen_keys(plan, self.store)

    def _judged_keys(self) -> dict[Tile, str]:
        """Keys of the screen as the model meets its maps: one that failed is another input."""
        plan = self.screen_plan
        failed = {
            record.tile
            for zone in {tile.zone for tile in plan.tiles}
            for record in self.store.records(plan.result_group(zone)).values()
            if not record.done
        }
        keys = self._screen_keys
        return {tile: f"{key} failed" if tile.id in failed else key for tile, key in keys.items()}

    @property
    def _screen_stage(self) -> str:
        """What the step between cube and products is called in ``run.json``."""
        return "screen" if self.settings.alerts is None else "alerts"

    def publish(self) -> str:
        """Write maps, events, report and STAC items, and make them visible at once.

        Returns
        -------
        report : str
            Path of ``report.html``.

        Raises
        ------
        IncompleteError
            If fewer work items than `minimum_completeness` asks for could be
            committed. What could be done is published nevertheless.
        """
        from terrascope.summarise import publish_run

        with self._stage("products") as count:
            summary = publish_run(self)
            count(planned=1, done=1)
        share, least = summary.completeness.share, self.settings.minimum_completeness
        if share < least:
            raise IncompleteError(
                f"{self.settings.name}: {summary.completeness.committed} of "
                f"{summary.completeness.planned} work items committed ({share:.1%}), expected at "
                f"least {least:.1%}; run.json lists what was quarantined, run again to retry",
                completeness=share,
            )
        return str(self.folder / "report.html")

    def logged(self) -> AbstractContextManager[None]:
        """Keep ``run.json`` up to date while a block runs, whatever its end.

        Returns
        -------
        context : context manager
            The attempt is recorded as running inside it.
        """
        return self._logbook.attempt()

    def _stage(self, name: str) -> AbstractContextManager[Count]:
        return self._logbook.stage(name)


@dataclasses.dataclass(frozen=True, eq=False)
class _ToReason:
    """The model's work: settings, windows and keys of all tiles, pending tiles by batch."""

    settings: ReasonSettings
    chosen: dict[Tile, Chosen]
    keys: dict[Tile, str]
    pending: dict[int, tuple[Tile, ...]]
