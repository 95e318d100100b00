"""From a scene to samples: draw makers of questions until enough of them have one."""

from __future__ import annotations

import math

import numpy as np

from terrascope.data.facts import Facts
from terrascope.data.finishing import Choice
from terrascope.data.questions.registry import MAKERS, PROPOSALS
from terrascope.data.samples import Sample
from terrascope.data.scenes import LabelledScene

__all__ = ["make_samples"]

_DRAWS = 20
"""Makers drawn per sample that is wanted: a scene has no question of some kinds."""
_TURNS = 3
"""Turns of a maker per sample that is expected of it."""


def make_samples(
    scene: LabelledScene | Facts,
    rng: np.random.Generator,
    count: int,
    *,
    choice: Choice | None = None,
) -> list[Sample]:
    """Ask questions about a scene.

    Parameters
    ----------
    scene : LabelledScene or Facts
        Not modified.
    rng : numpy.random.Generator
        Of all choices: same state, same samples.
    count : int
        Samples wanted.
    choice : Choice or None
        How; None for the defaults.

    Returns
    -------
    samples : list of Sample
        No question twice; fewer than `count` where the scene has too little to ask about.
    """
    facts = scene if isinstance(scene, Facts) else Facts(scene)
    choice = choice or Choice()
    weights = choice.weights or {name: maker.weight for name, maker in MAKERS.items()}
    names = [name for name in MAKERS if weights.get(name, 0) > 0]
    chances = np.cumsum([weights[name] for name in names])
    # Whoever goes on until it is asked gets asked what should be asked less often.
    left = {name: math.ceil(_TURNS * count * weights[name] / chances[-1]) for name in names}
    samples: dict[tuple[str, object], Sample] = {}
    for _ in range(_DRAWS * count):
        if len(samples) == count:
            break
        drawn = rng.random() * chances[-1]
        name = names[int(np.searchsorted(chances, drawn, side="right"))]
        if not left[name]:
            continue
        left[name] -= 1
        sample = MAKERS[name].make(facts, rng, choice, PROPOSALS)
        if sample is not None:
            samples.setdefault((sample.asked, sample.steps), sample)
    return list(samples.values())
