"""How fast the model looks and speaks: windows/s, tokens/s, questions per image, against a peer.

Random weights (speed does not depend on them); the end of text and ``[SEG]`` are made unlikely,
so that every run says the same number of tokens. Time per token is the difference of two runs of
different lengths, so that prompts and encoders cancel. Rounds are interleaved, figures are
medians. The peer is transformers' own ``InternVLForConditionalGeneration.generate`` on the same
weights and the same prompt, without masks.

    python benchmarks/model.py [--rounds 5] [--threads 2] [--device cuda]

Prints one table, and fails where a limit is missed: 8 questions on one window cost at most 3
times one, with its images encoded once; batch 32 says at least 3 times the tokens/s of batch 1;
at most 1.1 times the peer's time per token. On a GPU also: share of the bf16 peak in the vision
encoder, share of the memory bandwidth in decoding, both at the size of terrascope-8b's parts.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration, Sam2Config

from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig
from terrascope.model.generation_terrascope import generate
from terrascope.model.geometry import Geometry
from terrascope.model.internvl.loading import config_8b, special_token_settings
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.pictures import to_pictures
from terrascope.model.prompts import compose_query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.windows import Windows

QUESTION = "How much of the image is water on the last date, in hectares?"
SHORT, LONG = 16, 80
BATCHES = (1, 8, 32)
PEAKS = {"H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12), "A100": (312e12, 2.0e12)}
"""Dense bf16 FLOP/s and bytes/s by the data sheets."""


def make_windows(count: int, side: int, dates: int, *, radar: bool = True) -> Windows:
    """Return windows of noise; every sensor is there."""
    g = torch.Generator().manual_seed(count)
    optical = torch.rand(count, dates, 12, side, side, generator=g) * 0.4
    backscatter = -20 + 12 * torch.rand(count, dates, 2, side, side, generator=g)
    days = torch.arange(dates)[None, :, None].expand(count, dates, 2) * 30.0
    start = dt.date(2024, 1, 10)
    windows = Windows(
        optical=optical,
        optical_valid=torch.ones_like(optical, dtype=torch.bool),
        radar=backscatter,
        radar_valid=torch.ones_like(backscatter, dtype=torch.bool),
        day_of_year=days + 10,
        days=days.clone(),
        gsd_m=torch.full((count, 2), 10.0),
        date_count=torch.full((count,), dates),
        inside=torch.ones(count, side, side, dtype=torch.bool),
        dates=(tuple(start + dt.timedelta(days=30 * n) for n in range(dates)),) * count,
        geometry=(Geometry.planar((side, side), 10.0),) * count,
    )
    return windows if radar else windows.without(radar=True)


def make_nano(tokenizer: NanoTokenizer) -> TerrascopeModel:
    """Return the nano at its default size."""
    torch.manual_seed(0)
    config = TerrascopeConfig(
        nano_config=NanoConfig(vocab_size=tokenizer.vocab_size), **special_token_settings(tokenizer)
    )
    model = TerrascopeModel(config).eval()
    words = model.backbone.language_model.words.weight
    _silence(words, [config.eos_token_id, config.seg_token_id])
    return model


def make_small_internvl(tokenizer: NanoTokenizer) -> TerrascopeModel:
    """Return an InternVL of 6 million parameters, with a small SAM-2 beside it."""
    torch.manual_seed(0)
    vision = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"intermediate_size": 128, "image_size": [224, 224], "patch_size": [14, 14]}
    text = {"model_type": "qwen2", "hidden_size": 256, "intermediate_size": 768}
    text |= {"num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2}
    text |= {"vocab_size": tokenizer.vocab_size, "tie_word_embeddings": False}
    text |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    ids = special_token_settings(tokenizer)
    language = InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=ids["image_token_id"],
        image_seq_length=64,
        tie_word_embeddings=False,
    )
    masks = Sam2Config(
        vision_config={
            "backbone_config": {"model_type": "sam2_hiera_det_model", "image_size": [256, 256]},
            "backbone_feature_sizes": [[64, 64], [32, 32], [16, 16]],
        },
        prompt_encoder_config={"image_size": 256},
    )
    config = TerrascopeConfig(
        backbone="internvl", vision_language_config=language, mask_config=masks, **ids
    )
    model = TerrascopeModel(config).eval()
    head = model.backbone.vision_language.lm_head.weight
    _silence(head, [config.eos_token_id, config.seg_token_id])
    # What ours may never say, the peer must not either: both say the same.
    never = [config.pad_token_id, config.bos_token_id, config.image_token_id]
    _silence(head, [*never, config.measure_token_id, config.measure_end_token_id])
    return model


def _silence(rows: torch.Tensor, tokens: list[int]) -> None:
    """Give tokens a score of zero, which is never the highest of a thousand."""
    with torch.no_grad():
        rows[tokens] = 0


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def interleaved(
    runs: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Time several things in turns, after one round that does not count; medians."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            spent = seconds(run, device)
            if number:
                found[name].append(spent)
    return {name: statistics.median(values) for name, values in found.items()}


@torch.inference_mode()
def measure_nano(rounds: int, device: torch.device, failures: list[str]) -> None:
    """Time encoder, decoding and many questions on one window, for the nano."""
    tokenizer = NanoTokenizer()
    model = make_nano(tokenizer).to(device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"nano: {parameters / 1e6:.2f} M parameters, 128 px, 2 dates x 2 sensors")
    windows = {batch: make_windows(batch, 128, 2).to(device) for batch in BATCHES}
    runs: dict[str, Callable[[], object]] = {
        f"encode {batch}": lambda batch=batch: model.encode(windows[batch]) for batch in BATCHES
    }
    for batch in BATCHES:
        queries = [compose_query(tokenizer, windows[batch], n, QUESTION) for n in range(batch)]
        encoded = model.encode(windows[batch])
        for length in (SHORT, LONG):
            runs[f"say {batch} {length}"] = _saying(
                model, windows[batch], queries, tokenizer, length, encoded=encoded
            )
    one = make_windows(1, 128, 2).to(device)
    questions = [
        compose_query(tokenizer, one, 0, f"{QUESTION} Is it more than {n} ha?") for n in range(8)
    ]
    runs["1 question"] = _saying(model, one, questions[:1], tokenizer, 32)
    runs["8 questions"] = _saying(model, one, questions, tokenizer, 32)
    found = interleaved(runs, rounds, device)
    rates = {}
    for batch in BATCHES:
        print(f"encoder    batch {batch:2d} {batch / found[f'encode {batch}']:10.1f} windows/s")
    for batch in BATCHES:
        spent = found[f"say {batch} {LONG}"] - found[f"say {batch} {SHORT}"]
        rates[batch] = batch * (LONG - SHORT) / spent
        print(f"decoding   batch {batch:2d} {rates[batch]:10.1f} tokens/s")
    gain = rates[32] / rates[1]
    print(f"batch 32 against batch 1: {gain:.2f} times the tokens/s (limit: at least 3)")
    if gain < 3:
        failures.append(f"batch 32 gains {gain:.2f}")
    images: list[int] = []
    hook = model.backbone.pyramid.register_forward_hook(lambda _, a, __: images.append(len(a[0])))
    runs["8 questions"]()
    hook.remove()
    cost = found["8 questions"] / found["1 question"]
    print(f"8 questions on one window: {cost:.2f} times one (limit: 3); images encoded {images}")
    if cost > 3 or sum(images) != 4:
        failures.append(f"8 questions cost {cost:.2f}, images encoded {images}")


def _saying(
    model: TerrascopeModel,
    windows: Windows,
    queries: list,
    tokenizer: NanoTokenizer,
    length: int,
    **more: object,
) -> Callable[[], object]:
    def run() -> object:
        results = generate(
            model, windows, queries, text=tokenizer.text, max_new_tokens=length, **more
        )
        assert all(len(result.ids) == length and not result.events for result in results)
        return results

    return run


@torch.inference_mode()
def measure_peer(rounds: int, device: torch.device, failures: list[str]) -> None:
    """Time per token against transformers' own loop."""
    tokenizer = NanoTokenizer()
    model = make_small_internvl(tokenizer).to(device)
    peer: InternVLForConditionalGeneration = model.backbone.vision_language
    peer.generation_config.pad_token_id = model.config.pad_token_id
    peer.generation_config.eos_token_id = None
    for batch in (1, 8):
        windows = make_windows(batch, 128, 1, radar=False).to(device)
        queries = [compose_query(tokenizer, windows, n, QUESTION) for n in range(batch)]
        image = model.config.image_token_id
        ids = [
            [t for token in query.prompt for t in [token] * (64 if token == image else 1)]
            for query in queries
        ]
        pictures, _ = to_pictures(windows, 224, ["rgb"])
        encoded = model.encode(windows)
        inputs = {
            "input_ids": torch.tensor(ids, device=device),
            "attention_mask": torch.ones(len(ids), len(ids[0]), dtype=torch.int64, device=device),
            "pixel_values": pictures[:, 0, 0],
        }
        runs: dict[str, Callable[[], object]] = {}
        for length in (SHORT, LONG):
            runs[f"ours {length}"] = _saying(
                model, windows, queries, tokenizer, length, encoded=encoded
            )
            runs[f"peer {length}"] = lambda length=length, inputs=inputs: peer.generate(
                **inputs, max_new_tokens=length, do_sample=False
            )
        ours = [list(result.ids) for result in runs[f"ours {LONG}"]()]
        theirs = runs[f"peer {LONG}"]()[:, len(ids[0]) :].tolist()
        if ours != theirs:
            failures.append(f"batch {batch}: ours and the peer say different tokens")
        found = interleaved(runs, rounds, device)
        spent = {
            who: (found[f"{who} {LONG}"] - found[f"{who} {SHORT}"]) / (LONG - SHORT) * 1000
            for who in ("ours", "peer")
        }
        ratio = spent["ours"] / spent["peer"]
        print(
            f"InternVL   batch {batch:2d} {spent['ours']:8.2f} ms per token, "
            f"transformers {spent['peer']:.2f}: {ratio:.2f} times (limit: 1.1), same tokens: "
            f"{ours == theirs}"
        )
        if ratio > 1.1:
            failures.append(f"batch {batch}: {ratio:.2f} times the peer's time per token")


@torch.inference_mode()
def measure_gpu(rounds: int, device: torch.device) -> None:
    """Shares of the peak at the size of terrascope-8b, on random bf16 weights."""
    from torch.utils.flop_counter import FlopCounterMode

    name = torch.cuda.get_device_name(device)
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    if peak is None:
        print(f"{name}: peak not known, shares not given")
        return
    tokenizer = NanoTokenizer()
    with torch.device(device):
        model = TerrascopeModel(
            config_8b(dtype=torch.bfloat16, **special_token_settings(tokenizer))
        ).to(torch.bfloat16)
    model.eval()
    backbone = model.backbone
    pixels = torch.randn(32, 3, 448, 448, device=device, dtype=torch.bfloat16)

    def look() -> object:
        return backbone.vision_language.model.get_image_features(pixels, return_dict=True)

    with FlopCounterMode(display=False) as counter:
        look()
    spent = interleaved({"look": look}, rounds, device)["look"]
    share = counter.get_total_flops() / spent / peak[0]
    print(f"vision encoder, 32 images: {32 / spent:.0f} images/s, {share:.0%} of the bf16 peak")
    windows = make_windows(1, 128, 1, radar=False).to(device)
    query = compose_query(tokenizer, windows, 0, QUESTION)
    encoded = model.encode(windows)
    runs = {
        f"say {n}": _saying(model, windows, [query], tokenizer, n, encoded=encoded)
        for n in (SHORT, LONG)
    }
    _silence(
        backbone.vision_language.lm_head.weight,
        [model.config.eos_token_id, model.config.seg_token_id],
    )
    found = interleaved(runs, rounds, device)
    per_token = (found[f"say {LONG}"] - found[f"say {SHORT}"]) / (LONG - SHORT)
    language = backbone.vision_language.model.language_model
    read = sum(p.numel() * 2 for p in language.layers.parameters())
    read += backbone.vision_language.lm_head.weight.numel() * 2
    print(
        f"decoding, batch 1: {1 / per_token:.1f} tokens/s, "
        f"{read / per_token / peak[1]:.0%} of the memory bandwidth"
    )


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", choices=["nano", "peer", "gpu"], default=None)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    device = torch.device(settings.device)
    failures: list[str] = []
    if settings.only in (None, "nano"):
        measure_nano(settings.rounds, device, failures)
    if settings.only in (None, "peer"):
        measure_peer(settings.rounds, device, failures)
    if device.type == "cuda" and settings.only in (None, "gpu"):
        measure_gpu(settings.rounds, device)
    if device.type == "cuda":
        print(f"peak memory of the GPU {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory of the process {peak / 1024:.0f} MiB")
    if failures:
        sys.exit("limit missed: " + "; ".join(failures))


if __name__ == "__main__":
    main()
