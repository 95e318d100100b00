"""One read unit of a cube: scenes in, whole shards of its tiles out. Runs on workers.

A read unit is one tile, or a square of neighbouring tiles where memory allows, so that a
block of a COG is decoded once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terrascope.cube.block import Block, as_quarantine, compute_block
from terrascope.cube.extent import covered_window, is_empty
from terrascope.cube.memory import release_large_arrays
from terrascope.cube.spec import CubeSpec
from terrascope.errors import ReadError
from terrascope.geo.tiles import TILE_M, Tile
from terrascope.periods import Period
from terrascope.readers import Reader, open_reader
from terrascope.sensors import SENSORS
from terrascope.store.layout import chunk_pixels, tile_pixels
from terrascope.store.ledger import Record
from terrascope.store.writing import Fork, TileWriter
from terrascope.types import Quality, Quarantine, SceneRef

__all__ = [
    "ReaderSettings",
    "Target",
    "Unit",
    "open_writer",
    "write_unit",
]

Bounds: TypeAlias = tuple[float, float, float, float]
"""West, south, east, north in metres of a zone's CRS."""

_SPARSE = 0.5
"""A tile of which scenes cover less than this share is read chunk by chunk."""


@dataclasses.dataclass(frozen=True)
class ReaderSettings:
    """How workers open scenes; small, so that it travels with every call.

    Parameters
    ----------
    backend : str
        ``"stackstac"`` or ``"odc-stac"``.
    sign : callable, optional
        Turns an unsigned address into a readable one; holds no secret itself.
    timeout_s, attempts, cache_mb : float, int, int
        See `terrascope.readers.files.FileAccess`.
    gdal : tuple of (str, str)
        GDAL options of the catalog profile's storage.
    """

    backend: str = "stackstac"
    sign: Callable[[str], str] | None = None
    timeout_s: float = 20.0
    attempts: int = 3
    cache_mb: int = 64
    gdal: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Target:
    """One work item of a read unit.

    Parameters
    ----------
    tile : Tile
        Its tile.
    key : str
        Its key.
    items : tuple of str
        Ids of the scenes planned for it.
    former_scenes : int
        Scenes that an earlier attempt at the same work could read.
    """

    tile: Tile
    key: str
    items: tuple[str, ...]
    former_scenes: int = 0


@dataclasses.dataclass(frozen=True)
class Unit:
    """What one call reads.

    Parameters
    ----------
    targets : tuple of Target
        Tiles that form a square.
    period : Period
        Of all of them.
    scenes : tuple of SceneRef
        All that touch them.
    bounds : tuple of tuple of float
        Of each scene's footprint: west, south, east, north in metres of the zone's CRS.
    """

    targets: tuple[Target, ...]
    period: Period
    scenes: tuple[SceneRef, ...]
    bounds: tuple[Bounds, ...]

    @property
    def corner(self) -> tuple[int, int]:
        """Column of the western and row of the northern tiles."""
        return min(t.tile.column for t in self.targets), max(t.tile.row for t in self.targets)


def open_writer(spec: CubeSpec, fork: Fork, group: str, tile: Tile, period: int) -> TileWriter:
    """Begin a tile of which everything is missing until it is put.

    Parameters
    ----------
    spec : CubeSpec
        Settings of the cube.
    fork : Fork
        Where it is written.
    group : str
        Path of the group.
    tile : Tile
        The tile.
    period : int
        Index of the period.

    Returns
    -------
    writer : TileWriter
        To be closed.
    """
    writer = TileWriter(fork, group, tile, period)
    for name in _array_names(spec):
        writer.declare(name)
    return writer


def _array_names(spec: CubeSpec) -> tuple[str, str, str]:
    values = "dn" if spec.values == "dn" else SENSORS[spec.sensor].variable
    return values, "observed", "quality"


def write_unit(
    unit: Unit, spec: CubeSpec, settings: ReaderSettings, fork: Fork, group: str, budget: int
) -> tuple[Fork, list[Record]]:
    """Read, composite and write one unit. Runs on a worker.

    Parameters
    ----------
    unit : Unit
        What is read.
    spec : CubeSpec
        Settings of the cube.
    settings : ReaderSettings
        How scenes are opened.
    fork : Fork
        Where the tiles are written.
    group : str
        Path of the group.
    budget : int
        Bytes of a block.

    Returns
    -------
    written : tuple of Fork and list of Record
        The fork that wrote them, and what is to be recorded of each tile.
    """
    release_large_arrays()
    reader = _reader(settings)
    return fork, _write_tiles(unit, spec, reader, fork, group, budget)


def _write_tiles(
    unit: Unit, spec: CubeSpec, reader: Reader, fork: Fork, group: str, budget: int
) -> list[Record]:
    """Write a unit's tiles; a scene that fails anywhere in a tile is left out of all of it.

    So neither the pixels nor the records depend on the blocks that memory allowed.
    """
    period = unit.period.index
    writers = {t.tile: open_writer(spec, fork, group, t.tile, period) for t in unit.targets}
    names = _array_names(spec)
    tallies = {tile: _Tally(spec) for tile in writers}
    n_blocks, causes, touched = 0, set[Quarantine](), set[str]()
    for y, x, geobox, scenes in _blocks(unit, spec, budget):
        block = compute_block(scenes, spec, geobox, reader)
        n_blocks += 1
        touched.update(scene.id for scene in scenes)
        causes.update(block.quarantined)
        for tile, place, part in _split(unit, spec, (y, x), block):
            for name, pixels in zip(names, part, strict=True):
                writers[tile].put(name, *place, pixels)
            tallies[tile].add(part[1], part[2], block.quarantined)
        del block
    aside = _misplaced(unit, spec, reader, touched)
    causes |= aside
    for tally in tallies.values():
        tally.quarantined |= aside
    if causes and len(unit.targets) > 1:
        singles = (dataclasses.replace(unit, targets=(target,)) for target in unit.targets)
        parts = (_write_tiles(single, spec, reader, fork, group, budget) for single in singles)
        return [record for part in parts for record in part]
    known = reader.refused if isinstance(reader, _Refusing) else {}
    if n_blocks > 1 and not {q.item for q in causes} <= known.keys():
        refused = {**{q.item: q for q in sorted(causes, reverse=True)}, **known}
        reader = _Refusing(reader.reader if isinstance(reader, _Refusing) else reader, refused)
        return _write_tiles(unit, spec, reader, fork, group, budget)
    scene_ids = [scene.id for scene in unit.scenes]
    records = []
    for target in unit.targets:
        record = tallies[target.tile].record(target, unit.period, scene_ids)
        if record.scenes < target.former_scenes:
            continue  # an earlier run could read more: what it wrote stays
        writers[target.tile].close()
        records.append(record)
    return records


def _misplaced(
    unit: Unit, spec: CubeSpec, reader: Reader, touched: Collection[str]
) -> set[Quarantine]:
    """Look at the scenes that were planned, but whose stated grid lies elsewhere.

    A footprint may reach a little further than the raster. But a grid that contradicts the
    file must not pass for "no data here": opening the file tells.
    """
    found = set()
    corner = unit.targets[0].tile.geobox(spec.resolution_m)[:1, :1]
    for scene in unit.scenes:
        if scene.id in touched:
            continue
        try:
            reader.read(scene, spec.bands[:1], corner, resampling="nearest")
        except ReadError as error:
            found.add(as_quarantine(error))
    return found


@dataclasses.dataclass(frozen=True)
class _Refusing:
    """A reader that does not try again what failed in another block of the tile."""

    reader: Reader
    refused: Mapping[str, Quarantine]

    def read(
        self, scene: SceneRef, bands: Sequence[str], geobox: GeoBox, *, resampling: str
    ) -> NDArray[Any]:
        if (q := self.refused.get(scene.id)) is not None:
            raise ReadError(
                q.cause, item=q.item, band=q.band, url=q.url or None, transient=q.transient
            )
        return self.reader.read(scene, bands, geobox, resampling=resampling)


@functools.lru_cache(maxsize=8)
def _reader(settings: ReaderSettings) -> Reader:
    """One reader per process, so that open files are kept between units."""
    return open_reader(
        settings.backend,
        sign=settings.sign,
        timeout_s=settings.timeout_s,
        attempts=settings.attempts,
        cache_mb=settings.cache_mb,
        gdal=settings.gdal,
    )


class _Tally:
    """What was seen of one tile over its blocks."""

    def __init__(self, spec: CubeSpec) -> None:
        self.spec = spec
        self.observed = 0
        self.masked_by = dict.fromkeys(("scl", "spectral", "none"), 0)
        self.quarantined: set[Quarantine] = set()

    def add(
        self,
        observed: NDArray[np.uint16],
        quality: NDArray[np.uint8],
        quarantined: Iterable[Quarantine],
    ) -> None:
        self.quarantined.update(quarantined)
        seen = observed > 0
        self.observed += int(np.count_nonzero(seen))
        if not self.spec.masked:
            return
        by_scl = seen & (quality & Quality.BY_SCL > 0)
        by_spectrum = seen & (quality & Quality.BY_SPECTRUM > 0)
        self.masked_by["scl"] += int(np.count_nonzero(by_scl))
        self.masked_by["spectral"] += int(np.count_nonzero(by_spectrum & ~by_scl))
        self.masked_by["none"] += int(np.count_nonzero(seen & ~by_scl & ~by_spectrum))

    def record(self, target: Target, period: Period, scenes: Sequence[str]) -> Record:
        mine = tuple(sorted(q for q in self.quarantined if q.item in target.items))
        failed = {q.item for q in mine}
        state = "complete" if not mine else "partial"
        if failed and failed >= set(target.items):
            state = "failed"
        return Record(
            key=target.key,
            tile=target.tile.id,
            period=period.index,
            state=state,
            scenes=len(set(scenes) & set(target.items)) - len(failed),
            items=len(target.items),
            observed_share=self.observed / tile_pixels(self.spec.resolution_m) ** 2,
            quarantines=mine,
            facts={f"masked_by_{name}": n for name, n in self.masked_by.items() if n},
        )


def _blocks(
    unit: Unit, spec: CubeSpec, budget: int
) -> Iterator[tuple[int, int, GeoBox, list[SceneRef]]]:
    """Cut a unit into blocks on chunk borders: offset in the unit, grid, scenes that touch it."""
    size, chunk = tile_pixels(spec.resolution_m), chunk_pixels(spec.resolution_m)
    column, row = unit.corner
    columns = len({t.tile.column for t in unit.targets})
    rows = len({t.tile.row for t in unit.targets})
    grid = Tile(unit.targets[0].tile.zone, column, row).geobox(spec.resolution_m)
    height, width = rows * size, columns * size
    step_y, step_x = height, width
    if len(unit.targets) == 1:
        step_y, step_x = _block_steps(unit, spec, budget, size, chunk)
    for y in range(0, height, step_y):
        for x in range(0, width, step_x):
            affine = grid.affine @ Affine.translation(x, y)
            geobox = GeoBox((step_y, step_x), affine, grid.crs)
            scenes = [
                scene
                for scene in unit.scenes
                if not is_empty(covered_window(scene, spec.bands, geobox))
            ]
            if scenes:
                yield y, x, geobox, scenes


def _block_steps(unit: Unit, spec: CubeSpec, budget: int, size: int, chunk: int) -> tuple[int, int]:
    """Choose the blocks of a single tile: whole, in strips that fit the budget, or chunks."""
    west, south, east, north = unit.targets[0].tile.bounds
    covered = sum(
        max(0.0, min(e, east) - max(w, west)) * max(0.0, min(n, north) - max(s, south))
        for w, s, e, n in unit.bounds
    )
    if covered < _SPARSE * TILE_M**2:
        return chunk, chunk
    if spec.halo_px == 0:  # nothing is read twice: small blocks cost little
        return chunk, size if len(unit.scenes) == 1 else chunk
    strip_bytes = size * chunk * spec.bytes_per_pixel(len(unit.scenes))
    strips = max(1, min(size // chunk, budget // strip_bytes))
    while (size // chunk) % strips:
        strips -= 1
    return strips * chunk, size


def _split(
    unit: Unit, spec: CubeSpec, offset: tuple[int, int], block: Block
) -> Iterator[tuple[Tile, tuple[int, int], tuple[NDArray[Any], ...]]]:
    """Hand each tile its part of a block: tile, offset in the tile, (values, observed, quality)."""
    if len(unit.targets) == 1:
        yield unit.targets[0].tile, offset, (block.values, block.observed, block.quality)
        return
    size = tile_pixels(spec.resolution_m)
    column, row = unit.corner
    for target in unit.targets:
        y, x = (row - target.tile.row) * size, (target.tile.column - column) * size
        window = (slice(y, y + size), slice(x, x + size))
        yield (
            target.tile,
            (0, 0),
            (block.values[:, *window], block.observed[window], block.quality[window]),
        )
