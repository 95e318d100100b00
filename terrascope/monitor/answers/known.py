"""What a run left behind, as questions need it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import shapely

from terrascope.geo.aoi import Aoi
from terrascope.kernels.prevalence import Reliability
from terrascope.monitor.answers.maps import Maps

__all__ = ["Known", "Spot"]


@dataclasses.dataclass(frozen=True, eq=False)
class Spot:
    """An event of the run: a patch of change of the smallest size or more.

    Parameters
    ----------
    id : str
        Of the event.
    kind : str
        Name of its kind in lower case, as in ``events.parquet``.
    area_m2 : float
        On the map.
    lon, lat : float
        A point inside it, degrees.
    probability : float
        Mean probability of change, NaN where unknown.
    tiles, items : tuple of str
        That it lies in, and scenes behind it.
    outline : shapely.Geometry
        EPSG:4326.
    """

    id: str
    kind: str
    area_m2: float
    lon: float
    lat: float
    probability: float
    tiles: tuple[str, ...]
    items: tuple[str, ...]
    outline: shapely.Geometry


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """All that a run left behind.

    Parameters
    ----------
    maps : Maps
        Its mosaic.
    area : Aoi
        The ground asked for.
    regions : sequence of Aoi
        Named polygons.
    spots : sequence of Spot
        Its events.
    items : mapping of str to sequence of str
        Scenes behind the result of each tile.
    target, baseline : str
        What was compared with what, in words.
    min_area_ha : float
        Smallest event.
    reliability : Reliability
        Of the probabilities.
    looked : Reliability or None
        Of those where a model looked; None where none did.
    """

    maps: Maps
    area: Aoi
    regions: Sequence[Aoi]
    spots: Sequence[Spot]
    items: Mapping[str, Sequence[str]]
    target: str
    baseline: str
    min_area_ha: float
    reliability: Reliability
    looked: Reliability | None = None
