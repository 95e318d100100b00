"""What the other dates of a window say of a pixel, for a mask of one date.

Grass and crops are alike in May and differ in August; a cloud hides one date and not the next;
speckle is another on every date. A mask of one date is therefore read from all of them, weighed
pixel by pixel: ground that has changed since says nothing of what it was. A mask of change is
read from its own two dates alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.nano.layers import ZeroConv, even_count, filled
from terrascope.model.nano.vision import ConvBlock

__all__ = ["DateExchange", "of_dates"]


class DateExchange(nn.Module):
    """Pixels of a date to pixels of the same date that have heard of the others.

    Parameters
    ----------
    width : int
        Channels, a multiple of 8. Fresh weights change nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(3 * width, width, 1)
        self.value = nn.Conv2d(width, width, 1)
        self.entry = nn.Conv2d(2 * width, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.coarse = ConvBlock(2 * width)
        self.up = nn.Conv2d(2 * width, width, 1)
        self.merge = ConvBlock(width)
        self.out = ZeroConv(width, width, 1)

    def forward(self, pixels: Tensor, seen: Tensor, window: Tensor, date: Tensor) -> Tensor:
        """Let dates hear of the others.

        Parameters
        ----------
        pixels : Tensor of float, shape (B, T, P, H, W)
            Features of every date, zero where there is no image; H and W are even.
        seen : Tensor of bool, shape (B, T)
            Dates with an image.
        window, date : Tensor of int64, shape (G,)
            Which dates are asked for.

        Returns
        -------
        heard : Tensor of float, shape (G, P, H, W)
            The order of the other dates does not matter. A date without an image hears nothing:
            nothing can be said of ground on a day that nobody looked.
        """
        asked = len(date)
        count = even_count(asked, date.device)
        window, date = filled(window, count), filled(date, count)
        own = of_dates(pixels, window, date)
        others = seen[window] & ~functional.one_hot(date, seen.shape[1]).bool()
        asking, other = others.nonzero().unbind(1)  # every pair of a date and another one
        pairs = len(asking)
        count = even_count(pairs, date.device)
        who, whom = filled(asking, count), filled(other, count)
        said = of_dates(pixels, window[who], whom)
        mine = own.index_select(0, who)
        weight = torch.sigmoid(self.gate(torch.cat([mine, said, mine * said], 1)))
        message = (weight * self.value(said))[:pairs]
        number = others.sum(1).clamp(min=1).to(message.dtype)
        heard = torch.zeros_like(own, dtype=message.dtype).index_add(0, asking, message)
        x = self.entry(torch.cat([own, heard / number[:, None, None, None]], 1))
        coarse = self.coarse(self.down(functional.gelu(x)))
        x = x + functional.interpolate(self.up(coarse), scale_factor=2.0, mode="nearest")
        more: Tensor = self.out(functional.gelu(self.merge(x)))
        looked = seen[window, date].to(more.dtype)
        heard_of: Tensor = own + more * looked[:, None, None, None]
        return heard_of[:asked]


def of_dates(pixels: Tensor, window: Tensor, date: Tensor) -> Tensor:
    """Take dates of windows, some of them several times.

    Parameters
    ----------
    pixels : Tensor, shape (B, T, ...)
        Of every date.
    window, date : Tensor of int64, shape (G,)
        Which ones.

    Returns
    -------
    taken : Tensor, shape (G, ...)
        Its gradient is added up in place.
    """
    return pixels.flatten(0, 1).index_select(0, window * pixels.shape[1] + date)
