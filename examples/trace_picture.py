"""The picture of a trace: what was seen, what was drawn and measured, what was answered."""

from __future__ import annotations

import dataclasses
import datetime as dt
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from terrascope.model.sequences import DatePair
from terrascope.model.windows import Windows
from terrascope.sensors import S2_BANDS
from terrascope.vocabulary import OPTION_LETTERS

MASK, TRUTH, OPTICAL, RADAR, MISSING = "#d55e00", "#ffffff", "#56b4e9", "#f0e442", "#969ca3"
"""Okabe and Ito (2008): told apart with any common colour vision deficiency."""
INK, QUIET, SAID = "#1a1a1a", "#6b6f75", "#0072b2"
CHARACTERS = 112
"""Of a line of the trace."""
_PANEL, _GAP, _EDGE, _TITLE, _LINE = 2.45, 0.1, 0.08, 0.3, 0.165
_WIDTH = 4 * _PANEL + 3 * _GAP + 2 * _EDGE
"""Inches."""


@dataclasses.dataclass(frozen=True, eq=False)
class Mask:
    """One step of a trace.

    Parameters
    ----------
    words : str
        What the model said before the mask.
    figures : str
        What was measured on it and given to the model.
    dates : tuple of int
        Earlier date or -1, and date, from 0.
    probability : ndarray of float, shape (H, W)
        Of each pixel.
    truth : ndarray of bool or None, shape (H, W)
        None where the words name nothing that has a truth.
    cells : list of int
        Cells whose visual tokens were injected, of grid x grid.
    sensors : list of int
        Of each cell: 0 optical, 1 radar.
    grid : int
        Cells per side.
    """

    words: str
    figures: str
    dates: DatePair
    probability: NDArray[np.float32]
    truth: NDArray[np.bool_] | None
    cells: Sequence[int]
    sensors: Sequence[int]
    grid: int

    @property
    def drawn(self) -> NDArray[np.bool_]:
        """Pixels of the mask, bool, shape (H, W)."""
        return self.probability > 0.5

    @property
    def iou(self) -> float | None:
        """Overlap with the truth; None without one."""
        if self.truth is None:
            return None
        union = np.count_nonzero(self.drawn | self.truth)
        return np.count_nonzero(self.drawn & self.truth) / union if union else 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """A question with all that came of it.

    Parameters
    ----------
    windows : Windows
        The one window that was asked about.
    dates : tuple of date
        Of the window.
    question : str
        As it was asked.
    options : tuple of str
        In the order of their letters.
    masks : list of Mask
        Of the trace.
    closing : str
        What the model said after the last mask.
    answer, right : str
        Said and true: a letter where options were offered.
    confidence : tuple of float or None
        Per option, from the sampled masks.
    """

    windows: Windows
    dates: tuple[dt.date, ...]
    question: str
    options: tuple[str, ...]
    masks: list[Mask]
    closing: str
    answer: str
    right: str
    confidence: tuple[float, ...] | None


def optical_picture(windows: Windows, date: int) -> NDArray[np.float32]:
    """Return red, green and blue of a date, stretched alike on all dates, shape (H, W, 3)."""
    bands = [list(S2_BANDS).index(name) for name in ("red", "green", "blue")]
    seen = windows.optical[0][:, bands].numpy()
    valid = windows.optical_valid[0][:, bands].numpy()
    top = float(np.quantile(seen[valid], 0.985)) if valid.any() else 1.0
    rgb = np.clip(seen[date] / top, 0, 1) ** 0.75
    return _without_missing(rgb, valid[date])


def radar_picture(windows: Windows, date: int) -> NDArray[np.float32]:
    """Return VV, VH and their ratio in dB as red, green and blue, shape (H, W, 3)."""
    vv, vh = windows.radar[0, date].numpy()
    valid = windows.radar_valid[0, date].numpy()
    shown = np.stack([(vv + 20) / 20, (vh + 28) / 20, (vv - vh) / 15])
    return _without_missing(np.clip(shown, 0, 1), np.broadcast_to(valid.all(0), shown.shape))


def _without_missing(rgb: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    grey = np.array(mpl.colors.to_rgb(MISSING))[:, None, None]
    return np.where(valid.all(0), rgb, grey).transpose(1, 2, 0).astype(np.float32)


def draw(asked: Asked, path: Path) -> None:
    """Draw the picture.

    Parameters
    ----------
    asked : Asked
        With one to four masks.
    path : Path
        PNG to write.
    """
    lines = _trace_lines(asked)
    rows = 1 + -(-len(asked.masks) // 2)
    heights = [_PANEL + _TITLE] * rows + [_LINE * (len(lines) + 1)]
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8.5}):
        figure = Figure(figsize=(_WIDTH, sum(heights) + _LINE), dpi=200)
        page = _Page(figure)
        for place, (image, title) in enumerate(_images(asked)):
            _show(page.panel(0, place), image, title)
        for number, mask in enumerate(asked.masks):
            row, column = 1 + number // 2, 2 * (number % 2)
            background = _background(asked, mask)
            _draw_mask(page.panel(row, column), background, mask, number + 1)
            _draw_cells(page.panel(row, column + 1), background, mask, number + 1)
        top = rows * (_PANEL + _TITLE) + _LINE
        beside = asked.confidence is not None and len(asked.masks) % 2 == 0
        _write(page.box(_EDGE, top, _WIDTH - 2 * _EDGE, heights[-1]), lines)
        if asked.confidence is not None:
            if beside:
                place = (3 * (_PANEL + _GAP) + _EDGE + 0.75, top + 0.25, _PANEL - 0.85)
            else:
                first = 2 * (_PANEL + _GAP) + _EDGE + 0.75
                place = (first, (rows - 1) * (_PANEL + _TITLE) + _TITLE + 0.4, _PANEL)
            size = min(0.27 * len(asked.options) + 0.05, heights[-1] - 0.6)
            _draw_options(page.box(*place, size), asked)
        figure.savefig(path, facecolor="white")


@dataclasses.dataclass(frozen=True)
class _Page:
    """A figure on which things are placed in inches from the top left."""

    figure: Figure

    def box(self, left: float, top: float, width: float, height: float) -> Any:
        """Add axes."""
        across, down = self.figure.get_size_inches()
        bounds = (left / across, 1 - (top + height) / down, width / across, height / down)
        return self.figure.add_axes(bounds)

    def panel(self, row: int, column: int) -> Any:
        """Add a square with room for its title."""
        left, top = _EDGE + column * (_PANEL + _GAP), row * (_PANEL + _TITLE) + _TITLE
        return self.box(left, top, _PANEL, _PANEL)


def write_trace(asked: Asked, path: Path) -> None:
    """Write the trace as text.

    Parameters
    ----------
    asked : Asked
        What is told.
    path : Path
        File to write.
    """
    path.write_text("".join(f"{line}\n" for line, _ in _trace_lines(asked)), encoding="utf-8")


def _images(asked: Asked) -> list[tuple[NDArray[np.float32], str]]:
    """Return what was seen on the first and the last date."""
    shown = sorted({0, len(asked.dates) - 1})
    made = []
    for date in shown:
        when = f"t{date + 1}, {asked.dates[date]}"
        made.append((optical_picture(asked.windows, date), f"optical {when}"))
        made.append((radar_picture(asked.windows, date), f"radar {when}"))
    return made


def _background(asked: Asked, mask: Mask) -> NDArray[np.float32]:
    date = mask.dates[1]
    if bool(asked.windows.optical_valid[0, date].any()):
        return optical_picture(asked.windows, date)
    return radar_picture(asked.windows, date)


def _show(axes: Any, image: NDArray[np.float32], title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=8.5, pad=3, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _when(mask: Mask) -> str:
    before, date = mask.dates
    return f"t{date + 1}" if before < 0 else f"t{before + 1} to t{date + 1}"


def _draw_mask(axes: Any, background: NDArray[np.float32], mask: Mask, number: int) -> None:
    """Lay the mask over its date, with the outline of the truth."""
    grey = background.mean(-1, keepdims=True).repeat(3, -1)
    overlap = "" if mask.iou is None else f", IoU {mask.iou:.2f}"
    _show(axes, 0.25 + 0.75 * grey, f"mask {number}: {_name(mask)}, {_when(mask)}{overlap}")
    colour = np.array([*mpl.colors.to_rgb(MASK), 0.0])
    overlay = np.broadcast_to(colour, (*mask.drawn.shape, 4)).copy()
    overlay[..., 3] = 0.72 * mask.drawn
    axes.imshow(overlay, interpolation="nearest")
    if mask.truth is not None:
        _outline(axes, mask.truth, INK, 1.9)
        _outline(axes, mask.truth, TRUTH, 0.9)
    if number == 1:
        handles = [
            mpl.patches.Patch(facecolor=MASK, label="mask"),
            mpl.patches.Patch(facecolor=TRUTH, edgecolor=INK, label="true outline"),
        ]
        axes.legend(handles=handles, loc="lower right", fontsize=6.5, framealpha=0.85)


def _outline(axes: Any, mask: NDArray[np.bool_], colour: str, width: float) -> None:
    """Draw the edges of the pixels of a mask."""
    padded = np.pad(mask, 1).astype(np.int8)
    across, down = np.diff(padded, axis=1), np.diff(padded, axis=0)
    segments = [[(x - 0.5, y - 1.5), (x - 0.5, y - 0.5)] for y, x in np.argwhere(across)]
    segments += [[(x - 1.5, y - 0.5), (x - 0.5, y - 0.5)] for y, x in np.argwhere(down)]
    lines = mpl.collections.LineCollection(
        segments, colors=colour, linewidths=width, capstyle="projecting"
    )
    axes.add_collection(lines)


def _draw_cells(axes: Any, background: NDArray[np.float32], mask: Mask, number: int) -> None:
    """Show which visual tokens were given back, and of which sensor."""
    _show(axes, background, f"visual tokens after mask {number}: {len(mask.cells)}")
    height, width = mask.drawn.shape
    down, across = height / mask.grid, width / mask.grid
    shade = np.full((height, width, 4), (0.0, 0.0, 0.0, 0.45))
    for cell in mask.cells:
        row, column = divmod(cell, mask.grid)
        shade[
            round(row * down) : round((row + 1) * down),
            round(column * across) : round((column + 1) * across),
            3,
        ] = 0.0
    axes.imshow(shade, interpolation="nearest")
    for cell, sensor in zip(mask.cells, mask.sensors, strict=True):
        row, column = divmod(cell, mask.grid)
        box = mpl.patches.Rectangle(
            (column * across - 0.5, row * down - 0.5),
            across,
            down,
            fill=False,
            edgecolor=RADAR if sensor else OPTICAL,
            linewidth=1.1,
        )
        axes.add_patch(box)
    kinds = [("optical", OPTICAL, 0), ("radar", RADAR, 1)]
    handles = [
        mpl.patches.Patch(facecolor="none", edgecolor=colour, label=label)
        for label, colour, sensor in kinds
        if sensor in mask.sensors
    ]
    if handles:
        axes.legend(handles=handles, loc="lower right", fontsize=6.5, framealpha=0.85)


def _name(mask: Mask) -> str:
    return mask.words.partition(" Image:")[0].strip() or "?"


def _trace_lines(asked: Asked) -> list[tuple[str, str]]:
    """Return the lines of the trace with their colours: given grey, said blue."""
    lines = _wrapped("Question   ", asked.question, INK)
    if asked.options:
        pairs = zip(OPTION_LETTERS, asked.options, strict=False)
        lines += _wrapped("Options    ", "   ".join(f"{a} {b}" for a, b in pairs), INK)
    lines.append(("", INK))
    for number, mask in enumerate(asked.masks, 1):
        lines.append((f"said       {mask.words} [SEG]", SAID))
        lines.append((f"seen       mask {number}, {len(mask.cells)} visual tokens", QUIET))
        lines += _wrapped("measured   ", mask.figures or "nothing is shown", QUIET)
    lines += _wrapped("said       ", asked.closing.strip(), SAID)
    name = confidence = ""
    if asked.options:
        place = OPTION_LETTERS.index(asked.answer)
        name = f" {asked.options[place]}"
        if asked.confidence is not None:
            confidence = f"   confidence {asked.confidence[place]:.2f}"
    truth = "right" if asked.answer == asked.right else f"the truth is {asked.right}"
    lines.append((f"answer     {asked.answer}{name}   ({truth}){confidence}", INK))
    return lines


def _wrapped(head: str, text: str, colour: str) -> list[tuple[str, str]]:
    parts = textwrap.wrap(text, CHARACTERS - len(head)) or [""]
    return [
        (f"{head if number == 0 else ' ' * len(head)}{part}", colour)
        for number, part in enumerate(parts)
    ]


def _write(axes: Any, lines: list[tuple[str, str]]) -> None:
    """Write the trace line by line."""
    axes.axis("off")
    step = 1 / (len(lines) + 1)
    for number, (line, colour) in enumerate(lines):
        axes.text(
            0.004,
            1 - (number + 0.6) * step,
            line,
            family="DejaVu Sans Mono",
            fontsize=7.4,
            color=colour,
            va="center",
            weight="bold" if line.startswith("answer") else "normal",
        )


def _draw_options(axes: Any, asked: Asked) -> None:
    """Draw how likely each option is, as the sampled masks say."""
    if asked.confidence is None:
        axes.axis("off")
        return
    places = np.arange(len(asked.options))
    colours = [MASK if OPTION_LETTERS[n] == asked.answer else "#c9ccd1" for n in places]
    axes.barh(places, asked.confidence, color=colours, height=0.62)
    axes.set_yticks(
        places, [f"{OPTION_LETTERS[n]} {asked.options[n]}" for n in places], fontsize=7.5
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1])
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title("confidence, from sampled masks", fontsize=7.5, color=INK, pad=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
