"""The doorway: what comes through is where it belongs, and what must not come through does not."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.model.geometry import Geometry
from terrascope.model.pictures import COMPOSITES, IMAGENET_MEAN, IMAGENET_STD, to_pictures
from terrascope.model.processing_terrascope import (
    Stack,
    TerrascopeProcessor,
    Window,
    Windows,
    as_date,
    canonical_bands,
)
from terrascope.sensors import S2_BANDS
from terrascope.sim.series import Series, simulate_series

ALL = tuple(S2_BANDS)
DAYS = ("2021-01-10", "2021-04-20", "2021-09-30")


def spectra(dates: int, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Plausible reflectance, every value distinct, bands in canonical order."""
    base = np.array([3, 4, 6, 5, 9, 22, 28, 30, 31, 32, 18, 10], np.float32) / 100
    noise = np.random.default_rng(seed).uniform(0.9, 1.1, (dates, 12, rows, columns))
    return (base[:, None, None] * noise).astype(np.float32)


def echoes(dates: int, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1.5, (dates, 2, rows, columns))
    return (np.array([-10.0, -16.0])[:, None, None] + noise).astype(np.float32)


def optical(**changes: Any) -> Stack:
    values = changes.pop("values", spectra(3, 20, 30))
    known = {"bands": ALL, "dates": DAYS, "unit": "reflectance"} | changes
    return Stack("sentinel-2", values, **known)


def radar(**changes: Any) -> Stack:
    values = changes.pop("values", echoes(3, 20, 30))
    known = {"bands": ("VV", "VH"), "dates": DAYS, "unit": "dB"} | changes
    return Stack("sentinel-1", values, **known)


GROUND = Geometry.planar((20, 30), 10.0)


@given(
    order=st.permutations(range(12)),
    kept=st.integers(1, 12),
    codes=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_bands_go_to_their_place_whatever_their_order(
    order: list[int], kept: int, codes: bool, seed: int
) -> None:
    chosen = order[:kept]
    values = spectra(3, 20, 30, seed)
    values[1, :, 3:9] = np.nan
    names = [S2_BANDS[ALL[i]].code if codes else ALL[i] for i in chosen]
    batch = TerrascopeProcessor(multiple_px=16)(
        [Window(GROUND, optical(values=values[:, chosen], bands=names))]
    )
    assert batch.optical.shape == (1, 3, 12, 32, 32)
    for band in range(12):
        here, seen = batch.optical[0, :, band, :20, :30], batch.optical_valid[0, :, band, :20, :30]
        if band not in chosen:
            assert not seen.any()
            assert not here.any()
            continue
        truth = values[:, band]
        np.testing.assert_array_equal(seen.numpy(), np.isfinite(truth))
        np.testing.assert_array_equal(here.numpy(), np.nan_to_num(truth))
    assert not batch.optical_valid[..., 20:, :].any()
    assert not batch.optical_valid[..., 30:].any()
    assert batch.inside[0, :20, :30].all()
    assert batch.inside.sum() == 600
    assert not batch.radar_valid.any()


def test_sensors_share_dates_where_they_are_near() -> None:
    window = Window(
        GROUND,
        optical(dates=("2021-01-10", "2021-04-20", "2021-09-30")),
        radar(dates=("2021-01-07", "2021-01-12", "2021-06-01")),
    )
    (dates,) = TerrascopeProcessor()([window]).dates
    assert [str(date) for date in dates] == [
        "2021-01-07",
        "2021-01-10",
        "2021-04-20",
        "2021-06-01",
        "2021-09-30",
    ]
    batch = TerrascopeProcessor()([window])
    present = batch.present[0].tolist()
    assert present == [[False, True], [True, True], [True, False], [False, True], [True, False]]
    # Each sensor keeps its own day: the radar pass of 12 January is the partner of the 10th.
    assert batch.day_of_year[0, 1].tolist() == [10.0, 12.0]
    assert batch.days[0, 1].tolist() == [3.0, 5.0]
    assert batch.days[0, 4].tolist() == [266.0, 0.0]
    np.testing.assert_array_equal(batch.radar[0, 1, :, :20, :30], window.radar.values[1])
    apart = TerrascopeProcessor(pair_within_days=0)([window])
    assert apart.date_count.tolist() == [6]


def test_windows_of_all_sizes_make_one_batch() -> None:
    small = Window(
        Geometry.planar((8, 5), (10.0, 20.0)), radar=radar(values=echoes(1, 8, 5), dates=DAYS[:1])
    )
    batch = TerrascopeProcessor(size_px=64)([Window(GROUND, optical(), radar()), small])
    assert batch.optical.shape == (2, 3, 12, 64, 64)
    assert batch.date_count.tolist() == [3, 1]
    assert batch.gsd_m.tolist() == [[10.0, 10.0], [10.0, 20.0]]
    assert batch.observed.sum((1, 2, 3)).tolist() == [3 * 600, 40]
    assert batch.geometry[1].inside == (slice(0, 8), slice(0, 5))
    assert not batch.optical.isnan().any()
    assert [batch.optical.dtype, batch.radar_valid.dtype] == [torch.float32, torch.bool]
    # A window alone is the same window.
    alone = TerrascopeProcessor(size_px=64)([small])
    assert torch.equal(alone.radar[0, 0], batch.radar[1, 0])
    swapped = batch.select([1, 0, 1])
    assert swapped.dates == (batch.dates[1], batch.dates[0], batch.dates[1])
    assert torch.equal(swapped.radar[2], batch.radar[1])
    assert len(swapped.to("cpu")) == 3


def test_a_sensor_that_is_left_out_was_never_there() -> None:
    windows = TerrascopeProcessor()([Window(GROUND, optical(), radar())])
    never = TerrascopeProcessor()([Window(GROUND, optical())])
    without = windows.without(radar=True)
    for name in ("optical", "optical_valid", "radar", "radar_valid", "day_of_year", "days"):
        assert torch.equal(getattr(without, name), getattr(never, name)), name
    assert windows.radar_valid.any()


def test_masks_and_values_that_are_not_finite_are_missing() -> None:
    values = echoes(2, 20, 30)
    values[0, 0, 0, :4] = -np.inf
    valid = np.ones((2, 20, 30), bool)
    valid[1, 5] = False
    batch = TerrascopeProcessor()(
        [Window(GROUND, radar=radar(values=values, dates=DAYS[:2], valid=valid))]
    )
    assert not batch.radar_valid[0, 0, 0, 0, :4].any()
    assert batch.radar_valid[0, 0, 1, 0, :4].all()
    assert not batch.radar_valid[0, 1, :, 5].any()
    by_band = np.broadcast_to(valid[:, None], (2, 2, 20, 30)).copy()
    by_band[0, 1] = False
    assert np.isnan(
        radar(values=values, dates=DAYS[:2], valid=by_band).observed_values()[0, 1]
    ).all()


REFUSALS: dict[str, tuple[Any, str]] = {
    "digital numbers, integer": (
        lambda: optical(values=(spectra(3, 20, 30) * 1e4).astype(np.uint16)),
        "digital numbers",
    ),
    "digital numbers, float": (lambda: optical(values=spectra(3, 20, 30) * 1e4), "digital numbers"),
    "dark digital numbers": (lambda: optical(values=spectra(3, 20, 30) * 400), "digital numbers"),
    "percent": (lambda: optical(values=spectra(3, 20, 30) * 100), "percent"),
    "dB as reflectance": (
        lambda: optical(values=np.repeat(echoes(3, 20, 30), 6, axis=1)),
        "looks like dB",
    ),
    "offset twice": (lambda: optical(values=spectra(3, 20, 30) * 0.1 - 0.2), "offset"),
    "zero for missing": (lambda: optical(values=np.zeros((3, 12, 20, 30), np.float32)), "zero"),
    "unit said wrong": (lambda: optical(unit="DN"), "expected 'reflectance'; divide by 10000"),
    "linear power": (lambda: radar(values=10 ** (echoes(3, 20, 30) / 10)), "linear power"),
    "amplitude": (lambda: radar(values=10 ** (echoes(3, 20, 30) / 20)), "amplitude"),
    "stored dB": (
        lambda: radar(values=(echoes(3, 20, 30) * 100).astype(np.int16)),
        "stored numbers",
    ),
    "stored dB, float": (lambda: radar(values=echoes(3, 20, 30) * 100), "stored integers"),
    "linear said": (lambda: radar(unit="linear"), r"10 \* log10"),
    "polarisations swapped": (lambda: radar(bands=("VH", "VV")), "order of the bands"),
    "bands reversed": (lambda: optical(bands=ALL[::-1]), "order of the bands"),
    "infrared and red swapped": (
        lambda: optical(bands=[{"red": "nir", "nir": "red"}.get(b, b) for b in ALL]),
        "order of the bands",
    ),
    "unknown band": (lambda: optical(bands=("B99", *ALL[1:])), "unknown bands"),
    "band of another sensor": (lambda: radar(bands=("red", "VV")), "unknown bands"),
    "band twice": (lambda: optical(bands=("B02", "blue", *ALL[2:])), "twice"),
    "band first": (lambda: optical(values=spectra(3, 20, 30).swapaxes(0, 1)), "swap the first two"),
    "band last": (
        lambda: optical(values=np.moveaxis(spectra(3, 20, 30), 1, -1)),
        "move the last axis",
    ),
    "picture order": (
        lambda: optical(values=spectra(3, 20, 30).transpose(2, 3, 1, 0)),
        "move the last two axes",
    ),
    "no date axis": (lambda: optical(values=spectra(1, 20, 30)[0]), "expected .date, band, y, x"),
    "a date too many": (lambda: optical(dates=(*DAYS, "2022-01-01")), "for 4 dates"),
    "dates unordered": (lambda: optical(dates=DAYS[::-1]), "strictly ascending"),
    "date twice": (lambda: optical(dates=(DAYS[0], DAYS[0], DAYS[1])), "strictly ascending"),
    "no date": (lambda: optical(dates=(DAYS[0], "spring", DAYS[1])), "ISO 8601"),
    "not a time": (lambda: optical(dates=[np.datetime64("NaT")] * 3), "ISO 8601"),
    "mask of another shape": (lambda: optical(valid=np.ones((3, 20, 29), bool)), "a mask of shape"),
    "mask of numbers": (lambda: optical(valid=np.ones((3, 20, 30), np.uint8)), "expected bool"),
    "empty": (lambda: optical(values=spectra(3, 0, 30)), "holds nothing"),
    "unknown sensor": (
        lambda: Stack("landsat", spectra(3, 20, 30), ALL, DAYS, "reflectance"),
        "expected one of",
    ),
    "nothing observed": (
        lambda: Window(GROUND, optical(values=np.full((3, 12, 20, 30), np.nan, np.float32))),
        "no observation at all",
    ),
    "all masked": (
        lambda: Window(GROUND, optical(valid=np.zeros((3, 20, 30), bool))),
        "no observation at all",
    ),
    "no sensor": (lambda: Window(GROUND), "no observation at all"),
    "another grid": (lambda: Window(Geometry.planar((30, 20), 10.0), optical()), "same grid"),
    "sensors exchanged": (lambda: Window(GROUND, optical=radar()), "where sentinel-2 is expected"),
    "window too large": (
        lambda: TerrascopeProcessor(size_px=16)([Window(GROUND, optical())]),
        "cut it into windows",
    ),
    "no window": (lambda: TerrascopeProcessor()([]), "no window"),
    "no size": (lambda: TerrascopeProcessor(size_px=0), "1 or more"),
    "negative pairing": (lambda: TerrascopeProcessor(pair_within_days=-1), "0 or more"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_would_be_misread_is_refused(name: str) -> None:
    build, message = REFUSALS[name]
    with pytest.raises(ValueError, match=message):
        build()


@pytest.fixture(scope="module")
def series() -> Series:
    return simulate_series(dt.date(2021, 5, 1), dt.date(2021, 6, 20), seed=3, shape=(120, 126))


def test_real_radiometry_is_never_refused(series: Series) -> None:
    """Whole simulated months, date by date: cloud, shadow, snow-free land, water."""
    for index in range(len(series.optical)):
        values = series.reflectance[index : index + 1]
        Stack("sentinel-2", values, ALL, DAYS[:1], "reflectance")
        Stack("sentinel-2", values[..., :30, :30], ALL, DAYS[:1], "reflectance")
    with np.errstate(divide="ignore"):
        decibel = 10 * np.log10(series.backscatter)
    for index in range(len(series.radar)):
        Stack("sentinel-1", decibel[index : index + 1], ("vv", "vh"), DAYS[:1], "dB")


def test_shuffled_bands_of_real_radiometry_are_noticed(series: Series) -> None:
    clear = np.where((series.cloudy | series.shaded)[:, None], np.nan, series.reflectance)
    usable = clear[np.isfinite(clear).mean((1, 2, 3)) > 0.5]
    assert len(usable) >= 2
    rng = np.random.default_rng(0)
    messages = [
        complaint(usable[trial % len(usable)][None], rng.permutation(12)) for trial in range(60)
    ]
    assert {m for m in messages if m and "order of the bands" not in m} == set()
    assert sum(m is not None for m in messages) >= 50


def complaint(values: np.ndarray, order: np.ndarray) -> str | None:
    try:
        Stack("sentinel-2", values, [ALL[i] for i in order], DAYS[:1], "reflectance")
    except ValueError as error:
        return str(error)
    return None


def test_names_and_dates_may_be_written_in_many_ways() -> None:
    assert canonical_bands("sentinel-2", ("B02", "b8a", "B1", "NIR")) == (
        "blue",
        "nir08",
        "coastal",
        "nir",
    )
    day = dt.date(2021, 6, 1)
    for written in (
        day,
        dt.datetime(2021, 6, 1, 10),
        "2021-06-01",
        "2021-06-01T10:11:12Z",
        np.datetime64("2021-06-01T10:11:12.123456789"),
    ):
        assert as_date(written) == day


def test_settings_are_saved_and_read(tmp_path: Path) -> None:
    processor = TerrascopeProcessor(size_px=128, pair_within_days=3)
    processor.save_pretrained(tmp_path / "model")
    assert TerrascopeProcessor.from_pretrained(tmp_path / "model") == processor


def windows_for_pictures() -> Windows:
    values = spectra(3, 20, 30)
    values[0, :, :, :5] = np.nan
    values[1, ALL.index("green")] = np.nan
    return TerrascopeProcessor(size_px=32)([Window(GROUND, optical(values=values), radar())])


def test_pictures_show_the_bands_of_their_composite() -> None:
    windows = windows_for_pictures()
    pictures, present = to_pictures(windows, 32, ("rgb", "infrared", "radar"))
    assert pictures.shape == (1, 3, 3, 3, 32, 32)
    assert present.tolist() == [[[True, True, True], [False, False, True], [True, True, True]]]
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    pixel = windows.optical[0, 2, :, 7, 11].numpy()
    red, nir = pixel[ALL.index("red")] / 0.3, pixel[ALL.index("nir")] / 0.5
    assert pictures[0, 2, 0, 0, 7, 11] == pytest.approx((red - mean[0]) / std[0], rel=1e-5)
    assert pictures[0, 2, 1, 0, 7, 11] == pytest.approx((nir - mean[0]) / std[0], rel=1e-5)
    vv, vh = windows.radar[0, 2, :, 7, 11].tolist()
    shown = np.clip([(vv + 25) / 25, (vh + 30) / 25, (vv - vh) / 15], 0, 1)
    np.testing.assert_allclose(pictures[0, 2, 2, :, 7, 11], (shown - mean) / std, rtol=1e-4)
    # Missing pixels and padding have the mean colour.
    assert not pictures[0, 0, 0, :, :, :5].any()
    assert not pictures[0, :, :, :, 20:].any()


def test_pictures_are_resized() -> None:
    windows = windows_for_pictures()
    large, _ = to_pictures(windows, 96)
    small, _ = to_pictures(windows, 32)
    assert large.shape == (1, 3, 2, 3, 96, 96)
    # The centre of a tripled pixel is the pixel.
    torch.testing.assert_close(large[..., 1::3, 1::3], small)
    half, _ = to_pictures(windows, 16)
    inner = small[0, 2, 0, :, 4:8, 8:12].mean((1, 2))
    assert (half[0, 2, 0, :, 2:4, 4:6].mean((1, 2)) - inner).abs().max() < 0.2


def test_unknown_pictures_are_refused() -> None:
    windows = windows_for_pictures()
    with pytest.raises(ValueError, match="composites"):
        to_pictures(windows, 32, ("thermal",))
    assert set(COMPOSITES) == {"rgb", "infrared", "shortwave", "radar"}
