"""Nodes of relative normalisation: samples of whole tiles, one fit per tile corner.

A node's block is the 2 x 2 tiles around it (30.72 km), whatever batch asks for it, so its
fit is the same in every run and every AOI that holds these tiles. Each target period has fits
of its own: an optical one against the same months of the past, so that the season is not taken
for the atmosphere; a radar one against the median of the past, so that rain is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from terrascope.cube.executor import Executor, cause_of
from terrascope.geo.tiles import Tile, Zone
from terrascope.kernels.normalise import NodeFit, fit_node, identity_fit
from terrascope.kernels.radiometry import unpack_int16
from terrascope.kernels.screen import fit_shift_node
from terrascope.kernels.seasonal import nan_median, seasonal_reference
from terrascope.periods import Period
from terrascope.sensors import SENSORS
from terrascope.store.layout import tile_slices
from terrascope.store.window import read_window
from terrascope.types import FloatArray

if TYPE_CHECKING:
    from terrascope.store.repository import Store

__all__ = ["Lattice", "Nodes", "decode"]

Lattice: TypeAlias = tuple[list[list[NodeFit]], ...]
"""The 2 x 2 nodes on a tile's corners, the northern row first; one such square per target period.
Halo pixels beyond the tile take the coefficients of its edge."""

_Samples: TypeAlias = tuple[tuple[FloatArray, FloatArray], ...]
"""Before and after, each of shape (sample, band), per target period."""

_GRID = 64
"""Samples along a tile's side, at the widest stride."""

_ENOUGH = 1_024
"""Observed samples of a tile below which the stride is narrowed."""


def decode(stored: NDArray[np.int16], sensor: str) -> FloatArray:
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
    return unpack_int16(stored, step=SENSORS[sensor].scale)


class Nodes:
    """Fits of the nodes of one cube, computed when first asked for.

    Parameters
    ----------
    store : Store
        Holds the cube.
    group : str
        Of the cube.
    resolution_m : int
        Pixel size.
    baseline, target : sequence of Period
        What is compared with what.
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
        baseline: Sequence[Period],
        target: Sequence[Period],
        tiles: Iterable[Tile],
        n_bands: int,
    ) -> None:
        self._store = store
        self._group = group
        self._resolution_m = resolution_m
        self._periods = tuple(baseline), tuple(target)
        self._tiles = frozenset(tiles)
        self._n_bands = n_bands
        self._radar = group.startswith("sentinel-1")
        self._samples: dict[Tile, _Samples] = {}
        self._failed: dict[Tile, str] = {}
        self._fits: dict[tuple[int, int], tuple[NodeFit, ...]] = {}

    def prepare(self, tiles: Sequence[Tile], executor: Executor) -> None:
        """Fit all nodes that the given tiles need.

        Parameters
        ----------
        tiles : sequence of Tile
            One batch.
        executor : Executor
            Where sampling and fitting run.
        """
        zone = tiles[0].zone
        wanted = {
            (tile.row + i, tile.column + j) for tile in tiles for i in (0, 1) for j in (0, 1)
        } - set(self._fits)
        sampled = {t for node in wanted for t in _around(zone, node)} & self._tiles
        missing = sorted(sampled - set(self._samples))
        calls = ((self._store, self._group, t, self._resolution_m, *self._periods) for t in missing)
        for tile, samples in executor.run(_sample_tile, calls, give_up=self._unsampled):
            self._samples[tile] = samples
        blocks = ((node, self._block(zone, node), self._radar) for node in sorted(wanted))
        for node, fits in executor.run(_fit, blocks):
            self._fits[node] = fits

    def why_not(self, tile: Tile) -> str:
        """Say why a tile cannot be normalised.

        Parameters
        ----------
        tile : Tile
            Prepared before.

        Returns
        -------
        cause : str
            Empty where it can be: no tile that its nodes look at failed.
        """
        reach = (-1, 0, 1)
        near = ((tile.column + j, tile.row + i) for i in reach for j in reach)
        failed = sorted(
            other
            for other in (Tile(tile.zone, *place) for place in near if min(place) >= 0)
            if other in self._failed
        )
        return f"{self._group} of tile {failed[0]}: {self._failed[failed[0]]}" if failed else ""

    def _unsampled(self, call: tuple[Any, ...], error: Exception) -> tuple[Tile, _Samples]:
        tile: Tile = call[2]
        self._failed[tile] = cause_of(error)
        empty = np.empty((0, self._n_bands), np.float32)
        return tile, ((empty, empty),) * len(self._periods[1])

    def around(self, tile: Tile) -> Lattice:
        """Return the nodes around a tile.

        Parameters
        ----------
        tile : Tile
            Prepared before.

        Returns
        -------
        lattice : Lattice
            From the tile's four corners.
        """
        n_fits = len(self._fits[tile.row, tile.column])
        return tuple(
            [[self._fits[tile.row + i, tile.column + j][k] for j in (0, 1)] for i in (1, 0)]
            for k in range(n_fits)
        )

    def _block(self, zone: Zone, node: tuple[int, int]) -> list[_Samples]:
        empty = np.empty((0, self._n_bands), np.float32)
        found = [self._samples[tile] for tile in _around(zone, node) if tile in self._samples]
        return found or [((empty, empty),) * len(self._periods[1])]


def _around(zone: Zone, node: tuple[int, int]) -> list[Tile]:
    """Tiles around a node, which is the south-western corner of tile (row, column)."""
    row, column = node
    places = [(row + i, column + j) for i in (-1, 0) for j in (-1, 0)]
    return [Tile(zone, j, i) for i, j in places if i >= 0 and j >= 0]


def _fit(
    node: tuple[int, int], block: list[_Samples], radar: bool
) -> tuple[tuple[int, int], tuple[NodeFit, ...]]:
    fits = []
    for pairs in zip(*block, strict=True):
        before, after = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        if not len(before):
            fits.append(identity_fit(before.shape[1]))
        else:
            fits.append((fit_shift_node if radar else fit_node)(before, after))
    return node, tuple(fits)


def _sample_tile(
    store: Store,
    group: str,
    tile: Tile,
    resolution_m: int,
    baseline: tuple[Period, ...],
    target: tuple[Period, ...],
) -> tuple[Tile, _Samples]:
    """Take pixels at a regular stride that both windows observed: before and after, per target."""
    rows, columns = tile_slices(tile, resolution_m)
    root, sensor = store.root(), group.partition("/")[0]
    seen = (
        read_window(root, f"{group}/observed", rows, columns, times=[p.index for p in periods]) > 0
        for periods in (baseline, target)
    )
    both: NDArray[np.bool_] = np.all([window.any(axis=0) for window in seen], axis=0)
    stride = max(1, (rows.stop - rows.start) // _GRID)
    while stride > 1 and np.count_nonzero(_thinned(both, stride)) < _ENOUGH:
        stride //= 2
    keep = _thinned(both, stride)
    path = f"{group}/{SENSORS[sensor].variable}"

    def values(period: Period) -> FloatArray:
        stored = read_window(root, path, rows, columns, times=[period.index])[0]
        return decode(_thinned(stored, stride)[:, keep].T, sensor)

    past = np.stack([values(period) for period in baseline])
    months = [period.start.month for period in baseline]
    if sensor == "sentinel-1":
        median = nan_median(past)
        return tile, tuple((median, values(period)) for period in target)
    return tile, tuple(
        (seasonal_reference(past, months, period.start.month)[0], values(period))
        for period in target
    )


def _thinned(pixels: NDArray[Any], stride: int) -> NDArray[Any]:
    return pixels[..., stride // 2 :: stride, stride // 2 :: stride]
