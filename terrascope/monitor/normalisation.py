"""Nodes of relative normalisation: samples of whole tiles, one fit per tile corner.

A node's block is the 2 x 2 tiles around it (30.72 km), whatever batch asks for it, so its
fit is the same in every run and every AOI that holds these tiles.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from terrascope.cube.executor import Executor
from terrascope.geo.tiles import Tile, Zone
from terrascope.kernels.normalise import NodeFit, fit_node, identity_fit
from terrascope.sensors import SENSORS
from terrascope.store.layout import tile_slices
from terrascope.store.window import read_window
from terrascope.types import NODATA_INT16, FloatArray

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = ["Nodes", "decode"]

_GRID = 128
"""Samples along a tile's side, at the widest stride."""

_ENOUGH = 4_096
"""Observed samples of a tile below which the stride is narrowed."""

_KEPT_TILES = 96
"""Tiles whose samples are kept for the neighbouring batch."""


def decode(stored: np.ndarray, sensor: str) -> FloatArray:
    """Turn stored numbers into physical values.

    Parameters
    ----------
    stored : ndarray of int16
        From a cube.
    sensor : str
        ``"sentinel-2"`` or ``"sentinel-1"``.

    Returns
    -------
    values : ndarray of float32
        Reflectance or dB, NaN where missing.
    """
    values = stored.astype(np.float32)
    values *= np.float32(SENSORS[sensor].scale)
    values[stored == NODATA_INT16] = np.nan
    return values


class Nodes:
    """Fits of the nodes of one optical cube, computed when first asked for.

    Parameters
    ----------
    store : Store
        Holds the cube.
    group : str
        Of the cube.
    resolution_m : int
        Pixel size.
    baseline, target : sequence of int
        Time indices.
    tiles : iterable of Tile
        Tiles of the run in the group's zone; others count as not observed.
    n_bands : int
        Bands of the cube.
    """

    def __init__(
        self,
        store: Store,
        group: str,
        resolution_m: int,
        baseline: Sequence[int],
        target: Sequence[int],
        tiles: Iterable[Tile],
        n_bands: int,
    ) -> None:
        self._store = store
        self._group = group
        self._resolution_m = resolution_m
        self._times = tuple(baseline), tuple(target)
        self._tiles = frozenset(tiles)
        self._n_bands = n_bands
        self._samples: dict[Tile, tuple[FloatArray, FloatArray]] = {}
        self._fits: dict[tuple[int, int], NodeFit] = {}

    def prepare(self, tiles: Sequence[Tile], executor: Executor) -> None:
        """Fit all nodes that the given tiles and their halos need.

        Parameters
        ----------
        tiles : sequence of Tile
            One batch.
        executor : Executor
            Where sampling and fitting run.
        """
        wanted = {
            (tile.row + i, tile.column + j)
            for tile in tiles
            for i in range(-1, 3)
            for j in range(-1, 3)
        } - set(self._fits)
        sampled = {t for node in wanted for t in _around(tiles[0].zone, node)} & self._tiles
        missing = sorted(sampled - set(self._samples))
        calls = ((self._store, self._group, t, self._resolution_m, *self._times) for t in missing)
        for tile, samples in executor.run(_sample_tile, calls):
            self._samples[tile] = samples
        blocks = ((node, self._block(tiles[0].zone, node)) for node in sorted(wanted))
        for node, fit in executor.run(_fit, blocks):
            self._fits[node] = fit
        while len(self._samples) > max(_KEPT_TILES, len(sampled)):
            self._samples.pop(next(iter(self._samples)))

    def around(self, tile: Tile) -> list[list[NodeFit]]:
        """Return the 4 x 4 nodes around a tile, northernmost row first.

        Parameters
        ----------
        tile : Tile
            Prepared before.

        Returns
        -------
        fits : list of list of NodeFit
            The tile lies between the second and third of each axis.
        """
        return [
            [self._fits[tile.row + i, tile.column + j] for j in range(-1, 3)]
            for i in range(2, -2, -1)
        ]

    def _block(self, zone: Zone, node: tuple[int, int]) -> list[tuple[FloatArray, FloatArray]]:
        empty = np.empty((0, self._n_bands), np.float32)
        tiles = [tile for tile in _around(zone, node) if tile in self._samples]
        return [self._samples[tile] for tile in tiles] or [(empty, empty)]


def _around(zone: Zone, node: tuple[int, int]) -> list[Tile]:
    """Tiles around a node, which is the south-western corner of tile (row, column)."""
    row, column = node
    places = [(row + i, column + j) for i in (-1, 0) for j in (-1, 0)]
    return [Tile(zone, j, i) for i, j in places if i >= 0 and j >= 0]


def _fit(
    node: tuple[int, int], block: list[tuple[FloatArray, FloatArray]]
) -> tuple[tuple[int, int], NodeFit]:
    baseline, target = (np.concatenate(parts) for parts in zip(*block, strict=True))
    if not len(baseline):
        return node, identity_fit(baseline.shape[1])
    return node, fit_node(baseline, target)


def _sample_tile(
    store: Store,
    group: str,
    tile: Tile,
    resolution_m: int,
    baseline: tuple[int, ...],
    target: tuple[int, ...],
) -> tuple[Tile, tuple[FloatArray, FloatArray]]:
    """Temporal medians of both windows at a regular stride, where both were observed."""
    rows, columns = tile_slices(tile, resolution_m)
    size = rows.stop - rows.start
    root, path = store.root(), f"{group}/{SENSORS['sentinel-2'].variable}"
    seen = [_any_observed(root, group, rows, columns, times) for times in (baseline, target)]
    both = seen[0] & seen[1]
    stride = max(1, size // _GRID)
    while stride > 1 and np.count_nonzero(both[stride // 2 :: stride, stride // 2 :: stride]) < _ENOUGH:
        stride //= 2
    keep = both[stride // 2 :: stride, stride // 2 :: stride]
    medians = []
    for times in (baseline, target):
        planes = []
        for time in times:
            stored = read_window(root, path, rows, columns, times=[time])[0]
            thinned = stored[:, stride // 2 :: stride, stride // 2 :: stride][:, keep]
            planes.append(decode(thinned.T, "sentinel-2"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN bands stay NaN
            medians.append(np.nanmedian(np.stack(planes), axis=0).astype(np.float32))
    return tile, (medians[0], medians[1])


def _any_observed(
    root: object, group: str, rows: slice, columns: slice, times: tuple[int, ...]
) -> np.ndarray:
    counts = read_window(root, f"{group}/observed", rows, columns, times=times)  # type: ignore[arg-type]
    return np.asarray((counts > 0).any(axis=0))
