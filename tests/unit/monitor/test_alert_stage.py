"""Detection on single dates, and alerts from cube to map."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import numpy as np
import pytest
import shapely

from terrascope.catalog.items import ItemRow, ItemTable
from terrascope.cube.executor import ThreadExecutor
from terrascope.cube.plan import plan_cube
from terrascope.cube.spec import CubeSpec
from terrascope.geo.aoi import Aoi
from terrascope.geo.projection import unproject_from_zone
from terrascope.geo.tiles import Tile, Zone
from terrascope.kernels.alerts import AlertRules
from terrascope.kernels.change_optical import screen_optical
from terrascope.kernels.change_sar import screen_sar
from terrascope.kernels.detection import anomaly_probability, detect_optical, detect_sar
from terrascope.kernels.evidence import PRIOR_LOG_ODDS
from terrascope.monitor.alerts import AlertPlan, alert_batch, alert_keys, plan_alerts
from terrascope.monitor.screen.plan import pending_screen, plan_screen
from terrascope.periods import Cadence
from terrascope.store import Record, Store, cube_schema, write_tile
from terrascope.store.schema import NO_DATE
from terrascope.types import NODATA_INT16, Status

DAILY = Cadence(1, "D")
ZONE = Zone(33, "N")
TILES = (Tile(ZONE, 28, 356), Tile(ZONE, 29, 356), Tile(ZONE, 31, 356))
"""The last is no neighbour of the first."""
BANDS = ("blue", "green", "red", "nir")
FOREST, SOIL = np.array([250, 450, 280, 3200]), np.array([900, 1200, 1600, 2300])
BEFORE = [dt.date(2019, 8, d) for d in (1, 6, 11, 16, 21)]
AFTER = [dt.date(2020, 8, d) for d in (1, 6, 11, 16, 21)]
FELLED_ON = AFTER[1]
CLEARING = slice(40, 60), slice(50, 80)


def ground() -> Aoi:
    """Return the hull of the tiles, 700 m smaller."""
    west, south, east, north = shapely.unary_union([shapely.box(*t.bounds) for t in TILES]).bounds
    box = shapely.box(west + 700, south + 700, east - 700, north - 700)
    return Aoi.from_geometry(unproject_from_zone(box, ZONE))


def forest(rng: np.random.Generator, dates: int) -> np.ndarray:
    """Reflectance of a quiet forest, (date, band, y, x)."""
    noise = rng.normal(0, 0.004, (dates, 4, 24, 24))
    return (noise + FOREST[:, None, None] * 1e-4).astype(np.float32)


def test_against_a_single_date_of_the_past_each_date_is_screened_as_if_alone() -> None:
    rng = np.random.default_rng(3)
    past, dates = forest(rng, 1), forest(rng, 4)
    dates[1:, :, 8:14, 5:15] = SOIL[:, None, None] * 1e-4
    past[0, :, :9], dates[2, :, :, 20:], dates[3, :, :12, :12] = np.nan, np.nan, np.nan
    found = detect_optical(past, dates, bands=BANDS, baseline_months=[8], date_months=[7, 8, 8, 9])
    for i, month in enumerate([7, 8, 8, 9]):
        # two looks at the same, at a pixel so large that the screen smooths nothing: the second
        # makes agreement sqrt(2 * 2 / 3) times as improbable
        twice = np.repeat(dates[i : i + 1], 2, axis=0)
        alone = screen_optical(
            past,
            twice,
            bands=BANDS,
            baseline_months=[8],
            target_months=[month, month],
            pixel_m=1000.0,
        )
        low = found.probability[i] < 0.1
        odds = np.log(found.probability[i] / (1 - found.probability[i])) - PRIOR_LOG_ODDS
        np.testing.assert_allclose(
            np.minimum(odds * 4 / 3, 10)[low], alone.support[low], rtol=2e-3, atol=2e-3
        )
        np.testing.assert_array_equal(np.isnan(odds), np.isnan(alone.support))
        np.testing.assert_array_equal(found.kind[i] == 0, alone.kind == 0)
    assert (found.probability[1, 9:13, 6:14] > 0.5).all()
    assert (found.probability[0, 9:] < 0.5).all()


def test_what_the_season_showed_before_is_no_anomaly_and_dates_know_nothing_of_each_other() -> None:
    rng = np.random.default_rng(5)
    past, dates = forest(rng, 6), forest(rng, 3)
    past[4, :, :12], past[5, :, :12] = SOIL[:, None, None] * 1e-4, SOIL[:, None, None] * 1e-4
    dates[1] = past[5]
    dates[2] = SOIL[:, None, None] * 1e-4
    months = [8, 8, 8, 9, 7, 7]
    facts: dict[str, Any] = {"bands": BANDS, "baseline_months": months}
    found = detect_optical(past, dates, date_months=[8, 8, 8], **facts)
    prior = anomaly_probability(np.zeros(1, np.float32))
    np.testing.assert_allclose(found.probability[1], np.full((24, 24), prior), rtol=1e-6)
    assert (found.probability[2, 12:] > 0.5).all()
    again = detect_optical(past, dates[[2, 0]], date_months=[8, 8], **facts)
    np.testing.assert_array_equal(again.probability, found.probability[[2, 0]])
    part = detect_optical(past[..., 3:9], dates[..., 3:9], date_months=[8, 8, 8], **facts)
    np.testing.assert_array_equal(part.probability, found.probability[..., 3:9])


def test_radar_dates_are_screened_alone() -> None:
    rng = np.random.default_rng(4)
    past = rng.normal(-9, 0.6, (5, 2, 16, 16)).astype(np.float32)
    dates = rng.normal(-9, 0.6, (3, 2, 16, 16)).astype(np.float32)
    dates[2, :, 4:12, 4:12] -= 8
    found = detect_sar(past, dates, pixel_m=10.0, shift_db=0.25)
    for i in range(3):
        alone = screen_sar(past, dates[i : i + 1], pixel_m=10.0, shift_db=0.25)
        np.testing.assert_array_equal(found.probability[i], anomaly_probability(alone.support))
    assert found.probability[2, 8, 8] > 0.5 > found.probability[1, 8, 8]


@dataclasses.dataclass(frozen=True)
class Dated:
    """A daily cube of three tiles."""

    store: Store
    group: str

    def write(self, tile: Tile, day: dt.date, *, shade: float = 1.0) -> None:
        rng = np.random.default_rng([tile.column, day.toordinal()])
        values = np.broadcast_to(FOREST[:, None, None], (4, 128, 128)).astype(float)
        if tile == TILES[0] and day >= FELLED_ON:
            values[:, *CLEARING] = SOIL[:, None, None]
        values = (values * shade + rng.normal(0, 20, values.shape)).astype(np.int16)
        observed = np.ones((128, 128), np.uint16)
        observed[:12, day.day % 7 : 50] = 0
        values[:, observed == 0] = NODATA_INT16
        index = DAILY.index(day)
        with self.store.begin() as write:
            arrays = {"reflectance": values, "observed": observed}
            fork = write_tile(write.fork(), self.group, tile, index, arrays)
            write.commit([fork], {self.group: [Record(f"k{shade}", tile.id, index)]})


def plan_of(dated: Dated, *, batch_tiles: int = 32, confirm: str = "3 of 4") -> AlertPlan:
    footprint = ground().geometry
    rows = [
        ItemRow(
            str(day),
            "c",
            "sentinel-2",
            dt.datetime(day.year, day.month, day.day, 10, tzinfo=dt.UTC),
            day,
            footprint,
            {},
        )
        for day in (*BEFORE, *AFTER)
    ]
    target = DAILY.periods(dt.date(2020, 8, 1), dt.date(2020, 8, 31))
    baseline = DAILY.periods(dt.date(2019, 8, 1), dt.date(2019, 8, 31))
    spec = CubeSpec("sentinel-2", BANDS, resolution_m=120, cadence=DAILY)
    plan = plan_cube(ItemTable.from_rows(rows), spec, TILES, (*baseline, *target))
    screen = plan_screen(
        {"sentinel-2": plan},
        target=target,
        baseline=baseline,
        tiles=TILES,
        aoi=ground(),
        threshold=0.5,
        run_id="r",
        resolution_m=120,
        batch_tiles=batch_tiles,
    )
    return plan_alerts(screen, AlertRules.parse(confirm))


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Dated:
    store = Store.open(str(tmp_path_factory.mktemp("dated") / "cube"))
    group = store.ensure_group(cube_schema("sentinel-2", ZONE, 120, DAILY, BANDS))
    cube = Dated(store, group)
    for tile in TILES:
        for day in (*BEFORE, *AFTER):
            if (tile, day) != (TILES[0], AFTER[3]):  # comes late
                cube.write(tile, day)
    return cube


def fold_all(dated: Dated, plan: AlertPlan) -> int:
    """Run what is pending; return how many tiles were folded."""
    keys = alert_keys(plan, dated.store)
    return sum(
        alert_batch(plan, index, dated.store, ThreadExecutor(2), keys=keys, memory=2**30)
        for index in pending_screen(plan, dated.store, keys)
    )


def maps(dated: Dated, plan: AlertPlan) -> dict[tuple[Tile, str], Any]:
    group = plan.result_group(ZONE)
    names = ("status", "detected_on", "confirmed_on", "observations", "change_probability")
    return {(t, n): dated.store.read_tile(group, n, t) for t in TILES for n in names}


def test_alerts_from_cube_to_map_and_a_late_scene_folds_again_what_it_touches(
    dated: Dated,
) -> None:
    plan = plan_of(dated, batch_tiles=1)
    assert fold_all(dated, plan) == len(TILES)
    assert fold_all(dated, plan) == 0
    before = maps(dated, plan)
    status = before[TILES[0], "status"]
    inner = slice(CLEARING[0].start + 1, CLEARING[0].stop - 1), slice(52, 78)
    assert (status[inner] == Status.CONFIRMED).all()
    epoch = dt.date(1970, 1, 1)
    assert (before[TILES[0], "detected_on"][inner] == (FELLED_ON - epoch).days).all()
    assert (before[TILES[0], "confirmed_on"][inner] == (AFTER[4] - epoch).days).all()
    quiet = status.copy()
    quiet[CLEARING] = Status.NO_CHANGE
    assert set(np.unique(quiet)) <= {Status.NO_CHANGE, Status.NOT_OBSERVED, Status.OUTSIDE}
    assert (before[TILES[2], "confirmed_on"] == NO_DATE).all()

    dated.write(TILES[0], AFTER[3])
    assert fold_all(dated, plan) == 2  # the third is no neighbour
    after = maps(dated, plan)
    assert (after[TILES[0], "confirmed_on"][inner] == (AFTER[3] - epoch).days).all()
    for (tile, name), layer in after.items():
        if tile == TILES[2]:
            np.testing.assert_array_equal(layer, before[tile, name])
    whole = dataclasses.replace(plan_of(dated), run_id="whole")
    fold_all(dated, whole)
    for place, layer in maps(dated, whole).items():
        np.testing.assert_array_equal(layer, after[place])


def test_alerts_need_single_days(dated: Dated) -> None:
    plan = plan_of(dated)
    monthly = Cadence(1, "M").periods(dt.date(2020, 8, 1), dt.date(2020, 8, 31))
    with pytest.raises(ValueError, match="expected single days"):
        plan_alerts(dataclasses.replace(plan, target=monthly), AlertRules())
