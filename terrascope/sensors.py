"""Bands and quality classes of the sensors. Canonical band names are those of Earth Search v1."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

__all__ = ["S1_BANDS", "S2_BANDS", "SCL_CLASSES", "SENSORS", "Band", "Sensor"]


@dataclasses.dataclass(frozen=True)
class Band:
    """One spectral band or polarisation.

    Parameters
    ----------
    name : str
        Canonical name.
    gsd_m : int
        Native ground sampling distance in metres.
    wavelength_um : float
        Centre wavelength in micrometres (0 for radar).
    code : str
        The agency's name, for instance ``B8A``.
    """

    name: str
    gsd_m: int
    wavelength_um: float
    code: str


S2_BANDS = MappingProxyType(
    {
        band.name: band
        for band in (
            Band("coastal", 60, 0.443, "B01"),
            Band("blue", 10, 0.490, "B02"),
            Band("green", 10, 0.560, "B03"),
            Band("red", 10, 0.665, "B04"),
            Band("rededge1", 20, 0.704, "B05"),
            Band("rededge2", 20, 0.740, "B06"),
            Band("rededge3", 20, 0.783, "B07"),
            Band("nir", 10, 0.842, "B08"),
            Band("nir08", 20, 0.865, "B8A"),
            Band("nir09", 60, 0.945, "B09"),
            Band("swir16", 20, 1.610, "B11"),
            Band("swir22", 20, 2.190, "B12"),
        )
    }
)
"""The 12 bands of Sentinel-2 level 2A, in order of wavelength."""

S1_BANDS = MappingProxyType({"vv": Band("vv", 10, 0.0, "VV"), "vh": Band("vh", 10, 0.0, "VH")})
"""The two polarisations of Sentinel-1 interferometric wide swath over land."""

SCL_CLASSES = MappingProxyType(
    {
        0: "no data",
        1: "saturated or defective",
        2: "dark area",
        3: "cloud shadow",
        4: "vegetation",
        5: "not vegetated",
        6: "water",
        7: "unclassified",
        8: "cloud, medium probability",
        9: "cloud, high probability",
        10: "thin cirrus",
        11: "snow or ice",
    }
)
"""Scene classification of Sen2Cor (Sentinel-2 Products Specification Document)."""


@dataclasses.dataclass(frozen=True)
class Sensor:
    """How a sensor's values are stored in a cube.

    Parameters
    ----------
    name : str
        ``"sentinel-2"`` or ``"sentinel-1"``.
    variable : str
        Name of the array in the cube.
    scale : float
        Physical value per stored int16 step.
    unit : str
        Of the physical value.
    bands : tuple of str
        All canonical bands, in cube order.
    """

    name: str
    variable: str
    scale: float
    unit: str
    bands: tuple[str, ...]


SENSORS = MappingProxyType(
    {
        "sentinel-2": Sensor("sentinel-2", "reflectance", 1e-4, "1", tuple(S2_BANDS)),
        "sentinel-1": Sensor("sentinel-1", "backscatter", 1e-2, "dB", tuple(S1_BANDS)),
    }
)
"""Stored int16 x `scale` = surface reflectance (unitless) or backscatter (dB); -32768 missing."""
