"""The only code that opens rasters: one protocol, three readers, one exact way to resample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from terrascope.readers.protocol import RESAMPLING, Reader, fill_value

__all__ = ["READERS", "RESAMPLING", "Reader", "fill_value", "open_reader"]

READERS = ("stackstac", "odc-stac")
"""Names of the readers of files."""


def open_reader(
    name: str = "stackstac", *, sign: Callable[[str], str] | None = None, **access: Any
) -> Reader:
    """Return a reader of raster files.

    Parameters
    ----------
    name : {"stackstac", "odc-stac"}
        The library that does the loading; the numbers are the same.
    sign : callable or None
        Turns an unsigned address into one that may be opened; picklable.
    **access : object
        Further fields of `terrascope.readers.files.FileAccess`: `timeout_s`, `attempts`...

    Returns
    -------
    reader : Reader
        Picklable; opens nothing yet.

    Raises
    ------
    ValueError
        If `name` is unknown.
    """
    from terrascope.readers.files import FileAccess

    settings = FileAccess(sign=sign, **access)
    if name == "stackstac":
        from terrascope.readers._stackstac import StackstacReader

        return StackstacReader(settings)
    if name == "odc-stac":
        from terrascope.readers._odc import OdcReader

        return OdcReader(settings)
    raise ValueError(f"reader {name!r}: expected one of {READERS}")
