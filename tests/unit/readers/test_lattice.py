"""Positions between the exact ones: how far a mapping bends there."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

from terrascope.readers.raster import _LATTICE_M


@pytest.mark.parametrize(("lat", "limit_mm"), [(0.5, 1), (45, 1), (60, 1), (83.9, 5)])
@pytest.mark.parametrize("source", ["EPSG:3857", "EPSG:32634", "EPSG:4326"])
def test_interpolation_between_the_nodes_is_exact_enough(
    source: str, lat: float, limit_mm: float
) -> None:
    to_source = pyproj.Transformer.from_crs("EPSG:32633", source, always_xy=True)
    from_source = pyproj.Transformer.from_crs(source, "EPSG:32633", always_xy=True)
    corner = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(12.1, lat)
    share = np.linspace(0.0, 1.0, 17)
    x, y = np.meshgrid(*(first + share * _LATTICE_M for first in corner))
    exact = np.stack(to_source.transform(x, y))
    weights = np.stack([1.0 - share, share])
    between = np.einsum("kij,ia,jb->kab", exact[:, ::16, ::16], weights, weights)
    found = from_source.transform(*between)
    assert np.hypot(found[0] - x, found[1] - y).max() * 1000 < limit_mm
