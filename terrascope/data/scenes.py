"""Scenes with labels: what the sensors saw, and what is known of the ground on every date."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from terrascope.model.processing_terrascope import pair_dates
from terrascope.model.sequences import DatePair
from terrascope.model.stacks import Stack, Window
from terrascope.types import BoolArray, ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, CLASS_CODES, UNKNOWN_CLASS

__all__ = ["ANY_CHANGE", "DESTROYED", "PAIR_WITHIN_DAYS", "LabelledScene"]

ANY_CHANGE = "change"
"""Name of the mask of all that changed, of whatever kind."""
DESTROYED = "destroyed developed area"
"""Name of the mask of ground that was developed before and is not afterwards."""
PAIR_WITHIN_DAYS = 7
"""Acquisitions of both sensors no further apart share a date, as `TerrascopeProcessor` has it."""

_KIND_CODES = {name: int(kind) for kind, name in CHANGE_NAMES.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledScene:
    """A window and its labels.

    Parameters
    ----------
    image_id : str
        Name of the scene.
    window : Window
        What the sensors saw.
    cover : ndarray of uint8, shape (T, H, W)
        Class code on every date (`terrascope.vocabulary.CLASS_CODES`), 0 where unknown.
    changes : mapping of tuple to ndarray of uint8, shape (H, W)
        `terrascope.types.ChangeKind` by (earlier, later) date, from 0; 255 where unknown.

    Raises
    ------
    ValueError
        If the labels do not fit the window.
    """

    image_id: str
    window: Window
    cover: NDArray[np.uint8]
    changes: Mapping[tuple[int, int], NDArray[np.uint8]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = (len(self.dates), *self.window.geometry.shape_yx)
        if self.cover.shape != expected:
            raise ValueError(f"labels of shape {self.cover.shape}: expected {expected}")
        for (before, after), change in self.changes.items():
            if not 0 <= before < after < expected[0] or change.shape != expected[1:]:
                raise ValueError(
                    f"change of dates {(before, after)} and shape {change.shape}: expected two of "
                    f"{expected[0]} dates in order, and {expected[1:]}"
                )

    @cached_property
    def dates(self) -> tuple[dt.date, ...]:
        """Dates of the window, as the model counts them."""
        return tuple(step.date for step in pair_dates(self.window, PAIR_WITHIN_DAYS))

    @cached_property
    def observed(self) -> BoolArray:
        """Whether any band of any sensor saw a pixel, bool, shape (T, H, W)."""
        seen = np.zeros(self.cover.shape, np.bool_)
        stacks = (self.window.optical, self.window.radar)
        for t, step in enumerate(pair_dates(self.window, PAIR_WITHIN_DAYS)):
            for stack, index in zip(stacks, step.index, strict=True):
                if stack is not None and index is not None:
                    seen[t] |= _seen(stack, index)
        return seen

    def known(self, name: str, dates: DatePair) -> BoolArray:
        """Return where a mask is both observed and labelled.

        Parameters
        ----------
        name : str
            Of a class or of a change.
        dates : DatePair
            Earlier date or -1, and date, from 0.

        Returns
        -------
        known : ndarray of bool, shape (H, W)
            Observed on each of its dates, with a label.
        """
        before, date = dates
        seen = self.observed[date]
        if before < 0:
            return np.asarray(seen & (self.cover[date] != UNKNOWN_CLASS))
        seen = seen & self.observed[before]
        if name == DESTROYED:
            return np.asarray(seen & (self.cover[date] != 0) & (self.cover[before] != 0))
        return np.asarray(seen & (self.changes[dates] != ChangeKind.OUTSIDE))

    def mask(self, name: str, dates: DatePair) -> BoolArray:
        """Return a true mask.

        Parameters
        ----------
        name : str
            Of a class; `ANY_CHANGE`, `DESTROYED` or the name of a kind of change.
        dates : DatePair
            Earlier date or -1, and date, from 0.

        Returns
        -------
        mask : ndarray of bool, shape (H, W)
            False where it is not `known`.

        Raises
        ------
        ValueError
            If the name is not known.
        """
        before, date = dates
        known = self.known(name, dates)
        if before < 0:
            if name not in CLASS_CODES:
                raise ValueError(f"{name!r}: expected one of {list(CLASS_CODES)}")
            return np.asarray(known & (self.cover[date] == CLASS_CODES[name]))
        if name == DESTROYED:
            built = CLASS_CODES["developed area"]
            gone = (self.cover[before] == built) & (self.cover[date] != built)
            return np.asarray(known & gone)
        kinds = self.changes[dates]
        if name == ANY_CHANGE:
            return np.asarray(known & (kinds != ChangeKind.NONE))
        if name not in _KIND_CODES:
            raise ValueError(f"{name!r}: expected {ANY_CHANGE!r} or one of {list(_KIND_CODES)}")
        return np.asarray(known & (kinds == _KIND_CODES[name]))

    def change_pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of dates whose change is labelled.

        Returns
        -------
        pairs : list of tuple of int
            Ascending.
        """
        return sorted(self.changes)


def _seen(stack: Stack, index: int) -> BoolArray:
    seen = np.isfinite(stack.values[index])
    if stack.valid is not None:
        seen &= stack.valid[index]
    return np.asarray(seen.any(axis=0))
