"""Write the demo: two years of simulated scenes as COGs and STAC, and the truth beside them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from terrascope.demo.site import DemoGrid, aoi_document, demo_grids
from terrascope.demo.stac import Product, optical_item, radar_item, write_tree
from terrascope.demo.truth import SkyTruth, sky_of, write_truth
from terrascope.sensors import S2_BANDS
from terrascope.sim.events import Disturbance, Event, Wish, plan_events
from terrascope.sim.land import make_land
from terrascope.sim.optical import render_optical
from terrascope.sim.radar import render_radar
from terrascope.sim.scenery import Scenery
from terrascope.sim.weather import OpticalPass, RadarPass, optical_passes, radar_passes

__all__ = ["DemoArchive", "demo_wishes", "write_demo_archive"]

_BASELINE = (dt.date(2023, 1, 1), dt.date(2023, 12, 31))
_TARGET = (dt.date(2024, 8, 1), dt.date(2024, 9, 30))
_PERIOD = (dt.date(2023, 1, 3), dt.date(2024, 12, 30))
_WRITERS = 2
_MANTISSA = np.uint32(0xFFFF8000)  # eight bits of mantissa: steps of 0.4 %, or 0.017 dB
_HALF_STEP = np.uint32(0x4000)


@dataclasses.dataclass(frozen=True)
class DemoArchive:
    """What was written, and what it should be monitored for.

    Parameters
    ----------
    directory : pathlib.Path
        The static STAC tree; holds nothing but what a catalog would.
    catalog : pathlib.Path
        Its ``catalog.json``.
    aoi : pathlib.Path
        The area of interest, GeoJSON.
    truth : mapping of str to pathlib.Path
        By zone id, the truth as ``.npz`` (see `terrascope.demo.score`).
    baseline, target : tuple of datetime.date
        First and last day of the two windows.
    scenes : int
        Number of STAC items.
    """

    directory: Path
    catalog: Path
    aoi: Path
    truth: Mapping[str, Path]
    baseline: tuple[dt.date, dt.date] = _BASELINE
    target: tuple[dt.date, dt.date] = _TARGET
    scenes: int = 0

    def monitor_toml(
        self, *, output: str | Path, url: str | None = None, model: str | None = None
    ) -> str:
        """Return the monitor file of the demo.

        Parameters
        ----------
        output : path-like
            Folder of the result.
        url : str or None
            A STAC API that serves `directory`; None reads the tree itself.
        model : str or None
            Folder of a model, or ``NAME@promoted``; None lets the screen work alone.

        Returns
        -------
        text : str
            TOML.
        """
        windows = [f"{first}/{last}" for first, last in (self.target, self.baseline)]
        return "\n".join(
            [
                "[monitor]",
                'name = "demo"',
                "[area]",
                f"aoi = {_quoted(self.aoi.resolve())}",
                "resolution_m = 10",
                "[catalog]",
                'profile = "local"',
                f"url = {_quoted(url or self.directory.resolve())}",
                "[time]",
                f'target = "{windows[0]}"',
                f'baseline = "{windows[1]}"',
                'cadence = "P1M"',
                "[sensors]",
                'optical = "sentinel-2-l2a"',
                'sar = "sentinel-1-rtc"',
                "[cube]",
                'composite = "median"',
                *([] if model is None else ["[model]", f"name = {_quoted(model)}"]),
                "[output]",
                f"path = {_quoted(Path(output).resolve())}",
                "",
            ]
        )

    def write_monitor_file(
        self, *, output: str | Path, url: str | None = None, model: str | None = None
    ) -> Path:
        """Write the monitor file beside the archive.

        Parameters
        ----------
        output : path-like
            Folder of the result.
        url : str or None
            A STAC API that serves `directory`; None reads the tree itself.
        model : str or None
            Folder of a model, or ``NAME@promoted``; None lets the screen work alone.

        Returns
        -------
        file : pathlib.Path
            ``demo.toml``.
        """
        file = self.aoi.with_name("demo.toml")
        file.write_text(self.monitor_toml(output=output, url=url, model=model), encoding="utf-8")
        return file


def demo_wishes(year: int) -> list[Wish]:
    """Return the changes of the demo.

    Parameters
    ----------
    year : int
        In which they happen, before or during the target.

    Returns
    -------
    wishes : list of Wish
        For `plan_events`.
    """

    def on(month: int, day: int) -> dt.date:
        return dt.date(year, month, day)

    return [
        Wish(Disturbance.QUARRY, 170.0, on(2, 1), 150),
        Wish(Disturbance.DRAINED_POND, 200.0, on(6, 3), 12),
        Wish(Disturbance.FLOOD, 620.0, on(7, 27), 4, on(10, 4)),
        Wish(Disturbance.FIRE, 270.0, on(6, 19), 2),
        Wish(Disturbance.INSECTS, 300.0, on(4, 20), 90),
        Wish(Disturbance.INSECTS, 220.0, on(5, 5), 80),
        Wish(Disturbance.CONSTRUCTION, 190.0, on(2, 20), 120),
        Wish(Disturbance.CONSTRUCTION, 130.0, on(4, 2), 80),
        Wish(Disturbance.CLEAR_CUT, 190.0, on(1, 20), 40),
        Wish(Disturbance.CLEAR_CUT, 150.0, on(3, 5), 25),
        Wish(Disturbance.CLEAR_CUT, 130.0, on(5, 14), 20),
        Wish(Disturbance.CLEAR_CUT, 110.0, on(6, 28), 15),
        Wish(Disturbance.CLEAR_CUT, 80.0, on(4, 11), 12),
        Wish(Disturbance.CLEAR_CUT, 60.0, on(7, 8), 8),
    ]


def write_demo_archive(
    directory: str | Path,
    *,
    seed: int = 7,
    period: tuple[dt.date, dt.date] = _PERIOD,
    progress: Callable[[int, int], None] | None = None,
) -> DemoArchive:
    """Simulate two years of both sensors over two UTM zones, and write them.

    Parameters
    ----------
    directory : path-like
        Made where needed; gets ``stac/``, ``truth/`` and ``aoi.geojson``.
    seed : int
        Of land, changes and weather.
    period : tuple of datetime.date
        First and last day; less than the two years makes an archive for tests.
    progress : callable or None
        Called with scenes done and scenes in all.

    Returns
    -------
    archive : DemoArchive
        The same pixels for the same seed.
    """
    root = Path(directory)
    tree = root / "stac"
    tree.mkdir(parents=True, exist_ok=True)
    aoi = root / "aoi.geojson"
    aoi.write_text(json.dumps(aoi_document()) + "\n", encoding="utf-8")
    grids = demo_grids()
    optical = optical_passes(*period, seed=seed, overcast=0.75)
    old = _never_reprocessed(optical)
    events = _plan(seed)
    items: list[dict[str, Any]] = []
    skies: dict[str, list[SkyTruth]] = {grid.zone.id: [] for grid in grids}
    with ThreadPoolExecutor(_WRITERS) as pool:
        sceneries = list(pool.map(lambda grid: _scenery(grid, events, seed), grids))
        jobs: list[Future[_Written]] = []
        for grid, scenery in zip(grids, sceneries, strict=True):
            jobs += [
                pool.submit(_write_optical, tree, grid, scenery, one, _product(one, old))
                for one in optical
            ]
            jobs += [
                pool.submit(_write_radar, tree, grid, scenery, echo)
                for echo in radar_passes(*period, seed=seed)
            ]
        for count, job in enumerate(as_completed(jobs), start=1):
            written = job.result()
            if written.item is not None:
                items.append(written.item)
            if written.sky is not None:
                skies[written.zone].append(written.sky)
            if progress is not None:
                progress(count, len(jobs))
    truth = {}
    years = (_BASELINE[0].year, _TARGET[0].year)
    for grid, scenery in zip(grids, sceneries, strict=True):
        name = grid.zone.id
        truth[name] = root / "truth" / f"{name}.npz"
        write_truth(truth[name], grid, scenery, skies[name], years=years, end=_TARGET[1])
    return DemoArchive(tree, write_tree(tree, items), aoi, truth, scenes=len(items))


@dataclasses.dataclass(frozen=True, eq=False)
class _Written:
    """What one job leaves behind; no item where the swath missed the zone."""

    zone: str
    item: dict[str, Any] | None
    sky: SkyTruth | None = None


def _plan(seed: int) -> list[Event]:
    """Choose where the changes happen, on a coarse and unturned grid over both zones."""
    x = (np.arange(330) - 164.5) * 20.0
    y = (124.5 - np.arange(250)) * 20.0
    land = make_land(*np.meshgrid(x, y), seed=seed)
    return plan_events(land, demo_wishes(_TARGET[0].year), seed=seed)


def _scenery(grid: DemoGrid, events: list[Event], seed: int) -> Scenery:
    x_m, y_m = grid.ground()
    return Scenery(make_land(x_m, y_m, seed=seed), events)


def _never_reprocessed(passes: list[OpticalPass]) -> dt.datetime | None:
    """Choose the clear scene of the baseline's summer that is still of an old processing."""
    summer = [p for p in passes if p.time.date().year == _BASELINE[0].year and p.time.month >= 6]
    whole = [p for p in summer if p.swath is None]
    return min(whole, key=lambda p: (p.sky.cover, p.time)).time if whole else None


def _product(one: OpticalPass, old: dt.datetime | None) -> Product:
    """Return how a pass was processed: the agency raises its baseline now and then."""
    if one.time == old:
        return Product("03.01")
    day = one.time.date()
    history = ((dt.date(2023, 12, 13), "05.09"), (dt.date(2024, 7, 23), "05.10"))
    return Product(next((name for until, name in history if day < until), "05.11"))


def _write_optical(
    tree: Path, grid: DemoGrid, scenery: Scenery, one: OpticalPass, product: Product
) -> _Written:
    """Render and write one Sentinel-2 scene."""
    scene = render_optical(scenery, one, stream=grid.zone.number)
    if not (scene.scl > 0).any():
        return _Written(grid.zone.id, None)
    item = optical_item(grid, scene, product)
    folder = tree / item["collection"] / item["id"]
    folder.mkdir(parents=True, exist_ok=True)
    for band in S2_BANDS.values():
        plane = scene.bands[band.name]
        stored = np.clip(np.rint(plane * 1e4) + product.offset_dn, 1, 65535)
        numbers = np.where(np.isnan(plane), 0, stored).astype(np.uint16)
        _write_cog(folder / f"{band.name}.tif", numbers, grid, band.gsd_m, nodata=0)
    _write_cog(folder / "scl.tif", scene.scl, grid, 20, nodata=0)
    return _Written(grid.zone.id, item, sky_of(scene))


def _write_radar(tree: Path, grid: DemoGrid, scenery: Scenery, one: RadarPass) -> _Written:
    """Render and write one Sentinel-1 scene."""
    scene = render_radar(scenery, one, stream=grid.zone.number)
    item = radar_item(grid, one)
    folder = tree / item["collection"] / item["id"]
    folder.mkdir(parents=True, exist_ok=True)
    for name, plane in (("vv", scene.vv), ("vh", scene.vh)):
        # Mantissa bits far below the speckle would only fill the disk.
        rounded = (plane.view(np.uint32) + _HALF_STEP & _MANTISSA).view(np.float32)
        _write_cog(folder / f"{name}.tif", rounded, grid, 10, nodata=float("nan"))
    return _Written(grid.zone.id, item)


def _write_cog(
    file: Path, plane: NDArray[Any], grid: DemoGrid, gsd_m: int, *, nodata: float
) -> None:
    """Write a small cloud optimized GeoTIFF."""
    floating = np.issubdtype(plane.dtype, np.floating)
    with rasterio.open(
        file,
        "w",
        driver="COG",
        width=plane.shape[1],
        height=plane.shape[0],
        count=1,
        dtype=plane.dtype.name,
        crs=f"EPSG:{grid.zone.epsg}",
        transform=grid.transform(gsd_m),
        nodata=nodata,
        compress="DEFLATE",
        level=1,
        predictor="FLOATING_POINT" if floating else "STANDARD",
        blocksize=256,
        overviews="NONE",
    ) as target:
        target.write(plane, 1)


def _quoted(value: Any) -> str:
    """Write a TOML string."""
    return json.dumps(str(value), ensure_ascii=False)
