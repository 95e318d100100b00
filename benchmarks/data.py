"""How fast are training data made? Every step of the way from a seed to a batch.

Rounds take turns, so that other work on the machine meets all steps alike; rates are by the CPU
time of one process, times two for two free cores. Goals: 100 samples/s, image sets at 25/s, and
text alone in thousands.

    python benchmarks/data.py [--sets 24] [--rounds 3] [--samples 8]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

from terrascope.data.batches import collate
from terrascope.data.build import BuildSettings, build_tables
from terrascope.data.facts import Facts
from terrascope.data.language import language_batch
from terrascope.data.making import make_samples
from terrascope.data.perturb import Perturbation
from terrascope.data.questions.segment import segmentation_sample
from terrascope.data.stream import StreamSettings, batch_at
from terrascope.data.views import View, label_scene
from terrascope.model.processing_terrascope import TerrascopeProcessor
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.sim.samples import sample_scene

TOKENIZER = NanoTokenizer()
PROCESSOR = TerrascopeProcessor(size_px=128)
TEXTS = 400


def spent(work: Callable[[], Any]) -> tuple[Any, float]:
    """Run, and return the processor time that it took."""
    start = time.process_time()
    made = work()
    return made, time.process_time() - start


def one_round(seeds: range, samples: int) -> dict[str, tuple[int, float]]:
    """Make sets of all kinds; return how many of what in how many seconds."""
    rng = np.random.default_rng(seeds.start)
    found: dict[str, tuple[int, float]] = {}
    raw, seconds = spent(lambda: [sample_scene(seed, dates=2) for seed in seeds])
    found["image sets rendered"] = len(raw), seconds
    scenes, labelled = spent(lambda: [label_scene(one, view=View(), rng=rng) for one in raw])
    asked, questions = spent(lambda: [(s, make_samples(s, rng, samples)) for s in scenes])
    count = sum(len(one) for _, one in asked)
    pairs = [asked[n : n + 4] for n in range(0, len(asked), 4)]
    _, plain = spent(lambda: [collate(p, PROCESSOR, TOKENIZER, measured=False) for p in pairs])
    wrong = Perturbation()
    _, measured = spent(
        lambda: [collate(p, PROCESSOR, TOKENIZER, perturbation=wrong, rng=rng) for p in pairs]
    )
    found["scenes labelled"] = len(raw), labelled
    found["questions made"] = count, questions
    found["samples batched, true masks"] = count, plain
    found["samples batched, wrong masks measured"] = count, measured
    found["samples, images rendered before"] = count, labelled + questions + measured
    found["samples, all from the seed"] = count, seconds + labelled + questions + measured

    def segmentation() -> int:
        each = [(s, segmentation_sample(Facts(s), rng, 10)) for s in scenes]
        kept = [(s, [one]) for s, one in each if one is not None]
        return len(collate(kept, PROCESSOR, TOKENIZER).truth)

    found["masks of stage 1, images rendered before"] = spent(segmentation)
    texts, seconds = spent(lambda: language_batch(TOKENIZER, rng, TEXTS))
    found["samples of text alone"] = len(texts.queries), seconds
    return found


def tables(sets: int) -> list[tuple[str, float]]:
    """Build small tables; return sizes, and what reading them back costs."""
    said = []
    with tempfile.TemporaryDirectory() as folder:
        for bands in (False, True):
            out = Path(folder) / str(bands)
            settings = BuildSettings(sets, seed=5000, samples=6, bands=bands, per_shard=16)
            built = build_tables(out, settings)
            name = "bands stored" if bands else "seeds stored"
            said.append((f"bytes per sample, {name}", built.bytes_per_sample))
        stored = StreamSettings(windows=4, samples=4, tables=out)
        numbers = range(max(sets // 4, 1))
        batches, seconds = spent(
            lambda: [batch_at(stored, TOKENIZER, seed=0, number=n) for n in numbers]
        )
        count = sum(len(batch.queries) for batch in batches)
        said.append(("samples/s of two cores, streamed from stored bands", 2 * count / seconds))
    return said


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    one_round(range(8), given.samples)  # textures, fields and tables of a fresh process
    rounds = [
        one_round(range(1000 + n * given.sets, 1000 + (n + 1) * given.sets), given.samples)
        for n in range(given.rounds)
    ]
    print(f"{given.rounds} rounds of {given.sets} sets, load {os.getloadavg()[0]:.1f}")
    print(f"{'':44}{'CPU ms each':>12}{'per second of two cores':>26}")
    for name in rounds[0]:
        each = statistics.median(
            seconds / max(count, 1) for count, seconds in map(_of(name), rounds)
        )
        print(f"{name:44}{1e3 * each:12.2f}{2 / each:26.0f}")
    for name, value in tables(given.sets):
        print(f"{name:44}{value:38,.0f}")


def _of(name: str) -> Callable[[dict[str, tuple[int, float]]], tuple[int, float]]:
    return lambda found: found[name]


if __name__ == "__main__":
    main()
