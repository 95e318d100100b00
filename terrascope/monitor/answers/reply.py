"""From understood questions to sentences, each with the figures and the files behind it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import shapely

from terrascope.geo.aoi import Aoi
from terrascope.geo.tiles import Tile
from terrascope.kernels.regional import total_interval
from terrascope.monitor.answers.answer import (
    Answer,
    Evidence,
    write_degrees,
    write_number,
    write_share,
)
from terrascope.monitor.answers.contact import Contact, find_contact
from terrascope.monitor.answers.ground import Figure, Place, measure
from terrascope.monitor.answers.known import Known, Spot
from terrascope.monitor.answers.questions import Ask, Form
from terrascope.monitor.answers.subjects import Subject
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, Unit

__all__ = ["LEAST_SEEN", "LEVEL", "reply", "why_abstain"]

LEVEL = 0.9
"""Of all intervals."""
LEAST_SEEN = 0.5
"""Share of the ground that has to be observed before the rest is reckoned from it."""
_CANDIDATES = 10
_LISTED_EVENTS = 20
_PER_UNIT = {Unit.HECTARE: 1e4, Unit.SQUARE_KILOMETRE: 1e6, Unit.SQUARE_METRE: 1.0}
_WHOLE = "the whole area"


def why_abstain(figure: Figure) -> str:
    """Say why a figure is not to be told.

    Parameters
    ----------
    figure : Figure
        Of a place.

    Returns
    -------
    why : str
        Empty where it may be told.
    """
    if not figure.asked_m2:
        return "it has no ground inside the area"
    if figure.seen_share < LEAST_SEEN:
        return (
            f"{write_share(figure.seen_share)} of its ground was observed; "
            f"{write_share(LEAST_SEEN)} is the least from which the rest is reckoned"
        )
    if not figure.high_m2 < figure.asked_m2:
        return "the observed ground is too small to tell how change is spread"
    return ""


def reply(asks: Sequence[Ask], known: Known) -> tuple[tuple[Answer, ...], ...]:
    """Answer questions from what a run left behind.

    Parameters
    ----------
    asks : sequence of Ask
        From `terrascope.monitor.answers.questions.read_question`.
    known : Known
        The run.

    Returns
    -------
    answers : tuple of tuple of Answer
        For each of `asks`: one, or one per region where each region is asked about.
    """
    replies = [_Reply(ask, known) for ask in asks]
    wanted = [pair for one in replies for pair in one.needs()]
    found = measure(
        known.maps,
        known.area,
        wanted,
        reliability=known.reliability,
        looked=known.looked,
        level=LEVEL,
    )
    figures = dict(zip(wanted, found, strict=True))
    return tuple(tuple(one.answers(figures)) for one in replies)


class _Reply:
    """One clause on its way: first the figures that it needs, then its sentences."""

    def __init__(self, ask: Ask, known: Known) -> None:
        self.ask, self.known = ask, known
        layers = known.maps.layers
        self.subject, self.note = _answerable(ask.subject, layers)
        self.named = next((r for r in known.regions if r.name == ask.region), None)
        self.places = self._places()
        self.spots = self._spots()
        self.patches: dict[str, tuple[Place, Spot]] = {}

    def _places(self) -> list[Place]:
        regions = [Place(region.name, region) for region in self.known.regions]
        if self.ask.form is Form.RANK or self.ask.each:
            return regions
        if self.named is not None:
            return [place for place in regions if place.ground is self.named]
        return [Place(_WHOLE)]

    def _spots(self) -> list[Spot]:
        """Events that may be meant, largest first."""
        names = {CHANGE_NAMES[k].replace(" ", "_") for k in self.subject.kinds}
        found = [s for s in self.known.spots if s.kind in names]
        if self.named is not None:
            found = [s for s in found if shapely.intersects(s.outline, self.named.geometry)]
        return sorted(found, key=lambda s: (-s.area_m2, s.id))

    def needs(self) -> list[tuple[Place, Subject]]:
        """Pairs of place and change to be measured."""
        if self.ask.form is Form.TOUCH:
            return [(place, _ANY) for place in self.places]
        if self.ask.form is Form.KINDS:
            return [(place, kind) for place in self.places for kind in (_ANY, *_KINDS)]
        wanted = [(place, self.subject) for place in self.places]
        if self.ask.form is Form.LARGEST:
            for spot in self.spots[:_CANDIDATES]:
                patch = Place(spot.id, _around(spot, self.named, self.known), self.places[0])
                self.patches[spot.id] = (patch, spot)
                wanted.append((patch, self.subject))
        return wanted

    def answers(self, figures: Mapping[tuple[Place, Subject], Figure]) -> list[Answer]:
        """Compose the sentences."""
        form = self.ask.form
        if not self.places:
            return [self._refused("the monitor file names no regions")]
        if form is Form.RANK:
            return [self._rank({p: figures[p, self.subject] for p in self.places})]
        if form is Form.KINDS:
            return [self._kinds(place, figures) for place in self.places]
        if form is Form.TOUCH:
            return [self._touch(figures[self.places[0], _ANY])]
        write = {
            Form.AMOUNT: self._amount,
            Form.SHARE: self._part,
            Form.COUNT: self._count,
            Form.EXISTS: self._exists,
        }
        answers = []
        for place in self.places:
            figure = figures[place, self.subject]
            if why := why_abstain(figure):
                answers.append(self._refused(why, place.name, figure))
            elif form is Form.LARGEST:
                answers.append(self._largest(place, figure, figures))
            else:
                answers.append(write[form](place, figure))
        return answers

    def _amount(self, place: Place, figure: Figure) -> Answer:
        unit = self.ask.unit
        value, low, high, mapped = _in_unit(figure, unit)
        text = (
            f"{self._called()} in {place.name}: {write_number(value)} {unit.value} "
            f"({write_number(low)} to {write_number(high)} {unit.value} with 90 % confidence); "
            f"the map shows {write_number(mapped)} {unit.value}"
        )
        return self._answer(
            place,
            figure,
            text,
            f"{write_number(value)} {unit.value}",
            (value, low, high, mapped),
            unit,
        )

    def _part(self, place: Place, figure: Figure) -> Answer:
        if self.ask.of_cover:
            return self._refused(
                "how much of it there was before is not among the figures; ask for hectares, or "
                "for the share of the ground",
                place.name,
                figure,
            )
        scale = 100 / figure.asked_m2
        value, low, high, mapped = (
            v * scale for v in (figure.value_m2, figure.low_m2, figure.high_m2, figure.mapped_m2)
        )
        text = (
            f"{self._called()} on {write_number(value)} % of the ground of {place.name} "
            f"({write_number(low)} to {write_number(high)} % with 90 % confidence); "
            f"the map shows {write_number(mapped)} %"
        )
        figures = (value, low, high, mapped)
        return self._answer(place, figure, text, f"{write_number(value)} %", figures, Unit.PERCENT)

    def _count(self, place: Place, figure: Figure) -> Answer:
        spots = self.spots if place.ground is None else _inside(self.spots, place.ground)
        sure = np.nan_to_num(np.array([s.probability for s in spots]), nan=0.5)
        grown = 1 / figure.seen_share
        value = float(sure.sum()) * grown
        hidden = value * (1 - figure.seen_share)
        variance = float((sure * (1 - sure)).sum()) * grown**2 + hidden * grown
        interval = total_interval(value, variance, level=LEVEL)
        low, high = float(min(math.floor(interval.low), len(spots))), math.ceil(interval.high)
        text = (
            f"The map shows {len(spots)} place{'' if len(spots) == 1 else 's'} of "
            f"{self.known.min_area_ha:g} ha or more with {self.subject.name} in {place.name} "
            f"({low:.0f} to {high} with 90 % confidence, ground not observed included)"
        )
        numbers = (value, low, float(high), float(len(spots)))
        return self._answer(place, figure, text, str(len(spots)), numbers, None, spots)

    def _exists(self, place: Place, figure: Figure) -> Answer:
        spots = self.spots if place.ground is None else _inside(self.spots, place.ground)
        unit = Unit.HECTARE
        value, low, high, mapped = _in_unit(figure, unit)
        least = f"{self.known.min_area_ha:g} ha"
        if spots:
            said, text = "yes", f"Yes: {len(spots)} of {least} or more with {self.subject.name}"
        elif mapped > 0:
            said = "no"
            text = f"No {self.subject.name} of {least} or more; patches below it are mapped"
        else:
            said, text = "no", f"No {self.subject.name} is on the map"
        text += (
            f" in {place.name}; estimated {write_number(value)} ha "
            f"({write_number(low)} to {write_number(high)} ha with 90 % confidence)"
        )
        return self._answer(place, figure, text, said, (value, low, high, mapped), unit, spots)

    def _largest(
        self,
        place: Place,
        whole: Figure,
        figures: Mapping[tuple[Place, Subject], Figure],
    ) -> Answer:
        found = [(figures[patch, self.subject], spot) for patch, spot in self.patches.values()]
        found = [pair for pair in found if pair[0].mapped_m2 > 0]
        if not found:
            least = f"{self.known.min_area_ha:g} ha"
            text = f"No {self.subject.name} of {least} or more is on the map of {place.name}"
            return self._answer(place, whole, text, "nowhere", (0.0, 0.0, math.nan, 0.0), None)
        figure, spot = max(found, key=lambda pair: (pair[0].mapped_m2, pair[1].id))
        value, low, high, mapped = _in_unit(figure, Unit.HECTARE)
        where = f"{write_degrees(spot.lat, 'NS')}, {write_degrees(spot.lon, 'EW')}"
        text = (
            f"The largest {self.subject.name} in {place.name} is event {spot.id} at {where}: "
            f"{write_number(mapped)} ha on the map (estimated {write_number(value)}, "
            f"{write_number(low)} to {write_number(high)} ha with 90 % confidence)"
        )
        numbers = (value, low, high, mapped)
        seen = dataclasses.replace(figure, asked_m2=whole.asked_m2, seen_m2=whole.seen_m2)
        return self._answer(place, seen, text, where, numbers, Unit.HECTARE, [spot])

    def _rank(self, figures: Mapping[Place, Figure]) -> Answer:
        told = {p: f for p, f in figures.items() if not why_abstain(f)}
        blind = [p.name for p in figures if p not in told]
        if not told:
            return self._refused(f"too little was observed in each of {', '.join(blind)}")
        sign = 1 if self.ask.least else -1
        order = sorted(told, key=lambda p: (sign * told[p].value_m2, p.name))
        first = order[0]
        value, low, high, mapped = _in_unit(told[first], self.ask.unit)
        unit = self.ask.unit.value
        word = "least" if self.ask.least else "most"
        text = (
            f"{first.name} has the {word} {self.subject.name}: {write_number(value)} {unit} "
            f"({write_number(low)} to {write_number(high)} {unit} with 90 % confidence); "
            f"the map shows {write_number(mapped)} {unit}"
        )
        near = [p.name for p in order[1:] if _overlap(told[first], told[p])]
        if near:
            text += f"; the intervals do not tell it apart from {', '.join(near)}"
        if blind:
            text += f"; not compared, too little observed: {', '.join(blind)}"
        return self._answer(
            first, told[first], text, first.name, (value, low, high, mapped), self.ask.unit
        )

    def _kinds(self, place: Place, figures: Mapping[tuple[Place, Subject], Figure]) -> Answer:
        whole = figures[place, _ANY]
        if why := why_abstain(whole):
            return self._refused(why, place.name, whole)
        found = [(figures[place, kind], kind.name) for kind in _KINDS]
        found = sorted(
            (pair for pair in found if pair[0].mapped_m2 > 0), key=lambda pair: -pair[0].value_m2
        )
        parts = []
        for figure, name in found:
            value, low, high, _ = _in_unit(figure, Unit.HECTARE)
            parts.append(
                f"{name} {write_number(value)} ha ({write_number(low)} to {write_number(high)})"
            )
        value, low, high, mapped = _in_unit(whole, Unit.HECTARE)
        text = (
            f"Change in {place.name}: {write_number(value)} ha "
            f"({write_number(low)} to {write_number(high)} ha with 90 % confidence)"
        )
        text += f", of it {', '.join(parts)}" if parts else "; the map shows none"
        said = found[0][1] if found else "none"
        return self._answer(place, whole, text, said, (value, low, high, mapped), Unit.HECTARE)

    def _touch(self, ground: Figure) -> Answer:
        other = self.ask.other or self.ask.subject
        second, unlike = _answerable(other, self.known.maps.layers)
        self.note = self.note or unlike
        lacking = [
            layer
            for subject in (self.subject, second)
            for layer in subject.layers
            if layer not in self.known.maps.layers
        ]
        place = self.places[0]
        if lacking:
            return self._refused(
                f"the maps hold no land cover ({', '.join(lacking)}): it comes with [model]",
                place.name,
                ground,
            )
        found = find_contact(self.known.maps, self.known.area, self.subject, second, self.named)
        if not found.pixels and (why := why_abstain(ground)):
            return self._refused(why, place.name, ground)
        if not found.pixels and found.open_edge:
            return self._refused(
                f"no place where they touch was seen, but {found.open_edge} pixels of "
                f"{self.subject.name} lie beside ground that was not observed",
                place.name,
                ground,
            )
        return self._contact(place, ground, found, second)

    def _contact(self, place: Place, ground: Figure, found: Contact, second: Subject) -> Answer:
        layers = (*self.subject.layers, *second.layers)
        if not found.pixels:
            text = (
                f"No: in {place.name} nothing of {self.subject.name} ({found.first} pixels) "
                f"touches {second.name} ({found.second} pixels)"
            )
            return self._told(place, ground, text, "no", found.tiles, layers)
        where = f"{write_degrees(found.lat, 'NS')}, {write_degrees(found.lon, 'EW')}"
        text = (
            f"Yes: {found.pixels} of {found.first} pixels of {self.subject.name} touch "
            f"{second.name} in {place.name}, for instance at {where}"
        )
        if math.isfinite(found.probability):
            text += f" (probability of change up to {found.probability:.2f})"
        return self._told(place, ground, text, "yes", found.tiles, layers)

    def _told(
        self,
        place: Place,
        ground: Figure,
        text: str,
        answer: str,
        tiles: Sequence[str],
        layers: Sequence[str],
    ) -> Answer:
        text += f"; {write_share(ground.seen_share)} of the ground was observed"
        text += f". Note: {self.note}." if self.note else "."
        evidence = self._evidence(tiles or ground.tiles, layers, ())
        return Answer(
            self.ask.text,
            self.ask.form,
            self.subject.name,
            place.name,
            text,
            answer,
            ground.seen_share,
            evidence,
        )

    def _answer(
        self,
        place: Place,
        figure: Figure,
        text: str,
        answer: str,
        numbers: tuple[float, float, float, float],
        unit: Unit | None,
        spots: Sequence[Spot] | None = None,
    ) -> Answer:
        value, low, high, mapped = numbers
        text += f"; {write_share(figure.seen_share)} of the ground was observed"
        text += f". Note: {self.note}." if self.note else "."
        if spots is None:
            spots = self.spots if place.ground is None else _inside(self.spots, place.ground)
            spots = [spot for spot in spots if set(spot.tiles) & set(figure.changed)]
        tiles = figure.changed or figure.tiles
        return Answer(
            self.ask.text,
            self.ask.form,
            self.subject.name,
            place.name,
            text,
            answer,
            figure.seen_share,
            self._evidence(tiles, (*self.subject.layers, "change_probability"), spots),
            value,
            low,
            high,
            "" if unit is None else unit.value,
            mapped,
        )

    def _refused(self, why: str, place: str = _WHOLE, figure: Figure | None = None) -> Answer:
        tiles = figure.tiles if figure else tuple(sorted(t.id for t in self.known.maps.tiles))
        return Answer(
            self.ask.text,
            self.ask.form,
            self.subject.name,
            place,
            f"No answer about {self.subject.name} in {place}: {why}.",
            "",
            figure.seen_share if figure else math.nan,
            self._evidence(tiles, ("status",), ()),
            abstained=True,
            why=why,
        )

    def _evidence(
        self, tiles: Sequence[str], layers: Sequence[str], spots: Sequence[Spot]
    ) -> Evidence:
        zones = sorted({Tile.parse(tile).zone.id for tile in tiles})
        there = [layer for layer in dict.fromkeys(layers) if layer in self.known.maps.layers]
        return Evidence(
            tuple(sorted(tiles)),
            tuple(f"maps/{zone}/{layer}.tif" for zone in zones for layer in there),
            tuple(spot.id for spot in spots[:_LISTED_EVENTS]),
            tuple(sorted({item for tile in tiles for item in self.known.items.get(tile, ())})),
        )

    def _called(self) -> str:
        return self.subject.name[0].upper() + self.subject.name[1:]


_ANY = Subject("change", frozenset(ChangeKind) - {ChangeKind.OUTSIDE})
_KINDS = tuple(
    Subject(name, frozenset({kind})) for kind, name in CHANGE_NAMES.items() if kind.name != "NONE"
)


def _answerable(subject: Subject, layers: Sequence[str]) -> tuple[Subject, str]:
    """Return the subject that the maps can tell, and what differs from the one asked about."""
    missing = [layer for layer in subject.layers if layer not in layers]
    if not missing or subject.cover is None:
        return subject, subject.note
    if not subject.is_change:
        return subject, ""
    kinds = " and ".join(CHANGE_NAMES[k] for k in sorted(subject.kinds))
    name = kinds if len(subject.kinds) <= 2 else "change"
    note = f"the maps hold no land cover, so {subject.name} is not told from other {name}"
    return Subject(name, subject.kinds), note


def _around(spot: Spot, region: Aoi | None, known: Known) -> Aoi:
    """Return an event's ground and a pixel around it, cut to the region."""
    degrees = 1.5 * known.maps.resolution_m / 111_320.0
    across = max(math.cos(math.radians(spot.lat)), 0.05)
    flat = shapely.transform(spot.outline, lambda xy: xy * [across, 1.0])
    grown: shapely.Geometry = shapely.transform(
        shapely.buffer(flat, degrees), lambda xy: xy / [across, 1.0]
    )
    grown = shapely.intersection(grown, shapely.box(-180, -90, 180, 90))
    if region is not None:
        cut = shapely.intersection(grown, region.geometry)
        grown = grown if cut.is_empty else cut
    return Aoi.from_geometry(grown, name=spot.id)


def _inside(spots: Sequence[Spot], ground: Aoi) -> list[Spot]:
    return [spot for spot in spots if shapely.intersects(spot.outline, ground.geometry)]


def _overlap(one: Figure, other: Figure) -> bool:
    return one.low_m2 <= other.high_m2 and other.low_m2 <= one.high_m2


def _in_unit(figure: Figure, unit: Unit) -> tuple[float, float, float, float]:
    size = _PER_UNIT.get(unit, 1e4)
    values = (figure.value_m2, figure.low_m2, figure.high_m2, figure.mapped_m2)
    return values[0] / size, values[1] / size, values[2] / size, values[3] / size
