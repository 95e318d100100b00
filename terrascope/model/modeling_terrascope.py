"""The TerraScope model: one mechanism over either backbone, with the response given.

`forward` runs whole sequences at once, for training and for scoring; the token by token loop is
in `generation_terrascope`. Both lay sequences out alike, and give the same numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers import initialization as init

from terrascope.model.backbone import Backbone, Encoded, MaskPrompts
from terrascope.model.configuration_terrascope import TerrascopeConfig
from terrascope.model.injection import Injection, choose_tokens, first_tokens
from terrascope.model.losses import (
    LossTerms,
    contrastive_loss,
    language_loss,
    mask_losses,
    total_loss,
)
from terrascope.model.nano.layers import Attention, CrossAttention, GatedMLP, ZeroConv
from terrascope.model.nano.modeling_nano import NanoBackbone
from terrascope.model.prefix import PrefixCache, cut_prefixes
from terrascope.model.sequences import Layout, Query, by_length, lay_out
from terrascope.model.windows import Windows

__all__ = ["TerrascopeModel", "TerrascopeOutput"]


@dataclasses.dataclass(frozen=True)
class TerrascopeOutput:
    """What one pass over given responses yields.

    Parameters
    ----------
    loss : Tensor or None
        Scalar; None without true masks.
    terms : LossTerms or None
        Its parts.
    hidden : Tensor of float, shape (R, L, D)
        After the final normalisation; meaningless in the padding.
    mask_logits : Tensor of float, shape (K, H, W)
        Of every ``[SEG]``, row by row, before the temperature.
    layout : Layout
        What stands where.
    injections : list of K Injection
        Which visual tokens followed each mask.
    encoded : Encoded
        Of the windows.
    """

    loss: Tensor | None
    terms: LossTerms | None
    hidden: Tensor
    mask_logits: Tensor
    layout: Layout
    injections: list[Injection]
    encoded: Encoded


class TerrascopeModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """The pixel-grounded vision-language model [1]_, that measures what it sees.

    Parameters
    ----------
    config : TerrascopeConfig
        Decides the backbone and all settings.
    **parts : PreTrainedModel
        Loaded parts of an 8b backbone, by the names of `InternVLBackbone`; fresh without.

    References
    ----------
    .. [1] Shu et al. (2026). TerraScope. arXiv:2603.19039.
    """

    config_class = TerrascopeConfig
    base_model_prefix = ""
    main_input_name = "windows"
    _no_split_modules = ["Block"]  # noqa: RUF012 -- declared by transformers
    config: TerrascopeConfig
    _supports_sdpa = True
    history_block: int = 1
    """Positions by which the history of a generation grows; `terrascope.model.speed` sets it."""

    def __init__(self, config: TerrascopeConfig, **parts: PreTrainedModel) -> None:
        super().__init__(config)
        self.backbone: Backbone = _build_backbone(config, parts)
        self.post_init()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw fresh weights: by the number of inputs, so that every width starts alike."""
        if isinstance(module, ZeroConv):
            init.zeros_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            inputs = module.weight[0].numel()
            init.normal_(module.weight, mean=0.0, std=1 / math.sqrt(inputs))
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, Attention | CrossAttention | GatedMLP):
            # Visited after its own layers: what is added to a residual stream starts small.
            last = module.down if isinstance(module, GatedMLP) else module.out
            init.normal_(last.weight, mean=0.0, std=0.3 / math.sqrt(last.in_features))
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=0.02)
        elif isinstance(module, nn.RMSNorm | nn.GroupNorm | nn.LayerNorm):
            if module.weight is not None:
                init.ones_(module.weight)
            if isinstance(bias := getattr(module, "bias", None), Tensor):
                init.zeros_(bias)

    def encode(self, windows: Windows) -> Encoded:
        """Run the image encoders: once per window, whatever the number of questions.

        Parameters
        ----------
        windows : Windows
            B of them.

        Returns
        -------
        encoded : Encoded
            For `forward` and for generation.
        """
        return self.backbone.encode(windows)

    def mask_probability(self, logits: Tensor) -> Tensor:
        """Turn mask logits into calibrated probabilities.

        Parameters
        ----------
        logits : Tensor of float, shape (..., H, W)
            From the mask decoder.

        Returns
        -------
        probability : Tensor of float32, same shape
            ``sigmoid(logits / mask_temperature)``.
        """
        scaled: Tensor = logits.float() / self.config.mask_temperature
        return torch.sigmoid(scaled)

    def binary_mask(self, logits: Tensor) -> Tensor:
        """Decide which pixels are in a mask.

        Parameters
        ----------
        logits : Tensor of float, shape (..., H, W)
            From the mask decoder.

        Returns
        -------
        mask : Tensor of bool, same shape
            Probability above `mask_threshold`.
        """
        return self.mask_probability(logits) > self.config.mask_threshold

    def embed(self, ids: Tensor, source: Tensor, tokens: Tensor) -> Tensor:
        """Embed text and put visual tokens in their places.

        Parameters
        ----------
        ids, source : Tensor of int64, shape (R, L)
            As in `Layout`.
        tokens : Tensor of float, shape (B, T, S, N, D)
            Of the encoded windows.

        Returns
        -------
        embeddings : Tensor of float, shape (R, L, D)
            Input of the language model.
        """
        words = self.backbone.embed(ids)
        seen = source >= 0
        # As an embedding, so that the gradient is summed in the same order every time.
        visual = functional.embedding(source[seen], tokens.flatten(0, 3))
        return words.masked_scatter(seen[..., None], visual.to(words.dtype))

    def forward(
        self,
        windows: Windows,
        queries: Sequence[Query],
        *,
        truth: Tensor | None = None,
        truth_valid: Tensor | None = None,
        injected: Tensor | None = None,
        encoded: Encoded | None = None,
        shared: bool = False,
    ) -> TerrascopeOutput:
        """Run prompts with their responses given.

        Parameters
        ----------
        windows : Windows
            B windows.
        queries : sequence of Query
            R questions, with responses.
        truth : Tensor of bool or None, shape (K, H, W)
            True mask of every ``[SEG]``, row by row; with it there is a loss.
        truth_valid : Tensor of bool or None, shape (K, H, W)
            Pixels whose label is known; what no sensor observed on a date of the mask never
            counts.
        injected : Tensor of bool or None, shape (K, H, W)
            Masks whose tokens are injected: the truth by default; in training also perturbed
            and predicted ones. Without any, nothing is injected.
        encoded : Encoded or None
            Of the windows, where they were encoded before.
        shared : bool
            Compute the beginning that questions of one window share, up to their last image,
            once. The losses and masks are the same; `hidden` and `layout` are then of what
            follows it.

        Returns
        -------
        output : TerrascopeOutput
            Loss, states, masks.

        Raises
        ------
        ValueError
            If the number of dates or masks is not that of the ``[SEG]`` tokens.
        """
        encoded = self.encode(windows) if encoded is None else encoded
        prompts = self._prompts(queries, windows, encoded.tokens.device)
        masks = truth if injected is None else injected
        for name, given in (("truth", truth), ("injected", injected)):
            if given is not None and len(given) != len(prompts.date):
                raise ValueError(f"{len(given)} {name} masks for {len(prompts.date)} [SEG]")
        injections = self._injections(queries, encoded, prompts, masks)
        run = self._run_shared if shared else self._run_whole
        layout, hidden = run(queries, encoded, injections)
        states = hidden[layout.seg_row, layout.seg_position]
        prompts = dataclasses.replace(prompts, states=states)
        logits = self.backbone.decode_masks(encoded, prompts)
        terms = None
        if truth is not None:
            seen = _observed(windows, prompts)
            valid = seen if truth_valid is None else seen & truth_valid
            terms = self._terms(encoded, layout, hidden, logits, truth, valid)
        return TerrascopeOutput(
            loss=None if terms is None else total_loss(terms, self.config),
            terms=terms,
            hidden=hidden,
            mask_logits=logits,
            layout=layout,
            injections=injections,
            encoded=encoded,
        )

    def taught_logits(self, layout: Layout, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Score the tokens that are taught.

        Parameters
        ----------
        layout : Layout
            What stands where.
        hidden : Tensor of float, shape (R, L, D)
            States, as `forward` gives them.

        Returns
        -------
        logits : Tensor of float, shape (K, V)
            At the positions before them.
        targets : Tensor of int64, shape (K,)
            The tokens.
        """
        taught = layout.taught[:, 1:]
        return self.backbone.logits(hidden[:, :-1][taught]), layout.ids[:, 1:][taught]

    def _prompts(
        self, queries: Sequence[Query], windows: Windows, device: torch.device
    ) -> MaskPrompts:
        """Collect window and dates of every ``[SEG]``; the states come later."""
        rows: list[tuple[int, int, int]] = []
        counts = windows.date_count.tolist()
        for number, query in enumerate(queries):
            wanted = sum(token == self.config.seg_token_id for token in query.response)
            if len(query.dates) != wanted:
                raise ValueError(
                    f"query {number}: {len(query.dates)} dates for {wanted} [SEG]: read them with "
                    "terrascope.model.sequences.read_dates"
                )
            for before, date in query.dates:
                if not -1 <= before < date < counts[query.window]:
                    raise ValueError(
                        f"query {number}: dates {(before, date)} of a window with "
                        f"{counts[query.window]} dates"
                    )
                rows.append((query.window, before, date))
        where = torch.tensor(rows, dtype=torch.int64, device=device).reshape(-1, 3)
        nothing = torch.empty(0, device=device)
        return MaskPrompts(nothing, where[:, 0], where[:, 1], where[:, 2])

    def _injections(
        self,
        queries: Sequence[Query],
        encoded: Encoded,
        prompts: MaskPrompts,
        masks: Tensor | None,
    ) -> list[Injection]:
        """Choose the tokens of every mask; none at all without masks."""
        if masks is None:
            side = self.backbone.grid
            none = torch.empty(0, dtype=torch.int64, device=prompts.date.device)
            sensors = torch.full((side, side), -1, dtype=torch.int8, device=none.device)
            return [Injection(none, none, sensors) for _ in range(len(prompts.date))]
        questions = [
            list(query.prompt[slice(*query.question)])
            for query in queries
            for _ in range(len(query.dates))
        ]
        return choose_tokens(
            self.config,
            self.backbone,
            encoded,
            masks=masks,
            window=prompts.window,
            date=prompts.date,
            questions=questions,
        )

    def _run_whole(
        self, queries: Sequence[Query], encoded: Encoded, injections: list[Injection]
    ) -> tuple[Layout, Tensor]:
        """Run every sequence from its beginning."""
        layout = self._lay_out(queries, first_tokens(encoded), encoded, injections)
        embeddings = self.embed(layout.ids, layout.source, encoded.tokens)
        places = torch.arange(layout.ids.shape[1], device=embeddings.device)
        return layout, self.backbone.language(embeddings, places.expand(layout.ids.shape))

    def _run_shared(
        self, queries: Sequence[Query], encoded: Encoded, injections: list[Injection]
    ) -> tuple[Layout, Tensor]:
        """Run shared beginnings once, and what follows them behind their keys and values."""
        tails = cut_prefixes(
            queries,
            first_tokens(encoded),
            tokens=encoded.tokens.shape[3],
            image=self.config.image_token_id,
            pad=self.config.pad_token_id,
            device=encoded.tokens.device,
        )
        prefix = tails.prefix
        cache = PrefixCache()
        if prefix.ids.shape[1]:
            begun = self.embed(prefix.ids, prefix.source, encoded.tokens)
            places = torch.arange(prefix.ids.shape[1], device=begun.device)
            self.backbone.language(begun, places.expand(prefix.ids.shape), None, cache)
        none: list[list[int]] = [[] for _ in range(len(encoded.tokens))]
        layout = self._lay_out(tails.queries, none, encoded, injections)

        def run(rows: Tensor, width: int) -> Tensor:
            words = self.embed(
                layout.ids[rows, :width], layout.source[rows, :width], encoded.tokens
            )
            positions, mask = cache.open(tails, rows, width)
            return self.backbone.language(words, positions, mask, cache)

        return layout, by_length(run, layout.lengths)

    def _lay_out(
        self,
        queries: Sequence[Query],
        images: Sequence[Sequence[int]],
        encoded: Encoded,
        injections: list[Injection],
    ) -> Layout:
        config = self.config
        opening, closing = config.measure_token_id, config.measure_end_token_id
        return lay_out(
            queries,
            images,
            [injection.source.tolist() for injection in injections],
            tokens=encoded.tokens.shape[3],
            seg=config.seg_token_id,
            image=config.image_token_id,
            pad=config.pad_token_id,
            measure=None if opening is None or closing is None else (opening, closing),
            device=encoded.tokens.device,
        )

    def _terms(
        self,
        encoded: Encoded,
        layout: Layout,
        hidden: Tensor,
        logits: Tensor,
        truth: Tensor,
        valid: Tensor,
    ) -> LossTerms:
        """Compute the parts of the objective that are switched on."""
        config = self.config
        width = config.boundary_width if config.boundary_weight else None
        dice, entropy, boundary = mask_losses(logits, truth, valid, boundary_width=width)
        contrastive = torch.zeros((), device=hidden.device)
        if config.contrastive_weight:
            contrastive = contrastive_loss(
                encoded.content, encoded.present, temperature=config.contrastive_temperature
            )
        return LossTerms(
            language=language_loss(*self.taught_logits(layout, hidden)),
            dice=dice,
            cross_entropy=entropy,
            boundary=boundary,
            contrastive=contrastive,
        )


def _observed(windows: Windows, prompts: MaskPrompts) -> Tensor:
    """Find the pixels that were observed on the date (both dates) of each mask, (K, H, W)."""
    seen = windows.observed
    now = seen[prompts.window, prompts.date]
    before = seen[prompts.window, prompts.before.clamp(min=0)]
    return now & (before | (prompts.before < 0)[:, None, None])


def _build_backbone(config: TerrascopeConfig, parts: dict[str, PreTrainedModel]) -> Any:
    """Make the backbone that the configuration names; it is a Module and a `Backbone`."""
    if config.backbone == "nano":
        return NanoBackbone(config.nano)
    # InternVL and SAM-2 take seconds to import: only those who use them pay.
    from terrascope.model.internvl.modeling_internvl import InternVLBackbone

    return InternVLBackbone(config, **parts)  # type: ignore[arg-type]
