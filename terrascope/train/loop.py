"""The training loop: stages of steps, from any of which a killed run goes on.

All randomness of a batch (its data, its dropout) follows from its number in the stage, never
from what was drawn before. So a run that was killed ends like one that was not, and two
processes that share the batches of a step out end, but for rounding, like one that runs them all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from terrascope.errors import ModelError
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.precision import computing
from terrascope.train.checkpoints import (
    Progress,
    latest_checkpoint,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)
from terrascope.train.naming import NamedMasks, TextAlone, TraceIds
from terrascope.train.objective import TERMS, Placed, TrainingBatch, count_terms, shared_loss
from terrascope.train.optimization import (
    WeightMean,
    clip_gradients,
    learning_rate,
    make_optimizer,
    set_rate,
)
from terrascope.train.parts import freeze
from terrascope.train.recipe import Recipe
from terrascope.train.records import Records
from terrascope.train.settings import Stage
from terrascope.train.validation import Tally, validate

__all__ = ["Source", "Trainer"]

_logger = logging.getLogger("terrascope.progress")
_SEEDS_PER_STAGE = 1_000_003
_MOST_SKIPPED = 10


class Source(Protocol):
    """Where batches come from; `terrascope.train.sources.open_source` makes one of a recipe."""

    def __call__(
        self, stage: Stage, *, split: str, start: int, stride: int
    ) -> Iterator[TrainingBatch]:
        """Give the batches of a stage.

        Parameters
        ----------
        stage : Stage
            Whose.
        split : str
            ``"train"`` or ``"validation"``.
        start, stride : int
            Numbers of the batches: `start`, ``start + stride``, and so on, without end.

        Returns
        -------
        batches : iterator of TrainingBatch
            What a number stands for never changes.
        """


@dataclasses.dataclass
class Trainer:
    """One run.

    Parameters
    ----------
    recipe : Recipe
        What is done.
    model : TerrascopeModel
        Fresh, or what the run starts from; trained in place.
    source : Source
        Of its batches.
    answer : tuple of int
        Ids of ``<answer>`` and ``</answer>``.
    trace : TraceIds
        By which the names of masks are found.
    folder : Path
        For checkpoints and metrics.
    cpu : bool
        Stay on the processor.
    """

    recipe: Recipe
    model: TerrascopeModel
    source: Source
    answer: tuple[int, int]
    trace: TraceIds
    folder: Path
    cpu: bool = False

    def __post_init__(self) -> None:
        self.accelerator = Accelerator(
            # Several processes of one run find each other on processors only if this is said.
            cpu=self.cpu or not torch.accelerator.is_available(),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.precision = _precision(self.recipe, self.accelerator.device)
        self.skipped = 0
        self.able = {name for name, p in self.model.named_parameters() if p.requires_grad}
        layout = torch.channels_last
        place = {"device": self.accelerator.device, "memory_format": layout}
        nn.Module.to(self.model, **place)
        self.mean = WeightMean(self.model, self.recipe.optimizer.mean_decay)
        self.progress = Progress(0, 0, 0, 0.0, self.recipe.digest_of(0))

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.accelerator.is_main_process)

    def run(self, *, resume: bool = True) -> None:
        """Train; at the end the model holds the mean of its weights.

        Parameters
        ----------
        resume : bool
            Go on from the last checkpoint of the folder, if there is one.

        Raises
        ------
        ModelError
            If the folder holds a run of another recipe, or the loss is no number.
        """
        checkpoint = latest_checkpoint(self.folder / "checkpoints") if resume else None
        if checkpoint is not None:
            self.progress = read_progress(checkpoint)
            begun = self.progress.stage + (self.progress.step > 0)
            if self.progress.recipe != self.recipe.digest_of(begun):
                raise ModelError(
                    f"{self.folder} holds a run of another recipe (only stages that did not begin "
                    "may differ): choose another folder"
                )
        records = Records(self.folder, self.progress.total) if self.is_main else None
        for index, stage in enumerate(self.recipe.stages):
            if index >= self.progress.stage:
                self._run_stage(index, stage, checkpoint, records)
                checkpoint = None
        if checkpoint is not None:  # the run was complete
            load_checkpoint(checkpoint, self.model, self.mean)
        if self.recipe.optimizer.mean_decay:
            self.mean.swap(self.model)
        if records is not None:
            records.close()
        self.accelerator.wait_for_everyone()

    def _run_stage(
        self, index: int, stage: Stage, checkpoint: Path | None, records: Records | None
    ) -> None:
        """Run what is left of one stage."""
        with contextlib.ExitStack() as settings:
            settings.enter_context(_stage_settings(self.model, stage))
            freeze(self.model, stage.frozen, self.able)
            decay = self.recipe.optimizer.mean_decay
            self.mean.decay = decay if stage.mean_decay is None else stage.mean_decay
            optimizer = make_optimizer(self.model, self.recipe.optimizer, stage.rate)
            if checkpoint is not None:
                same = self.progress.step > 0
                load_checkpoint(checkpoint, self.model, self.mean, optimizer if same else None)
            runs = _what_runs(self.model, stage, self.trace)
            if isinstance(runs, TextAlone):
                settings.enter_context(runs.held())
            wrapped: nn.Module = self.accelerator.prepare_model(runs)
            look = _Look(self, stage, runs)
            first = self.progress.step
            batches = self._batches(stage, first)
            began = time.perf_counter()
            spent = self.progress.seconds
            for step in range(first, stage.steps):
                values = self._step(index, stage, step, wrapped, optimizer, batches)
                done = step + 1
                self.progress = dataclasses.replace(
                    self.progress,
                    step=done,
                    total=self.progress.total + 1,
                    seconds=spent + time.perf_counter() - began,
                    recipe=self.recipe.digest_of(index + 1),
                )
                self._say(stage, values, records)
                if done == stage.steps or _is_due(done, self.recipe.validation.every):
                    self._say_validation(look, stage, records)
                if done < stage.steps and done % self.recipe.checkpoints.every == 0:
                    self._save(optimizer)
            self.progress = dataclasses.replace(self.progress, stage=index + 1, step=0)
            self._save(None)
        self.model.zero_grad(set_to_none=True)
        _close(batches)
        del wrapped
        self.accelerator.free_memory()  # its wrapper holds hooks on every gradient

    def _batches(self, stage: Stage, step: int) -> Iterator[TrainingBatch]:
        """Open this process's share of a stage's batches, from a step on."""
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        if stage.batches % processes:
            raise ModelError(
                f"stage {stage.name!r}: {stage.batches} batches per step do not divide among "
                f"{processes} processes"
            )
        start = step * stage.batches + rank
        return self.source(stage, split="train", start=start, stride=processes)

    def _step(
        self,
        index: int,
        stage: Stage,
        step: int,
        wrapped: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Iterator[TrainingBatch],
    ) -> dict[str, float]:
        """Update the weights once; return what is worth writing down."""
        accelerator, config = self.accelerator, self.model.config
        set_rate(optimizer, rate := learning_rate(stage, step))
        start = time.perf_counter()
        made = [next(batches) for _ in range(stage.batches // accelerator.num_processes)]
        waited = time.perf_counter() - start
        own = [Placed.of(batch, accelerator.device) for batch in made]
        counts = torch.stack([count_terms(batch, config) for batch in own])
        total = self._sum(counts.sum(0))
        sums = torch.zeros(len(TERMS) + 1, dtype=torch.float64)
        for number, batch in enumerate(own):
            place = number * accelerator.num_processes + accelerator.process_index
            torch.manual_seed(
                self.recipe.seed + _SEEDS_PER_STAGE * (index + 1) + step * stage.batches + place
            )
            last = number == len(own) - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(wrapped):
                with computing(accelerator.device, self.precision):
                    output = batch.run(wrapped)
                loss = shared_loss(output.terms, config, counts[number], total)
                # Wrapped gradients are means over the processes; shares ask for sums.
                (loss * accelerator.num_processes).backward()
            parts = [float(getattr(output.terms, name).detach()) for name in TERMS]
            sums[:-1] += torch.tensor(parts, dtype=torch.float64) * counts[number]
            sums[-1] += float(loss.detach())
        norm = clip_gradients(self.model, self.recipe.optimizer.clip)
        finite = torch.isfinite(torch.tensor(norm)).item()
        self.skipped = 0 if finite else self.skipped + 1
        if self.skipped >= _MOST_SKIPPED:
            raise ModelError(
                f"stage {stage.name!r}, step {step}: the gradient has been no number for "
                f"{self.skipped} steps; lower the rate {stage.rate}"
            )
        if finite:
            optimizer.step()
            self.mean.update(self.model)
        optimizer.zero_grad(set_to_none=True)
        sums = self._sum(sums)
        means = sums[:-1] / total.clamp(min=1)
        values = dict(zip(TERMS, means.tolist(), strict=True)) | {"loss": float(sums[-1])}
        values |= {"rate": rate, "norm": norm, "waited_s": waited}
        return values | {"masks": float(total[2]), "tokens": float(total[0])}

    def _sum(self, values: Tensor) -> Tensor:
        """Add up what all processes have."""
        if self.accelerator.num_processes == 1:
            return values
        summed: Tensor = self.accelerator.reduce(values.to(self.accelerator.device), "sum")
        return summed.cpu()

    def _say(self, stage: Stage, values: dict[str, float], records: Records | None) -> None:
        if records is None:
            return
        done, steps = self.progress.total, self.recipe.steps
        records.write("train", done, stage.name, values | {"seconds": self.progress.seconds})
        said = {"progress": (f"train {self.recipe.name}", done, steps)}
        _logger.info("train %s: %d of %d", stage.name, done, steps, extra=said)

    def _say_validation(self, look: _Look, stage: Stage, records: Records | None) -> None:
        values = look.scores()
        if records is not None:
            records.write("validation", self.progress.total, stage.name, values)

    def _save(self, optimizer: torch.optim.Optimizer | None) -> None:
        if self.is_main:
            save_checkpoint(
                self.folder / "checkpoints",
                self.progress,
                self.model,
                self.mean,
                optimizer,
                keep=self.recipe.checkpoints.keep,
            )
        self.accelerator.wait_for_everyone()


class _Look:
    """The validation set of a stage: made once, shared out among the processes."""

    def __init__(self, trainer: Trainer, stage: Stage, runs: nn.Module) -> None:
        self.trainer, self.runs = trainer, runs
        accelerator = trainer.accelerator
        rank, processes = accelerator.process_index, accelerator.num_processes
        count = len(range(rank, trainer.recipe.validation.batches, processes))
        source = trainer.source(stage, split="validation", start=rank, stride=processes)
        self.batches: Sequence[TrainingBatch] = [next(source) for _ in range(count)]
        _close(source)

    def scores(self) -> dict[str, float]:
        """Score the mean of the weights."""
        trainer = self.trainer
        averaged = trainer.recipe.optimizer.mean_decay > 0
        if averaged:
            trainer.mean.swap(trainer.model)
        with computing(trainer.accelerator.device, trainer.precision):
            tally: Tally = validate(trainer.model, self.batches, trainer.answer, self.runs)
        if averaged:
            trainer.mean.swap(trainer.model)
        tally.sums = trainer._sum(tally.sums)  # noqa: SLF001 -- of this module
        return tally.means()


@contextlib.contextmanager
def _stage_settings(model: TerrascopeModel, stage: Stage) -> Iterator[None]:
    """Take windows of the stage's size, and weigh language as it says, while the block runs."""
    config = model.config
    kept = config.language_weight
    if stage.language_weight is not None:
        config.language_weight = stage.language_weight
    side = None
    if config.backbone == "nano":
        side, config.nano.window_size = config.nano.window_size, stage.window_px
    try:
        model.train()
        yield
    finally:
        config.language_weight = kept
        if side is not None:
            config.nano.window_size = side
        model.train(mode=False)


def _what_runs(
    model: TerrascopeModel, stage: Stage, ids: TraceIds
) -> TerrascopeModel | NamedMasks | TextAlone:
    """Choose what a stage runs of the model."""
    if stage.named:
        return NamedMasks(model, ids)
    return TextAlone(model, ids) if stage.source == "language" else model


def _is_due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _precision(recipe: Recipe, device: torch.device) -> str:
    """Resolve "auto" for training: unlike answering, it gains from bfloat16 without AMX too."""
    wanted = recipe.optimizer.precision
    plain = wanted == "auto" and device.type == "cpu"
    quick = plain and torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 -- no public name
    return "bfloat16" if quick else wanted


def _close(source: Any) -> None:
    """Stop the workers behind an iterator, if it has any."""
    if close := getattr(source, "close", None):
        close()
