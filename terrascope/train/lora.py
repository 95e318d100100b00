"""Low-rank adapters for the 8b model: what is trained of it, saved beside it and merged back.

The language model learns by LoRA [1]_; the rows of the new tokens, the projector, the mask
decoder and the bridge learn as they are; the image encoders stay. The adapters are put into the
model in place, so that training, scoring and generation call the same class as before.

Without rows of their own to train, ``[SEG]`` and the other new tokens would keep their fresh
vectors for ever: the embedding is not among the matrices that adapters change.

References
----------
.. [1] Hu et al. (2022). LoRA: Low-Rank Adaptation of Large Language Models. ICLR.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.vocabulary import SPECIAL_TOKENS

__all__ = [
    "PARTS",
    "LoraSettings",
    "add_adapters",
    "load_adapters",
    "merge_adapters",
    "new_tokens",
    "save_adapters",
    "train_parts",
]

PARTS = ("adapters", "tokens", "projector", "mask_decoder", "bridge")
"""What can be trained; stage 1 of the paper trains the last two and the tokens, stage 2 all."""

WEIGHTS_FILE, SETTINGS_FILE = "adapters.safetensors", "adapters.json"

_LANGUAGE = "backbone.vision_language.model.language_model."
_WHOLE = {
    "projector": "backbone.vision_language.model.multi_modal_projector.",
    "mask_decoder": "backbone.mask_generator.mask_decoder.",
    "bridge": "backbone.bridge.",
}
_ROWS = ("model.language_model.embed_tokens", "lm_head")
_SILENT = re.compile(
    r"mask_decoder\.(iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\.[1-9])\."
)
"""Outputs of SAM-2's decoder that are not used here: no loss ever reaches them."""


@dataclasses.dataclass(frozen=True)
class LoraSettings:
    """How the language model is adapted.

    Parameters
    ----------
    rank : int
        Of the matrices that are added.
    alpha : float
        What is added is scaled by ``alpha / rank``.
    dropout : float
        On the input of the adapters, in training.
    target_modules : tuple of str
        Linear layers of the language model that get one, by the last part of their name.

    Raises
    ------
    ValueError
        If a number is out of range, or no layer is named.
    """

    rank: int = 64
    alpha: float = 128.0
    dropout: float = 0.05
    target_modules: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_modules", tuple(self.target_modules))
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"rank {self.rank}, alpha {self.alpha}, dropout {self.dropout}: expected at "
                "least 1, above 0, and from 0 to below 1"
            )
        if not self.target_modules:
            raise ValueError("target_modules is empty: name the linear layers to adapt")


def new_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the ids of the tokens that the language model has not met before.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        After `terrascope.model.internvl.loading.compose` has added them.

    Returns
    -------
    ids : tuple of int
        Of `terrascope.vocabulary.SPECIAL_TOKENS`, as far as the tokenizer has them by these
        names: where it frames text by marks of its own, those are known already.
    """
    known = tokenizer.get_vocab()
    return tuple(sorted(known[token] for token in SPECIAL_TOKENS if token in known))


def add_adapters(
    model: TerrascopeModel, tokens: Collection[int], settings: LoraSettings | None = None
) -> None:
    """Put adapters into a model, and leave trainable what is to be trained.

    Parameters
    ----------
    model : TerrascopeModel
        With an InternVL backbone. Changed in place; at first it computes what it did.
    tokens : collection of int
        Rows of the embedding and of the output head that learn; see `new_tokens`.
    settings : LoraSettings or None
        None for the defaults.

    Raises
    ------
    ValueError
        If the model has no InternVL backbone, already has adapters, or lacks a layer or a
        token that is named.

    Notes
    -----
    What is trained is kept in float32, whatever the rest is: steps of 4e-5 vanish in bfloat16.
    A model of 16 bit is therefore run under autocast until the adapters are merged. Every step
    copies embedding and output head once to put the rows in: merge before generating.
    """
    from peft import LoraConfig, LoraModel

    settings = settings or LoraSettings()
    _check(model, tokens, settings)
    names = "|".join(re.escape(name) for name in settings.target_modules)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # a plain factor
        lora_dropout=settings.dropout,
        target_modules=rf"model\.language_model\.(.*\.)?({names})",
        trainable_token_indices=dict.fromkeys(_ROWS, sorted(tokens)),
    )
    LoraModel(_language(model), config, "default")
    # New modules start in training mode: in a model that is scored their dropout has to rest.
    model.train(mode=model.training)
    train_parts(model, PARTS)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def train_parts(model: TerrascopeModel, parts: Collection[str]) -> None:
    """Choose what is trained of a model with adapters; everything else is frozen.

    Parameters
    ----------
    model : TerrascopeModel
        From `add_adapters`.
    parts : collection of str
        Some of `PARTS`.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"no part {sorted(unknown)}: expected some of {PARTS}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_part(name) in parts)


def save_adapters(model: TerrascopeModel, folder: str | os.PathLike[str]) -> Path:
    """Write what was trained, without the weights it was trained upon.

    Parameters
    ----------
    model : TerrascopeModel
        From `add_adapters`.
    folder : str or path
        Made where it is missing.

    Returns
    -------
    folder : pathlib.Path
        With ``adapters.safetensors`` (float32) and ``adapters.json``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokens, settings = _settings(model)
    facts = {"tokens": tokens, "settings": dataclasses.asdict(settings)}
    save_file(_trained(model), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / SETTINGS_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return folder


def load_adapters(model: TerrascopeModel, folder: str | os.PathLike[str]) -> None:
    """Put saved adapters into the model that they were trained upon.

    Parameters
    ----------
    model : TerrascopeModel
        Without adapters; changed in place.
    folder : str or path
        From `save_adapters`.

    Raises
    ------
    ValueError
        If the file does not hold what this model has.
    """
    folder = Path(folder)
    facts = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    add_adapters(model, facts["tokens"], LoraSettings(**facts["settings"]))
    saved, own = load_file(folder / WEIGHTS_FILE), _trained(model)
    found, wanted = ({name: tuple(v.shape) for name, v in d.items()} for d in (saved, own))
    if found != wanted:
        wrong = sorted(name for name, _ in found.items() ^ wanted.items())
        raise ValueError(
            f"{folder / WEIGHTS_FILE} holds adapters of another model: {wrong[0]} is "
            f"{found.get(wrong[0])} there and {wanted.get(wrong[0])} here"
        )
    model.load_state_dict(saved, strict=False)


@torch.no_grad()
def merge_adapters(model: TerrascopeModel) -> None:
    """Fold the adapters into the weights: a plain model again, as fast as before.

    Parameters
    ----------
    model : TerrascopeModel
        From `add_adapters`. Changed in place: every weight in the type of the model; what was
        frozen stays so. `save_pretrained` writes it as any other.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import TrainableTokensWrapper

    language = _language(model)
    dtype = _dtype(model)
    for name, module in list(language.named_modules()):
        layer = module.token_adapter if isinstance(module, TrainableTokensWrapper) else module
        if not isinstance(layer, BaseTunerLayer) or name.endswith(".token_adapter"):
            continue
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(language.get_submodule(parent), last, layer.get_base_layer())
    del language.peft_config
    model.to(dtype=dtype)  # type: ignore[call-arg]


def _check(model: TerrascopeModel, tokens: Collection[int], settings: LoraSettings) -> None:
    """Refuse what the library would take in silence, or answer unclearly."""
    if model.config.backbone != "internvl":
        raise ValueError(
            f"adapters are for the 'internvl' backbone; a {model.config.backbone!r} model is "
            "trained whole"
        )
    language = _language(model)
    if hasattr(language, "peft_config"):
        raise ValueError("the model has adapters already: merge them first")
    layers = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if name.startswith(_LANGUAGE) and isinstance(module, nn.Linear)
    }
    if missing := set(settings.target_modules) - layers:
        raise ValueError(
            f"the language model has no linear layer {sorted(missing)}: expected some of "
            f"{sorted(layers)}"
        )
    rows = language.get_input_embeddings().weight.shape[0]
    if not tokens or not all(0 <= token < rows for token in tokens):
        raise ValueError(f"tokens {sorted(tokens)}: expected ids from 0 to {rows - 1}")


def _language(model: TerrascopeModel) -> Any:
    """Return the InternVL part."""
    return model.backbone.vision_language  # type: ignore[attr-defined]


def _settings(model: TerrascopeModel) -> tuple[list[int], LoraSettings]:
    """Read from the adapters which rows they train, and how they were made."""
    language = _language(model)
    config = language.peft_config["default"]
    layers = {
        name.partition(".lora_A")[0].rpartition(".")[2]
        for name, _ in language.named_parameters()
        if ".lora_A" in name
    }
    settings = LoraSettings(
        rank=config.r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        target_modules=tuple(sorted(layers)),
    )
    return list(config.trainable_token_indices[_ROWS[0]]), settings


def _part(name: str) -> str | None:
    """Tell which part a weight belongs to, by its name; None where it is never trained."""
    if ".lora_" in name:
        return "adapters"
    if ".trainable_tokens_delta" in name:
        return "tokens"
    if _SILENT.search(name):
        return None
    return next((part for part, start in _WHOLE.items() if name.startswith(start)), None)


def _trained(model: TerrascopeModel) -> dict[str, Tensor]:
    """Collect the weights of all parts, by their names in the model."""
    return {
        name: parameter.detach().contiguous()
        for name, parameter in model.named_parameters()
        if _part(name) is not None
    }


def _dtype(model: TerrascopeModel) -> torch.dtype:
    """Return the type of what is frozen for good."""
    return next(
        parameter.dtype for name, parameter in model.named_parameters() if _part(name) is None
    )
