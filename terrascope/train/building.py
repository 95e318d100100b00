"""The model that a recipe starts with, and the folder that holds the finished one."""

from __future__ import annotations

import copy
from pathlib import Path
from types import MappingProxyType

import torch
from transformers import PreTrainedTokenizerBase

import terrascope
from terrascope.data.scenes import ANY_CHANGE, DESTROYED
from terrascope.errors import ConfigError
from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.prompts import token_ids
from terrascope.model.tokenization_nano import NanoTokenizer, SpecialIds
from terrascope.train.naming import TraceIds
from terrascope.train.recipe import Recipe
from terrascope.train.settings import Losses
from terrascope.vocabulary import CHANGE_NAMES, LAND_COVER, image_indicator

__all__ = [
    "PACKAGED_MODEL",
    "STORED",
    "answer_ids",
    "build_model",
    "nano_config",
    "save_model",
    "trace_ids",
]

PACKAGED_MODEL = Path(terrascope.__file__).parent / "weights" / "nano"
"""The model that the package ships; in a recipe, the start ``"nano"``."""

STORED = MappingProxyType({"nano": torch.float16, "internvl": torch.bfloat16})
"""How weights are stored, by backbone.

The nano's are below 2 in size: float16 rounds them by 0.02 %, bfloat16 by 0.16 %. The 8b computes
in the type of its weights, and its activations leave the range of float16.
"""


def nano_config(
    tokenizer: NanoTokenizer, recipe: Recipe, losses: Losses | None = None
) -> TerrascopeConfig:
    """Configure a fresh nano.

    Parameters
    ----------
    tokenizer : NanoTokenizer
        Gives the ids and the size of the vocabulary.
    recipe : Recipe
        Sizes and weights of the losses.
    losses : Losses or None
        In place of those of the recipe.

    Returns
    -------
    config : TerrascopeConfig
        For windows of the recipe's size.

    Raises
    ------
    ConfigError
        If the nano has no such setting, or refuses its value.
    """
    ids = SpecialIds.of(tokenizer)
    known = set(NanoConfig.__dataclass_fields__) - {"vocab_size", "window_size"}
    if unknown := sorted(set(recipe.nano) - known):
        raise ConfigError(f"unknown key {unknown[0]!r} in [nano]")
    try:
        nano = NanoConfig(
            vocab_size=tokenizer.vocab_size, window_size=recipe.window_px, **recipe.nano
        )
    except (TypeError, ValueError) as cause:
        raise ConfigError(f"[nano]: {cause}") from cause
    config = TerrascopeConfig(
        nano_config=nano,
        pad_token_id=ids.pad,
        bos_token_id=ids.bos,
        eos_token_id=ids.eos,
        seg_token_id=ids.seg,
        image_token_id=ids.image,
        measure_token_id=ids.measure,
        measure_end_token_id=ids.measure_end,
        injection=recipe.mechanism.injection,
    )
    weigh(config, losses or recipe.losses)
    return config


def weigh(config: TerrascopeConfig, losses: Losses) -> None:
    """Put the weights of the objective into a configuration.

    Parameters
    ----------
    config : TerrascopeConfig
        Changed.
    losses : Losses
        Weights.
    """
    config.language_weight = losses.language
    config.mask_weight = losses.mask
    config.dice_weight = losses.dice
    config.cross_entropy_weight = losses.cross_entropy
    config.boundary_weight = losses.boundary
    config.contrastive_weight = losses.contrastive


def build_model(
    recipe: Recipe,
) -> tuple[TerrascopeModel, PreTrainedTokenizerBase, TerrascopeProcessor]:
    """Make what a recipe starts with.

    Parameters
    ----------
    recipe : Recipe
        Seed, start and sizes.

    Returns
    -------
    model : TerrascopeModel
        In float32; with adapters, only what they let learn requires gradients.
    tokenizer : PreTrainedTokenizerBase
        Its own.
    processor : TerrascopeProcessor
        Its own.

    Raises
    ------
    ConfigError
        If the start is no folder of a model, or a setting is wrong.
    """
    torch.manual_seed(recipe.seed)
    if not recipe.start:
        if recipe.adapters.rank:
            raise ConfigError("[adapters] are for the 8b: name its folder as `start`")
        tokenizer = NanoTokenizer()
        model = TerrascopeModel(nano_config(tokenizer, recipe))
        return model, tokenizer, TerrascopeProcessor(size_px=recipe.window_px)
    folder = PACKAGED_MODEL if recipe.start == "nano" else Path(recipe.start)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"start {recipe.start!r}: expected the folder of a model")
    loaded = TerrascopeModel.from_pretrained(folder, dtype=torch.float32)
    weigh(loaded.config, recipe.losses)
    loaded.config.injection = recipe.mechanism.injection
    own = load_tokenizer(folder)
    loaded.config.check_tokenizer(own)
    if recipe.adapters.rank:
        _adapt(loaded, own, recipe)
    return loaded, own, TerrascopeProcessor.from_pretrained(folder)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a saved model.

    Parameters
    ----------
    folder : Path
        Of the model.

    Returns
    -------
    tokenizer : PreTrainedTokenizerBase
        `NanoTokenizer` where it is the nano's.
    """
    if (folder / NanoTokenizer.vocab_files_names["vocab_file"]).is_file() and not (
        folder / "merges.txt"
    ).is_file():
        nano: NanoTokenizer = NanoTokenizer.from_pretrained(folder)
        return nano
    from transformers import AutoTokenizer

    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return found


def answer_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Return the ids that enclose an answer.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With the special tokens of the task.

    Returns
    -------
    opening, closing : int
        Of ``<answer>`` and ``</answer>``.
    """
    ids = SpecialIds.of(tokenizer)
    return ids.answer, ids.answer_end


def trace_ids(tokenizer: PreTrainedTokenizerBase) -> TraceIds:
    """Return the tokens by which the names of masks are found in a trace.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        Of the model.

    Returns
    -------
    ids : TraceIds
        The first token of ``Image: t_1`` after a word, the end of figures, the names of any
        change and of what is destroyed, and the words of all names.
    """
    word = LAND_COVER[0]
    indicator = token_ids(tokenizer, f"{word} {image_indicator(1)}")[
        len(token_ids(tokenizer, word))
    ]
    names = [*LAND_COVER, *CHANGE_NAMES.values(), ANY_CHANGE, DESTROYED]
    return TraceIds(
        indicator,
        measured=SpecialIds.of(tokenizer).measure_end,
        whole=tuple(tuple(token_ids(tokenizer, name)) for name in (ANY_CHANGE, DESTROYED)),
        words=frozenset(token for name in names for token in token_ids(tokenizer, name)),
    )


def save_model(
    folder: Path,
    model: TerrascopeModel,
    tokenizer: PreTrainedTokenizerBase,
    processor: TerrascopeProcessor,
) -> None:
    """Write a model so that it loads with `from_pretrained`, its weights in 16 bit.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    model : TerrascopeModel
        Rounded in place: what is evaluated afterwards is what was stored (`STORED`). A nano
        loads in float32.
    tokenizer : PreTrainedTokenizerBase
        Saved with it.
    processor : TerrascopeProcessor
        Saved with it.
    """
    from safetensors.torch import save_file

    stored = STORED[model.config.backbone]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    if model.config.backbone != "nano":
        if any("lora_" in name for name, _ in model.named_parameters()):
            from terrascope.train.lora import merge_adapters, save_adapters

            save_adapters(model, folder / "adapters")
            merge_adapters(model)
        model.to(dtype=stored)  # type: ignore[call-arg]
        model.save_pretrained(folder)
        return
    weights = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            short = parameter.to(stored)
            parameter.copy_(short)
            weights[name] = short.contiguous().cpu()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = copy.deepcopy(model.config)
    config.dtype = "float32"
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)


def _adapt(model: TerrascopeModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> None:
    """Put adapters into the 8b's language model."""
    from terrascope.train.lora import LoraSettings, add_adapters, new_tokens

    chosen = recipe.adapters
    settings = LoraSettings(rank=chosen.rank, alpha=chosen.alpha, dropout=chosen.dropout)
    add_adapters(model, new_tokens(tokenizer), settings)
