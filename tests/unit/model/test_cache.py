"""The ragged cache against one plain list of keys per sequence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.model.cache import RaggedCache

ROWS, LAYERS, HEADS, SIZE = 4, 2, 3, 5
steps = st.lists(
    st.tuples(st.lists(st.integers(0, ROWS - 1), min_size=1, unique=True), st.integers(1, 6)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(
    steps=steps,
    seed=st.integers(0, 2**31),
    capacity=st.sampled_from([0, 3, 40]),
    block=st.sampled_from([1, 4, 16]),
)
def test_every_row_sees_its_own_history_and_nothing_else(
    steps: list[tuple[list[int], int]], seed: int, capacity: int, block: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    cache = RaggedCache(ROWS, capacity, block)
    truth = [[torch.zeros(HEADS, 0, SIZE) for _ in range(LAYERS)] for _ in range(ROWS)]
    for rows, width in steps:
        counts = [int(torch.randint(1, width + 1, (1,), generator=generator)) for _ in rows]
        positions, mask = cache.begin(width, torch.device("cpu"), rows)
        if mask is None:
            history = any(truth[row][0].shape[1] for row in rows)
            assert not history or (width == 1 and block == 1)
            total = truth[rows[0]][0].shape[1] + width
            mask = torch.ones(width, total).tril(total - width).bool().expand(len(rows), 1, -1, -1)
        assert positions[:, 0].tolist() == [truth[row][0].shape[1] for row in rows]
        for layer in range(LAYERS):
            new = torch.randn(len(rows), HEADS, width, SIZE, generator=generator)
            keys, values = cache.update(new, -new, layer)
            assert keys.shape[2] == mask.shape[3]
            torch.testing.assert_close(values, -keys)
            for place, row in enumerate(rows):
                truth[row][layer] = torch.cat(
                    [truth[row][layer], new[place, :, : counts[place]]], 1
                )
                for column in range(counts[place]):
                    seen = keys[place][:, mask[place, 0, column]]
                    own = truth[row][layer].shape[1] - counts[place] + column + 1
                    torch.testing.assert_close(seen, truth[row][layer][:, :own])
        cache.commit(counts)
    assert cache.lengths == [row[0].shape[1] for row in truth]


def test_copied_rows_go_their_own_ways() -> None:
    cache = RaggedCache(3)
    first = torch.randn(1, HEADS, 4, SIZE)
    cache.begin(4, torch.device("cpu"), [0])
    cache.update(first, first, 0)
    cache.commit()
    cache.copy([0, 0], [1, 2])
    new = torch.randn(3, HEADS, 1, SIZE)
    cache.begin(1, torch.device("cpu"))
    keys, _ = cache.update(new, new, 0)
    torch.testing.assert_close(keys[:, :, :4], first.expand(3, -1, -1, -1))
    torch.testing.assert_close(keys[:, :, 4:], new)


def test_in_blocks_the_steps_of_many_rows_have_few_shapes() -> None:
    cache = RaggedCache(2, block=8)
    shapes = set()
    for width in (5, *[1] * 30):
        _, mask = cache.begin(width, torch.device("cpu"))
        keys, _ = cache.update(*[torch.randn(2, HEADS, width, SIZE)] * 2, 0)
        cache.commit([width, 1])
        if width == 1:
            assert mask is not None
            shapes.add((keys.shape, mask.shape))
    assert len(shapes) == -(-35 // 8)


def test_a_row_cannot_take_part_twice() -> None:
    with pytest.raises(ValueError, match="once"):
        RaggedCache(2).begin(1, torch.device("cpu"), [1, 1])
