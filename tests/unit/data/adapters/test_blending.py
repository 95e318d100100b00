"""Blending: the mixing of every band against a slow loop, untouched pixels bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.data.adapters.blending import blend_optical, blend_radar, block_phase
from terrascope.sensors import S2_BANDS

SHAPE = (23, 31)
TAPS = (0.11, 0.78, 0.11)


def outline() -> np.ndarray:
    """Return a patch that is whole inside and has soft sides."""
    rows, columns = np.indices(SHAPE)
    far = np.hypot(rows - 11, (columns - 14) / 1.3)
    return np.clip(7.5 - far, 0.0, 0.97).astype(np.float32)


def repeated(rng: np.random.Generator, times: int, phase: tuple[int, int]) -> np.ndarray:
    """Return a band whose pixels are `times` times larger, the first of them cut off."""
    coarse = rng.uniform(0.1, 0.3, (SHAPE[0] // times + 3, SHAPE[1] // times + 3))
    fine = coarse.repeat(times, 0).repeat(times, 1)
    row, column = (times - part for part in phase)
    return fine[row : row + SHAPE[0], column : column + SHAPE[1]].astype(np.float32)


def slow_weight(share: np.ndarray, times: int, phase: tuple[int, int]) -> np.ndarray:
    """Blur with loops, then average the pixels of each block."""
    rows, columns = share.shape
    blurred = np.zeros(share.shape)
    for row in range(rows):
        for column in range(columns):
            for i in (-1, 0, 1):
                for j in (-1, 0, 1):
                    near = share[np.clip(row + i, 0, rows - 1), np.clip(column + j, 0, columns - 1)]
                    blurred[row, column] += TAPS[i + 1] * TAPS[j + 1] * float(near)
    members: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for row in range(rows):
        for column in range(columns):
            block = ((row - phase[0]) // times, (column - phase[1]) // times)
            members.setdefault(block, []).append((row, column))
    weight = np.zeros(share.shape)
    for own in members.values():
        mean = sum(blurred[at] for at in own) / len(own)
        for at in own:
            weight[at] = mean
    return weight


@pytest.mark.parametrize(
    ("band", "pixel_m", "phase"),
    [
        ("red", 10.0, (0, 0)),
        ("swir16", 10.0, (1, 0)),
        ("coastal", 10.0, (4, 1)),
        ("nir08", 6.5, (1, 2)),
    ],
)
def test_bands_mix_at_their_own_resolution(
    band: str, pixel_m: float, phase: tuple[int, int]
) -> None:
    rng = np.random.default_rng(5)
    times = round(S2_BANDS[band].gsd_m / pixel_m)
    image = repeated(rng, times, phase)[None]
    image[0, 3, 20] = np.nan
    ground = np.full((12, *SHAPE), 0.05, np.float32)
    ground[list(S2_BANDS).index(band)] = 0.4
    found = blend_optical(image, [band], ground, outline(), pixel_m, rng)
    weight = slow_weight(outline(), times, phase)
    away = weight == 0
    assert away.any()
    assert found[0][away].tobytes() == image[0][away].tobytes()
    wanted = image[0] * (1 - weight) + 0.4 * weight
    noise = 0.0009 * weight + 0.004 * 0.4 * weight
    seen = np.isfinite(image[0])
    assert np.isnan(found[0, 3, 20])
    gap = np.abs(found[0] - wanted)[seen]
    assert (gap <= 5.5 * noise[seen] + 1e-6).all()
    inside = weight > 0.95
    assert inside.any()
    assert np.abs(found[0] - 0.4)[inside].max() < 0.03
    if times > 1:  # of repeated pixels come repeated pixels, noise included
        assert block_phase(np.where(seen, found[0], np.nan), times) == phase


def test_an_interpolated_band_mixes_smoothly() -> None:
    rng = np.random.default_rng(6)
    image = rng.uniform(0.2, 0.3, (1, *SHAPE)).astype(np.float32)
    share = np.zeros(SHAPE, np.float32)
    share[11, 15] = 1.0
    ground = np.full((12, *SHAPE), 5.0, np.float32)
    found = blend_optical(image, ["swir16"], ground, share, 10.0, rng)
    weight = (found[0] - image[0]) / (5.0 - image[0])
    assert weight.sum() == pytest.approx(1.0, abs=0.02)  # what one pixel loses, others gain
    far = np.maximum(*np.abs(np.indices(SHAPE) - np.array([11, 15])[:, None, None]))
    assert found[0][far > 2].tobytes() == image[0][far > 2].tobytes()
    assert weight[11, 15] == weight.max() == pytest.approx((0.78 / 2 + 0.11 / 2) ** 2, abs=0.01)


@given(st.integers(2, 6), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_blocks_are_found_where_there_are_any(times: int, row: int, column: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    phase = (row % times, column % times)
    plane = repeated(rng, times, phase)
    plane[rng.random(SHAPE) < 0.01] = np.nan
    assert block_phase(plane, times) == phase
    plane[10, 10], plane[11, 11] = 0.5, 0.6
    assert block_phase(plane, times) is None


def test_backscatter_adds_up_in_linear_power() -> None:
    rng = np.random.default_rng(7)
    share = np.zeros((90, 90), np.float32)
    share[10:80, 10:80] = 0.6
    image = np.full((2, 90, 90), -8.0, np.float32)
    image[1] = -14.0
    image[0, 40, 40] = np.nan
    ground = np.stack([np.full((90, 90), 10**-2.0), np.full((90, 90), 10**-2.8)]).astype(np.float32)
    found = blend_radar(image, ["vv", "vh"], ground, share, rng)
    inner = (slice(None), slice(12, 78), slice(12, 78))
    power = 10 ** (found[inner] / 10)
    for band, (old, new) in enumerate(((-8.0, -20.0), (-14.0, -28.0))):
        expected = 0.4 * 10 ** (old / 10) + 0.6 * 10 ** (new / 10)
        assert np.nanmean(power[band]) == pytest.approx(expected, rel=0.02)
        speckle = (power[band] - 0.4 * 10 ** (old / 10)) / (0.6 * 10 ** (new / 10))
        assert 3.5 < 1 / np.nanvar(speckle) < 6.5  # looks
    assert np.isnan(found[0, 40, 40])
    away = np.ones((90, 90), bool)
    away[9:81, 9:81] = False
    assert found[:, away].tobytes() == image[:, away].tobytes()
