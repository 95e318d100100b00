"""Search -> Zarr: TerraScope against a plain stackstac and a plain odc-stac pipeline.

8 dates x 4 bands x 4096 x 4096 uint16 (1 GiB) of local deflate COGs, every solar day, stored
numbers, no mask, into sharded Zarr v3 with the same chunks, shards and compressor. Each run is
a process of its own; time counts from after the imports to the last byte, search included;
memory is the peak of the whole process tree above what it had after the imports. Rounds are
interleaved, ratios are of medians.

    python benchmarks/cube.py [--rounds 5] [--folder FOLDER] [--small]

Prints one table, and fails where a limit is missed: wall time at most 1.05 of the faster peer,
memory at most that of the smaller peer, 4 times the area less than 10 % more memory.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

EPSG, TILE_M = 32633, 15_360
WEST, NORTH = 30 * TILE_M, 360 * TILE_M
BANDS = ("blue", "green", "red", "nir")
CHUNK, SHARD = 512, 1536
MEMORY = 256 * 2**20
METHODS = ("terrascope", "stackstac", "odc-stac")


def make_archive(folder: Path, size: int, dates: int, copies: int) -> None:
    """Write COGs of distinct, compressible numbers, and an item file, at `copies`² places."""
    import numpy as np
    import rasterio
    from pyproj import Transformer
    from rasterio.transform import from_origin
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(7)
    to_lonlat = Transformer.from_crs(EPSG, 4326, always_xy=True)
    items = []
    for date in range(dates):
        for place in range(copies * copies):
            west = WEST + (place % copies) * size * 10
            north = NORTH - (place // copies) * size * 10
            day = f"2024-06-{1 + 3 * date:02d}"
            assets = {}
            for band in BANDS:
                path = folder / f"{day}_{place}_{band}.tif"
                land = gaussian_filter(rng.normal(size=(size // 8, size // 8)), 4) * 3000
                numbers = np.kron(land, np.ones((8, 8))) + 2500 + rng.normal(0, 40, (size, size))
                profile = {
                    "driver": "COG",
                    "width": size,
                    "height": size,
                    "count": 1,
                    "dtype": "uint16",
                    "crs": f"EPSG:{EPSG}",
                    "transform": from_origin(west, north, 10, 10),
                    "nodata": 0,
                    "compress": "DEFLATE",
                    "predictor": "YES",
                    "blocksize": CHUNK,
                    "overviews": "NONE",
                    "num_threads": "ALL_CPUS",
                }
                with rasterio.open(path, "w", **profile) as file:
                    file.write(np.clip(numbers, 1, 65535).astype(np.uint16), 1)
                assets[band] = {
                    "href": str(path),
                    "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                    "roles": ["data"],
                    "eo:bands": [{"name": band, "common_name": band}],
                    "raster:bands": [
                        {"data_type": "uint16", "nodata": 0, "scale": 1e-4, "offset": 0}
                    ],
                    "proj:shape": [size, size],
                    "proj:transform": [10, 0, west, 0, -10, north],
                }
            corners = [
                to_lonlat.transform(x, y)
                for x, y in (
                    (west, north),
                    (west + size * 10, north),
                    (west + size * 10, north - size * 10),
                    (west, north - size * 10),
                    (west, north),
                )
            ]
            lon, lat = zip(*corners, strict=True)
            items.append(
                {
                    "type": "Feature",
                    "stac_version": "1.0.0",
                    "id": f"S2_{day}_{place}",
                    "collection": "sentinel-2-l2a",
                    "geometry": {"type": "Polygon", "coordinates": [corners]},
                    "bbox": [min(lon), min(lat), max(lon), max(lat)],
                    "links": [],
                    "stac_extensions": [
                        "https://stac-extensions.github.io/projection/v1.1.0/schema.json"
                    ],
                    "properties": {
                        "datetime": f"{day}T10:00:00Z",
                        "platform": "sentinel-2a",
                        "proj:epsg": EPSG,
                        "earthsearch:boa_offset_applied": True,
                        "s2:processing_baseline": "05.10",
                        "place": place,
                    },
                    "assets": assets,
                }
            )
    (folder / "items.ndjson").write_text("\n".join(map(json.dumps, items)), encoding="utf-8")


def load_items(folder: Path, places: int) -> list[dict]:
    """Read the items of the first `places` places."""
    lines = (folder / "items.ndjson").read_text(encoding="utf-8").splitlines()
    return [item for item in map(json.loads, lines) if item["properties"]["place"] < places]


def run_terrascope(folder: Path, items: list[dict], out: Path) -> Callable[[], None]:
    """Plan and ingest as a monitor does, with the stored numbers."""
    import datetime as dt

    import pystac_client  # noqa: F401
    import rasterio  # noqa: F401
    import shapely
    import stackstac  # noqa: F401

    from terrascope.catalog.profile import load_profile
    from terrascope.catalog.search import search
    from terrascope.cube.executor import ThreadExecutor
    from terrascope.cube.ingest import ingest_batch
    from terrascope.cube.plan import plan_cube
    from terrascope.cube.spec import CubeSpec
    from terrascope.cube.units import ReaderSettings
    from terrascope.geo.aoi import Aoi
    from terrascope.geo.cover import tiles_covering
    from terrascope.periods import Cadence
    from terrascope.store.repository import Store

    def work() -> None:
        source = out.with_suffix(".ndjson")
        source.write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
        ground = shapely.union_all([shapely.geometry.shape(i["geometry"]) for i in items])
        aoi = Aoi.from_geometry(ground.buffer(-0.002))
        start, end = dt.date(2024, 6, 1), dt.date(2024, 6, 30)
        table = search(
            load_profile("local"),
            aoi=aoi.geometry,
            start=start,
            end=end,
            collections=["sentinel-2-l2a"],
            url=str(source),
        ).table
        cadence = Cadence.parse("P1D")
        spec = CubeSpec(
            sensor="sentinel-2",
            bands=BANDS,
            cadence=cadence,
            composite="first",
            mask="none",
            values="dn",
        )
        plan = plan_cube(table, spec, tiles_covering(aoi), cadence.periods(start, end))
        store = Store.open(str(out))
        for batch in range(plan.n_batches):
            ingest_batch(
                plan, batch, table, store, ReaderSettings(), ThreadExecutor(2), memory=MEMORY
            )

    return work


def encoding() -> dict:
    """Chunks, shards and compressor of both peers: those of a TerraScope cube."""
    from zarr.codecs import BloscCodec

    return {
        "chunks": (1, 1, CHUNK, CHUNK),
        "shards": (1, len(BANDS), SHARD, SHARD),
        "compressors": [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")],
    }


def write_peer(array, out: Path) -> None:
    """Write a (time, band, y, x) array whose Dask chunks are whole shards."""
    import dask

    array = array.drop_vars([c for c in array.coords if c not in ("time", "band", "y", "x")])
    array.attrs = {}
    array = array.chunk({"time": 1, "band": len(BANDS), "y": SHARD, "x": SHARD})
    with dask.config.set(scheduler="threads", num_workers=2):
        array.to_dataset(name="dn").to_zarr(
            out, encoding={"dn": encoding()}, zarr_format=3, consolidated=False
        )


def run_stackstac(folder: Path, items: list[dict], out: Path) -> Callable[[], None]:
    """Stack with stackstac, rechunk to shards, write."""
    import numpy as np
    import stackstac
    import xarray  # noqa: F401
    import zarr  # noqa: F401

    def work() -> None:
        array = stackstac.stack(
            items,
            assets=list(BANDS),
            epsg=EPSG,
            resolution=10,
            chunksize=SHARD,
            dtype=np.dtype("uint16"),
            fill_value=np.uint16(0),
            rescale=False,
            xy_coords="center",
        )
        write_peer(array, out)

    return work


def run_odc(folder: Path, items: list[dict], out: Path) -> Callable[[], None]:
    """Load lazily with odc-stac, stack the bands, write."""
    import odc.stac
    import pystac
    import zarr  # noqa: F401

    def work() -> None:
        dataset = odc.stac.load(
            [pystac.Item.from_dict(item) for item in items],
            bands=list(BANDS),
            chunks={"time": 1, "y": SHARD, "x": SHARD},
            groupby="solar_day",
        )
        array = dataset.to_array("band").transpose("time", "band", "y", "x")
        write_peer(array, out)

    return work


RUNNERS = {"terrascope": run_terrascope, "stackstac": run_stackstac, "odc-stac": run_odc}


@contextmanager
def watched_memory() -> Iterator[dict[str, int]]:
    """Peak memory of the process tree above its present use."""
    process = psutil.Process()

    def used() -> int:
        total = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_full_info().uss
            except psutil.Error:
                continue
        return total

    result = {"base": used(), "peak": 0}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            result["peak"] = max(result["peak"], used() - result["base"])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield result
    finally:
        stop.set()
        thread.join()


def child(method: str, folder: Path, places: int) -> None:
    """One run, in a process of its own; prints its figures as JSON."""
    items = load_items(folder, places)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = RUNNERS[method](folder, items, Path(temporary) / "cube")
        with watched_memory() as memory:
            start = time.perf_counter()
            work()
            seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "mib": memory["peak"] / 2**20}))


def launch(method: str, folder: Path, places: int = 1) -> dict[str, float]:
    """Start `child` and read its figures."""
    command = [
        sys.executable,
        __file__,
        "--child",
        method,
        "--folder",
        str(folder),
        "--places",
        str(places),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{method} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def decode_floor(folder: Path) -> float:
    """Seconds in which two threads of GDAL decode all blocks of the first place."""
    import rasterio

    def decode(path: str) -> None:
        with rasterio.open(path) as file:
            file.read(1)

    paths = [a["href"] for item in load_items(folder, 1) for a in item["assets"].values()]
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(decode, paths))
    return time.perf_counter() - start


def compare(folder: Path, rounds: int) -> bool:
    """Run all rounds, print the table, and tell whether the limits hold."""
    runs: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for method in METHODS:
        launch(method, folder)  # warms the page cache, counted nowhere
    for number in range(rounds):
        for method in METHODS[number % 3 :] + METHODS[: number % 3]:
            runs[method].append(launch(method, folder))
    seconds = {m: statistics.median(r["seconds"] for r in runs[m]) for m in METHODS}
    memory = {m: statistics.median(r["mib"] for r in runs[m]) for m in METHODS}
    floor = statistics.median(decode_floor(folder) for _ in range(3))
    fours = [launch("terrascope", folder, places=4) for _ in range(min(rounds, 3))]
    large = {name: statistics.median(run[name] for run in fours) for name in ("seconds", "mib")}
    print(f"{'':12s} {'seconds':>8s} {'min':>7s} {'max':>7s} {'peak MiB':>9s}")
    for method in METHODS:
        each = [r["seconds"] for r in runs[method]]
        print(
            f"{method:12s} {seconds[method]:8.2f} {min(each):7.2f} {max(each):7.2f} "
            f"{memory[method]:9.0f}"
        )
    fastest = min(seconds["stackstac"], seconds["odc-stac"])
    smallest = min(memory["stackstac"], memory["odc-stac"])
    wall, room = seconds["terrascope"] / fastest, memory["terrascope"] / smallest
    growth = large["mib"] / memory["terrascope"] - 1
    print(
        f"decode floor of GDAL, two threads: {floor:.2f} s ({seconds['terrascope'] / floor:.2f} x)"
    )
    print(f"wall time / faster peer     {wall:.3f} (limit 1.05)")
    print(f"peak memory / smaller peer  {room:.3f} (limit 1.0); setting {MEMORY / 2**20:.0f} MiB")
    print(
        f"4 x the area: {large['seconds']:.1f} s, {large['mib']:.0f} MiB, "
        f"{growth:+.1%} memory (limit +10 %)"
    )
    within = memory["terrascope"] * 2**20 <= MEMORY
    return wall <= 1.05 and room <= 1.0 and within and growth < 0.10


def main() -> int:
    """Parse arguments, make the archive, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--places", type=int, default=1)
    parser.add_argument("--child", choices=METHODS)
    parser.add_argument("--small", action="store_true", help="1536 pixels, 2 dates: a quick check")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.folder, arguments.places)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "items.ndjson").exists():
            size, dates = (1536, 2) if arguments.small else (4096, 8)
            make_archive(folder, size, dates, copies=2)
        return 0 if compare(folder, arguments.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
