"""What was observed at least once has a value: nothing observed turns into "not observed"."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from terrascope.kernels.change_sar import screen_sar
from terrascope.kernels.persistence import persistent_anomaly


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=13).map(lambda s: (s[0], 2, 3)),
        elements=st.one_of(st.just(np.nan), st.floats(-9, 9, width=32)),
    )
)
def test_observed_once_is_finite(deviation: np.ndarray) -> None:
    value, start = persistent_anomaly(deviation)
    seen = np.isfinite(deviation).any(axis=0)
    np.testing.assert_array_equal(np.isfinite(value), seen)
    np.testing.assert_array_equal(start >= 0, seen)


def test_brightening_that_fades_stays_observed() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal((-10.0, -16.0), 0.6, (9, 40, 40, 2)).transpose(0, 3, 1, 2)
    fading = np.linspace(3, 0.3, 12)[:, None, None, None]
    target = rng.normal((-10.0, -16.0), 0.6, (12, 40, 40, 2)).transpose(0, 3, 1, 2) + fading
    found = screen_sar(base.astype(np.float32), target.astype(np.float32), pixel_m=10.0)
    assert np.isfinite(found.support).all()
    assert (found.observations == 12).all()
