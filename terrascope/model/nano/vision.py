"""Images to cells and pixels: a set of bands in, visual tokens and per-pixel features out.

Every band adds its own contribution to a pixel where it was observed there, and its absence
adds another: any subset of bands, pixels, sensors and dates may be missing. A convolutional
pyramid leads down to the cells of the visual tokens, a transformer mixes them, a second
pyramid leads back to full resolution for the masks.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.configuration_terrascope import NanoConfig
from terrascope.model.nano.layers import Block, RMSNorm

__all__ = ["BandStem", "ConvBlock", "Pyramid", "Surroundings", "cell_positions"]

SURROUNDINGS = 9
"""Numbers that describe when and how an image was taken."""


def cell_positions(rows: int, columns: int, width: int, device: torch.device) -> Tensor:
    """Encode the place of a cell in its window.

    Parameters
    ----------
    rows, columns : int
        Cells of the window.
    width : int
        Channels, a multiple of 4.
    device : torch.device
        Where to.

    Returns
    -------
    encoding : Tensor of float32, shape (rows * columns, width)
        Sines and cosines of the row and of the column, wavelengths from 2 to 2000 cells.
    """
    powers = torch.arange(width // 4, device=device) / (width // 4)
    rates = math.pi * 1000.0**-powers
    down = torch.arange(rows, device=device)[:, None] * rates
    across = torch.arange(columns, device=device)[:, None] * rates
    down = torch.cat([down.sin(), down.cos()], 1)[:, None].expand(-1, columns, -1)
    across = torch.cat([across.sin(), across.cos()], 1)[None].expand(rows, -1, -1)
    return torch.cat([down, across], -1).flatten(0, 1)


class Surroundings(nn.Module):
    """Day of year, days since the first date, ground sampling distance and sensor of an image.

    Parameters
    ----------
    width : int
        Channels out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(SURROUNDINGS, width)
        self.outer = nn.Linear(width, width)

    def forward(self, day_of_year: Tensor, days: Tensor, gsd_m: Tensor) -> Tensor:
        """Encode when and how images were taken.

        Parameters
        ----------
        day_of_year, days : Tensor of float, shape (B, T, S)
            1 to 366; days since the window's first date.
        gsd_m : Tensor of float, shape (B, 2)
            Metres per pixel, down and across.

        Returns
        -------
        encoding : Tensor of float, shape (B, T, S, width)
            For both sensors.
        """
        season = day_of_year.float() * (2 * math.pi / 365.25)
        years = days.float() / 365.25
        scale = (gsd_m.float() / 10).log()[:, None, None].expand(*season.shape, 2)
        sensor = torch.tensor([-1.0, 1.0], device=season.device).expand_as(season)
        facts = [season.sin(), season.cos(), (2 * season).sin(), (2 * season).cos()]
        facts += [years, torch.log1p(years.abs() * 12), sensor]
        numbers = torch.cat([torch.stack(facts, -1), scale], -1).to(self.inner.weight.dtype)
        encoding: Tensor = self.outer(functional.gelu(self.inner(numbers)))
        return encoding


class ConvBlock(nn.Module):
    """A residual 3 x 3 convolution at one resolution.

    Parameters
    ----------
    width : int
        Channels, a multiple of 8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine features.

        Parameters
        ----------
        x : Tensor of float, shape (B, width, H, W)
            Features.

        Returns
        -------
        x : Tensor, same shape
            Features.
        """
        refined: Tensor = self.conv(functional.gelu(self.norm(x)))
        return x + refined


class BandStem(nn.Module):
    """The set of one sensor's bands to features at full resolution.

    Parameters
    ----------
    bands : int
        Of the sensor.
    width : int
        Channels out.
    mean, scale : float
        Values enter as ``(x - mean) / scale``.
    """

    def __init__(self, bands: int, width: int, mean: float, scale: float) -> None:
        super().__init__()
        self.mean, self.scale = mean, scale
        self.values = nn.Conv2d(bands, width, 3, padding=1)
        self.observed = nn.Conv2d(bands, width, 1, bias=False)

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Sum what the observed bands say.

        Parameters
        ----------
        image : Tensor of float, shape (B, bands, H, W)
            Physical values; not read where `valid` is False.
        valid : Tensor of bool, shape (B, bands, H, W)
            False where a band was not observed.

        Returns
        -------
        features : Tensor, shape (B, width, H, W)
            The fewer bands, the more each one counts.
        """
        there = valid.to(self.values.weight.dtype)
        value = ((image.float() - self.mean) / self.scale).clamp(-8, 8).to(there.dtype)
        value = torch.where(valid, value, torch.zeros_like(value))
        count = there.sum(1, keepdim=True).clamp(min=1)
        value = value * (valid.shape[1] / count).sqrt()
        features: Tensor = self.values(value) + self.observed(there)
        return features


class Pyramid(nn.Module):
    """Features of full resolution to cells and back.

    Parameters
    ----------
    config : NanoConfig
        Sizes.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        halvings = int(math.log2(config.patch_size))
        width, top = config.vision_size, config.stem_channels
        sizes = [min(top * 2**level, width) for level in range(halvings)] + [width]
        self.entry = ConvBlock(sizes[0])
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(sizes)
        )
        self.refine = nn.ModuleList(ConvBlock(size) for size in sizes[1:-1])
        self.blocks = nn.ModuleList(
            Block(width, config.vision_heads, 2 * width, config.dropout)
            for _ in range(config.vision_layers)
        )
        self.norm = RMSNorm(width)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(sizes))
        self.merge = nn.ModuleList(ConvBlock(size) for size in sizes[:-1])
        self.pixels = nn.Conv2d(sizes[0], config.pixel_size, 1)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run both pyramids.

        Parameters
        ----------
        x : Tensor of float, shape (I, stem channels, H, W)
            One image each.
        context : Tensor of float, shape (I, vision size)
            From `Surroundings`.

        Returns
        -------
        cells : Tensor, shape (I, N, vision size)
            After the transformer.
        content : Tensor, shape (I, N, vision size)
            Before it: what a cell looks like, without place and date.
        pixels : Tensor, shape (I, pixel size, H, W)
            For the masks.
        """
        levels = [self.entry(x)]
        for step, down in enumerate(self.down):
            x = down(functional.gelu(levels[-1]))
            levels.append(self.refine[step](x) if step < len(self.refine) else x)
        coarse = levels.pop()
        rows, columns = coarse.shape[-2:]
        content = coarse.flatten(2).transpose(1, 2)  # (I, N, vision size)
        place = cell_positions(rows, columns, content.shape[-1], content.device)
        cells = content + context[:, None] + 0.5 * place.to(content.dtype)
        for block in self.blocks:
            cells = block(cells)
        cells = self.norm(cells)
        x = cells.transpose(1, 2).unflatten(2, (rows, columns))
        for level in reversed(range(len(levels))):
            x = functional.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            x = self.merge[level](x + levels[level])
        return cells, content, self.pixels(functional.gelu(x))
