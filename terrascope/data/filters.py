"""Which questions are fair to ask: the published filters of the benchmark's tasks.

TerraScope-Bench asks only where the answer does not hang on a few pixels (arXiv:2603.19039,
appendix); the data that trains and the items that test use these same functions.
"""

from __future__ import annotations

__all__ = [
    "boundary_is_asked",
    "compare_is_asked",
    "coverage_is_asked",
    "destroyed_count_is_asked",
    "destroyed_share_is_asked",
    "distance_is_asked",
]

_LEAST_SHARE = 0.05
_LEAST_BOUNDARY_SHARE = 0.03
_MOST_PARTS = 5
_LEAST_DISTANCE_PX = 10
_LEAST_GROUPS, _LEAST_DESTROYED = 4, 1


def coverage_is_asked(share: float) -> bool:
    """Tell whether coverage and area of a class are asked for (CA, AQ).

    Parameters
    ----------
    share : float
        Of the observed ground, 0 to 1.

    Returns
    -------
    asked : bool
        From 5 % on.
    """
    return share >= _LEAST_SHARE


def compare_is_asked(one: float, other: float) -> bool:
    """Tell whether two classes are compared (CR).

    Parameters
    ----------
    one, other : float
        Shares of the observed ground, 0 to 1.

    Returns
    -------
    asked : bool
        Both at least 5 %, and apart by more than 10 % of the larger one.
    """
    larger = max(one, other)
    return min(one, other) >= _LEAST_SHARE and abs(one - other) > 0.1 * larger


def boundary_is_asked(one: float, other: float, parts_one: int, parts_other: int) -> bool:
    """Tell whether it is asked if two classes touch (BRD).

    Parameters
    ----------
    one, other : float
        Shares of the observed ground, 0 to 1.
    parts_one, parts_other : int
        8-connected components.

    Returns
    -------
    asked : bool
        Each at least 3 % and of at most 5 components.
    """
    small = min(one, other) < _LEAST_BOUNDARY_SHARE
    return not small and max(parts_one, parts_other) <= _MOST_PARTS


def distance_is_asked(distance_px: float | None) -> bool:
    """Tell whether the distance of two classes is asked for (DM).

    Parameters
    ----------
    distance_px : float or None
        Between the bodies of both, specks opened away, in pixels; None where one is empty.

    Returns
    -------
    asked : bool
        Above 10 pixels.
    """
    return distance_px is not None and distance_px > _LEAST_DISTANCE_PX


def destroyed_share_is_asked(developed: float, destroyed: float) -> bool:
    """Tell whether the destroyed share of developed ground is asked for (BCE).

    Parameters
    ----------
    developed : float
        Share of the observed ground that was developed before, 0 to 1.
    destroyed : float
        Share of that ground that is not any more, 0 to 1.

    Returns
    -------
    asked : bool
        Where at least 3 % was developed, and at least 5 % of it is gone.
    """
    return developed >= _LEAST_BOUNDARY_SHARE and destroyed >= _LEAST_SHARE


def destroyed_count_is_asked(groups: int, destroyed: int) -> bool:
    """Tell whether destroyed groups of buildings are counted (BCE).

    Parameters
    ----------
    groups : int
        Connected developed places before.
    destroyed : int
        Connected places where developed ground is gone.

    Returns
    -------
    asked : bool
        At least 4 groups and 1 destroyed. The published task counts single buildings (at least
        10, 3 of them destroyed), which pixels of 10 m do not resolve.
    """
    return groups >= _LEAST_GROUPS and destroyed >= _LEAST_DESTROYED
