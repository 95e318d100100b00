"""What a question is about, in the words of people and in the codes of the maps."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType

from terrascope.types import ChangeKind
from terrascope.vocabulary import LAND_COVER

__all__ = ["NOUNS", "VERBS", "Subject", "change_of", "ground_of"]

_ALL = frozenset(ChangeKind) - {ChangeKind.OUTSIDE}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A change of some kinds, or a class of land.

    Parameters
    ----------
    name : str
        As a sentence says it.
    kinds : frozenset of ChangeKind
        Kinds of change that count; empty for land, changed or not.
    cover : str or None
        Class of `terrascope.vocabulary.LAND_COVER`: before the change where `kinds` says what
        became of it, after it where the change made it.
    before : bool
        Whether `cover` is the class before.
    note : str
        What the reader must know of the words' meaning; may be empty.
    """

    name: str
    kinds: frozenset[ChangeKind] = frozenset()
    cover: str | None = None
    before: bool = True
    note: str = ""

    @property
    def is_change(self) -> bool:
        """Whether a change is meant."""
        return bool(self.kinds)

    @property
    def layers(self) -> tuple[str, ...]:
        """Map layers that say where it is."""
        cover = () if self.cover is None else ("class_from" if self.before else "class_to",)
        kinds = ("change_kind",) if self.is_change and self.kinds != _ALL else ()
        return ("status", *kinds, *cover)


NOUNS: Mapping[str, str] = MappingProxyType(
    {
        r"(?:forests?|trees?|woodlands?|woods?|canopy|tree cover)": "tree",
        r"(?:vegetation|green)": "vegetation",
        r"(?:open )?(?:water(?: surfaces?)?|rivers?|lakes?|reservoirs?|streams?)": "water",
        r"(?:built[ -]?up (?:land|ground|areas?)|built[ -]?up|developed (?:areas?|land)|"
        r"buildings?(?: and roads)?|settlements?)": "developed area",
        r"bare (?:land|ground|soil)": "bare land",
        r"(?:grass|grasslands?|meadows?|pastures?)": "grass",
        r"(?:crops?|croplands?|arable land|fields?)": "crop",
        r"(?:shrubs?|shrublands?)": "shrub",
        r"wetlands?": "wetland",
    }
)
"""Names of land, as patterns, and what they mean; longer ones first where they overlap."""

VERBS: Mapping[str, str] = MappingProxyType(
    {
        r"(?:lost|loss(?:es)?|lose|disappeared|felled|cleared|clear-?cuts?|destroyed)": "loss",
        r"(?:gain(?:ed|s)?|new|newly|appeared|grew|regrown|regrowth|regrew|growth)": "gain",
        r"(?:chang(?:ed|es?|ing))": "change",
        r"(?:flood(?:ed|s|ing)?)": "flood",
        r"(?:dried(?: up| out)?)": "dry",
    }
)
"""What happened to it."""

_K = ChangeKind
_GREEN = ("tree", "grass", "crop", "shrub", "wetland")


def change_of(noun: str | None, verb: str) -> Subject | None:
    """Return the change that a noun and a verb mean.

    Parameters
    ----------
    noun : str or None
        A value of `NOUNS`.
    verb : str
        A value of `VERBS`.

    Returns
    -------
    subject : Subject or None
        None where the maps hold no such change.
    """
    if verb == "flood":
        return _water(noun, _K.WATER_GAIN, "water gain")
    if verb == "dry":
        return _water(noun, _K.WATER_LOSS, "water loss")
    if noun in _GREEN:
        return _green(noun, verb)
    meaning = {
        (None, "loss"): ("vegetation loss", {_K.VEGETATION_LOSS}),
        ("vegetation", "loss"): ("vegetation loss", {_K.VEGETATION_LOSS}),
        ("vegetation", "gain"): ("regrowth", {_K.REGROWTH}),
        ("vegetation", "change"): ("vegetation change", {_K.VEGETATION_LOSS, _K.REGROWTH}),
        ("water", "loss"): ("water loss", {_K.WATER_LOSS}),
        ("water", "gain"): ("water gain", {_K.WATER_GAIN}),
        ("water", "change"): ("water change", {_K.WATER_LOSS, _K.WATER_GAIN}),
        ("developed area", "gain"): ("new built-up land", {_K.BUILT_UP_GAIN}),
        ("bare land", "gain"): ("new bare ground", {_K.BARE}),
        (None, "change"): ("change", set(_ALL)),
    }.get((noun, verb))
    if meaning is None:
        return None
    note = "loss is counted as vegetation loss" if (noun, verb) == (None, "loss") else ""
    return Subject(meaning[0], frozenset(meaning[1]), note=note)


def ground_of(noun: str) -> Subject | None:
    """Return a class of land, changed or not.

    Parameters
    ----------
    noun : str
        A value of `NOUNS`.

    Returns
    -------
    subject : Subject or None
        None for what is no class.
    """
    return Subject(noun, cover=noun, before=False) if noun in LAND_COVER else None


def _water(noun: str | None, kind: ChangeKind, name: str) -> Subject | None:
    return Subject(name, frozenset({kind})) if noun in (None, "water") else None


def _green(noun: str, verb: str) -> Subject | None:
    """Return a change of a class of vegetation: the class before, or that after."""
    called = "forest" if noun == "tree" else noun
    if verb == "loss":
        return Subject(f"{called} loss", frozenset({_K.VEGETATION_LOSS}), noun)
    if verb == "gain":
        return Subject(f"{called} regrowth", frozenset({_K.REGROWTH}), noun, before=False)
    return Subject(f"change of {called}", _ALL - {_K.NONE}, noun)


def strip(pattern: str, text: str) -> tuple[str | None, str]:
    """Take the first match of a pattern out of a text.

    Parameters
    ----------
    pattern : str
        A regular expression of whole words.
    text : str
        Lower case.

    Returns
    -------
    found : str or None
        What was there.
    rest : str
        The text without it.
    """
    match = re.search(rf"(?<![\w-]){pattern}(?![\w-])", text)
    if match is None:
        return None, text
    return match[0], f"{text[: match.start()]} {text[match.end() :]}"
