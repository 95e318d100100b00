"""Relative normalisation against known coefficients."""

from __future__ import annotations

import numpy as np
import pytest

from terrascope.kernels.normalise import (
    MIN_SAMPLES,
    NodeFit,
    apply_normalisation,
    fit_node,
    identity_fit,
    interpolate_nodes,
)

GAIN = np.array([1.06, 0.95, 1.03])
OFFSET = np.array([0.006, -0.004, 0.005])


def _scene(rng, n=6000):
    return (0.02 + 0.4 * rng.random((n, 3)) ** 2).astype(np.float32)


def _other_date(rng, old):
    noise = 0.004 * rng.standard_normal(old.shape)
    return ((old - OFFSET) / GAIN + noise).astype(np.float32)


def test_finds_the_coefficients_through_a_third_of_changed_ground():
    rng = np.random.default_rng(3)
    old = _scene(rng)
    new = _other_date(rng, old)
    new[:2000] += np.float32(0.15)
    fit = fit_node(old, new)
    assert fit.ok
    assert fit.n == len(old)
    corrected = apply_normalisation(
        new[2000:].T[:, :, None],
        fit.gain[:, None, None].astype(np.float32),
        fit.offset[:, None, None].astype(np.float32),
    )[:, :, 0].T
    assert np.abs(np.median(corrected - old[2000:], axis=0)).max() < 0.002
    assert np.abs(fit.gain - GAIN).max() < 0.02


def test_a_change_of_everything_is_not_normalised_away():
    rng = np.random.default_rng(4)
    old = (0.05 + 0.01 * rng.random((4000, 3))).astype(np.float32)
    fit = fit_node(old, old + np.float32(0.12))
    moved = fit.gain * (0.055 + 0.12) + fit.offset
    assert (moved - 0.055 > 0.09).all()


def test_too_few_samples_correct_nothing():
    rng = np.random.default_rng(5)
    old = _scene(rng, MIN_SAMPLES + 50)
    new = _other_date(rng, old)
    new[:60, 1] = np.nan
    fit = fit_node(old, new)
    assert not fit.ok
    assert (fit.gain == 1).all()
    assert (fit.offset == 0).all()
    assert fit.n == MIN_SAMPLES - 10


def test_samples_must_match():
    with pytest.raises(ValueError, match=r"expected \(sample, band\)"):
        fit_node(np.zeros((3, 2), np.float32), np.zeros((3, 3), np.float32))


def _node(gain):
    return NodeFit(np.array([gain]), np.array([gain / 10]), 1000, 0.5, ok=True)


def test_interpolates_bilinearly_and_leans_on_the_nodes_that_are_there():
    fits = [[_node(1.0), _node(1.2)], [_node(1.4), identity_fit(1)]]
    gain, offset = interpolate_nodes(fits, np.array([0.25]), np.array([0.5]))
    # Weights 0.375, 0.375, 0.125 of the three; the fourth has no say.
    expected = (0.375 * 1.0 + 0.375 * 1.2 + 0.125 * 1.4) / 0.875
    assert gain[0, 0, 0] == pytest.approx(expected, abs=1e-6)
    assert offset[0, 0, 0] == pytest.approx(expected / 10, abs=1e-6)
    nothing = [[identity_fit(1)] * 2] * 2
    gain, offset = interpolate_nodes(nothing, np.array([0.2]), np.array([0.9]))
    assert (gain[0, 0, 0], offset[0, 0, 0]) == (1.0, 0.0)


def test_interpolation_does_not_depend_on_the_window():
    fits = [[_node(1 + 0.01 * (3 * i + j)) for j in range(4)] for i in range(4)]
    rows, columns = 1 + (np.arange(96) + 0.5) / 96, 1 + (np.arange(64) + 0.5) / 64
    whole, _ = interpolate_nodes(fits, rows, columns)
    part, _ = interpolate_nodes(fits, rows[17:40], columns[5:50])
    assert (whole[:, 17:40, 5:50] == part).all()
    with pytest.raises(ValueError, match="outside of 4 nodes"):
        interpolate_nodes(fits, np.array([3.2]), columns)
