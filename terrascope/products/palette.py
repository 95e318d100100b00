"""Colours and names of the map codes, the same in pictures, colour tables and the report.

The kinds use the palette of Okabe and Ito (2008), told apart by readers with any
common colour vision deficiency; probabilities use cividis.

References
----------
Okabe, M., Ito, K.: Color Universal Design, https://jfly.uni-koeln.de/color/ (2008).
Nunez, J., Anderton, C., Renslow, R.: Optimizing colormaps with consideration for color vision
deficiency. PLOS ONE 13(7), 2018, https://doi.org/10.1371/journal.pone.0199239.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from terrascope.types import ChangeKind, Status

__all__ = [
    "COVER_COLOURS",
    "KIND_COLOURS",
    "KIND_NAMES",
    "STATUS_COLOURS",
    "STATUS_NAMES",
    "hex_colour",
    "probability_colours",
]

KIND_COLOURS = MappingProxyType(
    {
        ChangeKind.NONE: (222, 223, 219),
        ChangeKind.VEGETATION_LOSS: (213, 94, 0),
        ChangeKind.REGROWTH: (0, 158, 115),
        ChangeKind.WATER_GAIN: (0, 114, 178),
        ChangeKind.WATER_LOSS: (86, 180, 233),
        ChangeKind.BUILT_UP_GAIN: (204, 121, 167),
        ChangeKind.BARE: (230, 159, 0),
        ChangeKind.OTHER: (240, 228, 66),
    }
)
"""Red, green, blue (0..255) of each code of the `change_kind` layer."""

COVER_COLOURS = (
    (150, 156, 163),
    (0, 100, 200),
    (250, 0, 0),
    (180, 180, 180),
    (255, 255, 76),
    (240, 150, 255),
    (0, 100, 0),
    (255, 187, 34),
    (0, 150, 160),
)
"""Red, green, blue of each code of the land-cover layers, from unknown on; those of ESA WorldCover
where it has the class."""

KIND_NAMES = MappingProxyType(
    {
        ChangeKind.NONE: "No change",
        ChangeKind.VEGETATION_LOSS: "Vegetation loss",
        ChangeKind.REGROWTH: "Regrowth",
        ChangeKind.WATER_GAIN: "Water gain",
        ChangeKind.WATER_LOSS: "Water loss",
        ChangeKind.BUILT_UP_GAIN: "Built-up gain",
        ChangeKind.BARE: "Bare ground",
        ChangeKind.OTHER: "Other change",
    }
)
"""What a reader calls each kind."""

STATUS_COLOURS = MappingProxyType(
    {
        Status.NOT_OBSERVED: (150, 156, 163),
        Status.NO_CHANGE: (222, 223, 219),
        Status.PROVISIONAL: (230, 159, 0),
        Status.CONFIRMED: (213, 94, 0),
        Status.CLOSED: (0, 114, 178),
    }
)
"""Red, green, blue (0..255) of each code of the `status` layer."""

STATUS_NAMES = MappingProxyType(
    {
        Status.NOT_OBSERVED: "Not observed",
        Status.NO_CHANGE: "No change",
        Status.PROVISIONAL: "Provisional",
        Status.CONFIRMED: "Confirmed",
        Status.CLOSED: "Closed",
    }
)
"""What a reader calls each status."""

_CIVIDIS = np.array(
    [
        (0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115),
        (138, 134, 120), (165, 156, 116), (195, 179, 105), (225, 204, 85), (254, 232, 56),
    ],
    dtype=np.float64,
)  # fmt: skip
"""Ten colours of cividis, evenly spaced."""


def hex_colour(rgb: tuple[int, int, int]) -> str:
    """Return a colour as HTML writes it.

    Parameters
    ----------
    rgb : tuple of int
        Red, green, blue, 0..255.

    Returns
    -------
    text : str
        ``#rrggbb``.
    """
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def probability_colours(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colour probabilities with cividis.

    Parameters
    ----------
    values : ndarray of float, shape (...)
        0..1, clipped outside; NaN gives the first colour (mask it yourself).

    Returns
    -------
    rgb : ndarray of uint8, shape (..., 3)
        Red, green, blue.
    """
    steps = np.linspace(0.0, 1.0, len(_CIVIDIS))
    filled = np.clip(np.nan_to_num(values, nan=0.0), 0.0, 1.0)
    channels = [np.interp(filled, steps, _CIVIDIS[:, band]) for band in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
