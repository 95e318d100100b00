"""One window, one question: what the model sees, draws, measures and answers, as a picture.

    python examples/model_trace.py                      # learns 8 scenes by heart first: minutes
    python examples/model_trace.py --checkpoint DIR     # asks a trained model about a new scene

The scene is simulated, so that the truth is known and can be drawn beside what the model says.
Writes ``model-trace.png`` and ``model-trace.txt``.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from trace_picture import Asked, Mask, draw, write_trace

from terrascope.data.batches import Batch, collate
from terrascope.data.finishing import Choice
from terrascope.data.making import make_samples
from terrascope.data.perturb import Perturbation
from terrascope.data.samples import Sample
from terrascope.data.scenes import LabelledScene
from terrascope.data.views import label_scene
from terrascope.evaluation.items import item_of
from terrascope.evaluation.naming import name_masks, named_last
from terrascope.evaluation.ruler import support
from terrascope.model.answers import OptionAnswer, format_answer
from terrascope.model.generation_terrascope import Generation, generate
from terrascope.model.grammar import Grammar, Words
from terrascope.model.measurer import MaskMeasurer, valid_pixels
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.prompts import compose_query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.uncertainty import Calibration
from terrascope.model.windows import Windows
from terrascope.sim.samples import sample_scene
from terrascope.train.recipe import Recipe
from terrascope.train.run import train
from terrascope.train.settings import Checkpoints, Losses, Mechanism, Optimizer, Stage
from terrascope.vocabulary import Token

BY_HEART, SIDE = 8, 64
"""Scenes that are learnt where no trained model is given, and their size in pixels."""

STEP = re.compile(rf"(.*?){re.escape(Token.SEG)}(?:{Token.PAD})*(<measure>.*?</measure>)?")
"""Words, a mask, its visual tokens, its figures."""


def clear_scenes(split: str, side: int) -> Iterator[LabelledScene]:
    """Yield simulated scenes of two dates that both sensors saw, without clouds."""
    for seed in itertools.count():
        sample = sample_scene(seed, split=split, size=side, dates=2)
        seen = np.isfinite(sample.optical).all() and np.isfinite(sample.radar).all()
        if seen and sample.cloudy.mean() < 0.02:
            yield label_scene(sample)


def questions(scene: LabelledScene, maker: str, count: int, seed: int = 0) -> list[Sample]:
    """Ask what a maker asks, with options."""
    choice = Choice(weights={maker: 1.0}, options_share=1.0, all_fields_share=0.0)
    return make_samples(scene, np.random.default_rng(seed), count, choice=choice)


def learn_by_heart(folder: Path, maker: str) -> None:
    """Train a nano on a handful of scenes until it knows them: minutes on two cores."""
    scenes = itertools.islice(clear_scenes("train", SIDE), BY_HEART)
    items = [(scene, asked) for scene in scenes if (asked := questions(scene, maker, 2))]
    stage = Stage("by heart", "cot", steps=150, rate=1e-3, batch=4, window_px=SIDE, warmup=20)
    recipe = Recipe(
        "by heart",
        (stage,),
        window_px=SIDE,
        mechanism=Mechanism(modality_dropout=0.0),
        losses=Losses(language=2.0),
        optimizer=Optimizer(mean_decay=0.97),
        checkpoints=Checkpoints(every=30),
    )
    processor, tokenizer = TerrascopeProcessor(size_px=SIDE), NanoTokenizer()

    def source(stage: Stage, *, split: str, start: int, stride: int) -> Iterator[Batch]:
        for number in itertools.count(start, stride):
            epoch, place = divmod(number * stage.batch, len(items))
            order = np.random.default_rng((1, epoch)).permutation(len(items))
            chosen = np.take(order, range(place, place + stage.batch), mode="wrap")
            # Its own masks are not perfect when it answers: it has to read figures, too.
            yield collate(
                [items[n] for n in chosen],
                processor,
                tokenizer,
                perturbation=Perturbation(share=0.5, gross_share=0.0),
                rng=np.random.default_rng((2, number)),
            )

    train(recipe, folder, source=source, resume=True)


def ask(folder: Path, scene: LabelledScene, sample: Sample) -> Asked:
    """Let a model answer one question freely, and measure on the way."""
    tokenizer = NanoTokenizer.from_pretrained(folder)
    model = TerrascopeModel.from_pretrained(folder).eval()
    windows = TerrascopeProcessor.from_pretrained(folder)([scene.window])
    calibration = Calibration(
        temperature=model.config.mask_temperature,
        correlation_length_m=model.config.correlation_length_m,
    )
    measurer = MaskMeasurer(
        windows,
        tokenizer.ids,
        calibration=calibration,
        threshold=model.config.mask_threshold,
        area_units=[sample.area_unit],
        fields=[sample.fields],
        options=[sample.options],
    )
    words = Words(tokenizer, vocab_size=model.config.nano.vocab_size)
    grammar = Grammar(words, sample.form, dates=len(scene.dates), max_trace_tokens=90, max_masks=4)
    said = generate(
        model,
        windows,
        [compose_query(tokenizer, windows, 0, sample.asked)],
        text=tokenizer.text,
        measurer=measurer,
        grammars=[(grammar, grammar.start)],
    )[0]
    _, answer = grammar.parse(said.ids)
    named = name_masks(said, tokenizer.text, model.config.seg_token_id)
    drawn = {
        name: (event.probability, valid_pixels(windows, 0, event.date, event.before))
        for name, event in named.items()
    }
    confidence = None
    if isinstance(answer, OptionAnswer):
        confidence = support(item_of(scene, sample, "example"), drawn, calibration)
    text = tokenizer.text(list(said.sequence))
    return Asked(
        windows=windows,
        dates=scene.dates,
        question=sample.question,
        options=sample.options,
        masks=masks_of(said, text, scene, windows, model.backbone.grid),
        closing=text.rpartition(Token.THINK_END)[0].rpartition("]")[2].rpartition(">")[2],
        answer=format_answer(answer, plain=True),
        right=format_answer(sample.answer, plain=True),
        confidence=confidence,
    )


def masks_of(
    said: Generation, text: str, scene: LabelledScene, windows: Windows, grid: int
) -> list[Mask]:
    """Put every mask beside the words before it, the figures behind it and the truth."""
    steps = STEP.findall(text.replace(Token.THINK, ""))
    masks = []
    for (words, figures), event in zip(steps, said.events, strict=True):
        name = named_last(words)
        pair = (event.before, event.date)
        masks.append(
            Mask(
                words=words.strip(),
                figures=re.sub(r"</?measure>", "", figures).strip(),
                dates=pair,
                probability=event.probability.numpy(),
                truth=None if name is None else scene.mask(name, pair),
                cells=event.injection.cells.tolist(),
                sensors=event.injection.sensors.flatten()[event.injection.cells].tolist(),
                grid=grid,
            )
        )
    return masks


def main() -> None:
    """Ask, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, help="folder of a trained model")
    parser.add_argument("--scene", type=int, default=0, help="number of the scene")
    parser.add_argument("--size", type=int, default=128, help="pixels of a new scene's side")
    parser.add_argument("--question", default="compare", help="name of a maker of questions")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    chosen = parser.parse_args()
    folder, split, side = chosen.checkpoint, "test", chosen.size
    if folder is None:
        folder, split, side = Path("out/model-trace"), "train", SIDE
        if not (folder / "model.safetensors").exists():
            learn_by_heart(folder, chosen.question)
    scene = next(itertools.islice(clear_scenes(split, side), chosen.scene, None))
    sample = questions(scene, chosen.question, 1)[0]
    with torch.inference_mode():
        asked = ask(folder, scene, sample)
    chosen.out.mkdir(parents=True, exist_ok=True)
    draw(asked, chosen.out / "model-trace.png")
    write_trace(asked, chosen.out / "model-trace.txt")


if __name__ == "__main__":
    main()
