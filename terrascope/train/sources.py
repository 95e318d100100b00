"""Batches of a recipe's stages, made by the data room, ahead of the steps that need them."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from terrascope.data.batches import Batch
from terrascope.data.finishing import Choice
from terrascope.data.perturb import Perturbation
from terrascope.data.stream import Batches, StreamSettings
from terrascope.data.views import View
from terrascope.model.sequences import Query
from terrascope.train.loop import Source
from terrascope.train.recipe import Recipe
from terrascope.train.settings import Stage

__all__ = ["SimulatedSource", "open_source", "stream_settings", "without_images"]

_AHEAD = 3
"""Batches that each worker keeps ready."""
_BLOCK = 240
"""Batches of a round: as many workers as divide it meet their own scenes again."""
_RENDERED_PX = 128
"""Smaller windows are cut out of renderings of this side: fields and rivers keep their size."""


def open_source(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Source:
    """Open the simulator as the source of a run.

    Parameters
    ----------
    recipe : Recipe
        Seed, mechanism, workers.
    tokenizer : PreTrainedTokenizerBase
        Of the text.

    Returns
    -------
    source : Source
        For `terrascope.train.loop.Trainer`.
    """
    return SimulatedSource(recipe, tokenizer)


def stream_settings(recipe: Recipe, stage: Stage, split: str) -> StreamSettings:
    """Say what the batches of a stage consist of.

    Parameters
    ----------
    recipe : Recipe
        Mechanism.
    stage : Stage
        Source and sizes.
    split : str
        ``"train"`` or ``"validation"``.

    Returns
    -------
    settings : StreamSettings
        Masks are handed over as they are: which tokens follow them is the model's to decide.
    """
    mechanism = recipe.mechanism
    alone = mechanism.modality_dropout
    lone = (1 - alone, 0.6 * alone, 0.4 * alone)
    masks = stage.source == "segmentation"
    return StreamSettings(
        source=stage.source,
        split=split,
        windows=stage.batch,
        samples=stage.samples,
        masks=stage.samples,
        absent=stage.absent,
        pairs=stage.pairs,
        changed=stage.changed,
        rounds=stage.rounds if split == "train" else 1,
        block=_BLOCK,
        window_px=stage.window_px,
        render_px=max(_RENDERED_PX, stage.window_px),
        dates=stage.dates,
        view=View(sensors=lone, guess=not masks),
        choice=Choice(weights=dict(stage.weights) or None),
        measured=mechanism.measured,
        perturbation=Perturbation(share=mechanism.perturbed) if mechanism.perturbed else None,
        injection="none" if masks else "mask",
    )


@dataclasses.dataclass(frozen=True)
class SimulatedSource:
    """Batches of simulated scenes; a `terrascope.train.loop.Source`.

    Parameters
    ----------
    recipe : Recipe
        Seed, mechanism, workers.
    tokenizer : PreTrainedTokenizerBase
        Of the text.
    """

    recipe: Recipe
    tokenizer: PreTrainedTokenizerBase

    def __call__(self, stage: Stage, *, split: str, start: int, stride: int) -> Iterator[Batch]:
        """Give the batches of a stage; see `terrascope.train.loop.Source`.

        Parameters
        ----------
        stage : Stage
            Whose.
        split : str
            ``"train"`` or ``"validation"``; the latter does not depend on the seed.
        start, stride : int
            Numbers of the batches.

        Yields
        ------
        batch : Batch
            In the order of their numbers.
        """
        seed = (self.recipe.seed if split == "train" else 0, zlib.crc32(stage.name.encode()))
        kind = Batches if stage.images else _Blind
        settings = stream_settings(self.recipe, stage, split)
        made = kind(settings, self.tokenizer, seed[0] * 2**32 + seed[1])
        workers = self.recipe.workers
        ahead = _AHEAD if split == "train" else 1
        yield from DataLoader(
            made,
            batch_size=None,
            sampler=itertools.count(start, stride),
            num_workers=workers,
            prefetch_factor=ahead if workers else None,
            pin_memory=bool(workers) and torch.cuda.is_available(),
        )


def without_images(query: Query) -> Query:
    """Take the images out of a prompt: what stands between its first token and the question.

    Parameters
    ----------
    query : Query
        As `terrascope.model.prompts.compose_query` writes it.

    Returns
    -------
    query : Query
        Of the same window, whose masks can still be decoded.
    """
    start, end = query.question
    prompt = [*query.prompt[:1], *query.prompt[start:]]
    return dataclasses.replace(query, prompt=prompt, question=(1, 1 + end - start))


class _Blind(Batches):
    """The same without their images in the prompts."""

    def __getitem__(self, number: int) -> Batch:
        batch = super().__getitem__(number)
        return dataclasses.replace(batch, queries=[without_images(q) for q in batch.queries])
