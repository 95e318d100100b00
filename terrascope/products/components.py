"""Patches of change: connected pixels, followed across tiles and across zones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from scipy import ndimage
from scipy.spatial import cKDTree

from terrascope.geo.projection import zone_to_lonlat
from terrascope.geo.tiles import Tile, Zone
from terrascope.kernels.evidence import observed_window
from terrascope.monitor.footprint import tile_pixel_area
from terrascope.products.layers import LayerSource
from terrascope.products.patches import KINDS, Part, Patches
from terrascope.types import Status

__all__ = ["find_patches"]

_CHANGED = (int(Status.PROVISIONAL), int(Status.CONFIRMED))
_NONE = -1
_EIGHT = np.ones((3, 3), np.int8)
_RADIUS_M = 6_378_137.0


def find_patches(source: LayerSource, *, min_area_m2: float) -> Patches:
    """Find connected pixels of change over all tiles.

    Parameters
    ----------
    source : LayerSource
        The results; tiles are read one at a time.
    min_area_m2 : float
        A patch inside one tile that is smaller is dropped at once; patches that
        reach a tile's edge are kept whatever their size so far.

    Returns
    -------
    patches : Patches
        Pixels touch along edges and corners, over tile edges likewise. Over a
        zone's border pixels touch where their squares come within one pixel across
        it and meet along it, as the two grids are turned against each other.
    """
    patches = Patches()
    edges: dict[Tile, _Edges] = {}
    seams: list[_Seam] = []
    row: tuple[Zone, int] | None = None
    for tile in sorted(source.tiles, key=lambda t: (t.zone, -t.row, t.column)):
        if row != (tile.zone, tile.row):
            row = (tile.zone, tile.row)
            above = (tile.zone, tile.row + 1)
            edges = {t: e for t, e in edges.items() if (t.zone, t.row) == above}
        status = source.read(tile, "status")
        if status is None:
            continue
        changed = (status == _CHANGED[0]) | (status == _CHANGED[1])
        if not changed.any():
            continue
        edges[tile], seam = _label_tile(source, tile, changed, min_area_m2, patches)
        _join_neighbours(patches, tile, edges)
        if len(seam.part):
            seams.append(seam)
    _join_zones(patches, seams, source.resolution_m)
    return patches


@dataclasses.dataclass(frozen=True)
class _Seam:
    """Changed pixels near the border of their zone: part, place, and zone as +-number."""

    part: NDArray[np.int64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    zone: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class _Edges:
    """The part of each pixel along the four edges of a tile, -1 where there is none."""

    north: NDArray[np.int64]
    south: NDArray[np.int64]
    west: NDArray[np.int64]
    east: NDArray[np.int64]


def _label_tile(
    source: LayerSource,
    tile: Tile,
    changed: NDArray[np.bool_],
    min_area_m2: float,
    patches: Patches,
) -> tuple[_Edges, _Seam]:
    """Add a tile's parts; return those at its edges, and the pixels near the zone's border."""
    rows, columns = observed_window(changed)
    labels = np.zeros(changed.shape, np.int32)
    count = ndimage.label(changed[rows, columns], _EIGHT, output=labels[rows, columns])
    y, x = np.nonzero(labels[rows, columns])
    area = tile_pixel_area(tile, source.resolution_m, rows=rows, columns=columns)[y, x]
    flat = (y + rows.start) * changed.shape[1] + x + columns.start
    label = labels.ravel()[flat]
    seam_at, seam_lon, seam_lat = _near_border(tile, source.resolution_m, flat, changed.shape[1])
    kept = np.bincount(label, area, count + 1) >= min_area_m2
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1], label[seam_at]):
        kept[edge] = True
    kept[0] = False
    found = np.full(count + 1, _NONE, np.int64)
    if kept.any():
        outlines = _outlines(labels, kept, tile, source.resolution_m, rows=rows, columns=columns)
        for number, facts in _facts(source, tile, flat, label, area=area, kept=kept):
            found[number] = patches.add(Part(tile=tile, outline=outlines[number], **facts))
    zone = -tile.zone.number if tile.zone.hemisphere == "S" else tile.zone.number
    part_of = found[label[seam_at]]
    seam = _Seam(part_of, seam_lon, seam_lat, np.full(len(part_of), zone))
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    return _Edges(*(found[side] for side in sides)), seam


def _facts(
    source: LayerSource,
    tile: Tile,
    flat: NDArray[np.int64],
    label: NDArray[np.int32],
    *,
    area: NDArray[np.float64],
    kept: NDArray[np.bool_],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Measure the kept labels of a tile, in order."""
    use = kept[label]
    flat, label, area = flat[use], label[use], area[use]
    size = len(kept)

    def pixels(name: str, missing: float) -> NDArray[Any]:
        values = source.read(tile, name) if name in source.layers else None
        return np.full(len(flat), missing) if values is None else values.ravel()[flat]

    kind = pixels("change_kind", 0).astype(np.int64)
    kind[kind >= len(KINDS)] = 0
    by_kind = np.bincount(label * len(KINDS) + kind, area, size * len(KINDS)).reshape(size, -1)
    highest = np.zeros(size, np.int64)
    np.maximum.at(highest, label, pixels("status", 0))
    day = pixels("detected_on", -1).astype(np.int64)
    earliest = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(earliest, label, np.where(day < 0, earliest[0], day))
    earliest[earliest == np.iinfo(np.int64).max] = -1
    probability = pixels("change_probability", np.nan).astype(np.float64)
    confidence = pixels("confidence", np.nan).astype(np.float64)
    model = pixels("model_probability", np.nan).astype(np.float64)
    largest = np.full(size, -np.inf)
    np.fmax.at(largest, label, probability)
    numbers, first = np.unique(label, return_index=True)
    total = np.bincount(label, area, size)
    sums = [
        np.bincount(label, weights, size)
        for values in (probability, confidence, model)
        for weights in (np.nan_to_num(values), ~np.isnan(values))
    ]
    for number, at in zip(numbers.tolist(), first.tolist(), strict=True):
        yield (
            number,
            {
                "first": int(flat[at]),
                "area_m2": float(total[number]),
                "kind_m2": tuple(by_kind[number].tolist()),
                "status": int(highest[number]),
                "detected_on": int(earliest[number]),
                "probability": (sums[0][number], sums[1][number], float(largest[number])),
                "confidence": (sums[2][number], sums[3][number]),
                "model": (sums[4][number], sums[5][number]),
            },
        )


def _outlines(
    labels: NDArray[np.int32],
    kept: NDArray[np.bool_],
    tile: Tile,
    resolution_m: int,
    *,
    rows: slice,
    columns: slice,
) -> dict[int, shapely.Geometry]:
    """Return the outlines of kept labels. Pieces joined at corners alone stay valid that way."""
    west, _, _, north = tile.bounds
    transform = Affine(
        resolution_m,
        0.0,
        west + columns.start * resolution_m,
        0.0,
        -resolution_m,
        north - rows.start * resolution_m,
    )
    labels = labels[rows, columns]
    pieces: dict[int, list[shapely.Geometry]] = {}
    for shape, number in shapes(labels, mask=kept[labels], connectivity=4, transform=transform):
        pieces.setdefault(int(number), []).append(shapely.geometry.shape(shape))
    return {number: shapely.union_all(found) for number, found in pieces.items()}


def _join_neighbours(patches: Patches, tile: Tile, edges: Mapping[Tile, _Edges]) -> None:
    """Join with the tiles west, north-west, north and north-east."""
    own = edges[tile]
    size = len(own.north)
    absent = np.full(size, _NONE, np.int64)
    beside = _Edges(absent, absent, absent, absent)

    def neighbour(east: int, north: int) -> _Edges:
        return edges.get(Tile(tile.zone, tile.column + east, tile.row + north), beside)

    north = np.concatenate(
        [neighbour(-1, 1).south[-1:], neighbour(0, 1).south, neighbour(1, 1).south[:1]]
    )
    west = np.concatenate([absent[:1], neighbour(-1, 0).east, absent[:1]])
    for shift in (0, 1, 2):
        patches.join(own.north, north[shift : shift + size])
        patches.join(own.west, west[shift : shift + size])


def _near_border(
    tile: Tile, resolution_m: int, flat: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return which of some pixels lie within 2.5 pixels of their zone's border, and where."""
    reach = np.degrees(2.5 * resolution_m / _RADIUS_M)
    west, south, east, north = tile.bounds
    centre = tile.zone.lon_range[0] + 3.0
    lon, lat = zone_to_lonlat(tile.zone, [west, east, west, east], [south, south, north, north])
    beyond = lat if tile.zone.hemisphere == "N" else -lat
    # between two meridians and beside the equator the ground of a zone is convex: corners suffice
    inner = np.minimum((3.0 - np.abs(lon - centre)) * np.cos(np.radians(lat)), beyond)
    if (inner > 2 * reach).all():
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    x = west + (flat % width + 0.5) * resolution_m
    y = north - (flat // width + 0.5) * resolution_m
    lon, lat = zone_to_lonlat(tile.zone, x, y)
    near = (3.0 - np.abs(lon - centre)) * np.cos(np.radians(lat)) < reach
    at = np.flatnonzero(near | (np.abs(lat) < reach))
    return at, lon[at], lat[at]


def _join_zones(patches: Patches, seams: Sequence[_Seam], resolution_m: int) -> None:
    """Join parts over the border of two zones, pixel by pixel."""
    if not seams:
        return
    part, lon, lat, zone = (
        np.concatenate([getattr(seam, field.name) for seam in seams])
        for field in dataclasses.fields(_Seam)
    )
    phi, lam = np.radians(lat), np.radians(lon)
    sphere = _RADIUS_M * np.column_stack(
        [np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)]
    )
    pairs = cKDTree(sphere).query_pairs(2.4 * resolution_m, output_type="ndarray")
    pairs = pairs[zone[pairs[:, 0]] != zone[pairs[:, 1]]]
    a, b = pairs.T
    turn = (lon[a] - lon[b] + 180.0) % 360.0 - 180.0
    # radii of curvature, so that one pixel is one pixel to a few parts in a thousand
    w = 1 - 0.00669438 * np.sin(phi[a]) ** 2
    eastward = np.abs(np.radians(turn)) * np.cos(phi[a]) * _RADIUS_M / np.sqrt(w)
    northward = np.abs(phi[a] - phi[b]) * _RADIUS_M * (1 - 0.00669438) / w**1.5
    over_equator = np.abs(zone[a]) == np.abs(zone[b])
    across = np.where(over_equator, northward, eastward)
    along = np.where(over_equator, eastward, northward)
    touch = (across < 2.0 * resolution_m) & (along < 1.01 * resolution_m)
    patches.join(part[a[touch]], part[b[touch]])
