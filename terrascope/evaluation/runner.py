"""A model answers the items of a benchmark: batched, measured, its letters held to a grammar."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from terrascope.evaluation.conditions import Conditions, apply_conditions
from terrascope.evaluation.items import BenchItem, image_batches
from terrascope.evaluation.naming import name_masks
from terrascope.evaluation.outcomes import Outcome, outcome_of
from terrascope.evaluation.ruler import support
from terrascope.model.answers import OptionAnswer
from terrascope.model.backbone import Encoded
from terrascope.model.confidence import AnswerConfidence
from terrascope.model.forms import AnswerError, Form
from terrascope.model.generation_terrascope import Generation, MaskEvent, generate
from terrascope.model.grammar import Grammar, State, Words
from terrascope.model.measurer import MaskMeasurer, valid_pixels
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.precision import inference_precision
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.prompts import compose_query, text_of, token_ids
from terrascope.model.sequences import DatePair, Query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.uncertainty import Calibration
from terrascope.model.windows import Windows
from terrascope.vocabulary import OPTION_LETTERS, AnswerKind, Token

__all__ = ["Examinee", "run_bench", "run_conditions"]

Progress = Callable[[int, int], None]
Watch = Callable[[BenchItem, Mapping[tuple[str, DatePair], MaskEvent]], None]


@dataclasses.dataclass(eq=False)
class Examinee:
    """A model with what it needs to be asked.

    Parameters
    ----------
    model : TerrascopeModel
        In evaluation mode.
    tokenizer : PreTrainedTokenizerBase
        Of the model.
    processor : TerrascopeProcessor
        Of the model.
    max_new_tokens : int
        Of a response, figures and visual tokens apart.
    max_masks : int
        Of a response.
    precision : str
        Of `terrascope.model.precision.PRECISIONS`.
    """

    model: TerrascopeModel
    tokenizer: PreTrainedTokenizerBase
    processor: TerrascopeProcessor
    max_new_tokens: int = 96
    max_masks: int = 6
    precision: str = "auto"

    def __post_init__(self) -> None:
        columns = self.model.backbone.logits(
            torch.zeros(1, self.model.backbone.hidden_size, dtype=self.model.dtype)
        ).shape[-1]
        self.words = Words(self.tokenizer, vocab_size=int(columns))
        self.refresh()

    def refresh(self) -> None:
        """Take over what calibration changed in the model's configuration."""
        config = self.model.config
        self.calibration = Calibration(
            temperature=config.mask_temperature, correlation_length_m=config.correlation_length_m
        )
        self.confidence = AnswerConfidence(**(config.answer_confidence or {}))

    @classmethod
    def load(cls, folder: Path) -> Examinee:
        """Read a saved nano model.

        Parameters
        ----------
        folder : Path
            With weights, configuration, tokenizer and processor settings.

        Returns
        -------
        examinee : Examinee
            Computes in float32 from weights of any width.
        """
        model = TerrascopeModel.from_pretrained(folder, dtype=torch.float32)
        model.train(mode=False)
        tokenizer = NanoTokenizer.from_pretrained(folder)
        return cls(model, tokenizer, TerrascopeProcessor.from_pretrained(folder))


def run_bench(
    examinee: Examinee,
    items: Sequence[BenchItem],
    conditions: Conditions | None = None,
    *,
    windows_per_batch: int = 8,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> list[Outcome]:
    """Let a model answer items.

    Parameters
    ----------
    examinee : Examinee
        Who answers.
    items : sequence of BenchItem
        Each image is encoded once for all its questions.
    conditions : Conditions or None
        None for both sensors, measured, speaking freely.
    windows_per_batch : int
        Images at a time.
    progress : callable or None
        Told items done and in all.
    watch : callable or None
        Shown the masks of every answer, by name and dates.

    Returns
    -------
    outcomes : list of Outcome
        In the order of the items.
    """
    given = {"": conditions or Conditions()}
    several = run_conditions(
        examinee, items, given, windows_per_batch=windows_per_batch, progress=progress, watch=watch
    )
    return several[""]


def run_conditions(
    examinee: Examinee,
    items: Sequence[BenchItem],
    conditions: Mapping[str, Conditions],
    *,
    windows_per_batch: int = 8,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> dict[str, list[Outcome]]:
    """Let a model answer the same items under several conditions.

    Parameters
    ----------
    examinee : Examinee
        Who answers.
    items : sequence of BenchItem
        Each image is encoded once for all its questions, and for all conditions under which the
        same of it is seen.
    conditions : mapping of str to Conditions
        By name.
    windows_per_batch : int
        Images at a time.
    progress : callable or None
        Told answers given and in all.
    watch : callable or None
        Shown the masks of every answer, by name and dates.

    Returns
    -------
    outcomes : dict of str to list of Outcome
        By condition, in the order of the items.
    """
    config = examinee.model.config
    before = config.injection
    found: dict[str, dict[str, Outcome]] = {name: {} for name in conditions}
    done, total = 0, len(items) * len(conditions)
    try:
        for batch in image_batches(items, windows_per_batch):
            scene = _Looked(examinee, batch)
            for name, chosen in conditions.items():
                config.injection = chosen.injection or before
                for outcome in _answer(examinee, batch, scene, chosen, watch):
                    found[name][outcome.item] = outcome
                done += len(batch)
                if progress is not None:
                    progress(done, total)
    finally:
        config.injection = before
    return {name: [answers[item.name] for item in items] for name, answers in found.items()}


class _Looked:
    """The windows of a batch, and what was encoded last."""

    def __init__(self, examinee: Examinee, items: Sequence[BenchItem]) -> None:
        self.examinee = examinee
        first = {item.image: item.window for item in reversed(items)}
        self.images = list(dict.fromkeys(item.image for item in items))
        self.whole = examinee.processor([first[name] for name in self.images])
        self._seen: tuple[Hashable, Windows, Encoded] | None = None

    def under(self, conditions: Conditions) -> tuple[Windows, Encoded]:
        """Return what is seen; encoded anew only where it is not what was seen before."""
        key = (conditions.sensors, conditions.cloud, conditions.seed)
        if self._seen is None or self._seen[0] != key:
            model, precision = self.examinee.model, self.examinee.precision
            windows = apply_conditions(self.whole, self.images, conditions).to(model.device)
            with torch.inference_mode(), inference_precision(model.device, precision):
                self._seen = (key, windows, model.encode(windows))
        return self._seen[1:]


def _answer(
    examinee: Examinee,
    items: list[BenchItem],
    scene: _Looked,
    conditions: Conditions,
    watch: Watch | None,
) -> Iterator[Outcome]:
    model, tokenizer = examinee.model, examinee.tokenizer
    windows, encoded = scene.under(conditions)
    places = [scene.images.index(item.image) for item in items]
    measurer = None
    if conditions.measured:
        measurer = MaskMeasurer(
            windows,
            lambda text: token_ids(tokenizer, text),
            calibration=examinee.calibration,
            threshold=model.config.mask_threshold,
            area_units=[item.area_unit for item in items],
            fields=[item.fields for item in items],
            options=[item.options for item in items],
        )
    dates = windows.date_count.tolist()
    grammars = [
        _grammar(examinee, item, dates[place], conditions)
        for item, place in zip(items, places, strict=True)
    ]
    queries = [
        _query(tokenizer, windows, place, item, encoded.present, conditions)
        for item, place in zip(items, places, strict=True)
    ]
    said = generate(
        model,
        windows,
        queries,
        text=text_of(tokenizer),
        max_new_tokens=examinee.max_new_tokens,
        encoded=encoded,
        measurer=measurer,
        grammars=list(grammars),
        precision=examinee.precision,
    )
    words, seg = text_of(tokenizer), model.config.seg_token_id
    for item, generation, (grammar, _) in zip(items, said, grammars, strict=True):
        named = name_masks(generation, words, seg)
        if watch is not None:
            watch(item, named)
        yield _score(examinee, item, windows, grammar, generation, named)


def _query(
    tokenizer: PreTrainedTokenizerBase,
    windows: Windows,
    window: int,
    item: BenchItem,
    present: Tensor,
    conditions: Conditions,
) -> Query:
    forced = ""
    if conditions.forced:
        masks = "".join(f"{text}{Token.SEG}" for text in item.trace)
        forced = f"{Token.THINK}{masks}"
    return compose_query(tokenizer, windows, window, item.question, forced, present=present)


def _grammar(
    examinee: Examinee, item: BenchItem, dates: int, conditions: Conditions
) -> tuple[Grammar, State]:
    grammar = Grammar(
        examinee.words,
        Form(AnswerKind.OPTION, options=len(item.options)),
        dates=dates,
        opened=conditions.forced,
        max_trace_tokens=examinee.max_new_tokens - 8,
        max_masks=0 if conditions.forced else examinee.max_masks,
    )
    return grammar, grammar.start


def _score(
    examinee: Examinee,
    item: BenchItem,
    windows: Windows,
    grammar: Grammar,
    said: Generation,
    named: Mapping[tuple[str, DatePair], MaskEvent],
) -> Outcome:
    words = text_of(examinee.tokenizer)
    threshold = examinee.model.config.mask_threshold
    drawn = {
        name: (event.probability.cpu(), _valid(windows, event).cpu())
        for name, event in named.items()
    }
    letter, probability = _letter(grammar, said)
    supported = support(item, drawn, examinee.calibration)
    masks = [
        None
        if (found := drawn.get((one.name, one.dates))) is None
        else (found[0].numpy(), (found[0] > threshold).numpy())
        for one in item.references
    ]
    chosen = None if letter is None else ord(letter) - ord("A")
    backed = math.nan if supported is None or chosen is None else supported[chosen]
    return outcome_of(
        item,
        letter,
        masks,
        letter_probability=probability,
        support=backed,
        supported=None if supported is None else OPTION_LETTERS[int(np.argmax(supported))],
        confidence=examinee.confidence(item.kind, probability, backed),
        text=words(list(said.sequence)).replace(Token.PAD.value, ""),
    )


def _valid(windows: Windows, event: MaskEvent) -> Tensor:
    return valid_pixels(windows, event.window, event.date, event.before)


def _letter(grammar: Grammar, said: Generation) -> tuple[str | None, float]:
    """Read the letter and how likely it was among the letters."""
    free = said.ids[len(said.ids) - said.free :]
    start = grammar.words.special.answer
    try:
        _, answer = grammar.parse(free)
    except AnswerError:
        return None, math.nan
    if not isinstance(answer, OptionAnswer) or start not in free:
        return None, math.nan
    return answer.letter, math.exp(said.log_probabilities[free.index(start) + 1])
