"""One run of a monitor, as the steps that a flow calls: search, cube, screen, publish.

`MonitorRun` opens a monitor file without writing anything. Each step can be repeated: what
an earlier attempt committed is found in the store's ledger and not done again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from terrascope import __version__
from terrascope.config import MonitorSettings, load_monitor_file
from terrascope.errors import ConfigError, IncompleteError
from terrascope.progress import report_progress

if TYPE_CHECKING:
    import distributed

    from terrascope.catalog.items import ItemTable
    from terrascope.catalog.provider import Profile
    from terrascope.cube.executor import Executor
    from terrascope.cube.ingest import Ledger, ReaderSettings
    from terrascope.cube.plan import CubePlan
    from terrascope.cube.spec import CubeSpec
    from terrascope.geo.aoi import Aoi
    from terrascope.geo.tiles import Tile
    from terrascope.monitor.reason.plan import Chosen, ReasonSettings
    from terrascope.monitor.screen import ScreenPlan
    from terrascope.periods import Period
    from terrascope.products.runlog import Attempt, StageRecord
    from terrascope.store.repository import Store
    from terrascope.types import Quarantine

__all__ = ["Found", "MonitorRun", "open_executor"]

_WORKER_WAIT_S = 60
"""How long a cluster may take to bring up its first worker."""


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What the catalog answered, frozen for the run.

    Parameters
    ----------
    table : ItemTable
        All scenes of all sensors.
    notes : tuple of str
        What the catalog did, for the report.
    skipped : tuple of Quarantine
        Items that cannot be used.
    """

    table: ItemTable
    notes: tuple[str, ...]
    skipped: tuple[Quarantine, ...]


class MonitorRun:
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
        self.settings = settings
        self.aoi = aoi
        self.regions = regions
        self.tiles = tiles
        self.profile = profile
        self._folder = folder
        self.stages: dict[str, StageRecord] = {}
        self._to_reason: _ToReason

    @classmethod
    def open(
        cls, file: str | Path, *, target: str | None = None, folder: Path | None = None
    ) -> MonitorRun:
        """Read and check everything a monitor file names. Nothing is searched or written.

        Parameters
        ----------
        file : path-like
            The monitor file.
        target : str, optional
            Days in the place of the file's ``time.target``.
        folder : Path, optional
            Of products and run log; default the output folder. The cube is the
            output folder's in any case.

        Returns
        -------
        run : MonitorRun
            Ready to search.

        Raises
        ------
        ConfigError
            If the file, its AOI or its catalog profile cannot be used.
        PlanError
            If the AOI lies where there are no UTM zones.
        ModelError
            If there is no such model.
        """
        from terrascope.catalog.profile import load_profile, require_sensors
        from terrascope.geo.aoi import Aoi, read_regions
        from terrascope.geo.cover import tiles_covering

        settings = load_monitor_file(file, target=target)
        profile = load_profile(settings.profile)
        require_sensors(profile, optical=settings.optical, sar=settings.sar, file=settings.file)
        if settings.bbox is not None:
            aoi = Aoi.from_bbox(settings.bbox, name=settings.name)
        else:
            aoi = Aoi.from_file(settings.aoi or "")
        regions = tuple(read_regions(settings.regions)) if settings.regions else ()
        _check_questions(settings, [region.name for region in regions])
        run = cls(settings, aoi, regions, tuple(tiles_covering(aoi)), profile, folder)
        _ = run.reasoning  # a model that does not exist is refused before anything is searched
        return run

    @property
    def output(self) -> Path:
        """The output folder."""
        if "://" in self.settings.output:
            raise ConfigError(
                f"found {self.settings.output!r}; this version writes to a local folder",
                file=self.settings.file,
                key="output.path",
            )
        return Path(self.settings.output)

    @property
    def folder(self) -> Path:
        """Where products and the run log go: the output folder, unless another was named."""
        return self._folder or self.output

    @cached_property
    def store(self) -> Store:
        """The repository of cube and results; made where it does not exist."""
        from terrascope.store.repository import Store

        self.output.mkdir(parents=True, exist_ok=True)
        return Store.open(str(self.output / "cube"))

    @cached_property
    def reader(self) -> ReaderSettings:
        """How workers open scenes."""
        from terrascope.catalog.sign import open_signer
        from terrascope.cube.ingest import ReaderSettings

        signing = self.profile.signing
        unsigned = signing.step == "none"
        return ReaderSettings(
            self.settings.backend,
            None if unsigned else open_signer(signing.step, environment=signing.environment),
            gdal=tuple(sorted(self.profile.storage.gdal.items())),
        )

    @cached_property
    def optical_bands(self) -> tuple[str, ...]:
        """Bands of the optical cube: those asked for, else what the screen uses and there is.

        A scene that lacks one of them is quarantined, so a band that a catalog usually
        lacks is left out unless the monitor file asks for it. A cube that exists keeps its
        bands, whatever a later search finds.
        """
        from terrascope.monitor.screen import OPTICAL_BANDS

        if self.settings.bands is not None:
            return self.settings.bands
        if stored := self._stored_bands():
            return stored
        usual = self.found.table.usual_bands("sentinel-2", OPTICAL_BANDS)
        needed = ("red", "nir") if "nir08" not in usual else ("red",)
        return tuple(band for band in OPTICAL_BANDS if band in usual or band in needed)

    def _stored_bands(self) -> tuple[str, ...]:
        """Bands of the optical cube that earlier runs made with this resolution and cadence."""
        from terrascope.store.layout import cube_path

        if not (self.output / "cube").exists():
            return ()
        s = self.settings
        paths = {
            cube_path("sentinel-2", tile.zone, s.resolution_m, s.cadence, None)
            for tile in self.tiles
        }
        return next(
            (self.store.bands(path) for path in sorted(paths & set(self.store.groups()))), ()
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the catalog did and lacks, for the report."""
        from terrascope.monitor.screen import OPTICAL_BANDS

        notes = (*self.found.notes, *self._reason_notes())
        if "sentinel-2" not in self.plans or self.settings.bands is not None:
            return notes
        lacking = [band for band in OPTICAL_BANDS if band not in self.optical_bands]
        told = f"most scenes lack {', '.join(lacking)}: screened without; see cube.bands"
        return (*notes, told) if lacking else notes

    @cached_property
    def specs(self) -> dict[str, CubeSpec]:
        """What is made of each sensor's scenes."""
        from terrascope.cube.spec import CubeSpec
        from terrascope.sensors import S1_BANDS

        s = self.settings
        specs = {}
        if s.optical is not None:
            specs["sentinel-2"] = CubeSpec(
                sensor="sentinel-2",
                bands=self.optical_bands,
                resolution_m=s.resolution_m,
                cadence=s.cadence,
                composite=s.composite,
                mask=s.mask,
                mask_dilation_m=s.mask_dilation_m,
                resampling=s.resampling,
            )
        if s.sar is not None:
            specs["sentinel-1"] = CubeSpec(
                sensor="sentinel-1",
                bands=tuple(S1_BANDS),
                resolution_m=s.resolution_m,
                cadence=s.cadence,
                composite="mean",
                mask="none",
                resampling=s.resampling,
            )
        return specs

    @cached_property
    def target(self) -> tuple[Period, ...]:
        """Periods that are compared."""
        return self.settings.target.periods(self.settings.cadence)

    @cached_property
    def baseline(self) -> tuple[Period, ...]:
        """Periods they are compared with."""
        return self.settings.baseline.periods(self.settings.cadence)

    @cached_property
    def found(self) -> Found:
        """The catalog's answer; searched once per run."""
        from terrascope.catalog.items import ItemTable
        from terrascope.catalog.search import search

        collections = [c for c in (self.settings.optical, self.settings.sar) if c is not None]
        tables: list[ItemTable] = []
        notes: list[str] = []
        skipped: set[Quarantine] = set()
        for first, last in self._spans():
            result = search(
                self.profile,
                aoi=self.aoi.geometry,
                start=first,
                end=last,
                collections=collections,
                url=self.settings.url,
                max_cloud=self.settings.max_cloud_percent,
            )
            tables.append(result.table)
            notes += result.notes
            skipped |= set(result.skipped)
        table, unlike = ItemTable.concat(tables).of_one_coefficient()
        skipped |= set(unlike)
        return Found(table, tuple(dict.fromkeys(notes)), tuple(sorted(skipped)))

    @cached_property
    def plans(self) -> dict[str, CubePlan]:
        """The work of each sensor's cube; a sensor without scenes has none."""
        from terrascope.cube.plan import plan_cube

        periods = (*self.baseline, *self.target)
        plans = {
            sensor: plan_cube(self.found.table, spec, self.tiles, periods)
            for sensor, spec in self.specs.items()
        }
        return {sensor: plan for sensor, plan in plans.items() if len(plan)}

    @cached_property
    def screen_plan(self) -> ScreenPlan:
        """The work of the screen, or of the alerts where the monitor file asks for them."""
        from terrascope.monitor.screen import plan_screen

        screen = plan_screen(
            self.plans,
            target=self.target,
            baseline=self.baseline,
            tiles=self.tiles,
            aoi=self.aoi,
            threshold=self.settings.threshold,
            run_id=self.settings.run_id,
            resolution_m=self.settings.resolution_m,
        )
        if self.settings.alerts is None:
            return screen
        from terrascope.monitor.alerts import plan_alerts

        return plan_alerts(screen, self.settings.alerts)

    def explain(self) -> list[str]:
        """Say what a run would read and write. Searches the catalog, reads no pixel.

        Returns
        -------
        lines : list of str
            For people.
        """
        from terrascope.cube.plan import explain

        zones = sorted({tile.zone.id for tile in self.tiles})
        lines = [
            (
                f"{self.settings.name}: {self.aoi.area_km2:,.1f} km2 in {len(self.tiles):,} tiles, "
                f"zones {', '.join(zones)}"
            ),
            (
                f"target {_span_text(self.target)}, baseline {_span_text(self.baseline)}, "
                f"cadence {self.settings.cadence}"
            ),
            *(str(explain(plan)) for plan in self.plans.values()),
            *(f"note: {note}" for note in self.notes),
        ]
        missing = sorted(set(self.specs) - set(self.plans))
        lines += [f"note: no scene of {sensor} in these periods" for sensor in missing]
        return lines

    def search(self) -> None:
        """Search the catalog, freeze its answer in ``items.parquet``, and plan."""
        with self._stage("search") as count:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.found.table.write(self.folder / "items.parquet")
            count(planned=len(self.found.table), done=len(self.found.table))

    @cached_property
    def _ledgers(self) -> dict[str, Ledger]:
        """What earlier runs have done, read once before this one adds to it."""
        from terrascope.cube.ingest import read_ledger

        return {sensor: read_ledger(plan, self.store) for sensor, plan in self.plans.items()}

    def pending_cube_batches(self) -> list[tuple[str, int]]:
        """Return the batches of all cubes that are not wholly committed.

        Returns
        -------
        batches : list of (str, int)
            Sensor and index in its plan.
        """
        from terrascope.cube.ingest import pending, retract

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
        from terrascope.monitor.screen import pending_screen

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
        from terrascope.monitor.screen import screen_batch

        plan, keys, memory = self.screen_plan, self._screen_keys, self.settings.memory
        with self._stage(self._screen_stage) as count:
            if isinstance(plan, AlertPlan):
                done = alert_batch(plan, index, self.store, executor, keys=keys, memory=memory)
            else:
                done = screen_batch(plan, index, self.store, executor, keys=keys, memory=memory)
            count(done=done, skipped=len(plan.batches[index]) - done)
        report_progress(self._screen_stage, index + 1, len(plan.batches))

    @cached_property
    def reasoning(self) -> ReasonSettings | None:
        """How the model is used; None where the monitor file names none.

        Raises
        ------
        ModelError
            If there is no such model.
        ConfigError
            If its windows are larger than a tile.
        """
        from terrascope.monitor.reason.plan import ReasonSettings, fusion_of
        from terrascope.registry import find_model
        from terrascope.store.layout import tile_pixels

        choice = self.settings.model
        if choice is None:
            return None
        found = find_model(choice.name)
        if found.window_px > tile_pixels(self.settings.resolution_m):
            raise ConfigError(
                f"found {choice.name!r}, whose windows of {found.window_px} px are larger than a "
                f"tile at {self.settings.resolution_m} m; expected a finer area.resolution_m",
                file=self.settings.file,
                key="model.name",
            )
        return ReasonSettings(
            folder=found.folder,
            weights=found.weights,
            name=found.name,
            window_px=found.window_px,
            stride_px=found.window_px * 3 // 4,
            budget=choice.budget,
            audit=choice.audit,
            micro_batch=choice.micro_batch,
            pool=fusion_of(found.folder),
        )

    @property
    def map_plan(self) -> ScreenPlan:
        """The plan whose result groups hold the run's maps: fused where there is a model."""
        from terrascope.monitor.reason.plan import model_plan

        plan = self.screen_plan
        return plan if self.settings.model is None else model_plan(plan)

    def pending_reason_batches(self, executor: Executor) -> list[int]:
        """Choose the windows that the model looks at, and return the batches left to do.

        Parameters
        ----------
        executor : Executor
            Where the windows are scored.

        Returns
        -------
        batches : list of int
            Indices in the screen's plan; none without a model.
        """
        from terrascope.monitor.reason.plan import choose_windows, pending_reason, reason_keys

        if self.reasoning is None:
            return []
        plan = self.screen_plan
        settings = dataclasses.replace(self.reasoning, threads=executor.threads_per_worker)
        with self._stage("reason") as count:
            chosen = choose_windows(plan, settings, self.store, executor)
            keys = reason_keys(plan, settings, self._screen_keys, chosen)
            left = pending_reason(self.map_plan, self.store, keys)
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

    def _reason_notes(self) -> tuple[str, ...]:
        """Say what the model was shown, what it was not, and what that cost."""
        if self.settings.model is None or not (self.output / "cube").exists():
            return ()
        from terrascope.monitor.reason.dispatch import audit_of, audit_text

        asked = {tile.id for tile in self.tiles}
        records = [
            record
            for zone in sorted({tile.zone for tile in self.tiles})
            for record in self.store.records(self.map_plan.result_group(zone)).values()
            if record.tile in asked
        ]
        failed = sorted(record.tile for record in records if not record.done)
        told = (audit_text(audit_of(records)),) if records else ()
        if not failed:
            return told
        names = ", ".join(failed[:5]) + (" and others" if len(failed) > 5 else "")
        lost = f"the model failed on {len(failed)} tiles ({names}): their maps are the screen's"
        return (*told, f"{lost}; run again to retry")

    @cached_property
    def _screen_keys(self) -> dict[Tile, str]:
        """Keys of the screen; valid once the cubes are built."""
        from terrascope.monitor.alerts import AlertPlan, alert_keys
        from terrascope.monitor.screen import screen_keys

        plan = self.screen_plan
        if isinstance(plan, AlertPlan):
            return alert_keys(plan, self.store)
        return screen_keys(plan, self.store)

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

    @contextlib.contextmanager
    def logged(self) -> Iterator[None]:
        """Keep ``run.json`` up to date while the block runs, whatever its end.

        Yields
        ------
        None
            The attempt is recorded as running.
        """
        from terrascope.products.runlog import Attempt

        self.folder.mkdir(parents=True, exist_ok=True)
        attempt = Attempt(
            started_at=dt.datetime.now(dt.UTC),
            ended_at=None,
            outcome="running",
            version=__version__,
        )
        self._log(attempt)
        outcome, message = "failed", ""
        try:
            with self.store.writing():
                yield
            outcome = "done"
        except (KeyboardInterrupt, SystemExit):
            outcome = "interrupted"
            raise
        except BaseException as error:
            outcome = "incomplete" if isinstance(error, IncompleteError) else "failed"
            message = str(error)
            raise
        finally:
            stages = tuple(self.stages.values())
            ended = dt.datetime.now(dt.UTC)
            self._log(
                dataclasses.replace(
                    attempt, ended_at=ended, outcome=outcome, message=message, stages=stages
                )
            )

    def _log(self, attempt: Attempt) -> None:
        """Write `run.json` with this attempt in its present state."""
        from terrascope.products.runlog import RunLog
        from terrascope.summarise import completeness, cube_records, quarantined

        path = self.folder / "run.json"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        log = RunLog.from_json(text, monitor=self.settings.name).with_attempt(attempt)
        if "plans" in self.__dict__:
            records = cube_records(self)
            log = dataclasses.replace(
                log,
                completeness=completeness(self, records),
                quarantined=quarantined(self, records),
            )
        temporary = path.with_suffix(".json.part")
        temporary.write_text(log.to_json(), encoding="utf-8")
        temporary.replace(path)

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[_Count]:
        """Time a stage and add up its counts."""
        from terrascope.products.runlog import StageRecord

        start = time.perf_counter()
        count = _Count()
        try:
            yield count
        finally:
            before = self.stages.get(name, StageRecord(name, 0, 0, 0, 0, 0.0))
            self.stages[name] = dataclasses.replace(
                before,
                planned=before.planned + count.planned,
                done=before.done + count.done,
                skipped=before.skipped + count.skipped,
                seconds=round(before.seconds + time.perf_counter() - start, 3),
            )

    def _spans(self) -> list[tuple[dt.date, dt.date]]:
        """Days to search: runs of neighbouring periods become one search."""
        periods = sorted({*self.baseline, *self.target})
        spans: list[tuple[dt.date, dt.date]] = []
        for period in periods:
            if spans and (period.start - spans[-1][1]).days <= 1:
                spans[-1] = (spans[-1][0], period.end)
            else:
                spans.append((period.start, period.end))
        return spans


@dataclasses.dataclass(frozen=True, eq=False)
class _ToReason:
    """The model's work: settings, windows and keys of all tiles, pending tiles by batch."""

    settings: ReasonSettings
    chosen: dict[Tile, Chosen]
    keys: dict[Tile, str]
    pending: dict[int, tuple[Tile, ...]]


class _Count:
    """Counts of one stage, added up while it runs."""

    def __init__(self) -> None:
        self.planned = self.done = self.skipped = 0

    def __call__(self, *, planned: int = 0, done: int = 0, skipped: int = 0) -> None:
        self.planned += planned
        self.done += done
        self.skipped += skipped


def _check_questions(settings: MonitorSettings, regions: list[str]) -> None:
    """Refuse a question that is not understood before anything is searched."""
    from terrascope.errors import QuestionError
    from terrascope.monitor.answers.questions import read_question

    for number, question in enumerate(settings.questions):
        try:
            read_question(question, regions)
        except QuestionError as error:
            key = f"questions.{number}.text"
            raise QuestionError(str(error), file=settings.file, key=key) from error


def _span_text(periods: tuple[Period, ...]) -> str:
    if len(periods) == 1:
        return periods[0].id
    return f"{periods[0].id} to {periods[-1].id} ({len(periods)} periods)"


@contextlib.contextmanager
def open_executor(address: str | None = None, *, memory: int) -> Iterator[Executor]:
    """Connect to a Dask cluster, or start one on this machine.

    Parameters
    ----------
    address : str, optional
        Of a running scheduler, ``tcp://HOST:PORT``.
    memory : int
        Bytes per worker of a local cluster.

    Yields
    ------
    executor : Executor
        Closed at the end; a cluster found by address is left running.

    Raises
    ------
    ConfigError
        If no scheduler answers at `address`.
    """
    import dask
    import distributed

    from terrascope.cube.executor import DaskExecutor

    with contextlib.ExitStack() as stack:
        # The worker's sampling profiler calls sys._current_frames, which deadlocks with the
        # garbage collector before CPython 3.11.8 and 3.12.1 (python/cpython#106883).
        stack.enter_context(dask.config.set({"distributed.worker.profile.enabled": False}))
        if address is not None:
            try:
                client = stack.enter_context(_connect(address))
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"no Dask scheduler answers at {address!r}; start one or leave --dask out",
                    key="--dask",
                ) from error
        else:
            # both know the limits of a container
            cores = dask.system.CPU_COUNT
            in_process = cores <= 4
            most = max(1, distributed.system.MEMORY_LIMIT // memory)
            workers = 1 if in_process else min(-(-cores // 4), most)
            cluster = stack.enter_context(
                distributed.LocalCluster(  # type: ignore[no-untyped-call]
                    n_workers=workers,
                    threads_per_worker=max(1, cores // workers),
                    processes=not in_process,
                    memory_limit=None if in_process else memory,
                    dashboard_address=":0",
                    resources={"GPU": 1},  # the model runs once per worker, card or not
                )
            )
            client = stack.enter_context(_connect(cluster))
        try:
            client.wait_for_workers(1, timeout=_WORKER_WAIT_S)
        except TimeoutError as error:
            raise ConfigError(
                f"the Dask scheduler at {address!r} has no worker after {_WORKER_WAIT_S} s; "
                "start one",
                key="--dask",
            ) from error
        yield DaskExecutor(client)


def _connect(cluster: object) -> distributed.Client:
    import distributed

    return distributed.Client(cluster, timeout="20s")  # type: ignore[no-untyped-call]
