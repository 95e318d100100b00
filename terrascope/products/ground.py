"""What a later question needs to know of a run: its outlines, and the scenes behind each tile.

``area.geojson`` holds the area of interest and the regions (property ``role``), with all digits.
``tiles.parquet`` has a row per tile: ``tile``, ``zone``, ``items`` (sorted ids of the scenes
behind it); the reliability of the probabilities stands in the metadata of its schema.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from terrascope.errors import ProductError
from terrascope.geo.aoi import Aoi
from terrascope.geo.tiles import Tile
from terrascope.kernels.prevalence import Reliability

__all__ = ["AREA_FILE", "TILES_FILE", "Ground", "read_ground", "write_ground"]

AREA_FILE, TILES_FILE = "area.geojson", "tiles.parquet"
_SCHEMA = pa.schema(
    [("tile", pa.string()), ("zone", pa.string()), ("items", pa.list_(pa.string()))]
)
_RELIABILITY = b"terrascope:reliability"


@dataclasses.dataclass(frozen=True, eq=False)
class Ground:
    """The ground of a run.

    Parameters
    ----------
    area : Aoi
        That it was asked for.
    regions : tuple of Aoi
        Named polygons.
    items : mapping of Tile to sequence of str
        Ids of the scenes behind each tile; all tiles are in it.
    reliability : Reliability
        Of the run's probabilities.
    looked : Reliability or None
        Of those where a model looked; None where none did.
    """

    area: Aoi
    regions: tuple[Aoi, ...]
    items: Mapping[Tile, Sequence[str]]
    reliability: Reliability
    looked: Reliability | None = None


def write_ground(folder: Path, ground: Ground) -> tuple[Path, Path]:
    """Write ``area.geojson`` and ``tiles.parquet``.

    Parameters
    ----------
    folder : Path
        A staging folder.
    ground : Ground
        Of the run.

    Returns
    -------
    area, tiles : Path
        The files; equal ground gives equal bytes.
    """
    named = [("area", ground.area), *(("region", region) for region in ground.regions)]
    features = [
        {
            "type": "Feature",
            "properties": {"role": role, "name": aoi.name},
            "geometry": shapely.geometry.mapping(aoi.geometry),
        }
        for role, aoi in named
    ]
    lines = ",\n".join(json.dumps(one, ensure_ascii=False, allow_nan=False) for one in features)
    area, tiles = folder / AREA_FILE, folder / TILES_FILE
    area.write_text(
        f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n', encoding="utf-8"
    )
    order = sorted(ground.items)
    columns = [
        [tile.id for tile in order],
        [tile.zone.id for tile in order],
        [sorted(ground.items[tile]) for tile in order],
    ]
    trust = [ground.reliability, *([ground.looked] if ground.looked else [])]
    stated = json.dumps([dataclasses.asdict(one) for one in trust], sort_keys=True)
    schema = _SCHEMA.with_metadata({_RELIABILITY: stated.encode()})
    arrays = [pa.array(v, field.type) for v, field in zip(columns, schema, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), tiles, compression="zstd")
    return area, tiles


def read_ground(folder: Path) -> Ground:
    """Read what `write_ground` wrote.

    Parameters
    ----------
    folder : Path
        A staging folder, or the output of a run.

    Returns
    -------
    ground : Ground
        Of the run.

    Raises
    ------
    ProductError
        If the files are missing or no such files.
    """
    try:
        document = json.loads((folder / AREA_FILE).read_text(encoding="utf-8"))
        table = pq.read_table(folder / TILES_FILE)
        named = [
            (
                str(feature["properties"]["role"]),
                Aoi.from_geometry(
                    shapely.geometry.shape(feature["geometry"]),
                    name=str(feature["properties"]["name"]),
                    source=AREA_FILE,
                ),
            )
            for feature in document["features"]
        ]
        stated = [Reliability(**one) for one in json.loads(table.schema.metadata[_RELIABILITY])]
        rows = zip(table["tile"].to_pylist(), table["items"].to_pylist(), strict=True)
        items = {Tile.parse(tile): tuple(ids) for tile, ids in rows}
        (area,) = (aoi for role, aoi in named if role == "area")
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise ProductError(
            f"{folder}: cannot read {AREA_FILE} and {TILES_FILE} ({error}); run the monitor again, "
            "an output of an earlier version has none"
        ) from error
    regions = tuple(aoi for role, aoi in named if role == "region")
    return Ground(area, regions, items, *stated)
