"""Batches of labelled scenes, for a class of a user: cut, turned, some of them around the class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from terrascope.data.batches import Batch, collate
from terrascope.data.rle import encode_mask
from terrascope.data.samples import Sample, Step, indicator_of
from terrascope.data.scenes import LabelledScene
from terrascope.data.views import cut, turn
from terrascope.model.answers import TextAnswer
from terrascope.model.forms import Form
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.sequences import DatePair
from terrascope.train.settings import Stage
from terrascope.types import BoolArray
from terrascope.vocabulary import AnswerKind, QuestionKind

__all__ = ["LabelledSource", "mask_sample"]

_TRIES = 8


@dataclasses.dataclass(frozen=True)
class LabelledSource:
    """Batches of labelled scenes, cut and turned; a `terrascope.train.loop.Source`.

    Parameters
    ----------
    scenes : sequence of LabelledScene
        Drawn from at random.
    tokenizer : PreTrainedTokenizerBase
        Of the text.
    name : str
        Of the class or change.
    dates : DatePair
        Of the masks.
    seed : int
        Of the draws.
    around : float
        Share of the windows that are drawn around a pixel of the class.
    """

    scenes: Sequence[LabelledScene]
    tokenizer: PreTrainedTokenizerBase
    name: str
    dates: DatePair
    seed: int
    around: float = 0.5

    def __call__(self, stage: Stage, *, split: str, start: int, stride: int) -> Iterator[Batch]:
        """Give batches; see `terrascope.train.loop.Source`.

        Parameters
        ----------
        stage : Stage
            Size of windows and batches.
        split : str
            ``"validation"`` is drawn from the same scenes: what is held out is held out before.
        start, stride : int
            Numbers of the batches.

        Yields
        ------
        batch : Batch
            One mask per window, nothing injected.
        """
        processor = TerrascopeProcessor(size_px=stage.window_px)
        number = start
        while True:
            rng = np.random.default_rng((self.seed, number, int(split == "train")))
            items = [self._item(rng, stage.window_px) for _ in range(stage.batch)]
            yield collate(
                items, processor, self.tokenizer, measured=False, rng=rng, injection="none"
            )
            number += stride

    def _item(self, rng: np.random.Generator, size: int) -> tuple[LabelledScene, list[Sample]]:
        """Cut a window out of a scene, now and then around a place of the class."""
        for _ in range(_TRIES):
            scene = self.scenes[int(rng.integers(len(self.scenes)))]
            mask = scene.mask(self.name, self.dates)
            wanted = bool(rng.random() < self.around)
            if not wanted or mask.any():
                break
        # Square, so that it can be turned; the processor pads what is smaller.
        side = min(size, *mask.shape)
        top, left = _corner(mask, wanted, side, rng)
        if mask.shape != (side, side):
            try:
                scene = cut(scene, top, left, side)
            except ValueError:  # nothing observed there
                return self._item(rng, size)
        scene = turn(scene, int(rng.integers(4)), mirrored=bool(rng.integers(2)))
        return scene, [mask_sample(scene, self.name, self.dates)]


def mask_sample(scene: LabelledScene, name: str, dates: DatePair) -> Sample:
    """Ask for one mask.

    Parameters
    ----------
    scene : LabelledScene
        Of it.
    name : str
        Of the class or change.
    dates : DatePair
        Of the mask.

    Returns
    -------
    sample : Sample
        A question of `QuestionKind.SEGMENT`.
    """
    where = indicator_of(dates)
    step = Step(f"{name} {where}", name, dates, encode_mask(scene.mask(name, dates)))
    return Sample(
        image_id=scene.image_id,
        kind=QuestionKind.SEGMENT,
        task="SEG",
        question=f"Map {name} in {where}.",
        form=Form(AnswerKind.TEXT),
        options=(),
        steps=(step,),
        closing="",
        answer=TextAnswer("shown"),
        fields=(),
    )


def _corner(mask: BoolArray, wanted: bool, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draw the corner of a window, so that it holds a pixel of the class where one is wanted."""
    rows, columns = (max(side - size, 0) for side in mask.shape)
    if not (wanted and mask.any()):
        return int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
    places = np.argwhere(mask)
    y, x = places[int(rng.integers(len(places)))]
    top = int(np.clip(y - rng.integers(size), 0, rows))
    return top, int(np.clip(x - rng.integers(size), 0, columns))
