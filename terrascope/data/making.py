"""From a scene to samples: draw makers of questions until enough of them have one."""

from __future__ import annotations

import numpy as np

from terrascope.data.facts import Facts
from terrascope.data.finishing import Choice
from terrascope.data.questions.registry import MAKERS, PROPOSALS
from terrascope.data.samples import Sample
from terrascope.data.scenes import LabelledScene

__all__ = ["make_samples"]

_DRAWS = 10
"""Makers drawn per sample that is wanted: a scene has no question of some kinds."""


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
    samples: dict[tuple[str, object], Sample] = {}
    for _ in range(_DRAWS * count):
        if len(samples) == count:
            break
        drawn = rng.random() * chances[-1]
        maker = MAKERS[names[int(np.searchsorted(chances, drawn, side="right"))]]
        sample = maker.make(facts, rng, choice, PROPOSALS)
        if sample is not None:
            samples.setdefault((sample.asked, sample.steps), sample)
    return list(samples.values())
