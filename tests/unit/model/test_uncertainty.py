"""Intervals that cover as often as they say, and the sampling behind them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from terrascope.model.calibration import (
    Judged,
    coverage,
    fit_correlation_length,
    fit_temperature,
)
from terrascope.model.geometry import Geometry
from terrascope.model.measure import measure
from terrascope.model.uncertainty import (
    Calibration,
    average,
    dropout_active,
    interval,
    mask_thresholds,
    probabilities,
    sample_masks,
    sampled_sums,
)

SIDE = 40


def chance_map(rng: np.random.Generator) -> np.ndarray:
    """A plausible probability map: regions with soft edges and a doubtful interior."""
    smooth = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 4.0)
    return stats.norm.cdf(smooth / smooth.std() * rng.uniform(0.7, 3.0) + rng.normal(0, 0.7))


def true_mask(
    rng: np.random.Generator, p: np.ndarray, length_px: tuple[float, float]
) -> np.ndarray:
    """Draw the truth: calibrated by construction, with errors correlated over a length.

    Independent of the package: white noise on a wide torus, smoothed by scipy; a Gaussian kernel
    of width s gives a correlation of exp(-d^2 / (4 s^2)).
    """
    if max(length_px) == 0:
        return rng.uniform(size=p.shape) < p
    sigma = [length / np.sqrt(2) for length in length_px]
    wide = rng.normal(size=(SIDE + 80, SIDE + 80))
    field = ndimage.gaussian_filter(wide, sigma, mode="wrap", truncate=6.0)
    field /= np.sqrt(np.prod([_square_norm(s) for s in sigma]))
    return stats.norm.cdf(field[:SIDE, :SIDE]) < p


def _square_norm(sigma: float) -> float:
    """Return the variance that smoothing leaves of white noise, along one axis."""
    impulse = np.zeros(401)
    impulse[200] = 1.0
    return float((ndimage.gaussian_filter1d(impulse, sigma, truncate=6.0) ** 2).sum())


@pytest.mark.parametrize("length_m", [0.0, 40.0, 120.0])
@pytest.mark.parametrize("size_m", [10.0, (10.0, 20.0)])
def test_intervals_cover_nine_times_in_ten(
    length_m: float, size_m: float | tuple[float, float]
) -> None:
    rng = np.random.default_rng([7, int(length_m), len(np.atleast_1d(size_m))])
    area = rng.uniform(0.8, 1.2, (SIDE, SIDE)) * 100
    geometry = Geometry.planar((SIDE, SIDE), size_m, area)
    length_px = tuple(length_m / size for size in geometry.pixel_size_yx_m)
    calibration = Calibration(correlation_length_m=length_m)
    held, widths, trials = 0, [], 1200
    for _ in range(trials):
        p = chance_map(rng)
        valid = rng.uniform(size=p.shape) > 0.1
        figure = measure(
            torch.from_numpy(p).float(),
            torch.from_numpy(valid),
            geometry,
            calibration=calibration,
        ).area_m2
        truth = float(area[true_mask(rng, p, length_px) & valid].sum())
        held += figure.low <= truth <= figure.high
        widths.append(figure.high - figure.low)
    assert 0.87 <= held / trials <= 0.93
    assert np.mean(widths) < 0.5 * area.sum()


def test_independent_pixels_would_be_far_too_sure() -> None:
    """The reason for the correlation: without it the same truths are missed most of the time."""
    rng = np.random.default_rng(5)
    geometry = Geometry.planar((SIDE, SIDE), 10.0)
    masks = [judged(rng, geometry, 8.0) for _ in range(150)]
    assert coverage(masks, Calibration(correlation_length_m=0.0)) < 0.5
    assert coverage(masks, Calibration(correlation_length_m=80.0)) > 0.8


def judged(rng: np.random.Generator, geometry: Geometry, length_px: float) -> Judged:
    p = chance_map(rng)
    truth = true_mask(rng, p, (length_px, length_px))
    everywhere = torch.ones(p.shape, dtype=torch.bool)
    return Judged(torch.from_numpy(p).float(), torch.from_numpy(truth), everywhere, geometry)


def test_the_correlation_length_is_found_again() -> None:
    rng = np.random.default_rng(6)
    geometry = Geometry.planar((SIDE, SIDE), 10.0)
    masks = [judged(rng, geometry, 6.0) for _ in range(250)]
    fitted = fit_correlation_length(masks, Calibration(), (0, 15, 30, 60, 120, 240))
    assert fitted.correlation_length_m == 60.0


def test_the_temperature_is_found_again() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200_000, generator=generator) * 3
    truth = torch.rand(200_000, generator=generator) < torch.sigmoid(logits / 2.5)
    valid = torch.rand(200_000, generator=generator) < 0.9
    logits[~valid] = float("nan")
    assert fit_temperature(logits, truth, valid) == pytest.approx(2.5, rel=0.02)
    with pytest.raises(ValueError, match="no valid pixel"):
        fit_temperature(logits, truth, torch.zeros_like(valid))


def test_fields_are_uniform_with_the_stated_correlation() -> None:
    length = (3.0, 6.0)
    fields = mask_thresholds((24, 31), length, samples=4000, seed=3).double()
    uniform = (fields + 32768.5) / 65536
    assert stats.kstest(uniform[:, 11, 13].numpy(), "uniform").pvalue > 1e-3
    gaussian = torch.special.ndtri(uniform)
    for dy, dx in ((0, 0), (2, 0), (0, 5), (4, 7), (0, 23)):
        here, there = gaussian[:, 3, 4], gaussian[:, 3 + dy, 4 + dx]
        expected = np.exp(-(dy**2) / (2 * length[0] ** 2) - dx**2 / (2 * length[1] ** 2))
        assert float((here * there).mean()) == pytest.approx(expected, abs=0.06), (dy, dx)


def test_samples_keep_every_pixels_probability_and_sums_follow_them() -> None:
    p = torch.linspace(0, 1, 20 * 30).reshape(20, 30)
    fields = mask_thresholds((20, 30), (2.0, 2.0), samples=3000, seed=1)
    masks = sample_masks(p, fields)
    assert float((masks.double().mean(0) - p).abs().max()) < 0.05
    assert not masks[:, 0, 0].any()
    assert masks[:, -1, -1].all()
    weight = torch.rand(20, 30, dtype=torch.float64)
    weight[4:7] = 0.0
    sums = sampled_sums(p, weight, fields)
    truth = (masks * weight).sum((1, 2))
    torch.testing.assert_close(sums, truth, rtol=1e-5, atol=1e-5)


def test_the_same_mask_always_gets_the_same_interval() -> None:
    geometry = Geometry.planar((16, 16), 10.0)
    p, valid = torch.rand(16, 16), torch.ones(16, 16, dtype=torch.bool)
    found = measure(p, valid, geometry)
    assert found == measure(p.clone(), valid, geometry)
    other = measure(p, valid, geometry, calibration=Calibration(seed=1))
    assert not np.array_equal(other.area_m2.samples, found.area_m2.samples)


def test_order_statistics_by_hand() -> None:
    assert interval(torch.arange(1.0, 200.0), 0.9) == (10.0, 190.0)
    assert interval(torch.arange(19.0).flip(0), 0.9) == (0.0, 18.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"correlation_length_m": -1.0},
        {"level": 1.0},
        {"samples": 10},
    ],
)
def test_calibrations_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"expected|too few"):
        Calibration(**wrong)  # type: ignore[arg-type]


def test_temperature_flattens() -> None:
    logits = torch.tensor([-2.0, 0.0, 4.0], dtype=torch.bfloat16)
    torch.testing.assert_close(
        probabilities(logits, 2.0), torch.sigmoid(torch.tensor([-1.0, 0.0, 2.0]))
    )
    per_pixel = probabilities(torch.tensor([2.0, 2.0]), torch.tensor([1.0, 4.0]))
    assert per_pixel[0] > per_pixel[1]


def test_members_that_agree_leave_no_disagreement() -> None:
    same = torch.full((3, 4, 4), 0.5)
    mean, apart = average(same)
    assert torch.equal(mean, same[0])
    assert float(apart.max()) < 1e-6
    mean, apart = average([torch.zeros(2, 2), torch.ones(2, 2)])
    torch.testing.assert_close(apart, torch.full((2, 2), float(np.log(2))))


def test_dropout_is_active_inside_only() -> None:
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 8), torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(8)
    ).eval()
    x = torch.randn(5, 8)
    with torch.no_grad():
        still = model(x)
        with dropout_active(model) as live:
            assert not live[2].training
            assert not torch.equal(live(x), live(x))
        assert torch.equal(model(x), still)
    assert not model[1].training


class Gate(torch.nn.Module):
    """Drops in its own forward pass, as fused attention does."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout, self.inner = dropout, torch.nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(x, self.dropout, self.training)


def test_layers_that_drop_by_themselves_are_active_too() -> None:
    x = torch.ones(3, 64)
    for share, changes in ((0.5, True), (0.0, False)):
        gate = Gate(share).eval()
        with dropout_active(gate):
            assert torch.equal(gate(x), x) != changes
            assert not gate.inner.training
        assert torch.equal(gate(x), x)


def block(chance: float, rows: slice, columns: slice) -> np.ndarray:
    p = np.full((SIDE, SIDE), 0.0)
    p[rows, columns] = chance
    return ndimage.gaussian_filter(p, 1.5)


def test_touching_is_as_likely_as_it_says() -> None:
    """Two soft regions with a gap between them: drawn truths against what is measured."""
    rng = np.random.default_rng(8)
    geometry = Geometry.planar((SIDE, SIDE), (10.0, 15.0))
    calibration = Calibration(correlation_length_m=40.0)
    length_px = (4.0, 40.0 / 15.0)
    everywhere = torch.ones(SIDE, SIDE, dtype=torch.bool)
    touching, said, trials = 0, 0.0, 150
    for _ in range(trials):
        gap = int(rng.integers(1, 9))
        chances = rng.uniform(0.7, 1.0, 2)
        p = block(chances[0], slice(4, 36), slice(4, 18))
        q = block(chances[1], slice(6, 30), slice(18 + gap, 38))
        one, other = (torch.from_numpy(v).float() for v in (p, q))
        truth = [true_mask(rng, chance, length_px) for chance in (p, q)]
        relation = measure(
            one, everywhere, geometry, calibration=calibration, earlier=[other]
        ).relations[0]
        said += relation.touch_probability
        touching += bool((ndimage.binary_dilation(truth[0], np.ones((3, 3))) & truth[1]).any())
    assert 0.1 < touching / trials < 0.9
    assert said / trials == pytest.approx(touching / trials, abs=0.1)
