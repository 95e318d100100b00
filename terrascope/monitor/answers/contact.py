"""Does one thing touch another: pixels side by side, over the borders of tiles, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.geo.aoi import Aoi
from terrascope.geo.projection import zone_to_lonlat
from terrascope.geo.tiles import Tile, Zone
from terrascope.monitor.answers.maps import Maps
from terrascope.monitor.answers.subjects import Subject
from terrascope.monitor.footprint import aoi_mask
from terrascope.types import ChangeKind, Status
from terrascope.vocabulary import CLASS_CODES

__all__ = ["Contact", "find_contact"]

_EIGHT = np.ones((3, 3), bool)
_CHANGED = (int(Status.PROVISIONAL), int(Status.CONFIRMED))
_BLIND = (int(Status.NOT_OBSERVED), int(Status.OUTSIDE))


@dataclasses.dataclass(frozen=True)
class Contact:
    """Where two things touch.

    Parameters
    ----------
    pixels : int
        Pixels of the first that touch the second, or belong to both.
    first, second : int
        Pixels of each.
    open_edge : int
        Pixels of the first that do not touch the second, beside ground that was not observed.
    probability : float
        Of change, the highest where they touch; NaN where they do not, or neither changed.
    lon, lat : float
        A place where they touch; NaN where they do not.
    tiles : tuple of str
        Where they touch; where they do not, tiles that hold either.
    """

    pixels: int
    first: int
    second: int
    open_edge: int
    probability: float
    lon: float
    lat: float
    tiles: tuple[str, ...]


def find_contact(
    maps: Maps, area: Aoi, first: Subject, second: Subject, region: Aoi | None = None
) -> Contact:
    """Look for places where two things touch.

    Parameters
    ----------
    maps : Maps
        Of a run.
    area : Aoi
        The ground that the run was asked for.
    first, second : Subject
        A change or a class of land each; land is that of the later date.
    region : Aoi or None
        Where the first one has to be.

    Returns
    -------
    contact : Contact
        Pixels touch along edges and corners; over the border of two zones nothing touches.
    """
    by_place = {(t.zone, t.column, t.row): t for t in maps.tiles}
    counts = dict.fromkeys(("pixels", "first", "second", "open"), 0)
    best, spot = -1.0, (np.nan, np.nan)
    touching, holding = [], []
    for tile in maps.tiles:
        own = _where(maps, tile, first)
        if own is None:
            continue
        inside = aoi_mask(area, tile, maps.resolution_m)
        if region is not None:
            inside &= aoi_mask(region, tile, maps.resolution_m)
        own &= inside
        here = _where(maps, tile, second)
        if here is None:
            continue
        counts["second"] += int((here & inside).sum())
        if own.any() or (here & inside).any():
            holding.append(tile.id)
        if not own.any():
            continue
        other = _with_rim(maps, tile, second, by_place)
        blind = ndimage.binary_dilation(_blind(maps, tile), _EIGHT)
        touched = own & ndimage.binary_dilation(other, _EIGHT)[1:-1, 1:-1]
        counts["first"] += int(own.sum())
        counts["pixels"] += int(touched.sum())
        counts["open"] += int((own & ~touched & blind).sum())
        if touched.any():
            touching.append(tile.id)
            sure = _sureness(maps, tile, touched)
            place = int(sure.argmax())
            if sure.flat[place] > best:
                best, spot = float(sure.flat[place]), _lonlat(tile, place, own.shape[1], maps)
    known = best >= 0 and (first.is_change or second.is_change)
    return Contact(
        counts["pixels"],
        counts["first"],
        counts["second"],
        counts["open"],
        best if known else float("nan"),
        *spot,
        tuple(sorted(touching or holding)),
    )


def _where(maps: Maps, tile: Tile, subject: Subject) -> NDArray[np.bool_] | None:
    """Return a subject's pixels in one tile; None where the tile has no result."""
    status = maps.read(tile, "status")
    if status is None:
        return None
    found: NDArray[np.bool_] = ~np.isin(status, _BLIND)
    if subject.is_change:
        found = np.isin(status, _CHANGED)
        kind = maps.read(tile, "change_kind") if "change_kind" in maps.layers else None
        if kind is not None and ChangeKind.NONE not in subject.kinds:
            found &= np.isin(kind, [int(k) for k in subject.kinds])
    if subject.cover is not None:
        cover = maps.read(tile, "class_from" if subject.before else "class_to")
        if cover is None:
            return np.zeros_like(found)
        found &= cover == CLASS_CODES[subject.cover]
    return found


def _with_rim(
    maps: Maps, tile: Tile, subject: Subject, by_place: Mapping[tuple[Zone, int, int], Tile]
) -> NDArray[np.bool_]:
    """Return a subject's pixels in a tile and in one pixel around it."""
    size = tile.geobox(maps.resolution_m).shape.x
    rim = np.zeros((size + 2, size + 2), bool)
    # rows are counted northward in tiles, southward in pixels
    for down, into, out in ((1, 0, -1), (0, slice(1, -1), slice(None)), (-1, -1, 0)):
        for right, into_x, out_x in ((-1, 0, -1), (0, slice(1, -1), slice(None)), (1, -1, 0)):
            beside = by_place.get((tile.zone, tile.column + right, tile.row + down))
            found = None if beside is None else _where(maps, beside, subject)
            if found is not None:
                rim[into, into_x] = found[out, out_x]
    return rim


def _blind(maps: Maps, tile: Tile) -> NDArray[np.bool_]:
    return np.asarray(maps.read(tile, "status") == np.uint8(Status.NOT_OBSERVED), np.bool_)


def _sureness(maps: Maps, tile: Tile, touched: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the probability of change where things touch, -1 elsewhere."""
    found = maps.read(tile, "change_probability")
    known = np.zeros(touched.shape) if found is None else np.nan_to_num(found.astype(np.float64))
    return np.where(touched, known, -1.0)


def _lonlat(tile: Tile, place: int, width: int, maps: Maps) -> tuple[float, float]:
    west, _, _, north = tile.bounds
    x = west + (place % width + 0.5) * maps.resolution_m
    y = north - (place // width + 0.5) * maps.resolution_m
    lon, lat = zone_to_lonlat(tile.zone, [x], [y])
    return round(float(lon[0]), 6), round(float(lat[0]), 6)
