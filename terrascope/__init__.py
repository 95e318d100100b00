"""TerraScope: watch large areas of the Earth change, with Sentinel-1 and Sentinel-2.

Importing this package costs nothing: everything heavy is imported where it is used.
``terrascope.open(OUT)`` gives the cube of a run as a lazy xarray Dataset,
``terrascope.open_maps(OUT)`` its map layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from terrascope.access import open_cube as open  # noqa: A004
    from terrascope.access import open_maps

__all__ = ["__version__", "open", "open_maps"]

__version__ = "0.1.0"

_LAZY = {"open": "open_cube", "open_maps": "open_maps"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from terrascope import access

    return getattr(access, _LAZY[name])
