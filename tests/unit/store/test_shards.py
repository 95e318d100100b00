from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec

from terrascope.errors import StoreError
from terrascope.store.shards import ShardEncoder, ShardFormat


def make_array(path: Path, *, dtype: str = "int16", fill: float = -7) -> zarr.Array:
    return zarr.create_array(
        str(path),
        shape=(3, 2, 24, 32),
        shards=(1, 2, 12, 16),
        chunks=(1, 1, 4, 8),
        dtype=dtype,
        fill_value=fill,
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
        overwrite=True,
    )


@given(present=st.sets(st.integers(0, 5)), order=st.randoms(use_true_random=False))
def test_zarr_reads_what_was_encoded(tmp_path_factory, present: set[int], order) -> None:
    path = tmp_path_factory.mktemp("shard")
    array = make_array(path)
    encoder = ShardEncoder(ShardFormat.of(array))
    expected = np.full((2, 12, 16), -7, dtype="int16")
    places = [(4 * (i // 2), 8 * (i % 2)) for i in present]
    order.shuffle(places)
    for y, x in places:
        block = np.arange(64, dtype="int16").reshape(2, 4, 8) * 3 + 100 * y + x
        expected[:, y : y + 4, x : x + 8] = block
        encoder.put(y, x, block)
    shard = encoder.finish()
    assert (shard is None) == (not present)
    if shard is not None:
        target = path / "c/2/0/1/0"
        target.parent.mkdir(parents=True)
        target.write_bytes(shard)
    np.testing.assert_array_equal(array[2, :, 12:24, 0:16], expected)
    # and one chunk through the index alone
    np.testing.assert_array_equal(array[2, 1, 16:20, 8:16], expected[1, 4:8, 8:16])


@pytest.mark.parametrize(("dtype", "fill"), [("float32", np.nan), ("uint8", 255), ("uint16", 0)])
def test_empty_chunks_cost_nothing(tmp_path: Path, dtype: str, fill: float) -> None:
    encoder = ShardEncoder(ShardFormat.of(make_array(tmp_path, dtype=dtype, fill=fill)))
    block = np.full((2, 12, 16), fill, dtype=dtype)
    encoder.put(0, 0, block)
    assert encoder.finish() is None
    block[1, 11, 15] = 3
    encoder = ShardEncoder(ShardFormat.of(make_array(tmp_path, dtype=dtype, fill=fill)))
    encoder.put(0, 0, block)
    shard = encoder.finish()
    assert shard is not None
    assert len(shard) < 12 * 16 + 4 + 200


def test_blocks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    encoder = ShardEncoder(ShardFormat.of(make_array(tmp_path)))
    good = np.ones((2, 4, 8), dtype="int16")
    with pytest.raises(ValueError, match="expected int16"):
        encoder.put(0, 0, good.astype("float32"))
    with pytest.raises(ValueError, match="whole chunks"):
        encoder.put(2, 0, good)
    with pytest.raises(ValueError, match="whole chunks"):
        encoder.put(0, 0, good[:, :3])
    with pytest.raises(ValueError, match="outside the tile"):
        encoder.put(12, 0, good)
    with pytest.raises(ValueError, match="reshape"):
        encoder.put(0, 0, good[:1])
    encoder.put(4, 8, good)
    with pytest.raises(ValueError, match="written twice"):
        encoder.put(4, 8, good)


def test_arrays_of_other_programs_are_refused(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path), shape=(4, 4), chunks=(2, 2), dtype="int16")
    with pytest.raises(StoreError, match="another program"):
        ShardFormat.of(array)
