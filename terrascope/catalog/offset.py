"""What a stored number means: named resolvers with stated precedence.

Sentinel-2 products of processing baseline 04.00 and later (25 January 2022, and all of
Collection 1, reprocessed as 05.00) carry +1000 on every stored number (`BOA_ADD_OFFSET`
= -1000 in the product's metadata): reflectance = number x 0.0001 - 0.1. Some providers
remove it from the pixels and still state it; the flag `boa_offset_applied` tells. A step
of 0.1 in reflectance looks exactly like change, so the answer is recorded with its source,
and so is every piece of metadata that contradicts it: the pixels are checked later.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "Offset",
    "find_applied_flag",
    "find_baseline",
    "resolve_offset",
]

_OFFSET = -0.1
_OFFSET_BASELINE = (4, 0)
_OFFSET_DATE = dt.date(2022, 1, 25)
_LARGEST_OFFSET = 0.2

_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied", "s2:boa_offset_applied")
_BASELINES = (
    "s2:processing_baseline",
    "sentinel2:processing_baseline",
    "sentinel:processing_baseline",
    "processing:version",
)
_BASELINE_IN_NAME = re.compile(r"_N(\d{2})(\d{2})_")


@dataclasses.dataclass(frozen=True)
class Offset:
    """A resolved reflectance offset.

    Parameters
    ----------
    value : float
        Added after scaling: -0.1 or 0.
    source : str
        The evidence that decided.
    notes : tuple of str
        What contradicts it, or why it is a guess.
    """

    value: float
    source: str
    notes: tuple[str, ...] = ()


def resolve_offset(
    *,
    evidence: Sequence[str],
    applied: bool | None,
    stated: Sequence[tuple[str, float]],
    baseline: str,
    acquired: dt.date,
) -> Offset:
    """Decide the reflectance offset of one Sentinel-2 raster from its metadata.

    Parameters
    ----------
    evidence : sequence of {"flag", "stated", "baseline", "date", "harmonised"}
        What to believe, the strongest first (from the profile). ``flag`` speaks
        only where the provider says the offset was removed; ``harmonised`` always
        says 0.
    applied : bool or None
        The provider's flag; None where absent.
    stated : sequence of (str, float)
        Offsets written on the asset, with the field's name.
    baseline : str
        Such as ``"05.09"``; empty where unknown.
    acquired : datetime.date
        Day of acquisition.

    Returns
    -------
    offset : Offset
        The first evidence that speaks. Without any: 0, with a note.
    """
    notes: list[str] = []
    usable = []
    for field, value in stated:
        if abs(value) <= _LARGEST_OFFSET:
            usable.append((field, value))
        else:
            notes.append(f"{field} = {value:g} is no reflectance offset and was not believed")
    if len({value for _, value in usable}) > 1:
        both = ", ".join(f"{field} = {value:g}" for field, value in usable)
        notes.append(f"the offset is stated twice: {both}")
    possible = {
        "flag": (0.0, "boa_offset_applied = true") if applied else None,
        "stated": (usable[0][1], f"{usable[0][0]} = {usable[0][1]:g}") if usable else None,
        "baseline": _claim_of_baseline(baseline),
        "date": _claim_of_date(acquired),
        "harmonised": (0.0, "profile: harmonised"),
    }
    claims = {name: claim for name, claim in possible.items() if claim is not None}
    winner = next((name for name in evidence if name in claims), None)
    if winner is None:
        return Offset(0.0, "nothing", (*notes, "nothing tells the offset; 0 assumed"))
    value, source = claims[winner]
    if winner == "date":
        notes.append(f"offset {value:g} assumed from the date of acquisition alone")
    notes += _contradictions(winner, claims, usable, applied)
    return Offset(value, source, tuple(notes))


def _claim_of_baseline(baseline: str) -> tuple[float, str] | None:
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", baseline)
    if match is None:
        return None
    due = (int(match[1]), int(match[2])) >= _OFFSET_BASELINE
    return (_OFFSET if due else 0.0), f"baseline {baseline}"


def _claim_of_date(acquired: dt.date) -> tuple[float, str]:
    return (_OFFSET if acquired >= _OFFSET_DATE else 0.0), f"acquired {acquired}"


def _contradictions(
    winner: str,
    claims: Mapping[str, tuple[float, str]],
    stated: Sequence[tuple[str, float]],
    applied: bool | None,
) -> list[str]:
    """Name the evidence that lost and says something else."""
    value, source = claims[winner]
    notes = [
        f"{field} = {other:g} contradicts {source}"
        for field, other in stated
        if winner != "stated" and other != value
    ]
    by_baseline = claims.get("baseline")
    if applied and by_baseline is not None and by_baseline[0] == 0.0:
        notes.append(f"boa_offset_applied = true contradicts {by_baseline[1]}, which had no offset")
    if winner == "stated" and by_baseline is not None and by_baseline[0] != value:
        notes.append(f"{by_baseline[1]} contradicts the stated offset {value:g}")
    if applied and value != 0.0:
        notes.append(f"boa_offset_applied = true contradicts offset {value:g}")
    return notes


def find_applied_flag(properties: Mapping[str, Any]) -> bool | None:
    """Read the flag that says the offset was removed from the pixels.

    Parameters
    ----------
    properties : mapping
        Of a STAC item. Not trusted.

    Returns
    -------
    applied : bool or None
        None where no boolean is stated.
    """
    values = [properties.get(name) for name in _FLAGS]
    return next((value for value in values if isinstance(value, bool)), None)


def find_baseline(properties: Mapping[str, Any], item_id: str) -> str:
    """Read the processing baseline.

    Parameters
    ----------
    properties : mapping
        Of a STAC item. Not trusted.
    item_id : str
        Product names such as ``S2A_MSIL2A_..._N0509_...`` hold it too.

    Returns
    -------
    baseline : str
        Such as ``"05.09"``; empty where unknown.
    """
    for name in _BASELINES:
        value = properties.get(name)
        if isinstance(value, str) and value:
            return value
    for text in (properties.get("s2:product_uri"), item_id):
        if isinstance(text, str) and (match := _BASELINE_IN_NAME.search(text)):
            return f"{match[1]}.{match[2]}"
    return ""
