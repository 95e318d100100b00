"""All makers of questions, by name, with the weights of a balanced mixture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from terrascope.data.facts import Facts
from terrascope.data.finishing import Choice, finish
from terrascope.data.proposals import Proposal
from terrascope.data.questions import change, land, relations
from terrascope.data.questions.caption import make_caption
from terrascope.data.questions.segment import make_segmentation
from terrascope.data.samples import Sample

__all__ = ["MAKERS", "PROPOSALS", "SMALL_WEIGHTS", "Maker"]

PROPOSALS = 8
"""Tried of one maker, so that rare questions are asked about as often as others."""


@dataclasses.dataclass(frozen=True)
class Maker:
    """One way to ask about a scene.

    Parameters
    ----------
    weight : float
        How often, in the default mixture.
    propose : callable or None
        Facts and random generator to a proposal, or None where there is no such question.
    write : callable or None
        Facts, random generator and choice to a sample, where there is no proposal to begin with.
    """

    weight: float
    propose: Callable[[Facts, np.random.Generator], Proposal | None] | None = None
    write: Callable[[Facts, np.random.Generator, Choice], Sample | None] | None = None

    def make(
        self, facts: Facts, rng: np.random.Generator, choice: Choice, tries: int = 1
    ) -> Sample | None:
        """Make one sample.

        Parameters
        ----------
        facts : Facts
            Of the scene.
        rng : numpy.random.Generator
            Of all choices.
        choice : Choice
            How.
        tries : int
            Proposals, until there is one. It is then asked or not: trying further would ask more
            often what should be asked less often.

        Returns
        -------
        sample : Sample or None
            None where nothing was to be asked this time.
        """
        if self.propose is None:
            return None if self.write is None else self.write(facts, rng, choice)
        for _ in range(tries):
            proposal = self.propose(facts, rng)
            if proposal is not None:
                return finish(proposal, facts, rng, choice)
        return None


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "coverage": Maker(3.0, land.propose_coverage),
        "area": Maker(3.0, land.propose_area),
        "compare": Maker(2.0, land.propose_compare),
        "boundary": Maker(3.0, relations.propose_boundary),
        "touch": Maker(1.5, relations.propose_touch),
        "distance": Maker(4.0, relations.propose_distance),
        "destroyed share": Maker(10.0, change.propose_destroyed_share),
        "destroyed count": Maker(10.0, change.propose_destroyed_count),
        "existence": Maker(1.0, land.propose_existence),
        "count": Maker(1.0, land.propose_count),
        "location": Maker(1.0, land.propose_location),
        "classify": Maker(1.0, land.propose_classify),
        "largest share": Maker(0.5, land.propose_largest_share),
        "nearer": Maker(1.0, relations.propose_nearer),
        "touching": Maker(0.5, relations.propose_touching),
        "change existence": Maker(1.0, change.propose_change_existence),
        "change area": Maker(2.0, change.propose_change_area),
        "change kind": Maker(2.0, change.propose_change_kind),
        "change share": Maker(2.0, change.propose_change_share),
        "became": Maker(2.0, change.propose_became),
        "more": Maker(2.0, change.propose_more),
        "change date": Maker(2.0, change.propose_change_date),
        "caption": Maker(0.5, write=make_caption),
        "segment": Maker(0.7, write=make_segmentation),
    }
)
"""By name. What few scenes have weighs more: elsewhere another maker is drawn instead."""

SMALL_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "boundary": 6.0,
        "touching": 1.0,
        "nearer": 0.5,
        "count": 1.5,
        "location": 1.0,
        "distance": 1.0,
        "compare": 0.5,
        "coverage": 0.5,
        "area": 0.5,
        "segment": 0.5,
    }
)
"""For small windows: what asks for classes of few parts, which larger windows rarely have."""
