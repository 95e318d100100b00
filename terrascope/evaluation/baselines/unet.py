"""A small U-Net for land cover and change: what a dedicated network makes of the same data."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from terrascope.evaluation.baselines.protocol import CHANGE_KINDS, CLASSES, Labels
from terrascope.model.windows import Windows
from terrascope.types import ChangeKind

__all__ = ["UNet", "UNetPredictor", "UNetSettings", "train_unet"]

_INPUTS = 32
"""12 bands and 2 polarisations, whether each was observed, and 4 empty channels: kernels in bf16
work in blocks of 16 or 32 channels, and crawl elsewhere."""
_IGNORED = -100


class UNet(nn.Module):
    """Encoder shared by the dates; one decoder for cover, one on differences for change [1]_ [2]_.

    Parameters
    ----------
    width : int
        Channels at full resolution; twice, three and six times as many at each halving. 32 makes
        1.9 million parameters.

    References
    ----------
    .. [1] Ronneberger et al., U-Net, MICCAI 2015.
    .. [2] Caye Daudt et al., Fully Convolutional Siamese Networks for Change Detection, ICIP 2018.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = [width, 2 * width, 3 * width, 6 * width]
        self.stages = nn.ModuleList(
            _Block(inputs, outputs)
            for inputs, outputs in zip([_INPUTS, *sizes[:-1]], sizes, strict=True)
        )
        self.cover = _Decoder(sizes, CLASSES)
        self.change = _Decoder(sizes, CHANGE_KINDS, paired=True)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Encode single images.

        Parameters
        ----------
        images : Tensor of float, shape (N, 32, H, W)
            From `images_of`; H and W are multiples of 8.

        Returns
        -------
        features : list of Tensor
            From full resolution to an eighth.
        """
        found: list[Tensor] = []
        value = images
        for level, stage in enumerate(self.stages):
            value = stage(functional.max_pool2d(value, 2) if level else value)
            found.append(value)
        return found


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, value: Tensor) -> Tensor:
        out: Tensor = self.layers(value)
        return out


class _Decoder(nn.Module):
    """Upsamples and joins; of two dates it takes differences, and the later one at the bottom."""

    def __init__(self, sizes: list[int], outputs: int, *, paired: bool = False) -> None:
        super().__init__()
        self.paired = paired
        deepest = sizes[-1] * (2 if paired else 1)
        steps = list(zip([deepest, *sizes[-2:0:-1]], sizes[-2::-1], strict=True))
        self.blocks = nn.ModuleList(_Block(inputs + skip, skip) for inputs, skip in steps)
        self.head = nn.Conv2d(sizes[0], outputs, 1)

    def forward(self, features: list[Tensor], earlier: list[Tensor] | None = None) -> Tensor:
        if self.paired and earlier is not None:
            joined = [now - then for now, then in zip(features, earlier, strict=True)]
            value = torch.cat([joined[-1], features[-1]], 1)
        else:
            joined, value = features, features[-1]
        for block, skip in zip(self.blocks, joined[-2::-1], strict=True):
            value = block(torch.cat([functional.interpolate(value, scale_factor=2), skip], 1))
        out: Tensor = self.head(value)
        return out


def images_of(windows: Windows) -> Tensor:
    """Lay bands and their validity out as channels.

    Parameters
    ----------
    windows : Windows
        B windows of T dates.

    Returns
    -------
    images : Tensor of float32, shape (B, T, 32, H, W)
        Normalised; 0 where missing.
    """
    optical = (windows.optical - 0.2) / 0.15 * windows.optical_valid
    radar = (windows.radar + 14.0) / 6.0 * windows.radar_valid
    valid = [windows.optical_valid.float(), windows.radar_valid.float()]
    known = torch.cat([optical.clamp(-3, 6), radar.clamp(-4, 6), *valid], 2)
    return functional.pad(known, (0, 0, 0, 0, 0, _INPUTS - known.shape[2]))


@dataclasses.dataclass(eq=False)
class UNetPredictor:
    """A trained U-Net as a baseline.

    Parameters
    ----------
    network : UNet
        Set to evaluation mode. It may be on any device; maps are on the processor.
    """

    network: UNet

    def __post_init__(self) -> None:
        self.network.eval()

    @torch.no_grad()
    def cover(self, windows: Windows) -> Tensor:
        """Map land cover; see `terrascope.evaluation.baselines.protocol.Predictor`.

        Parameters
        ----------
        windows : Windows
            B windows of T dates.

        Returns
        -------
        probability : Tensor of float32, shape (B, T, 8, H, W)
            Of each class.
        """
        images = images_of(windows).to(self._device)
        logits = self.network.cover(self.network.encode(images.flatten(0, 1)))
        flat = torch.softmax(logits.float(), 1).cpu()
        return flat.reshape(*images.shape[:2], *flat.shape[1:])

    @torch.no_grad()
    def change(self, windows: Windows, before: int, date: int) -> Tensor:
        """Map change; see `terrascope.evaluation.baselines.protocol.Predictor`.

        Parameters
        ----------
        windows : Windows
            B windows.
        before, date : int
            Earlier and later date, from 0.

        Returns
        -------
        probability : Tensor of float32, shape (B, 8, H, W)
            Of each kind.
        """
        images = images_of(windows).to(self._device)
        then, now = (self.network.encode(images[:, t]) for t in (before, date))
        return torch.softmax(self.network.change(now, then).float(), 1).cpu()

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def save(self, file: Path) -> None:
        """Write the weights.

        Parameters
        ----------
        file : Path
            As safetensors.
        """
        save_file({k: v.contiguous() for k, v in self.network.state_dict().items()}, file)

    @classmethod
    def load(cls, file: Path, width: int = 32) -> UNetPredictor:
        """Read the weights.

        Parameters
        ----------
        file : Path
            As `save` wrote it.
        width : int
            Of the network.

        Returns
        -------
        predictor : UNetPredictor
            Ready.
        """
        network = UNet(width)
        network.load_state_dict(load_file(file))
        return cls(network)


@dataclasses.dataclass(frozen=True)
class UNetSettings:
    """How a U-Net is trained.

    Parameters
    ----------
    width : int
        Of the network.
    steps : int
        Batches.
    rate : float
        Highest learning rate (one cycle, AdamW).
    seconds : float
        Training ends here at the latest; the rate then falls by time instead of by steps.
    sensor_dropout : float
        Share of the batches in which one sensor is left out.
    seed : int
        Of weights and dropout.
    device : str
        Where it is trained, and stays.
    """

    width: int = 32
    steps: int = 1000
    rate: float = 2e-3
    seconds: float = math.inf
    sensor_dropout: float = 0.2
    seed: int = 0
    device: str = "cpu"


def train_unet(
    batches: Iterable[Labels],
    settings: UNetSettings | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> UNetPredictor:
    """Train a U-Net on labelled scenes.

    Parameters
    ----------
    batches : iterable of Labels
        As many as there are steps, or more.
    settings : UNetSettings or None
        None for the defaults.
    progress : callable or None
        Told step and loss.

    Returns
    -------
    predictor : UNetPredictor
        With bf16 autocast in training, evaluated in float32.
    """
    chosen = settings or UNetSettings()
    torch.manual_seed(chosen.seed)
    draws = torch.Generator().manual_seed(chosen.seed)
    network = UNet(chosen.width).to(chosen.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=chosen.rate, weight_decay=0.01)
    start = time.monotonic()
    for step, labels in enumerate(batches):
        done = max(step / chosen.steps, (time.monotonic() - start) / chosen.seconds)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = chosen.rate * min(done * 20, 1.0) * 0.5 * (1 + math.cos(math.pi * done))
        loss = _loss(network, _without_a_sensor(labels, chosen.sensor_dropout, draws))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if progress is not None:
            progress(step, float(loss.detach()))
    return UNetPredictor(network)


def _without_a_sensor(labels: Labels, share: float, draws: torch.Generator) -> Labels:
    first, second = torch.rand(2, generator=draws).tolist()
    if first >= share:
        return labels
    windows = labels.windows.without(optical=second < 0.5, radar=second >= 0.5)
    return dataclasses.replace(labels, windows=windows)


def _loss(network: UNet, labels: Labels) -> Tensor:
    """Cross-entropy of classes and of changes, each a mean over its known pixels."""
    device = next(network.parameters()).device
    images = images_of(labels.windows).to(device)
    dates = images.shape[1]
    flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    there = labels.cover.flatten(0, 1).flatten(1).any(1)
    with torch.autocast(device.type, torch.bfloat16):
        features = network.encode(flat)
        # A batch without labels on any date has no cover to learn.
        cover = network.cover([level[there] for level in features]) if there.any() else None
        changed = None
        if labels.changes:
            place = [(b * dates + t0, b * dates + t1) for b, t0, t1, _ in labels.changes]
            then, now = torch.tensor(place).unbind(1)
            changed = network.change(
                [level[now] for level in features], [level[then] for level in features]
            )
    wanted = labels.cover.flatten(0, 1)[there].to(device) - 1
    wanted[wanted < 0] = _IGNORED
    loss = torch.zeros((), device=device) if cover is None else _mean_entropy(cover, wanted)
    if changed is not None:
        kinds = torch.stack([kind for *_, kind in labels.changes])
        kinds = torch.where(kinds == ChangeKind.OUTSIDE, _IGNORED, kinds)
        loss = loss + _mean_entropy(changed, kinds.to(device))
    return loss


def _mean_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    total = functional.cross_entropy(logits.float(), wanted, ignore_index=_IGNORED, reduction="sum")
    return total / (wanted != _IGNORED).sum().clamp(min=1)
