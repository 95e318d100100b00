"""Parts of patches of change, and which of them belong together."""

from __future__ import annotations

import dataclasses

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from terrascope.geo.tiles import Tile
from terrascope.types import ChangeKind

__all__ = ["KINDS", "Part", "Patches"]

KINDS = tuple(kind for kind in ChangeKind if kind is not ChangeKind.OUTSIDE)
"""Kinds in order of their codes."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The pixels of one patch in one tile.

    Parameters
    ----------
    tile : Tile
        The tile.
    first : int
        Flat index of its first pixel in the tile, north-western first.
    area_m2 : float
        Sum of the geodesic areas of its pixels.
    kind_m2 : tuple of float
        Area by code of `KINDS`.
    status : int
        Highest status.
    detected_on : int
        Earliest day since 1970-01-01, -1 where unknown.
    probability : tuple of float
        Sum, count and maximum of the change probability.
    confidence : tuple of float
        Sum and count.
    model : tuple of float
        Sum and count of the model's probability; a count of 0 where it did not look.
    outline : shapely.Geometry
        In the zone's CRS.
    """

    tile: Tile
    first: int
    area_m2: float
    kind_m2: tuple[float, ...]
    status: int
    detected_on: int
    probability: tuple[float, float, float]
    confidence: tuple[float, float]
    model: tuple[float, float]
    outline: shapely.Geometry


@dataclasses.dataclass
class Patches:
    """Parts and which of them belong together.

    Parameters
    ----------
    parts : list of Part
        All parts that may belong to a patch of the minimum size.
    pairs : list of ndarray of int64, shape (n, 2)
        Indices of parts that touch.
    """

    parts: list[Part] = dataclasses.field(default_factory=list)
    pairs: list[NDArray[np.int64]] = dataclasses.field(default_factory=list)

    def add(self, part: Part) -> int:
        """Add a part that belongs to no other yet.

        Parameters
        ----------
        part : Part
            The part.

        Returns
        -------
        index : int
            Its place in `parts`.
        """
        self.parts.append(part)
        return len(self.parts) - 1

    def join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Join parts in pairs.

        Parameters
        ----------
        first, second : ndarray of int64, shape (pairs,)
            Indices; pairs with a negative index are left aside.
        """
        both = (first >= 0) & (second >= 0)
        self.pairs.append(np.unique(np.column_stack([first[both], second[both]]), axis=0))

    def groups(self) -> list[list[Part]]:
        """Return the patches.

        Returns
        -------
        groups : list of list of Part
            Parts of a patch sorted by tile and first pixel.
        """
        if not self.parts:
            return []
        first, second = np.concatenate([np.empty((0, 2), np.int64), *self.pairs]).T
        size = len(self.parts)
        touching = coo_array((np.ones(len(first), np.int8), (first, second)), (size, size))
        found: dict[int, list[Part]] = {}
        patch_of = connected_components(touching, directed=False)[1]
        for part, patch in zip(self.parts, patch_of.tolist(), strict=True):
            found.setdefault(patch, []).append(part)
        return [sorted(group, key=lambda p: (p.tile, p.first)) for group in found.values()]
