"""How long does it take to plan a continent? 100,000 tiles x 24 months over 40,000 scenes.

The item table is synthetic: footprints of 110 km on a 100 km lattice, one per month. The run
must stay under 60 s and 2 GiB; no pixel is read, and no batch is a large graph.

    python benchmarks/plan.py
"""

from __future__ import annotations

import datetime as dt
import resource
import time

import geopandas
import numpy as np
import shapely

from terrascope.catalog.items import ItemTable
from terrascope.cube.plan import explain, plan_cube
from terrascope.cube.spec import CubeSpec
from terrascope.geo.aoi import Aoi
from terrascope.geo.cover import tiles_covering
from terrascope.periods import Cadence

N_TILES, N_ITEMS, N_PERIODS = 100_000, 40_000, 24


def synthetic_table(bounds: tuple[float, float, float, float]) -> ItemTable:
    """Forty thousand scenes over the given degrees, spread over two years."""
    west, south, east, north = bounds
    lat = np.arange(south, north, 0.9)
    centres = np.array(
        [(x, y) for y in lat for x in np.arange(west, east, 0.9 / np.cos(np.radians(y)))]
    )
    rounds = -(-N_ITEMS // len(centres))
    centres = np.tile(centres, (rounds, 1))[:N_ITEMS]
    when = np.arange(N_ITEMS) * 730 // N_ITEMS
    half = 0.5 / np.cos(np.radians(centres[:, 1]))
    boxes = shapely.box(
        centres[:, 0] - half, centres[:, 1] - 0.5, centres[:, 0] + half, centres[:, 1] + 0.5
    )
    days = [dt.date(2023, 1, 1) + dt.timedelta(days=int(d)) for d in when]
    frame = geopandas.GeoDataFrame(
        {
            "id": [f"scene-{i:06d}" for i in range(N_ITEMS)],
            "collection": "sentinel-2-l2a",
            "sensor": "sentinel-2",
            "datetime": [dt.datetime(d.year, d.month, d.day, 10, tzinfo=dt.UTC) for d in days],
            "solar_day": days,
            "orbit": -1,
        },
        geometry=boxes,
        crs="EPSG:4326",
    )
    return ItemTable(frame)


def main() -> None:
    """Plan, and print one table."""
    bounds = (5.0, -20.0, 47.6, 28.0)
    start = time.perf_counter()
    tiles = tiles_covering(Aoi.from_bbox(bounds))[:N_TILES]
    covered = time.perf_counter()
    table = synthetic_table(bounds)
    made = time.perf_counter()
    cadence = Cadence.parse("P1M")
    periods = cadence.periods(dt.date(2023, 1, 1), dt.date(2024, 12, 31))
    spec = CubeSpec(
        sensor="sentinel-2",
        bands=("blue", "green", "red", "nir", "swir16", "swir22"),
        cadence=cadence,
    )
    plan = plan_cube(table, spec, tiles, periods)
    planned = time.perf_counter()
    largest = max(len(batch.items) for batch in plan.batches())
    walked = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(explain(plan))
    print(f"tiles {len(tiles):,} (asked {N_TILES:,}), periods {len(periods)}, items {len(table):,}")
    print(f"cover the AOI   {covered - start:7.1f} s")
    print(f"plan            {planned - made:7.1f} s")
    print(f"walk batches    {walked - planned:7.1f} s, largest batch {largest} work items")
    print(
        f"planning total  {planned - made + covered - start + walked - planned:7.1f} s (limit 60 s)"
    )
    print(f"peak memory     {peak:7.2f} GiB (limit 2 GiB)")


if __name__ == "__main__":
    main()
