"""Changes, radar and whole series."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest

from terrascope.sim.cover import Cover
from terrascope.sim.events import Disturbance, Event, Wish, plan_events
from terrascope.sim.land import Land, make_land
from terrascope.sim.radar import ENL, render_radar
from terrascope.sim.scenery import Scenery
from terrascope.sim.series import default_wishes, simulate_series
from terrascope.sim.terrain import Site
from terrascope.sim.weather import RadarPass
from terrascope.types import ChangeKind

DRY = RadarPass(
    time=dt.datetime(2023, 6, 5, 5, 2, tzinfo=dt.UTC),
    orbit=51,
    ascending=False,
    wetness=0.0,
    wind=0.0,
    frozen=0.0,
    seed=5,
)


@pytest.fixture(scope="module")
def wide() -> Land:
    x, y = (np.arange(330) - 164.5) * 20.0, (124.5 - np.arange(250)) * 20.0
    return make_land(*np.meshgrid(x, y), seed=7)


def decibel(power: np.ndarray) -> float:
    return float(10 * np.log10(power.mean()))


def test_every_kind_of_change_finds_its_place(wide: Land) -> None:
    events = plan_events(wide, default_wishes(2024), seed=7)
    assert {event.what for event in events} == set(Disturbance)
    truth = Scenery(wide, events).truth(dt.date(2024, 9, 15))
    assert set(np.unique(truth.kind)) == {0, 1, 3, 4, 5, 6}
    assert 0.005 < truth.changed.mean() < 0.15
    np.testing.assert_array_equal(truth.changed, truth.kind > 0)
    np.testing.assert_array_equal(truth.changed, truth.date >= 0)
    assert (truth.touched | ~truth.changed).all()
    assert wide.is_cover(Cover.CONIFER)[truth.disturbance == Disturbance.INSECTS].all()
    assert wide.is_cover(Cover.WATER)[truth.disturbance == Disturbance.DRAINED_POND].all()


def test_changes_come_grow_and_go(wide: Land) -> None:
    site = Site(0.0, 0.0, 300.0, 0.4, 7)
    flood = Event(Disturbance.FLOOD, site, dt.date(2024, 7, 1), 4, dt.date(2024, 9, 1))
    days = (dt.date(2024, 6, 30), dt.date(2024, 7, 2), dt.date(2024, 8, 1), dt.date(2024, 9, 1))
    assert [flood.progress(day) for day in days] == [0.0, 0.5, 1.0, 0.0]
    wish = Wish(Disturbance.INSECTS, 260.0, dt.date(2024, 5, 1), 80)
    scenery = Scenery(wide, plan_events(wide, [wish], seed=3))
    area = [
        int(scenery.truth(dt.date(2024, month, 20)).changed.sum()) for month in (4, 6, 7, 8, 10)
    ]
    assert area[0] == 0 < area[1] < area[2]
    assert area[3] == area[4]
    final = scenery.truth(dt.date(2024, 10, 20))
    before, after = dt.date(2024, 6, 20), dt.date(2024, 7, 10)
    first = (final.date >= 0) & (final.date <= (before - dt.date(1970, 1, 1)).days)
    np.testing.assert_array_equal(first, scenery.truth(before).changed)
    assert not (first & ~scenery.truth(after).changed).any()


def test_a_felling_shows_in_both_sensors(wide: Land) -> None:
    wish = Wish(Disturbance.CLEAR_CUT, 150.0, dt.date(2024, 2, 1), 20)
    scenery = Scenery(wide, plan_events(wide, [wish], seed=1))
    cut = scenery.truth(dt.date(2024, 9, 1)).changed
    after = dataclasses.replace(DRY, time=DRY.time.replace(year=2024))
    old, new = (render_radar(scenery, one).vh[cut] for one in (DRY, after))
    assert -6.0 < decibel(new) - decibel(old) < -2.0


def test_nothing_is_planned_where_nothing_fits() -> None:
    x, y = np.meshgrid(np.arange(60) * 10.0, np.arange(60) * 10.0)
    land = make_land(x, y, seed=7)
    wish = Wish(Disturbance.DRAINED_POND, 4000.0, dt.date(2024, 1, 1), 5)
    assert plan_events(land, [wish], seed=1) == []


def test_speckle_has_the_looks_it_claims(wide: Land) -> None:
    scenery = Scenery(wide)
    stack = np.stack(
        [render_radar(scenery, dataclasses.replace(DRY, seed=seed)).vv for seed in range(24)]
    )
    looks = 1.0 / float(np.mean(stack.var(axis=0, ddof=1) / stack.mean(axis=0) ** 2))
    assert 4.0 < ENL < 5.0
    assert looks == pytest.approx(ENL, rel=0.05)


def test_rain_lifts_bare_ground_and_hardly_forest(wide: Land) -> None:
    scenery = Scenery(wide)
    dry, wet = (render_radar(scenery, dataclasses.replace(DRY, wetness=w)).vv for w in (0.0, 1.0))
    quarry, forest = wide.is_cover(Cover.QUARRY), wide.is_cover(Cover.CONIFER)
    grass = wide.is_cover(Cover.GRASS)
    assert 1.0 < decibel(wet[grass]) - decibel(dry[grass]) < 2.5
    assert 0.8 < decibel(wet[quarry]) - decibel(dry[quarry]) < 2.6
    assert decibel(wet[forest]) - decibel(dry[forest]) < 0.7


def test_orbits_differ_on_slopes_and_water_is_dark(wide: Land) -> None:
    scenery = Scenery(wide)
    evening = dataclasses.replace(DRY, orbit=175, ascending=True)
    morning, evening_vv = render_radar(scenery, DRY).vv, render_radar(scenery, evening).vv
    rise = wide.slope_xy[0]
    east, west = rise > 0.05, rise < -0.05
    tilt = decibel(morning[east]) - decibel(evening_vv[east])
    assert tilt - (decibel(morning[west]) - decibel(evening_vv[west])) > 0.5
    water, forest = wide.is_cover(Cover.WATER), wide.is_cover(Cover.CONIFER)
    assert decibel(morning[forest]) - decibel(morning[water]) > 9.0


def test_a_series_is_dense_deterministic_and_changes() -> None:
    facts = {"seed": 7, "shape": (60, 72), "centre_m": (1500.0, -400.0)}
    start, end = dt.date(2024, 4, 1), dt.date(2024, 6, 30)
    series = simulate_series(start, end, **facts)
    count = len(series.optical)
    assert series.reflectance.shape == (count, 12, 60, 72)
    assert series.scl.shape == series.cloudy.shape == (count, 60, 72)
    assert series.backscatter.shape == (len(series.radar), 2, 60, 72)
    assert (series.backscatter > 0).all()
    assert np.nanmax(series.reflectance) < 1.3
    clear = ~series.cloudy & np.isfinite(series.reflectance[:, 3])
    assert 0.0 < np.nanmedian(series.reflectance[:, 3][clear]) < 0.2
    again = simulate_series(start, end, **facts)
    np.testing.assert_array_equal(series.reflectance, again.reflectance)
    np.testing.assert_array_equal(series.backscatter, again.backscatter)
    assert ChangeKind.NONE in series.truth.kind


@pytest.mark.parametrize("shape", [(61, 60), (0, 60)])
def test_bad_shapes_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 6"):
        simulate_series(dt.date(2024, 1, 1), dt.date(2024, 2, 1), seed=1, shape=shape)
