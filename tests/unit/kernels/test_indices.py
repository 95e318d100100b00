"""Indices against the formulas, their noise against a simulation of it."""

from __future__ import annotations

import numpy as np
import pytest

from terrascope.kernels.indices import INDICES, available_indices, index_value, index_variance


def _one(**bands):
    return {name: np.array([value], np.float32) for name, value in bands.items()}


def test_value_of_ratio_and_plain_band():
    spectrum = _one(red=0.04, nir=0.36, swir22=0.1, nir08=0.4)
    assert index_value(INDICES["ndvi"], spectrum)[0] == pytest.approx(0.8, abs=1e-6)
    assert index_value(INDICES["nbr"], spectrum)[0] == pytest.approx(0.6, abs=1e-6)
    assert index_value(INDICES["red"], spectrum)[0] == pytest.approx(0.04, abs=1e-7)
    assert np.isnan(index_value(INDICES["ndvi"], _one(red=np.nan, nir=0.3))[0])


def test_lists_what_the_bands_allow():
    assert [i.name for i in available_indices(("red", "nir"))] == ["ndvi", "red", "nir"]
    codes = [i.code for i in INDICES.values()]
    assert len(set(codes)) == len(codes)
    with pytest.raises(ValueError, match="index nbr"):
        index_value(INDICES["nbr"], _one(red=0.1, nir=0.2))


@pytest.mark.parametrize(("name", "bands"), [("ndvi", ("nir", "red")), ("red", ("red",))])
def test_variance_agrees_with_a_simulation(name, bands):
    rng = np.random.default_rng(8)
    truth = {"nir": 0.3, "red": 0.06}
    wavelength = {"nir": 0.842, "red": 0.665}
    n = 200_000
    aerosol, factor = rng.standard_normal(n), rng.standard_normal(n)
    noisy = {}
    for band in bands:
        haze = 0.005 * (wavelength[band] / 0.49) ** -1.3 * aerosol
        own = (0.001 + 0.02 * truth[band]) * rng.standard_normal(n)
        noisy[band] = (truth[band] * (1 + 0.05 * factor) + haze + own).astype(np.float32)
    expected = np.var(index_value(INDICES[name], noisy), dtype=np.float64)
    given = index_variance(INDICES[name], _one(**{band: truth[band] for band in bands}))[0]
    assert given == pytest.approx(expected, rel=0.05)
