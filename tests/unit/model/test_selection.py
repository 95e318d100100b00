"""Selection against a slow, literal loop of the rule, and its invariants."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.model.selection import (
    cell_cover,
    prefer_radar,
    question_relevance,
    select_cells,
)


def literal_cover(mask: np.ndarray, grid: int) -> list[list[Fraction]]:
    """Area of every cell that lies in the mask, over the cell's area, in exact fractions."""
    height, width = mask.shape
    cover = [[Fraction(0)] * grid for _ in range(grid)]
    for row in range(grid):
        for column in range(grid):
            top, bottom = Fraction(row * height, grid), Fraction((row + 1) * height, grid)
            left, right = Fraction(column * width, grid), Fraction((column + 1) * width, grid)
            for y in range(height):
                for x in range(width):
                    if mask[y, x]:
                        tall = max(
                            Fraction(0), min(bottom, Fraction(y + 1)) - max(top, Fraction(y))
                        )
                        wide = max(
                            Fraction(0), min(right, Fraction(x + 1)) - max(left, Fraction(x))
                        )
                        cover[row][column] += tall * wide
            cover[row][column] /= (bottom - top) * (right - left)
    return cover


def literal_cells(mask: np.ndarray, grid: int, threshold: Fraction, cap: int) -> list[int]:
    """The rule of the paper, word by word."""
    cover = literal_cover(mask, grid)
    kept = [(r, c) for r in range(grid) for c in range(grid) if cover[r][c] > threshold]
    if len(kept) <= cap:
        return [r * grid + c for r, c in kept]
    side = math.ceil(math.sqrt(cap))
    top, left = min(r for r, _ in kept), min(c for _, c in kept)
    bottom, right = max(r for r, _ in kept) + 1, max(c for _, c in kept) + 1
    nearest = set()
    for i in range(side):
        for j in range(side):
            y = top + (i + Fraction(1, 2)) * (bottom - top) / side
            x = left + (j + Fraction(1, 2)) * (right - left) / side
            best, best_distance = None, None
            for r, c in kept:
                distance = (r + Fraction(1, 2) - y) ** 2 + (c + Fraction(1, 2) - x) ** 2
                if best_distance is None or distance < best_distance:
                    best, best_distance = (r, c), distance
            nearest.add(best)
    ordered = sorted(nearest)
    if len(ordered) > cap:
        ordered = [ordered[k * (len(ordered) - 1) // max(cap - 1, 1)] for k in range(cap)]
    return [r * grid + c for r, c in ordered]


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(3, 18)), draw(st.integers(3, 18))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random((height, width)) < draw(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))


@settings(max_examples=120, deadline=None)
@given(mask=masks(), grid=st.integers(2, 8), cap=st.integers(1, 40))
def test_selection_is_the_literal_rule(mask: np.ndarray, grid: int, cap: int) -> None:
    cells = select_cells(torch.from_numpy(mask)[None], grid, threshold=0.5, cap=cap)[0]
    assert cells.tolist() == literal_cells(mask, grid, Fraction(1, 2), cap)
    assert len(cells) <= cap


@pytest.mark.parametrize(("size", "grid"), [(128, 16), (64, 8), (448, 16)])
def test_a_cell_covered_by_exactly_half_is_left_out(size: int, grid: int) -> None:
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    side = size // grid
    mask[0, :side, : side // 2] = True
    assert select_cells(mask, grid, threshold=0.5, cap=128)[0].tolist() == []
    mask[0, 0, side // 2] = True
    assert select_cells(mask, grid, threshold=0.5, cap=128)[0].tolist() == [0]


def test_the_cap_of_the_paper_on_a_full_mask() -> None:
    full = torch.ones(1, 128, 128, dtype=torch.bool)
    cells = select_cells(full, 16, threshold=0.5, cap=128)[0]
    assert cells.tolist() == literal_cells(np.ones((16, 16), bool), 16, Fraction(1, 2), 128)
    assert len(cells) == 128
    rows = cells // 16
    assert rows.min() == 0
    assert rows.max() == 15


def test_cover_of_soft_masks_sums_to_the_area() -> None:
    soft = torch.rand(3, 21, 34, generator=torch.Generator().manual_seed(5))
    cover = cell_cover(soft, 8)
    torch.testing.assert_close(cover.mean(1), soft.mean((1, 2)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), words=st.integers(1, 6), cells=st.integers(1, 9))
def test_relevance_is_the_literal_rule(seed: int, words: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    visual, question = rng.normal(size=(cells, 5)), rng.normal(size=(words, 5))
    expected = np.zeros(cells)
    for q in question:
        weights = [math.exp(sum(v * q) / math.sqrt(5)) for v in visual]
        expected += np.array(weights) / sum(weights) / words
    padded = np.concatenate([question, rng.normal(size=(2, 5))])[None]
    present = torch.tensor([[True] * words + [False] * 2])
    found = question_relevance(torch.tensor(visual)[None], torch.tensor(padded), present)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-5)


def test_sensor_is_chosen_by_position_and_a_tie_is_radar() -> None:
    optical = torch.tensor([[[4.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    radar = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [0.0, 0.0]]])
    question, present = torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, dtype=torch.bool)
    both = torch.tensor([[True, True]])
    chosen = prefer_radar(optical, radar, question, present, both)
    assert chosen.tolist() == [[False, True, True]]
    one = torch.tensor([[True, False]])
    assert not prefer_radar(optical, radar, question, present, one).any()
    assert prefer_radar(optical, radar, question, present, both & ~one).all()
