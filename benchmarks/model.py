"""How fast the model looks and speaks: windows/s, tokens/s, questions per image, against a peer.

Random weights (speed does not depend on them); the end of text and ``[SEG]`` are made unlikely,
so that every run says the same number of tokens. Time per token is the median time between two
steps of the language model inside a run, so that prompts and encoders do not count. What is
compared runs in turns, and the figure is the median of the rounds' ratios. The peer is
transformers' own ``InternVLForConditionalGeneration.generate`` on the same weights and the same
prompt, without masks.

    python benchmarks/model.py [--precision auto] [--threads 2] [--device cuda] [--compile]
    python benchmarks/model.py --shared   # where others compute too: one thread, processor time

Prints a table and a line of JSON, and fails where a limit is missed: 8 questions on one window
cost at most 3 times one, with its images encoded once; batch 32 says at least 3 times the
tokens/s of batch 1; at most 1.1 times the peer's time per token. On a GPU also: share of the
bf16 peak in the vision encoder, share of the memory bandwidth in decoding, both at the size of
terrascope-8b's parts.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import itertools
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import InternVLConfig, InternVLForConditionalGeneration, Sam2Config

from terrascope.model.backbone import Encoded
from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig
from terrascope.model.generation_terrascope import generate
from terrascope.model.geometry import Geometry
from terrascope.model.internvl.loading import config_8b, special_token_settings
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.pictures import to_pictures
from terrascope.model.precision import PRECISIONS, inference_precision
from terrascope.model.prompts import compose_query
from terrascope.model.sequences import Query
from terrascope.model.speed import compile_model
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.windows import Windows

QUESTION = "How much of the image is water on the last date, in hectares?"
TOKENS = 48
ROUNDS = {1: 5, 8: 3, 32: 1}
"""Rounds by batch: large batches are long, and steadier."""
PEAKS = {"H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12), "A100": (312e12, 2.0e12)}
"""Dense bf16 FLOP/s and bytes/s by the data sheets."""

Clock = Callable[[], float]


def clock_of(device: torch.device, *, shared: bool) -> Clock:
    """Return the clock: of the wall, or of what this process computed on a processor.

    On a processor that is shared, steps that fit between two turns of the others look faster
    than long ones; processor time of a single thread does not count their turns.
    """
    if shared:
        return time.process_time

    def wall() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    return wall


@dataclasses.dataclass
class Table:
    """Figures, printed as they come.

    Parameters
    ----------
    figures : dict of str to float
        By name.
    missed : list of str
        Limits that were not kept.
    """

    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    missed: list[str] = dataclasses.field(default_factory=list)

    def add(
        self, name: str, value: float, unit: str, limit: str = "", *, kept: bool = True
    ) -> None:
        """Take in a figure and say whether it keeps its limit."""
        self.figures[name] = round(value, 4)
        if not kept:
            self.missed.append(f"{name} {value:.2f} ({limit})")
        verdict = f"  limit {limit}: {'kept' if kept else 'MISSED'}" if limit else ""
        print(f"{name:48s} {value:10.2f} {unit:10s}{verdict}", flush=True)


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


class Pace:
    """Times between the steps of a language model; steps of one token per row only.

    Parameters
    ----------
    language : nn.Module
        Called once per step.
    clock : callable
        Seconds.
    """

    def __init__(self, language: nn.Module, clock: Clock) -> None:
        self._clock = clock
        self._starts: list[float] = []
        language.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _: nn.Module, args: tuple[Any, ...], settings: dict[str, Any]) -> None:
        embeddings = args[0] if args else settings["inputs_embeds"]
        if embeddings.shape[1] == 1:
            self._starts.append(self._clock())

    def of(self, run: Callable[[], object]) -> float:
        """Return the median of one run, in seconds."""
        self._starts.clear()
        run()
        steps = [after - before for before, after in itertools.pairwise(self._starts)]
        return statistics.median(steps)


def seconds(run: Callable[[], object], clock: Clock) -> float:
    """Time one call."""
    start = clock()
    run()
    return clock() - start


def measure_nano(table: Table, device: torch.device, settings: argparse.Namespace) -> None:
    """Time encoder, decoding and many questions on one window, for the nano."""
    tokenizer = NanoTokenizer()
    model = make_nano(tokenizer).to(device)
    if settings.compile:
        compile_model(model, cuda_graphs=device.type == "cuda")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    table.add("nano parameters", parameters / 1e6, "M")
    clock = clock_of(device, shared=settings.shared)
    pace = Pace(model.backbone.language_model, clock)
    rates = {}
    model.encode(make_windows(1, 128, 2).to(device))
    for batch, rounds in ROUNDS.items():
        windows = make_windows(batch, 128, 2).to(device)
        encoded, spent = encode(model, windows, clock, rounds)
        table.add(f"nano encoder, batch {batch}", batch / spent, "windows/s")
        queries = [compose_query(tokenizer, windows, n, QUESTION) for n in range(batch)]
        run = _saying(model, windows, queries, tokenizer, encoded=encoded)
        rates[batch] = batch / statistics.median(pace.of(run) for _ in range(rounds))
        table.add(f"nano decoding, batch {batch}", rates[batch], "tokens/s")
    gain = rates[32] / rates[1]
    table.add("decoding, batch 32 against batch 1", gain, "times", ">= 3", kept=gain >= 3)
    ask_many(table, model, tokenizer, clock)
    windows = make_windows(4, 128, 2).to(device)
    for precision in ("float32", "bfloat16"):
        with inference_precision(device, precision):
            _, spent = encode(model, windows, clock, 3)
        table.add(f"nano encoder, batch 4, {precision}", 4 / spent, "windows/s")


def encode(
    model: TerrascopeModel, windows: Windows, clock: Clock, rounds: int
) -> tuple[Encoded, float]:
    """Encode several times; the last result, and the median of the seconds."""
    spent = []
    for _ in range(rounds):
        start = clock()
        encoded = model.encode(windows)
        spent.append(clock() - start)
    return encoded, statistics.median(spent)


def ask_many(table: Table, model: TerrascopeModel, tokenizer: NanoTokenizer, clock: Clock) -> None:
    """Ask one and eight questions on one window, encoders included."""
    windows = make_windows(1, 128, 2).to(model.device)
    questions = [
        compose_query(tokenizer, windows, 0, f"{QUESTION} Is it more than {n} ha?")
        for n in range(8)
    ]
    one = _saying(model, windows, questions[:1], tokenizer)
    eight = _saying(model, windows, questions, tokenizer)
    eight()
    images: list[int] = []
    hook = model.backbone.pyramid.register_forward_hook(lambda _, a, __: images.append(len(a[0])))
    eight()
    hook.remove()
    exact = sum(images) == int(windows.present.sum())
    table.add("images encoded for 8 questions on 4", sum(images), "images", "= 4", kept=exact)
    rounds = [(seconds(one, clock), seconds(eight, clock)) for _ in range(5)]
    cost = statistics.median(many / single for single, many in rounds)
    table.add("8 questions on one window against 1", cost, "times", "<= 3", kept=cost <= 3)


def _saying(
    model: TerrascopeModel,
    windows: Windows,
    queries: list[Query],
    tokenizer: NanoTokenizer,
    **more: Any,
) -> Callable[[], list[list[int]]]:
    """Return what says `TOKENS` tokens per query."""

    def run() -> list[list[int]]:
        results = generate(
            model, windows, queries, text=tokenizer.text, max_new_tokens=TOKENS, **more
        )
        assert all(len(result.ids) == TOKENS and not result.events for result in results)
        return [list(result.ids) for result in results]

    return run


def measure_peer(table: Table, device: torch.device, settings: argparse.Namespace) -> None:
    """Time per token against transformers' own loop."""
    tokenizer = NanoTokenizer()
    model = make_small_internvl(tokenizer).to(device)
    peer: InternVLForConditionalGeneration = model.backbone.vision_language
    peer.generation_config.pad_token_id = model.config.pad_token_id
    peer.generation_config.eos_token_id = None
    pace = Pace(peer.model.language_model, clock_of(device, shared=settings.shared))
    for batch in (1, 8):
        windows = make_windows(batch, 128, 1, radar=False).to(device)
        queries = [compose_query(tokenizer, windows, n, QUESTION) for n in range(batch)]
        image = model.config.image_token_id
        ids = [
            [t for token in query.prompt for t in [token] * (64 if token == image else 1)]
            for query in queries
        ]
        pictures, _ = to_pictures(windows, 224, ["rgb"])
        inputs = {
            "input_ids": torch.tensor(ids, device=device),
            "attention_mask": torch.ones(len(ids), len(ids[0]), dtype=torch.int64, device=device),
            "pixel_values": pictures[:, 0, 0],
        }
        ours = _saying(model, windows, queries, tokenizer, encoded=model.encode(windows))

        def theirs(inputs: dict[str, torch.Tensor] = inputs) -> list[list[int]]:
            said = peer.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
            return said[:, inputs["input_ids"].shape[1] :].tolist()

        same = ours() == theirs()
        table.add(f"InternVL, batch {batch}: same tokens", same, "", "yes", kept=same)
        rounds = [(pace.of(ours), pace.of(theirs)) for _ in range(9)]
        for place, who in enumerate(("ours", "transformers")):
            spent = statistics.median(pair[place] for pair in rounds)
            table.add(f"InternVL, batch {batch}: {who}", spent * 1000, "ms/token")
        ratio = statistics.median(mine / other for mine, other in rounds)
        name = f"InternVL, batch {batch}: ours against theirs"
        table.add(name, ratio, "times", "<= 1.1", kept=ratio <= 1.1)


def measure_gpu(table: Table, device: torch.device, settings: argparse.Namespace) -> None:
    """Shares of the peak at the size of terrascope-8b, on random bf16 weights."""
    name = torch.cuda.get_device_name(device)
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    if peak is None:
        print(f"{name}: peak not known, shares not given")
        return
    tokenizer = NanoTokenizer()
    config = config_8b(dtype=torch.bfloat16, **special_token_settings(tokenizer))
    with torch.device(device):
        model = TerrascopeModel(config).to(torch.bfloat16).eval()
    look_and_speak(table, model, peak, compiled=settings.compile)


def look_and_speak(
    table: Table, model: TerrascopeModel, peak: tuple[float, float], *, compiled: bool = False
) -> None:
    """Measure the shares of a peak (FLOP/s, bytes/s) that encoder and decoding reach."""
    from torch.utils.flop_counter import FlopCounterMode

    device, dtype = model.device, model.dtype
    clock = clock_of(device, shared=False)
    reader, tokenizer = model.backbone.vision_language, NanoTokenizer()
    never = (model.config.eos_token_id, model.config.seg_token_id)
    _silence(reader.lm_head.weight, list(never))
    side = model.backbone.image_side
    pixels = torch.randn(32, 3, side, side, device=device, dtype=dtype)

    def look() -> object:
        return reader.model.get_image_features(pixels, return_dict=True)

    with FlopCounterMode(display=False) as counter:
        look()
    if compiled:
        compile_model(model, cuda_graphs=device.type == "cuda")
        look()
    spent = statistics.median(seconds(look, clock) for _ in range(5))
    table.add("8b vision encoder, 32 images", 32 / spent, "images/s")
    share = counter.get_total_flops() / spent / peak[0]
    table.add("8b vision encoder, share of the bf16 peak", 100 * share, "%")
    windows = make_windows(1, 128, 1, radar=False).to(device)
    query = compose_query(tokenizer, windows, 0, QUESTION)
    run = _saying(model, windows, [query], tokenizer, encoded=model.encode(windows))
    pace = Pace(reader.model.language_model, clock)
    run()
    per_token = statistics.median(pace.of(run) for _ in range(5))
    table.add("8b decoding, batch 1", 1 / per_token, "tokens/s")
    weights = [*reader.model.language_model.layers.parameters(), reader.lm_head.weight]
    read = sum(weight.numel() * weight.element_size() for weight in weights)
    table.add("8b decoding, share of the bandwidth", 100 * read / per_token / peak[1], "%")


@torch.inference_mode()
def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--shared", action="store_true", help="one thread, processor time")
    parser.add_argument("--compile", action="store_true", help="compile; on a GPU with graphs")
    parser.add_argument("--only", choices=["nano", "peer", "gpu"], default=None)
    settings = parser.parse_args()
    settings.threads = 1 if settings.shared else settings.threads
    torch.set_num_threads(settings.threads)
    device = torch.device(settings.device)
    table = Table()
    start = time.perf_counter()
    with inference_precision(device, settings.precision) as dtype:
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
        clock = "processor time" if settings.shared else "wall time"
        print(f"{where}, {settings.threads} threads, {clock}, {dtype}, torch {torch.__version__}")
        if settings.only in (None, "nano"):
            measure_nano(table, device, settings)
        if settings.only in (None, "peer"):
            measure_peer(table, device, settings)
    if device.type == "cuda" and settings.only in (None, "gpu"):
        measure_gpu(table, device, settings)
    if device.type == "cuda":
        table.add("peak memory, GPU", torch.cuda.max_memory_allocated() / 2**20, "MiB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table.add("peak memory, process", peak / 1024, "MiB")
    table.add("whole benchmark", time.perf_counter() - start, "s")
    print(
        json.dumps(
            {"threads": settings.threads, "clock": clock, "precision": str(dtype)} | table.figures
        )
    )
    if table.missed:
        sys.exit("limit missed: " + "; ".join(table.missed))


if __name__ == "__main__":
    main()
