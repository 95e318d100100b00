"""Token by token: text, masks, their visual tokens and figures, for many sequences at once.

Every row of the batch has a queue of positions that are given (prompt, forced trace, visual
tokens, figures); a row whose queue is empty says its next token. Rows that take in many
positions, some, and one are run apart, on one ragged cache. Whenever ``[SEG]`` was fed
to some rows, their masks are decoded together, and what belongs behind them is queued.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from terrascope.model.backbone import Encoded, MaskPrompts
from terrascope.model.cache import RaggedCache
from terrascope.model.injection import choose_tokens, first_tokens
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.precision import inference_precision
from terrascope.model.rows import Row, split_beginnings
from terrascope.model.sequences import Query, date_of, expand
from terrascope.model.traces import Generation, Grammar, MaskEvent, Measurer, Sampling
from terrascope.model.windows import Windows

__all__ = ["Generation", "Grammar", "MaskEvent", "Measurer", "Sampling", "generate"]

_SHORT = 64
"""Positions; up to 127 are run together, and from there each doubling by itself."""


@torch.no_grad()
def generate(
    model: TerrascopeModel,
    windows: Windows,
    queries: Sequence[Query],
    *,
    text: Callable[[list[int]], str],
    max_new_tokens: int = 256,
    encoded: Encoded | None = None,
    measurer: Measurer | None = None,
    grammars: Sequence[tuple[Grammar, Any] | None] | None = None,
    sampling: Sampling | None = None,
    precision: str | None = None,
) -> list[Generation]:
    """Answer queries.

    Parameters
    ----------
    model : TerrascopeModel
        In evaluation mode.
    windows : Windows
        B windows; each is encoded once, whatever the number of queries.
    queries : sequence of Query
        R queries. The response of a query is forced: said as it is, with a mask decoded at
        every ``[SEG]``; after it the model goes on by itself.
    text : callable
        Token ids to text, to read the dates of masks; `terrascope.model.prompts.text_of`.
    max_new_tokens : int
        Free tokens per query; 0 for the masks of a forced trace alone.
    encoded : Encoded or None
        Of the windows, where they were encoded before.
    measurer : Measurer or None
        Measures every mask.
    grammars : sequence or None
        Per query a grammar and its first state, or None. It sees free tokens only.
    sampling : Sampling or None
        None takes the likeliest token.
    precision : str or None
        One of `terrascope.model.precision.PRECISIONS`, for encoders and language; None for
        what the caller computes in, which is the precision of the weights by default.

    Returns
    -------
    generations : list of R Generation
        In the order of the queries.

    Raises
    ------
    ValueError
        If a query holds an id that the model has no row for: it was written with another
        tokenizer.
    """
    _check_ids(queries, model.config.token_rows)
    with inference_precision(model.device, precision) if precision else contextlib.nullcontext():
        loop = _Loop(
            model=model,
            encoded=model.encode(windows) if encoded is None else encoded,
            dates=windows.date_count.tolist(),
            text=text,
            limit=max_new_tokens,
            measurer=measurer,
            sampling=sampling or Sampling(),
        )
        return loop.run(queries, grammars or [None] * len(queries))


def _check_ids(queries: Sequence[Query], rows: int) -> None:
    """Refuse ids beyond the embedding; a GPU would only say that an assertion failed."""
    for number, query in enumerate(queries):
        highest = max((*query.prompt, *query.response), default=0)
        if highest >= rows:
            raise ValueError(
                f"query {number} holds token {highest}, the model has {rows}: use the tokenizer "
                "that was saved with it"
            )


def _of_like_length(rows: Sequence[Row]) -> list[list[Row]]:
    """Part rows by what they take in: a short one is padded to the longest beside it."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        length = len(row.ids)
        groups.setdefault(0 if length == 1 else max(length, _SHORT).bit_length(), []).append(row)
    return [groups[magnitude] for magnitude in sorted(groups)]


class _Loop:
    """One call of `generate`."""

    def __init__(
        self,
        *,
        model: TerrascopeModel,
        encoded: Encoded,
        dates: list[int],
        text: Callable[[list[int]], str],
        limit: int,
        measurer: Measurer | None,
        sampling: Sampling,
    ) -> None:
        self.model, self.encoded, self.dates = model, encoded, dates
        self.text, self.limit, self.measurer, self.sampling = text, limit, measurer, sampling
        self.config = model.config
        self.device = encoded.tokens.device
        self.seg = self.config.seg_token_id
        never = (
            self.config.pad_token_id,
            self.config.bos_token_id,
            self.config.image_token_id,
            self.config.measure_token_id,
            self.config.measure_end_token_id,
        )
        silent = {n for n in never if n is not None and n >= 0 and n != self.config.eos_token_id}
        self.never = torch.tensor(sorted(silent), device=self.device)

    def run(
        self, queries: Sequence[Query], grammars: Sequence[tuple[Grammar, Any] | None]
    ) -> list[Generation]:
        """Run all rows to their ends."""
        images = first_tokens(self.encoded)
        rows = [
            self._open(number, query, images[query.window], grammar)
            for number, (query, grammar) in enumerate(zip(queries, grammars, strict=True))
        ]
        longest = max((len(row.ids) + len(row.forced) for row in rows), default=0)
        self.cache = RaggedCache(
            len(rows),
            longest + min(self.limit, 256) + self.config.token_cap,
            self.model.history_block,
        )
        self.states = torch.empty(0)  # (R, D), of the last position fed to each row
        self._share(rows)
        while active := [row for row in rows if not row.stopped]:
            self._fill(active)
            fed = [row for row in active if row.ids]
            ends = {row.number: row.ids[-1] for row in fed if row.source[-1] < 0}
            for alike in _of_like_length(fed):
                self._feed(alike)
            self._masks([row for row in fed if ends.get(row.number) == self.seg])
        return [row.result() for row in rows]

    def _open(
        self, number: int, query: Query, images: list[int], grammar: tuple[Grammar, Any] | None
    ) -> Row:
        config = self.config
        ids, source = expand(
            query.prompt,
            config.image_token_id,
            config.pad_token_id,
            images,
            self.encoded.tokens.shape[3],
        )
        question = list(query.prompt[slice(*query.question)])
        row = Row(number, query, question, list(query.response), ids, source)
        if grammar is not None:
            row.grammar, row.grammar_state = grammar
        if self.sampling.temperature > 0:
            prompt = zlib.crc32(repr(list(query.prompt)).encode())
            row.draws = torch.Generator().manual_seed((self.sampling.seed << 32) + prompt)
        return row

    def _share(self, rows: list[Row]) -> None:
        """Run the images of a window once for all its questions, where they begin alike."""
        beginnings = split_beginnings(rows)
        self._feed([beginning.leader for beginning in beginnings])
        for beginning in beginnings:
            beginning.leader.ids, beginning.leader.source = beginning.rest
        pairs = [(b.leader.number, other) for b in beginnings for other in b.others]
        self.cache.copy([old for old, _ in pairs], [new for _, new in pairs])

    def _fill(self, rows: list[Row]) -> None:
        """Give every row something to take in, or end it."""
        speaking = []
        for row in rows:
            if row.forced:
                masks_ahead = self.seg in row.forced
                cut = row.forced.index(self.seg) + 1 if masks_ahead else len(row.forced)
                chunk, row.forced = row.forced[:cut], row.forced[cut:]
                row.say(chunk)
                if not masks_ahead and self.limit == 0:
                    row.stopped = "length"
            elif not row.ids and len(row.scores) >= self.limit:
                row.stopped = "length"
            elif not row.ids:
                speaking.append(row)
        self._speak(speaking)
        for row in rows:
            if row.stopped:
                row.ids, row.source = [], []

    def _speak(self, rows: list[Row]) -> None:
        """Choose the next token of every row."""
        if not rows:
            return
        logits = self.model.backbone.logits(self.states[self._numbers(rows)]).float()
        logits.index_fill_(1, self.never, -torch.inf)
        for place, row in enumerate(rows):
            if row.grammar is not None:
                allowed = torch.as_tensor(row.grammar.allowed(row.grammar_state))
                logits[place, ~allowed.to(self.device, torch.bool)] = -torch.inf
        scores = torch.log_softmax(logits, -1)
        chosen = self._choose(rows, logits)[:, None]
        # Both to the processor at once: a GPU is waited for once per token.
        found = torch.cat([chosen.double(), scores.gather(1, chosen).double()], 1).tolist()
        for row, (token, score) in zip(rows, found, strict=True):
            self._say(row, int(token), score)

    def _choose(self, rows: list[Row], logits: Tensor) -> Tensor:
        """Take the likeliest token, or draw one (Gumbel's way, with the row's own draws)."""
        if self.sampling.temperature <= 0:
            return logits.argmax(-1)
        noise = torch.stack([torch.rand(logits.shape[1], generator=row.draws) for row in rows])
        gumbel = -torch.log(-torch.log(noise.clamp(min=1e-20)))
        return (logits / self.sampling.temperature + gumbel.to(logits.device)).argmax(-1)

    def _say(self, row: Row, token: int, score: float) -> None:
        if not math.isfinite(score):  # nothing is allowed
            row.stopped = "grammar"
            return
        row.scores.append(score)
        if row.grammar is not None:
            row.grammar_state = row.grammar.advance(row.grammar_state, token)
        row.say([token])
        if token == self.config.eos_token_id:
            row.stopped = "end"
        elif len(row.scores) >= self.limit and token != self.seg:
            row.stopped = "length"

    def _feed(self, rows: list[Row]) -> None:
        """Run the queues of some rows through the language model."""
        if not rows:
            return
        counts = [len(row.ids) for row in rows]
        width, pad = max(counts), self.config.pad_token_id
        ids = [row.ids + [pad] * (width - len(row.ids)) for row in rows]
        source = [row.source + [-1] * (width - len(row.source)) for row in rows]
        numbers = torch.tensor(ids, device=self.device)
        if width == 1 and all(row.source[0] < 0 for row in rows):
            embeddings = self.model.backbone.embed(numbers)
        else:
            places = torch.tensor(source, device=self.device)
            embeddings = self.model.embed(numbers, places, self.encoded.tokens)
        positions, mask = self.cache.begin(width, self.device, [row.number for row in rows])
        hidden = self.model.backbone.language(embeddings, positions, mask, self.cache)
        self.cache.commit(counts)
        ends = torch.tensor(counts, device=self.device) - 1
        last = hidden[torch.arange(len(rows), device=self.device), ends]
        if not len(self.states):
            self.states = last.new_zeros(len(self.cache.lengths), last.shape[1])
        self.states[self._numbers(rows)] = last
        for row in rows:
            row.ids, row.source = [], []

    def _numbers(self, rows: list[Row]) -> Tensor:
        return torch.tensor([row.number for row in rows], device=self.device)

    def _masks(self, rows: list[Row]) -> None:
        """Decode the masks of all rows that were fed ``[SEG]``, and queue what follows."""
        if not rows:
            return
        dates = [self._dates(row) for row in rows]
        window = torch.tensor([row.query.window for row in rows], device=self.device)
        before, date = torch.tensor(dates, device=self.device).unbind(1)
        prompts = MaskPrompts(self.states[self._numbers(rows)], window, before, date)
        logits = self.model.backbone.decode_masks(self.encoded, prompts)
        probability = self.model.mask_probability(logits)
        injections = choose_tokens(
            self.config,
            self.model.backbone,
            self.encoded,
            masks=probability > self.config.mask_threshold,
            window=window,
            date=date,
            questions=[row.question for row in rows],
        )
        events = [
            MaskEvent(
                row.number, row.query.window, len(row.events), *dates[i], logits[i], probability[i],
                injections[i],
            )
            for i, row in enumerate(rows)
        ]  # fmt: skip
        figures: Sequence[Sequence[int]] = [()] * len(rows)
        if self.measurer is not None:
            figures = self.measurer(events, [tuple(row.events) for row in rows])
        for row, event, written in zip(rows, events, figures, strict=True):
            row.events.append(event)
            source = event.injection.source.tolist()
            row.queue([self.config.pad_token_id] * len(source), source)
            row.queue(list(written))
            if not row.forced and len(row.scores) >= self.limit:
                row.stopped = "length"

    def _dates(self, row: Row) -> tuple[int, int]:
        """Read the indicator written since the last mask of this row."""
        said = row.said[:-1]
        masks = [place for place, token in enumerate(said) if token == self.seg]
        since = said[masks[-1] + 1 :] if masks else said
        return date_of(self.text(since), len(row.events), self.dates[row.query.window])
