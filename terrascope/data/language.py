"""Text without images: traces whose figures are drawn, to learn to read figures cheaply.

A small language model has to learn to copy figures, to set them against options and to follow the
form of a trace. None of that needs an image. Here a scene is a set of figures that go together,
no mask is ever made, and the same makers of questions ask about it.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from terrascope.data.batches import Batch
from terrascope.data.closings import response_text
from terrascope.data.facts import Facts, Named
from terrascope.data.finishing import Choice
from terrascope.data.making import make_samples
from terrascope.data.questions.change import KINDS
from terrascope.data.rle import Rle
from terrascope.data.samples import Sample
from terrascope.data.scenes import ANY_CHANGE, DESTROYED, LabelledScene
from terrascope.model.figure import Figure
from terrascope.model.geometry import Geometry
from terrascope.model.measure import Measurement, position_words
from terrascope.model.prompts import compose_query
from terrascope.model.readings import reading_texts
from terrascope.model.relation import Relation
from terrascope.model.stacks import Stack, Window
from terrascope.model.windows import Windows
from terrascope.types import BoolArray
from terrascope.vocabulary import LAND_COVER

__all__ = ["DrawnFacts", "language_batch", "no_images"]

_SIDE, _PIXEL_M = 128, 10.0
_NO_MASK = Rle((_SIDE, _SIDE), "")
_LEVEL = 0.9
_QUIET = 0.45
"""Share of the pairs of dates between which nothing changed."""
_RELATED = 2


class DrawnFacts(Facts):
    """Figures of a scene that does not exist.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of all figures: shares of classes that sum to 1, changes that fit into them, positions,
        numbers of parts and distances.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(_blank(int(rng.choice((1, 2, 3, 4), p=(0.2, 0.5, 0.2, 0.1)))))
        self._rng = rng
        self._shares = self._drawn_shares()
        self._places: dict[Named, tuple[float, float]] = {}
        self._related: dict[tuple[Named, Named], tuple[float, bool, float]] = {}

    def rle(self, named: Named) -> Rle:
        """Return no mask: there is none.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        rle : Rle
            Without runs.
        """
        del named
        return _NO_MASK

    def mask(self, named: Named) -> BoolArray:
        """Refuse: there is no mask.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        mask : ndarray of bool
            Never.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(f"{named}: drawn figures have no mask")

    def pixels(self, named: Named) -> int:
        """Return the number of pixels of a mask.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        pixels : int
            By its share.
        """
        return self._shares.get(named, 0)

    def area_m2(self, named: Named) -> float:
        """Return the ground area of a mask.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        area : float
            Square metres.
        """
        return self.pixels(named) * _PIXEL_M**2

    def known_m2(self, named: Named) -> float:
        """Return the ground on which a mask is known.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        area : float
            All of the window.
        """
        del named
        return self.window_m2

    def parts(self, named: Named) -> int:
        """Return the number of components of a mask.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        parts : int
            Drawn once.
        """
        if named not in self._parts:
            most = min(self.pixels(named), int(np.exp(self._rng.uniform(0, np.log(40)))))
            self._parts[named] = max(most, 1) if self.pixels(named) else 0
        return self._parts[named]

    def spread(self, named: Named) -> float:
        """Return how far a mask is spread out.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        spread : float
            0.1: it lies in one place.
        """
        del named
        return 0.1

    def centroid(self, named: Named) -> tuple[float, float]:
        """Return the centroid of a mask.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        centroid : tuple of float
            Fractions of height and width.
        """
        if named not in self._places:
            down, across = self._rng.uniform(0.05, 0.95, 2)
            self._places[named] = (float(down), float(across))
        return self._places[named]

    def position(self, named: Named) -> str | None:
        """Return where the centroid of a mask lies.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        position : str or None
            One of `terrascope.vocabulary.POSITIONS`; None where it is empty.
        """
        return position_words(*self.centroid(named)) if self.pixels(named) else None

    def touches(self, one: Named, other: Named) -> bool:
        """Tell whether two masks touch.

        Parameters
        ----------
        one, other : Named
            Which.

        Returns
        -------
        touches : bool
            The same in both orders.
        """
        return self._relation(one, other)[1]

    def bodies_touch(self, one: Named, other: Named) -> bool:
        """Tell whether two masks without their specks touch.

        Parameters
        ----------
        one, other : Named
            Which.

        Returns
        -------
        touch : bool
            As `touches`: drawn figures have no specks.
        """
        return self.touches(one, other)

    def distance_m(self, one: Named, other: Named) -> float | None:
        """Return the shortest way between two masks without their specks.

        Parameters
        ----------
        one, other : Named
            Which.

        Returns
        -------
        distance : float or None
            Between pixel centres; None where a mask is empty.
        """
        if not (self.pixels(one) and self.pixels(other)):
            return None
        return self._relation(one, other)[0]

    def inside(self, one: Named, other: Named) -> float:
        """Return which share of a mask lies in another.

        Parameters
        ----------
        one, other : Named
            Which; the share is of the first one.

        Returns
        -------
        share : float
            0 to 1.
        """
        if not (self.pixels(one) and self.pixels(other)):
            return 0.0
        if one[1][0] < 0 <= other[1][0]:
            # The share of a class that changed: no more than all of the change.
            most = min(1.0, self.pixels(other) / self.pixels(one))
            return round(most * self._relation(one, other)[2], 3)
        if one[1][0] >= 0 > other[1][0]:
            return 0.95 if self._main_class(one, other[1][1]) == other[0] else 0.03
        return 0.0

    def measured(self, steps: tuple[Named, ...]) -> list[Measurement]:
        """Return figures of masks that are a little wrong, or exact.

        Parameters
        ----------
        steps : tuple of Named
            Masks of one trace, in order.

        Returns
        -------
        figures : list of Measurement
            Each related to the two before it.
        """
        return [self._measured(steps, n) for n in range(len(steps))]

    def _measured(self, steps: tuple[Named, ...], n: int) -> Measurement:
        rng, named = self._rng, steps[n]
        exact = rng.random() < 0.2
        error = 0.0 if exact else float(0.06 * rng.normal())
        pixels = max(round(self.pixels(named) * (1 + error)), 0)
        if not pixels and not exact and rng.random() < 0.2:
            pixels = int(rng.integers(1, 40))
        soft = 0.0 if exact else float(abs(rng.normal()) * 0.04)
        expected = pixels * (1 + soft * rng.normal())
        wide = soft * (1 + rng.random())
        values = (pixels, expected, expected * (1 - wide), expected * (1 + wide))
        drawn, mean, low, high = (max(value, 0.0) * _PIXEL_M**2 for value in values)
        area = Figure(drawn, mean, low, high, _LEVEL, np.empty(0))
        parts = 0 if not pixels else max(self.parts(named) + (0 if exact else _slip(rng)), 1)
        place = self.centroid(named) if pixels else None
        first = max(n - _RELATED, 0)
        return Measurement(
            observed=1.0,
            observed_m2=self.window_m2,
            pixels=pixels,
            area_m2=area,
            share=area.scaled(1 / self.window_m2),
            parts=parts,
            part_probabilities=(),
            centroid_yx=place,
            position=None if place is None else position_words(*place),
            relations=tuple(self._said(named, steps[m], m + 1) for m in range(first, n)),
        )

    def _said(self, named: Named, earlier: Named, number: int) -> Relation:
        body = self.distance_m(named, earlier)
        touches = body is not None and self.touches(named, earlier)
        nearest = body
        if body is not None:
            nearest = float(self._rng.choice((0.0, _PIXEL_M))) if touches else body
        return Relation(
            mask=number,
            distance_m=nearest,
            body_distance_m=body,
            touches=touches,
            touch_probability=float(touches),
            overlap=self.inside(named, earlier),
        )

    def _relation(self, one: Named, other: Named) -> tuple[float, bool, float]:
        """Draw distance, touching and overlap of two masks, the same in both orders."""
        key = (one, other) if one <= other else (other, one)
        if key not in self._related:
            touches = bool(self._rng.random() < 0.5)
            low, high = (0, 4) if touches else (2, 110)
            steps = np.sort(self._rng.integers(0, np.exp(self._rng.uniform(0.7, np.log(high))), 2))
            pixels = max(float(np.hypot(*steps)), float(low))
            self._related[key] = (pixels * _PIXEL_M, touches, float(self._rng.random()))
        return self._related[key]

    def _main_class(self, change: Named, date: int) -> str:
        """Draw what most of a change is on a date, the same for every question."""
        drawn = self._relation(change, ("", (-1, date)))[2]
        there = self.classes(date)
        return there[min(int(drawn * len(there)), len(there) - 1)]

    def _drawn_shares(self) -> dict[Named, int]:
        """Draw the pixels of every class on every date, and of every change."""
        rng, whole = self._rng, _SIDE**2
        dates = self.date_count
        found: dict[Named, int] = {}
        weights = rng.gamma(0.8, size=len(LAND_COVER)) * (rng.random(len(LAND_COVER)) < 0.75)
        weights[int(rng.integers(len(LAND_COVER)))] += 0.2
        for date in range(dates):
            if date:
                weights = weights * np.exp(0.25 * rng.normal(size=weights.size))
            pixels = np.floor(weights / weights.sum() * whole).astype(np.int64)
            found |= {(n, (-1, date)): int(p) for n, p in zip(LAND_COVER, pixels, strict=True)}
        main = KINDS[int(rng.integers(len(KINDS)))]
        start = 1 if rng.random() < _QUIET else int(rng.integers(1, max(dates, 2)))
        quiet = rng.random() < _QUIET
        size = int(np.exp(rng.uniform(np.log(40), np.log(0.4 * whole))))
        for before, after in self.scene.change_pairs():
            seen = 0 if quiet or not before < start <= after else size
            found[ANY_CHANGE, (before, after)] = seen
            found[main, (before, after)] = seen
            built = found["developed area", (-1, before)]
            found[DESTROYED, (before, after)] = min(seen, int(built * rng.uniform(0.03, 0.9)))
        return found


def language_batch(
    tokenizer: PreTrainedTokenizerBase,
    rng: np.random.Generator,
    count: int,
    *,
    choice: Choice | None = None,
    measured: bool = True,
    window_px: int = 16,
    per_scene: int = 8,
) -> Batch:
    """Make samples of text alone.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        Of the text.
    rng : numpy.random.Generator
        Of everything.
    count : int
        Samples.
    choice : Choice or None
        How questions are chosen.
    measured : bool
        Whether figures are shown.
    window_px : int
        Side of the window without an image that they all share; small, as the masks that are
        decoded on it mean nothing: they are known nowhere.
    per_scene : int
        Samples of one set of figures.

    Returns
    -------
    batch : Batch
        Prompts without images; nothing is injected.
    """
    windows = no_images(window_px)
    samples: list[Sample] = []
    queries = []
    while len(samples) < count:
        facts = DrawnFacts(rng)
        for sample in make_samples(facts, rng, per_scene, choice=choice)[: count - len(samples)]:
            samples.append(sample)
            figures = facts.measured(tuple((step.name, step.dates) for step in sample.steps))
            said = reading_texts(
                figures, area_unit=sample.area_unit, fields=sample.fields, options=sample.options
            )
            shown = said if measured and sample.fields else None
            response = response_text(sample, figures, shown)
            queries.append(compose_query(tokenizer, windows, 0, sample.asked, response))
    masks = torch.zeros((sum(len(q.dates) for q in queries), window_px, window_px)).bool()
    return Batch(windows, queries, masks, masks, masks, samples)


@lru_cache(maxsize=4)
def no_images(side: int) -> Windows:
    """Return a window of four dates that nothing was seen of.

    Parameters
    ----------
    side : int
        Rows and columns.

    Returns
    -------
    windows : Windows
        One; do not write to it.
    """
    optical, radar = (torch.zeros((1, 4, bands, side, side)) for bands in (12, 2))
    dates = tuple(dt.date(2020, 1 + 3 * n, 1) for n in range(4))
    return Windows(
        optical=optical,
        optical_valid=torch.zeros_like(optical, dtype=torch.bool),
        radar=radar,
        radar_valid=torch.zeros_like(radar, dtype=torch.bool),
        day_of_year=torch.zeros((1, 4, 2)),
        days=torch.zeros((1, 4, 2)),
        gsd_m=torch.full((1, 2), _PIXEL_M),
        date_count=torch.tensor([4]),
        inside=torch.ones((1, side, side), dtype=torch.bool),
        dates=(dates,),
        geometry=(Geometry.planar((side, side), _PIXEL_M),),
    )


@lru_cache(maxsize=4)
def _blank(dates: int) -> LabelledScene:
    """Return a scene of some dates without anything in it, for its grid and its pairs."""
    values = np.full((dates, 1, _SIDE, _SIDE), -10.0, np.float32)
    days = tuple(dt.date(2019, 6, 1) + dt.timedelta(days=97 * n) for n in range(dates))
    window = Window(
        Geometry.planar((_SIDE, _SIDE), _PIXEL_M),
        radar=Stack("sentinel-1", values, ("vv",), days, "dB"),
    )
    nothing = np.zeros((_SIDE, _SIDE), np.uint8)
    pairs = {(a, b): nothing for b in range(dates) for a in range(b)}
    return LabelledScene("drawn", window, np.zeros((dates, _SIDE, _SIDE), np.uint8), pairs)


def _slip(rng: np.random.Generator) -> int:
    """Draw by how many a count of parts is wrong."""
    return int(rng.choice((-1, 0, 0, 1, 2)))
