"""Land-cover classes of published maps in the words of this model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import ReadError
from terrascope.vocabulary import CLASS_CODES, UNKNOWN_CLASS

__all__ = ["CLC", "SATLAS", "WORLDCOVER", "translate"]

CLC: Mapping[int, str] = MappingProxyType(
    {
        **dict.fromkeys((111, 112, 121, 122, 123, 124), "developed area"),
        **dict.fromkeys((211, 212, 213, 221, 222, 223, 241), "crop"),
        **dict.fromkeys((231, 321), "grass"),
        **dict.fromkeys((311, 312, 313), "tree"),
        **dict.fromkeys((322, 323, 324), "shrub"),
        **dict.fromkeys((131, 331, 332, 333), "bare land"),
        **dict.fromkeys((411, 412, 421), "wetland"),
        **dict.fromkeys((511, 512, 521, 522, 523), "water"),
        # What is a mixture by definition, passing, or none of the eight: dumps and building
        # sites, parks and sports grounds, small-scale mosaics, agro-forestry, burnt ground,
        # glaciers, salt pans, tidal flats; 999 is "not labelled".
        **dict.fromkeys((132, 133, 141, 142, 242, 243, 244, 334, 335, 422, 423, 999), ""),
    }
)
"""CORINE level-3 codes, from which the 19 classes of BigEarthNet are composed. Its classes of
mixtures (complex cultivation, agriculture with natural vegetation, agro-forestry) and salt pans
are unknown here; natural grassland and sparse vegetation, one class there, are two here."""

WORLDCOVER: Mapping[int, str] = MappingProxyType(
    {
        0: "",
        10: "tree",
        20: "shrub",
        30: "grass",
        40: "crop",
        50: "developed area",
        60: "bare land",
        70: "",
        80: "water",
        90: "wetland",
        95: "wetland",
        100: "",
    }
)
"""ESA WorldCover codes. Snow and ice, and moss and lichen, are unknown; mangroves are wetland."""

SATLAS: Mapping[int, str] = MappingProxyType(
    {
        0: "",
        1: "water",
        2: "developed area",
        3: "tree",
        4: "shrub",
        5: "grass",
        6: "crop",
        7: "bare land",
        8: "",
        9: "wetland",
        10: "wetland",
        11: "",
    }
)
"""Codes of the WorldCover masks that ChatEarthNet's captions were written from: background, water,
developed, tree, shrub, grass, crop, bare, snow, wetland, mangroves, moss."""


def translate(
    codes: NDArray[Any], table: Mapping[int, str], *, item: str, band: str
) -> NDArray[np.uint8]:
    """Translate the codes of a map.

    Parameters
    ----------
    codes : ndarray of integer
        Of the map.
    table : mapping of int to str
        Classes of `terrascope.vocabulary.LAND_COVER`; empty where it is none of them.
    item, band : str
        Whose and which, for messages.

    Returns
    -------
    cover : ndarray of uint8
        Of `CLASS_CODES`; 0 unknown.

    Raises
    ------
    ReadError
        If a code is not in the table.
    """
    found, place = np.unique(codes, return_inverse=True)
    strange = [int(code) for code in found if int(code) not in table]
    if strange:
        raise ReadError(
            f"codes {strange[:8]} are no classes of the map; expected some of {sorted(table)}",
            item=item,
            band=band,
        )
    names = [table[int(code)] for code in found]
    ours = np.array([CLASS_CODES.get(name, UNKNOWN_CLASS) for name in names], np.uint8)
    return ours[place].reshape(codes.shape)
