"""The parameters of a landscape."""

from __future__ import annotations

import dataclasses

__all__ = ["Layout"]

_SHARES = (
    "forest",
    "conifer",
    "grass",
    "wild",
    "shrub",
    "wetland",
    "bare",
    "aridity",
    "pivots",
    "lake",
    "sea",
    "town",
    "leafy",
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The parameters of a landscape.

    Parameters
    ----------
    forest : float
        Share of the land that is forest, 0 to 1.
    conifer : float
        Share of the stands that are conifers.
    grass : float
        Share of the parcels of open land that are meadow or pasture.
    field_m : float
        Typical width of a field; they are about twice as long.
    village_m, pond_m, quarry_m : float
        Mean spacing of settlements, ponds and quarries.
    river_m : float
        Spacing of the rivers from south to north.
    river_width_m : float
        Mean width of the water.
    relief_m : float
        Standard deviation of the hills.
    field_block : float
        Width of a block of parallel fields, in field widths.
    field_ratio : float
        Length of a field over its width.
    field_turn : float
        How far the blocks turn against each other: 0 all lie alike, 1 at random.
    bank_m : float
        Half the width of the grass between fields.
    hedges : float
        Share of these banks that bear hedges.
    rides : float
        Share of the forest stands with a ride around them.
    openness : float
        0 closed forest, 2 scattered trees.
    wild : float
        Share of the open land that is neither field nor meadow.
    shrub, wetland, bare : float
        Shares of the wild land that are shrubland, wetland and bare ground; the
        rest is rough grass.
    aridity : float
        0 heath and scrub, 1 steppe and sand.
    pivots : float
        Share of the land under round irrigated fields.
    lake, sea : float
        Shares of the land under lakes and under the sea.
    tide : float
        Width of the tidal flats, 0 none.
    town : float
        Share of the land that is built up without a gap.
    leafy : float
        Share of the settlements where houses stand among trees.
    site_scale : float
        Size of villages, ponds and quarries.
    highways : float
        Main roads per 10 km.
    smooth : bool
        Slopes are averaged over some 100 m, and taken within the window.
    """

    forest: float = 0.40
    conifer: float = 0.65
    grass: float = 0.24
    field_m: float = 210.0
    village_m: float = 3400.0
    pond_m: float = 2700.0
    quarry_m: float = 4600.0
    river_m: float = 7000.0
    river_width_m: float = 46.0
    relief_m: float = 55.0
    field_block: float = 6.0
    field_ratio: float = 2.2
    field_turn: float = 1.0
    bank_m: float = 5.0
    hedges: float = 0.16
    rides: float = 0.6
    openness: float = 0.0
    wild: float = 0.0
    shrub: float = 0.0
    wetland: float = 0.0
    bare: float = 0.0
    aridity: float = 0.0
    pivots: float = 0.0
    lake: float = 0.0
    sea: float = 0.0
    tide: float = 0.0
    town: float = 0.0
    leafy: float = 0.0
    site_scale: float = 1.0
    highways: float = 0.0
    smooth: bool = False

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)}: expected a share from 0 to 1")
        for field in dataclasses.fields(self):
            if field.name.endswith("_m") and getattr(self, field.name) <= 0.0:
                raise ValueError(f"{field.name} {getattr(self, field.name)}: expected metres > 0")
