"""From a mask to the visual tokens that are injected after it.

A token belongs to a mask where the mask covers more than half of the token's cell. Above a cap
the masked area is sampled on a regular grid. Where both sensors saw the date, each position
takes the token of the sensor that the question attends to more.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["cell_cover", "prefer_radar", "question_relevance", "sample_cells", "select_cells"]


def cell_cover(masks: Tensor, grid: int) -> Tensor:
    """Measure which share of every cell lies in the mask.

    Parameters
    ----------
    masks : Tensor of bool or float, shape (M, H, W)
        Floats in [0, 1] count as shares of their pixel.
    grid : int
        Cells per side, G. It need not divide H or W: a pixel on the border of two cells then
        counts to each by the share of its area.

    Returns
    -------
    cover : Tensor of float32, shape (M, G * G)
        Row by row, in [0, 1].
    """
    rows = _overlap(masks.shape[1], grid, masks.device)
    columns = _overlap(masks.shape[2], grid, masks.device)
    area = torch.einsum("gh,mhw,kw->mgk", rows, masks.float(), columns)
    return area.flatten(1) / (masks.shape[1] * masks.shape[2])


def _overlap(size: int, grid: int, device: torch.device) -> Tensor:
    """Length that each pixel takes of each cell, shape (grid, size), in units of 1 / grid pixel.

    Whole numbers: sums over binary masks are exact in float32 (up to 4096 pixels a side), so
    that a cell covered by exactly half is exactly 0.5 whatever the sizes.
    """
    cells = torch.arange(grid, device=device)[:, None]
    pixels = torch.arange(size, device=device)[None, :]
    low = torch.maximum(cells * size, pixels * grid)
    high = torch.minimum((cells + 1) * size, (pixels + 1) * grid)
    return (high - low).clamp(min=0).float()


def sample_cells(covered: Tensor, cap: int) -> list[Tensor]:
    """Keep at most `cap` covered cells of each mask.

    Parameters
    ----------
    covered : Tensor of bool, shape (M, G, G)
        Cells of the mask.
    cap : int
        Most tokens per mask.

    Returns
    -------
    cells : list of M Tensors of int64
        Indices ``row * G + column``, ascending; all covered cells where there are at most
        `cap`, none where the mask is empty.

    Notes
    -----
    Above the cap, a grid of ``ceil(sqrt(cap))`` squared boxes is laid over the bounding
    rectangle of the covered cells, and the covered cell whose centre is nearest to the centre
    of each box is kept [1]_ (the first in row-major order among equals; once, where it is
    nearest to several). A cap that is no square leaves up to ``ceil(sqrt(cap)) ** 2`` cells;
    they are then thinned evenly to `cap`, first and last kept: a cap is a cap.

    References
    ----------
    .. [1] Shu et al. (2026). TerraScope. arXiv:2603.19039, appendix.
    """
    return [_sample(one, cap) for one in covered]


def _sample(covered: Tensor, cap: int) -> Tensor:
    """Sample one mask; distances are exact integers, so that ties break the same way everywhere."""
    cells = covered.nonzero()
    width = covered.shape[1]
    if cells.shape[0] <= cap:
        return cells[:, 0] * width + cells[:, 1]
    boxes = math.isqrt(cap - 1) + 1
    low, high = cells.amin(0), cells.amax(0) + 1
    # In units of 1 / (2 * boxes) of a cell: centres of boxes and of cells are whole numbers.
    steps = 2 * torch.arange(boxes, device=covered.device) + 1
    centres = 2 * boxes * low[None] + steps[:, None] * (high - low)[None]
    places = (2 * cells + 1) * boxes
    down = (centres[:, 0, None] - places[None, :, 0]) ** 2
    across = (centres[:, 1, None] - places[None, :, 1]) ** 2
    distance = down[:, None] + across[None]  # (boxes, boxes, cells)
    nearest = torch.unique(distance.flatten(0, 1).argmin(1))
    if nearest.shape[0] > cap:
        last = nearest.shape[0] - 1
        picks = torch.arange(cap, device=covered.device) * last // max(cap - 1, 1)
        nearest = nearest[picks]
    kept = cells[nearest]
    return kept[:, 0] * width + kept[:, 1]


def select_cells(masks: Tensor, grid: int, *, threshold: float, cap: int) -> list[Tensor]:
    """Choose the cells whose tokens are injected after each mask.

    Parameters
    ----------
    masks : Tensor of bool or float, shape (M, H, W)
        Binary, or shares in [0, 1].
    grid : int
        Cells per side, G.
    threshold : float
        A cell is covered where more than this share of it lies in the mask.
    cap : int
        Most tokens per mask.

    Returns
    -------
    cells : list of M Tensors of int64
        Ascending indices into the G * G tokens of an image.
    """
    covered = cell_cover(masks, grid) > threshold
    return sample_cells(covered.reshape(-1, grid, grid), cap)


def question_relevance(visual: Tensor, words: Tensor, words_present: Tensor) -> Tensor:
    """Tell how much of a question's attention falls on each visual token.

    Parameters
    ----------
    visual : Tensor of float, shape (M, N, D)
        All tokens of one image.
    words : Tensor of float, shape (M, L, D)
        Embeddings of the question's tokens.
    words_present : Tensor of bool, shape (M, L)
        False where padded.

    Returns
    -------
    relevance : Tensor of float32, shape (M, N)
        Mean over the question's tokens of the softmax over all N visual tokens of
        ``v q / sqrt(D)`` [1]_; sums to 1, or to 0 where a question has no token.

    References
    ----------
    .. [1] Shu et al. (2026). TerraScope. arXiv:2603.19039, section 3.
    """
    scores = torch.einsum("mld,mnd->mln", words.float(), visual.float())
    attention = torch.softmax(scores / math.sqrt(visual.shape[-1]), dim=-1)  # (M, L, N)
    present = words_present.float()
    total = torch.einsum("mln,ml->mn", attention, present)
    return total / present.sum(1, keepdim=True).clamp(min=1)


def prefer_radar(
    optical: Tensor, radar: Tensor, words: Tensor, words_present: Tensor, present: Tensor
) -> Tensor:
    """Choose the sensor whose token is injected, position by position.

    Parameters
    ----------
    optical, radar : Tensor of float, shape (M, N, D)
        Visual tokens of one date; not read where `present` is False.
    words : Tensor of float, shape (M, L, D)
        Embeddings of the question's tokens.
    words_present : Tensor of bool, shape (M, L)
        False where padded.
    present : Tensor of bool, shape (M, 2)
        Whether the optical and the radar image exist.

    Returns
    -------
    radar_chosen : Tensor of bool, shape (M, N)
        True where the radar token is the more relevant one or equal, and where there is no
        optical image.
    """
    optical_relevance = question_relevance(optical, words, words_present)
    radar_relevance = question_relevance(radar, words, words_present)
    chosen = radar_relevance >= optical_relevance
    return (chosen | ~present[:, :1]) & present[:, 1:]
