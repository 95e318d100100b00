"""Which visual tokens go back into the language model after a mask."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from terrascope.model.backbone import OPTICAL, RADAR, Backbone, Encoded
from terrascope.model.configuration_terrascope import TerrascopeConfig
from terrascope.model.selection import prefer_radar, select_cells

__all__ = ["Injection", "choose_tokens", "first_tokens", "pad_words"]


@dataclasses.dataclass(frozen=True)
class Injection:
    """The tokens of one mask.

    Parameters
    ----------
    source : Tensor of int64, shape (n,)
        Places in ``tokens.flatten(0, 3)``, in row-major order of their cells.
    cells : Tensor of int64, shape (n,)
        Cells of the image they stand for.
    sensors : Tensor of int8, shape (G, G)
        Sensor whose token was injected: 0 optical, 1 radar, -1 no token.
    """

    source: Tensor
    cells: Tensor
    sensors: Tensor


def first_tokens(encoded: Encoded) -> list[list[int]]:
    """Find where the visual tokens of every existing image begin.

    Parameters
    ----------
    encoded : Encoded
        B windows.

    Returns
    -------
    starts : list of list of int
        By window: places in ``tokens.flatten(0, 3)``, dates in order, optical before radar.
    """
    tokens = encoded.tokens.shape[3]
    batch, dates, sensors = encoded.present.shape
    exists = encoded.present.flatten().tolist()
    per_window = dates * sensors
    return [
        [place * tokens for place in range(b * per_window, (b + 1) * per_window) if exists[place]]
        for b in range(batch)
    ]


def pad_words(
    backbone: Backbone, questions: list[list[int]], like: Tensor
) -> tuple[Tensor, Tensor]:
    """Embed questions of different lengths.

    Parameters
    ----------
    backbone : Backbone
        Embeds.
    questions : list of list of int
        Token ids.
    like : Tensor
        Gives the device.

    Returns
    -------
    words : Tensor of float, shape (M, L, D)
        Padded at the end.
    present : Tensor of bool, shape (M, L)
        False where padded.
    """
    longest = max((len(question) for question in questions), default=0)
    ids = [question + [0] * (longest - len(question)) for question in questions]
    there = [[True] * len(q) + [False] * (longest - len(q)) for q in questions]
    shape = (len(questions), longest)
    numbers = torch.tensor(ids, dtype=torch.int64, device=like.device).reshape(shape)
    present = torch.tensor(there, dtype=torch.bool, device=like.device).reshape(shape)
    return backbone.embed(numbers), present


@torch.no_grad()
def choose_tokens(
    config: TerrascopeConfig,
    backbone: Backbone,
    encoded: Encoded,
    *,
    masks: Tensor,
    window: Tensor,
    date: Tensor,
    questions: list[list[int]],
) -> list[Injection]:
    """Choose the visual tokens of masks: covered cells, capped, sensor by sensor.

    Parameters
    ----------
    config : TerrascopeConfig
        Cap and threshold.
    backbone : Backbone
        Gives the grid and embeds the questions.
    encoded : Encoded
        B windows.
    masks : Tensor of bool, shape (M, H, W)
        Binary masks.
    window, date : Tensor of int64, shape (M,)
        Whose tokens are meant; of a change mask the later date.
    questions : list of list of int
        Token ids of the M questions.

    Returns
    -------
    injections : list of M Injection
        Nothing where a mask is empty or its date was not observed.

    Notes
    -----
    The choice has no gradient; the vectors it picks have.
    """
    if not len(window):
        return []
    grid = backbone.grid
    if config.injection == "none" or not bool(masks.any()):
        none = torch.empty(0, dtype=torch.int64, device=window.device)
        nowhere = torch.full((grid, grid), -1, dtype=torch.int8, device=window.device)
        return [Injection(none, none, nowhere) for _ in range(len(window))]
    drawn = _boxes(masks) if config.injection == "box" else masks
    cells = select_cells(drawn, grid, threshold=config.cell_threshold, cap=config.token_cap)
    if config.injection == "random":
        cells = [_elsewhere(chosen, grid * grid) for chosen in cells]
    tokens = encoded.tokens[window, date]  # (M, S, N, D)
    present = encoded.present[window, date]  # (M, S)
    words, words_present = pad_words(backbone, questions, tokens)
    radar = prefer_radar(tokens[:, OPTICAL], tokens[:, RADAR], words, words_present, present)
    dates, sensors, count = encoded.tokens.shape[1:4]
    first = (window * dates + date) * sensors  # image index of the optical image
    observed = present.any(1).tolist()
    injections = []
    for m, chosen in enumerate(cells):
        kept = chosen if observed[m] else chosen[:0]
        sensor = radar[m, kept].to(torch.int64)
        where = torch.full((grid * grid,), -1, dtype=torch.int8, device=kept.device)
        where[kept] = sensor.to(torch.int8)
        source = (first[m] + sensor) * count + kept
        injections.append(Injection(source, kept, where.reshape(grid, grid)))
    return injections


def _boxes(masks: Tensor) -> Tensor:
    """Fill the bounding box of every mask, (M, H, W)."""
    rows, columns = masks.any(2), masks.any(1)
    return _span(rows)[:, :, None] & _span(columns)[:, None, :]


def _span(used: Tensor) -> Tensor:
    """Fill from the first to the last that is used, (M, L)."""
    before = used.int().cummax(1).values
    after = used.int().flip(1).cummax(1).values.flip(1)
    return (before & after).bool()


def _elsewhere(chosen: Tensor, cells: int) -> Tensor:
    """Choose as many cells of the whole image, by a draw that the mask itself decides."""
    seed = int((chosen * 2654435761 % 2**31).sum()) + len(chosen)
    order = torch.randperm(cells, generator=torch.Generator().manual_seed(seed))
    return order[: len(chosen)].sort().values.to(chosen.device)
