"""Run lengths as COCO writes them, against a slow reading of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from terrascope.data.rle import Rle, decode_mask, encode_mask

masks = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 70)))


def slow_text(mask: np.ndarray) -> str:
    """Write a mask pixel by pixel, byte by byte, as the C code of the COCO API does."""
    lengths, last, run = [], False, 0
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if bool(mask[row, column]) != last:
                lengths.append(run)
                last, run = not last, 0
            run += 1
    lengths.append(run)
    text = ""
    for place, length in enumerate(lengths):
        x = length - (lengths[place - 2] if place > 2 else 0)
        more = True
        while more:
            c = x & 0x1F
            x >>= 5
            more = x != -1 if c & 0x10 else x != 0
            text += chr((c | 0x20 if more else c) + 48)
    return text


@given(masks)
def test_text_is_that_of_the_definition_and_comes_back(mask: np.ndarray) -> None:
    rle = encode_mask(mask)
    assert rle.counts == slow_text(mask)
    np.testing.assert_array_equal(decode_mask(rle), mask)
    assert Rle.from_coco(rle.to_coco()) == rle


def test_lengths_and_bytes_are_read_too() -> None:
    mask = np.zeros((3, 4), np.bool_)
    mask[1:, 1] = True
    rle = encode_mask(mask)
    assert Rle.from_coco({"size": [3, 4], "counts": [4, 2, 6]}) == rle
    assert Rle.from_coco({"size": [3, 4], "counts": rle.counts.encode()}) == rle


def test_runs_that_do_not_fill_the_mask_are_refused() -> None:
    with pytest.raises(ValueError, match="runs of 12 pixels"):
        decode_mask(Rle((3, 5), encode_mask(np.zeros((3, 4), np.bool_)).counts))
