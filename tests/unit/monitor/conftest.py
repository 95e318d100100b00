"""A small optical cube, written straight into a store: forest, a changed square, cloud gaps."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest

from terrascope.geo.tiles import Tile, Zone
from terrascope.kernels.screen import OPTICAL_BANDS
from terrascope.periods import Cadence
from terrascope.store import Record, Store, cube_schema, write_tile
from terrascope.types import NODATA_INT16

ZONE = Zone(33, "N")
MONTHLY = Cadence(1, "M")
SPECTRA = {
    "blue": (250, 380),
    "green": (450, 620),
    "red": (280, 900),
    "nir": (3200, 1900),
    "nir08": (3300, 2000),
    "swir16": (1500, 2900),
    "swir22": (700, 2300),
}
"""Steps of forest and of bare ground."""


@dataclasses.dataclass(frozen=True)
class SmallCube:
    """A store with one optical group, and where things happen in it."""

    store: Store
    group: str
    bands: tuple[str, ...]
    tiles: tuple[Tile, ...]
    changed: Tile
    hidden: Tile

    @property
    def forest(self) -> np.ndarray:
        """Mean reflectance of the baseline."""
        return np.array([0.95 * SPECTRA[b][0] + 0.05 * SPECTRA[b][1] for b in self.bands]) * 1e-4

    def write(self, tile: Tile, period: int, *, bare: np.ndarray, key: str = "k") -> None:
        rng = np.random.default_rng([tile.column, tile.row, period])
        ground = np.random.default_rng([tile.column, tile.row]).uniform(0, 0.1, (128, 128))
        share = np.where(bare, 1.0, ground)
        factor = 0.96 if period >= 79 else 1.0  # the target is darker everywhere
        values = np.empty((len(self.bands), 128, 128), np.int16)
        for plane, band in zip(values, self.bands, strict=True):
            forest, soil = SPECTRA[band]
            plane[...] = factor * (forest + (soil - forest) * share) + rng.normal(0, 8, share.shape)
        observed = np.ones((128, 128), np.uint16)
        if tile == self.hidden and period >= 79:
            observed[:] = 0
        observed[:10, period % 7 : 40] = 0
        values[:, observed == 0] = NODATA_INT16
        with self.store.begin() as write:
            arrays = {"reflectance": values, "observed": observed}
            fork = write_tile(write.fork(), self.group, tile, period, arrays)
            write.commit([fork], {self.group: [Record(key, tile.id, period)]})


BASELINE = MONTHLY.periods(dt.date(2019, 8, 1), dt.date(2019, 9, 30))
TARGET = MONTHLY.periods(dt.date(2020, 8, 1), dt.date(2020, 9, 30))


@pytest.fixture(scope="session")
def small_cube(tmp_path_factory: pytest.TempPathFactory) -> SmallCube:
    """Five by three tiles, two months of two years."""
    store = Store.open(str(tmp_path_factory.mktemp("small") / "cube"))
    bands = tuple(band for band in OPTICAL_BANDS if band in SPECTRA)
    group = store.ensure_group(cube_schema("sentinel-2", ZONE, 120, MONTHLY, bands))
    tiles = tuple(Tile(ZONE, 28 + i, 356 + j) for i in range(5) for j in range(3))
    cube = SmallCube(store, group, bands, tiles, tiles[4], tiles[13])
    for period in (*BASELINE, *TARGET):
        for tile in tiles:
            bare = np.zeros((128, 128), bool)
            if tile == cube.changed and period in TARGET:
                bare[60:90, 50:100] = True
            cube.write(tile, period.index, bare=bare)
    return cube
