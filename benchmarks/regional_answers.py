"""Coverage of regional answers: do their intervals hold the truth as often as they say.

Regions with known truth are drawn: patches of change whose number and size differ from region
to region, in clusters; a screen that separates change well or badly, whose noise is correlated
over some 60 m and whose probabilities were made for 1 % of change, whatever the region holds;
clouds over nothing to half of the ground. Every region is a tile of 30 m pixels, measured by the
same code as a run's maps, from map layers alone.

    python benchmarks/regional_answers.py [REGIONS [FIRST]]

Prints coverage of the 90 % intervals, their half-width against the truth, and abstentions.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from terrascope.geo.aoi import Aoi
from terrascope.geo.projection import zone_to_lonlat
from terrascope.geo.tiles import Tile
from terrascope.kernels.prevalence import Reliability
from terrascope.monitor.answers.ground import Figure, Place, measure
from terrascope.monitor.answers.reply import why_abstain
from terrascope.monitor.answers.subjects import change_of
from terrascope.monitor.footprint import aoi_mask, tile_pixel_area
from terrascope.products.layers import MemoryLayers
from terrascope.types import ChangeKind, Status

RESOLUTION_M = 30
PRIOR = 0.01
RELIABILITY = Reliability(prior=PRIOR, length_m=60.0, version="drawn-1")
"""Of the drawn screen: its likelihood ratios are exact. The length was chosen on regions 1000 to
1059, none of which is examined."""
SIDE = 512
VERBS = ("change", "loss")


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """A drawn region: its maps, its outline and what truly changed in it."""

    maps: MemoryLayers
    area: Aoi
    truth_m2: float
    loss_m2: float
    seen_share: float


def draw_region(seed: int) -> Region:
    """Draw one region."""
    rng = np.random.default_rng([20261126, seed])
    tile = Tile.parse("33N-0030-0360")
    area = _outline(tile, rng)
    inside = aoi_mask(area, tile, RESOLUTION_M)
    kind = _patches(rng, share=float(np.exp(rng.uniform(np.log(0.004), np.log(0.06)))))
    changed = kind > 0
    seen = ~_clouds(rng, share=float(rng.beta(0.7, 4.0)))
    gap = float(rng.uniform(3.0, 5.0))
    noise = (_smooth(rng, 1.0) + rng.standard_normal((SIDE, SIDE))) / np.sqrt(2)
    ratio = gap * (noise + gap * changed) - gap * gap / 2
    stated = special.expit(ratio + np.log(PRIOR / (1 - PRIOR))).astype(np.float32)
    stated = np.round(stated * 4096) / np.float32(4096)  # as maps keep them
    alarm = stated >= 0.5
    status = np.where(alarm, Status.PROVISIONAL, Status.NO_CHANGE)
    status = np.where(inside, np.where(seen, status, Status.NOT_OBSERVED), Status.OUTSIDE)
    # A false alarm has the kind of whatever true change is nearest.
    nearest = ndimage.distance_transform_edt(~changed, return_distances=False, return_indices=True)
    named = np.where(alarm & seen & inside, kind[tuple(nearest)], 0)
    named = np.where(inside, named, int(ChangeKind.OUTSIDE))
    layers: dict[str, NDArray[Any]] = {
        "status": status.astype(np.uint8),
        "change_kind": named.astype(np.uint8),
        "change_probability": np.where(seen & inside, stated, np.nan).astype(np.float32),
    }
    ground = tile_pixel_area(tile, RESOLUTION_M) * inside
    return Region(
        MemoryLayers(RESOLUTION_M, {tile: layers}),
        area,
        float(ground[changed].sum()),
        float(ground[kind == int(ChangeKind.VEGETATION_LOSS)].sum()),
        float(ground[seen].sum() / ground.sum()),
    )


def figures_of(region: Region) -> tuple[Figure, ...]:
    """Measure all change, and vegetation loss, as an answer does."""
    subjects = [change_of(None, verb) for verb in VERBS]
    place = Place("region")
    wanted = [(place, subject) for subject in subjects if subject is not None]
    return measure(region.maps, region.area, wanted, reliability=RELIABILITY)


def _outline(tile: Tile, rng: np.random.Generator) -> Aoi:
    """Return a rectangle that covers most of the tile."""
    west, south, east, north = tile.bounds
    inset = rng.uniform(300, 3000, 4)
    x = [west + inset[0], east - inset[1]]
    y = [south + inset[2], north - inset[3]]
    lon, lat = zone_to_lonlat(tile.zone, [x[0], x[1]], [y[0], y[1]])
    return Aoi.from_bbox([lon[0], lat[0], lon[1], lat[1]], name="region")


def _smooth(rng: np.random.Generator, sigma: float) -> NDArray[np.float64]:
    field = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), sigma, mode="wrap")
    scaled: NDArray[np.float64] = field / field.std()
    return scaled


def _clouds(rng: np.random.Generator, *, share: float) -> NDArray[np.bool_]:
    field = _smooth(rng, 25) + 0.3 * _smooth(rng, 4)
    hidden: NDArray[np.bool_] = field > np.quantile(field, 1 - share)
    return hidden


def _patches(rng: np.random.Generator, *, share: float) -> NDArray[np.int64]:
    """Ellipses of log-normal size around places that attract them, until the share is reached."""
    kind = np.zeros((SIDE, SIDE), np.int64)
    attraction = np.exp(rng.uniform(0.2, 1.0) * _smooth(rng, 40)).ravel()
    places = rng.choice(SIDE * SIDE, 20_000, p=attraction / attraction.sum())
    median_px = float(np.exp(rng.uniform(np.log(8), np.log(60))))
    codes = (ChangeKind.VEGETATION_LOSS, ChangeKind.WATER_GAIN, ChangeKind.BARE)
    left = share * SIDE * SIDE
    for place in places:
        size = median_px * np.exp(0.8 * rng.standard_normal())
        stretch, turn = np.exp(rng.uniform(-0.6, 0.6)), rng.uniform(0, np.pi)
        reach = int(np.ceil(np.sqrt(size / np.pi) * np.exp(abs(np.log(stretch))))) + 1
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        u = x * np.cos(turn) + y * np.sin(turn)
        v = y * np.cos(turn) - x * np.sin(turn)
        shape = (u / stretch) ** 2 + (v * stretch) ** 2 <= size / np.pi
        rows, columns = y[shape] + place // SIDE, x[shape] + place % SIDE
        on = (rows >= 0) & (rows < SIDE) & (columns >= 0) & (columns < SIDE)
        kind[rows[on], columns[on]] = int(codes[rng.choice(3, p=[0.75, 0.1, 0.15])])
        left -= on.sum()
        if left <= 0:
            break
    return kind


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one region's answer said, and the truth."""

    verb: str
    truth_m2: float
    figure: Figure

    @property
    def told(self) -> bool:
        """Whether there was an answer."""
        return not why_abstain(self.figure)


def examine(seeds: range) -> list[Outcome]:
    """Draw and measure regions."""
    found = []
    for seed in seeds:
        region = draw_region(seed)
        truths = (region.truth_m2, region.loss_m2)
        for verb, truth, figure in zip(VERBS, truths, figures_of(region), strict=True):
            found.append(Outcome(verb, truth, figure))
    return found


@dataclasses.dataclass(frozen=True)
class Score:
    """How well intervals held the truth; shares, and half-widths against the truth."""

    coverage: float
    below: int
    above: int
    half_width: float
    wide_half_width: float
    mean_error: float
    abstained_clear: float
    told: int

    @classmethod
    def of(cls, outcomes: list[Outcome]) -> Score:
        """Score answers to one question."""
        told = [o for o in outcomes if o.told]
        clear = [o for o in outcomes if o.figure.seen_share > 0.8]
        true, value, low, high = np.array(
            [(o.truth_m2, o.figure.value_m2, o.figure.low_m2, o.figure.high_m2) for o in told]
        ).T
        half = (high - low) / 2 / true
        return cls(
            float(((low <= true) & (true <= high)).mean()),
            int((true < low).sum()),
            int((true > high).sum()),
            float(np.median(half)),
            float(np.quantile(half, 0.9)),
            float(np.mean(value / true - 1)),
            sum(not o.told for o in clear) / len(clear),
            len(told),
        )


def main(count: int, first: int = 0) -> None:
    """Measure regions and print the table."""
    start = time.perf_counter()
    outcomes = examine(range(first, first + count))
    print(f"{count} regions, {time.perf_counter() - start:.0f} s")
    for verb in VERBS:
        s = Score.of([o for o in outcomes if o.verb == verb])
        print(
            f"{verb:7s} {s.told} told, coverage {s.coverage:.1%} (truth below {s.below}, above "
            f"{s.above}), half-width {s.half_width:.1%} of the truth (median; 90th percentile "
            f"{s.wide_half_width:.1%}), mean error {s.mean_error:+.1%}, abstained "
            f"{s.abstained_clear:.1%} where over 80 % is observed"
        )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:] or ["200"]))
