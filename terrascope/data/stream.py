"""An endless stream of batches, the same for the same seed, from any position on.

Batch number n is a function of the settings, the seed and n alone: worker processes only bring it
earlier, and a training that stops goes on where it stood.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from terrascope.data.batches import INJECTIONS, Batch, collate
from terrascope.data.facts import Facts
from terrascope.data.finishing import Choice
from terrascope.data.language import language_batch
from terrascope.data.making import make_samples
from terrascope.data.perturb import Perturbation
from terrascope.data.questions.registry import SMALL_WEIGHTS
from terrascope.data.questions.segment import segmentation_sample
from terrascope.data.samples import Sample
from terrascope.data.scenes import LabelledScene
from terrascope.data.tables import image_at
from terrascope.data.views import View, cut, label_scene, turn
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.sim.alterations import Alter
from terrascope.sim.samples import SceneSample, draw_count, sample_scene

__all__ = ["SOURCES", "Batches", "Renderings", "StreamSettings", "batch_at", "stream"]

SOURCES = ("segmentation", "language", "cot")
"""Many masks per window and nothing injected; traces without images; questions with traces."""

_SCENE_TRIES = 4
"""Scenes tried for one place of a batch: one may be without any question."""
_SPARE = 1 << 40


@dataclasses.dataclass(frozen=True)
class StreamSettings:
    """What a stream consists of.

    Parameters
    ----------
    source : str
        One of `SOURCES`.
    split : str
        Of the simulated scenes.
    windows : int
        Per batch; of ``"language"``, samples per batch.
    samples : int
        Per window, for traces; for segmentation one sample with up to `masks` masks.
    masks : int
        Per window, for segmentation.
    absent : float
        Share of those masks that may be empty.
    pairs : bool
        Whether masks of change are among them.
    window_px : int
        Side of a window; where it is smaller than `render_px`, windows are cut out of one
        rendering, as many as fit.
    render_px : int
        Side of what is rendered at once.
    dates : int or None
        Of every scene; None for 1 to 4, drawn per batch: where all have as many, none is padded.
    view : View
        What is shown of a scene.
    choice : Choice
        How questions are chosen.
    measured : bool
        Whether traces show measured figures.
    perturbation : Perturbation or None
        Errors of masks that are injected and measured.
    injection : str
        One of `terrascope.data.batches.INJECTIONS`.
    destroyed : float
        Share of the scenes in which developed ground is destroyed, where there is any: it is
        rare, and asked about as often as the rest.
    changed : float
        Share of the other scenes in which something else is to happen, any kind as often as the
        others; without, things happen as often as the simulator has it.
    small : float
        Share of the windows with questions that are cut to half their side and padded: in a
        smaller window classes are of fewer parts, which some questions need.
    rounds : int
        Times that a scene is shown, each time in another view, turned and asked anew: rendering
        takes most of the time of a batch.
    block : int
        Batches before what was shown is shown again.
    tables : Path or None
        Tables of `terrascope.data.build` to take the images from, best with their bands; new
        views, turns and questions are drawn in every round. None simulates every scene anew.

    Raises
    ------
    ValueError
        If a setting is unknown or out of range.
    """

    source: str = "cot"
    split: str = "train"
    windows: int = 4
    samples: int = 4
    masks: int = 10
    absent: float = 0.25
    pairs: bool = True
    window_px: int = 128
    render_px: int = 128
    dates: int | None = None
    view: View = dataclasses.field(default_factory=View)
    choice: Choice = dataclasses.field(default_factory=Choice)
    measured: bool = True
    perturbation: Perturbation | None = dataclasses.field(default_factory=Perturbation)
    injection: str = "mask"
    destroyed: float = 0.25
    changed: float = 0.0
    small: float = 0.25
    rounds: int = 1
    block: int = 1
    tables: Path | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES or self.injection not in INJECTIONS:
            raise ValueError(
                f"source {self.source!r}, injection {self.injection!r}: expected one of "
                f"{SOURCES} and one of {INJECTIONS}"
            )
        counts = (self.windows, self.samples, self.masks, self.rounds, self.block)
        if min(counts) < 1 or self.window_px > self.render_px:
            raise ValueError(f"{self}: expected at least one of each, and windows that fit")


def stream(
    settings: StreamSettings,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int = 0,
    position: int = 0,
    workers: int = 0,
    ahead: int = 2,
) -> Iterator[Batch]:
    """Yield batches without end.

    Parameters
    ----------
    settings : StreamSettings
        What they consist of.
    tokenizer : PreTrainedTokenizerBase
        Of the text.
    seed : int
        Of everything.
    position : int
        Number of the first batch; to go on after n batches, n.
    workers : int
        Processes that make batches ahead; 0 makes them in this one.
    ahead : int
        Batches that each worker keeps ready.

    Yields
    ------
    batch : Batch
        In order of their numbers, whatever the number of workers.
    """
    loader = DataLoader(
        Batches(settings, tokenizer, seed),
        batch_size=None,
        sampler=itertools.count(position),
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
    )
    yield from loader


class Renderings:
    """Scenes of the present block, kept by a process for the rounds to come."""

    def __init__(self) -> None:
        self._block = -1
        self._kept: dict[int, SceneSample] = {}

    def get(self, block: int, number: int, make: Callable[[], SceneSample]) -> SceneSample:
        """Return a scene, made only where it is not there.

        Parameters
        ----------
        block : int
            Its block; those of another are forgotten.
        number : int
            Of the scene.
        make : callable
            Renders it.

        Returns
        -------
        sample : SceneSample
            Not to be modified.
        """
        if block != self._block:
            self._block, self._kept = block, {}
        if number not in self._kept:
            self._kept[number] = make()
        return self._kept[number]


def batch_at(
    settings: StreamSettings,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    number: int,
    renderings: Renderings | None = None,
) -> Batch:
    """Make one batch of the stream.

    Parameters
    ----------
    settings : StreamSettings
        What it consists of.
    tokenizer : PreTrainedTokenizerBase
        Of the text.
    seed : int
        Of everything.
    number : int
        Of the batch, from 0.
    renderings : Renderings or None
        What this process keeps for further rounds; None renders everything. The batch does not
        depend on it.

    Returns
    -------
    batch : Batch
        The same in every process. It may hold fewer windows than asked for, where many scenes
        in a row had nothing to ask.

    Raises
    ------
    ValueError
        If no scene had a question: the choice asks for what the scenes do not have.
    """
    rng = np.random.default_rng((seed, number, 1))
    if settings.source == "language":
        return language_batch(
            tokenizer,
            rng,
            settings.windows,
            choice=settings.choice,
            measured=settings.measured,
            window_px=settings.window_px,
        )
    block, within = divmod(number, settings.block * settings.rounds)
    first = block * settings.block + within % settings.block
    dates = settings.dates or draw_count(np.random.default_rng((seed, first, 3)))
    kept = renderings if renderings is not None and settings.rounds > 1 else Renderings()
    items: list[tuple[LabelledScene, list[Sample]]] = []
    per_scene = (settings.render_px // settings.window_px) ** 2
    needed = -(-settings.windows // per_scene)
    most = needed * _SCENE_TRIES
    for place in range(most):
        if len(items) >= settings.windows:
            break
        # Spare scenes come from far away, so that every scene of a round has its turn.
        far = 0 if place < needed else _SPARE + first * most
        which = far + first * needed + place
        raw = kept.get(block, which, partial(_raw, settings, seed, which, dates))
        for scene in _scenes(settings, raw, rng):
            samples = _samples(settings, scene, rng)
            if samples and len(items) < settings.windows:
                items.append((scene, samples))
    if not items:
        raise ValueError(f"batch {number}: none of {most} scenes has a question to ask")
    return collate(
        items,
        TerrascopeProcessor(size_px=settings.window_px),
        tokenizer,
        measured=settings.measured,
        perturbation=settings.perturbation if settings.source == "cot" else None,
        rng=rng,
        injection=settings.injection,
    )


def _raw(settings: StreamSettings, seed: int, number: int, dates: int) -> SceneSample:
    """Render or read a scene; what happens in it follows from its number."""
    if settings.tables is not None:
        return image_at(settings.tables, number, seed=seed).sample()
    rng = np.random.default_rng((seed, number, 2))
    happening = Alter.DEMOLITION if rng.random() < settings.destroyed else None
    if happening is None and settings.changed and rng.random() < settings.changed:
        happening = Alter(rng.choice([int(kind) for kind in Alter]))
    return sample_scene(
        int(np.random.SeedSequence((seed, number)).generate_state(1)[0]),
        split=settings.split,
        size=settings.render_px,
        dates=dates,
        happening=happening,
    )


def _scenes(
    settings: StreamSettings, raw: SceneSample, rng: np.random.Generator
) -> list[LabelledScene]:
    """Show a scene and cut it; nothing where none of it was observed."""
    try:
        scene = label_scene(raw, view=settings.view, rng=rng)
    except ValueError:
        return []
    if settings.split == "train":
        scene = turn(scene, int(rng.integers(4)), mirrored=bool(rng.integers(2)))
    size = settings.window_px
    if size == settings.render_px:
        if settings.source == "cot" and rng.random() < settings.small:
            half = size // 2
            top, left = (int(n) for n in rng.integers(0, size - half + 1, 2))
            return _cut(scene, top, left, half)
        return [scene]
    places = range(0, settings.render_px - size + 1, size)
    return [part for top in places for left in places for part in _cut(scene, top, left, size)]


def _cut(scene: LabelledScene, top: int, left: int, size: int) -> list[LabelledScene]:
    """Cut a window out; nothing where all of it is under hidden clouds or beyond the swath."""
    try:
        return [cut(scene, top, left, size)]
    except ValueError:
        return []


def _samples(
    settings: StreamSettings, scene: LabelledScene, rng: np.random.Generator
) -> list[Sample]:
    facts = Facts(scene)
    if settings.source == "segmentation":
        sample = segmentation_sample(
            facts, rng, settings.masks, settings.absent, pairs=settings.pairs
        )
        return [] if sample is None else [sample]
    choice = settings.choice
    if scene.window.geometry.shape_yx[0] < settings.window_px and choice.weights is None:
        choice = dataclasses.replace(choice, weights=SMALL_WEIGHTS)
    return make_samples(facts, rng, settings.samples, choice=choice)


class Batches(Dataset[Batch]):
    """Batches by number, for the workers of torch.

    Parameters
    ----------
    settings : StreamSettings
        What they consist of.
    tokenizer : PreTrainedTokenizerBase
        Of the text.
    seed : int
        Of everything.
    """

    def __init__(
        self, settings: StreamSettings, tokenizer: PreTrainedTokenizerBase, seed: int
    ) -> None:
        self.settings, self.tokenizer, self.seed = settings, tokenizer, seed
        self.renderings = Renderings()

    def __getitem__(self, number: int) -> Batch:
        return batch_at(
            self.settings,
            self.tokenizer,
            seed=self.seed,
            number=number,
            renderings=self.renderings,
        )
