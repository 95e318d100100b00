"""What is known of the demo's ground and sky, kept beside the archive for scoring."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.demo.site import DemoGrid
from terrascope.sim.cover import Cover
from terrascope.sim.optical import OpticalScene
from terrascope.sim.scenery import Scenery
from terrascope.types import BoolArray

__all__ = ["FLAGGED", "SkyTruth", "ZoneTruth", "read_truth", "sky_of", "write_truth"]

FLAGGED = (3, 8, 9, 10)
"""SCL classes that say cloud, cirrus or cloud shadow."""

_EPOCH = dt.date(1970, 1, 1)
_MASKS = ("imaged", "cloudy", "shaded", "flagged")


@dataclasses.dataclass(frozen=True, eq=False)
class SkyTruth:
    """The true and the flagged sky of one pass over one zone, at 10 m.

    Parameters
    ----------
    day : datetime.date
        Of the pass.
    imaged : ndarray of bool, shape (y, x)
        Inside the swath.
    cloudy, shaded : ndarray of bool, shape (y, x)
        True cloud and true shadow.
    flagged : ndarray of bool, shape (y, x)
        What the scene classification calls cloud, cirrus or shadow.
    """

    day: dt.date
    imaged: BoolArray
    cloudy: BoolArray
    shaded: BoolArray
    flagged: BoolArray


@dataclasses.dataclass(frozen=True, eq=False)
class ZoneTruth:
    """The truth on one zone's pixel grid.

    Parameters
    ----------
    epsg : int
        Of the grid.
    west_m, north_m : float
        Outer corner of the first 10 m pixel.
    kind : ndarray of uint8, shape (y, x)
        `ChangeKind` of what had changed by the end of the target; 0 for none.
        A pixel has changed where at least half of its ground is replaced.
    disturbance : ndarray of uint8, shape (y, x)
        `terrascope.sim.events.Disturbance` codes.
    date : ndarray of int32, shape (y, x)
        Days since 1970-01-01 of the change, -1 where there is none.
    touched : ndarray of bool, shape (y, x)
        Any change at all, also of less than half a pixel.
    field : ndarray of bool, shape (y, x)
        Arable land.
    harvested : ndarray of int32, shape (y, x)
        Days since 1970-01-01 of the harvest in the target's year, -1 for none.
    rotated : ndarray of bool, shape (y, x)
        Fields with another crop in the target's year than in the baseline's.
    skies : tuple of SkyTruth
        In order of time; all passes of the archive.
    """

    epsg: int
    west_m: float
    north_m: float
    kind: NDArray[np.uint8]
    disturbance: NDArray[np.uint8]
    date: NDArray[np.int32]
    touched: BoolArray
    field: BoolArray
    harvested: NDArray[np.int32]
    rotated: BoolArray
    skies: tuple[SkyTruth, ...]


def sky_of(scene: OpticalScene) -> SkyTruth:
    """Keep the sky of a scene.

    Parameters
    ----------
    scene : OpticalScene
        A simulated scene.

    Returns
    -------
    sky : SkyTruth
        Its masks.
    """
    return SkyTruth(
        day=scene.when.time.date(),
        imaged=scene.imaged,
        cloudy=scene.clouds.cloudy,
        shaded=scene.clouds.shaded,
        flagged=np.isin(scene.dense_scl(), FLAGGED),
    )


def write_truth(
    file: Path,
    grid: DemoGrid,
    scenery: Scenery,
    skies: Sequence[SkyTruth],
    *,
    years: tuple[int, int],
    end: dt.date,
) -> None:
    """Write the truth of one zone.

    Parameters
    ----------
    file : pathlib.Path
        Ends in ``.npz``.
    grid : DemoGrid
        Its pixels.
    scenery : Scenery
        Its ground.
    skies : sequence of SkyTruth
        Of its passes.
    years : tuple of int
        Of the baseline and of the target.
    end : datetime.date
        Last day of the target: the day of the truth.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    truth = scenery.truth(end)
    ordered = sorted(skies, key=lambda sky: sky.day)
    packed: dict[str, Any] = {
        name: np.packbits(np.stack([getattr(sky, name) for sky in ordered]), axis=-1)
        for name in _MASKS
    }
    np.savez_compressed(
        file,
        epsg=grid.zone.epsg,
        corner=np.array([grid.west_m, grid.north_m]),
        days=np.array([(sky.day - _EPOCH).days for sky in ordered], np.int32),
        kind=truth.kind,
        disturbance=truth.disturbance,
        date=truth.date,
        touched=truth.touched,
        field=scenery.land.is_cover(Cover.CROP),
        harvested=scenery.harvest_days(years[1]),
        rotated=scenery.crops(years[0]) != scenery.crops(years[1]),
        **packed,
    )


def read_truth(file: Path) -> ZoneTruth:
    """Read what `write_truth` wrote.

    Parameters
    ----------
    file : pathlib.Path
        Ends in ``.npz``.

    Returns
    -------
    truth : ZoneTruth
        Of one zone.
    """
    with np.load(file) as stored:
        columns = stored["kind"].shape[1]
        masks = {
            name: np.unpackbits(stored[name], axis=-1, count=columns).astype(bool)
            for name in _MASKS
        }
        skies = tuple(
            SkyTruth(_EPOCH + dt.timedelta(days=int(day)), *(masks[name][index] for name in _MASKS))
            for index, day in enumerate(stored["days"])
        )
        return ZoneTruth(
            epsg=int(stored["epsg"]),
            west_m=float(stored["corner"][0]),
            north_m=float(stored["corner"][1]),
            kind=stored["kind"],
            disturbance=stored["disturbance"],
            date=stored["date"],
            touched=stored["touched"],
            field=stored["field"],
            harvested=stored["harvested"],
            rotated=stored["rotated"],
            skies=skies,
        )
