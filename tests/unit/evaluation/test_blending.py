"""Maps of places of any size: whatever is mapped pixel by pixel comes out as if done at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.evaluation.blending import blend, places, rescale
from terrascope.kernels.blend import taper
from terrascope.model.geometry import Geometry
from terrascope.model.stacks import Stack, Window


def window(rows: int, columns: int, pixel_m: float = 10.0, seed: int = 0) -> Window:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.02, 0.4, (1, 2, rows, columns)).astype(np.float32)
    stack = Stack("sentinel-2", values, ("red", "nir"), ("2021-06-01",), "reflectance")
    return Window(Geometry.planar((rows, columns), pixel_m), stack)


def values_of(one: Window) -> np.ndarray:
    assert one.optical is not None
    return one.optical.observed_values()[0]


def itself(windows: Sequence[Window]) -> np.ndarray:
    return np.stack([values_of(one) for one in windows])


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(5, 70), columns=st.integers(5, 70), overlap=st.integers(0, 10))
def test_a_map_of_pixels_is_the_same_however_it_is_cut(
    rows: int, columns: int, overlap: int
) -> None:
    place = window(rows, columns)
    found = blend(itself, place, size=16, overlap=overlap, pixel_m=10.0)
    assert found == pytest.approx(values_of(place), abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(2, 40), more=st.integers(0, 100), share=st.floats(0, 0.9))
def test_windows_cover_a_side_and_overlap(size: int, more: int, share: float) -> None:
    overlap = int(share * size)
    starts = places(size + more, size, overlap)
    assert starts[0] == 0
    assert starts[-1] == more
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= size - overlap).all()


def test_edges_of_windows_count_little() -> None:
    weight = taper(32, 8)
    assert weight.min() > 0
    assert weight[16, 16] == 1.0
    assert weight[0, 16] < 0.02
    assert (np.diff(weight[16, :16]) >= 0).all()


def test_windows_disagree_smoothly() -> None:
    """Two windows of two opinions: from one to the other there is no step."""

    def opinion(windows: Sequence[Window]) -> np.ndarray:
        return np.stack([np.full((1, 16, 16), float(n)) for n, _ in enumerate(windows)])

    found = blend(opinion, window(16, 24), size=16, overlap=8, pixel_m=10.0)[0]
    assert found[0, 0] == 0.0
    assert found[0, -1] == 1.0
    assert np.abs(np.diff(found[8])).max() < 0.25


def test_a_place_of_other_pixels_is_seen_at_the_models_own() -> None:
    rows, columns = np.mgrid[0:50, 0:60].astype(np.float32)
    values = np.stack([0.1 + 0.002 * rows, 0.1 + 0.003 * columns])[None]
    stack = Stack("sentinel-2", values, ("red", "nir"), ("2021-06-01",), "reflectance")
    place = Window(Geometry.planar((50, 60), 6.4), stack)
    scaled = rescale(place, 10.0)
    assert scaled.geometry.shape_yx == (32, 38)
    assert scaled.geometry.pixel_size_yx_m == (10.0, 10.0)
    # A ramp stays the same ramp on the ground.
    expected = 0.1 + 0.002 * ((np.arange(32) + 0.5) * 50 / 32 - 0.5)
    assert values_of(scaled)[0, 2:-2, 20] == pytest.approx(expected[2:-2], abs=2e-3)
    back = blend(itself, place, size=16, overlap=4, pixel_m=10.0)
    assert back[:, 3:-3, 3:-3] == pytest.approx(values[0, :, 3:-3, 3:-3], abs=4e-3)


def test_what_is_missing_stays_missing_and_spoils_nothing() -> None:
    place = window(40, 40, pixel_m=5.0)
    assert place.optical is not None
    place.optical.values[:, :, :20] = np.nan
    scaled = values_of(rescale(place, 10.0))
    assert np.isnan(scaled[:, :9]).all()
    assert np.isfinite(scaled[:, 11:]).all()
    assert scaled[np.isfinite(scaled)].max() < 0.41
