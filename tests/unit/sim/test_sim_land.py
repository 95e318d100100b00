"""The world: the same ground in any window, and land that has everything in it."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.sim import phenology
from terrascope.sim.cover import Cover
from terrascope.sim.land import Land, make_land
from terrascope.sim.scenery import Scenery
from terrascope.sim.spectra import REFLECTANCE, Surface
from terrascope.sim.terrain import Layout
from terrascope.sim.textures import cells, texture, uniform

RED, NIR = 3, 7


def window(rows: int, columns: int, *, west: float, north: float, step: float = 10.0) -> tuple:
    x = west + (np.arange(columns) + 0.5) * step
    y = north - (np.arange(rows) + 0.5) * step
    return np.meshgrid(x, y)


@pytest.fixture(scope="module")
def land() -> Land:
    return make_land(*window(240, 300, west=-1500.0, north=1300.0), seed=7)


def test_hashed_numbers_are_uniform_and_repeat() -> None:
    numbers = uniform(3, np.arange(20_000), 5)
    np.testing.assert_array_equal(numbers, uniform(3, np.arange(20_000), 5))
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert np.abs(counts - 1000).max() < 150
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.03


def test_a_texture_is_periodic_and_of_unit_variance() -> None:
    field = texture(5, pixel_m=10.0, slope=2.0, largest_m=400.0, smallest_m=20.0, size=128)
    x, y = window(50, 70, west=3.0, north=900.0)
    np.testing.assert_allclose(field.sample(x, y), field.sample(x + 1280.0, y - 1280.0), atol=1e-4)
    assert field.values.std() == pytest.approx(1.0, abs=1e-3)


def test_cells_are_those_of_the_nearest_site() -> None:
    x, y = window(23, 31, west=-700.0, north=800.0, step=37.0)
    found = cells(x, y, 260.0, 9)
    cell, edge, centre_x, centre_y = found.key, found.edge_m, found.centre_x_m, found.centre_y_m
    distance = np.hypot(x - centre_x, y - centre_y)
    sites = np.unique(np.column_stack([centre_x.ravel(), centre_y.ravel()]), axis=0)
    brute = np.min([np.hypot(x - sx, y - sy) for sx, sy in sites], axis=0)
    np.testing.assert_allclose(distance, brute, atol=1e-2)
    assert len(np.unique(cell)) == len(sites)
    assert (edge >= 0).all()


@settings(max_examples=8, deadline=None)
@given(
    row=st.integers(0, 60),
    column=st.integers(0, 90),
    seed=st.integers(0, 50),
    far=st.integers(-9, 9),
)
def test_any_window_shows_the_same_ground(row: int, column: int, seed: int, far: int) -> None:
    whole = window(110, 130, west=far * 5000.0, north=far * 3000.0)
    part = (slice(row, row + 47), slice(column, column + 38))
    big = make_land(*whole, seed=seed)
    small = make_land(whole[0][part], whole[1][part], seed=seed)
    np.testing.assert_array_equal(small.cover, big.cover[part])
    np.testing.assert_array_equal(small.units.key[small.unit], big.units.key[big.unit[part]])
    np.testing.assert_allclose(small.road, big.road[part], atol=1e-5)
    np.testing.assert_allclose(small.slope_xy, big.slope_xy[:, *part], atol=1e-5)


def test_the_land_holds_what_a_landscape_holds() -> None:
    land = make_land(*window(250, 330, west=-3300, north=2500, step=20.0), seed=7)
    present = {Cover(code) for code in np.unique(land.cover)}
    # What comes after hedges needs a layout that asks for it.
    assert present == {cover for cover in Cover if cover <= Cover.HEDGE}
    assert 0.05 < land.is_cover(Cover.CONIFER).mean() < 0.5
    assert 0.15 < land.is_cover(Cover.CROP).mean() < 0.65
    assert land.road.max() == 1.0


def test_more_forest_where_the_layout_says_so() -> None:
    x, y = window(120, 120, west=0, north=0, step=60.0)
    shares = [
        make_land(x, y, seed=4, layout=Layout(forest=share))
        .is_cover(Cover.CONIFER, Cover.BROADLEAF, Cover.YOUNG_FOREST)
        .mean()
        for share in (0.1, 0.4, 0.8)
    ]
    assert shares[0] < shares[1] - 0.1 < shares[2] - 0.3


@pytest.mark.parametrize("bad", [{"forest": 1.2}, {"field_m": 0.0}])
def test_impossible_layouts_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Layout(**bad)


@settings(max_examples=10, deadline=None)
@given(day=st.dates(dt.date(2016, 1, 1), dt.date(2030, 12, 31)), snow=st.sampled_from([0.0, 0.6]))
def test_shares_of_surfaces_sum_to_one(land: Land, day: dt.date, snow: float) -> None:
    shares = Scenery(land).shares(day, snow=snow)
    assert shares.min() >= -1e-5
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=2e-4)


def ndvi(land: Land, day: dt.date) -> np.ndarray:
    bands = np.tensordot(REFLECTANCE.T, Scenery(land).shares(day), axes=1)
    return (bands[NIR] - bands[RED]) / (bands[NIR] + bands[RED])


def test_the_year_of_the_land(land: Land) -> None:
    may, july, winter = (ndvi(land, dt.date(2023, m, d)) for m, d in ((5, 20), (8, 15), (2, 1)))
    conifer, broadleaf = land.is_cover(Cover.CONIFER), land.is_cover(Cover.BROADLEAF)
    crop = phenology.crop_of(land.units, 2023)[land.unit]
    assert abs(may[conifer].mean() - winter[conifer].mean()) < 0.12
    assert may[broadleaf].mean() - winter[broadleaf].mean() > 0.3
    wheat = crop == phenology.Crop.WHEAT
    assert wheat.any()
    assert may[wheat].mean() > 0.75 > 0.35 > july[wheat].mean()
    maize = crop == phenology.Crop.MAIZE
    assert july[maize].mean() > 0.7 > 0.4 > may[maize].mean()


def test_a_harvest_drops_the_green_on_its_day(land: Land) -> None:
    days = phenology.harvest_day(land.units, 2024)
    crop = phenology.crop_of(land.units, 2024)
    first = dt.date(2024, 1, 1)
    for row in np.nonzero(crop == phenology.Crop.BEET)[0][:5]:
        before, after = (
            phenology.surface_shares(land.units, first + dt.timedelta(days=int(days[row]) + step))
            for step in (0, 2)
        )
        assert before[row, Surface.CROP] - after[row, Surface.CROP] > 0.5


def test_fields_rotate_and_leys_stay(land: Land) -> None:
    crops = [phenology.crop_of(land.units, year) for year in range(2020, 2025)]
    fields = land.units.cover == Cover.CROP
    ley = crops[0] == phenology.Crop.LEY
    assert all((crop[ley] == phenology.Crop.LEY).all() for crop in crops)
    rotating = fields & ~ley
    assert (crops[0][rotating] != crops[1][rotating]).mean() > 0.7
    np.testing.assert_array_equal(crops[0][rotating], crops[4][rotating])
    assert (crops[0][~fields] == -1).all()
