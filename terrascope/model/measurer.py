"""Measure the masks of a generation, and hand the figures over as tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from terrascope.model.answers import DIMENSION
from terrascope.model.measure import Measurement, measure
from terrascope.model.readings import MEASURED_FIELDS, measurement_text, read_options
from terrascope.model.uncertainty import Calibration
from terrascope.model.windows import Windows
from terrascope.vocabulary import QuestionKind, Unit

__all__ = ["MEASURED_FOR", "MaskMeasurer", "Measured", "valid_pixels"]

MEASURED_FOR: Mapping[QuestionKind, tuple[str, ...]] = MappingProxyType(
    {
        QuestionKind.EXISTENCE: ("share",),
        QuestionKind.COUNT: ("parts",),
        QuestionKind.LOCATION: ("position",),
        QuestionKind.COVERAGE: ("share",),
        QuestionKind.AREA: ("area",),
        QuestionKind.COMPARE: ("share",),
        QuestionKind.BOUNDARY: ("relations",),
        QuestionKind.DISTANCE: ("relations",),
        QuestionKind.CHANGE_COUNT: ("parts",),
        QuestionKind.CHANGE_SHARE: ("relations",),
        QuestionKind.CHANGE_EXISTENCE: ("share",),
        QuestionKind.CHANGE_AREA: ("area",),
        QuestionKind.CHANGE_CLASS: ("relations",),
        QuestionKind.CHANGE_KIND: ("share",),
        QuestionKind.CHANGE_DATE: ("share",),
        QuestionKind.CLASSIFY: ("share",),
        QuestionKind.SEGMENT: (),
        QuestionKind.CAPTION: ("share", "position"),
    }
)
"""Which of `terrascope.model.readings.MEASURED_FIELDS` are shown for a question; nothing at all
where a mask is all that is wanted. Training shows these, and now and then all."""


class Measured(Protocol):
    """A decoded mask, as `terrascope.model.generation_terrascope.MaskEvent` is one."""

    @property
    def row(self) -> int:
        """Query it belongs to."""

    @property
    def window(self) -> int:
        """Index into the batch of windows."""

    @property
    def order(self) -> int:
        """Masks of this row before it."""

    @property
    def before(self) -> int:
        """Earlier date of a change mask, else -1; from 0."""

    @property
    def date(self) -> int:
        """The date, or the later one; from 0."""

    @property
    def probability(self) -> Tensor:
        """Float, shape (H, W), temperature applied."""


def valid_pixels(windows: Windows, window: int, date: int, before: int = -1) -> Tensor:
    """Return which pixels a mask can be measured on.

    Parameters
    ----------
    windows : Windows
        The batch.
    window : int
        Index into it.
    date, before : int
        Date of the mask, and the earlier one of a change mask or -1; from 0.

    Returns
    -------
    valid : Tensor of bool, shape (H, W)
        Observed by any sensor on the date, for a change on both dates.
    """
    seen = windows.optical_valid[window, date].any(0) | windows.radar_valid[window, date].any(0)
    if before >= 0:
        seen = seen & valid_pixels(windows, window, before)
    return seen & windows.inside[window]


@dataclasses.dataclass(eq=False)
class MaskMeasurer:
    """Measures masks as they are decoded; the `measurer` of `generate`.

    Parameters
    ----------
    windows : Windows
        The batch that is asked about.
    encode : callable
        Text to token ids, special tokens read as such.
    calibration : Calibration or None
        Of the intervals; None for the defaults.
    threshold : float
        A pixel is in a mask where its probability is above this.
    area_units : sequence of Unit
        Of each query, by row; the last stands for all further ones.
    fields : sequence of str, or sequence of sequence of str
        What is written of a measurement: for all queries alike, or of each query, by row (the
        last stands for all further ones). A row without any gets no figures; relations to
        earlier masks are measured only where they are written.
    options : sequence of sequence of str
        Offered with each query, by row; rows beyond its end have none. Beside a figure stands
        which of them is nearest, beside a distance which of them its ladder comes nearest to.
    related : int
        Earlier masks of the row, the latest ones, to which a mask is related.

    Attributes
    ----------
    measurements : dict of tuple to Measurement
        What was measured, by row and order of the mask.
    """

    windows: Windows
    encode: Callable[[str], list[int]]
    calibration: Calibration | None = None
    threshold: float = 0.5
    area_units: Sequence[Unit] = (Unit.HECTARE,)
    fields: Sequence[str] | Sequence[Sequence[str]] = MEASURED_FIELDS
    options: Sequence[Sequence[str]] = ()
    related: int = 2
    measurements: dict[tuple[int, int], Measurement] = dataclasses.field(
        default_factory=dict, init=False
    )

    def __call__(
        self, events: Sequence[Measured], earlier: Sequence[Sequence[Measured]]
    ) -> list[list[int]]:
        """Measure masks of several rows.

        Parameters
        ----------
        events : sequence of Measured
            Just decoded.
        earlier : sequence of sequence of Measured
            Masks of the same row before each of them.

        Returns
        -------
        figures : list of list of int
            Token ids from ``<measure>`` to ``</measure>``, per event; empty where nothing is
            written.
        """
        return [self._figures(event, before) for event, before in zip(events, earlier, strict=True)]

    def _figures(self, event: Measured, earlier: Sequence[Measured]) -> list[int]:
        fields = self._fields(event.row)
        wanted = self.related if "relations" in fields else 0
        others = list(earlier)[max(len(earlier) - wanted, 0) :]
        offered = read_options(self.options[event.row] if event.row < len(self.options) else ())
        found = measure(
            event.probability,
            self._valid(event),
            self.windows.geometry[event.window],
            calibration=self.calibration,
            threshold=self.threshold,
            earlier=[torch.where(self._valid(one), one.probability, 0.0) for one in others],
            ladder=any(DIMENSION[option.unit] == "length" for option in offered),
        )
        # Masks of a response are numbered from its first one, not from the first related one.
        shift = len(earlier) - len(others)
        found = dataclasses.replace(
            found,
            relations=tuple(
                dataclasses.replace(one, mask=one.mask + shift) for one in found.relations
            ),
        )
        self.measurements[event.row, event.order] = found
        if not fields:
            return []
        before = [
            self.measurements[one.row, one.order]
            for one in earlier
            if (one.row, one.order) in self.measurements
        ]
        text = measurement_text(
            found,
            area_unit=self.area_units[min(event.row, len(self.area_units) - 1)],
            fields=fields,
            options=offered,
            earlier=before,
        )
        return self.encode(text)

    def _fields(self, row: int) -> Sequence[str]:
        """Return what is written for a row."""
        of_rows = [one for one in self.fields if not isinstance(one, str)]
        if not of_rows:
            return [one for one in self.fields if isinstance(one, str)]
        return of_rows[min(row, len(of_rows) - 1)]

    def _valid(self, event: Measured) -> Tensor:
        return valid_pixels(self.windows, event.window, event.date, event.before)
