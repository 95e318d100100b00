"""What a run sets out with: the monitor file, the ground, the catalog's answer and the plans."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from terrascope.config import MonitorSettings, load_monitor_file
from terrascope.errors import ConfigError
from terrascope.watch.inquiry import Found, inquire

if TYPE_CHECKING:
    from terrascope.catalog.provider import Profile
    from terrascope.cube.plan import CubePlan
    from terrascope.cube.spec import CubeSpec
    from terrascope.cube.units import ReaderSettings
    from terrascope.geo.aoi import Aoi
    from terrascope.geo.tiles import Tile
    from terrascope.monitor.reason.plan import ReasonSettings
    from terrascope.monitor.screen.plan import ScreenPlan
    from terrascope.periods import Period
    from terrascope.store.repository import Store

__all__ = ["Outset"]


class Outset:
    """All that is known of a run before its work begins; made by `Outset.open`.

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

    @classmethod
    def open(
        cls, file: str | Path, *, target: str | None = None, folder: Path | None = None
    ) -> Self:
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
        from terrascope.cube.units import ReaderSettings

        signing = self.profile.signing
        unsigned = signing.step == "none"
        return ReaderSettings(
            self.settings.backend,
            None if unsigned else open_signer(signing.step, environment=signing.environment),
            gdal=tuple(sorted(self.profile.storage.gdal.items())),
        )

    @cached_property
    def optical_bands(self) -> tuple[str, ...]:
        """Bands of the optical cube: those asked for, else what is used and there is.

        The screen uses `OPTICAL_BANDS`, a model all bands.

        A scene that lacks one of them is quarantined, so a band that a catalog usually
        lacks is left out unless the monitor file asks for it. A cube that exists keeps its
        bands, whatever a later search finds.
        """
        from terrascope.kernels.screen import OPTICAL_BANDS
        from terrascope.sensors import S2_BANDS

        if self.settings.bands is not None:
            return self.settings.bands
        if stored := self._stored_bands():
            return stored
        used = OPTICAL_BANDS if self.settings.model is None else tuple(S2_BANDS)
        usual = self.found.table.usual_bands("sentinel-2", used)
        needed = ("red", "nir") if "nir08" not in usual else ("red",)
        return tuple(band for band in used if band in usual or band in needed)

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
        return inquire(self)

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
        from terrascope.monitor.screen.plan import plan_screen

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

    @property
    def asked_sensors(self) -> tuple[str, ...]:
        """Sensors of the monitor file; the catalog may lack one."""
        asked = {"sentinel-2": self.settings.optical, "sentinel-1": self.settings.sar}
        return tuple(sensor for sensor, collection in asked.items() if collection is not None)

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
        from terrascope.monitor.reason.fusion import fusion_of
        from terrascope.monitor.reason.plan import ReasonSettings
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
            pool=fusion_of(found.folder, self.asked_sensors),
        )

    @property
    def map_plan(self) -> ScreenPlan:
        """The plan whose result groups hold the run's maps: fused where there is a model."""
        from terrascope.monitor.reason.plan import model_plan

        plan = self.screen_plan
        return plan if self.settings.model is None else model_plan(plan)


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
