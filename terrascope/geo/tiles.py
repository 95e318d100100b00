"""The tile grid: fixed squares of ground, the same in every run and every AOI.

A tile is 15,360 m on a side in its UTM zone, its corners on multiples of
15,360 m from (0, 0) of the zone's CRS, rows counted northward.
"""

from __future__ import annotations

import dataclasses
import re
from functools import cached_property

from affine import Affine
from odc.geo.geobox import GeoBox

__all__ = ["TILE_M", "Tile", "Zone"]

TILE_M = 15_360
"""Side of a tile in metres: divisible by 10, 20, 30, 60 and 120."""

_TILE_ID = re.compile(r"(\d{2})([NS])-(\d{4})-(\d{4})")


@dataclasses.dataclass(frozen=True, order=True)
class Zone:
    """A 6-degree UTM zone and hemisphere, without the Norwegian exceptions.

    Parameters
    ----------
    number : int
        1 to 60.
    hemisphere : {"N", "S"}
        North or south of the equator.
    """

    number: int
    hemisphere: str

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 60 or self.hemisphere not in ("N", "S"):
            raise ValueError(f"zone {self.number}{self.hemisphere}: expected 1..60 and N or S")

    @classmethod
    def parse(cls, text: str) -> Zone:
        """Read ``"33N"``.

        Parameters
        ----------
        text : str
            Two digits and a hemisphere.

        Returns
        -------
        zone : Zone
            The zone.

        Raises
        ------
        ValueError
            If `text` is anything else.
        """
        if re.fullmatch(r"\d{2}[NS]", text) is None:
            raise ValueError(f"zone {text!r}: expected two digits and N or S, for instance 33N")
        return cls(int(text[:2]), text[2])

    @property
    def id(self) -> str:
        """``"33N"``."""
        return f"{self.number:02d}{self.hemisphere}"

    @property
    def epsg(self) -> int:
        """326xx in the north, 327xx in the south."""
        return (32600 if self.hemisphere == "N" else 32700) + self.number

    @property
    def lon_range(self) -> tuple[float, float]:
        """Western and eastern meridian in degrees; a pixel is owned if its centre lies within."""
        west = -180.0 + 6.0 * (self.number - 1)
        return west, west + 6.0

    def __str__(self) -> str:
        return self.id


@dataclasses.dataclass(frozen=True, order=True)
class Tile:
    """One square of the grid.

    Parameters
    ----------
    zone : Zone
        Its zone.
    column, row : int
        Easting and northing of the south-western corner divided by `TILE_M`.
    """

    zone: Zone
    column: int
    row: int

    @classmethod
    def parse(cls, text: str) -> Tile:
        """Read ``"32N-0047-0341"``.

        Parameters
        ----------
        text : str
            A tile's id.

        Returns
        -------
        tile : Tile
            The tile.

        Raises
        ------
        ValueError
            If `text` is not a tile's id.
        """
        match = _TILE_ID.fullmatch(text)
        if match is None:
            raise ValueError(f"tile {text!r}: expected an id such as 32N-0047-0341")
        return cls(Zone(int(match[1]), match[2]), int(match[3]), int(match[4]))

    @property
    def id(self) -> str:
        """Zone and hemisphere, column, row; independent of resolution."""
        return f"{self.zone.id}-{self.column:04d}-{self.row:04d}"

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in metres of the zone's CRS."""
        west, south = float(self.column * TILE_M), float(self.row * TILE_M)
        return west, south, west + TILE_M, south + TILE_M

    def geobox(self, resolution_m: int) -> GeoBox:
        """Return the tile's pixel grid.

        Parameters
        ----------
        resolution_m : int
            Pixel size in metres, a divisor of `TILE_M`.

        Returns
        -------
        geobox : odc.geo.geobox.GeoBox
            North up, `TILE_M` / `resolution_m` pixels on a side.

        Raises
        ------
        ValueError
            If `resolution_m` does not divide `TILE_M`.
        """
        if resolution_m <= 0 or TILE_M % resolution_m:
            raise ValueError(f"resolution {resolution_m} m: must divide the tile of {TILE_M} m")
        size = TILE_M // resolution_m
        west, _, _, north = self.bounds
        affine = Affine(resolution_m, 0.0, west, 0.0, -resolution_m, north)
        return GeoBox((size, size), affine, f"EPSG:{self.zone.epsg}")

    def __str__(self) -> str:
        return self.id
