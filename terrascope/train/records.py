"""What a run says of itself: a line of JSON per event, TensorBoard where it is, curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from terrascope.train.recipe import Recipe

__all__ = ["Records", "draw_curves", "read_records"]

METRICS_FILE, CURVES_FILE = "metrics.jsonl", "curves.png"


class Records:
    """The metrics of a run.

    Parameters
    ----------
    folder : Path
        Of the run.
    total : int
        Steps that are done: later lines are those of an attempt that was killed, and are taken
        out.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self.path = folder / METRICS_FILE
        kept = [line for line in read_records(folder) if line["step"] <= total]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self.board = _open_board(folder / "tensorboard", total)

    def write(self, kind: str, step: int, stage: str, values: Mapping[str, float]) -> None:
        """Add what was measured at a step.

        Parameters
        ----------
        kind : str
            ``"train"`` or ``"validation"``.
        step : int
            Of the whole run.
        stage : str
            Name of the stage.
        values : mapping of str to float
            By name; what is not finite becomes null.
        """
        said: dict[str, Any] = {"kind": kind, "step": step, "stage": stage}
        said |= {k: round(v, 6) if math.isfinite(v) else None for k, v in values.items()}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(said) + "\n")
        if self.board is not None:
            for key, value in values.items():
                self.board.add_scalar(f"{kind}/{key}", value, step)

    def close(self) -> None:
        """Finish the files."""
        if self.board is not None:
            self.board.close()


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Read the metrics of a run.

    Parameters
    ----------
    folder : Path
        Of the run.

    Returns
    -------
    records : list of dict
        In the order written; a line that was cut short by a kill is left out.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.endswith("}")]


def draw_curves(folder: Path, recipe: Recipe) -> Path:
    """Draw losses and scores over the steps, stages marked.

    Parameters
    ----------
    folder : Path
        Of the run, with its metrics.
    recipe : Recipe
        Of the run.

    Returns
    -------
    path : Path
        The PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read_records(folder)
    train = [record for record in records if record["kind"] == "train"]
    looks = [record for record in records if record["kind"] == "validation"]
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2).ravel()
    _plot(panels[0], train, ("loss", "language", "dice", "cross_entropy"), smooth=True)
    panels[0].set_yscale("log")
    panels[0].set_title("training losses")
    _plot(panels[1], looks, ("language", "dice", "cross_entropy", "boundary"))
    panels[1].set_title("validation losses")
    _plot(panels[2], looks, ("mask_iou", "mask_iou_present", "token_accuracy", "answer_accuracy"))
    panels[2].set_ylim(0, 1)
    panels[2].set_title("validation scores")
    _plot(panels[3], train, ("rate",))
    panels[3].set_title("learning rate")
    edge = 0
    for stage in recipe.stages:
        for panel in panels:
            panel.axvline(edge, color="0.8", lw=0.8, zorder=0)
        panels[3].text(edge, 0, f" {stage.name}", rotation=90, va="bottom", fontsize=8)
        edge += stage.steps
    for panel in panels:
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
    figure.suptitle(recipe.name)
    path = folder / CURVES_FILE
    figure.savefig(path, dpi=110)
    return path


def _plot(
    panel: Any, records: list[dict[str, Any]], keys: Sequence[str], *, smooth: bool = False
) -> None:
    """Draw some values stage by stage; smoothed ones over a pale line of what was measured."""
    stages = dict.fromkeys(record["stage"] for record in records)
    for number, key in enumerate(keys):
        label = key.replace("_", " ")
        for stage in stages:
            own = [r for r in records if r["stage"] == stage and r.get(key) is not None]
            steps, values = [r["step"] for r in own], [r[key] for r in own]
            if not any(values):
                continue  # this stage does without
            colour = f"C{number}"
            if smooth:
                panel.plot(steps, values, color=colour, alpha=0.25, lw=0.7)
                values = _smoothed(values)
            panel.plot(steps, values, color=colour, label=label, marker="" if smooth else ".")
            label = ""  # named once
    if panel.lines:
        panel.legend(fontsize=8)


def _smoothed(values: Sequence[float], keep: float = 0.95) -> list[float]:
    """Return the exponential mean, corrected for its start."""
    mean, weight, out = 0.0, 0.0, []
    for value in values:
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        out.append(mean / weight)
    return out


def _open_board(folder: Path, total: int) -> Any:
    """Open TensorBoard's writer; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=total + 1)
