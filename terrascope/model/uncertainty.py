"""How sure a mask is: calibrated probabilities, and sampled masks whose errors hang together.

A sum of independent pixels would be far too sure of itself: a model mistakes
whole fields and shores, not single pixels. Masks are therefore sampled through
a Gaussian copula. Every pixel keeps its probability; errors of neighbours are
correlated over a length that calibration fits. Intervals are order statistics
of the samples, so they cover exactly as often as they say where the
probabilities and the correlation are right.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

__all__ = [
    "Calibration",
    "average",
    "dropout_active",
    "interval",
    "mask_thresholds",
    "probabilities",
    "sample_masks",
    "sampled_sums",
]

_LEVELS = 65536
"""Probabilities are sampled in steps of 1 / 65536."""
_NEGLIGIBLE = 1e-7
"""Eigenvalues below this share of the largest add nothing to a field."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What turns a model's logits into probabilities and intervals that can be believed.

    Parameters
    ----------
    temperature : float
        Logits are divided by it.
    correlation_length_m : float
        Distance at which the correlation of two pixels' errors has fallen to
        exp(-1/2), in metres; 0 for independent pixels.
    samples : int
        Masks sampled for an interval; (samples + 1) * (1 - level) / 2 should be whole.
    level : float
        Probability that an interval holds the truth.
    seed : int
        Of the samples: the same mask always gets the same interval.

    Raises
    ------
    ValueError
        If a value is out of range, or the samples are too few for the level.
    """

    temperature: float = 1.0
    correlation_length_m: float = 60.0
    samples: int = 199
    level: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.correlation_length_m >= 0 and 0 < self.level < 1):
            raise ValueError(
                f"{self}: expected a temperature above 0, a length of 0 or more and a level "
                "between 0 and 1"
            )
        if (self.samples + 1) * (1 - self.level) / 2 < 1 - 1e-9:
            raise ValueError(f"{self.samples} samples are too few for a level of {self.level}")


def probabilities(logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Turn logits into per-pixel probabilities.

    Parameters
    ----------
    logits : Tensor of float, shape (..., H, W)
        Of the mask decoder.
    temperature : float or Tensor
        One for all, or one per pixel, broadcast.

    Returns
    -------
    probability : Tensor of float32, shape (..., H, W)
        Computed in float32 also where the logits are of half precision.

    References
    ----------
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    return torch.sigmoid(logits.float() / temperature)


def average(members: Sequence[Tensor] | Tensor) -> tuple[Tensor, Tensor]:
    """Average the probabilities of an ensemble, or of passes with dropout.

    Parameters
    ----------
    members : sequence of Tensor, or Tensor, shape (K, ..., H, W)
        Probabilities of K members.

    Returns
    -------
    probability : Tensor of float32, shape (..., H, W)
        The mean: what calibration and measurement use.
    disagreement : Tensor of float32, shape (..., H, W)
        Mutual information of member and mask, in nats: the part of the doubt that
        more training data would remove; 0 where all members agree.
    """
    stacked = (members if isinstance(members, Tensor) else torch.stack(list(members))).float()
    mean = stacked.mean(0)
    return mean, (_entropy(mean) - _entropy(stacked).mean(0)).clamp_min(0.0)


@contextlib.contextmanager
def dropout_active(model: nn.Module) -> Iterator[nn.Module]:
    """Switch the dropout layers of a model on, and only these, for Monte Carlo dropout.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode otherwise; its `torch.nn.Dropout` layers, and layers with an
        attribute `dropout` or `attention_dropout` above 0, draw anew in every pass.

    Yields
    ------
    model : torch.nn.Module
        The same; afterwards every layer is back in its former mode.

    References
    ----------
    Gal and Ghahramani, Dropout as a Bayesian Approximation, ICML 2016.
    """
    layers = [(layer, layer.training) for layer in model.modules() if _drops(layer)]
    try:
        for layer, _ in layers:
            layer.training = True
        yield model
    finally:
        for layer, mode in layers:
            layer.training = mode


def _drops(layer: nn.Module) -> bool:
    """Tell whether a layer drops values itself: also an attention that does so in its kernel."""
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
    shares = (getattr(layer, name, 0.0) for name in ("dropout", "attention_dropout"))
    return isinstance(layer, kinds) or any(isinstance(p, float) and p > 0 for p in shares)


def mask_thresholds(
    shape_yx: tuple[int, int],
    length_yx_px: tuple[float, float],
    *,
    samples: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw correlated uniform fields; a pixel is in sample i where the field is below its p.

    Parameters
    ----------
    shape_yx : tuple of int
        Rows and columns.
    length_yx_px : tuple of float
        Correlation length down and across, in pixels (they differ where pixels are
        not square); 0 for independent pixels.
    samples : int
        Fields to draw, n.
    seed : int
        Same seed, same fields, on every device.
    device : torch.device or str
        Where they are kept.

    Returns
    -------
    fields : Tensor of int16, shape (n, H, W)
        Uniform over -32768 to 32767; the correlation of the Gaussian fields behind
        them is exp(-d^2 / (2 length^2)). Cached: do not write to it.
    """
    length = (round(float(length_yx_px[0]), 3), round(float(length_yx_px[1]), 3))
    return _thresholds(tuple(shape_yx), length, samples, seed, str(device))


def sample_masks(probability: Tensor, fields: Tensor) -> Tensor:
    """Sample masks.

    Parameters
    ----------
    probability : Tensor of float, shape (H, W)
        Of each pixel.
    fields : Tensor of int16, shape (n, H, W)
        From `mask_thresholds`.

    Returns
    -------
    masks : Tensor of bool, shape (n, H, W)
        Each pixel is True with its probability.
    """
    return fields < _levels(probability)


def sampled_sums(probability: Tensor, weight: Tensor, fields: Tensor) -> Tensor:
    """Sum a weight over sampled masks, for instance the area of the pixels.

    Parameters
    ----------
    probability : Tensor of float, shape (H, W)
        Of each pixel.
    weight : Tensor of float, shape (H, W)
        0 where nothing was observed: such a pixel never enters.
    fields : Tensor of int16, shape (n, H, W)
        From `mask_thresholds`, on the same device.

    Returns
    -------
    sums : Tensor of float64, shape (n,)
        On the CPU, in the order of the fields.
    """
    level = _levels(probability)
    counts = weight > 0
    sure = counts & (level >= _LEVELS // 2)
    # Only pixels in doubt differ between samples, and in a good mask they are few.
    doubt = torch.nonzero((counts & ~sure & (level > -_LEVELS // 2)).flatten())[:, 0]
    base = weight[sure].double().sum().cpu()
    if not doubt.numel():
        return base.expand(fields.shape[0]).clone()
    drawn = fields.flatten(1).index_select(1, doubt)  # (n, doubtful pixels)
    drawn_in = drawn < level.flatten()[doubt].to(torch.int16)
    chosen = weight.flatten()[doubt].float()
    return base + torch.mv(drawn_in.float(), chosen).double().cpu()


def interval(samples: Tensor, level: float) -> tuple[float, float]:
    """Return the central interval of samples.

    Parameters
    ----------
    samples : Tensor of float, shape (n,)
        Exchangeable with the truth.
    level : float
        Wanted probability.

    Returns
    -------
    low, high : float
        The k-th smallest and k-th largest, k = (n + 1)(1 - level) / 2 rounded
        down: a further draw falls between them with a probability of at least
        `level`, exactly `level` where k is whole and draws do not tie.
    """
    ranked = torch.sort(samples).values
    k = max(math.floor((ranked.numel() + 1) * (1 - level) / 2 + 1e-9), 1)
    return float(ranked[k - 1]), float(ranked[-k])


def _levels(probability: Tensor) -> Tensor:
    """Place probabilities on the scale of the fields, as int32 from -32768 to 32768."""
    return torch.round(probability.float() * _LEVELS).to(torch.int32) - _LEVELS // 2


@functools.lru_cache(maxsize=6)
def _thresholds(
    shape: tuple[int, int], length: tuple[float, float], samples: int, seed: int, device: str
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    down, across = (_root(size, scale) for size, scale in zip(shape, length, strict=True))
    fields = torch.empty((samples, *shape), dtype=torch.int16)
    noise = _latin_noise(samples, (down.shape[1], across.shape[1]), generator)
    for start in range(0, samples, 16):
        gaussian = down @ noise[start : start + 16] @ across.T  # (16, H, W), unit variance
        uniform = torch.floor(torch.special.ndtr(gaussian) * _LEVELS) - _LEVELS // 2
        fields[start : start + 16] = uniform.clamp_(-(_LEVELS // 2), _LEVELS // 2 - 1).short()
    return fields.to(device)


def _latin_noise(samples: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw normal noise that is stratified over the samples, in every coordinate.

    The same fields serve all masks, so an unlucky draw of the few coordinates that matter would
    make all intervals too short or too long; a Latin hypercube has no unlucky draws.
    """
    size = (samples, *shape)
    strata = torch.rand(size, generator=generator).argsort(0)
    within = torch.rand(size, generator=generator, dtype=torch.float64)
    noise: Tensor = torch.special.ndtri((strata + within) / samples)
    return noise.float()


@functools.lru_cache(maxsize=16)
def _root(size: int, length: float) -> Tensor:
    """Return R with R R^T the correlation along one axis; a squared exponential is separable."""
    if length <= 0:
        return torch.eye(size)
    place = torch.arange(size, dtype=torch.float64)
    correlation = torch.exp(-((place[:, None] - place) ** 2) / (2 * length**2))
    values, vectors = torch.linalg.eigh(correlation)
    keep = values > _NEGLIGIBLE * values.max()
    root = vectors[:, keep] * values[keep].sqrt()
    unit: Tensor = root / torch.linalg.vector_norm(root, dim=1, keepdim=True)
    return unit.to(torch.float32)


def _entropy(p: Tensor) -> Tensor:
    parts: Tensor = torch.special.entr(torch.stack([p, 1 - p]))
    return torch.sum(parts, 0)
