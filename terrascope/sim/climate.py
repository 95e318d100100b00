"""Climates: when the year of the land begins, how dry its summers and how cold its winters are."""

from __future__ import annotations

import dataclasses

__all__ = ["TEMPERATE", "Climate"]


@dataclasses.dataclass(frozen=True)
class Climate:
    """What the weather of a region does to its plants, apart from single years.

    Parameters
    ----------
    latitude_deg : float
        Decides how high the sun stands.
    shift_days : int
        How much later the seasons come than in central Europe; half a year in
        the south.
    spread_days : float
        How far the calendars of single fields lie apart: small where winter
        sets the date, months in the tropics.
    dry : float
        Strength of the summer drought, 0 to 1: grass turns to straw, fields lie bare.
    mild : float
        Greenness of grass in winter, 0 frozen to 1 as in summer.
    evergreen : float
        Share of the leaves of broadleaved trees that stays all year.
    vigour : float
        Density of all vegetation relative to central Europe.
    fallow : float
        Share of the fields without a crop in a year.
    snow : float
        How often and how long snow lies in the cold months, 0 never to 1.
    """

    latitude_deg: float = 49.8
    shift_days: int = 0
    spread_days: float = 0.0
    dry: float = 0.0
    mild: float = 0.0
    evergreen: float = 0.0
    vigour: float = 1.0
    fallow: float = 0.0
    snow: float = 0.3


TEMPERATE = Climate()
"""Central Europe: the climate of every world that does not name another."""
