"""The maps of a run as answers and products read them: tile by tile, whatever holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from terrascope.geo.tiles import Tile
from terrascope.monitor.answers.subjects import Subject
from terrascope.types import ChangeKind
from terrascope.vocabulary import CLASS_CODES

__all__ = ["Maps", "TileLayers"]


class Maps(Protocol):
    """Where the maps of a run are read from."""

    @property
    def resolution_m(self) -> int:
        """Pixel size in metres."""

    @property
    def tiles(self) -> Sequence[Tile]:
        """All tiles of the area, whether they have results or not."""

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers that there are; ``status`` is always among them."""

    def read(self, tile: Tile, layer: str) -> NDArray[Any] | None:
        """Return one layer of one tile.

        Parameters
        ----------
        tile : Tile
            One of `tiles`.
        layer : str
            One of `layers`.

        Returns
        -------
        values : ndarray, shape (y, x), or None
            North up; only pixels that the tile owns are other than outside
            (status 255). None where the tile has no result.
        """


class TileLayers:
    """Layers of a tile, each read once.

    Parameters
    ----------
    maps : Maps
        Of a run.
    tile : Tile
        One of its tiles.
    """

    def __init__(self, maps: Maps, tile: Tile) -> None:
        self.tile = tile
        self.maps = maps
        self._read: dict[str, NDArray[Any] | None] = {}

    def values(self, name: str, shape: tuple[int, int], missing: float) -> NDArray[Any]:
        """Return a layer, or what stands for it where there is none.

        Parameters
        ----------
        name : str
            Of the layer.
        shape : tuple of int
            Of a tile.
        missing : float
            Value of every pixel where the run has no such layer, or the tile no result.

        Returns
        -------
        values : ndarray, shape (y, x)
            Do not write to it.
        """
        if name not in self._read:
            known = name in self.maps.layers
            self._read[name] = self.maps.read(self.tile, name) if known else None
        found = self._read[name]
        return np.full(shape, missing) if found is None else found

    def holds(
        self, subject: Subject, window: tuple[slice, slice], shape: tuple[int, int]
    ) -> NDArray[np.bool_]:
        """Return where the kind and the land cover are those of a subject.

        Parameters
        ----------
        subject : Subject
            A change.
        window : tuple of slice
            Rows and columns of the tile.
        shape : tuple of int
            Of the tile.

        Returns
        -------
        holds : ndarray of bool, shape (y, x)
            Of the window, whatever the status there.
        """
        codes = [int(k) for k in subject.kinds]
        if ChangeKind.NONE in subject.kinds:
            codes.append(int(ChangeKind.OUTSIDE))  # changed, and nothing is known of its kind
        kind = self.values("change_kind", shape, int(ChangeKind.NONE))[window]
        found: NDArray[np.bool_] = np.isin(kind, codes)
        if subject.cover is not None:
            name = "class_from" if subject.before else "class_to"
            found &= self.values(name, shape, 0)[window] == CLASS_CODES[subject.cover]
        return found
