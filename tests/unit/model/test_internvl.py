"""The composed backbone against transformers' own classes, called directly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import InternVLForConditionalGeneration, Sam2Model

from terrascope.model.backbone import Backbone, MaskPrompts
from terrascope.model.internvl.loading import compose, config_8b
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.pictures import to_pictures
from terrascope.model.prompts import compose_query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.vocabulary import SPECIAL_TOKENS

from .samples import random_masks, random_windows
from .tiny8b import IMAGE_SIDE, MASK_SIDE, byte_tokenizer, mask_config, save_parts, tiny_8b

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
RESPONSE = "<think>Image: t_1[SEG]water Image: t_1 to t_2[SEG]</think><answer>yes</answer><eos>"


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return NanoTokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: NanoTokenizer) -> TerrascopeModel:
    return tiny_8b(tokenizer)


def test_full_size_has_the_papers_number_of_parameters() -> None:
    with torch.device("meta"):
        model = TerrascopeModel(config_8b())
    assert isinstance(model.backbone, Backbone)
    assert (model.backbone.grid, model.backbone.hidden_size) == (16, 3584)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert abs(count / 8.3e9 - 1) < 0.02


def test_checkpoints_of_the_library_load_whole(tmp_path: Path) -> None:
    """Every weight of both parts arrives; new tokens get rows; the rest is the bridge."""
    tokenizer = byte_tokenizer()
    language, masks = save_parts(tmp_path, vocab_size=len(tokenizer))
    model = compose(language, masks, tokenizer, dtype=torch.float32)
    assert set(SPECIAL_TOKENS[3:]) <= set(tokenizer.get_vocab())
    own = dict(model.named_parameters())
    prefixes = {
        "backbone.vision_language.": InternVLForConditionalGeneration.from_pretrained(language),
        "backbone.mask_generator.": Sam2Model.from_pretrained(masks),
    }
    seen = set()
    for prefix, part in prefixes.items():
        for name, value in part.named_parameters():
            mine = own[prefix + name]
            seen.add(prefix + name)
            grown = mine.shape != value.shape
            assert grown == name.endswith(("embed_tokens.weight", "lm_head.weight")), name
            assert torch.equal(mine[: len(value)], value), name
    assert {name for name in own if name not in seen} == {
        name for name in own if name.startswith("backbone.bridge.")
    }
    assert own["backbone.vision_language.lm_head.weight"].shape[0] == len(tokenizer)
    assert not own["backbone.bridge.change.weight"].any()
    assert tokenizer.convert_tokens_to_ids("[SEG]") == model.config.seg_token_id
    model.save_pretrained(tmp_path / "whole")
    back = TerrascopeModel.from_pretrained(tmp_path / "whole").eval()
    assert {file.suffix for file in (tmp_path / "whole").iterdir()} <= {".json", ".safetensors"}
    state = back.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value), name
    windows = random_windows([2])
    query = compose_query(tokenizer, windows, 0, "Is it?", RESPONSE.replace("<eos>", "<|im_end|>"))
    masks_given = random_masks(2)
    with torch.no_grad():
        first, second = (m(windows, [query], truth=masks_given) for m in (model, back))
    assert torch.equal(first.hidden, second.hidden)
    assert torch.equal(first.mask_logits, second.mask_logits)


@torch.no_grad()
def test_masks_are_those_of_sam_2_called_directly(model: TerrascopeModel) -> None:
    windows = random_windows([2, 3], seed=4)
    encoded = model.encode(windows)
    generator = torch.Generator().manual_seed(1)
    states = 3 * torch.randn(7, 32, generator=generator)
    prompts = MaskPrompts(
        states=states,
        window=torch.tensor([0, 1, 1, 0, 1, 1, 1]),
        before=torch.full((7,), -1),
        date=torch.tensor([1, 2, 2, 0, 2, 0, 1]),
    )
    found = model.backbone.decode_masks(encoded, prompts)
    sam = model.backbone.mask_generator
    pictures, _ = to_pictures(windows, MASK_SIDE, ["rgb"])
    for k in range(7):
        levels = sam.get_image_embeddings(pictures[prompts.window[k], prompts.date[k]])
        sparse, dense = sam.get_prompt_embeddings(
            input_points=torch.zeros(1, 1, 1, 2), input_labels=torch.full((1, 1, 1), -1)
        )
        language = model.backbone.bridge(states[k : k + 1])[None, None]
        masks, *_ = sam.mask_decoder(
            image_embeddings=levels[-1],
            image_positional_embeddings=sam.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=torch.cat([sparse, language], 2),
            dense_prompt_embeddings=dense,
            multimask_output=False,
            high_resolution_features=levels[:-1],
        )
        expected = torch.nn.functional.interpolate(masks[0], (32, 32), mode="bilinear")[0, 0]
        torch.testing.assert_close(found[k], expected, **TOLERANCE)
    assert (found[1] - found[2]).abs().amax() > 1e-2


@torch.no_grad()
def test_tokens_and_language_are_those_of_internvl_called_directly(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows = random_windows([2], seed=6).without(radar=True)
    query = compose_query(tokenizer, windows, 0, "Is there water?", "<answer>no</answer>")
    ours = model(windows, [query])
    pictures, _ = to_pictures(windows, IMAGE_SIDE, ["rgb"])
    image = model.config.image_token_id
    ids = [t for token in query.prompt for t in [token] * (64 if token == image else 1)]
    library = model.backbone.vision_language(
        input_ids=torch.tensor([[*ids, *query.response]]),
        pixel_values=pictures[0, :, 0],
    )
    logits = model.backbone.logits(ours.hidden)
    torch.testing.assert_close(logits, library.logits, **TOLERANCE)


@torch.no_grad()
def test_change_mask_starts_as_the_mask_of_the_later_date_and_learns_to_differ(
    model: TerrascopeModel,
) -> None:
    windows = random_windows([2], seed=4)
    encoded = model.encode(windows)
    states = torch.randn(1, 32).repeat(2, 1)
    prompts = MaskPrompts(states, torch.tensor([0, 0]), torch.tensor([-1, 0]), torch.tensor([1, 1]))
    alone, change = model.backbone.decode_masks(encoded, prompts)
    torch.testing.assert_close(alone, change)
    convolution = model.backbone.bridge.change
    convolution.weight.normal_()
    alone, change = model.backbone.decode_masks(encoded, prompts)
    convolution.weight.zero_()
    assert (alone - change).abs().amax() > 1e-2


def test_gradient_reaches_what_is_trained_and_nothing_frozen(tokenizer: NanoTokenizer) -> None:
    model = tiny_8b(tokenizer).train()
    model.backbone.freeze_encoders()
    torch.nn.init.normal_(model.backbone.bridge.change.weight, std=0.1)
    windows = random_windows([2, 2], seed=12)
    queries = [compose_query(tokenizer, windows, i, "Is it?", RESPONSE) for i in range(2)]
    model(windows, queries, truth=random_masks(4, seed=6)).loss.backward()
    silent = [
        name for name, p in model.named_parameters() if p.requires_grad and (
            p.grad is None or not p.grad.any()
        )
    ]  # fmt: skip
    # Parts of SAM-2 that serve points, boxes, mask prompts and the other outputs of its decoder.
    unused = ("point_embed", "mask_embed", "iou_", "pred_obj_score", "hypernetworks_mlps.1")
    unused += ("hypernetworks_mlps.2", "hypernetworks_mlps.3", "shared_embedding")
    assert [name for name in silent if not any(part in name for part in unused)] == []
    assert model.backbone.bridge.inner.weight.grad.any()
    seg = model.backbone.embed(torch.tensor([0])).shape[-1]
    assert seg == model.backbone.hidden_size
    rows = model.backbone.vision_language.get_input_embeddings().weight.grad
    assert rows[model.config.seg_token_id].any()
    frozen = (
        "backbone.vision_language.model.vision_tower.",
        "backbone.mask_generator.vision_encoder.",
    )
    for name, parameter in model.named_parameters():
        if name.startswith(frozen):
            assert parameter.grad is None, name


@torch.no_grad()
def test_an_image_without_its_bands_is_absent_whatever_else_was_seen(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows = random_windows([2], seed=6)
    valid = windows.optical_valid.clone()
    valid[0, 1, 3] = False
    windows = dataclasses.replace(windows, optical_valid=valid)
    encoded = model.encode(windows)
    assert encoded.present.tolist() == [[[True, True], [False, True]]]
    query = compose_query(
        tokenizer, windows, 0, "Is it?", "Image: t_2[SEG]", present=encoded.present
    )
    output = model(windows, [query], injected=torch.ones(1, 32, 32, dtype=torch.bool))
    assert (output.injections[0].sensors == 1).all()
    with pytest.raises(ValueError, match="4 <image>"):
        model(windows, [compose_query(tokenizer, windows, 0, "Is it?")])


@torch.no_grad()
def test_the_chosen_composite_is_what_is_seen(
    model: TerrascopeModel, tokenizer: NanoTokenizer
) -> None:
    windows = random_windows([1], seed=6)
    greener = windows.optical.clone()
    greener[:, :, 7] += 0.2
    greener = dataclasses.replace(windows, optical=greener)
    assert torch.equal(model.encode(windows).tokens, model.encode(greener).tokens)
    other = tiny_8b(tokenizer)
    other.backbone.composite = "infrared"
    assert not torch.equal(other.encode(windows).tokens, other.encode(greener).tokens)


def test_sam_2_that_encodes_another_size_than_it_is_prompted_for_is_refused(
    tokenizer: NanoTokenizer,
) -> None:
    config = tiny_8b(tokenizer).config
    config.mask_config = mask_config()
    config.mask_config.prompt_encoder_config.image_size = 128
    with pytest.raises(ValueError, match="set both alike"):
        TerrascopeModel(config)
    config.mask_config = None
    with pytest.raises(ValueError, match="needs vision_language_config"):
        TerrascopeModel(config)
