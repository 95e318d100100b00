"""An answer: a sentence, its figures, and what it rests on."""

from __future__ import annotations

import dataclasses
import math

from terrascope.monitor.answers.questions import Form

__all__ = ["Answer", "Evidence", "write_degrees", "write_number", "write_share"]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a sentence rests on.

    Parameters
    ----------
    tiles : tuple of str
        Ids of tiles.
    masks : tuple of str
        Files of the output with the layers that were counted.
    events : tuple of str
        Ids of events.
    items : tuple of str
        Ids of scenes.
    """

    tiles: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    items: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to one clause, about one place.

    Parameters
    ----------
    question : str
        The clause.
    form : Form
        What it asks for.
    subject : str
        Of what.
    place : str
        The region, or the whole area.
    text : str
        The sentence.
    answer : str
        In a word: a figure, a name, yes or no; empty where abstained.
    observed_share : float
        Of the ground that is spoken about, 0 to 1.
    evidence : Evidence
        What it rests on.
    value, low, high : float
        The figure and its interval, in `unit`; NaN where there is none.
    unit : str
        Of them; empty for a count.
    mapped : float
        The same figure as the map shows it; NaN where there is none.
    abstained : bool
        Whether no answer is given.
    why : str
        Why not.
    """

    question: str
    form: Form
    subject: str
    place: str
    text: str
    answer: str
    observed_share: float
    evidence: Evidence
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    mapped: float = math.nan
    abstained: bool = False
    why: str = ""


def write_number(value: float) -> str:
    """Write a figure.

    Parameters
    ----------
    value : float
        0 or more.

    Returns
    -------
    text : str
        Three figures, never more than two decimals, thousands apart.
    """
    if 0 < value < 0.005:
        return "under 0.01"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def write_share(share: float) -> str:
    """Write a share in percent that is 0 or 100 only where that is exact.

    Parameters
    ----------
    share : float
        0 to 1.

    Returns
    -------
    text : str
        For instance ``"87.5 %"``.
    """
    percent = 100 * share
    if 0 < percent < 0.1:
        return "under 0.1 %"
    if 99.95 <= percent < 100:
        return "over 99.9 %"
    return f"{percent:.1f} %".replace(".0 %", " %")


def write_degrees(value: float, signs: str) -> str:
    """Write a latitude or a longitude.

    Parameters
    ----------
    value : float
        Degrees.
    signs : str
        Letters of the positive and the negative side.

    Returns
    -------
    text : str
        For instance ``"14.5473° E"``.
    """
    return f"{abs(value):.4f}° {signs[0] if value >= 0 else signs[1]}"
