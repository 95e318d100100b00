"""What the sentences about 200 drawn regions rest on, looked up: is all of it there.

The regions of `regional_answers.py` are published by the code that publishes a run (maps, events,
ground, answers, report), in a temporary folder each; then questions of every form are answered
from the published files, and everything that each sentence names is looked up: its masks are
opened and must cover the ground of its tiles, its events and scenes must be in the tables.

    python benchmarks/regional_evidence.py [REGIONS [FIRST]]

Prints how many sentences and references there were, and every one that leads nowhere.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import rasterio

sys.path.insert(0, __file__.rpartition("/")[0])
from regional_answers import RELIABILITY, RESOLUTION_M, draw_region

from terrascope import __version__
from terrascope.geo.aoi import Aoi
from terrascope.geo.tiles import Tile
from terrascope.products import summary as s
from terrascope.products.answers import (
    AnswerRow,
    answer_questions,
    ask_output,
    unresolved,
    write_answers,
)
from terrascope.products.events import find_events, write_events
from terrascope.products.figures import ReportFigures
from terrascope.products.ground import Ground, write_ground
from terrascope.products.layers import ALL_LAYERS, LAYERS, MemoryLayers
from terrascope.products.mosaic import write_maps
from terrascope.products.publish import check_published, open_staging, publish
from terrascope.products.published import read_known
from terrascope.products.report import write_report
from terrascope.products.totals import totals
from terrascope.types import Status

QUESTIONS = (
    "How much changed, and where is the largest change?",
    "How much was lost in each district?",
    "Which share of the ground was lost?",
    "How many places changed in West?",
    "Is there any new water in East?",
    "What has changed?",
    "Which region lost most?",
    "Does vegetation loss touch water gain?",
)
"""At least one of every form."""
MIN_AREA_HA = 0.5
TARGET = s.DateRange(dt.date(2020, 9, 1), dt.date(2020, 9, 30))
BASELINE = s.DateRange(dt.date(2019, 9, 1), dt.date(2019, 9, 30))


def publish_region(seed: int, folder: Path) -> tuple[AnswerRow, ...]:
    """Draw a region and publish it as a run would.

    Parameters
    ----------
    seed : int
        Of the region.
    folder : Path
        Of the output; made where absent.

    Returns
    -------
    rows : tuple of AnswerRow
        The answers that were published.
    """
    region = draw_region(seed)
    maps = _with_all_layers(region.maps)
    west, south, east, north = region.area.bounds
    middle = (west + east) / 2
    halves = (
        Aoi.from_bbox([west, south, middle, north], name="West"),
        Aoi.from_bbox([middle, south, east, north], name="East"),
    )
    scenes = {
        tile: [f"S2_{day:%Y%m%d}_{tile}_{seed}" for day in (BASELINE.start, TARGET.start)]
        for tile in maps.tiles
    }
    staging = open_staging(folder, f"region-{seed}")
    write_maps(maps, staging / "maps", aoi=region.area)
    events = find_events(maps, min_area_ha=MIN_AREA_HA, items=scenes)
    write_events(events, staging)
    write_ground(staging, Ground(region.area, halves, scenes, RELIABILITY))
    summary = _summary(region.area, halves, maps, scenes, events)
    known = read_known(staging, json.loads(summary.to_json()))
    rows = answer_questions(QUESTIONS, known)
    write_answers(staging, rows, known)
    write_report(staging, dataclasses.replace(summary, answers=rows), ReportFigures())
    publish(staging, folder)
    return rows


def look_up(folder: Path, row: dict[str, Any]) -> tuple[collections.Counter[str], list[str]]:
    """Follow everything that a row of ``answers.parquet`` names.

    Parameters
    ----------
    folder : Path
        Published.
    row : dict
        Of the table.

    Returns
    -------
    followed : Counter of str
        References by kind.
    lost : list of str
        Those that lead nowhere.
    """
    followed = collections.Counter({k: len(row[k]) for k in ("tiles", "masks", "events", "items")})
    events = {e["event_id"]: e for e in pq.read_table(folder / "events.parquet").to_pylist()}
    ground = {t["tile"]: t["items"] for t in pq.read_table(folder / "tiles.parquet").to_pylist()}
    lost = [name for name in row["tiles"] if name not in ground]
    lost += [name for name in row["events"] if name not in events]
    lost += [name for name in row["items"] if not any(name in ids for ids in ground.values())]
    if not row["tiles"] or not row["masks"] or not row["items"]:
        lost.append(f"nothing behind: {row['text']}")
    for name in row["masks"]:
        lost += [f"{name}: {why}" for why in _faults(folder / name, row["tiles"])]
    return followed, lost


def examine(seed: int, folder: Path) -> tuple[collections.Counter[str], list[str]]:
    """Publish a region, and follow the evidence of all its sentences.

    Parameters
    ----------
    seed : int
        Of the region.
    folder : Path
        Empty.

    Returns
    -------
    followed : Counter of str
        Sentences, abstentions, forms and references by kind.
    lost : list of str
        What leads nowhere, or is said otherwise when asked afterwards.
    """
    rows = publish_region(seed, folder)
    stored = pq.read_table(folder / "answers.parquet").to_pylist()
    again = QUESTIONS[seed % len(QUESTIONS)]
    followed: collections.Counter[str] = collections.Counter()
    lost = [f"published files: {one}" for one in check_published(folder)]
    told = [row["text"] for row in stored if row["question"] == again]
    if [row.answer.text for row in ask_output(folder, again)] != told:
        lost.append(f"asked afterwards, it says something else: {again}")
    for row in stored:
        count, gone = look_up(folder, row)
        followed += count + collections.Counter(sentences=1, abstained=int(row["abstained"]))
        lost += gone
    for one in rows:
        lost += unresolved(folder, one.answer)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    if [row["answer"]["text"] for row in report["answers"]] != [row["text"] for row in stored]:
        lost.append("report.json says something else")
    return followed, [f"region {seed}: {what}" for what in lost]


def _with_all_layers(maps: MemoryLayers) -> MemoryLayers:
    """Add the layers of a run that are not drawn: dates, observations, confidence."""
    filled = {}
    for tile in maps.tiles:
        layers = dict(maps.values[tile] or {})
        status = layers["status"]
        seen = (status != Status.OUTSIDE) & (status != Status.NOT_OBSERVED)
        first = (TARGET.start - dt.date(1970, 1, 1)).days
        layers["screen_probability"] = layers["change_probability"]
        layers["observations"] = seen.astype(np.uint16)
        layers["detected_on"] = np.where(status == Status.PROVISIONAL, first, -1).astype(np.int32)
        layers["confidence"] = np.where(seen, np.float32(0.5), np.float32(np.nan))
        filled[tile] = {name: layers[name] for name in LAYERS}
    return MemoryLayers(maps.resolution_m, filled)


def _summary(
    area: Aoi,
    halves: tuple[Aoi, ...],
    maps: MemoryLayers,
    scenes: dict[Tile, list[str]],
    events: geopandas.GeoDataFrame,
) -> s.RunSummary:
    whole, parts = totals(maps, area, halves)
    ids = sorted({name for names in scenes.values() for name in names})
    return s.RunSummary(
        monitor="drawn-region",
        version=__version__,
        commit=None,
        settings={},
        area=s.Area(
            area.name,
            whole.asked_m2,
            area.bounds,
            tuple(tile.id for tile in maps.tiles),
            tuple(sorted({tile.zone.id for tile in maps.tiles})),
            RESOLUTION_M,
        ),
        catalog=s.CatalogUse("drawn", ""),
        target=TARGET,
        baseline=BASELINE,
        cadence="P1M",
        sensors=(s.SensorUse("sentinel-2", "sentinel-2-l2a", used=True),),
        scenes=(
            s.SceneCount("sentinel-2", "2019-09", "baseline", tuple(i for i in ids if "2019" in i)),
            s.SceneCount("sentinel-2", "2020-09", "target", tuple(i for i in ids if "2020" in i)),
        ),
        completeness=s.Completeness(1, 1),
        observed_m2=whole.observed_m2,
        totals=tuple(
            s.Total(status, kind, m2, whole.observed_share)
            for (status, kind), m2 in sorted(whole.by_state.items())
        ),
        events=s.EventTotals(len(events), float(events["area_m2"].sum()), MIN_AREA_HA),
        regions=tuple(
            s.RegionTotal(part.name, part.asked_m2, part.observed_share, part.changed_m2, 0)
            for part in parts
        ),
    )


def _faults(path: Path, tiles: list[str]) -> list[str]:
    """Say what is wrong with a mask as evidence about tiles."""
    if not path.is_file():
        return ["is no file"]
    if path.stem not in ALL_LAYERS:
        return ["is no layer"]
    with rasterio.open(path) as source:
        left, bottom, right, top = source.bounds
        here = [tile for tile in map(Tile.parse, tiles) if tile.zone.epsg == source.crs.to_epsg()]
        if not here:
            return ["holds none of the tiles"]
        outside = [
            tile.id
            for tile in here
            if not (
                left <= tile.bounds[0]
                and bottom <= tile.bounds[1]
                and tile.bounds[2] <= right
                and tile.bounds[3] <= top
            )
        ]
        return [f"does not cover {', '.join(outside)}"] if outside else []


def main(count: int, first: int = 0) -> None:
    """Examine regions and print what was found."""
    start = time.process_time()
    followed: collections.Counter[str] = collections.Counter()
    lost: list[str] = []
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            more, gone = examine(seed, Path(folder) / "out")
        followed += more
        lost += gone
    print(f"{count} regions, {time.process_time() - start:.0f} CPU seconds")
    print(", ".join(f"{n:,} {name}" for name, n in followed.items()))
    print("\n".join(lost) if lost else "every reference of every sentence leads to something")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:] or ["200"]))
