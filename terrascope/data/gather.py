"""Collect what truths look like: many scenes, every maker of questions, nothing rendered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from terrascope.data.facts import Facts
from terrascope.data.priors import Priors
from terrascope.data.questions.registry import MAKERS, PROPOSALS, SMALL_WEIGHTS
from terrascope.data.scenes import LabelledScene
from terrascope.data.views import cut, label_scene
from terrascope.sim.alterations import Alter
from terrascope.sim.samples import sample_scene

__all__ = ["gather_priors", "label_only_scenes", "truths_of"]

_ROUNDS = 3
"""Proposals of every maker and scene, found as they are found when questions are asked."""


def gather_priors(scenes: Iterable[LabelledScene], *, seed: int = 0) -> Priors:
    """Collect the truths of many scenes.

    Parameters
    ----------
    scenes : iterable of LabelledScene
        Of one kind: what is drawn from the table looks like them.
    seed : int
        Of the proposals.

    Returns
    -------
    priors : Priors
        For `terrascope.data.finishing.Choice`. Quarters of each scene are asked too, for the
        questions that larger windows rarely have.
    """
    rng = np.random.default_rng((seed, 11))
    return Priors.gather(truth for scene in scenes for truth in _truths(scene, rng))


def _truths(
    scene: LabelledScene, rng: np.random.Generator
) -> Iterator[tuple[str, float | str | bool]]:
    yield from truths_of(Facts(scene), rng)
    half = min(scene.window.geometry.shape_yx) // 2
    for top, left in ((0, 0), (0, half), (half, 0), (half, half)):
        quarter = Facts(cut(scene, top, left, half))
        yield from truths_of(quarter, rng, SMALL_WEIGHTS)


def truths_of(
    facts: Facts, rng: np.random.Generator, makers: Collection[str] | None = None
) -> Iterator[tuple[str, float | str | bool]]:
    """Propose many questions about one scene, and yield their truths.

    Parameters
    ----------
    facts : Facts
        Of the scene.
    rng : numpy.random.Generator
        Of the proposals.
    makers : collection of str or None
        Names of those that propose; None for all.

    Yields
    ------
    key, truth : tuple
        As `terrascope.data.priors.Priors.gather` takes them; every question as often as it
        would be asked, were all answers equally likely.
    """
    for name, maker in MAKERS.items():
        if maker.propose is None or (makers is not None and name not in makers):
            continue
        for _ in range(_ROUNDS):
            found = (maker.propose(facts, rng) for _ in range(PROPOSALS))
            proposal = next((one for one in found if one is not None), None)
            if proposal is None:
                continue
            if isinstance(proposal.truth, bool | str):
                yield proposal.key + facts.stratum, proposal.said
            else:
                figure = proposal.truth if proposal.prior is None else proposal.prior
                yield proposal.key + facts.stratum, figure


def label_only_scenes(
    count: int, *, seed: int = 0, split: str = "train", size: int = 128
) -> Iterator[LabelledScene]:
    """Simulate the labels of scenes, without their images.

    Parameters
    ----------
    count : int
        Scenes; in every sixth, developed ground is destroyed.
    seed : int
        Of the first one.
    split : str
        Of the simulator.
    size : int
        Rows and columns.

    Yields
    ------
    scene : LabelledScene
        Its radar image is a constant: everything counts as observed.
    """
    for number in range(count):
        happening = Alter.DEMOLITION if number % 6 == 5 else None
        raw = sample_scene(seed + number, split=split, size=size, happening=happening, render=False)
        raw.radar[:] = -10.0
        yield label_scene(raw)
