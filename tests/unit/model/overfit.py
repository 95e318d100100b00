"""Procedural scenes of two dates and two sensors, and a short training run on them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

import torch
from torch import Tensor

from terrascope.model.configuration_terrascope import NanoConfig
from terrascope.model.generation_terrascope import Generation, generate
from terrascope.model.geometry import Geometry
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.prompts import compose_query
from terrascope.model.sequences import Query
from terrascope.model.tokenization_nano import NanoTokenizer
from terrascope.model.windows import Windows

from .samples import tiny_config

SIDE, COUNT = 64, 32
CLASSES = ("water", "tree", "crop", "bare land")
OPTICAL = torch.tensor(
    [
        [0.05, 0.05, 0.05, 0.04, 0.03, 0.02, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01],
        [0.03, 0.03, 0.05, 0.03, 0.08, 0.22, 0.28, 0.30, 0.31, 0.30, 0.14, 0.07],
        [0.05, 0.06, 0.09, 0.07, 0.14, 0.30, 0.36, 0.40, 0.41, 0.40, 0.22, 0.13],
        [0.10, 0.12, 0.16, 0.21, 0.24, 0.26, 0.28, 0.30, 0.31, 0.31, 0.38, 0.33],
    ]
)
RADAR = torch.tensor([[-22.0, -28.0], [-8.0, -13.0], [-11.0, -18.0], [-14.0, -22.0]])


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Windows, one query each, and the true mask of every ``[SEG]``."""

    windows: Windows
    queries: list[Query]
    answers: list[str]
    masks: Tensor
    first_mask: list[int]

    def truth(self, n: int) -> Tensor:
        """Return the true masks of one sample."""
        return self.masks[self.first_mask[n] : self.first_mask[n + 1]]


def _ground(generator: torch.Generator) -> Tensor:
    """Draw land of four classes, int64, shape (COUNT, 2 dates, SIDE, SIDE)."""
    coarse = torch.randn(COUNT, len(CLASSES), 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(
        coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=True
    )
    first = smooth.argmax(1)
    second = first.clone()
    for n in range(COUNT):
        y, x = torch.randint(4, SIDE - 24, (2,), generator=generator).tolist()
        h, w = torch.randint(10, 20, (2,), generator=generator).tolist()
        if n % 4:  # every fourth scene does not change
            second[n, y : y + h, x : x + w] = int(torch.randint(0, 4, (1,), generator=generator))
    return torch.stack([first, second], 1)


def make_scenes(tokenizer: NanoTokenizer, seed: int = 0) -> Scenes:
    """Return 32 samples: where is a class on a date, what has changed; answers of four kinds."""
    g = torch.Generator().manual_seed(seed)
    ground = _ground(g)
    optical = OPTICAL[ground].permute(0, 1, 4, 2, 3)
    optical = (optical * (1 + 0.05 * torch.randn(optical.shape, generator=g))).clamp(0.001, 1)
    radar = RADAR[ground].permute(0, 1, 4, 2, 3)
    radar = radar + 1.5 * torch.randn(radar.shape, generator=g)
    dates = (dt.date(2023, 6, 1), dt.date(2024, 6, 11))
    windows = Windows(
        optical=optical,
        optical_valid=torch.ones_like(optical, dtype=torch.bool),
        radar=radar,
        radar_valid=torch.ones_like(radar, dtype=torch.bool),
        day_of_year=torch.tensor([152.0, 163.0])[None, :, None].expand(COUNT, 2, 2),
        days=torch.tensor([0.0, 376.0])[None, :, None].expand(COUNT, 2, 2),
        gsd_m=torch.full((COUNT, 2), 10.0),
        date_count=torch.full((COUNT,), 2),
        inside=torch.ones(COUNT, SIDE, SIDE, dtype=torch.bool),
        dates=(dates,) * COUNT,
        geometry=(Geometry.planar((SIDE, SIDE), 10.0),) * COUNT,
    )
    queries, answers, masks, first_mask = [], [], [], []
    for n in range(COUNT):
        name = CLASSES[n % 4] if n % 8 < 4 else CLASSES[(n + 1) % 4]
        code = CLASSES.index(name)
        then, now = ground[n, 0] == code, ground[n, 1] == code
        changed = ground[n, 0] != ground[n, 1]
        first_mask.append(len(masks))
        share = f"{100 * float(now.float().mean()):.1f} %"
        if n % 3 == 0:
            question = f"Which share of the image is {name} on the last date?"
            trace, answer = f"{name} Image: t_2[SEG] share", share
            masks.append(now)
        elif n % 3 == 1:
            question = f"Is there more {name} at first than now?"
            trace = f"{name} Image: t_1[SEG] then {name} Image: t_2[SEG] now"
            answer = "yes" if then.sum() > now.sum() else "no"
            masks += [then, now]
        else:
            question = "Which class is most of what changed?"
            trace = "changed Image: t_1 to t_2[SEG] most"
            new = torch.bincount(ground[n, 1][changed], minlength=4)
            answer = CLASSES[int(new.argmax())] if changed.any() else "nothing"
            masks.append(changed)
        answers.append(answer)
        response = f"<think>{trace}</think><answer>{answer}</answer><eos>"
        queries.append(compose_query(tokenizer, windows, n, question, response))
    first_mask.append(len(masks))
    return Scenes(windows, queries, answers, torch.stack(masks), first_mask)


def build(tokenizer: NanoTokenizer, seed: int = 0) -> TerrascopeModel:
    """Return a full-sized nano for windows of 64 pixels, fresh."""
    torch.manual_seed(seed)
    # Most tokens are the same in all samples: the few of the answer need the weight.
    config = tiny_config(tokenizer, language_weight=2.0)
    config.nano_config = NanoConfig(vocab_size=tokenizer.vocab_size, window_size=SIDE)
    return TerrascopeModel(config)


def train(model: TerrascopeModel, scenes: Scenes, *, steps: int, rate: float = 1e-3) -> None:
    """Train in batches of eight, in bf16 where that is safe."""
    generator = torch.Generator().manual_seed(1)
    wide = [p for p in model.parameters() if p.ndim > 1]
    narrow = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": wide, "weight_decay": 0.01}, {"params": narrow, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda n: min((n + 1) / 20, 1.0) * (0.51 + 0.49 * math.cos(math.pi * n / steps)),
    )
    model.train()
    order: list[int] = []
    for _ in range(steps):
        if not order:
            order = torch.randperm(COUNT, generator=generator).tolist()
        chosen, order = order[:8], order[8:]
        queries = [
            dataclasses.replace(scenes.queries[n], window=place) for place, n in enumerate(chosen)
        ]
        truth = torch.cat([scenes.truth(n) for n in chosen])
        with torch.autocast("cpu", torch.bfloat16):
            output = model(
                scenes.windows.select(chosen),
                queries,
                truth=truth,
                injected=_perturbed(truth, generator),
            )
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def _perturbed(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Move masks by up to a pixel: when it speaks freely, the model's own masks are not perfect."""
    moves = torch.randint(-1, 2, (len(masks), 2), generator=generator).tolist()
    moved = [torch.roll(mask, move, (0, 1)) for mask, move in zip(masks, moves, strict=True)]
    return torch.stack(moved)


def answer(
    model: TerrascopeModel, tokenizer: NanoTokenizer, scenes: Scenes
) -> tuple[list[Generation], list[str]]:
    """Let the model answer freely, and cut the answers out of its text."""
    questions = [dataclasses.replace(query, response=()) for query in scenes.queries]
    results = generate(model, scenes.windows, questions, text=tokenizer.text, max_new_tokens=60)
    texts = [tokenizer.text(result.ids) for result in results]
    return results, [t.partition("<answer>")[2].partition("</answer>")[0] for t in texts]
