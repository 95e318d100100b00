"""The words of questions: several ways to ask for the same."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

__all__ = ["QUESTIONS", "SYNONYMS", "ask"]

SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "water": ("open water", "the water surface"),
        "developed area": ("built up land", "buildings and roads"),
        "bare land": ("bare ground",),
        "grass": ("grassland",),
        "crop": ("crops", "cropland"),
        "tree": ("trees", "forest"),
        "shrub": ("shrubs", "shrubland"),
        "wetland": ("wetlands",),
    }
)
"""Other words that people have for a class; a trace uses its name."""
_SYNONYM_SHARE = 0.2

QUESTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "coverage": (
            "Which share of the ground is {a} in {t}?",
            "What percent of the area does {a} cover in {t}?",
            "How much of the image is covered by {a} in {t}?",
            "Estimate the coverage of {a} in {t}.",
        ),
        "area": (
            "What is the area of {a} in {t} in {unit}?",
            "How large is the area of {a} in {t}? Answer in {unit}.",
            "How many {unit} does {a} cover in {t}?",
            "Estimate the total area of {a} in {t} in {unit}.",
        ),
        "compare": (
            "Which covers more ground in {t}, {a} or {b}?",
            "Is there more {a} or more {b} in {t}?",
            "Compare {a} and {b} in {t}. Which is larger?",
            "Between {a} and {b}, which has the larger area in {t}?",
        ),
        "existence": (
            "Is there any {a} in {t}?",
            "Does {a} appear in {t}?",
            "Is {a} present in {t}?",
            "Does {t} show {a}?",
        ),
        "count": (
            "How many separate parts of {a} are there in {t}?",
            "Count the patches of {a} in {t}.",
            "Of how many parts is {a} in {t}?",
        ),
        "location": (
            "Where does {a} lie in {t}?",
            "In which part of the image is {a} in {t}?",
            "Locate {a} in {t}.",
        ),
        "classify": (
            "Which class covers most of the ground in {t}?",
            "What is the largest class in {t}?",
            "Which land cover is there most of in {t}?",
        ),
        "boundary": (
            "Does {a} touch {b} in {t}?",
            "Do {a} and {b} meet in {t}?",
            "Is there a boundary between {a} and {b} in {t}?",
            "Does {a} lie next to {b} in {t}?",
        ),
        "distance": (
            "How far is {a} from {b} in {t}?",
            "What is the shortest distance between {a} and {b} in {t}?",
            "Estimate the distance from {a} to {b} in {t}.",
            "How many metres are there between {a} and {b} in {t}?",
        ),
        "nearer": (
            "Which is closer to {c} in {t}, {a} or {b}?",
            "Is {a} or {b} the nearest to {c} in {t}?",
            "Between {a} and {b}, which lies closer to {c} in {t}?",
        ),
        "touching": (
            "Which touches {c} in {t}, {a} or {b}?",
            "Is it {a} or {b} that meets {c} in {t}?",
        ),
        "change existence": (
            "Is there any {a} in {t}?",
            "Did {a} occur in {t}?",
            "Has there been {a} in {t}?",
        ),
        "change area": (
            "What is the area of {a} in {t} in {unit}?",
            "How large is the {a} in {t}? Answer in {unit}.",
            "How many {unit} of {a} are there in {t}?",
        ),
        "change kind": (
            "What kind of change is there in {t}?",
            "What has changed in {t}?",
            "Which type of change occurred in {t}?",
        ),
        "change share": (
            "Which share of the {a} of {s} changed in {t}?",
            "How much of the {a} in {s} has changed in {t}?",
        ),
        "destroyed share": (
            "Which share of the developed area of {s} was destroyed in {t}?",
            "What percent of the developed area in {s} has disappeared in {t}?",
            "How much of the developed area was lost in {t}?",
        ),
        "destroyed count": (
            "How many developed places were destroyed in {t}?",
            "Count the parts of destroyed developed area in {t}.",
            "In how many places was developed area destroyed in {t}?",
        ),
        "became": (
            "What has the changed ground become in {t}, {a} or {b}?",
            "Is most of what changed in {t} {a} or {b} afterwards?",
        ),
        "was": (
            "What was the changed ground before in {t}, {a} or {b}?",
            "Was most of what changed in {t} {a} or {b} before?",
        ),
        "more": (
            "Is there more {a} in {t} than in {s}?",
            "Has {a} increased from {s} to {t}?",
        ),
        "less": (
            "Is there less {a} in {t} than in {s}?",
            "Has {a} decreased from {s} to {t}?",
        ),
        "change date": (
            "On which date is {a} first seen? The dates are {dates}.",
            "When did {a} first appear? The dates are {dates}.",
        ),
        "caption": (
            "Describe {t}.",
            "What does {t} show?",
            "Describe the land cover in {t}.",
        ),
        "caption change": (
            "Describe {t} and what changed in {s}.",
            "What does {t} show, and what has changed in {s}?",
        ),
        "segment": (
            "Where is {a} in {t}?",
            "Find all {a} in {t}.",
            "Show the {a} in {t}.",
            "Map {a} in {t}.",
        ),
        "segment change": (
            "Where is {a} in {t}?",
            "Find the {a} in {t}.",
            "Where did {a} occur in {t}?",
            "Map {a} in {t}.",
        ),
        "segment all": (
            "Find the regions of several classes and changes.",
            "Show where each of these is.",
            "Map the classes and what has changed.",
        ),
        "largest share": (
            "Which share of the ground does the largest class cover in {t}?",
            "How much of {t} is covered by the class that covers most?",
        ),
    }
)
"""By kind of question; every word is one of the nano tokenizer's."""


def ask(wording: str, words: Mapping[str, str], rng: np.random.Generator) -> str:
    """Write a question.

    Parameters
    ----------
    wording : str
        Key of `QUESTIONS`.
    words : mapping of str to str
        For its places.
    rng : numpy.random.Generator
        Of the choice of words.

    Returns
    -------
    question : str
        One of its wordings.
    """
    said = QUESTIONS[wording]
    chosen = {name: _called(word, rng) for name, word in words.items()}
    return said[int(rng.integers(len(said)))].format(**chosen)


def _called(word: str, rng: np.random.Generator) -> str:
    """Say a class by another name now and then."""
    others = SYNONYMS.get(word, ())
    if others and rng.random() < _SYNONYM_SHARE:
        return others[int(rng.integers(len(others)))]
    return word
