"""Attention and feed-forward blocks of the nano backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.cache import History

__all__ = [
    "Attention",
    "Block",
    "CrossAttention",
    "GatedMLP",
    "RMSNorm",
    "ZeroConv",
    "attend",
    "causal_bias",
    "even_count",
    "filled",
    "mask_bias",
    "rotary",
    "rotate",
]


def rotary(positions: Tensor, size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Compute the rotations of rotary position embedding.

    Parameters
    ----------
    positions : Tensor of int64, shape (R, L)
        Of the tokens in their sequence.
    size : int
        Channels of one head, even.
    theta : float
        Base of the wavelengths.

    Returns
    -------
    cosine, sine : Tensor of float32, shape (R, 1, L, size / 2)
        For `rotate`; computed, not stored, so that nothing but weights is ever loaded.

    References
    ----------
    .. [1] Su et al. (2021). RoFormer. arXiv:2104.09864.
    """
    powers = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size
    angles = positions[:, None, :, None].float() * theta**-powers
    return angles.cos(), angles.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate queries or keys by their position.

    Parameters
    ----------
    x : Tensor of float, shape (R, heads, L, size)
        Queries or keys.
    turn : tuple of Tensor
        From `rotary`.

    Returns
    -------
    rotated : Tensor, shape (R, heads, L, size)
        In the precision of `x`.
    """
    cosine, sine = turn
    first, second = x.float().chunk(2, dim=-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.cat(turned, dim=-1).to(x.dtype)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """Mix values by the likeness of queries and keys.

    Parameters
    ----------
    queries : Tensor of float, shape (R, heads, L, size)
        Of the positions that look.
    keys, values : Tensor of float, shape (R, heads, K, size)
        Of those that are looked at.
    mask : Tensor of bool or float or None, shape (R, 1, L, K)
        True where a position may look; or what is added to the scores.
    dropout : float
        Of the weights.
    causal : bool
        Without a mask, let each position look at its past and itself only; L equals K.

    Returns
    -------
    mixed : Tensor, shape (R, heads, L, size)
        In the precision of `values`.

    Notes
    -----
    The fused kernel of processors is made for answering: its backward pass takes two to five
    times as long as that of plain matrix products in bfloat16. Training there writes it out.
    So it is where there is nothing to mix (no image of a sensor): on GPUs the fused kernels of
    some versions return nothing at all then.
    """
    learns = torch.is_grad_enabled() and queries.requires_grad
    if queries.numel() and (queries.device.type != "cpu" or not learns):
        return functional.scaled_dot_product_attention(
            queries, keys, values, mask, dropout_p=dropout, is_causal=causal
        )
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    if causal:
        scores = scores.add_(causal_bias(scores.shape[-1], scores))
    elif mask is not None:
        scores = scores.add_(mask_bias(mask, scores))
    weights = torch.softmax(scores, -1, dtype=scores.dtype)
    return functional.dropout(weights, dropout) @ values if dropout else weights @ values


def causal_bias(length: int, like: Tensor) -> Tensor:
    """Return what hides the future when it is added to scores.

    Parameters
    ----------
    length : int
        Positions, L.
    like : Tensor
        Gives precision and device.

    Returns
    -------
    bias : Tensor, shape (L, L)
        Zero, and minus infinity above the diagonal.
    """
    return like.new_full((length, length), -torch.inf).triu(1)


def mask_bias(mask: Tensor, like: Tensor) -> Tensor:
    """Return a mask as what is added to scores.

    Parameters
    ----------
    mask : Tensor of bool or float
        True where a position may look; what is added already stays as it is.
    like : Tensor
        Gives precision and device.

    Returns
    -------
    bias : Tensor, shape of `mask`
        Zero, and minus infinity where nothing is seen.
    """
    if mask.dtype is not torch.bool:
        return mask.to(like.dtype)
    return like.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)


_EVEN = 32


def even_count(count: int, device: torch.device) -> int:
    """Return to how many images a batch of convolutions is filled up.

    Parameters
    ----------
    count : int
        Images.
    device : torch.device
        Where they are.

    Returns
    -------
    filled : int
        In training on a GPU the next multiple of 32: cuDNN plans a convolution anew, which can
        take longer than running it, for every size that it has not met. Elsewhere as many as
        there are.
    """
    learns = device.type != "cpu" and torch.is_grad_enabled()
    return -(-count // _EVEN) * _EVEN if learns else count


def filled(rows: Tensor, count: int) -> Tensor:
    """Fill a batch up.

    Parameters
    ----------
    rows : Tensor, shape (N, ...)
        Its beginning.
    count : int
        N or more.

    Returns
    -------
    rows : Tensor, shape (count, ...)
        Zeros behind the first N.
    """
    if count == len(rows):
        return rows
    return torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])


class ZeroConv(nn.Conv2d):
    """A convolution whose fresh weights are zero: what it adds must be learnt first."""


class RMSNorm(nn.RMSNorm):
    """Root mean square normalisation in the precision of its input, also under autocast.

    Parameters
    ----------
    width : int
        Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis.

        Parameters
        ----------
        x : Tensor of float, shape (..., width)
            Features.

        Returns
        -------
        x : Tensor, same shape
            Features of mean square 1, times the weights.
        """
        return functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Self-attention, with or without rotation, mask and cache.

    Parameters
    ----------
    width : int
        Channels.
    heads : int
        Divides `width`.
    dropout : float
        Of the attention weights, in training.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        cache: History | None = None,
        layer: int = 0,
        *,
        causal: bool = False,
    ) -> Tensor:
        """Mix positions.

        Parameters
        ----------
        x : Tensor of float, shape (R, L, width)
            Normalised input.
        turn : tuple of Tensor or None
            From `rotary`.
        mask : Tensor of bool or None, shape (R, 1, L, K)
            True where a position may look.
        cache : History or None
            Keys and values of earlier steps.
        layer : int
            Place of this layer in the cache.
        causal : bool
            Without a mask, let each position look at its past and itself only.

        Returns
        -------
        mixed : Tensor, shape (R, L, width)
            To be added to the residual stream.
        """
        # (R, L, 3 width) -> 3 x (R, heads, L, size)
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind(0)
        if turn is not None:
            queries, keys = rotate(queries, turn), rotate(keys, turn)
        if cache is not None:
            keys, values = cache.update(keys, values, layer)
        share = self.dropout if self.training else 0.0
        mixed = attend(queries, keys, values, mask, dropout=share, causal=causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class CrossAttention(nn.Module):
    """Attention of queries to a memory.

    Parameters
    ----------
    width : int
        Channels of both.
    heads : int
        Divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(width, width, bias=False)
        self.keys_values = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Read from the memory.

        Parameters
        ----------
        x : Tensor of float, shape (M, L, width)
            Normalised queries.
        memory : Tensor of float, shape (M, K, width)
            What is read.
        mask : Tensor of bool, shape (M, 1, 1, K)
            True where there is something to read; at least one place per row.

        Returns
        -------
        read : Tensor, shape (M, L, width)
            To be added to the residual stream.
        """
        queries = self.queries(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        split = self.keys_values(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        read = attend(queries, split[0], split[1], mask)
        out: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out


class GatedMLP(nn.Module):
    """Feed-forward layer with a gate.

    Parameters
    ----------
    width : int
        Channels in and out.
    inner : int
        Channels between.

    References
    ----------
    .. [1] Shazeer (2020). GLU variants improve transformer. arXiv:2002.05202.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform every position alone.

        Parameters
        ----------
        x : Tensor of float, shape (..., width)
            Normalised input.

        Returns
        -------
        out : Tensor, shape (..., width)
            To be added to the residual stream.
        """
        gate, value = self.up(x).chunk(2, dim=-1)
        out: Tensor = self.down(functional.silu(gate) * value)
        return out


class Block(nn.Module):
    """One transformer layer, normalised before each part.

    Parameters
    ----------
    width, heads, inner : int
        Channels, heads, channels of the feed-forward layer.
    dropout : float
        Of what is added to the residual stream, in training.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention = RMSNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.norm_mlp = RMSNorm(width)
        self.mlp = GatedMLP(width, inner)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        cache: History | None = None,
        layer: int = 0,
        *,
        causal: bool = False,
    ) -> Tensor:
        """Run the layer.

        Parameters
        ----------
        x : Tensor of float, shape (R, L, width)
            The residual stream.
        turn, mask, cache, layer, causal : see `Attention.forward`
            Passed on.

        Returns
        -------
        x : Tensor, shape (R, L, width)
            The residual stream.
        """
        x = x + self.dropout(
            self.attention(self.norm_attention(x), turn, mask, cache, layer, causal=causal)
        )
        out: Tensor = x + self.dropout(self.mlp(self.norm_mlp(x)))
        return out
