"""Nodes: the same fit whatever asks for it, shared by neighbours, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from terrascope.cube.executor import ThreadExecutor
from terrascope.geo.tiles import Tile
from terrascope.monitor.normalisation import Nodes, decode
from terrascope.periods import Cadence, Period
from terrascope.types import NODATA_INT16

MONTHLY = Cadence(1, "M")
BASELINE, TARGET = (
    tuple(Period(MONTHLY, index) for index in indices) for indices in ((67, 68), (79, 80))
)


def nodes(cube: Any, tiles: Sequence[Tile] | None = None) -> Nodes:
    tiles = cube.tiles if tiles is None else tiles
    return Nodes(cube.store, cube.group, 120, BASELINE, TARGET, tiles, len(cube.bands))


def numbers(lattice: Any) -> np.ndarray:
    """Gain and offset of all corners: (fit, row, column, 2, band)."""
    return np.array(
        [[[(node.gain, node.offset) for node in row] for row in square] for square in lattice]
    )


def test_decode() -> None:
    stored = np.array([[0, 1234], [NODATA_INT16, -5]], np.int16)
    np.testing.assert_allclose(
        decode(stored, "sentinel-2"), [[0, 0.1234], [np.nan, -0.0005]], rtol=1e-6
    )
    np.testing.assert_allclose(
        decode(stored, "sentinel-1"), [[0, 12.34], [np.nan, -0.05]], rtol=1e-6
    )
    assert decode(stored, "sentinel-2").dtype == np.float32


def test_a_darker_target_is_brightened(small_cube: Any) -> None:
    fitted = nodes(small_cube)
    fitted.prepare(small_cube.tiles, ThreadExecutor(1))
    found = numbers(fitted.around(small_cube.tiles[7]))
    assert found.shape == (len(TARGET), 2, 2, 2, len(small_cube.bands))
    level = small_cube.forest
    corrected = found[..., 0, :] * 0.96 * level + found[..., 1, :]
    np.testing.assert_allclose(corrected, np.broadcast_to(level, corrected.shape), rtol=0.01)


def test_fits_do_not_depend_on_who_asks(small_cube: Any) -> None:
    together = nodes(small_cube)
    together.prepare(small_cube.tiles, ThreadExecutor(2))
    for tile in small_cube.tiles[::4]:
        alone = nodes(small_cube)
        alone.prepare([tile], ThreadExecutor(1))
        found, wanted = numbers(alone.around(tile)), numbers(together.around(tile))
        np.testing.assert_array_equal(found, wanted)


def test_neighbours_share_their_corners(small_cube: Any) -> None:
    fitted = nodes(small_cube)
    fitted.prepare(small_cube.tiles, ThreadExecutor(1))
    tile = small_cube.tiles[4]
    here = numbers(fitted.around(tile))
    east = numbers(fitted.around(Tile(tile.zone, tile.column + 1, tile.row)))
    north = numbers(fitted.around(Tile(tile.zone, tile.column, tile.row + 1)))
    np.testing.assert_array_equal(here[:, :, 1], east[:, :, 0])
    np.testing.assert_array_equal(here[:, 0], north[:, 1])


def test_nothing_seen_nothing_corrected(small_cube: Any) -> None:
    for tile in (small_cube.hidden, Tile(small_cube.hidden.zone, 50, 300)):
        fitted = nodes(small_cube, [tile])
        fitted.prepare([tile], ThreadExecutor(1))
        lattice = fitted.around(tile)
        assert not any(node.ok for square in lattice for row in square for node in row)
        found = numbers(lattice)
        assert (found[..., 0, :] == 1).all()
        assert (found[..., 1, :] == 0).all()
