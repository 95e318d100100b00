"""What a cube holds and how it is made: one value, the same for all its blocks."""

from __future__ import annotations

import dataclasses
from typing import Any

from terrascope.kernels.masks import OPENING_M, SPECTRAL_BANDS, disk_reach
from terrascope.kernels.speckle import LEE_REACH
from terrascope.periods import Cadence
from terrascope.readers import RESAMPLING
from terrascope.sensors import SENSORS, Sensor

__all__ = ["COMPOSITES", "MASKS", "SPECKLE_FILTERS", "VALUES", "CubeSpec"]

_MONTHLY = Cadence(1, "M")

COMPOSITES = ("median", "medoid", "mean", "best", "first")
MASKS = ("auto", "scl", "spectral", "none")
SPECKLE_FILTERS = ("lee", "none")
VALUES = ("physical", "dn")


@dataclasses.dataclass(frozen=True)
class CubeSpec:
    """Settings of one sensor's cube.

    Parameters
    ----------
    sensor : {"sentinel-2", "sentinel-1"}
        Which scenes.
    bands : tuple of str
        Canonical names, in the cube's order.
    resolution_m : int
        Pixel size.
    cadence : Cadence
        Length of a period.
    composite : {"median", "medoid", "mean", "best", "first"}
        Of the observations of a period. ``best`` is the greenest (highest NDVI: haze, cloud
        and shadow lower it; Holben 1986), ``first`` the first clear one by date. Radar is
        averaged in linear power whatever is asked, except for ``first``.
    mask : {"auto", "scl", "spectral", "none"}
        ``auto`` takes the scene classification where a scene has one, else the spectral test.
    mask_dilation_m : int
        Cloud and shadow grow by this much, and by one pixel at least (0: not at all).
        Sen2Cor's classes miss the edges of clouds.
    values : {"physical", "dn"}
        ``dn``: stored numbers, first scene wins, no mask.
    resampling : {"nearest", "bilinear"}
        Where a scene's grid differs. Bilinear for the 20 and 60 m bands: blocks of repeated
        pixels would put steps into the 10 m indices that mix them with 10 m bands.
    speckle : {"lee", "none"}
        Filter of radar, in linear power, before dB.
    """

    sensor: str
    bands: tuple[str, ...]
    resolution_m: int = 10
    cadence: Cadence = _MONTHLY
    composite: str = "median"
    mask: str = "auto"
    mask_dilation_m: int = 60
    values: str = "physical"
    resampling: str = "bilinear"
    speckle: str = "lee"

    def __post_init__(self) -> None:
        if self.sensor not in SENSORS:
            raise ValueError(f"sensor {self.sensor!r}: expected one of {tuple(SENSORS)}")
        known = SENSORS[self.sensor].bands
        if not self.bands or len(set(self.bands)) < len(self.bands) or set(self.bands) - {*known}:
            raise ValueError(f"bands {self.bands}: expected some of {known}, each once")
        for name, allowed in (
            ("composite", COMPOSITES),
            ("mask", MASKS),
            ("values", VALUES),
            ("resampling", RESAMPLING),
            ("speckle", SPECKLE_FILTERS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} {getattr(self, name)!r}: expected one of {allowed}")
        if self.values == "dn" and not self.optical:
            raise ValueError("values 'dn': expected sentinel-2, whose numbers are uint16")
        if self.resolution_m <= 0 or self.mask_dilation_m < 0:
            raise ValueError(
                f"resolution {self.resolution_m} m, dilation {self.mask_dilation_m} m: "
                "expected a positive and a non-negative number"
            )

    @property
    def facts(self) -> Sensor:
        """How the sensor's values are stored."""
        return SENSORS[self.sensor]

    @property
    def optical(self) -> bool:
        """True for Sentinel-2."""
        return self.sensor == "sentinel-2"

    @property
    def masked(self) -> bool:
        """True where cloud is looked for."""
        return self.optical and self.mask != "none" and self.values == "physical"

    @property
    def read_bands(self) -> tuple[str, ...]:
        """All bands that may be read, those for the mask included."""
        if not self.optical or self.values == "dn":
            return self.bands
        extra = ["red", "nir", "nir08"]
        if self.masked:
            extra += ["scl", *SPECTRAL_BANDS] if self.mask != "scl" else ["scl"]
        return (*self.bands, *(b for b in dict.fromkeys(extra) if b not in self.bands))

    @property
    def dilation_m(self) -> int:
        """Growth of the cloud mask, at least one pixel: a cloud's neighbour touches it."""
        return max(self.mask_dilation_m, self.resolution_m) if self.mask_dilation_m else 0

    @property
    def halo_px(self) -> int:
        """Pixels that are read around a block, so that its edge knows its neighbourhood."""
        if self.masked:
            return 2 * disk_reach(OPENING_M, self.resolution_m) + disk_reach(
                self.dilation_m, self.resolution_m
            )
        return LEE_REACH if not self.optical and self.speckle == "lee" else 0

    def settings(self) -> dict[str, Any]:
        """Return the settings for keys and provenance.

        Returns
        -------
        settings : dict
            JSON-ready; equal settings, equal pixels.
        """
        return {
            **dataclasses.asdict(self),
            "bands": list(self.bands),
            "cadence": str(self.cadence),
        }

    def bytes_per_pixel(self, n_scenes: int) -> int:
        """Estimate the peak memory of computing a block.

        Parameters
        ----------
        n_scenes : int
            That touch the block.

        Returns
        -------
        bytes : int
            Per pixel of the block.
        """
        bands, scenes = len(self.bands), max(1, n_scenes)
        if self.values == "dn":
            return 2 * bands * min(2, scenes) + 7
        if not self.optical:
            return 14 * bands + 40
        # Choosing whole observations takes the planes as one array; medians go band by band.
        copies = 1 if self.composite in ("median", "mean") else 2
        return 2 * bands * (copies * scenes + 1) + 3 * scenes + 16 + 8 * len(SPECTRAL_BANDS)
